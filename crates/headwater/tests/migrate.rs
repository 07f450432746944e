//! Moving an app from one log to another, interrupted anywhere, and living on there.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;
#[path = "migrate/killing.rs"]
mod killing;

use std::sync::Arc;
use std::time::Duration;

use common::{Command, Shop, shop};
use headwater::core::clock::{SystemClock, Timestamp};
use headwater::core::header::Headers;
use headwater::core::log::{Log, LogError, ReadLimit, TopicSettings, Wait};
use headwater::core::record::{Append, Record, StoredRecord};
use headwater::core::topic::{Offset, TopicName};
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::log::memory::{FaultKind, Faults, MemoryLog, MemoryOptions};
use headwater::migrate::{MigrateError, Migration, RESUMING, Report};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use killing::Killing;

const WITHIN: Duration = Duration::from_secs(10);

fn memory(seed: u64, markers: bool) -> MemoryLog {
    MemoryLog::new(MemoryOptions { seed, markers, ..MemoryOptions::default() })
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// What the app was told while it ran on the old log.
struct Past {
    receipts: Vec<(String, Receipt)>,
}

fn customer(n: u64) -> String {
    format!("customer-{}", n % 5)
}

fn place(n: u64) -> Command {
    Command::place(&customer(n), "kettle", 100 + n)
}

fn command_id(n: u64) -> CommandId {
    CommandId::new(format!("command-{n}")).unwrap()
}

/// Runs the shop on a log for a while; some of its records are too old to be kept.
async fn has_run(log: Arc<dyn Log>, orders: u64) -> Past {
    let Shop { app, orders: aggregate, items, .. } = shop(1);
    let running = Headwater::on(log.clone(), Arc::new(MemoryStores::new())).start(app).await.unwrap();
    running.ready(WITHIN).await.unwrap();
    forgotten(&*log, "shop.order.outcomes", 40).await;
    forgotten(&*log, "shop.order.commands", 7).await;
    let mut receipts = Vec::new();
    for n in 0..orders {
        let id = format!("order-{n}");
        let sent = running.send(&aggregate, &id, place(n)).command_id(command_id(n)).await.unwrap();
        receipts.push((id, sent.accepted().unwrap()));
    }
    let (_, last) = receipts.last().unwrap();
    running.view(&items).unwrap().after(last).within(WITHIN).of(&customer(orders - 1)).await.unwrap();
    assert!(running.stop(WITHIN).await);
    Past { receipts }
}

/// Records of 1970, which no cleanup keeps, with all that a record can have.
async fn forgotten(log: &dyn Log, name: &str, count: usize) {
    let mut headers = Headers::builder();
    headers.add("ce_type", Some(b"x"));
    headers.add("a name of its own", None);
    let headers = headers.build();
    let record = Record { key: Some("k".into()), value: None, headers, timestamp: Timestamp(5) };
    let at = topic(name).partition(1);
    log.append((0..count).map(|_| Append { to: at.clone(), record: record.clone() }).collect())
        .await
        .unwrap();
}

async fn migrate(from: &dyn Log, to: &dyn Log) -> Result<Report, MigrateError> {
    let Shop { app, .. } = shop(1);
    Migration::new(&app, from, to).verify(true).run(&mut |_| {}).await
}

/// The same in small steps.
async fn migrate_by(records: u64, from: &dyn Log, to: &dyn Log) -> Result<Report, MigrateError> {
    let Shop { app, .. } = shop(1);
    let migration = Migration::new(&app, from, to).verify(true).records_at_once(records as usize);
    migration.run(&mut |_| {}).await
}

async fn records(log: &dyn Log, name: &str, partition: u32) -> Result<Vec<StoredRecord>, LogError> {
    let at = topic(name).partition(partition);
    let bounds = log.bounds(&at).await?;
    let (mut next, mut all) = (bounds.start, Vec::new());
    while next < bounds.end {
        let batch = log.read(&at, next, ReadLimit::default(), Wait::No).await?;
        all.extend(batch.records);
        next = batch.next;
    }
    Ok(all)
}

/// Everything that the app was, it is on the new log.
async fn lives_on(from: LogIdOf<'_>, to: Arc<dyn Log>, past: &Past) {
    let Shop { app, orders, items, spent, .. } = shop(1);
    let running = Headwater::on(to.clone(), Arc::new(MemoryStores::new())).start(app).await.unwrap();
    running.ready(WITHIN).await.unwrap();
    let count = past.receipts.len() as u64;
    for (n, (id, old)) in (0..).zip(&past.receipts) {
        assert_eq!(running.state(&orders, id).await.unwrap().0, Version(1), "{id}");
        // A duplicate has the old outcome and no second effect.
        let again =
            running.send(&orders, id, place(n)).command_id(command_id(n)).await.unwrap().accepted().unwrap();
        assert_eq!((again.version, again.log), (old.version, to.id()));
        let other = running.send(&orders, id, place(n + 1)).command_id(command_id(n)).await;
        assert!(matches!(other, Err(SendError::IdConflict { .. })), "{other:?}");
        // A receipt of the old log is one of the new.
        assert_eq!(old.log, from.0.id());
        let mine = running.view(&items).unwrap().after(old).within(WITHIN).of(&customer(n)).await.unwrap();
        assert!(!mine.value.is_empty());
    }
    // One that the old log never gave is refused.
    let (_, old) = &past.receipts[0];
    let never = [
        Receipt { next: Offset(1_000_000), ..old.clone() },
        Receipt { topic_id: headwater::core::topic::TopicId(1), ..old.clone() },
        Receipt { log: headwater::core::log::LogId(1), ..old.clone() },
    ];
    for never in never {
        let asked = running.view(&items).unwrap().after(&never).get(&(customer(0), "kettle".into())).await;
        assert!(matches!(asked, Err(QueryError::ForeignReceipt(_))), "{asked:?}");
    }
    // It goes on from there.
    let next = running.send(&orders, &"order-next".to_owned(), place(0)).await.unwrap().accepted().unwrap();
    let total: u64 = (0..count).filter(|n| n % 5 == 0).map(|n| 100 + n).sum::<u64>() + 100;
    let told = running.view(&spent).unwrap().after(&next).within(WITHIN).get(&customer(0)).await.unwrap();
    assert_eq!(told.value, Some(total));
    assert!(running.stop(WITHIN).await);
}

struct LogIdOf<'a>(&'a dyn Log);

