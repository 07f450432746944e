//! A log whose readers are let on one read at a time, and whose writers are refused, as a test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use headwater::core::BoxFuture;
use headwater::core::clock::Timestamp;
use headwater::core::log::{
    AppendError, Bounds, Claim, Group, Log, LogError, LogErrorKind, LogId, Membership, Opened, ReadBatch,
    ReadLimit, ShardChange, TopicDescription, TopicSettings, Wait,
};
use headwater::core::position::Position;
use headwater::core::record::Append;
use headwater::core::topic::{Offset, TopicName, TopicPartition};
use headwater::log::memory::MemoryLog;
use tokio::sync::Semaphore;

/// A memory log with a pace.
#[derive(Clone)]
pub(crate) struct PacedLog {
    pub(crate) log: MemoryLog,
    /// The topic whose waiting readers are held.
    paced: TopicName,
    pace: Arc<Pace>,
}

struct Pace {
    /// Reads that may still be answered, each with so many records.
    reads: Semaphore,
    records: usize,
    /// Whether those are held, too, who read what is there and wait for nothing.
    holds_all: AtomicBool,
    is_silent: AtomicBool,
    refuses_writers: AtomicBool,
    openings: AtomicUsize,
}

impl PacedLog {
    pub(crate) fn new(log: MemoryLog, paced: &str, records: usize) -> Self {
        let pace = Pace {
            reads: Semaphore::new(0),
            records,
            holds_all: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
            refuses_writers: AtomicBool::new(false),
            openings: AtomicUsize::new(0),
        };
        Self { log, paced: TopicName::new(paced).unwrap(), pace: Arc::new(pace) }
    }

    /// Holds those, too, who read what is there and wait for nothing.
    pub(crate) fn hold_all(self) -> Self {
        self.pace.holds_all.store(true, Ordering::SeqCst);
        self
    }

    /// Lets so many reads be answered.
    pub(crate) fn let_read(&self, reads: usize) {
        self.pace.reads.add_permits(reads);
    }

    /// Whether nobody is told where the paced topic's partitions end.
    pub(crate) fn be_silent(&self, silent: bool) {
        self.pace.is_silent.store(silent, Ordering::SeqCst);
    }

    /// Whether no writer is opened.
    pub(crate) fn refuse_writers(&self, refuse: bool) {
        self.pace.refuses_writers.store(refuse, Ordering::SeqCst);
    }

    /// How often a writer was refused since this was last asked.
    pub(crate) fn refused(&self) -> usize {
        self.pace.openings.swap(0, Ordering::SeqCst)
    }
}

impl Log for PacedLog {
    fn id(&self) -> LogId {
        self.log.id()
    }

    fn describe<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<TopicDescription>, LogError>> {
        self.log.describe(topic)
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicDescription>, LogError>> {
        self.log.topics()
    }

    fn create<'a>(
        &'a self,
        topic: &'a TopicName,
        settings: TopicSettings,
    ) -> BoxFuture<'a, Result<TopicDescription, LogError>> {
        self.log.create(topic, settings)
    }

    fn delete<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), LogError>> {
        self.log.delete(topic)
    }

    fn read<'a>(
        &'a self,
        partition: &'a TopicPartition,
        from: Offset,
        limit: ReadLimit,
        wait: Wait,
    ) -> BoxFuture<'a, Result<ReadBatch, LogError>> {
        Box::pin(async move {
            let has_more = from < self.log.bounds(partition).await?.end;
            let is_held = wait != Wait::No || self.pace.holds_all.load(Ordering::SeqCst);
            if partition.topic != self.paced || !is_held || !has_more {
                return self.log.read(partition, from, limit, wait).await;
            }
            self.pace.reads.acquire().await.unwrap().forget();
            let limit = ReadLimit { records: self.pace.records, ..limit };
            self.log.read(partition, from, limit, wait).await
        })
    }

    fn bounds<'a>(&'a self, partition: &'a TopicPartition) -> BoxFuture<'a, Result<Bounds, LogError>> {
        Box::pin(async move {
            if partition.topic == self.paced && self.pace.is_silent.load(Ordering::SeqCst) {
                return Err(LogError::new(LogErrorKind::Unavailable, "the log is silent"));
            }
            self.log.bounds(partition).await
        })
    }

    fn offset_at<'a>(
        &'a self,
        partition: &'a TopicPartition,
        time: Timestamp,
    ) -> BoxFuture<'a, Result<Offset, LogError>> {
        self.log.offset_at(partition, time)
    }

    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Result<Vec<Offset>, AppendError>> {
        self.log.append(appends)
    }

    fn join<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<Box<dyn Membership>, LogError>> {
        Box::pin(async move {
            let member = PacedMember { member: self.log.join(group).await?, pace: self.pace.clone() };
            let member: Box<dyn Membership> = Box::new(member);
            Ok(member)
        })
    }

    fn committed<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Position, LogError>> {
        self.log.committed(group)
    }
}

struct PacedMember {
    member: Box<dyn Membership>,
    pace: Arc<Pace>,
}

impl Membership for PacedMember {
    fn next(&mut self) -> BoxFuture<'_, Result<ShardChange, LogError>> {
        Box::pin(async move {
            let change = self.member.next().await?;
            let ShardChange::Gained(shard, claim) = change else { return Ok(change) };
            Ok(ShardChange::Gained(shard, Box::new(PacedClaim { claim, pace: self.pace.clone() })))
        })
    }

    fn leave(self: Box<Self>) -> BoxFuture<'static, Result<(), LogError>> {
        self.member.leave()
    }
}

struct PacedClaim {
    claim: Box<dyn Claim>,
    pace: Arc<Pace>,
}

impl Claim for PacedClaim {
    fn open(&self) -> BoxFuture<'_, Result<Opened, LogError>> {
        Box::pin(async move {
            if self.pace.refuses_writers.load(Ordering::SeqCst) {
                self.pace.openings.fetch_add(1, Ordering::SeqCst);
                return Err(LogError::new(LogErrorKind::Denied, "grant it Write"));
            }
            self.claim.open().await
        })
    }
}
