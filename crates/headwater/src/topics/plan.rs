//! What an app's topics need and what is there, compared: pure, and told in words or as JSON.

use std::fmt::{self, Write};

use headwater_core::log::{Cleanup, RecordTimes, Replicas, TopicDescription, TopicSettings};
use headwater_core::topic::{TopicId, TopicName};
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::Config;

use super::declared::{Purpose, TopicDeclaration};

/// What would have to be done for an app's topics, and what stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The app.
    pub app: String,
    /// One step for each topic.
    pub steps: Vec<Step>,
    /// Topologies that are defined otherwise than they were.
    pub conflicts: Vec<DefinitionConflict>,
    /// A migration into this log that is not finished, and what to do.
    pub unfinished: Option<String>,
}

/// What is to be done about one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// The topic.
    pub topic: TopicName,
    /// Why it exists.
    #[serde(flatten)]
    pub purpose: Purpose,
    /// What it needs.
    pub needs: TopicSettings,
    /// What is to be done.
    #[serde(flatten)]
    pub action: Action,
    /// Whether somebody accepted that records it had are gone.
    pub given_up: bool,
}

/// What is to be done about a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "action", content = "differences")]
pub enum Action {
    /// Nothing: it is as it must be.
    Keep,
    /// Make it.
    Create,
    /// Change how it is kept; [`Difference::blocks`] says which of them a start refuses.
    Alter(Vec<Difference>),
    /// Delete it and make it again: somebody accepted the loss of its records.
    Remake(Vec<Difference>),
    /// What differs cannot be altered.
    Refuse(Vec<Difference>),
}

/// One setting of a topic that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// What differs.
    pub setting: &'static str,
    /// What the topic has.
    pub has: String,
    /// What the app needs.
    pub needs: String,
    /// Whether the app may not start on it.
    pub blocks: bool,
    /// The command that mends it.
    pub mend: String,
}

/// A topology that is defined otherwise than it was under the same name and version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DefinitionConflict {
    /// The topology, with its version from the second on.
    pub topology: String,
    /// As it was when it was first started.
    pub recorded: Value,
    /// As this program defines it.
    pub defined: Value,
    /// What to do.
    pub mend: String,
}

/// Where an operator mends what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Flags that lead the app's program to the same log; empty where its settings do.
    pub flags: String,
}

impl Place {
    /// The place that the settings of a program choose.
    pub fn of(config: &Config) -> Self {
        Self { flags: config.log_flags() }
    }

    pub(super) fn own(&self, app: &str, what: &str) -> String {
        let flags = if self.flags.is_empty() { String::new() } else { format!(" {}", self.flags) };
        format!("{app} topics {what}{flags}")
    }
}

/// What is known of one topic.
pub(crate) struct Known {
    pub(crate) declared: TopicDeclaration,
    /// As it is.
    pub(crate) there: Option<TopicDescription>,
    /// The id under which it was known last.
    pub(crate) recorded: Option<TopicId>,
    /// On how many machines the log wants it.
    pub(crate) replicas: Option<Replicas>,
    /// How many machines the log has.
    pub(crate) machines: Option<u32>,
    /// Whether somebody accepts the loss of its records.
    pub(crate) given_up: bool,
}

impl Plan {
    pub(crate) fn new(
        app: &str,
        place: &Place,
        topics: Vec<Known>,
        conflicts: Vec<DefinitionConflict>,
    ) -> Self {
        let steps = topics.into_iter().map(|known| step(app, place, known)).collect();
        Self { app: app.to_owned(), steps, conflicts, unfinished: None }
    }

    /// Whether an app may not start on these topics, but for those that a start makes itself.
    pub fn refuses(&self) -> bool {
        self.has_conflict() || self.steps.iter().any(|step| step.blocking().next().is_some())
    }

    /// Whether something stands in the way that only an operator can decide on.
    pub fn is_stuck(&self) -> bool {
        self.has_conflict() || self.steps.iter().any(|step| matches!(step.action, Action::Refuse(_)))
    }

    fn has_conflict(&self) -> bool {
        !self.conflicts.is_empty() || self.unfinished.is_some()
    }

    /// Whether there is nothing to do.
    pub fn is_done(&self) -> bool {
        !self.has_conflict() && self.steps.iter().all(|step| step.action == Action::Keep)
    }

    /// What a start refuses, each with the topics of which it is true.
    fn blocking_alike(&self) -> Vec<(&Difference, Vec<&Step>)> {
        let mut alike: Vec<(&Difference, Vec<&Step>)> = Vec::new();
        for (step, difference) in
            self.steps.iter().flat_map(|step| step.blocking().map(move |difference| (step, difference)))
        {
            match alike.iter_mut().find(|(found, _)| *found == difference) {
                Some((_, steps)) => steps.push(step),
                None => alike.push((difference, vec![step])),
            }
        }
        alike
    }