#[tokio::test]
async fn an_app_lives_on_another_log_where_it_left_off() {
    for (seed, markers) in [(1, false), (2, true)] {
        let old = memory(seed, false);
        let past = has_run(Arc::new(old.clone()), 40).await;
        old.clean();
        let trimmed = topic("shop.order.outcomes").partition(1);
        assert!(old.bounds(&trimmed).await.unwrap().start > Offset::ZERO, "the beginning is trimmed");
        let new = memory(seed + 100, markers);
        let report = migrate(&old, &new).await.unwrap();
        assert!(!report.was_finished);
        let verified: u64 = report.verified.iter().map(|partition| partition.records).sum();
        assert!(verified >= 40 * 5, "{report:?}");
        lives_on(LogIdOf(&old), Arc::new(new.clone()), &past).await;
        // Again, with the app run since: nothing is done, and what is kept is still equal.
        let again = migrate(&old, &new).await.unwrap();
        assert!(again.was_finished && !again.verified.is_empty());
        lives_on_twice(&new).await;
    }
}

/// The second run of a migration rewound nothing.
async fn lives_on_twice(new: &MemoryLog) {
    let Shop { app, orders, .. } = shop(1);
    let running =
        Headwater::on(Arc::new(new.clone()), Arc::new(MemoryStores::new())).start(app).await.unwrap();
    assert_eq!(running.state(&orders, &"order-next".to_owned()).await.unwrap().0, Version(1));
    assert!(running.stop(WITHIN).await);
}

