//! The judgement: what was told, what the views hold and what is in the raw log must be one story.
//!
//! The log is read directly, and folded here by plain loops; the engine has no part in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use headwater::core::key::decode_text;
use headwater::core::log::{Log, ReadLimit, Wait};
use headwater::core::record::StoredRecord;
use headwater::core::topic::TopicName;
use headwater::log::memory::MemoryLog;
use headwater::prelude::*;
use headwater::{PAGE_MAX, View, ViewQuery};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bank::{APP, Account, BY_OWNER, Event, PARTITIONS, Pocket, account_of};
use crate::client::{self, ACCOUNTS, Planned, content};
use crate::history::{Sending, Told};
use crate::reader::Watched;
use crate::stores::SimStores;
use crate::world::{Life, World, next_life};

/// How long a clean life may take to answer anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// One event as the log has it.
struct Logged {
    command_id: String,
    version: u64,
    event: Event,
}

/// What an outcome record says.
#[derive(Debug, Clone, PartialEq)]
struct LoggedOutcome {
    told: Told,
    from: u64,
}

/// The raw log, read and indexed.
#[derive(Default)]
struct Raw {
    /// Events by partition, in order.
    events: Vec<Vec<Logged>>,
    /// Records of the repartition by partition, in order.
    by_owner: Vec<Vec<Logged>>,
    outcomes: BTreeMap<String, Vec<LoggedOutcome>>,
}

/// Gets the clean life to where everything that was sent has been decided, by sending everything again.
///
/// Answers whether it got there.
pub(crate) async fn settle(world: &Arc<World>) -> bool {
    let life = world.life();
    if let Err(troubles) = life.running.ready(PATIENCE).await {
        world.history.violation(format!("a start without faults is not ready: {}", troubles.join("; ")));
        return false;
    }
    for (id, sendings) in world.history.sendings() {
        if sendings.iter().any(|sending| sending.told == Told::Enqueued) {
            client::ask(world, &life, &id, PATIENCE).await;
            if world.history.answers(&id).is_empty() {
                world.history.violation(format!("{id} is on the commands topic and was never decided"));
            }
        }
    }
    never_sent_is_not_there(world, &life).await;
    for (id, sendings) in world.history.sendings() {
        // The content that was sent first, and the other one: one of them is the id's for ever.
        let first = sendings.first().expect("an id is noted with a sending").command.clone();
        let contents = [content(&id, false), content(&id, true)];
        let (of_first, of_other) = if first == contents[0] { (0, 1) } else { (1, 0) };
        for content in [of_first, of_other, of_first] {
            let planned = Planned { id: id.clone(), command: contents[content].clone(), expected: None };
            client::direct(world, &planned).await;
        }
    }
    true
}

/// What was refused each time it was sent has no outcome.
async fn never_sent_is_not_there(world: &World, life: &Life) {
    let raw = read_all(world, &life.log).await;
    for (id, sendings) in world.history.sendings() {
        if sendings.iter().all(|sending| sending.told == Told::Refused) && raw.outcomes.contains_key(&id) {
            world.history.violation(format!("{id} was refused each time, and has an outcome"));
        }
    }
}

/// Judges the log, the views, and the views of stores that were lost or kept.
pub(crate) async fn judge(world: &Arc<World>) {
    let raw = read_all(world, &world.life().log).await;
    let receipts = markers(world).await;
    let expected = folded(&raw);
    same(world, "the views", &expected, &dump(world, &world.life(), &receipts).await);
    world.life().running.flush_states();
    let kept = world.life().stores.surviving();
    for (what, stores) in [("the rebuilt views", SimStores::default()), ("the views of kept stores", kept)] {
        next_life(world, true, stores).await;
        same(world, what, &expected, &dump(world, &world.life(), &receipts).await);
    }
    let raw = read_all(world, &world.life().log).await;
    check_versions(world, &raw);
    check_repartition(world, &raw);
    check_commands(world, &raw);
}

/// Receipts of all accounts, which stand at the end of everything: of commands that change nothing.
async fn markers(world: &World) -> Vec<(String, Receipt)> {
    let mut receipts = Vec::new();
    for account in 0..ACCOUNTS {
        let account = format!("a{account}");
        let command = crate::bank::Command { from: "p0".into(), to: Vec::new(), amount: 0, tag: 0 };
        let planned = Planned { id: format!("{account}/last"), command, expected: None };
        match client::direct(world, &planned).await {
            Some(receipt) => receipts.push((account, receipt)),
            None => world.history.violation(format!("{} was not accepted by a clean life", planned.id)),
        }
    }
    receipts
}

