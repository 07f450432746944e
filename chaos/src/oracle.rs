//! The judge: what callers were told against what the raw topics hold, and views against a fold of them.
//!
//! Everything here is a function of what was seen, so that each rule can be shown a history that breaks it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::history::{Command, Order, Told};
use crate::records::{Batch, Record};

/// Everything that was seen of a run after its end.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// What was sent, and told.
    pub commands: BTreeMap<Command, Vec<Told>>,
    /// The events topic, committed.
    pub events: Vec<Record>,
    /// The outcomes topic, committed.
    pub outcomes: Vec<Record>,
    /// Who appended to the events topic, as the broker's own files say.
    pub batches: Vec<Batch>,
    /// What each instance answered for each customer.
    pub views: Vec<Answered>,
}

/// What one instance's views say of one customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Who was asked.
    pub instance: String,
    /// For whom.
    pub customer: String,
    /// How often each label, with its price group, was ordered.
    pub items: BTreeMap<(String, String), u64>,
    /// How many pence were spent in each price group.
    pub spent: BTreeMap<String, u128>,
}

/// Every rule that the evidence breaks, in words; empty if all hold.
pub fn judge(evidence: &Evidence) -> Vec<String> {
    let mut violations = Vec::new();
    let events = read_events(&evidence.events, &mut violations);
    commands_and_events_agree(evidence, &events, &mut violations);
    outcomes_agree(evidence, &events, &mut violations);
    one_writer_at_a_time(&evidence.batches, &mut violations);
    violations.extend(undecided(evidence));
    violations.extend(wrong_views(evidence));
    violations
}

/// Commands that were appended to the commands topic and have no outcome.
///
/// They survive the absence of every owner, so each is decided in the end.
pub fn undecided(evidence: &Evidence) -> Vec<String> {
    let decided: BTreeSet<(String, String)> = evidence.outcomes.iter().filter_map(outcome_key).collect();
    let undecided = evidence.commands.iter().filter(|(command, told)| {
        told.contains(&Told::Appended) && !decided.contains(&(command.order.id.clone(), command.id()))
    });
    let told = |(command, _)| format!("{command:?} was appended to the commands topic and never decided");
    undecided.map(told).collect()
}

/// Answers of views that are not what folding the raw events gives.
pub fn wrong_views(evidence: &Evidence) -> Vec<String> {
    let mut violations = Vec::new();
    // What is wrong with the events themselves is told elsewhere.
    let events = read_events(&evidence.events, &mut Vec::new());
    for answered in &evidence.views {
        let (items, spent) = fold(&events, &answered.customer);
        let Answered { instance, customer, .. } = answered;
        if answered.items != items {
            let told = &answered.items;
            violations.push(format!("{instance} says {customer} ordered {told:?}; the log says {items:?}"));
        }
        if answered.spent != spent {
            let told = &answered.spent;
            violations.push(format!("{instance} says {customer} spent {told:?}; the log says {spent:?}"));
        }
    }
    violations
}

/// An event as the raw record holds it.
#[derive(Debug, Clone)]
struct Event {
    place: String,
    order: Order,
    command_id: String,
}

/// Events by order; what is no event of ours, or not the next version, is a violation.
fn read_events(records: &[Record], violations: &mut Vec<String>) -> BTreeMap<String, Vec<Event>> {
    let mut events: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for record in records {
        let Some(event) = event(record) else {
            violations.push(format!("{} holds no order's event", record.place()));
            continue;
        };
        let of_order = events.entry(event.order.id.clone()).or_default();
        let expected = (of_order.len() + 1).to_string();
        if record.header("ce_sequence") != Some(&expected) {
            let version = record.header("ce_sequence");
            violations.push(format!("{} has version {version:?}, not {expected}", event.place));
        }
        of_order.push(event);
    }
    events
}

fn event(record: &Record) -> Option<Event> {
    let value: Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
    let order = value.get("order")?;
    let text = |name: &str| order.get(name)?.as_str().map(str::to_owned);
    Some(Event {
        place: record.place(),
        order: Order {
            id: record.key_text(),
            customer: text("customer")?,
            label: text("label")?,
            pence: order.get("price")?.as_u64()?,
        },
        command_id: record.header("hw_command_id")?.to_owned(),
    })
}

