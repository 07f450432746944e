//! The memory log: deterministic, with faults on demand.
//!
//! The reference for the contract of [`Log`] and the log of tests and of `--log memory`. It needs no runtime: every
//! future is woken by the log itself, and nothing waits for real time. With one seed and one order of calls it
//! behaves the same every time.
//!
//! It is stricter than the contract asks: a commit that is called before the last one was answered panics, a commit
//! that is dropped unanswered ends its writer, and a record without a key is refused where the topic is compacted.
//!
//! ```
//! use headwater::log::memory::{FaultKind, Faults, MemoryLog, MemoryOptions, Op};
//!
//! let faults = Faults::every(10).rate(FaultKind::RefusedForGood, 0);
//! let log = MemoryLog::new(MemoryOptions { seed: 7, faults, ..MemoryOptions::default() });
//! log.inject(Op::Commit, FaultKind::UnknownLate);
//! // ... run what is to be tested on `log.clone()`, and end it without warning:
//! let log = log.crash();
//! println!("{:?}", log.fault_hits());
//! ```

mod data;
mod faults;
mod member;
mod partition;
mod seed;
mod state;
mod ticket;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use headwater_core::BoxFuture;
use headwater_core::clock::{Clock, SystemClock, Timestamp};
use headwater_core::log::{
    AppendError, Bounds, CommitError, Group, Log, LogError, LogErrorKind, LogId, Membership, ReadBatch,
    ReadLimit, TopicDescription, TopicSettings, Wait,
};
use headwater_core::position::Position;
use headwater_core::record::Append;
use headwater_core::topic::{Offset, Partition, TopicName, TopicPartition};
use parking_lot::{Mutex, MutexGuard};

use self::faults::Dice;
pub use self::faults::{FaultKind, Faults, Op};
use self::member::Member;
use self::seed::Seed;
use self::state::{State, Write};
use self::ticket::{Ticket, turns};
use super::groups::ShardId;

/// What a memory log is made with.
#[derive(Clone)]
pub struct MemoryOptions {
    /// What its ids and its faults follow from.
    pub seed: u64,
    /// Which faults strike, and how often.
    pub faults: Faults,
    /// Whose time retention goes by, and what stamps the records of topics that carry the log's time.
    pub clock: Arc<dyn Clock>,
    /// Whether every transaction uses up one more offset of each partition, as Kafka's markers do.
    pub markers: bool,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { seed: 0, faults: Faults::none(), clock: Arc::new(SystemClock), markers: false }
    }
}

