//! The table of settings, and where each source has them.
//!
//! A setting has one name in three spellings: `log_format` in the file, `HEADWATER_LOG_FORMAT` in the environment,
//! `--log-format` as a flag. Every source gives text, parsed in one place per setting, so all sources allow the same.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches};

use super::error::{ConfigError, closest};
use super::{Config, FILE_DEFAULT, LogChoice, LogFormat, Role};

/// The flag and the variable that name the file; the file itself has no key for it.
pub(super) const FILE_FLAG: &str = "config";
pub(super) const FILE_VARIABLE: &str = "HEADWATER_CONFIG";

const PREFIX: &str = "HEADWATER_";
const PREFIX_OF_TESTS: &str = "HEADWATER_BIN_";

/// One setting: its spellings, its line of help, and how a value is taken.
pub(super) struct Setting {
    /// As the file spells it.
    pub(super) name: &'static str,
    pub(super) flag: &'static str,
    pub(super) variable: &'static str,
    pub(super) default: &'static str,
    value_name: &'static str,
    help: &'static str,
    is_switch: bool,
    /// Takes a value, or says what is wrong with it as the rest of a sentence that begins with the value.
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
}

pub(super) const SETTINGS: [Setting; 6] = [
    Setting {
        name: "listen",
        flag: "listen",
        variable: "HEADWATER_LISTEN",
        default: "127.0.0.1:8080",
        value_name: "ADDR",
        help: "The address on which HTTP is served",
        is_switch: false,
        set: |config, value| parse_listen(value).map(|listen| config.listen = listen),
    },
    Setting {
        name: "data",
        flag: "data",
        variable: "HEADWATER_DATA",
        default: "./data",
        value_name: "DIR",
        help: "The directory of the embedded log and of all local state",
        is_switch: false,
        set: |config, value| parse_data(value).map(|data| config.data = data),
    },
    Setting {
        name: "log",
        flag: "log",
        variable: "HEADWATER_LOG",
        default: "embedded",
        value_name: "LOG",
        help: "The log: embedded, memory (gone when the process ends) or kafka://host:port",
        is_switch: false,
        set: |config, value| parse_log(value).map(|log| config.log = log),
    },
    Setting {
        name: "role",
        flag: "role",
        variable: "HEADWATER_ROLE",
        default: "all",
        value_name: "ROLE",
        help: "What this instance runs: all, command or query",
        is_switch: false,
        set: |config, value| one_of(value, &ROLES).map(|role| config.role = role),
    },
    Setting {
        name: "log_format",
        flag: "log-format",
        variable: "HEADWATER_LOG_FORMAT",
        default: "text",
        value_name: "FORMAT",
        help: "How the program's own messages are written: text or json",
        is_switch: false,
        set: |config, value| one_of(value, &LOG_FORMATS).map(|format| config.log_format = format),
    },
    Setting {
        name: "expose",
        flag: "expose",
        variable: "HEADWATER_EXPOSE",
        default: "false",
        value_name: "true|false",
        help: "Let --listen be an address that other machines reach. There is no authentication yet: whoever\n\
               reaches it may send every command, read every view and use the administration endpoints",
        is_switch: true,
        set: |config, value| one_of(value, &SWITCH).map(|expose| config.expose = expose),
    },
];

const ROLES: [(&str, Role); 3] = [("all", Role::All), ("command", Role::Command), ("query", Role::Query)];
const LOG_FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
const SWITCH: [(&str, bool); 2] = [("true", true), ("false", false)];

