//! The embedded log, proved by what it answers and by what lies on the disk.

mod ahead;
mod basics;
mod conformance;
mod damage;
mod directory;
mod durability;
mod groups;
mod upkeep;

use std::path::Path;
use std::sync::Arc;

use headwater_core::clock::{Clock, Timestamp};
use headwater_core::header::Headers;
use headwater_core::log::{
    Group, Head, Log, Opened, ReadBatch, ReadLimit, ShardChange, TopicSettings, Transaction, Wait, Writer,
};
use headwater_core::record::{Append, Record};
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use parking_lot::Mutex;

use super::testing::Faults;
use super::{EmbeddedLog, Options};

/// Options under which nothing happens unless the test does it.
fn options() -> Options {
    Options { maintenance_every: None, check_after_crash: false, ..Options::default() }
}

fn with_faults(faults: &Faults) -> Options {
    Options { faults: faults.clone(), ..options() }
}

fn open(dir: &Path) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(dir, options()).unwrap()
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn at(name: &str, partition: u32) -> TopicPartition {
    topic(name).partition(partition)
}

/// Record `n`, whose content follows from `n` alone, of about `bytes` bytes.
fn record(n: u64, bytes: usize) -> Record {
    let mut value: Vec<u8> = n.to_be_bytes().to_vec();
    value.extend((8..bytes as u64).map(|i| (i.wrapping_mul(31) ^ n) as u8));
    let headers = Headers::builder().push("ce_id", n.to_string()).push("own", [7; 3]).build();
    Record { headers, ..Record::new(format!("key-{n}"), value, Timestamp(1_000 + n as i64)) }
}

fn append(to: &TopicPartition, n: u64, bytes: usize) -> Append {
    Append { to: to.clone(), record: record(n, bytes) }
}

/// Appends records `range` to a partition, a few at a time.
async fn fill(log: &EmbeddedLog, to: &TopicPartition, range: std::ops::Range<u64>, bytes: usize) {
    let all: Vec<u64> = range.collect();
    for some in all.chunks(100) {
        log.append(some.iter().map(|n| append(to, *n, bytes)).collect()).await.unwrap();
    }
}

async fn create(log: &EmbeddedLog, name: &str, settings: TopicSettings) {
    log.create(&topic(name), settings).await.unwrap();
}

async fn read(log: &EmbeddedLog, from: &TopicPartition, offset: u64) -> ReadBatch {
    log.read(from, Offset(offset), ReadLimit::default(), Wait::No).await.unwrap()
}

/// Every record of a partition, by reading page after page to the end.
async fn read_all(log: &EmbeddedLog, from: &TopicPartition) -> Vec<(u64, Record)> {
    let bounds = log.bounds(from).await.unwrap();
    let mut next = bounds.start;
    let mut records = Vec::new();
    while next < bounds.end {
        let limit = ReadLimit { records: 37, bytes: 1 << 20 };
        let batch = log.read(from, next, limit, Wait::No).await.unwrap();
        assert!(batch.next > next, "a read below the end moves");
        next = batch.next;
        records.extend(batch.records.into_iter().map(|stored| (stored.offset.0, stored.record)));
    }
    records
}

fn group(name: &str, shards: u32) -> Group {
    Group { name: name.to_owned(), shards, topic: topic("events") }
}

/// Joins alone and opens the writer of the first shard.
async fn writer(log: &EmbeddedLog, name: &str) -> (Box<dyn headwater_core::log::Membership>, Opened) {
    let mut member = log.join(&group(name, 1)).await.unwrap();
    let ShardChange::Gained(_, claim) = member.next().await.unwrap() else {
        panic!("the first change is a gain")
    };
    let opened = claim.open().await.unwrap();
    (member, opened)
}

fn transaction(appends: Vec<Append>, position: (&TopicPartition, u64), note: &'static str) -> Transaction {
    let positions = [(position.0.clone(), Offset(position.1))].into_iter().collect();
    Transaction { appends, positions, note: note.into() }
}

/// A clock that the test sets.
#[derive(Default)]
struct TestClock(Mutex<Timestamp>);

impl TestClock {
    fn set(&self, now: i64) {
        *self.0.lock() = Timestamp(now);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}

/// A data directory as a loss of power would leave it: what was synced, and no mark of a good end.
fn directory_of_image(image: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("format"), "headwater 1\n").unwrap();
    std::fs::create_dir(dir.path().join("log")).unwrap();
    std::fs::copy(image, dir.path().join("log/data.mdb")).unwrap();
    dir
}
