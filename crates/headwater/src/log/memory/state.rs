//! The whole of a memory log behind its lock: what it keeps, who may write, who has which shard, what is under way.
//!
//! A write is handed over ([`State::submit`]), takes effect at once or later ([`State::settle`]), and is answered
//! ([`State::answer`]). A shard's next opening, a crash, and the caller's loss of interest each settle what is under
//! way, one way or the other, by the seed.

use std::collections::BTreeMap;
use std::mem::{replace, take};
use std::sync::Arc;

use headwater_core::clock::Timestamp;
use headwater_core::log::{
    CommitError, Head, LogError, LogErrorKind, ReadBatch, TopicDescription, TopicSettings, Transaction,
};
use headwater_core::record::Append;
use headwater_core::topic::{Offset, TopicId, TopicName};
use tokio::sync::Notify;

use super::data::Data;
use super::faults::{Dice, FaultKind, Op};
use crate::log::groups::{Groups, ShardId, Term};

/// Which writer of a shard; only the last one opened may commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Epoch(u64);

/// What a write comes to. Appends have no writer, so that theirs is never fenced.
pub(super) type Written = Result<Vec<Offset>, CommitError>;

pub(super) enum Write {
    Append(Vec<Append>),
    Commit(ShardId, Epoch, Transaction),
}

impl Write {
    fn op(&self) -> Op {
        match self {
            Self::Append(_) => Op::Append,
            Self::Commit(..) => Op::Commit,
        }
    }

    fn is_of(&self, shard: &ShardId) -> bool {
        matches!(self, Self::Commit(of, ..) if of == shard)
    }
}

/// Which write that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FlightId(u64);

enum Flight {
    /// Handed over, without effect yet.
    Waiting(Write),
    /// Settled, not answered yet.
    Settled(Written),
}

pub(super) struct State {
    pub(super) data: Data,
    pub(super) groups: Groups,
    pub(super) dice: Dice,
    /// Which life of the log; handles of an earlier one are closed.
    pub(super) life: u64,
    /// Told when something held is released, and when the log's life ends.
    pub(super) released: Arc<Notify>,
    epochs: BTreeMap<ShardId, Epoch>,
    flights: BTreeMap<FlightId, Flight>,
    flown: u64,
    /// Commits that were answered unknown, and that the next opening settles.
    limbo: BTreeMap<ShardId, Transaction>,
    /// What a crash goes back to, while acknowledged data is not synced: with the planted bug only.
    synced: Option<Data>,
}

impl State {
    pub(super) fn new(dice: Dice, markers: bool) -> Self {
        Self {
            data: Data::new(markers),
            groups: Groups::default(),
            dice,
            life: 0,
            released: Arc::default(),
            epochs: BTreeMap::new(),
            flights: BTreeMap::new(),
            flown: 0,
            limbo: BTreeMap::new(),
            synced: None,
        }
    }

    pub(super) fn create(
        &mut self,
        name: &TopicName,
        settings: TopicSettings,
    ) -> Result<TopicDescription, LogError> {
        let id = TopicId(self.dice.seed.wide());
        let description = self.data.create(name, id, settings)?;
        self.sync();
        Ok(description)
    }

    pub(super) fn alter(
        &mut self,
        name: &TopicName,
        settings: TopicSettings,
    ) -> Result<TopicDescription, LogError> {
        let description = self.data.alter(name, settings)?;
        self.sync();
        Ok(description)
    }

    pub(super) fn delete(&mut self, name: &TopicName) -> Result<(), LogError> {
        self.data.delete(name)?;
        self.sync();
        Ok(())
    }

    /// Cuts a batch short if the dice say so.
    pub(super) fn shorten(&mut self, batch: &mut ReadBatch) {
        let count = batch.records.len();
        if count < 2 || !self.dice.strikes(Op::Read, FaultKind::ShortRead) {
            return;
        }
        batch.records.truncate(1 + self.dice.seed.below(count as u64 - 1) as usize);
        batch.next = batch.records.last().map_or(batch.next, |last| last.offset.next());
    }