    /// Why an app may not start, in one sentence for each reason; until a migration is finished that is the only one.
    pub fn refusal(&self) -> String {
        if let Some(unfinished) = &self.unfinished {
            return unfinished.clone();
        }
        let topics = self.blocking_alike().into_iter().map(|(difference, steps)| {
            let Difference { setting, has, needs, mend, .. } = difference;
            let Step { topic, purpose, .. } = steps[0];
            let others: Vec<_> = steps[1..].iter().map(|step| format!("\"{}\"", step.topic)).collect();
            let others = match others.len() {
                0 => String::new(),
                1 => format!(" (and so has {})", others[0]),
                _ => format!(" (and so have {})", others.join(", ")),
            };
            format!(
                "topic \"{topic}\" ({purpose}) has {setting} {has}, but the app needs {needs}: {mend}{others}"
            )
        });
        let conflicts = self.conflicts.iter().map(ToString::to_string);
        topics.chain(conflicts).collect::<Vec<_>>().join("; ")
    }
}

impl Step {
    fn blocking(&self) -> impl Iterator<Item = &Difference> {
        let differences = match &self.action {
            Action::Alter(differences) | Action::Remake(differences) | Action::Refuse(differences) => {
                &differences[..]
            }
            Action::Keep | Action::Create => &[],
        };
        differences.iter().filter(|difference| difference.blocks)
    }
}

impl fmt::Display for DefinitionConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topology, recorded, defined, mend } = self;
        write!(
            f,
            "topology \"{topology}\" was started as {recorded}, and this program defines it as {defined}: {mend}"
        )
    }
}

impl DefinitionConflict {
    pub(crate) fn new(app: &str, place: &Place, topology: &str, recorded: &Value, defined: &Value) -> Self {
        let other = match defined["kind"].as_str() {
            Some("fold") => "give it another version (`.version(n)`), which is built beside the old one",
            _ => "give it another name",
        };
        let replace = place.own(app, &format!("apply --replace {topology}"));
        let mend = if is_replaceable(recorded, defined) {
            format!("{other}; or, if the old one runs nowhere and is not wanted, run `{replace}`")
        } else {
            other.to_owned()
        };
        Self { topology: topology.to_owned(), recorded: recorded.clone(), defined: defined.clone(), mend }
    }
}

/// Whether what runs under a recorded definition goes on under another: it is the same, or has stores of other names alone,
/// which each instance sees and builds again.
pub(crate) fn goes_on(recorded: &Value, defined: &Value) -> bool {
    let recorded = &as_told_now(recorded, defined);
    let stores =
        |fixed: &Value| fixed["operators"].as_object().map(|of| of.keys().cloned().collect::<Vec<_>>());
    let beside_operators = |fixed: &Value| {
        let mut fixed = fixed.clone();
        fixed.as_object_mut().map(|fixed| fixed.remove("operators"));
        fixed
    };
    let is_built_again = || stores(recorded) != stores(defined);
    recorded == defined || is_built_again() && beside_operators(recorded) == beside_operators(defined)
}

