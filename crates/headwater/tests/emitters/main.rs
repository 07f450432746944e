//! Topologies that keep state, read several topics or feed others, on logs: what is counted is counted once, whatever
//! fails in between, and a reader sees its own write behind any of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod changelogs;
mod globals;
mod kills;
mod lives;
#[cfg(feature = "kafka")]
mod on_kafka;
mod receipts;
mod sipping_log;
mod standbys;
mod uneven;
mod waking;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use headwater::core::clock::{Clock, SystemClock, Timestamp};
use headwater::core::log::{Cleanup, Log, ReadLimit, TopicSettings, Wait};
use headwater::core::partitioner::partition_of;
use headwater::core::record::{Append, Record, StoredRecord};
use headwater::core::topic::{Offset, TopicName};
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;

const PARTITIONS: u32 = 2;
const WITHIN: Duration = Duration::from_secs(20);

fn log() -> MemoryLog {
    MemoryLog::new(MemoryOptions { seed: 7, clock: Arc::new(SystemClock), ..MemoryOptions::default() })
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// An app whose emitters keep state, and read two topics: every visit is counted and the count told; visits and clicks
/// are told in one stream; of both together each key's sum is shown.
struct Visits {
    app: App,
    total: View<String, u64>,
}

fn visits() -> Visits {
    let mut app = App::new("web").with(|options| options.partitions = PARTITIONS);
    let visits = app.stream::<String, u64>("visits");
    let clicks = app.stream::<String, u64>("clicks");
    app.emitter(visits.group_by_key().count(Store::named("counts")).updates().to("counts"));
    let both = visits.merge(&clicks);
    app.emitter(both.to("both"));
    let total = both.group_by_key().fold(Store::named("total"), |sum: &mut u64, n| *sum += n.value);
    let total = app.view(total);
    Visits { app, total }
}

type Written = (&'static str, String, u64, i64);

/// Visits and clicks of few keys, at times that interleave.
fn written(count: u64) -> Vec<Written> {
    let one = |n: u64| {
        let topic = if n.is_multiple_of(3) { "clicks" } else { "visits" };
        (topic, format!("k{}", n * n % 7), n, (n * 37 % 1_000) as i64)
    };
    (0..count).map(one).collect()
}

async fn make(log: &dyn Log, names: &[&str]) {
    for name in names {
        log.create(&topic(name), TopicSettings::kept(PARTITIONS)).await.unwrap();
    }
}

async fn produce(log: &dyn Log, records: &[Written]) {
    let append = |(name, key, value, time): &Written| Append {
        to: topic(name).partition(partition_of(key.as_bytes(), PARTITIONS).0),
        record: Record::new(key.clone(), value.to_string(), Timestamp(*time)),
    };
    log.append(records.iter().map(append).collect()).await.unwrap();
}

/// Every record of a topic, by partition.
async fn records(log: &dyn Log, name: &str) -> Vec<Vec<StoredRecord>> {
    let mut all = Vec::new();
    for partition in 0..PARTITIONS {
        let partition = topic(name).partition(partition);
        let (mut next, mut records) = (Offset::ZERO, Vec::new());
        while next < log.bounds(&partition).await.unwrap().end {
            let batch = log.read(&partition, next, ReadLimit::default(), Wait::No).await.unwrap();
            next = batch.next;
            records.extend(batch.records);
        }
        all.push(records);
    }
    all
}

/// Keys, values and times of a topic, by partition.
async fn told(log: &dyn Log, name: &str) -> Vec<Vec<(String, String, i64)>> {
    let text = |bytes: &Option<bytes::Bytes>| String::from_utf8(bytes.clone().unwrap().to_vec()).unwrap();
    let one = |StoredRecord { record, .. }: StoredRecord| {
        (text(&record.key), text(&record.value), record.timestamp.0)
    };
    let all = records(log, name).await;
    all.into_iter().map(|records| records.into_iter().map(one).collect()).collect()
}

async fn start(log: &dyn_log::Shared, stores: &MemoryStores, app: App) -> Running {
    let running = Headwater::on(log.clone(), Arc::new(stores.clone())).start(app).await.unwrap();
    running.ready(WITHIN).await.unwrap();
    running
}

mod dyn_log {
    /// A log of any kind.
    pub(crate) type Shared = std::sync::Arc<dyn headwater::core::log::Log>;
}

/// Waits until topics hold so many records in all.
async fn until_told(log: &dyn Log, wanted: &[(&str, usize)]) {
    let reached = async {
        for (name, count) in wanted {
            while told(log, name).await.iter().map(Vec::len).sum::<usize>() < *count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    };
    tokio::time::timeout(WITHIN, reached).await.expect("everything is told in time");
}

/// How many of these records are visits.
fn visits_among(written: &[Written]) -> usize {
    written.iter().filter(|(topic, ..)| *topic == "visits").count()
}

/// What an app that nothing disturbed makes of records that were there before it began: its topics and its view.
#[derive(Debug, PartialEq)]
struct Outcome {
    counts: Vec<Vec<(String, String, i64)>>,
    both: Vec<Vec<(String, String, i64)>>,
    total: Vec<(String, u64)>,
}

impl Outcome {
    async fn of(log: &dyn Log, running: &Running, total: &View<String, u64>, records: &[Written]) -> Self {
        until_told(
            log,
            &[
                ("counts", visits_among(records)),
                ("both", records.len()),
                ("web.total.updates", records.len()),
            ],
        )
        .await;
        let expected: u64 = records.iter().map(|(_, _, value, _)| value).sum();
        let shown = async {
            loop {
                let rows = running.view(total).unwrap().scan(1_000, None).await.unwrap().value.rows;
                if rows.iter().map(|(_, sum)| sum).sum::<u64>() == expected {
                    return rows;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let total = tokio::time::timeout(WITHIN, shown).await.expect("the sums are shown in time");
        Self { counts: told(log, "counts").await, both: told(log, "both").await, total }
    }

    /// What a plain loop over the records makes.
    fn expected(written: &[Written]) -> Self {
        let empty = || vec![Vec::new(); PARTITIONS as usize];
        let (mut counts, mut both) = (empty(), empty());
        let (mut count, mut total) = (BTreeMap::new(), BTreeMap::new());
        for partition in 0..PARTITIONS as usize {
            let mine =
                |(_, key, ..): &&Written| partition_of(key.as_bytes(), PARTITIONS).0 as usize == partition;
            let of = |name: &'static str| written.iter().filter(mine).filter(move |w| w.0 == name);
            let mut latest = BTreeMap::new();
            for (_, key, _, time) in of("visits") {
                let n: &mut u64 = count.entry(key.clone()).or_default();
                *n += 1;
                let latest: &mut i64 = latest.entry(key.clone()).or_default();
                *latest = (*latest).max(*time);
                counts[partition].push((key.clone(), n.to_string(), *latest));
            }
            let (mut visits, mut clicks) = (of("visits").peekable(), of("clicks").peekable());
            loop {
                let next = match (visits.peek(), clicks.peek()) {
                    (Some(visit), Some(click)) if visit.3 <= click.3 => visits.next(),
                    (_, Some(_)) => clicks.next(),
                    (Some(_), None) => visits.next(),
                    (None, None) => break,
                };
                let (_, key, value, time) = next.unwrap();
                *total.entry(key.clone()).or_default() += value;
                both[partition].push((key.clone(), value.to_string(), *time));
            }
        }
        Self { counts, both, total: total.into_iter().collect() }
    }
}

#[tokio::test]
async fn state_and_several_inputs_give_what_a_plain_loop_gives() {
    let log: dyn_log::Shared = Arc::new(log());
    make(&*log, &["visits", "clicks"]).await;
    let written = written(500);
    produce(&*log, &written).await;
    let Visits { app, total } = visits();
    let running = start(&log, &MemoryStores::new(), app).await;
    assert_eq!(Outcome::of(&*log, &running, &total, &written).await, Outcome::expected(&written));
    assert!(running.stop(WITHIN).await);
}

#[tokio::test]
async fn state_outlives_a_restart_with_its_store_and_without() {
    let log: dyn_log::Shared = Arc::new(log());
    make(&*log, &["visits", "clicks"]).await;
    let written: Vec<_> = written(400).into_iter().filter(|(topic, ..)| *topic == "visits").collect();
    let mut stores = MemoryStores::new();
    for (round, chunk) in written.chunks(written.len() / 4 + 1).enumerate() {
        if round == 2 {
            stores = MemoryStores::new();
        }
        let running = start(&log, &stores, visits().app).await;
        produce(&*log, chunk).await;
        let so_far = written.iter().position(|w| w == &chunk[0]).unwrap() + chunk.len();
        until_told(&*log, &[("counts", so_far)]).await;
        assert!(running.stop(WITHIN).await);
    }
    assert_eq!(told(&*log, "counts").await, Outcome::expected(&written).counts);
}

#[tokio::test]
async fn a_changelog_holds_each_change_under_its_table_and_key_and_is_compacted() {
    let log: dyn_log::Shared = Arc::new(log());
    make(&*log, &["visits", "clicks"]).await;
    produce(&*log, &[("visits", "a".into(), 1, 5), ("visits", "a".into(), 1, 9)]).await;
    let running = start(&log, &MemoryStores::new(), visits().app).await;
    until_told(&*log, &[("counts", 2)]).await;
    let changelog = log.describe(&topic("web.counts.changelog")).await.unwrap().unwrap();
    let week = 7 * 24 * 60 * 60 * 1_000;
    assert_eq!(changelog.settings.cleanup, Cleanup::Compact { tombstones_ms: week });
    let changes = records(&*log, "web.counts.changelog").await.concat();
    let last = changes.last().unwrap().record.clone();
    let (key, row) = (last.key.unwrap(), last.value.unwrap());
    assert_eq!(key[0], 0, "the first table");
    assert_eq!(row[..8], 9_i64.to_be_bytes(), "the time of the count");
    assert_eq!(row[8..], *b"2");
    assert!(running.stop(WITHIN).await);
}

#[tokio::test]
async fn a_shard_whose_head_is_lost_does_not_take_its_changelog_for_a_first_start() {
    let log: dyn_log::Shared = Arc::new(log());
    make(&*log, &["visits", "clicks", "counts"]).await;
    let changelog =
        TopicSettings::kept(PARTITIONS).cleanup(Cleanup::Compact { tombstones_ms: 7 * 86_400_000 });
    log.create(&topic("web.counts.changelog"), changelog).await.unwrap();
    let to = topic("web.counts.changelog").partition(1);
    log.append(vec![Append { to, record: Record::new("\0a", "1", Timestamp(0)) }]).await.unwrap();
    let running =
        Headwater::on(log.clone(), Arc::new(MemoryStores::new())).start(visits().app).await.unwrap();
    let troubles = running.ready(WITHIN).await.unwrap_err().join("; ");
    assert!(troubles.contains("has no head, but web.counts.changelog-1 has records"), "{troubles}");
    assert!(running.stop(WITHIN).await);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_stops_its_shard_behind_what_came_before_it() {
    let log: dyn_log::Shared = Arc::new(log());
    make(&*log, &["visits", "clicks"]).await;
    let good = [("visits", "a".to_owned(), 1, 5), ("visits", "a".to_owned(), 1, 6)];
    produce(&*log, &good).await;
    let to = topic("visits").partition(partition_of(b"a", PARTITIONS).0);
    let at = to.to_string();
    log.append(vec![Append { to, record: Record::new("a", "no number", Timestamp(7)) }]).await.unwrap();
    let running =
        Headwater::on(log.clone(), Arc::new(MemoryStores::new())).start(visits().app).await.unwrap();
    until_told(&*log, &[("counts", 2), ("both", 2)]).await;
    let troubles = running.ready(WITHIN).await.unwrap_err().join("; ");
    assert!(troubles.contains(&format!("\"counts\" stopped at {at} offset 2: its value")), "{troubles}");
    assert!(running.stop(WITHIN).await);
    assert_eq!(told(&*log, "counts").await.concat().len(), 2, "what came before is there, once");
}

/// A clock that a test sets, from the time that it is in fact.
#[derive(Clone)]
struct SetClock(Arc<AtomicI64>);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_ms(self.0.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn a_store_that_may_have_missed_a_tombstone_is_built_from_the_whole_changelog() {
    let day_ms = 86_400_000;
    // A store is as good as its changelog's tombstones: it is read on for half of their seven days.
    for (days, reads_on) in [(3, true), (4, false)] {
        let log = log();
        make(&log, &["visits", "clicks"]).await;
        let ahead = SetClock(Arc::default());
        let stores = MemoryStores::new();
        let begin = async || {
            let shared: dyn_log::Shared = Arc::new(log.clone());
            let headwater = Headwater::with_clock(shared, Arc::new(stores.clone()), Arc::new(ahead.clone()));
            headwater.start(visits().app).await.unwrap()
        };
        let running = begin().await;
        produce(&log, &[("visits", "a".to_owned(), 1, 5)]).await;
        until_told(&log, &[("counts", 1)]).await;
        assert!(running.stop(WITHIN).await);
        ahead.0.store(days * day_ms, Ordering::SeqCst);
        // Whoever reads the changelog from its start meets a damaged record; whoever reads on does not.
        let changelog = topic("web.counts.changelog").partition(partition_of(b"a", PARTITIONS).0);
        log.damage(&changelog, Offset(0)).unwrap();
        let running = begin().await;
        let troubles = running.ready(WITHIN).await.err().unwrap_or_default().join("; ");
        assert_eq!(troubles.is_empty(), reads_on, "{days} days: {troubles}");
        assert!(running.stop(WITHIN).await);
    }
}