impl fmt::Debug for MemoryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryOptions")
            .field("seed", &self.seed)
            .field("faults", &self.faults)
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
        let state = State::new(Dice::new(seed, options.faults), options.markers);
        Self { shared: Arc::new(Shared { id, clock: options.clock, state: Mutex::new(state) }), life: 0 }
    }

    /// Ends this life of the log as a crash does, and opens it again over what survived.
    ///
    /// Every older handle answers [`LogErrorKind::Closed`] from now on, memberships end, writers are fenced, and what
    /// was under way survives or not.
    #[must_use]
    pub fn crash(&self) -> Self {
        let now = self.now();
        let mut state = self.shared.state.lock();
        state.crash(now);
        Self { shared: self.shared.clone(), life: state.life }
    }

    /// Ends this life of the log as an orderly stop does, and opens it again: like a crash in which everything that
    /// was acknowledged is synced, even with a planted bug.
    #[must_use]
    pub fn reopen(&self) -> Self {
        self.shared.state.lock().sync();
        self.crash()
    }

    /// Changes which faults strike, and how often; what was injected still will.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.state.lock().dice.faults = faults;
    }

    /// Makes a fault strike the next call of its kind that it can strike; asked twice, the next two.
    pub fn inject(&self, op: Op, fault: FaultKind) {
        self.shared.state.lock().dice.inject(op, fault);
    }

    /// Keeps calls of one kind from being answered until the guard is dropped; writes take effect then, unless an
    /// opening or a crash settles them before.
    #[must_use = "dropping the guard releases what is held"]
    pub fn hold(&self, op: Op) -> Held {
        self.shared.state.lock().dice.hold(op);
        Held { log: self.clone(), op }
    }

    /// Fences the shard's writer, as if somebody else had opened one.
    pub fn fence(&self, group: &str, shard: Partition) {
        let mut state = self.shared.state.lock();
        state.fence(&ShardId { group: group.into(), shard });
        state.dice.hit(FaultKind::Fenced);
    }

    /// How often each kind of fault has struck, over all lives of the log.
    pub fn fault_hits(&self) -> BTreeMap<FaultKind, u64> {
        self.shared.state.lock().dice.hits().clone()
    }

    /// Demands that faults of all these kinds have struck: a run that hit none proves nothing.
    ///
    /// # Panics
    ///
    /// If one has not; the message names it, and the hits of all others.
    #[track_caller]
    pub fn assert_all_hit(&self, kinds: &[FaultKind]) {
        let hits = self.fault_hits();
        let none: Vec<_> = kinds.iter().filter(|kind| hits[kind] == 0).map(FaultKind::to_string).collect();
        let told: Vec<_> = hits.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
        assert!(none.is_empty(), "no hit of [{}]; hits were [{}]", none.join(", "), told.join(", "));
    }

    /// Takes a shard from the member that has it, without asking, and gives it to the next one, which may be the same.
    ///
    /// Answers whether it was anybody's.
    pub fn lose(&self, group: &str, shard: Partition) -> bool {
        let mut state = self.shared.state.lock();
        let lost = state.groups.lose(&ShardId { group: group.into(), shard });
        if lost {
            state.dice.hit(FaultKind::LostShard);
        }
        lost
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

    /// Loses the records of a partition from an offset on, as a log does that acknowledged what it did not keep.
    ///
    /// # Errors
    ///
    /// [`LogErrorKind::UnknownTopic`].
    pub fn cut(&self, partition: &TopicPartition, from: Offset) -> Result<(), LogError> {
        self.state()?.data.partition_mut(partition)?.cut(from);
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

    /// Lets a call that is no write pass, unless a fault keeps it.
    async fn gate(&self, op: Op) -> Result<(), LogError> {
        let (delay, refused) = {
            let mut state = self.state()?;
            (state.dice.delay(op), state.dice.strikes(op, FaultKind::Unavailable))
        };
        turns(delay).await;
        self.until_released(op).await;
        if refused {
            let message = "the memory log was told to be unavailable";
            return Err(LogError::new(LogErrorKind::Unavailable, message));
        }
        Ok(())
    }

    /// Waits while calls of a kind are held; not beyond the life of this handle.
    async fn until_released(&self, op: Op) {
        loop {
            let released = self.shared.state.lock().released.clone();
            // Made before looking, so that no release in between is missed.
            let woken = released.notified();
            if !self.state().is_ok_and(|state| state.dice.is_held(op)) {
                return;
            }
            woken.await;
        }
    }

    /// The state, with one partition brought up to date.
    fn state_at(&self, partition: &TopicPartition) -> Result<MutexGuard<'_, State>, LogError> {
        let now = self.now();
        let mut state = self.state()?;
        state.data.tidy(partition, now);
        Ok(state)
    }

    fn read_now(&self, at: &TopicPartition, from: Offset, limit: ReadLimit) -> Result<ReadBatch, LogError> {
        let mut state = self.state_at(at)?;
        let mut batch = state.data.partition(at)?.read(from, limit)?;
        state.shorten(&mut batch);
        Ok(batch)
    }

    async fn append_now(&self, appends: Vec<Append>) -> Result<Vec<Offset>, AppendError> {
        let ticket = Ticket::submit(self, Write::Append(appends)).map_err(AppendError::NotWritten)?;
        ticket.answer().await.map_err(|error| match error {
            CommitError::NotWritten { error, .. } | CommitError::Abandoned(error) => {
                AppendError::NotWritten(error)
            }
            CommitError::Unknown(error) => AppendError::Unknown(error),
            CommitError::Fenced => unreachable!("an append has no writer that could be fenced"),
        })
    }

    async fn read_or_wait(
        &self,
        at: &TopicPartition,
        from: Offset,
        limit: ReadLimit,
        wait: Wait,
    ) -> Result<ReadBatch, LogError> {
        self.gate(Op::Read).await?;
        loop {
            let tail = self.state()?.data.partition(at)?.tail().clone();
            // Made before looking, so that no append in between is missed.
            let woken = tail.notified();
            let batch = self.read_now(at, from, limit)?;
            if batch.next != from || wait == Wait::No {
                return Ok(batch);
            }
            woken.await;
        }
    }
}

/// Keeps calls of one kind from being answered; see [`MemoryLog::hold`].
#[derive(Debug)]
pub struct Held {
    log: MemoryLog,
    op: Op,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.log.shared.state.lock();
        state.dice.release(self.op);
        state.released.notify_waiters();
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
        Box::pin(async move {
            self.gate(Op::Ask).await?;
            Ok(self.state()?.data.describe(topic))
        })
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicDescription>, LogError>> {
        Box::pin(async {
            self.gate(Op::Ask).await?;
            Ok(self.state()?.data.topics())
        })
    }

    fn create<'a>(
        &'a self,
        topic: &'a TopicName,
        settings: TopicSettings,
    ) -> BoxFuture<'a, Result<TopicDescription, LogError>> {
        Box::pin(async move {
            self.gate(Op::Ask).await?;
            self.state()?.create(topic, settings)
        })
    }

    fn alter<'a>(
        &'a self,
        topic: &'a TopicName,
        settings: TopicSettings,
    ) -> BoxFuture<'a, Result<TopicDescription, LogError>> {
        Box::pin(async move {
            self.gate(Op::Ask).await?;
            self.state()?.alter(topic, settings)
        })
    }

    fn delete<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(async move {
            self.gate(Op::Ask).await?;
            self.state()?.delete(topic)
        })
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
        Box::pin(async move {
            self.gate(Op::Ask).await?;
            Ok(self.state_at(partition)?.data.partition(partition)?.bounds())
        })
    }

    fn offset_at<'a>(
        &'a self,
        partition: &'a TopicPartition,
        time: Timestamp,
    ) -> BoxFuture<'a, Result<Offset, LogError>> {
        Box::pin(async move {
            self.gate(Op::Ask).await?;
            Ok(self.state_at(partition)?.data.partition(partition)?.offset_at(time))
        })
    }

    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Result<Vec<Offset>, AppendError>> {
        Box::pin(self.append_now(appends))
    }

    fn join<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<Box<dyn Membership>, LogError>> {
        Box::pin(async move {
            self.gate(Op::Ask).await?;
            let member: Box<dyn Membership> = Box::new(Member::join(self, group)?);
            Ok(member)
        })
    }

    fn committed<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Position, LogError>> {
        Box::pin(async move {
            self.gate(Op::Ask).await?;
            Ok(self.state()?.data.committed(group))
        })
    }
}

#[cfg(test)]
mod tests;
