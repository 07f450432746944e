//! What rules stand on: topics and shards of their own, records to write, and everything read back.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::future::race;
use super::{Fault, Harness};
use crate::BoxFuture;
use crate::clock::Timestamp;
use crate::log::{
    Bounds, Claim, Group, Head, Log, LogError, LogErrorKind, Membership, Opened, ReadLimit, ShardChange,
    TopicDescription, TopicSettings, Transaction, Wait, Writer,
};
use crate::position::Position;
use crate::record::{Append, Record, StoredRecord};
use crate::topic::{Offset, Partition, TopicName, TopicPartition};

/// How a rule ends: kept, or stopped.
pub(super) type Verdict = Result<(), Stop>;

/// Why a rule ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The harness cannot do what the rule needs.
    Skip(&'static str),
    /// The log breaks the rule.
    Broken(String),
}

impl<E: Error> From<E> for Stop {
    fn from(error: E) -> Self {
        let mut message = format!("a call failed that should not: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self::Broken(message)
    }
}

/// Stops the rule with a message unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err($crate::conformance::log::ground::Stop::Broken(format!($($message)+)));
        }
    };
}
pub(super) use ensure;

/// Stops the rule unless what was found is what was expected.
pub(super) fn same<T: PartialEq + fmt::Debug>(what: &str, found: T, expected: T) -> Verdict {
    ensure!(found == expected, "{what}: found {found:?}, expected {expected:?}");
    Ok(())
}

/// Stops the rule unless an answer is an error of the expected kind.
pub(super) fn fails<T: fmt::Debug>(what: &str, answer: Result<T, LogError>, kind: LogErrorKind) -> Verdict {
    match answer {
        Err(error) => same(what, error.kind(), kind),
        Ok(answer) => Err(Stop::Broken(format!("{what}: answered {answer:?}, expected an error {kind:?}"))),
    }
}

/// The time of every record whose rule does not care.
pub(super) const TIME: Timestamp = Timestamp(1_600_000_000_000);

/// A log, and what a rule does with it over and over.
pub(super) struct Ground<'a> {
    harness: &'a dyn Harness,
    rule: &'static str,
    pub(super) log: Arc<dyn Log>,
    doing: Doing,
}

/// What the rule is waiting for, for the message when it waits for ever.
#[derive(Clone, Default)]
pub(super) struct Doing(Arc<Mutex<String>>);

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<'a> Ground<'a> {
    pub(super) fn new(harness: &'a dyn Harness, rule: &'static str, log: Arc<dyn Log>) -> Self {
        Self { harness, rule, log, doing: Doing::default() }
    }

    pub(super) fn doing(&self) -> Doing {
        self.doing.clone()
    }

    /// Awaits a future, and says what for if it never ends.
    pub(super) async fn await_for<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        let set = |text: String| *self.doing.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
        set(format!("to {what}"));
        let answer = future.await;
        set(String::new());
        answer
    }

    /// The future's answer, if it has one within a moment.
    pub(super) async fn within_a_moment<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        race(future, self.harness.moment()).await
    }

    pub(super) async fn moment(&self) {
        self.harness.moment().await;
    }

    pub(super) fn inject(&self, fault: Fault) -> bool {
        self.harness.inject(&self.log, fault)
    }

    pub(super) async fn clean(&self) -> bool {
        self.harness.clean(&self.log).await
    }

    /// Crashes the log, or skips the rule.
    pub(super) async fn crash(self) -> Result<Self, Stop> {
        let log = self.await_for("crash and open again", self.harness.crash(self.log.clone())).await;
        let log = log.ok_or(Stop::Skip("the harness cannot crash the log"))?;
        Ok(Self { log, ..self })
    }

    /// A name that is this rule's own.
    pub(super) fn name(&self, hint: &str) -> String {
        self.harness.name(&format!("{}.{hint}", self.rule))
    }

    pub(super) fn topic_name(&self, hint: &str) -> Result<TopicName, Stop> {
        Ok(TopicName::new(self.name(hint))?)
    }

    pub(super) async fn create(&self, hint: &str, settings: TopicSettings) -> Result<TopicDescription, Stop> {
        Ok(self.log.create(&self.topic_name(hint)?, settings).await?)
    }

    pub(super) async fn topic(&self, hint: &str, partitions: u32) -> Result<TopicName, Stop> {
        Ok(self.create(hint, TopicSettings::kept(partitions)).await?.name)
    }

    /// Partition 0 of a new topic that keeps its records.
    pub(super) async fn partition(&self) -> Result<TopicPartition, Stop> {
        Ok(self.topic("records", 1).await?.partition(0))
    }

    pub(super) async fn append(&self, at: &TopicPartition, values: &[&str]) -> Result<Vec<Offset>, Stop> {
        Ok(self.log.append(appends(at, values)).await?)
    }

    pub(super) async fn bounds(&self, at: &TopicPartition) -> Result<Bounds, Stop> {
        Ok(self.log.bounds(at).await?)
    }

    pub(super) async fn end(&self, at: &TopicPartition) -> Result<Offset, Stop> {
        Ok(self.bounds(at).await?.end)
    }

    /// Every record of a partition, read as a consumer does: following `next` from the start to the end.
    pub(super) async fn records(&self, at: &TopicPartition) -> Result<Vec<StoredRecord>, Stop> {
        let Bounds { start, end } = self.bounds(at).await?;
        self.records_from(at, start, end, ReadLimit::default()).await
    }

    /// Follows `next` from one offset at least to another.
    pub(super) async fn records_from(
        &self,
        at: &TopicPartition,
        from: Offset,
        to: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<StoredRecord>, Stop> {
        let (mut next, mut records) = (from, Vec::new());
        while next < to {
            let mut batch = self.log.read(at, next, limit, Wait::No).await?;
            if batch.next == next {
                // What is acknowledged but not yet settled is waited for: below a known end, something always comes.
                let more = self.log.read(at, next, limit, Wait::UntilMore);
                batch = self.await_for(&format!("move from {next} below the end {to} of {at}"), more).await?;
            }
            ensure!(batch.next > next, "the next position stays at {next} below the end {to} of {at}");
            let inside = |stored: &StoredRecord| next <= stored.offset && stored.offset < batch.next;
            ensure!(batch.records.iter().all(inside), "a record lies outside {next}..{} of {at}", batch.next);
            next = batch.next;
            records.extend(batch.records);
        }
        let rising = records.is_sorted_by(|a, b| a.offset < b.offset);
        ensure!(rising, "offsets do not rise: {:?}", offsets_of(&records));
        Ok(records)
    }

    /// The values of every record of a partition, as text.
    pub(super) async fn values(&self, at: &TopicPartition) -> Result<Vec<String>, Stop> {
        Ok(values_of(&self.records(at).await?))
    }

    /// Joins a group of this rule's own over a new topic of so many partitions, and gains every shard.
    pub(super) async fn shards(&self, hint: &str, shards: u32) -> Result<Shards, Stop> {
        let topic = self.topic(hint, shards).await?;
        let group = Group { name: self.name(&format!("{hint}-group")), shards, topic };
        self.join(group).await
    }

    /// Joins a group and gains every shard.
    pub(super) async fn join(&self, group: Group) -> Result<Shards, Stop> {
        let mut shards = self.join_late(&group).await?;
        self.await_for("gain every shard of the group", shards.gain_all()).await?;
        Ok(shards)
    }

    /// Joins a group, and gains nothing yet.
    pub(super) async fn join_late(&self, group: &Group) -> Result<Shards, Stop> {
        let member = Mutex::new(self.log.join(group).await?);
        Ok(Shards { group: group.clone(), member, claims: BTreeMap::new() })
    }

    /// A group of one shard, and that shard's first writer.
    pub(super) async fn writer(&self) -> Result<(Shards, Box<dyn Writer>), Stop> {
        let shards = self.shards("input", 1).await?;
        let writer = shards.open(0).await?.writer;
        Ok((shards, writer))
    }
}

