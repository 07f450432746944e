//! The command line that every app has beside serving: its topics planned and applied, its topologies shown and compared
//! with those that run, what could not be processed shown and decided about, and its move to Kafka.
//!
//! An app needs two lines for it:
//!
//! ```no_run
//! # use std::process::ExitCode;
//! # use headwater::{App, admin::Asked};
//! # fn app() -> App { App::new("shop") }
//! # fn serve(config: headwater::config::Config) -> ExitCode { ExitCode::SUCCESS }
//! fn main() -> ExitCode {
//!     match Asked::load("shop", "A shop") {
//!         Asked::Serve(config) => serve(config),
//!         Asked::Admin(admin) => admin.run(&app()),
//!     }
//! }
//! ```
//!
//! Exit codes: 0 done, or nothing to do; 1 failed; 2 asked wrongly; 3 there is something to apply, begin or rebuild; 4
//! something stands in the way that nobody but the operator can decide on.

mod letters;
mod pace;

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command};
use headwater_core::clock::SystemClock;
use headwater_core::log::Log;

use self::letters::Ask;
use self::pace::Pace;
use crate::app::App;
use crate::config::{Config, ConfigError, LogChoice};
use crate::log::embedded::{EmbeddedLog, Options};
use crate::log::memory::{MemoryLog, MemoryOptions};
use crate::migrate::{Migration, Report};
use crate::topics::prepare::{Prepared, Reach, Survey, Word, prepare};
use crate::topics::{Deployment, FateKind, Place, Plan};

const TO_APPLY: u8 = 3;
const STUCK: u8 = 4;

type Failure = Box<dyn Error + Send + Sync>;

/// What a process was asked to do.
#[derive(Debug)]
pub enum Asked {
    /// To serve, with these settings.
    Serve(Config),
    /// To do one thing and end.
    Admin(Admin),
}

/// A thing to do once.
#[derive(Debug)]
pub struct Admin {
    config: Config,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Plan { json: bool },
    Apply { json: bool, word: Word },
    Deploy { json: bool },
    Show { format: Format },
    Ask { ask: Ask, json: bool },
    Migrate { from: PathBuf, to: LogChoice, verify: bool, json: bool },
}

/// How an app's topologies are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
    Mermaid,
    Svg,
}

/// The names of the formats, as they are asked for.
const FORMATS: [(&str, Format); 4] =
    [("text", Format::Text), ("json", Format::Json), ("mermaid", Format::Mermaid), ("svg", Format::Svg)];

impl Asked {
    /// Reads this process's flags, environment and file.
    ///
    /// Ends the process like [`Config::load`] where there is nothing to run.
    pub fn load(app_name: &'static str, about: &'static str) -> Self {
        let read = |path: &Path| std::fs::read_to_string(path);
        let command = Self::command().name(app_name).about(about);
        let matches = command.get_matches();
        Self::from_matches(&matches, std::env::vars_os(), read).unwrap_or_else(|error| error.exit())
    }

    /// The flags and subcommands, to which an application adds its name.
    pub fn command() -> Command {
        let json: fn() -> Arg =
            || Arg::new("json").long("json").action(ArgAction::SetTrue).help("Tell it as JSON, for programs");
        let many = |name: &'static str, value: &'static str, help: &'static str| {
            Arg::new(name).long(name).value_name(value).action(ArgAction::Append).help(help)
        };
        let plan = Command::new("plan")
            .about("Say what is missing or differs; changes nothing. Exits with 0 if there is nothing to do, 3 if there is \
                    something to apply, 4 if something stands in the way")
            .arg(json());
        let apply = Command::new("apply")
            .about("Create the topics that are missing, and alter those that are kept otherwise")
            .arg(json())
            .arg(many(
                "accept-loss",
                "TOPIC",
                "Go on without the records of a topic that was deleted or made again; one of another partition count is made again",
            ))
            .arg(many(
                "replace",
                "TOPOLOGY",
                "Let a topology be what this program defines, in place of what it was",
            ));
        let topics = Command::new("topics")
            .about("The app's topics: what they are, and what they should be")
            .subcommand_required(true)
            .subcommands([plan, apply]);
        let deploy = Command::new("plan")
            .about("Say what a deployment of this program would keep, begin, rebuild or leave behind; changes nothing. Exits \
                    with 0 if all goes on as it is, 3 if something is begun or rebuilt, 4 if the program would not start")
            .arg(json());
        let format = Arg::new("format")
            .long("format")
            .value_parser(FORMATS.map(|(name, _)| name))
            .default_value("text")
            .help("How");
        let show = Command::new("show").about("Show the app's topologies; asks no log").arg(format);
        let topologies = Command::new("topologies")
            .about("The app's topologies: what they are, and what a deployment would do to those that run")
            .subcommand_required(true)
            .subcommands([show, deploy]);
        let to_kafka = Command::new("embedded-to-kafka")
            .about("Move the app from an embedded log to a Kafka cluster. Run it again after an interruption: it goes on")
            .arg(Arg::new("from").long("from").value_name("DIR").help("The data directory of the embedded log [default: --data]"))
            .arg(Arg::new("to").long("to").value_name("kafka://HOST:PORT").required(true).help("The cluster"))
            .arg(Arg::new("verify").long("verify").action(ArgAction::SetTrue).help("Read both logs again and compare counts and digests"))
            .arg(json());
        let migrate = Command::new("migrate")
            .about("Move the app from one log to another")
            .subcommand_required(true)
            .subcommand(to_kafka);
        Config::command()
            .mut_args(|arg| arg.global(true))
            .subcommands([topics, topologies, migrate])
            .subcommands(letters::commands(json))
    }

    /// Like [`Config::from_matches`], with flags that [`Asked::command`] has parsed.
    ///
    /// # Errors
    ///
    /// As in [`Config::from_sources`].
    pub fn from_matches<E, K, V>(
        matches: &ArgMatches,
        env: E,
        read_file: impl FnOnce(&Path) -> io::Result<String>,
    ) -> Result<Self, ConfigError>
    where
        E: IntoIterator<Item = (K, V)>,
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let config = Config::from_matches(matches, env, read_file)?;
        let Some(what) = What::of(matches, &config)? else { return Ok(Self::Serve(config)) };
        Ok(Self::Admin(Admin { config, what }))
    }
}