/// A value that a source has for a setting.
pub(super) struct Found {
    pub(super) setting: &'static Setting,
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// What flags or environment hold: values, and maybe the file's path.
pub(super) struct Source {
    pub(super) file: Option<PathBuf>,
    pub(super) found: Vec<Found>,
}

/// Where a value comes from.
pub(super) enum Origin {
    Flag,
    Environment,
    File(PathBuf),
}

impl Origin {
    /// The place of a setting, as an error names it.
    pub(super) fn of(&self, setting: &Setting) -> String {
        match self {
            Origin::Flag => format!("flag --{}", setting.flag),
            Origin::Environment => format!("environment variable {}", setting.variable),
            Origin::File(path) => format!("key {} in {}", setting.name, path.display()),
        }
    }
}

impl Setting {
    /// The flag. Clap takes any text, so that all sources are judged alike.
    pub(super) fn arg(&self) -> Arg {
        let arg = Arg::new(self.name)
            .long(self.flag)
            .value_name(self.value_name)
            .help(format!("{}\n[env: {}] [default: {}]", self.help, self.variable, self.default));
        if !self.is_switch {
            return arg;
        }
        arg.num_args(0..=1).require_equals(true).default_missing_value("true")
    }
}

pub(super) fn in_flags(matches: &ArgMatches) -> Source {
    let value = |name| matches.get_one::<String>(name).cloned();
    let found = SETTINGS
        .iter()
        .filter_map(|setting| Some(Found { setting, value: value(setting.name)?, origin: Origin::Flag }));
    Source { file: value(FILE_FLAG).map(PathBuf::from), found: found.collect() }
}

/// Every variable of our prefix must be known; the others are not looked at.
pub(super) fn in_environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Source, ConfigError> {
    let mut source = Source { file: None, found: Vec::new() };
    for (name, value) in variables {
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with(PREFIX) || name.starts_with(PREFIX_OF_TESTS) {
            continue;
        }
        if name == FILE_VARIABLE {
            source.file = Some(value.into());
            continue;
        }
        let setting = SETTINGS.iter().find(|setting| setting.variable == name).ok_or_else(|| {
            let known = SETTINGS.iter().map(|setting| setting.variable).chain([FILE_VARIABLE]);
            ConfigError::unknown("environment variable", &name, known)
        })?;
        let value = value.into_string().map_err(|value| {
            ConfigError::invalid(&Origin::Environment.of(setting), &value.to_string_lossy(), "is not UTF-8")
        })?;
        source.found.push(Found { setting, value, origin: Origin::Environment });
    }
    Ok(source)
}

/// Reads the named file, or the default one where it exists; answers which it was.
pub(super) fn in_file(
    named: Option<PathBuf>,
    read_file: impl FnOnce(&Path) -> io::Result<String>,
) -> Result<(Option<PathBuf>, Vec<Found>), ConfigError> {
    let path = named.clone().unwrap_or_else(|| FILE_DEFAULT.into());
    let text = match read_file(&path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
            return Ok((None, vec![]));
        }
        Err(error) => return Err(ConfigError::unreadable(&path, error)),
    };
    let table = text.parse::<toml::Table>().map_err(|error| ConfigError::no_toml(&path, error))?;
    let found: Result<Vec<Found>, ConfigError> =
        table.iter().map(|(key, value)| in_key(&path, key, value)).collect();
    Ok((Some(path), found?))
}

fn in_key(path: &Path, key: &str, value: &toml::Value) -> Result<Found, ConfigError> {
    let setting = SETTINGS.iter().find(|setting| setting.name == key).ok_or_else(|| {
        let what = format!("in {}, the key", path.display());
        ConfigError::unknown(&what, key, SETTINGS.iter().map(|setting| setting.name))
    })?;
    let origin = Origin::File(path.to_path_buf());
    match value {
        toml::Value::String(text) if !setting.is_switch => Ok(Found { setting, value: text.clone(), origin }),
        toml::Value::Boolean(switch) if setting.is_switch => {
            Ok(Found { setting, value: switch.to_string(), origin })
        }
        other => {
            let wanted =
                if setting.is_switch { "true or false, without quotes" } else { "a string, in quotes" };
            let refusal = format!("is a TOML {}; wanted is {wanted}", other.type_str());
            Err(ConfigError::invalid(&origin.of(setting), &other.to_string(), &refusal))
        }
    }
}

fn parse_listen(value: &str) -> Result<SocketAddr, String> {
    value.parse().map_err(|_| {
        "is no address to listen on; wanted is an IP address with a port, such as 127.0.0.1:8080 or [::1]:8080".into()
    })
}

fn parse_data(value: &str) -> Result<PathBuf, String> {
    if value.is_empty() {
        return Err("is empty; wanted is a directory, such as ./data".into());
    }
    Ok(value.into())
}

fn parse_log(value: &str) -> Result<LogChoice, String> {
    match value.strip_prefix("kafka://") {
        Some(servers) if servers.split(',').all(is_server) => Ok(LogChoice::Kafka(servers.into())),
        Some(_) => Err(
            "is no address of a Kafka cluster; wanted is kafka://host:port, several host:port with commas"
                .into(),
        ),
        None => one_of(value, &[("embedded", LogChoice::Embedded), ("memory", LogChoice::Memory)])
            .map_err(|refusal| format!("{refusal}, kafka://host:port")),
    }
}

fn is_server(server: &str) -> bool {
    let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    server.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && is_port(port))
}

fn one_of<T: Clone>(value: &str, allowed: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, found)) = allowed.iter().find(|(word, _)| *word == value) {
        return Ok(found.clone());
    }
    let words = || allowed.iter().map(|(word, _)| *word);
    let hint = closest(value, words()).map(|meant| format!("did you mean `{meant}`? ")).unwrap_or_default();
    Err(format!("is not allowed; {hint}allowed are {}", words().collect::<Vec<_>>().join(", ")))
}
