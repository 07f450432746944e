//! What the rest of the process sees of one shard of one topology.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use headwater_core::log::{LogError, LogErrorKind};
use headwater_core::store::StateStore;
use headwater_core::topic::{Offset, Partition, TopicPartition};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use tokio::sync::{Notify, watch};

use super::changes::ChangeRing;
use crate::store::overlay::ShardState;

/// Where a shard stands in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// It is not this process's, or not yet.
    Waiting,
    /// It is this process's, and the log refuses it; trying again goes on, at longer and longer intervals.
    Refused {
        /// What the log says, and what to do.
        reason: String,
    },
    /// It reads what its store has not.
    Restoring {
        /// Records read.
        done: u64,
        /// Records there were to read when it began.
        total: u64,
    },
    /// It is another instance's; this one keeps a copy, from which it goes on when it gains the shard.
    Standby {
        /// Records of its source that the copy has not, as of the last read.
        behind: u64,
    },
    /// It runs.
    Running,
    /// It stopped, and says why; its state stays readable if it had caught up.
    Stopped {
        /// Why, naming topic, partition and offset where there is one.
        reason: String,
    },
}

/// Rings whenever a shard of an app changes its phase.
#[derive(Clone)]
pub(crate) struct Bell(Arc<watch::Sender<u64>>);

impl Default for Bell {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.0.send_modify(|rings| *rings = rings.wrapping_add(1));
    }

    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// What the log says to a shard that cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hindrance {
    reason: String,
    /// Whether it will not pass by itself.
    is_refusal: bool,
}

/// One shard: its phase, how far it has come, its state.
pub(crate) struct ShardCell {
    pub(crate) shard: Partition,
    bell: Bell,
    phase: watch::Sender<Phase>,
    standby: Mutex<Option<u64>>,
    /// Whether it has run since it last began to restore: only then is its state a whole one.
    is_whole: AtomicBool,
    /// Records before the end that its source had when it last began here, which it has not read yet.
    left: AtomicU64,
    /// What it is waiting for, since it last had a phase of its own.
    hindrance: Mutex<Option<Hindrance>>,
    /// For each source the next offset that it has not processed.
    committed: watch::Sender<Vec<Offset>>,
    /// Wakes a shard that rests once somebody waits for it.
    hurry: Notify,
    end_seen: watch::Sender<Offset>,
    batches: watch::Sender<u64>,
    state: RwLock<Option<Arc<ShardState>>>,
    /// The record at which it stopped, and waits for a decision.
    stopped_at: Mutex<Option<(TopicPartition, Offset)>>,
    /// Records that it has set aside, and the bytes that they hold.
    letters: AtomicU64,
    letters_bytes: AtomicU64,
    pub(crate) changes: ChangeRing,
}

impl ShardCell {
    pub(crate) fn new(shard: Partition, bell: Bell) -> Self {
        Self {
            shard,
            bell,
            phase: watch::Sender::new(Phase::Waiting),
            standby: Mutex::new(None),
            is_whole: AtomicBool::new(false),
            left: AtomicU64::new(0),
            hindrance: Mutex::new(None),
            committed: watch::Sender::new(Vec::new()),
            hurry: Notify::new(),
            end_seen: watch::Sender::new(Offset::ZERO),
            batches: watch::Sender::new(0),
            state: RwLock::new(None),
            stopped_at: Mutex::new(None),
            letters: AtomicU64::new(0),
            letters_bytes: AtomicU64::new(0),
            changes: ChangeRing::default(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        if let Phase::Stopped { reason } = &phase {
            tracing::error!(shard = self.shard.0, %reason, "a shard stopped");
        }
        match phase {
            Phase::Running => self.is_whole.store(true, Ordering::Release),
            Phase::Restoring { .. } => self.is_whole.store(false, Ordering::Release),
            Phase::Waiting | Phase::Refused { .. } | Phase::Standby { .. } | Phase::Stopped { .. } => {}
        }
        *self.hindrance.lock() = None;
        self.phase.send_replace(phase);
        self.bell.ring();
    }

    /// The shard is another's now, or nobody's.
    pub(crate) fn let_go(&self) {
        if self.phase() != Phase::Waiting {
            self.set_phase(Phase::Waiting);
        }
    }

    /// The phase as it is reported: [`Phase::Standby`] where the shard is not ours, and a copy of it is kept;
    /// [`Phase::Refused`] where it would be ours, if the log let it.
    pub(crate) fn reported_phase(&self) -> Phase {
        let refused = || self.hindrance.lock().clone().filter(|hindrance| hindrance.is_refusal);
        match (self.phase(), *self.standby.lock()) {
            (Phase::Waiting, Some(behind)) => Phase::Standby { behind },
            (Phase::Waiting, None) => {
                refused().map_or(Phase::Waiting, |Hindrance { reason, .. }| Phase::Refused { reason })
            }
            (phase, _) => phase,
        }
    }

    /// The log does not let the shard go on; it is tried again.
    pub(crate) fn hinder(&self, error: &LogError) {
        let is_refusal = error.kind() != LogErrorKind::Unavailable;
        *self.hindrance.lock() = Some(Hindrance { reason: error.to_string(), is_refusal });
    }

    /// The log has answered.
    pub(crate) fn let_on(&self) {
        *self.hindrance.lock() = None;
    }

    /// What the log last said, if the shard cannot go on for it.
    pub(crate) fn hindrance(&self) -> Option<String> {
        self.hindrance.lock().as_ref().map(|hindrance| hindrance.reason.clone())
    }

    /// How many records it has still to read before its state is as new as the log was when it began here.
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::Acquire)
    }