async fn read_all(world: &World, log: &MemoryLog) -> Raw {
    let mut raw = Raw::default();
    for partition in 0..PARTITIONS {
        let events = records(log, "account.events", partition).await;
        raw.events.push(events.iter().map(logged).collect());
        let by_owner = records(log, BY_OWNER, partition).await;
        raw.by_owner.push(by_owner.iter().map(repartitioned).collect());
        for stored in records(log, "account.outcomes", partition).await {
            match outcome(&stored) {
                Ok((id, outcome)) => raw.outcomes.entry(id).or_default().push(outcome),
                Err(reason) => world.history.violation(format!("an outcome cannot be read: {reason}")),
            }
        }
    }
    raw
}

async fn records(log: &MemoryLog, topic: &str, partition: u32) -> Vec<StoredRecord> {
    let at = TopicName::new(format!("{APP}.{topic}")).expect("the topics of the app have legal names");
    let at = at.partition(partition);
    let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
    let mut all = Vec::new();
    let mut next = log.bounds(&at).await.expect("a log without faults answers").start;
    loop {
        let batch = log.read(&at, next, limit, Wait::No).await.expect("a log without faults answers");
        if batch.next == next {
            return all;
        }
        next = batch.next;
        all.extend(batch.records);
    }
}

fn header(stored: &StoredRecord, name: &str) -> String {
    stored.record.headers.get_str(name).unwrap_or_default().to_owned()
}

fn logged(stored: &StoredRecord) -> Logged {
    let value = stored.record.value.as_deref().unwrap_or_default();
    // An event's payload is the content of its variant; the simulation has one variant.
    let value = [&b"{\"Moved\":"[..], value, b"}"].concat();
    Logged {
        command_id: header(stored, "hw_command_id"),
        version: header(stored, "ce_sequence").parse().unwrap_or(0),
        event: serde_json::from_slice(&value).expect("the log holds events of the app only"),
    }
}

fn repartitioned(stored: &StoredRecord) -> Logged {
    let value = stored.record.value.as_deref().unwrap_or_default();
    Logged {
        command_id: header(stored, "hw_command_id"),
        version: header(stored, "ce_sequence").parse().unwrap_or(0),
        event: serde_json::from_slice(value).expect("the repartition holds events of the app only"),
    }
}

fn outcome(stored: &StoredRecord) -> Result<(String, LoggedOutcome), String> {
    let key = stored.record.key.as_deref().unwrap_or_default();
    let (_, id): (String, String) = decode_text(key).map_err(|e| e.to_string())?;
    let value: serde_json::Value = serde_json::from_slice(stored.record.value.as_deref().unwrap_or_default())
        .map_err(|e| e.to_string())?;
    let number = |name: &str| value[name].as_u64().unwrap_or(u64::MAX);
    let told = match value["outcome"].as_str().unwrap_or_default() {
        "accepted" => Told::Accepted(number("to")),
        "rejected" => {
            let rejection = value["rejection"].as_str().unwrap_or_default();
            Told::Rejected(serde_json::from_str(rejection).map_err(|e| e.to_string())?)
        }
        "version_conflict" => Told::VersionConflict(number("expected"), number("actual")),
        other => return Err(format!("{id} has the outcome \"{other}\": {value}")),
    };
    Ok((id, LoggedOutcome { told, from: value["from"].as_u64().unwrap_or(0) }))
}

/// All rows of all views, in words.
type Dump = BTreeMap<String, String>;

/// The views as plain loops over the raw records make them.
fn folded(raw: &Raw) -> Dump {
    let (mut ledger, mut totals) = (BTreeMap::<&str, Account>::new(), BTreeMap::<&str, u64>::new());
    for logged in raw.events.iter().flatten() {
        let account = account_of(&logged.command_id);
        ledger.entry(account).or_default().evolve(&logged.event);
        *totals.entry(account).or_default() += 1;
    }
    let mut pockets = BTreeMap::<(String, String), Pocket>::new();
    for logged in raw.by_owner.iter().flatten() {
        let Event::Moved { account, pocket, .. } = &logged.event;
        let key = (crate::bank::owner_of(account), pocket.clone());
        pockets.entry(key).or_default().take(&logged.event, logged.version);
    }
    let mut dump = Dump::new();
    ledger.iter().for_each(|(key, row)| insert(&mut dump, "ledger", key, row));
    ledger.iter().for_each(|(key, row)| insert(&mut dump, "state", key, &(row.entries, row)));
    totals.iter().for_each(|(key, row)| insert(&mut dump, "totals", key, row));
    pockets.iter().for_each(|(key, row)| insert(&mut dump, "pockets", key, row));
    for (view, rows) in [("ledger", ledger.len()), ("totals", totals.len()), ("pockets", pockets.len())] {
        dump.insert(format!("{view} count"), rows.to_string());
    }
    dump
}