    /// Takes a write over; it is answered after so many turns, and not while its kind is held.
    pub(super) fn submit(&mut self, write: Write, now: Timestamp) -> (FlightId, u32) {
        let op = write.op();
        let turns = self.dice.delay(op);
        let late = self.dice.is_held(op) || turns > 0 && self.dice.seed.coin();
        let flight = if late { Flight::Waiting(write) } else { Flight::Settled(self.settle(write, now)) };
        self.flown += 1;
        let id = FlightId(self.flown);
        self.flights.insert(id, flight);
        (id, turns)
    }

    /// Answers a write, settling it if nothing has.
    pub(super) fn answer(&mut self, id: FlightId, now: Timestamp) -> Written {
        match self.flights.remove(&id).expect("a write is answered once") {
            Flight::Waiting(write) => self.settle(write, now),
            Flight::Settled(written) => written,
        }
    }

    /// The caller does not wait for the answer any more: what is under way happens or not, and its writer is dead.
    pub(super) fn forget(&mut self, id: FlightId, writer: Option<&(ShardId, Epoch)>, now: Timestamp) {
        let Some(flight) = self.flights.remove(&id) else { return };
        if let Flight::Waiting(write) = flight {
            self.settle_by_coin(write, now);
        }
        if let Some((of, _)) = writer.filter(|(of, epoch)| self.is_current(of, *epoch)) {
            self.fence(of);
        }
    }

    /// Gives a write its effect, unless it may not have one or a fault strikes.
    fn settle(&mut self, write: Write, now: Timestamp) -> Written {
        match write {
            Write::Append(appends) => self.settle_append(appends, now),
            Write::Commit(of, epoch, transaction) => self.settle_commit(&of, epoch, transaction, now),
        }
    }

    fn settle_append(&mut self, appends: Vec<Append>, now: Timestamp) -> Written {
        use FaultKind::{Full, Refused, RefusedForGood, UnknownNotWritten, UnknownWritten};
        self.data.check_appends(&appends).map_err(for_good)?;
        let kinds = [Refused, RefusedForGood, Full, UnknownWritten, UnknownNotWritten];
        let Some(fault) = self.dice.first_of(Op::Append, &kinds) else {
            return Ok(self.unsynced(|data| data.append(appends, now)));
        };
        if fault == UnknownWritten {
            self.unsynced(|data| data.append(appends, now));
        }
        Err(answer_of(fault))
    }

    fn settle_commit(
        &mut self,
        of: &ShardId,
        epoch: Epoch,
        transaction: Transaction,
        now: Timestamp,
    ) -> Written {
        use FaultKind::{
            Fenced, Full, LostShard, Refused, RefusedForGood, UnknownLate, UnknownNotWritten, UnknownWritten,
        };
        if !self.is_current(of, epoch) {
            self.data.abort(&transaction);
            return Err(CommitError::Fenced);
        }
        self.data.check(&transaction).map_err(for_good)?;
        if self.groups.has_owner(of) && self.dice.strikes(Op::Commit, LostShard) {
            self.groups.lose(of);
        }
        let kinds = [Refused, RefusedForGood, Full, UnknownWritten, UnknownNotWritten, UnknownLate, Fenced];
        let Some(fault) = self.dice.first_of(Op::Commit, &kinds) else {
            return Ok(self.unsynced(|data| data.commit(of, transaction, now)));
        };
        match fault {
            UnknownWritten => drop(self.unsynced(|data| data.commit(of, transaction, now))),
            UnknownLate => drop(self.limbo.insert(of.clone(), transaction)),
            _ => self.data.abort(&transaction),
        }
        if matches!(fault, UnknownWritten | UnknownNotWritten | UnknownLate | Fenced) {
            self.fence(of);
        }
        Err(answer_of(fault))
    }

    /// Gives a write its effect or not, without further faults; nobody will hear of it.
    fn settle_by_coin(&mut self, write: Write, now: Timestamp) -> bool {
        let happens = self.dice.seed.coin();
        match write {
            Write::Append(appends) if happens && self.data.check_appends(&appends).is_ok() => {
                self.data.append(appends, now);
            }
            Write::Commit(of, epoch, transaction)
                if happens && self.is_current(&of, epoch) && self.data.check(&transaction).is_ok() =>
            {
                self.data.commit(&of, transaction, now);
            }
            Write::Commit(_, _, transaction) => {
                self.data.abort(&transaction);
                return false;
            }
            Write::Append(_) => return false,
        }
        true
    }

