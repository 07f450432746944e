//! Bringing a shard's state to the end of its log.
//!
//! The local store with its position is the short way: only what the log has beyond it is replayed. Without one, the
//! snapshots and the tail that the head names; and where the declared shape of the state is another, the events alone.

use std::sync::Arc;

use headwater_core::log::{Bounds, Head, ReadLimit, Wait};
use headwater_core::record::StoredRecord;
use headwater_core::store::StoreErrorKind;
use headwater_core::topic::{Offset, Partition, TopicPartition};
use tokio_util::sync::CancellationToken;

use super::shard::{AggregateShards, Note, Partitions, Restored, checkpoint};
use crate::aggregate::Aggregate;
use crate::engine::decide::{Base, Decided, Decider};
use crate::engine::flow::ProcessError;
use crate::runtime::cell::Phase;
use crate::runtime::shell::{Stop, pause_after};
use crate::store::overlay::ShardState;

const CHUNK: ReadLimit = ReadLimit { records: 10_000, bytes: 8 << 20 };

/// What is replayed into the state.
#[derive(Clone, Copy)]
enum Replay {
    Snapshots,
    Events,
    Outcomes,
}

impl<A: Aggregate> AggregateShards<A> {
    /// The shard's state at the end of its log; `None` if it was told to stop.
    pub(super) async fn restore(
        &self,
        shard: Partition,
        head: Option<Head>,
        stop: &CancellationToken,
    ) -> Result<Option<Restored>, Stop> {
        let partitions = self.partitions(shard);
        let events = self.shell.bounds(&partitions.events).await?;
        let outcomes = self.shell.bounds(&partitions.outcomes).await?;
        let commands = self.shell.bounds(&partitions.commands).await?;
        if head.is_none() && self.has_records(&partitions.events, events, stop).await? {
            return Err(Stop(format!(
                "{} has records, but the shard has no head: the group's positions are lost; restore them, or start \
                 from an empty data directory",
                partitions.events
            )));
        }
        let note = head.as_ref().and_then(|head| Note::decode(&head.note)).unwrap_or_default();
        let tail = if note.shape == A::STATE_VERSION { note.tail } else { events.start };
        let commands_next =
            head.and_then(|head| head.positions.get(&partitions.commands)).unwrap_or(commands.start);
        let mut restoring = Restoring::open(self, shard, partitions, events, outcomes, stop)?;
        match self.replay_all(&mut restoring, tail, events, outcomes).await {
            Ok(true) => Ok(Some(restoring.finish(commands_next, tail))),
            given_up => {
                restoring.give_up();
                given_up.map(|_| None)
            }
        }
    }

    /// Replays what the state has not; answers whether it got to the end.
    async fn replay_all(
        &self,
        restoring: &mut Restoring<'_, A>,
        tail: Offset,
        events: Bounds,
        outcomes: Bounds,
    ) -> Result<bool, Stop> {
        if !restoring.has_state {
            let snapshots = self.shell.bounds(&restoring.partitions.snapshots).await?;
            if tail > events.start
                && !restoring.replay(Replay::Snapshots, snapshots.start, snapshots.end).await?
            {
                return Ok(false);
            }
            restoring.events_next = tail;
            restoring.outcomes_next = outcomes.start;
        }
        let (from, outcomes_from) = (restoring.events_next, restoring.outcomes_next);
        Ok(restoring.replay(Replay::Events, from, events.end).await?
            && restoring.replay(Replay::Outcomes, outcomes_from, outcomes.end).await?)
    }

    /// Whether a partition holds a record: its end alone may also have moved over aborted transactions.
    async fn has_records(
        &self,
        partition: &TopicPartition,
        bounds: Bounds,
        stop: &CancellationToken,
    ) -> Result<bool, Stop> {
        let mut next = bounds.start;
        while next < bounds.end && !stop.is_cancelled() {
            match self.shell.log.read(partition, next, ReadLimit { records: 1, ..CHUNK }, Wait::No).await {
                Ok(batch) if batch.records.is_empty() => next = batch.next,
                Ok(_) => return Ok(true),
                Err(error) => pause_after(error, partition, stop).await?,
            }
        }
        Ok(false)
    }
}

struct Restoring<'a, A: Aggregate> {
    shards: &'a AggregateShards<A>,
    stop: &'a CancellationToken,
    shard: Partition,
    partitions: Partitions,
    decider: Decider<A>,
    state: Arc<ShardState>,
    has_state: bool,
    events_next: Offset,
    outcomes_next: Offset,
}

