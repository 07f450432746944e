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
use super::{Config, FILE_DEFAULT, KafkaSecurity, LogChoice, LogFormat, Role, SaslMechanism, Secret};

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
    /// What holds where no source says anything, if that can be written down.
    pub(super) default: Option<&'static str>,
    value_name: &'static str,
    help: &'static str,
    is_switch: bool,
    is_count: bool,
    /// Whether its value is shown nowhere, and given by no flag.
    pub(super) is_secret: bool,
    /// Takes a value, or says what is wrong with it as the rest of a sentence that begins with the value.
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
}

/// What most settings have in common.
const SETTING: Setting = Setting {
    name: "",
    flag: "",
    variable: "",
    default: None,
    value_name: "",
    help: "",
    is_switch: false,
    is_count: false,
    is_secret: false,
    set: |_, _| Ok(()),
};

pub(super) const SETTINGS: [Setting; 20] = [
    Setting {
        name: "listen",
        flag: "listen",
        variable: "HEADWATER_LISTEN",
        default: Some("127.0.0.1:8080"),
        value_name: "ADDR",
        help: "The address on which HTTP is served",
        set: |config, value| parse_listen(value).map(|listen| config.listen = listen),
        ..SETTING
    },
    Setting {
        name: "data",
        flag: "data",
        variable: "HEADWATER_DATA",
        default: Some("./data"),
        value_name: "DIR",
        help: "The directory of the embedded log and of all local state",
        set: |config, value| parse_data(value).map(|data| config.data = data),
        ..SETTING
    },
    Setting {
        name: "log",
        flag: "log",
        variable: "HEADWATER_LOG",
        default: Some("embedded"),
        value_name: "LOG",
        help: "The log: embedded, memory (gone when the process ends) or kafka://host:port",
        set: |config, value| parse_log(value).map(|log| config.log = log),
        ..SETTING
    },
    Setting {
        name: "role",
        flag: "role",
        variable: "HEADWATER_ROLE",
        default: Some("all"),
        value_name: "ROLE",
        help: "What this instance runs: all, command or query",
        set: |config, value| one_of(value, &ROLES).map(|role| config.role = role),
        ..SETTING
    },
    Setting {
        name: "log_format",
        flag: "log-format",
        variable: "HEADWATER_LOG_FORMAT",
        default: Some("text"),
        value_name: "FORMAT",
        help: "How the program's own messages are written: text or json",
        set: |config, value| one_of(value, &LOG_FORMATS).map(|format| config.log_format = format),
        ..SETTING
    },
    Setting {
        name: "expose",
        flag: "expose",
        variable: "HEADWATER_EXPOSE",
        default: Some("false"),
        value_name: "true|false",
        help: "Let --listen be an address that other machines reach. There is no authentication yet: whoever\n\
               reaches it may send every command, read every view and use the administration endpoints",
        is_switch: true,
        set: |config, value| one_of(value, &SWITCH).map(|expose| config.expose = expose),
        ..SETTING
    },
    Setting {
        name: "advertise",
        flag: "advertise",
        variable: "HEADWATER_ADVERTISE",
        value_name: "HOST:PORT",
        help: "Where other instances reach this one; the address of --listen unless set",
        set: |config, value| parse_server(value).map(|server| config.advertise = Some(server)),
        ..SETTING
    },
    Setting {
        name: "peer_secret",
        flag: "peer-secret",
        variable: "HEADWATER_PEER_SECRET",
        is_secret: true,
        set: |config, value| parse_peer_secret(value).map(|secret| config.peer_secret = Some(secret)),
        ..SETTING
    },
    Setting {
        name: "kafka_security",
        flag: "kafka-security",
        variable: "HEADWATER_KAFKA_SECURITY",
        default: Some("plaintext"),
        value_name: "KIND",
        help: "The connection to Kafka: plaintext, tls, sasl_plaintext or sasl_tls",
        set: |config, value| one_of(value, &SECURITY).map(|kind| config.kafka.security = kind),
        ..SETTING
    },
    Setting {
        name: "kafka_ca",
        flag: "kafka-ca",
        variable: "HEADWATER_KAFKA_CA",
        value_name: "FILE",
        help: "The authorities, as PEM, that may sign a broker's certificate; the public ones unless set",
        set: |config, value| parse_file(value).map(|file| config.kafka.ca = Some(file)),
        ..SETTING
    },
    Setting {
        name: "kafka_certificate",
        flag: "kafka-certificate",
        variable: "HEADWATER_KAFKA_CERTIFICATE",
        value_name: "FILE",
        help: "This process's certificate, as PEM, for brokers that ask for one",
        set: |config, value| parse_file(value).map(|file| config.kafka.certificate = Some(file)),
        ..SETTING
    },
    Setting {
        name: "kafka_key",
        flag: "kafka-key",
        variable: "HEADWATER_KAFKA_KEY",
        value_name: "FILE",
        help: "The key of that certificate, as PEM",
        set: |config, value| parse_file(value).map(|file| config.kafka.key = Some(file)),
        ..SETTING
    },
    Setting {
        name: "kafka_sasl",
        flag: "kafka-sasl",
        variable: "HEADWATER_KAFKA_SASL",
        default: Some("scram-sha-512"),
        value_name: "MECHANISM",
        help: "How user and password are proved: scram-sha-512 or plain",
        set: |config, value| one_of(value, &MECHANISMS).map(|mechanism| config.kafka.sasl = mechanism),
        ..SETTING
    },
    Setting {
        name: "kafka_user",
        flag: "kafka-user",
        variable: "HEADWATER_KAFKA_USER",
        value_name: "NAME",
        help: "The user, for sasl_plaintext and sasl_tls",
        set: |config, value| parse_text(value).map(|user| config.kafka.user = Some(user)),
        ..SETTING
    },
    Setting {
        name: "kafka_password",
        flag: "kafka-password",
        variable: "HEADWATER_KAFKA_PASSWORD",
        is_secret: true,
        set: |config, value| {
            parse_text(value).map(|password| config.kafka.password = Some(Secret::new(password)))
        },
        ..SETTING
    },
    Setting {
        name: "kafka_password_file",
        flag: "kafka-password-file",
        variable: "HEADWATER_KAFKA_PASSWORD_FILE",
        value_name: "FILE",
        help: "A file that holds the user's password",
        set: |config, value| parse_file(value).map(|file| config.kafka.password_file = Some(file)),
        ..SETTING
    },
    Setting {
        name: "kafka_plain_in_clear",
        flag: "kafka-plain-in-clear",
        variable: "HEADWATER_KAFKA_PLAIN_IN_CLEAR",
        default: Some("false"),
        value_name: "true|false",
        help: "Let --kafka-sasl plain send the password without TLS, readable for everyone on the way",
        is_switch: true,
        set: |config, value| one_of(value, &SWITCH).map(|allow| config.kafka.plain_in_clear = allow),
        ..SETTING
    },
    Setting {
        name: "kafka_replication",
        flag: "kafka-replication",
        variable: "HEADWATER_KAFKA_REPLICATION",
        default: Some("3"),
        value_name: "N",
        help: "How many brokers keep each partition. Kafka acknowledges before its disks do: with fewer than 3, a\n\
               lost machine can lose what was acknowledged",
        is_count: true,
        set: |config, value| parse_count(value).map(|count| config.kafka.replication = count),
        ..SETTING
    },
    Setting {
        name: "kafka_min_in_sync",
        flag: "kafka-min-in-sync",
        variable: "HEADWATER_KAFKA_MIN_IN_SYNC",
        value_name: "N",
        help: "How many of them must have a record before it is acknowledged: 2 unless set, or 1 of 1",
        is_count: true,
        set: |config, value| parse_count(value).map(|count| config.kafka.min_in_sync = Some(count)),
        ..SETTING
    },
    Setting {
        name: "kafka_restart_follows",
        flag: "kafka-restart-follows",
        variable: "HEADWATER_KAFKA_RESTART_FOLLOWS",
        default: Some("false"),
        value_name: "true|false",
        help: "When this instance stops, leave its shards where they are: it starts again at once",
        is_switch: true,
        set: |config, value| one_of(value, &SWITCH).map(|follows| config.kafka.restart_follows = follows),
        ..SETTING
    },
];