impl What {
    fn of(matches: &ArgMatches, config: &Config) -> Result<Option<Self>, ConfigError> {
        let Some((group, matches)) = matches.subcommand() else { return Ok(None) };
        let Some((verb, matches)) = matches.subcommand() else { return Ok(None) };
        let json = matches.try_get_one::<bool>("json").ok().flatten().copied().unwrap_or_default();
        let all = |name: &str| matches.get_many::<String>(name).unwrap_or_default().cloned().collect();
        Ok(Some(match (group, verb) {
            ("topics", "plan") => Self::Plan { json },
            ("topologies", "show") => {
                let asked = matches.get_one::<String>("format").map_or("text", String::as_str);
                let known = FORMATS.iter().find(|(name, _)| *name == asked);
                Self::Show { format: known.map_or(Format::Text, |(_, format)| *format) }
            }
            ("topologies", _) => Self::Deploy { json },
            (group @ (letters::LETTERS | letters::FOLDS | letters::DECISIONS), verb) => {
                Self::Ask { ask: Ask::of(group, verb, matches)?, json }
            }
            ("topics", _) => {
                let word =
                    Word { accept_loss: all("accept-loss"), replace: all("replace"), ..Word::default() };
                Self::Apply { json, word }
            }
            _ => {
                let from =
                    matches.get_one::<String>("from").map_or_else(|| config.data.clone(), PathBuf::from);
                let to = matches.get_one::<String>("to").cloned().unwrap_or_default();
                let to = LogChoice::kafka(&to).map_err(|why| ConfigError::invalid("flag --to", &to, &why))?;
                Self::Migrate { from, to, verify: matches.get_flag("verify"), json }
            }
        }))
    }
}

impl Admin {
    /// Does it, tells what came of it, and answers the exit code.
    pub fn run(self, app: &App) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let done = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(self.act(app)));
        match done {
            Ok(code) => code,
            Err(error) => {
                let _ = writeln!(io::stderr(), "{}: {error}", app.name());
                ExitCode::FAILURE
            }
        }
    }

    async fn act(self, app: &App) -> Result<ExitCode, Failure> {
        app.check()?;
        match self.what {
            What::Plan { json } => plan(app, &self.config, json).await,
            What::Apply { json, word } => apply(app, &self.config, json, &word).await,
            What::Deploy { json } => deploy(app, &self.config, json).await,
            What::Show { format } => show(app, format),
            What::Ask { ask, json } => {
                ask.answer(app, open(&self.config).await?, json).await?;
                Ok(ExitCode::SUCCESS)
            }
            What::Migrate { from, to, verify, json } => {
                let config = Config { log: to, ..self.config };
                migrate(app, &from, &config, (verify, json)).await
            }
        }
    }
}

async fn plan(app: &App, config: &Config, json: bool) -> Result<ExitCode, Failure> {
    let survey = survey(app, config).await?;
    tell(&survey.plan, json)?;
    Ok(code_of(&survey.plan))
}