/// A recorded definition in the form of today: once the tables of what appends stood there without the operators that make
/// them, which stood beside or nowhere. What is not told is taken to be as it is defined now.
fn as_told_now(recorded: &Value, defined: &Value) -> Value {
    let mut told = recorded.clone();
    let names: Option<Vec<&str>> =
        recorded["tables"].as_array().and_then(|tables| tables.iter().map(Value::as_str).collect());
    let Some(names) = names else { return told };
    let operators = told.as_object_mut().and_then(|fixed| fixed.remove("operators"));
    let made_by = |(index, table): (usize, &str)| {
        let operators = operators.as_ref().and_then(Value::as_object);
        let recorded = operators.map(|of| {
            let has = |store: &&String| {
                table
                    .strip_prefix(store.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            of.keys()
                .filter(has)
                .max_by_key(|store| store.len())
                .map(|store| of[store].clone())
                .unwrap_or_default()
        });
        recorded.unwrap_or_else(|| defined["tables"][index][1].clone())
    };
    let tables = names.iter().enumerate().map(|(index, table)| json!([table, made_by((index, table))]));
    told["tables"] = tables.collect();
    told
}

/// Whether one definition may take the other's place: not where an emitter keeps state, which is of the old one, nor where
/// instances have rows that another operator would go on with.
pub(crate) fn is_replaceable(recorded: &Value, defined: &Value) -> bool {
    let keeps_state = |fixed: &Value| fixed["tables"].is_array();
    !keeps_state(recorded) && !keeps_state(defined) && recorded["operators"] == defined["operators"]
}

fn step(app: &str, place: &Place, known: Known) -> Step {
    let Known { declared, there, recorded, replicas, machines, given_up } = known;
    let TopicDeclaration { name, settings, purpose } = declared;
    let gone = recorded.filter(|id| there.as_ref().is_none_or(|there| there.id != *id));
    let recorded = gone.filter(|_| !given_up);
    let has = there.as_ref().map_or(settings, |there| there.settings);
    let (needs, replicas) = demanded(&purpose, settings, has, replicas);
    let action = match (there, recorded) {
        (there, Some(id)) => {
            Action::Refuse(vec![lost(app, place, (&name, &purpose), id, there.map(|there| there.id))])
        }
        (None, None) => Action::Create,
        (Some(there), None) if there.settings.partitions != needs.partitions => {
            let difference = other_partitions(app, place, &there, needs.partitions, &purpose);
            let is_own = !purpose.is_shared();
            if given_up && is_own {
                Action::Remake(vec![difference])
            } else {
                Action::Refuse(vec![difference])
            }
        }
        (Some(there), None) => compare(app, place, &there, needs, (replicas, machines)),
    };
    let given_up = given_up && (gone.is_some() || matches!(action, Action::Remake(_)));
    Step { topic: name, purpose, needs, action, given_up }
}

/// What is demanded of a topic that is there: less of one that other programs may have made.
fn demanded(
    purpose: &Purpose,
    needs: TopicSettings,
    has: TopicSettings,
    replicas: Option<Replicas>,
) -> (TopicSettings, Option<Replicas>) {
    match purpose {
        Purpose::Folded(_) => (TopicSettings { times: has.times, ..needs }, None),
        Purpose::Shared(_) => (TopicSettings { partitions: needs.partitions, ..has }, None),
        _ => (needs, replicas),
    }
}

/// A topic that was deleted, and maybe made again.
fn lost(
    app: &str,
    place: &Place,
    (name, purpose): (&TopicName, &Purpose),
    was: TopicId,
    is: Option<TopicId>,
) -> Difference {
    let accept = place.own(app, &format!("apply --accept-loss {name}"));
    Difference {
        setting: "id",
        has: is
            .map_or("none: it was deleted".to_owned(), |id| format!("{id}: it was deleted and made again")),
        needs: format!("{was} with its records"),
        blocks: true,
        mend: format!(
            "put it back from a copy; or go on without its records ({}): run `{accept}`",
            purpose.loss()
        ),
    }
}

fn compare(
    app: &str,
    place: &Place,
    there: &TopicDescription,
    needs: TopicSettings,
    (replicas, machines): (Option<Replicas>, Option<u32>),
) -> Action {
    let has = there.settings;
    let mend = format!("run `{}`", place.own(app, "apply"));
    let mut differences = Vec::new();
    if has.cleanup != needs.cleanup {
        differences.push(Difference {
            setting: if same_policy(has.cleanup, needs.cleanup) { "retention" } else { "cleanup policy" },
            has: in_words(has.cleanup),
            needs: in_words(needs.cleanup),
            blocks: drops_too_early(has.cleanup, needs.cleanup),
            mend: mend.clone(),
        });
    }
    if has.times != needs.times {
        let (has, needs) = (whose(has.times), whose(needs.times));
        let mend = mend.clone();
        differences.push(Difference { setting: "record times", has, needs, blocks: true, mend });
    }
    let mut beyond_machines = false;
    if let (Some(has), Some(wanted)) = (there.replicas, replicas) {
        let machines = machines.filter(|machines| has.factor < wanted.factor && *machines < wanted.factor);
        beyond_machines = machines.is_some();
        let mend = match machines {
            // What no command can do is not offered.
            Some(machines) => format!("start more: the cluster has too few brokers, {machines}"),
            None => mend,
        };
        let counts = [
            ("replication factor", has.factor, wanted.factor),
            ("min.insync.replicas", has.min_in_sync, wanted.min_in_sync),
        ];
        let fewer = counts.into_iter().filter(|(_, has, wanted)| has < wanted);
        let meant = fewer_meant(has, wanted);
        differences.extend(fewer.map(|(setting, has, wanted)| Difference {
            setting,
            has: has.to_string(),
            needs: wanted.to_string(),
            blocks: true,
            mend: format!("{meant}; or {mend}"),
        }));
    }
    match () {
        () if differences.is_empty() => Action::Keep,
        () if beyond_machines => Action::Refuse(differences),
        () => Action::Alter(differences),
    }
}

/// What to set where a topic has as few copies as it should have, and the setting that says so was forgotten.
fn fewer_meant(has: Replicas, wanted: Replicas) -> String {
    let (key, count) = match has.factor < wanted.factor {
        // Of one copy no more than one can be asked for.
        true => ("kafka_replication", has.factor),
        false => ("kafka_min_in_sync", has.min_in_sync),
    };
    let copies = if count == 1 { "one copy is".to_owned() } else { format!("{count} copies are") };
    format!("set {key} = {count} (HEADWATER_{}={count}) if {copies} meant", key.to_uppercase())
}

/// Another count of partitions: no log takes partitions from a topic, and another count moves keys.
fn other_partitions(
    app: &str,
    place: &Place,
    there: &TopicDescription,
    needs: u32,
    purpose: &Purpose,
) -> Difference {
    let (count, name) = (there.settings.partitions, &there.name);
    let program = format!(
        "keys would change their partitions, so the count stays as the topic was made: if the program was changed, set \
         `AppOptions::partitions` to {count}"
    );
    let elsewhere = match purpose {
        Purpose::Folded(topic) => format!(
            "; or let views read it through a topic of the app's own count, with `.repartition(\"{topic}-here\")` behind \
             its stream"
        ),
        _ => String::new(),
    };
    let remake = place.own(app, &format!("apply --accept-loss {name}"));
    let loss = purpose.loss();
    let topic = format!("; if the topic was, make it again without its records ({loss}): run `{remake}`");
    Difference {
        setting: "partitions",
        has: count.to_string(),
        needs: needs.to_string(),
        blocks: true,
        mend: if purpose.is_shared() { program + &elsewhere } else { program + &topic },
    }
}

fn same_policy(one: Cleanup, other: Cleanup) -> bool {
    std::mem::discriminant(&one) == std::mem::discriminant(&other)
}

/// Whether a topic drops what it must still have; what it keeps longer does no harm.
fn drops_too_early(has: Cleanup, needs: Cleanup) -> bool {
    match (has, needs) {
        (Cleanup::Keep, _) => false,
        (Cleanup::Expire { after_ms: has }, Cleanup::Expire { after_ms: needs })
        | (Cleanup::Compact { tombstones_ms: has }, Cleanup::Compact { tombstones_ms: needs }) => has < needs,
        _ => true,
    }
}

fn in_words(cleanup: Cleanup) -> String {
    match cleanup {
        Cleanup::Keep => "keep everything".to_owned(),
        Cleanup::Expire { after_ms } => format!("expire after {}", span(after_ms)),
        Cleanup::Compact { tombstones_ms } => format!("compact, tombstones after {}", span(tombstones_ms)),
    }
}

fn whose(times: RecordTimes) -> String {
    match times {
        RecordTimes::Producer => "of the producer",
        RecordTimes::Log => "of the log",
    }
    .to_owned()
}

/// A time in the largest unit that it is a whole number of.
fn span(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    let whole = UNITS.into_iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit));
    whole.map_or(format!("{ms} ms"), |(unit, name)| format!("{} {name}", ms / unit))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = [0; 5];
        for step in &self.steps {
            let (index, sign, word) = match step.action {
                Action::Create => (0, '+', "create"),
                Action::Alter(_) => (1, '~', "alter"),
                Action::Remake(_) => (2, '-', "remake"),
                Action::Refuse(_) => (3, '!', "refuse"),
                Action::Keep => (4, ' ', "keep"),
            };
            counts[index] += 1;
            let TopicSettings { partitions, cleanup, times } = step.needs;
            writeln!(
                f,
                "{sign} {word:<6} {}  {partitions} partition{}, {}, times {}  ({})",
                step.topic,
                if partitions == 1 { "" } else { "s" },
                in_words(cleanup),
                whose(times),
                step.purpose
            )?;
            write_differences(f, &step.action)?;
            if step.given_up {
                writeln!(f, "           its records are given up: {}", step.purpose.loss())?;
            }
        }
        if let Some(unfinished) = &self.unfinished {
            writeln!(f, "! refuse {unfinished}")?;
        }
        for conflict in &self.conflicts {
            writeln!(f, "! refuse {conflict}")?;
        }
        let [create, alter, remake, refuse, keep] = counts;
        let refuse = refuse + self.conflicts.len() + usize::from(self.unfinished.is_some());
        write!(f, "{create} to create, {alter} to alter, ")?;
        if remake > 0 {
            write!(f, "{remake} to make again without their records, ")?;
        }
        write!(f, "{refuse} refused, {keep} as they must be")
    }
}

fn write_differences(f: &mut fmt::Formatter<'_>, action: &Action) -> fmt::Result {
    let (Action::Alter(differences) | Action::Remake(differences) | Action::Refuse(differences)) = action
    else {
        return Ok(());
    };
    for Difference { setting, has, needs, blocks, mend } in differences {
        let mut line = format!("           {setting}: {has} -> {needs}");
        match (action, blocks) {
            (Action::Refuse(_), _) => write!(line, ": {mend}")?,
            (_, false) => line.push_str(" (does no harm)"),
            (_, true) => {}
        }
        writeln!(f, "{line}")?;
    }
    Ok(())
}