const ROLES: [(&str, Role); 3] = [("all", Role::All), ("command", Role::Command), ("query", Role::Query)];
const LOG_FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
pub(super) const SECURITY: [(&str, KafkaSecurity); 4] = [
    ("plaintext", KafkaSecurity::Plaintext),
    ("tls", KafkaSecurity::Tls),
    ("sasl_plaintext", KafkaSecurity::SaslPlaintext),
    ("sasl_tls", KafkaSecurity::SaslTls),
];
pub(super) const MECHANISMS: [(&str, SaslMechanism); 2] =
    [("scram-sha-512", SaslMechanism::ScramSha512), ("plain", SaslMechanism::Plain)];
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
    /// The flag, unless it is a secret. Clap takes any text, so that all sources are judged alike.
    pub(super) fn arg(&self) -> Option<Arg> {
        if self.is_secret {
            return None;
        }
        let default = self.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
        let arg = Arg::new(self.name)
            .long(self.flag)
            .value_name(self.value_name)
            .help(format!("{}\n[env: {}]{default}", self.help, self.variable));
        if !self.is_switch {
            return Some(arg);
        }
        Some(arg.num_args(0..=1).require_equals(true).default_missing_value("true"))
    }

    /// A value as an error may show it.
    pub(super) fn shown<'a>(&self, value: &'a str) -> &'a str {
        if self.is_secret { "(hidden)" } else { value }
    }
}