/// Acknowledged: in the log exactly once. Refused: never. Unknown: once or not at all. Nothing that nobody sent.
fn commands_and_events_agree(
    evidence: &Evidence,
    events: &BTreeMap<String, Vec<Event>>,
    violations: &mut Vec<String>,
) {
    for (command, told) in &evidence.commands {
        let of_order = events.get(&command.order.id).map(Vec::as_slice).unwrap_or_default();
        let same = of_order.iter().filter(|event| event.order == command.order).count();
        let (accepted, refused) = (told.contains(&Told::Accepted), told.contains(&Told::Refused));
        if accepted && refused {
            violations.push(format!("{command:?} was told to be accepted and refused: {told:?}"));
        }
        if accepted && same != 1 {
            violations.push(format!("{command:?} was acknowledged and is in the log {same} times"));
        }
        // Direct commands under one order's id share a command id: what another way placed alike was not placed by it.
        let by_it = |event: &&Event| event.order == command.order && event.command_id == command.id();
        if refused && (of_order.iter().any(|event| by_it(&event)) || of_order.is_empty()) {
            violations.push(format!("{command:?} was refused, and the log holds {of_order:?} under its id"));
        }
    }
    let sent: BTreeSet<(String, &Order)> =
        evidence.commands.keys().map(|command| (command.id(), &command.order)).collect();
    for event in events.values().flatten() {
        if !sent.contains(&(event.command_id.clone(), &event.order)) {
            violations.push(format!("{} is of an order that nobody sent: {event:?}", event.place));
        }
    }
    for (id, events) in events.iter().filter(|(_, events)| events.len() > 1) {
        violations.push(format!("order {id} was placed {} times: {events:?}", events.len()));
    }
}

/// Each command has one outcome, which says what the events topic shows.
fn outcomes_agree(evidence: &Evidence, events: &BTreeMap<String, Vec<Event>>, violations: &mut Vec<String>) {
    let mut outcomes: BTreeMap<(String, String), Vec<&Record>> = BTreeMap::new();
    for record in &evidence.outcomes {
        let Some((order, command)) = outcome_key(record) else {
            violations.push(format!("{} has the key of no outcome", record.place()));
            continue;
        };
        outcomes.entry((order, command)).or_default().push(record);
    }
    for ((order, command), records) in &outcomes {
        if records.len() > 1 {
            let places: Vec<String> = records.iter().map(|record| record.place()).collect();
            violations.push(format!("command {command} was decided more than once: {places:?}"));
        }
        let with_events = records.iter().filter(|record| has_events(record)).count();
        let by_command = events.get(order).into_iter().flatten().filter(|event| event.command_id == *command);
        let events = by_command.count();
        if with_events != events {
            violations.push(format!(
                "command {command} has {with_events} outcomes with events and {events} events"
            ));
        }
    }
    for event in events.values().flatten() {
        if !outcomes.contains_key(&(event.order.id.clone(), event.command_id.clone())) {
            violations.push(format!("{} has no outcome of its command {}", event.place, event.command_id));
        }
    }
}

/// The order and the command that an outcome is of.
fn outcome_key(record: &Record) -> Option<(String, String)> {
    let key: Value = serde_json::from_str(&record.key_text()).ok()?;
    let part = |index: usize| key.get(index)?.as_str().map(str::to_owned);
    Some((part(0)?, part(1)?))
}

fn has_events(record: &Record) -> bool {
    let row: Option<Value> = record.value.as_deref().and_then(|value| serde_json::from_slice(value).ok());
    row.is_some_and(|row| row["outcome"] == "accepted" && row["from"] != row["to"])
}

/// What the views of a customer have to say.
type Fold = (BTreeMap<(String, String), u64>, BTreeMap<String, u128>);

fn fold(events: &BTreeMap<String, Vec<Event>>, customer: &str) -> Fold {
    let mut folded = Fold::default();
    for event in events.values().flatten().filter(|event| event.order.customer == customer) {
        let group = price_group(event.order.pence).to_owned();
        *folded.0.entry((event.order.label.clone(), group.clone())).or_default() += 1;
        *folded.1.entry(group).or_default() += u128::from(event.order.pence);
    }
    folded
}

/// As the service's README says it: cheap below £5, expensive above £50.
fn price_group(pence: u64) -> &'static str {
    match pence {
        0..500 => "cheap",
        500..=5_000 => "affordable",
        _ => "expensive",
    }
}

/// Producers of one writer: they take turns.
const PRODUCERS: usize = 2;

/// A partition has one writer, whose producers' epochs never go back: who was fenced appends nothing after.
fn one_writer_at_a_time(batches: &[Batch], violations: &mut Vec<String>) {
    let mut last: BTreeMap<&str, BTreeMap<i64, &Batch>> = BTreeMap::new();
    for batch in batches {
        if !batch.transactional {
            violations.push(format!("{batch:?} was appended outside of a transaction"));
        }
        let of_place = last.entry(&batch.place).or_default();
        match of_place.insert(batch.producer, batch) {
            Some(before) if before.epoch > batch.epoch => {
                violations.push(format!("a fenced writer appended {batch:?} after {before:?}"));
            }
            None if of_place.len() > PRODUCERS => {
                violations.push(format!("{batch:?} is by another producer than the writer's"));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "oracle_tests.rs"]
mod tests;
