//! What goes wrong on purpose: which faults there are, how often they strike, and how often they have.
//!
//! A fault strikes because it was asked for ([`MemoryLog::inject`](super::MemoryLog::inject)) or because the seed says
//! so, at the rate set for its kind. Only a fault that changed what happened is counted as a hit.

use std::collections::BTreeMap;
use std::fmt;

use super::seed::Seed;

/// A way in which a memory log misbehaves, within its contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// A crash loses writes that were handed over and not synced. It strikes in crashes; its rate means nothing.
    LostUnsynced,
    /// A write is not written, and may be tried again.
    Refused,
    /// A write is not written, and trying again is no use.
    RefusedForGood,
    /// A write is not written, since there is no space; it may be tried again.
    Full,
    /// A call is answered some turns later. A write takes effect before the delay or after it.
    Delayed,
    /// A write is written, and the answer is that this is unknown.
    UnknownWritten,
    /// A write is not written, and the answer is that this is unknown.
    UnknownNotWritten,
    /// A commit's outcome is unknown, also to the log, until the shard's next writer is opened.
    UnknownLate,
    /// A commit finds that another writer was opened.
    Fenced,
    /// A shard is taken from its member without asking; whoever has it now has not opened a writer yet.
    LostShard,
    /// A call that is no write cannot be answered now.
    Unavailable,
    /// A read answers fewer records than it could.
    ShortRead,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::LostUnsynced,
        Self::Refused,
        Self::RefusedForGood,
        Self::Full,
        Self::Delayed,
        Self::UnknownWritten,
        Self::UnknownNotWritten,
        Self::UnknownLate,
        Self::Fenced,
        Self::LostShard,
        Self::Unavailable,
        Self::ShortRead,
    ];
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LostUnsynced => "lost unsynced data",
            Self::Refused => "refused",
            Self::RefusedForGood => "refused for good",
            Self::Full => "full",
            Self::Delayed => "delayed",
            Self::UnknownWritten => "unknown, written",
            Self::UnknownNotWritten => "unknown, not written",
            Self::UnknownLate => "unknown, settled late",
            Self::Fenced => "fenced",
            Self::LostShard => "lost shard",
            Self::Unavailable => "unavailable",
            Self::ShortRead => "short read",
        })
    }
}

/// What a call does, as far as faults tell calls apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// A writer's commit.
    Commit,
    /// An append outside transactions.
    Append,
    /// A read of records.
    Read,
    /// The opening of a shard's writer.
    Open,
    /// Everything else: topics, bounds, offsets by time, joining, committed positions.
    Ask,
}

/// How often faults strike, per kind; none by default.
///
/// ```
/// use headwater::log::memory::{FaultKind, Faults};
///
/// let faults = Faults::every(20).rate(FaultKind::RefusedForGood, 0).delay_turns_max(5);
/// assert_ne!(faults, Faults::none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    per_mille: BTreeMap<FaultKind, u16>,
    delay_turns_max: u32,
    commit_without_sync: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self { per_mille: BTreeMap::new(), delay_turns_max: 8, commit_without_sync: false }
    }
}

impl Faults {
    /// No faults.
    pub fn none() -> Self {
        Self::default()
    }

    /// Every kind strikes this many of a thousand calls that it can strike.
    pub fn every(per_mille: u16) -> Self {
        Self { per_mille: FaultKind::ALL.map(|kind| (kind, per_mille)).into(), ..Self::default() }
    }

    /// The same with another rate for one kind.
    #[must_use]
    pub fn rate(mut self, kind: FaultKind, per_mille: u16) -> Self {
        self.per_mille.insert(kind, per_mille);
        self
    }

    /// The same with delays of up to so many turns (8 unless set).
    #[must_use]
    pub fn delay_turns_max(self, turns: u32) -> Self {
        Self { delay_turns_max: turns, ..self }
    }

    /// Plants a bug: writes are acknowledged without a sync, so that a crash loses what is not yet written back.
    ///
    /// No fault of a sound log, and there so that a test can show that it finds it.
    #[must_use]
    pub fn commit_without_sync(self) -> Self {
        Self { commit_without_sync: true, ..self }
    }
}

/// Decides what strikes, and counts what did.
pub(super) struct Dice {
    pub(super) seed: Seed,
    pub(super) faults: Faults,
    injected: Vec<(Op, FaultKind)>,
    hits: BTreeMap<FaultKind, u64>,
    held: BTreeMap<Op, u32>,
}

impl Dice {
    pub(super) fn new(seed: Seed, faults: Faults) -> Self {
        let hits = FaultKind::ALL.map(|kind| (kind, 0)).into();
        Self { seed, faults, injected: Vec::new(), hits, held: BTreeMap::new() }
    }

    /// Whether a fault of this kind strikes a call that it can strike; if so, it is counted.
    pub(super) fn strikes(&mut self, op: Op, kind: FaultKind) -> bool {
        let strikes = self.was_injected(op, kind) || self.rolls(kind);
        if strikes {
            self.hit(kind);
        }
        strikes
    }

    fn was_injected(&mut self, op: Op, kind: FaultKind) -> bool {
        let index = self.injected.iter().position(|injected| *injected == (op, kind));
        index.map(|index| self.injected.remove(index)).is_some()
    }

    fn rolls(&mut self, kind: FaultKind) -> bool {
        let per_mille = self.faults.per_mille.get(&kind).copied().unwrap_or_default();
        per_mille > 0 && self.seed.below(1_000) < u64::from(per_mille)
    }

    /// The first of some kinds that strikes.
    pub(super) fn first_of(&mut self, op: Op, kinds: &[FaultKind]) -> Option<FaultKind> {
        kinds.iter().copied().find(|kind| self.strikes(op, *kind))
    }

    /// For how many turns a call is delayed, if it is.
    pub(super) fn delay(&mut self, op: Op) -> u32 {
        if !self.strikes(op, FaultKind::Delayed) {
            return 0;
        }
        let more = self.seed.below(u64::from(self.faults.delay_turns_max.max(1)));
        1 + u32::try_from(more).expect("it lies below a number of 32 bits")
    }

    pub(super) fn inject(&mut self, op: Op, kind: FaultKind) {
        self.injected.push((op, kind));
    }

    pub(super) fn hit(&mut self, kind: FaultKind) {
        *self.hits.entry(kind).or_default() += 1;
    }

    pub(super) fn hits(&self) -> &BTreeMap<FaultKind, u64> {
        &self.hits
    }

    pub(super) fn hold(&mut self, op: Op) {
        *self.held.entry(op).or_default() += 1;
    }

    pub(super) fn release(&mut self, op: Op) {
        let held = self.held.entry(op).or_default();
        *held = held.saturating_sub(1);
    }

    pub(super) fn is_held(&self, op: Op) -> bool {
        self.held.get(&op).is_some_and(|held| *held > 0)
    }

    /// Whether acknowledged data is left unsynced this time: the planted bug, but for a write-back now and then.
    pub(super) fn skips_sync(&mut self) -> bool {
        self.faults.commit_without_sync && self.seed.below(8) != 0
    }
}