pub(super) fn in_flags(matches: &ArgMatches) -> Source {
    let value = |name| matches.get_one::<String>(name).cloned();
    let found = SETTINGS
        .iter()
        .filter(|setting| !setting.is_secret)
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
            let value = value.to_string_lossy();
            ConfigError::invalid(&Origin::Environment.of(setting), setting.shown(&value), "is not UTF-8")
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
    let table = text.parse::<toml::Table>().map_err(|error| ConfigError::no_toml(&path, &error))?;
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
        toml::Value::String(text) if !setting.is_switch && !setting.is_count => {
            Ok(Found { setting, value: text.clone(), origin })
        }
        toml::Value::Integer(count) if setting.is_count => {
            Ok(Found { setting, value: count.to_string(), origin })
        }
        toml::Value::Boolean(switch) if setting.is_switch => {
            Ok(Found { setting, value: switch.to_string(), origin })
        }
        other => {
            let wanted = match (setting.is_switch, setting.is_count) {
                (true, _) => "true or false, without quotes",
                (_, true) => "a number, without quotes",
                _ => "a string, in quotes",
            };
            let refusal = format!("is a TOML {}; wanted is {wanted}", other.type_str());
            Err(ConfigError::invalid(&origin.of(setting), setting.shown(&other.to_string()), &refusal))
        }
    }
}

fn parse_listen(value: &str) -> Result<SocketAddr, String> {
    value.parse().map_err(|_| {
        "is no address to listen on; wanted is an IP address with a port, such as 127.0.0.1:8080 or [::1]:8080".into()
    })
}

/// A secret that is guessed in no time is none.
const PEER_SECRET_CHARS_MIN: usize = 16;

fn parse_peer_secret(value: &str) -> Result<Secret, String> {
    if value.chars().count() < PEER_SECRET_CHARS_MIN {
        return Err(format!(
            "is too short; wanted are {PEER_SECRET_CHARS_MIN} characters or more, at random"
        ));
    }
    Ok(Secret::new(value))
}

fn parse_data(value: &str) -> Result<PathBuf, String> {
    if value.is_empty() {
        return Err("is empty; wanted is a directory, such as ./data".into());
    }
    Ok(value.into())
}

pub(super) fn parse_log(value: &str) -> Result<LogChoice, String> {
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

fn parse_server(value: &str) -> Result<String, String> {
    if !is_server(value) {
        return Err("is no address; wanted is host:port".into());
    }
    Ok(value.into())
}

fn parse_file(value: &str) -> Result<PathBuf, String> {
    if value.is_empty() {
        return Err("is empty; wanted is a file".into());
    }
    Ok(value.into())
}

fn parse_text(value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Err("is empty".into());
    }
    Ok(value.into())
}

fn parse_count(value: &str) -> Result<u16, String> {
    let count = value.parse::<u16>().ok().filter(|count| (1..=100).contains(count));
    count.ok_or_else(|| "is no count; wanted is a number from 1 to 100".into())
}

fn is_server(server: &str) -> bool {
    let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    server.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && is_port(port))
}

/// How a value is spelled.
pub(super) fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    let found = words.iter().find(|(_, named)| named == value);
    found.expect("every value has a word").0
}

/// Our word for what Kafka's own settings call by another one (`security.protocol` of its clients).
fn by_another_name(value: &str) -> Option<&'static str> {
    match value.to_ascii_lowercase().as_str() {
        "ssl" => Some("tls"),
        "sasl_ssl" | "sasl-ssl" => Some("sasl_tls"),
        _ => None,
    }
}

fn one_of<T: Clone>(value: &str, allowed: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, found)) = allowed.iter().find(|(word, _)| *word == value) {
        return Ok(found.clone());
    }
    let words = || allowed.iter().map(|(word, _)| *word);
    let meant = by_another_name(value).filter(|meant| words().any(|word| word == *meant));
    let meant = meant.or_else(|| closest(value, words()));
    let hint = meant.map(|meant| format!("did you mean `{meant}`? ")).unwrap_or_default();
    Err(format!("is not allowed; {hint}allowed are {}", words().collect::<Vec<_>>().join(", ")))
}