async fn survey(app: &App, config: &Config) -> Result<Survey, Failure> {
    let log: Arc<dyn Log> = match &config.log {
        // Opening would make it.
        LogChoice::Embedded if !has_log(&config.data) => Arc::new(MemoryLog::new(MemoryOptions::default())),
        _ => open(config).await?,
    };
    Ok(Survey::of(&*log, app, &Place::of(config), &Word::default()).await?)
}

async fn deploy(app: &App, config: &Config, json: bool) -> Result<ExitCode, Failure> {
    let recorded = survey(app, config).await?.registry.topologies();
    let deployment = Deployment::of(app.name(), &app.fixed_definitions(), &recorded);
    if json {
        print(serde_json::to_string(&deployment)?)?
    } else {
        print(&deployment)?
    }
    let has = |wanted: fn(&FateKind) -> bool| deployment.topologies.iter().any(|fate| wanted(&fate.kind));
    Ok(match () {
        () if has(|fate| *fate == FateKind::Conflict) => ExitCode::from(STUCK),
        () if has(|fate| matches!(fate, FateKind::Begin | FateKind::Rebuild { .. })) => {
            ExitCode::from(TO_APPLY)
        }
        () => ExitCode::SUCCESS,
    })
}

fn show(app: &App, format: Format) -> Result<ExitCode, Failure> {
    let description = app.describe();
    match format {
        Format::Text => print(description.to_string().trim_end())?,
        Format::Json => print(description.json())?,
        Format::Mermaid => print(description.mermaid().trim_end())?,
        Format::Svg => print(description.svg().trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn code_of(plan: &Plan) -> ExitCode {
    match plan {
        plan if plan.is_stuck() => ExitCode::from(STUCK),
        plan if plan.is_done() => ExitCode::SUCCESS,
        _ => ExitCode::from(TO_APPLY),
    }
}

async fn apply(app: &App, config: &Config, json: bool, word: &Word) -> Result<ExitCode, Failure> {
    let log = open(config).await?;
    let place = Place::of(config);
    match prepare(&*log, &SystemClock, app, &place, (Reach::Alter, word)).await? {
        Prepared::Ready(survey) => {
            tell(&survey.plan, json)?;
            let _ = writeln!(io::stderr(), "done");
            Ok(ExitCode::SUCCESS)
        }
        Prepared::Refused(plan) => {
            tell(&plan, json)?;
            let _ = writeln!(io::stderr(), "nothing was done: {}", plan.refusal());
            Ok(code_of(&plan))
        }
    }
}

async fn migrate(
    app: &App,
    from: &Path,
    config: &Config,
    (verify, json): (bool, bool),
) -> Result<ExitCode, Failure> {
    if !has_log(from) {
        return Err(
            format!("{} holds no embedded log: give the data directory with --from", from.display()).into()
        );
    }
    let old = open_embedded(from)?;
    let new = open(config).await?;
    let mut pace = Pace::begin();
    let mut on_progress = |progress| {
        if let Some(line) = pace.tell(&progress) {
            let _ = writeln!(io::stderr(), "{line}");
        }
    };
    let report = Migration::new(app, &*old, &*new).verify(verify).run(&mut on_progress).await?;
    old.close();
    if json {
        print(serde_json::to_string(&report)?)?;
    } else {
        print(told(app, &report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn told(app: &App, report: &Report) -> String {
    let mut lines: Vec<String> = Vec::new();
    for partition in &report.verified {
        let (name, records, digest) = (&partition.partition, partition.records, &partition.digest);
        lines.push(format!("equal  {name}  {records} records  {digest}"));
    }
    let was = if report.was_finished { "had been moved before" } else { "is moved" };
    lines.push(format!("{} {was} from log {} to log {}", app.name(), report.from, report.to));
    lines.join("\n")
}

fn tell(plan: &Plan, json: bool) -> Result<(), Failure> {
    if json { print(serde_json::to_string(plan)?) } else { print(plan) }
}

/// Writes to standard output; a reader who has gone away is no failure.
fn print(text: impl Display) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Opens the log that the settings choose, and nothing beside it.
async fn open(config: &Config) -> Result<Arc<dyn Log>, Failure> {
    match &config.log {
        LogChoice::Memory => {
            Err("the memory log is gone when a process ends: choose another with --log".into())
        }
        LogChoice::Embedded => Ok(open_embedded(&config.data)?),
        LogChoice::Kafka(servers) => Ok(crate::runtime::connect(servers, config).await?),
    }
}

/// An embedded log on which nothing happens by itself.
fn open_embedded(data: &Path) -> Result<Arc<EmbeddedLog>, Failure> {
    let options = Options { maintenance_every: None, check_after_crash: false, ..Options::default() };
    Ok(EmbeddedLog::open(data, options)?)
}

fn has_log(data: &Path) -> bool {
    data.join("log").is_dir()
}
