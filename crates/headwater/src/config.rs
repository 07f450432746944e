//! What an application is told when it starts: where to listen, where its data is, which log it stands on.
//!
//! Four sources are read, each overriding the one before: the defaults, a TOML file, the environment, the flags. They
//! share one table of settings, so a name or a value that is allowed in one is allowed in all. Nothing is ignored: an
//! unknown key, variable or flag is an error, and so is an invalid value that a later source would override.
//! Variables that begin with `HEADWATER_BIN_` are the exception: they tell tests where binaries are, and are not read.

mod error;
mod kafka;
mod settings;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};

pub use self::error::{ConfigError, ConfigErrorKind};
use self::kafka::quoted;
pub use self::kafka::{KafkaConfig, KafkaSecurity, SaslMechanism, Secret};
use self::settings::{Found, SETTINGS};

/// The file that is read when none is named, where it exists.
const FILE_DEFAULT: &str = "headwater.toml";

/// Why a listening address beyond loopback is refused, and what [`Config::expose`] accepts.
const EXPOSURE: &str = "there is no authentication yet: whoever reaches that address may send every command, read \
                        every view and use the administration endpoints";

/// Settings of an application, complete and valid.
///
/// # Examples
/// ```
/// use headwater::config::{Config, LogChoice};
///
/// let args = ["ordering", "--log", "memory"];
/// let env = [("HEADWATER_LISTEN", "127.0.0.1:9000")];
/// let no_file = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
/// let config = Config::from_sources(args, env, no_file)?;
/// assert_eq!(config.log, LogChoice::Memory);
/// assert_eq!(config.listen.port(), 9000);
/// # Ok::<(), headwater::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The address on which HTTP is served; loopback unless [`expose`](Config::expose) is set.
    pub listen: SocketAddr,
    /// Where other instances reach this one, `host:port`; at `listen` where nothing else is said.
    pub advertise: Option<String>,
    /// What instances sign their questions to each other with; the same for all of them.
    pub peer_secret: Option<Secret>,
    /// The directory of the embedded log and of all local state; a relative one starts at the working directory.
    pub data: PathBuf,
    /// The log that everything stands on.
    pub log: LogChoice,
    /// How the Kafka cluster is reached, where the log is one.
    pub kafka: KafkaConfig,
    /// What this instance runs.
    pub role: Role,
    /// Whether `listen` may be reached from other machines.
    pub expose: bool,
    /// How the program's own messages are written.
    pub log_format: LogFormat,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
}

/// The log that an application stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogChoice {
    /// In this process, durable, in the data directory.
    Embedded,
    /// In this process, gone when it ends.
    Memory,
    /// A Kafka cluster, reached through these bootstrap servers: `host:port`, several with commas between.
    Kafka(String),
}

/// What an instance runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Commands and queries.
    All,
    /// Only what takes commands.
    Command,
    /// Only what answers queries.
    Query,
}

/// How the program's own messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

impl LogChoice {
    /// A Kafka cluster by its address, `kafka://host:port`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as the rest of a sentence that begins with the address.
    pub(crate) fn kafka(address: &str) -> Result<Self, String> {
        match settings::parse_log(address) {
            Ok(LogChoice::Kafka(servers)) => Ok(LogChoice::Kafka(servers)),
            Err(refusal) if address.starts_with("kafka://") => Err(refusal),
            _ => Err("is no Kafka cluster; wanted is kafka://host:port".to_owned()),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            advertise: None,
            peer_secret: None,
            data: PathBuf::from("./data"),
            log: LogChoice::Embedded,
            kafka: KafkaConfig::default(),
            role: Role::All,
            expose: false,
            log_format: LogFormat::Text,
            file: None,
        }
    }
}

impl Config {
    /// Reads this process's flags, environment and file.
    ///
    /// Ends the process like any command line program does where there is nothing to run: `--help` and `--version`
    /// print and exit with 0, an error prints and exits with 2. An application with flags or subcommands of its own
    /// builds on [`Config::command`] and [`Config::from_matches`] instead.
    pub fn load(app_name: &'static str, about: &'static str) -> Config {
        let command = Config::command().name(app_name).about(about);
        let matches = command.get_matches();
        Config::from_matches(&matches, std::env::vars_os(), |path| std::fs::read_to_string(path))
            .unwrap_or_else(|error| error.exit())
    }

