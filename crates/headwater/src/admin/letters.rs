//! The commands about records that could not be processed: shown and decided about, over the app's log.
//!
//! A decision is a record: a service that runs on Kafka finds it at once, one on an embedded log, which these commands need
//! for themselves, at its next start.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use headwater_core::clock::SystemClock;
use headwater_core::log::Log;

use super::{Failure, print};
use crate::app::App;
use crate::config::ConfigError;
use crate::letters::{DeadLetter, DeadLetters, Decide, DecisionReport, MetRecord, RecordId};

/// What is asked about letters, folds and decisions.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Dead letters, in pages.
    Letters { topology: Option<String>, limit: usize, after: Option<RecordId> },
    /// A dead letter, and those of its key.
    Letter { id: RecordId },
    /// A record that a topology reads, and what was decided about it.
    Record { id: RecordId },
    /// Every decision.
    Decisions,
    /// To decide.
    Decide { id: RecordId, verdict: Verdict, by: Option<String>, note: Option<String> },
}

/// What is decided.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Skip,
    Replace(Option<Bytes>),
    Retry { all: bool },
    Edit(Option<Bytes>),
    Discard { all: bool },
}

/// The groups of commands.
pub(super) const LETTERS: &str = "letters";
pub(super) const FOLDS: &str = "folds";
pub(super) const DECISIONS: &str = "decisions";

pub(super) fn commands(json: fn() -> Arg) -> [Command; 3] {
    let show = Command::new("show")
        .about("Show a record that a fold reads, and what was decided about it")
        .args([id(), json()]);
    let skip = deciding("skip", "Let a fold go on without a record, on every replay alike").arg(json());
    let replace = with_value(deciding(
        "replace",
        "Let a fold take another value in a record's place, under the same key, on every replay alike",
    ))
    .arg(json());
    let folds = Command::new(FOLDS)
        .about("Folds that stopped at a record, which only a running service knows: its /readyz and its messages name it")
        .subcommand_required(true)
        .subcommands([show, skip, replace]);
    let list = Command::new("list").about("Every decision that was made, the earliest first").arg(json());
    let decisions = Command::new(DECISIONS)
        .about("Decisions about records that could not be processed")
        .subcommand_required(true)
        .subcommand(list);
    [letters(json), folds, decisions]
}

fn letters(json: fn() -> Arg) -> Command {
    let all = || {
        let help = "It and those that wait behind it, for they have the same key";
        Arg::new("all").long("all").action(ArgAction::SetTrue).help(help)
    };
    let topology = Arg::new("topology").long("topology").value_name("NAME").help("Those of one topology");
    let limit = Arg::new("limit").long("limit").value_name("N").value_parser(clap::value_parser!(u32));
    let limit = limit.default_value("100").help("So many at most");
    let after = Arg::new("after").long("after").value_name("ID").value_parser(str::parse::<RecordId>);
    let after = after.help("Those behind this one: the next page");
    let list = Command::new("list").about("List dead letters").args([topology, limit, after, json()]);
    let show = Command::new("show").about("Show a dead letter, with those of its key").args([id(), json()]);
    let retry = deciding("retry", "Process a dead letter again, the first of its key").args([all(), json()]);
    let edit =
        with_value(deciding("edit", "Give a dead letter another value, and process it again")).arg(json());
    let discard = deciding("discard", "Give a dead letter up").args([all(), json()]);
    Command::new(LETTERS)
        .about(
            "Dead letters: records that topologies could not process, and set aside. A fold sets none aside, it stops: its \
             record is named by /readyz and the service's messages, and decided about with `folds`",
        )
        .subcommand_required(true)
        .subcommands([list, show, retry, edit, discard])
}

fn id() -> Arg {
    Arg::new("id")
        .value_name("TOPOLOGY/TOPIC-PARTITION@OFFSET")
        .required(true)
        .value_parser(str::parse::<RecordId>)
        .help("The record, such as total/visits-3@42")
}

fn deciding(name: &'static str, about: &'static str) -> Command {
    let by =
        Arg::new("by").long("by").value_name("WHO").help("Who decides [default: the user of this session]");
    let note = Arg::new("note").long("note").value_name("TEXT").help("Why");
    Command::new(name).about(about).args([id(), by, note])
}

fn with_value(command: Command) -> Command {
    let value =
        Arg::new("value").long("value").value_name("TEXT").help("The value, as the topic's records have it");
    let file =
        Arg::new("value-file").long("value-file").value_name("FILE").help("The same, read from a file");
    let null = Arg::new("null").long("null").action(ArgAction::SetTrue).help("No value: a tombstone");
    let group = ArgGroup::new("new-value").args(["value", "value-file", "null"]).required(true);
    command.args([value, file, null]).group(group)
}

impl Ask {
    pub(super) fn of(group: &str, verb: &str, matches: &ArgMatches) -> Result<Self, ConfigError> {
        if group == DECISIONS {
            return Ok(Self::Decisions);
        }
        if (group, verb) == (LETTERS, "list") {
            let limit = matches.get_one::<u32>("limit").map_or(100, |limit| *limit as usize);
            let topology = matches.get_one::<String>("topology").cloned();
            return Ok(Self::Letters {
                topology,
                limit,
                after: matches.get_one::<RecordId>("after").cloned(),
            });
        }
        let id = matches.get_one::<RecordId>("id").cloned().expect("the command requires an id");
        let verdict = match verb {
            "skip" => Verdict::Skip,
            "replace" => Verdict::Replace(value(matches)?),
            "retry" => Verdict::Retry { all: matches.get_flag("all") },
            "edit" => Verdict::Edit(value(matches)?),
            "discard" => Verdict::Discard { all: matches.get_flag("all") },
            _ if group == LETTERS => return Ok(Self::Letter { id }),
            _ => return Ok(Self::Record { id }),
        };
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let by = text("by").or_else(|| std::env::var("USER").ok().filter(|user| !user.is_empty()));
        Ok(Self::Decide { id, verdict, by, note: text("note") })
    }