#[tokio::test]
async fn an_embedded_log_moves_to_another() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = |dir: &tempfile::TempDir| {
        EmbeddedLog::open(dir.path(), Options { maintenance_every: None, ..Options::default() }).unwrap()
    };
    let old = open(&from);
    let past = has_run(old.clone(), 30).await;
    old.maintain(Timestamp(headwater::core::clock::Clock::now(&SystemClock).0)).unwrap();
    let trimmed = topic("shop.order.outcomes").partition(1);
    assert!(old.bounds(&trimmed).await.unwrap().start > Offset::ZERO, "the beginning is trimmed");
    let new = open(&to);
    migrate(&*old, &*new).await.unwrap();
    lives_on(LogIdOf(&*old), new, &past).await;
}

#[tokio::test]
async fn a_migration_that_is_killed_anywhere_goes_on_without_loss_or_doubling() {
    let old = memory(9_000, false);
    let past = has_run(Arc::new(old.clone()), 60).await;
    old.clean();
    tokio::time::pause();
    let (mut killed, mut refused) = (0, 0);
    for seed in 0..150 {
        let mut dice = fastrand(seed);
        let mut new = memory(seed, seed % 2 == 0);
        for round in 0.. {
            assert!(round < 1_000, "seed {seed} does not come to an end");
            let killing = Killing::new(Arc::new(new.clone()), dice.below(250 + round), dice.below(2) == 0);
            let ended = tokio::select! {
                biased;
                () = killing.killed() => None,
                ended = migrate_by(1 + dice.below(9), &old, &killing) => Some(ended),
            };
            if let Some(ended) = ended {
                ended.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                break;
            }
            killed += 1;
            new = new.crash();
            if round % 3 == 0 && under_way(&new).await {
                let Shop { app, .. } = shop(1);
                let started =
                    Headwater::on(Arc::new(new.clone()), Arc::new(MemoryStores::new())).start(app).await;
                let error = started.err().expect("nothing starts on half a log").to_string();
                assert!(
                    error.contains("is not finished: run `shop migrate embedded-to-kafka` again"),
                    "{error}"
                );
                refused += 1;
            }
        }
        same_records(&old, &new).await;
    }
    assert!(killed > 300 && refused > 50, "{killed} kills, {refused} starts refused");
    tokio::time::resume();
    let new = memory(1, true);
    let killing = Killing::new(Arc::new(new.clone()), 150, true);
    tokio::select! {
        biased;
        () = killing.killed() => {}
        ended = migrate_by(2, &old, &killing) => panic!("it is killed: {ended:?}"),
    }
    let new = new.crash();
    resumes(&old, &new).await;
    lives_on(LogIdOf(&old), Arc::new(new), &past).await;
}

/// A run that goes on where another one ended first says where that was.
async fn resumes(from: &dyn Log, to: &dyn Log) {
    let mut told = Vec::new();
    let mut hear = |progress| told.push(progress);
    Migration::new(&shop(1).app, from, to).run(&mut hear).await.unwrap();
    let begun: Vec<_> = told.iter().filter(|progress| progress.doing == RESUMING).collect();
    let [begun] = begun[..] else { panic!("it is told once: {told:?}") };
    assert!(0 < begun.done && begun.done < begun.total, "{begun:?}");
    assert_eq!(begun, &told[0]);
    let copied = told.iter().find(|progress| progress.doing == "copying").unwrap();
    assert!(begun.done < copied.done, "{begun:?}, {copied:?}");
}

/// Whether a migration into the log has begun and is not finished.
async fn under_way(log: &MemoryLog) -> bool {
    let stated = records(log, "shop.definitions", 0).await.unwrap_or_default();
    let says = |word: &[u8]| {
        let mut values = stated.iter().filter_map(|stated| stated.record.value.as_deref());
        values.any(|value| value.windows(word.len()).any(|part| part == word))
    };
    says(b"begun") && !says(b"finished")
}