impl<'a, A: Aggregate> Restoring<'a, A> {
    fn open(
        shards: &'a AggregateShards<A>,
        shard: Partition,
        partitions: Partitions,
        events: Bounds,
        outcomes: Bounds,
        stop: &'a CancellationToken,
    ) -> Result<Self, Stop> {
        let cell = &shards.cells[shard.0 as usize].cell;
        let known = match cell.state() {
            Some(state) => Some(state),
            None => usable_state(shards, shard, &partitions, events, outcomes)?,
        };
        let has_state = known.is_some();
        let state = match known {
            Some(state) => state,
            None => shards.shell.open_state(&shards.store, shard)?,
        };
        let position = state.checkpoint().map(|checkpoint| checkpoint.position).unwrap_or_default();
        let decider = shards.decider(&partitions);
        let events_next = position.get(&partitions.events).unwrap_or(events.start);
        // Outcomes are dropped by age: a store may stand before what the log still has.
        let outcomes_next = position.get(&partitions.outcomes).unwrap_or(outcomes.start).max(outcomes.start);
        Ok(Self { shards, stop, shard, partitions, decider, state, has_state, events_next, outcomes_next })
    }

    /// Replays a partition from `from` to `end`; answers whether it got there.
    async fn replay(&mut self, what: Replay, from: Offset, end: Offset) -> Result<bool, Stop> {
        let partition = self.partition(what);
        let cell = self.shards.cells[self.shard.0 as usize].cell.clone();
        let mut next = from;
        while next < end {
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            cell.set_phase(Phase::Restoring { done: next.0 - from.0, total: end.0 - from.0 });
            match self.shards.shell.log.read(&partition, next, CHUNK, Wait::No).await {
                Ok(batch) => {
                    self.take(what, &batch.records, batch.next)?;
                    next = batch.next;
                }
                Err(error) => pause_after(error, &partition, self.stop).await?,
            }
            self.shards.shell.room().await;
        }
        Ok(true)
    }

    fn partition(&self, what: Replay) -> TopicPartition {
        match what {
            Replay::Snapshots => self.partitions.snapshots.clone(),
            Replay::Events => self.partitions.events.clone(),
            Replay::Outcomes => self.partitions.outcomes.clone(),
        }
    }

    fn take(&mut self, what: Replay, records: &[StoredRecord], next: Offset) -> Result<(), Stop> {
        let mut batch = Decided::default();
        let base = Base { in_flight: None, committed: &*self.state };
        for stored in records {
            let taken: Result<(), ProcessError> = match what {
                Replay::Snapshots => Decider::<A>::restore_snapshot(stored, &mut batch),
                Replay::Events => self.decider.replay(stored, &mut batch, &base),
                Replay::Outcomes => Decider::<A>::replay_outcome(stored, &mut batch),
            };
            taken.map_err(|e| Stop(format!("{} offset {}: {e}", self.partition(what), stored.offset)))?;
        }
        match what {
            Replay::Snapshots => return self.take_snapshots(batch),
            Replay::Events => self.events_next = next,
            Replay::Outcomes => self.outcomes_next = next,
        }
        let checkpoint = checkpoint(&self.partitions, self.events_next, self.outcomes_next);
        self.state.commit(batch.delta.into_changes(), checkpoint);
        Ok(())
    }

    /// Snapshots stand at no position: a store that holds only some of them must not look like one that is whole.
    fn take_snapshots(&self, batch: Decided) -> Result<(), Stop> {
        self.state.commit(batch.delta.into_changes(), Default::default());
        Ok(())
    }

    /// Ends a state that nobody else has, so that no flush of it comes after the next attempt.
    fn give_up(&self) {
        if self.shards.cells[self.shard.0 as usize].cell.state().is_none() {
            self.state.close();
        }
    }

    fn finish(self, commands_next: Offset, tail: Offset) -> Restored {
        let cell = &self.shards.cells[self.shard.0 as usize].cell;
        cell.set_state(Some(self.state.clone()));
        cell.set_committed(self.events_next);
        cell.set_end_seen(self.events_next);
        Restored {
            state: self.state,
            events_next: self.events_next,
            outcomes_next: self.outcomes_next,
            commands_next,
            tail,
        }
    }
}

/// The shard's stored state, if it stands at a position that the log reaches; thrown away otherwise.
fn usable_state<A: Aggregate>(
    shards: &AggregateShards<A>,
    shard: Partition,
    partitions: &Partitions,
    events: Bounds,
    outcomes: Bounds,
) -> Result<Option<Arc<ShardState>>, Stop> {
    let checkpoint = match shards.store.checkpoint(shard) {
        Err(error) if error.kind() == StoreErrorKind::Corrupt => {
            tracing::error!(%error, "a damaged state is thrown away and restored from the log");
            None
        }
        other => other.map_err(Stop::new)?,
    };
    let within = |partition: &TopicPartition, end: Offset| {
        let next = checkpoint.as_ref().and_then(|checkpoint| checkpoint.position.get(partition));
        next.is_some_and(|next| next <= end)
    };
    if within(&partitions.events, events.end) && within(&partitions.outcomes, outcomes.end) {
        return shards.shell.open_state(&shards.store, shard).map(Some);
    }
    if checkpoint.is_some() {
        tracing::error!(partition = %partitions.events, "the state stands outside the log and is restored from it");
    }
    shards.store.clear(shard).map_err(Stop::new)?;
    Ok(None)
}
