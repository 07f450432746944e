//! The memory log: deterministic, with faults on demand.
//!
//! The reference for the contract of [`Log`] and the log of tests and of `--log memory`. It needs no runtime: every
//! future is woken by the log itself, and nothing waits for real time. With one seed and one order of calls it
//! behaves the same every time.

mod data;
mod member;
mod partition;
mod seed;
mod state;

use std::fmt;
use std::sync::Arc;

use headwater_core::BoxFuture;
use headwater_core::clock::{Clock, SystemClock, Timestamp};
use headwater_core::log::{
    AppendError, Bounds, Group, Log, LogError, LogErrorKind, LogId, Membership, ReadBatch, ReadLimit,
    TopicDescription, TopicSettings, Wait,
};
use headwater_core::position::Position;
use headwater_core::record::Append;
use headwater_core::topic::{Offset, Partition, TopicName, TopicPartition};
use parking_lot::{Mutex, MutexGuard};

use super::groups::ShardId;
use self::member::Member;
use self::seed::Seed;
use self::state::State;

/// What a memory log is made with.
#[derive(Clone)]
pub struct MemoryOptions {
    /// What its ids and its faults follow from.
    pub seed: u64,
    /// Whose time retention goes by, and what stamps the records of topics that carry the log's time.
    pub clock: Arc<dyn Clock>,
    /// Whether every transaction uses up one more offset of each partition, as Kafka's markers do.
    pub markers: bool,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { seed: 0, clock: Arc::new(SystemClock), markers: false }
    }
}

impl fmt::Debug for MemoryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryOptions")
            .field("seed", &self.seed)
            .field("markers", &self.markers)
            .finish_non_exhaustive()
    }
}

/// A log in memory. Clones are handles on the same log.
#[derive(Clone)]
pub struct MemoryLog {
    shared: Arc<Shared>,
    /// The life of the log that this handle belongs to.
    life: u64,
}

struct Shared {
    id: LogId,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl MemoryLog {
    /// An empty log.
    pub fn new(options: MemoryOptions) -> Self {
        let mut seed = Seed::new(options.seed);
        let id = LogId(seed.wide());
        let mut state = State::new(seed);
        state.data.markers = options.markers;
        Self { shared: Arc::new(Shared { id, clock: options.clock, state: Mutex::new(state) }), life: 0 }
    }

    /// Ends this life of the log as a crash does, and opens it again over what survived.
    ///
    /// Every older handle answers [`LogErrorKind::Closed`] from now on, memberships end, writers are fenced.
    #[must_use]
    pub fn crash(&self) -> Self {
        let mut state = self.shared.state.lock();
        state.end_life();
        Self { shared: self.shared.clone(), life: state.life }
    }

    /// Takes a shard from the member that has it, without asking, and gives it to the next one, which may be the same.
    ///
    /// Answers whether it was anybody's.
    pub fn lose(&self, group: &str, shard: Partition) -> bool {
        self.shared.state.lock().groups.lose(&ShardId { group: group.into(), shard })
    }

    /// Drops now whatever the topics' cleanup rules allow to drop.
    pub fn clean(&self) {
        let now = self.now();
        self.shared.state.lock().data.clean(now);
    }

    /// Damages a record: reads never serve it and answer [`LogErrorKind::Corrupt`] at its place.
    ///
    /// # Errors
    ///
    /// [`LogErrorKind::UnknownTopic`].
    pub fn damage(&self, partition: &TopicPartition, offset: Offset) -> Result<(), LogError> {
        self.state()?.data.partition_mut(partition)?.damage(offset);
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, LogError> {
        let state = self.shared.state.lock();
        if state.life == self.life {
            Ok(state)
        } else {
            Err(LogError::new(LogErrorKind::Closed, "the log has been closed; open it again"))
        }
    }

    /// The state, with one partition brought up to date.
    fn state_at(&self, partition: &TopicPartition) -> Result<MutexGuard<'_, State>, LogError> {
        let now = self.now();
        let mut state = self.state()?;
        state.data.tidy(partition, now);
        Ok(state)
    }

    async fn read_or_wait(
        &self,
        at: &TopicPartition,
        from: Offset,
        limit: ReadLimit,
        wait: Wait,
    ) -> Result<ReadBatch, LogError> {
        loop {
            let tail = self.state()?.data.partition(at)?.tail().clone();
            let woken = tail.notified();
            tokio::pin!(woken);
            // Listen before looking, so that no append in between is missed.
            woken.as_mut().enable();
            let batch = self.state_at(at)?.data.partition(at)?.read(from, limit)?;
            if batch.next != from || wait == Wait::No {
                return Ok(batch);
            }
            woken.await;
        }
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog").field("id", &self.shared.id).finish_non_exhaustive()
    }
}

impl Log for MemoryLog {
    fn id(&self) -> LogId {
        self.shared.id
    }

    fn describe<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<TopicDescription>, LogError>> {
        Box::pin(async move { Ok(self.state()?.data.describe(topic)) })
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicDescription>, LogError>> {
        Box::pin(async { Ok(self.state()?.data.topics()) })
    }

    fn create<'a>(
        &'a self,
        topic: &'a TopicName,
        settings: TopicSettings,
    ) -> BoxFuture<'a, Result<TopicDescription, LogError>> {
        Box::pin(async move { self.state()?.create(topic, settings) })
    }

    fn delete<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(async move { self.state()?.data.delete(topic) })
    }

    fn read<'a>(
        &'a self,
        partition: &'a TopicPartition,
        from: Offset,
        limit: ReadLimit,
        wait: Wait,
    ) -> BoxFuture<'a, Result<ReadBatch, LogError>> {
        Box::pin(self.read_or_wait(partition, from, limit, wait))
    }

    fn bounds<'a>(&'a self, partition: &'a TopicPartition) -> BoxFuture<'a, Result<Bounds, LogError>> {
        Box::pin(async move { Ok(self.state_at(partition)?.data.partition(partition)?.bounds()) })
    }

    fn offset_at<'a>(
        &'a self,
        partition: &'a TopicPartition,
        time: Timestamp,
    ) -> BoxFuture<'a, Result<Offset, LogError>> {
        Box::pin(async move { Ok(self.state_at(partition)?.data.partition(partition)?.offset_at(time)) })
    }

    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Result<Vec<Offset>, AppendError>> {
        Box::pin(async move {
            let now = self.now();
            self.state().map_err(AppendError::NotWritten)?.append(appends, now)
        })
    }

    fn join<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<Box<dyn Membership>, LogError>> {
        Box::pin(async move {
            let member: Box<dyn Membership> = Box::new(Member::join(self, group)?);
            Ok(member)
        })
    }

    fn committed<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Position, LogError>> {
        Box::pin(async move { Ok(self.state()?.data.committed(group)) })
    }
}

#[cfg(test)]
mod tests;