fn insert(dump: &mut Dump, view: &str, key: &impl Serialize, row: &impl Serialize) {
    let json = |value: Result<String, serde_json::Error>| value.expect("rows of the app are JSON");
    let key = json(serde_json::to_string(key));
    dump.insert(format!("{view} {key}"), json(serde_json::to_string(row)));
}

/// The views as their readers get them.
async fn dump(world: &World, life: &Life, receipts: &[(String, Receipt)]) -> Dump {
    let mut dump = Dump::new();
    for (account, _) in receipts {
        match life.running.state(&life.handles.accounts, account).await {
            Ok((Version(0), _)) => {}
            Ok((version, state)) => insert(&mut dump, "state", account, &(version.0, state)),
            Err(error) => world.history.violation(format!("the state of {account} cannot be read: {error}")),
        }
    }
    dump_view(world, life, "ledger", &life.handles.ledger, receipts, &mut dump).await;
    dump_view(world, life, "totals", &life.handles.totals, receipts, &mut dump).await;
    dump_view(world, life, "pockets", &life.handles.pockets, receipts, &mut dump).await;
    dump
}

async fn dump_view<K, S>(
    world: &World,
    life: &Life,
    name: &str,
    view: &View<K, S>,
    receipts: &[(String, Receipt)],
    dump: &mut Dump,
) where
    K: headwater::core::key::Key + Serialize,
    S: Serialize + DeserializeOwned + Send + 'static,
{
    let query = || -> ViewQuery<K, S> { life.running.view(view).expect("every life runs every view") };
    let failed = |error: QueryError| world.history.violation(format!("{name} cannot be read: {error}"));
    let mut count = 0;
    for (_, receipt) in receipts {
        match query().after(receipt).within(PATIENCE).count().await {
            Ok(answer) => count = answer.value,
            Err(error) => failed(error),
        }
    }
    dump.insert(format!("{name} count"), count.to_string());
    let mut token = None;
    for _ in 0..PAGE_MAX {
        match query().scan(3, token.as_ref()).await {
            Ok(mut page) => {
                page.value.rows.iter().for_each(|(key, row)| insert(dump, name, key, row));
                token = page.value.next.take();
            }
            Err(error) => failed(error),
        }
        if token.is_none() {
            return;
        }
    }
}

fn same(world: &World, what: &str, expected: &Dump, actual: &Dump) {
    if expected == actual {
        return;
    }
    let mut differs = format!("{what} are not the fold of the log:");
    let keys: BTreeSet<_> = expected.keys().chain(actual.keys()).collect();
    for key in keys.into_iter().filter(|key| expected.get(*key) != actual.get(*key)) {
        let (expected, actual) = (expected.get(key), actual.get(key));
        write!(differs, "\n    {key}: {actual:?} and not {expected:?}").expect("a string takes everything");
    }
    world.history.violation(differs);
}

/// Versions rise by one per event of an account, in the order of the log, and an account has one partition.
fn check_versions(world: &World, raw: &Raw) {
    let mut versions: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for (partition, events) in raw.events.iter().enumerate() {
        for logged in events {
            let account = account_of(&logged.command_id);
            let (home, last) = versions.entry(account).or_insert((partition, 0));
            if (*home, *last + 1) != (partition, logged.version) {
                world.history.violation(format!(
                    "{account} has version {} in partition {partition} after {last} in {home}",
                    logged.version
                ));
            }
            *last = logged.version;
        }
    }
}

/// The repartition has every event once, those of an account in their order.
fn check_repartition(world: &World, raw: &Raw) {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for logged in raw.by_owner.iter().flatten() {
        let account = account_of(&logged.command_id);
        let last = last.entry(account).or_default();
        if logged.version != *last + 1 {
            world.history.violation(format!(
                "the repartition has version {} of {account} after {last}",
                logged.version
            ));
        }
        *last = logged.version;
    }
    let (events, repartitioned) =
        (raw.events.iter().flatten().count(), raw.by_owner.iter().flatten().count());
    if events != repartitioned {
        world.history.violation(format!("{events} events became {repartitioned} records of the repartition"));
    }
}