    /// Opens a shard's writer, which is then the only one.
    pub(super) fn open(
        &mut self,
        of: &ShardId,
        term: Term,
        now: Timestamp,
    ) -> Result<(Epoch, Option<Head>), LogError> {
        if !self.groups.holds(of, term) {
            let message = format!("shard {} of group {} is another member's", of.shard, of.group);
            return Err(LogError::new(LogErrorKind::Fenced, message));
        }
        self.settle_shard(of, now);
        Ok((self.fence(of), self.data.head(of).cloned()))
    }

    /// Settles whatever earlier writers of a shard left open.
    fn settle_shard(&mut self, of: &ShardId, now: Timestamp) {
        if let Some(transaction) = self.limbo.remove(of) {
            let current = self.epochs.get(of).copied().unwrap_or_default();
            self.settle_by_coin(Write::Commit(of.clone(), current, transaction), now);
        }
        self.settle_flights(|write| write.is_of(of), now);
        self.sync();
    }

    /// Settles writes that wait, by the seed; how many of them were lost.
    fn settle_flights(&mut self, which: impl Fn(&Write) -> bool, now: Timestamp) -> usize {
        let waits = |flight: &Flight| matches!(flight, Flight::Waiting(write) if which(write));
        let ids: Vec<_> = self.flights.iter().filter(|(_, f)| waits(f)).map(|(id, _)| *id).collect();
        let mut lost = 0;
        for id in ids {
            let unknown = Flight::Settled(Err(answer_of(FaultKind::UnknownLate)));
            if let Some(Flight::Waiting(write)) = self.flights.insert(id, unknown) {
                lost += usize::from(!self.settle_by_coin(write, now));
            }
        }
        lost
    }

    /// Starts a new epoch of a shard: every writer opened before is dead.
    pub(super) fn fence(&mut self, of: &ShardId) -> Epoch {
        let epoch = self.epochs.entry(of.clone()).or_default();
        epoch.0 += 1;
        *epoch
    }

    fn is_current(&self, of: &ShardId, epoch: Epoch) -> bool {
        self.epochs.get(of) == Some(&epoch)
    }

    /// Ends this life of the log as a crash does.
    pub(super) fn crash(&mut self, now: Timestamp) {
        if let Some(synced) = self.synced.take() {
            let lost = replace(&mut self.data, synced);
            lost.wake_all();
            self.dice.hit(FaultKind::LostUnsynced);
        }
        for (of, transaction) in take(&mut self.limbo) {
            let current = self.epochs.get(&of).copied().unwrap_or_default();
            self.settle_by_coin(Write::Commit(of, current, transaction), now);
        }
        for _ in 0..self.settle_flights(|_| true, now) {
            self.dice.hit(FaultKind::LostUnsynced);
        }
        self.life += 1;
        self.groups.clear();
        self.epochs.values_mut().for_each(|epoch| epoch.0 += 1);
        self.data.wake_all();
        self.released.notify_waiters();
    }

    /// Makes everything durable.
    pub(super) fn sync(&mut self) {
        self.synced = None;
    }

    /// Changes data, durably unless the planted bug leaves it unsynced.
    fn unsynced<T>(&mut self, change: impl FnOnce(&mut Data) -> T) -> T {
        if self.dice.skips_sync() {
            self.synced.get_or_insert_with(|| self.data.clone());
            change(&mut self.data)
        } else {
            let answer = change(&mut self.data);
            self.sync();
            answer
        }
    }
}

fn for_good(error: LogError) -> CommitError {
    CommitError::NotWritten { retry: false, error }
}

/// What the caller of a write is told when a fault strikes.
fn answer_of(fault: FaultKind) -> CommitError {
    let error = |kind| LogError::new(kind, format!("the memory log was told to fail: {fault}"));
    match fault {
        FaultKind::Refused => {
            CommitError::NotWritten { retry: true, error: error(LogErrorKind::Unavailable) }
        }
        FaultKind::Full => CommitError::NotWritten { retry: true, error: error(LogErrorKind::Full) },
        FaultKind::RefusedForGood => for_good(error(LogErrorKind::Invalid)),
        FaultKind::Fenced => CommitError::Fenced,
        _ => CommitError::Unknown(error(LogErrorKind::Unavailable)),
    }
}