async fn same_records(old: &MemoryLog, new: &MemoryLog) {
    for name in ["shop.order.events", "shop.items-by-customer", "shop.orders-by-customer"] {
        for partition in 0..3 {
            let content = |records: Vec<StoredRecord>| -> Vec<Record> {
                records.into_iter().map(|stored| stored.record).collect()
            };
            let copied = records(new, name, partition).await.unwrap();
            assert_eq!(content(records(old, name, partition).await.unwrap()), content(copied));
        }
    }
}

#[tokio::test]
async fn a_migration_goes_on_through_refusals_and_unknown_answers() {
    let old = memory(9_000, false);
    has_run(Arc::new(old.clone()), 60).await;
    tokio::time::pause();
    let mut hits = 0;
    for seed in 0..30 {
        let new = memory(seed, true);
        let faults = Faults::every(5).rate(FaultKind::RefusedForGood, 0).rate(FaultKind::Full, 0);
        new.set_faults(faults.rate(FaultKind::LostShard, 0).rate(FaultKind::Delayed, 0));
        for round in 0.. {
            assert!(round < 200, "seed {seed} does not come to an end");
            match migrate_by(3, &old, &new).await {
                Ok(_) => break,
                Err(MigrateError::Log { .. }) => {}
                Err(other) => panic!("seed {seed}: {other}"),
            }
        }
        hits += new.fault_hits().values().sum::<u64>();
        new.set_faults(Faults::none());
        same_records(&old, &new).await;
    }
    assert!(hits > 100, "{hits} faults struck");
}

#[tokio::test]
async fn a_target_with_other_content_is_refused() {
    let old = memory(1, false);
    has_run(Arc::new(old.clone()), 5).await;

    let busy = memory(2, false);
    has_run(Arc::new(busy.clone()), 5).await;
    told(migrate(&old, &busy).await, &["the new log already has records", "shop.", "empty cluster"]);

    let wide = memory(3, false);
    wide.create(&topic("shop.order.events"), TopicSettings::kept(7)).await.unwrap();
    told(migrate(&old, &wide).await, &["7 partitions in topic shop.order.events"]);

    told(migrate(&old, &old).await, &["it is the new log, too"]);
    told(migrate(&memory(4, false), &memory(5, false)).await, &["it has no topic of app shop"]);

    let done = memory(6, false);
    migrate(&old, &done).await.unwrap();
    let other = memory(7, false);
    has_run(Arc::new(other.clone()), 5).await;
    told(migrate(&other, &done).await, &["a migration of app shop from log"]);
}

fn told(ended: Result<Report, MigrateError>, words: &[&str]) {
    let error = ended.expect_err("it is refused").to_string();
    for word in words {
        assert!(error.contains(word), "{word} is not in: {error}");
    }
}

#[tokio::test]
async fn a_planted_difference_is_found_and_named() {
    let old = memory(1, false);
    has_run(Arc::new(old.clone()), 20).await;
    for (what, plant) in killing::PLANTS {
        let new = memory(2, true);
        let planting = Killing::new(Arc::new(new.clone()), u64::MAX, false).planting(plant);
        let error = migrate(&old, &planting).await.expect_err(what).to_string();
        assert!(error.contains("shop.order.events-"), "{what}: {error}");
        assert!(
            error.contains("differs") && error.contains("digest") && error.contains("offset"),
            "{what}: {error}"
        );
        // And the app does not start on it.
        let Shop { app, .. } = shop(1);
        let started = Headwater::on(Arc::new(new), Arc::new(MemoryStores::new())).start(app).await;
        assert!(started.is_err(), "{what}");
    }
}

/// A small generator, so that a seed repeats.
struct Dice(u64);

fn fastrand(seed: u64) -> Dice {
    Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