/// A member of a group and what it has.
pub(super) struct Shards {
    pub(super) group: Group,
    pub(super) claims: BTreeMap<Partition, Box<dyn Claim>>,
    /// In a lock only so that this may be lent to another task; it is never contended.
    member: Mutex<Box<dyn Membership>>,
}

impl Shards {
    /// The next change.
    pub(super) fn next(&mut self) -> BoxFuture<'_, Result<ShardChange, LogError>> {
        self.member.get_mut().unwrap_or_else(PoisonError::into_inner).next()
    }

    /// Follows the changes until every shard is this member's.
    pub(super) async fn gain_all(&mut self) -> Verdict {
        while self.claims.len() < self.group.shards as usize {
            let change = self.next().await?;
            self.take(change);
        }
        Ok(())
    }

    /// Leaves the group, and still holds its claims.
    pub(super) async fn leave(self) -> Result<BTreeMap<Partition, Box<dyn Claim>>, Stop> {
        self.member.into_inner().unwrap_or_else(PoisonError::into_inner).leave().await?;
        Ok(self.claims)
    }

    /// Does what a change demands.
    pub(super) fn take(&mut self, change: ShardChange) {
        match change {
            ShardChange::Gained(shard, claim) => drop(self.claims.insert(shard, claim)),
            ShardChange::Revoked(shard) | ShardChange::Lost(shard) => drop(self.claims.remove(&shard)),
        }
    }

    pub(super) async fn open(&self, shard: u32) -> Result<Opened, Stop> {
        let claim = self.claims.get(&Partition(shard));
        let claim = claim.ok_or_else(|| Stop::Broken(format!("shard {shard} was not gained")))?;
        Ok(claim.open().await?)
    }

    /// The head as of opening the shard's next writer, which is dropped.
    pub(super) async fn head(&self, shard: u32) -> Result<Option<Head>, Stop> {
        Ok(self.open(shard).await?.head)
    }

    /// The partition of the group's topic that a shard owns.
    pub(super) fn input(&self, shard: u32) -> TopicPartition {
        self.group.topic.partition(shard)
    }

    /// A transaction of a shard that has come so far in its input.
    pub(super) fn transaction(&self, shard: u32, next: u64, appends: Vec<Append>) -> Transaction {
        let positions = Position::from_iter([(self.input(shard), Offset(next))]);
        Transaction { appends, positions, note: Bytes::new() }
    }
}

pub(super) fn record(value: &str) -> Record {
    Record::new("key", value.to_owned(), TIME)
}

pub(super) fn append(at: &TopicPartition, value: &str) -> Append {
    Append { to: at.clone(), record: record(value) }
}

pub(super) fn appends(at: &TopicPartition, values: &[&str]) -> Vec<Append> {
    values.iter().map(|value| append(at, value)).collect()
}

pub(super) fn noted(transaction: Transaction, note: &str) -> Transaction {
    Transaction { note: Bytes::copy_from_slice(note.as_bytes()), ..transaction }
}

pub(super) fn value_of(stored: &StoredRecord) -> String {
    stored.record.value.as_ref().map_or_else(String::new, |value| String::from_utf8_lossy(value).into_owned())
}

pub(super) fn values_of(records: &[StoredRecord]) -> Vec<String> {
    records.iter().map(value_of).collect()
}

pub(super) fn offsets_of(records: &[StoredRecord]) -> Vec<Offset> {
    records.iter().map(|stored| stored.offset).collect()
}