    pub(crate) fn set_left(&self, left: u64) {
        let before = self.left.swap(left, Ordering::AcqRel);
        if (before == 0) != (left == 0) {
            self.bell.ring();
        }
    }

    /// A copy of another's shard is kept here, and lacks so many records; `None` if none is kept.
    ///
    /// The shard waits meanwhile: nobody is answered from a copy.
    pub(crate) fn set_standby(&self, behind: Option<u64>) {
        self.is_whole.store(false, Ordering::Release);
        if behind.is_none() {
            self.let_on();
        }
        let former = std::mem::replace(&mut *self.standby.lock(), behind);
        if former.is_some() != behind.is_some() {
            self.bell.ring();
        }
    }

    /// Whether a copy of another's shard is kept here.
    pub(crate) fn is_standby(&self) -> bool {
        self.standby.lock().is_some()
    }

    /// A copy cannot be kept up; nobody is served worse for it until the shard moves here.
    pub(crate) fn standby_failed(&self, reason: &str) {
        tracing::error!(shard = self.shard.0, %reason, "a standby ended");
    }

    /// Whether its state answers for everything up to a moment at which it had caught up.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::Acquire)
    }

    pub(crate) fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// The next offset of the shard's source that it has not processed; of the first, if there are several.
    pub(crate) fn committed(&self) -> Offset {
        self.committed_of(0)
    }

    /// The next offset that it has not processed of the source of this index.
    pub(crate) fn committed_of(&self, source: usize) -> Offset {
        self.committed.borrow().get(source).copied().unwrap_or_default()
    }

    pub(crate) fn set_committed(&self, next: Offset) {
        self.set_committed_all(&[next]);
    }

    /// How far it has come in each source.
    pub(crate) fn set_committed_all(&self, nexts: &[Offset]) {
        self.committed.send_modify(|committed| {
            committed.clear();
            committed.extend_from_slice(nexts);
        });
    }

    pub(crate) fn watch_committed(&self) -> watch::Receiver<Vec<Offset>> {
        let committed = self.committed.subscribe();
        self.hurry.notify_one();
        committed
    }

    /// Whether somebody waits until it has come further.
    pub(crate) fn is_awaited(&self) -> bool {
        self.committed.receiver_count() > 0
    }

    /// Waits until somebody waits for it.
    pub(crate) async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// Tells that another batch was committed.
    pub(crate) fn batch_committed(&self) {
        self.batches.send_modify(|batches| *batches += 1);
    }

    pub(crate) fn watch_batches(&self) -> watch::Receiver<u64> {
        self.batches.subscribe()
    }

    /// The source's end when it was last read; of several sources, as far behind `committed` as all of them together.
    pub(crate) fn end_seen(&self) -> Offset {
        *self.end_seen.borrow()
    }

    pub(crate) fn set_end_seen(&self, end: Offset) {
        self.end_seen.send_replace(end);
    }

    /// The record at which it stopped, where a decision about that lets it go on.
    pub(crate) fn stopped_at(&self) -> Option<(TopicPartition, Offset)> {
        self.stopped_at.lock().clone()
    }

    pub(crate) fn set_stopped_at(&self, at: Option<(TopicPartition, Offset)>) {
        *self.stopped_at.lock() = at;
    }

    /// How many records it has set aside.
    pub(crate) fn letters(&self) -> u64 {
        self.letters.load(Ordering::Acquire)
    }

    /// The bytes that these hold.
    pub(crate) fn letters_bytes(&self) -> u64 {
        self.letters_bytes.load(Ordering::Acquire)
    }

    pub(crate) fn set_letters(&self, count: usize, bytes: usize) {
        self.letters.store(count as u64, Ordering::Release);
        self.letters_bytes.store(bytes as u64, Ordering::Release);
    }

    pub(crate) fn state(&self) -> Option<Arc<ShardState>> {
        self.state.read().clone()
    }

    /// Drops the state of a shard that is another's and that nobody has in hand, with the rows that its store has of it.
    ///
    /// Nobody gets hold of the state meanwhile; who comes afterwards finds none.
    pub(crate) fn drop_idle_state(&self, store: &dyn StateStore) {
        let mut state = self.state.write();
        let is_idle = self.phase() == Phase::Waiting && !self.is_standby();
        let Some(idle) = state.take_if(|state| is_idle && Arc::strong_count(state) == 1) else { return };
        idle.close();
        if let Err(error) = store.clear(self.shard) {
            tracing::warn!(shard = self.shard.0, %error, "the rows of a shard that moved away could not be dropped");
        }
    }

    pub(crate) fn set_state(&self, state: Option<Arc<ShardState>>) {
        *self.state.write() = state;
    }
}