    pub(super) async fn answer(self, app: &App, log: Arc<dyn Log>, json: bool) -> Result<(), Failure> {
        let letters = DeadLetters::on(log, Arc::new(SystemClock), app);
        match self {
            Self::Letters { topology, limit, after } => {
                let page = letters.list(topology.as_deref(), limit, after.as_ref()).await?;
                if json {
                    return print(serde_json::to_string(&page)?);
                }
                let lines: Vec<_> = page.letters.iter().map(in_a_line).collect();
                list(
                    &lines,
                    "no dead letters; a fold that stopped at a record is named by /readyz and the service's messages",
                )?;
                page.next.map_or(Ok(()), |next| print(format!("more: --after {next}")))
            }
            Self::Letter { id } => {
                let letter = letters.letter(&id).await?;
                let line = letters.line_of(&id).await?;
                if json {
                    return print(serde_json::json!({"letter": letter, "line": line}));
                }
                print(shown_letter(&letter))?;
                let others = line.iter().filter(|other| other.record.id != id);
                others.into_iter().try_for_each(|other| print(format!("  same key {}", in_a_line(other))))
            }
            Self::Record { id } => {
                let record = letters.record(&id).await?;
                let decided: Vec<_> =
                    letters.decisions().await?.into_iter().filter(|made| made.about == id).collect();
                if json {
                    return print(serde_json::json!({"record": record, "decisions": decided}));
                }
                print(shown(&record))?;
                decided.iter().try_for_each(|made| print(line(made)))
            }
            Self::Decisions => {
                let made = letters.decisions().await?;
                if json {
                    print(serde_json::to_string(&made)?)
                } else {
                    list(&made.iter().map(line).collect::<Vec<_>>(), "no decisions")
                }
            }
            Self::Decide { id, verdict, by, note } => {
                let made = told_by(decide(&letters, &id, verdict), by, note).await?;
                if json { print(serde_json::to_string(&made)?) } else { print(line(&made)) }
            }
        }
    }
}

/// Writes lines to standard output; where there are none, says so beside it.
fn list(lines: &[String], none: &str) -> Result<(), Failure> {
    if lines.is_empty() {
        let _ = writeln!(io::stderr(), "{none}");
    }
    lines.iter().try_for_each(print)
}

fn value(matches: &ArgMatches) -> Result<Option<Bytes>, ConfigError> {
    if let Some(file) = matches.get_one::<String>("value-file") {
        let read = std::fs::read(Path::new(file));
        let read =
            read.map_err(|error| ConfigError::invalid("flag --value-file", file, &error.to_string()))?;
        return Ok(Some(read.into()));
    }
    Ok(matches.get_one::<String>("value").map(|text| Bytes::from(text.clone())))
}

fn decide(letters: &DeadLetters, id: &RecordId, verdict: Verdict) -> Decide {
    match verdict {
        Verdict::Skip => letters.skip(id),
        Verdict::Replace(value) => letters.replace(id, value),
        Verdict::Retry { all: false } => letters.retry(id),
        Verdict::Retry { all: true } => letters.retry_all(id),
        Verdict::Edit(value) => letters.edit(id, value),
        Verdict::Discard { all: false } => letters.discard(id),
        Verdict::Discard { all: true } => letters.discard_all(id),
    }
}

fn told_by(decide: Decide, by: Option<String>, note: Option<String>) -> Decide {
    let decide = match by {
        Some(by) => decide.by(by),
        None => decide,
    };
    match note {
        Some(note) => decide.note(note),
        None => decide,
    }
}

/// A record in lines.
fn shown(record: &MetRecord) -> String {
    let mut text = format!("{}\n  time     {}\n", record.id, time(record.timestamp.0));
    let _ = writeln!(text, "  key      {}", bytes(record.key.as_ref()));
    let _ = write!(text, "  value    {}", bytes(record.value.as_ref()));
    for (name, value) in &record.headers {
        let _ = write!(text, "\n  header   {name}: {}", bytes(value.as_ref()));
    }
    text
}

/// A dead letter in a line.
fn in_a_line(letter: &DeadLetter) -> String {
    let DeadLetter { record, reason, error, attempts, since, .. } = letter;
    let since = time(since.0);
    format!("{}  {}  {attempts} attempts  since {since}  {error}", record.id, reason.name())
}

/// A dead letter in lines.
fn shown_letter(letter: &DeadLetter) -> String {
    let mut text = shown(&letter.record);
    let _ = write!(text, "\n  reason   {}: {}", letter.reason.name(), letter.error);
    let _ = write!(text, "\n  attempts {}, the last at {}", letter.attempts, time(letter.last.0));
    let _ = write!(text, "\n  since    {}", time(letter.since.0));
    if let Some(edited) = &letter.edited {
        let _ = write!(text, "\n  edited   {}", bytes(edited.0.as_ref()));
    }
    text
}

/// A decision in a line.
fn line(made: &DecisionReport) -> String {
    let mut text = format!("{}  {}  {}", time(made.at.0), made.verdict, made.about);
    if ["replace", "edit"].contains(&made.verdict.as_str()) {
        let _ = write!(text, "  {}", bytes(made.value.as_ref()));
    }
    if let Some(by) = &made.by {
        let _ = write!(text, "  by {by}");
    }
    if let Some(note) = &made.note {
        let _ = write!(text, "  ({note})");
    }
    text
}

fn bytes(bytes: Option<&Bytes>) -> String {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => "null".to_owned(),
        Some((Ok(text), _)) => text.to_owned(),
        Some((Err(_), bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}