/// Every command is there once or not at all, as everybody was told.
fn check_commands(world: &World, raw: &Raw) {
    let mut events: BTreeMap<&str, Vec<&Logged>> = BTreeMap::new();
    for logged in raw.events.iter().flatten() {
        events.entry(&logged.command_id).or_default().push(logged);
    }
    let sendings = world.history.sendings();
    let ids = events.keys().copied().chain(raw.outcomes.keys().map(String::as_str));
    let ids: BTreeSet<&str> = ids.chain(sendings.keys().map(String::as_str)).collect();
    for id in ids {
        let sent = sendings.get(id).map_or(&[][..], |sent| sent);
        let outcomes = raw.outcomes.get(id).map_or(&[][..], |all| all);
        let there = events.get(id).map_or(&[][..], |all| all);
        let answers = world.history.answers(id);
        if let Err(broken) = check_command(sent, outcomes, there, &answers) {
            let told: Vec<_> = sent.iter().map(|s| (s.command.tag, s.expected, &s.told)).collect();
            world.history.violation(format!(
                "{id}: {broken}\n    sent {told:?}\n    answers {answers:?}\n    outcomes {outcomes:?}"
            ));
        }
    }
}

fn check_command(
    sent: &[Sending],
    outcomes: &[LoggedOutcome],
    events: &[&Logged],
    answers: &[Told],
) -> Result<(), String> {
    let [outcome] = outcomes else {
        return Err(format!("it was decided in a clean life, and has {} outcomes", outcomes.len()));
    };
    let mine: BTreeSet<u64> = sent.iter().filter(|s| s.told.is_outcome()).map(|s| s.command.tag).collect();
    let content = match mine.len() {
        1 => sent.iter().find(|s| mine.contains(&s.command.tag)).expect("its tag is of a sending"),
        0 => return Err("nobody was told its outcome, not even by a clean life".to_owned()),
        _ => return Err("two contents under one id have an outcome".to_owned()),
    };
    for sending in sent.iter().filter(|sending| sending.told.is_final()) {
        let same_content = sending.command == content.command;
        let expected = if same_content { &outcome.told } else { &Told::IdConflict };
        if sending.told != *expected {
            return Err(format!("it was told {:?}, and its outcome is {expected:?}", sending.told));
        }
    }
    if let Some(wrong) = answers.iter().find(|told| **told != outcome.told) {
        return Err(format!("its outcome was answered to be {wrong:?}"));
    }
    let there: Vec<_> = events
        .iter()
        .map(|logged| {
            let Event::Moved { pocket, amount, tag, .. } = &logged.event;
            (logged.version, *tag, (pocket.clone(), *amount))
        })
        .collect();
    let wanted: Vec<_> = match outcome.told {
        Told::Accepted(_) => content.command.events(),
        _ => Vec::new(),
    };
    let wanted: Vec<_> = (outcome.from + 1..)
        .zip(wanted)
        .map(|(version, event)| (version, content.command.tag, event))
        .collect();
    if there != wanted {
        return Err(format!("its events are {there:?} and not {wanted:?}"));
    }
    match outcome.told {
        Told::Accepted(to) if to != outcome.from + wanted.len() as u64 => {
            Err(format!("its outcome is version {to} from {} with {} events", outcome.from, wanted.len()))
        }
        _ => Ok(()),
    }
}

/// What a watcher has gathered over all lives becomes, with the changes still to come, what the view holds.
pub(crate) async fn watched(world: &World, owner: &String, watched: &mut Watched) {
    let life = world.life();
    let receipts = markers(world).await;
    let mut rows = BTreeMap::new();
    for (_, receipt) in &receipts {
        let Ok(pockets) = life.running.view(&life.handles.pockets) else { return };
        match pockets.after(receipt).within(PATIENCE).of(owner).await {
            Ok(answer) => rows = answer.value.into_iter().collect(),
            Err(error) => world.history.violation(format!("the pockets of {owner} cannot be read: {error}")),
        }
    }
    let follow = crate::reader::follow(world, &life, owner, watched);
    // Nothing else happens any more: what is still to come is told at once.
    let _ = tokio::time::timeout(PATIENCE, follow).await;
    if watched.rows != rows {
        let watched = &watched.rows;
        world.history.violation(format!("a watcher of {owner} knows {watched:?}, and the view has {rows:?}"));
    }
}