    /// Reads the given sources and nothing else; `args` begins with the program's name.
    ///
    /// # Errors
    /// Names the source and the setting that is unknown, invalid or refused, and what is allowed. A request for help
    /// or for the version is an error of kind [`ConfigErrorKind::Arguments`] too.
    pub fn from_sources<A, E, K, V>(
        args: A,
        env: E,
        read_file: impl FnOnce(&Path) -> io::Result<String>,
    ) -> Result<Config, ConfigError>
    where
        A: IntoIterator<Item: Into<OsString> + Clone>,
        E: IntoIterator<Item = (K, V)>,
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let matches = Config::command().try_get_matches_from(args).map_err(ConfigError::arguments)?;
        Config::from_matches(&matches, env, read_file)
    }

    /// Like [`Config::from_sources`], with flags that a command built on [`Config::command`] has parsed.
    ///
    /// # Errors
    /// As in [`Config::from_sources`].
    pub fn from_matches<E, K, V>(
        matches: &ArgMatches,
        env: E,
        read_file: impl FnOnce(&Path) -> io::Result<String>,
    ) -> Result<Config, ConfigError>
    where
        E: IntoIterator<Item = (K, V)>,
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let flags = settings::in_flags(matches);
        let env = settings::in_environment(env.into_iter().map(|(name, value)| (name.into(), value.into())))?;
        let file = flags.file.or(env.file);
        let (file, in_file) = settings::in_file(file, read_file)?;
        let found: Vec<Found> = in_file.into_iter().chain(env.found).chain(flags.found).collect();

        let mut config = Config { file, ..Config::default() };
        for Found { setting, value, origin } in &found {
            (setting.set)(&mut config, value).map_err(|refusal| {
                ConfigError::invalid(&origin.of(setting), setting.shown(value), &refusal)
            })?;
        }
        config.refuse_exposure(&found)?;
        config.refuse_half_of_kafka()?;
        Ok(config)
    }

    /// Flags that lead another program of the app to the same log, as a shell takes them.
    pub(crate) fn log_flags(&self) -> String {
        let mut flags = match &self.log {
            LogChoice::Memory => vec!["--log memory".to_owned()],
            LogChoice::Embedded => vec![format!("--data {}", quoted(&self.data.display().to_string()))],
            LogChoice::Kafka(servers) => {
                [vec![format!("--log kafka://{servers}")], self.kafka.flags()].concat()
            }
        };
        let file = self.file.as_ref().filter(|file| **file != Path::new(FILE_DEFAULT));
        flags.extend(file.map(|file| format!("--config {}", quoted(&file.display().to_string()))));
        flags.join(" ")
    }

    /// The flags as a command, to which an application adds its name, its flags and its subcommands.
    pub fn command() -> Command {
        let config =
            Arg::new(settings::FILE_FLAG).long(settings::FILE_FLAG).value_name("FILE").help(format!(
                "A TOML file with settings\n[env: {}] [default: ./{FILE_DEFAULT}, where it exists]",
                settings::FILE_VARIABLE
            ));
        Command::new("headwater")
            .version(env!("CARGO_PKG_VERSION"))
            .args(SETTINGS.iter().filter_map(settings::Setting::arg))
            .arg(config)
            .after_help(
                "Settings come from the defaults, the file, the environment and the flags, each overriding the one \
                 before.\nIn the file they have the names of the flags, with underscores:\n\n  \
                 listen = \"127.0.0.1:8080\"\n  log_format = \"json\"\n  expose = false\n\nA password is never given \
                 as a flag, which others can see: HEADWATER_KAFKA_PASSWORD, kafka_password in the\nfile, or a file of \
                 its own named by --kafka-password-file. So is the secret that instances share\n(16 characters or more): \
                 HEADWATER_PEER_SECRET, or peer_secret in the file.",
            )
    }

    /// On another log, settings for Kafka wait for the day when it is chosen.
    fn refuse_half_of_kafka(&self) -> Result<(), ConfigError> {
        match self.log {
            LogChoice::Kafka(_) => self.kafka.check().map_err(|refusal| ConfigError::incomplete(&refusal)),
            LogChoice::Embedded | LogChoice::Memory => Ok(()),
        }
    }

    fn refuse_exposure(&self, found: &[Found]) -> Result<(), ConfigError> {
        if self.expose || self.listen.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        let listen = found.iter().rev().find(|found| found.setting.name == "listen");
        let listen = listen.expect("the default is loopback, so a source gave this address");
        Err(ConfigError::exposed(&listen.origin.of(listen.setting), self.listen))
    }
}
