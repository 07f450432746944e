//! Bringing a shard's state to the end of its log.
//!
//! The local store with its position is the short way: only what the log has beyond it is replayed. Without one, the
//! snapshots and the tail that the head names; and where the declared shape of the state is another, the events alone.
//! Outcomes are many: where more than a few are missing, only filters of their ids are read first, and the ids of those
//! few that are in no filter; the shard decides while the [`backlog`](super::backlog) loads them.
//!
//! Shards that have much to replay take turns, as many at a time as can be worked on: so the first of those that an
//! instance takes over decide long before the last, and few chunks of the log are in memory at once. Who has to wait for
//! the log gives its turn to another.
//!
//! A shard without a head is at its first start, or has lost its head. The second must not be taken for the first, or
//! everything would happen again: so nothing at all of the shard may be there without a head.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::log::{Bounds, Head, LogError, ReadLimit, Wait};
use headwater_core::position::Position;
use headwater_core::record::StoredRecord;
use headwater_core::topic::{Offset, Partition, TopicPartition};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backlog::Backlog;
use super::note::Note;
use super::shard::{AggregateShards, Partitions, Restored, checkpoint};
use crate::aggregate::Aggregate;
use crate::engine::decide::{Base, Decided, Decider};
use crate::engine::flow::ProcessError;
use crate::engine::id_filter::IdFilter;
use crate::engine::outcome_filters::{Filtered, OutcomeFilters, is_filter};
use crate::runtime::cell::Phase;
use crate::runtime::landmarks::{Landmarks, Mark};
use crate::runtime::membership::RunShard;
use crate::runtime::shell::{Stop, pause_after};
use crate::runtime::trust::{Input, Provenance, landmarks};
use crate::store::overlay::ShardState;

pub(super) const CHUNK: ReadLimit = ReadLimit { records: 10_000, bytes: 8 << 20 };

/// Records from which on a shard waits for its turn to replay them.
const MUCH: u64 = 10_000;

/// Of fewer filters' outcomes the ids are read from themselves, where that is less than all snapshots.
const FEW_FILTERS: u64 = 4;

/// Restores that take longer are worth a line.
const LONG: Duration = Duration::from_secs(1);

/// As many turns as there are threads, and one that waits for the log meanwhile.
pub(super) fn turns() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(Handle::current().metrics().num_workers() + 1))
}

/// What is replayed into the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replay {
    Snapshots,
    /// The filters among the snapshots.
    Filters,
    Events,
    Outcomes,
}

/// What a shard's partitions hold when it is restored.
pub(super) struct Ground {
    pub(super) provenance: Provenance,
    pub(super) events: Bounds,
    pub(super) outcomes: Bounds,
    pub(super) commands: Bounds,
}

/// From where a shard goes on.
struct Begin {
    note: Note,
    commands_next: Offset,
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
        let ground = self.ground(shard, &partitions).await?;
        let state = self.state(shard, &partitions, &ground, stop).await?;
        let begin = match &head {
            Some(head) => self.begin_at(head, &partitions, &ground)?,
            None => {
                self.check_first_start(&partitions, &ground, &state, stop).await?;
                let note = Note { tail: ground.events.start, shape: A::STATE_VERSION, filters: None };
                Begin { note, commands_next: ground.commands.start }
            }
        };
        let mut restoring = Restoring::new(self, shard, partitions, &ground, state, stop);
        let begun = Instant::now();
        match restoring.replay_all(begin.note, &ground).await {
            Ok(Some(backlog)) => {
                let (took, replayed) = (begun.elapsed(), restoring.replayed);
                if took > LONG {
                    let outcomes_left = backlog.as_ref().map_or(0, Backlog::left);
                    tracing::info!(group = self.group, %shard, replayed, outcomes_left, ?took, "a shard's state was restored");
                }
                Ok(Some(restoring.finish(begin, backlog, head.is_none())))
            }
            Ok(None) => {
                restoring.give_up();
                Ok(None)
            }
            Err(stop) => {
                restoring.give_up();
                Err(stop)
            }
        }
    }

    pub(super) async fn ground(&self, shard: Partition, partitions: &Partitions) -> Result<Ground, Stop> {
        let topics = [&partitions.events.topic, &partitions.outcomes.topic];
        let cell = self.cell(shard);
        Ok(Ground {
            provenance: self.shell.provenance(cell, &topics).await?,
            events: self.shell.bounds(cell, &partitions.events).await?,
            outcomes: self.shell.bounds(cell, &partitions.outcomes).await?,
            commands: self.shell.bounds(cell, &partitions.commands).await?,
        })
    }

    /// The shard's state as far as it can be trusted.
    pub(super) async fn state(
        &self,
        shard: Partition,
        partitions: &Partitions,
        ground: &Ground,
        stop: &CancellationToken,
    ) -> Result<Arc<ShardState>, Stop> {
        let inputs = [
            Input {
                partition: partitions.events.clone(),
                bounds: ground.events,
                is_kept: true,
                is_compacted: false,
            },
            Input {
                partition: partitions.outcomes.clone(),
                bounds: ground.outcomes,
                is_kept: false,
                is_compacted: false,
            },
        ];
        self.shell.shard_state(&self.store, self.cell(shard), &ground.provenance, &inputs, stop).await
    }

    /// Without a head nothing else of the shard may be there: its commands would be decided a second time.
    async fn check_first_start(
        &self,
        partitions: &Partitions,
        ground: &Ground,
        state: &ShardState,
        stop: &CancellationToken,
    ) -> Result<(), Stop> {
        let (mut found, cell) = (Vec::new(), self.cell(partitions.events.partition));
        if let Some(next) = self.shell.committed(cell, &self.group).await?.get(&partitions.commands) {
            found.push(format!(
                "the group {} has committed {} offset {next}",
                self.group, partitions.commands
            ));
        }
        // A standby's copy may stand at the beginning before the owner has written its first head.
        let starts =
            [(&partitions.events, ground.events.start), (&partitions.outcomes, ground.outcomes.start)];
        let has_moved = |position: &Position| {
            starts.iter().any(|(partition, start)| position.get(partition).is_some_and(|next| next > *start))
        };
        if let Some(checkpoint) = state.checkpoint().filter(|checkpoint| has_moved(&checkpoint.position)) {
            found.push(format!("a local state stands at {}", checkpoint.position));
        }
        let snapshots = self.shell.bounds(cell, &partitions.snapshots).await?;
        let outputs = [
            (&partitions.events, ground.events),
            (&partitions.outcomes, ground.outcomes),
            (&partitions.snapshots, snapshots),
        ];
        for (partition, bounds) in outputs {
            if self.has_records(partition, bounds, stop).await? {
                found.push(format!("{partition} has records"));
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        Err(Stop(format!(
            "shard {} of {} has no head, but {}: its head is lost, and to begin anew would decide commands twice; \
             restore the heads, or start from an empty log and data directory",
            partitions.events.partition,
            self.group,
            found.join(", ")
        )))
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

    /// Where the head says that the shard goes on; an error if the log has lost what it speaks of.
    fn begin_at(&self, head: &Head, partitions: &Partitions, ground: &Ground) -> Result<Begin, Stop> {
        let note = Note::decode(&head.note).unwrap_or_default();
        let commands_next = head.positions.get(&partitions.commands).unwrap_or(ground.commands.start);
        // Filters of a topic that was given up, and made again, say nothing of this one.
        let filters = note.filters.filter(|filters| filters.of == self.topics.outcomes.id);
        within(&partitions.events, note.tail, ground.events.end)?;
        within(&partitions.commands, commands_next, ground.commands.end)?;
        filters.map_or(Ok(()), |it| within(&partitions.outcomes, it.until, ground.outcomes.end))?;
        if commands_next < ground.commands.start {
            tracing::error!(partition = %partitions.commands, next = %commands_next, start = %ground.commands.start,
                "commands that had expired on their topic were dropped by the log before they were answered");
        }
        let tail = if note.shape == A::STATE_VERSION { note.tail } else { ground.events.start };
        Ok(Begin {
            note: Note { tail, shape: A::STATE_VERSION, filters },
            commands_next: commands_next.max(ground.commands.start),
        })
    }
}

/// An error if a head stands where the log does not reach.
fn within(partition: &TopicPartition, next: Offset, end: Offset) -> Result<(), Stop> {
    if next <= end {
        return Ok(());
    }
    Err(Stop(format!(
        "the shard's head stands at {partition} offset {next}, and the log ends at {end}: the log has lost records, \
         or the topic was made again; restore it, or start from an empty log and data directory"
    )))
}

pub(super) struct Restoring<'a, A: Aggregate> {
    shards: &'a AggregateShards<A>,
    stop: &'a CancellationToken,
    shard: Partition,
    pub(super) partitions: Partitions,
    provenance: Provenance,
    landmarks: Landmarks,
    decider: Decider<A>,
    state: Arc<ShardState>,
    /// Whether the state was whole at some position when it was opened.
    has_state: bool,
    pub(super) events_next: Offset,
    pub(super) outcomes_next: Offset,
    /// From where the last snapshot that was read needed a tail.
    snapshot_tail: Option<Offset>,
    /// What the head says of filters; nothing to who has no head.
    filtered: Option<Filtered>,
    /// The filters, once they are read.
    filters: Option<OutcomeFilters>,
    turn: Option<OwnedSemaphorePermit>,
    replayed: u64,
}

impl<'a, A: Aggregate> Restoring<'a, A> {
    pub(super) fn new(
        shards: &'a AggregateShards<A>,
        shard: Partition,
        partitions: Partitions,
        ground: &Ground,
        state: Arc<ShardState>,
        stop: &'a CancellationToken,
    ) -> Self {
        let checkpoint = state.checkpoint();
        let landmarks = landmarks(checkpoint.as_ref());
        let position = checkpoint.map(|checkpoint| checkpoint.position).unwrap_or_default();
        let events_next = position.get(&partitions.events);
        // Outcomes are dropped by age: a store may stand before what the log still has.
        let outcomes = ground.outcomes.start;
        let outcomes_next = position.get(&partitions.outcomes).unwrap_or(outcomes).max(outcomes);
        Self {
            shards,
            stop,
            shard,
            decider: shards.decider(&partitions),
            partitions,
            provenance: ground.provenance.clone(),
            landmarks,
            state,
            has_state: events_next.is_some(),
            events_next: events_next.unwrap_or(ground.events.start),
            outcomes_next,
            snapshot_tail: None,
            filtered: None,
            filters: None,
            turn: None,
            replayed: 0,
        }
    }

    /// Replays what the state has not; answers the outcomes that are left to be loaded, or `None` if it was told to
    /// stop.
    async fn replay_all(&mut self, note: Note, ground: &Ground) -> Result<Option<Option<Backlog>>, Stop> {
        self.filtered = note.filters;
        if !self.has_state {
            if note.tail > ground.events.start && !self.replay_snapshots().await? {
                return Ok(None);
            }
            self.events_next = note.tail;
        }
        if !self.replay(Replay::Events, ground.events.end).await? {
            return Ok(None);
        }
        let missing = ground.outcomes.end.0.saturating_sub(self.outcomes_next.0);
        if missing <= self.shards.options.outcomes_at_once {
            return Ok(self.replay(Replay::Outcomes, ground.outcomes.end).await?.then_some(None));
        }
        if !self.read_filters(missing).await? {
            return Ok(None);
        }
        let backlog = self.backlog(ground.outcomes.end).await?;
        self.outcomes_next = ground.outcomes.end;
        Ok(backlog.map(|backlog| Some(backlog).filter(|backlog| !backlog.is_empty())))
    }

    /// Reads the filters, unless they were read with the snapshots, or the missing outcomes are fewer than those.
    ///
    /// Of many outcomes they are read in any case: compaction leaves fewer snapshots than their offsets tell.
    async fn read_filters(&mut self, missing: u64) -> Result<bool, Stop> {
        if self.filters.is_some() || self.filtered.is_none() {
            return Ok(true);
        }
        let cell = self.shards.cell(self.shard);
        let snapshots = self.shards.shell.bounds(cell, &self.partitions.snapshots).await?;
        let are_few = missing <= self.shards.options.outcomes_per_filter.saturating_mul(FEW_FILTERS);
        if are_few && missing <= snapshots.end.0 - snapshots.start.0 {
            return Ok(true);
        }
        self.replay_from(Replay::Filters, snapshots.start, snapshots.end).await
    }

    /// The outcomes that the state has not, with their ids; `None` if it was told to stop.
    async fn backlog(&mut self, end: Offset) -> Result<Option<Backlog>, Stop> {
        let now = self.shards.shell.clock.now();
        let kept_ms = i64::try_from(self.shards.options.outcomes_kept.as_millis()).unwrap_or(i64::MAX);
        let mut backlog = Backlog::new(end);
        let mut next = self.outcomes_next;
        for filter in self.filters.take().unwrap_or_default().into_filters() {
            if filter.until <= next {
                continue;
            }
            if !self.push_unfiltered(next, filter.from, &mut backlog).await? {
                return Ok(None);
            }
            if now.ms_since(filter.newest) <= kept_ms {
                backlog.push(next.max(filter.from), filter.until, filter.ids);
            }
            next = filter.until;
        }
        Ok(self.push_unfiltered(next, end, &mut backlog).await?.then_some(backlog))
    }

    /// Adds outcomes that are in no filter, if there are any.
    async fn push_unfiltered(
        &mut self,
        from: Offset,
        until: Offset,
        backlog: &mut Backlog,
    ) -> Result<bool, Stop> {
        if from >= until {
            return Ok(true);
        }
        let ids = self.outcome_ids(from, until).await?;
        Ok(ids.map(|ids| backlog.push(from, until, ids)).is_some())
    }

    /// Replays all snapshots.
    pub(super) async fn replay_snapshots(&mut self) -> Result<bool, Stop> {
        let cell = self.shards.cell(self.shard);
        let snapshots = self.shards.shell.bounds(cell, &self.partitions.snapshots).await?;
        self.replay_from(Replay::Snapshots, snapshots.start, snapshots.end).await
    }

    /// A state that is new begins with the tail that the snapshots need.
    pub(super) fn begin_behind_snapshots(&mut self) {
        if let Some(tail) = self.snapshot_tail {
            self.events_next = tail;
        }
        self.filters = None;
    }

    pub(super) fn has_state(&self) -> bool {
        self.has_state
    }

    /// Replays a partition to `end` from where the state stands; answers whether it got there.
    async fn replay(&mut self, what: Replay, end: Offset) -> Result<bool, Stop> {
        let from = if what == Replay::Events { self.events_next } else { self.outcomes_next };
        self.replay_from(what, from, end).await
    }

    async fn replay_from(&mut self, what: Replay, from: Offset, end: Offset) -> Result<bool, Stop> {
        let partition = self.partition(what).clone();
        let mut next = from;
        while next < end {
            self.tell(next.0 - from.0, end.0 - from.0);
            self.take_turn(end.0 - next.0).await;
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            match self.shards.shell.log.read(&partition, next, CHUNK, Wait::No).await {
                Ok(batch) => {
                    self.take(what, &batch.records, batch.next)?;
                    next = batch.next;
                }
                Err(error) => self.wait_after(error, &partition).await?,
            }
            self.shards.shell.room().await;
        }
        Ok(true)
    }

    /// The ids of outcomes, read from themselves; `None` if it was told to stop.
    async fn outcome_ids(&mut self, from: Offset, end: Offset) -> Result<Option<IdFilter>, Stop> {
        let mut ids = IdFilter::for_ids(end.0 - from.0);
        let mut next = from;
        while next < end {
            self.tell(next.0 - from.0, end.0 - from.0);
            self.take_turn(end.0 - next.0).await;
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            match self.shards.shell.log.read(&self.partitions.outcomes, next, CHUNK, Wait::No).await {
                Ok(batch) => {
                    batch
                        .records
                        .iter()
                        .filter_map(|stored| stored.record.key.as_ref())
                        .for_each(|key| ids.insert(key));
                    next = batch.next;
                }
                Err(error) => {
                    let outcomes = self.partitions.outcomes.clone();
                    self.wait_after(error, &outcomes).await?;
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(Some(ids))
    }

    /// Waits for the shard's turn, if it has much to replay and is not stopped before. Nobody waits for a standby.
    async fn take_turn(&mut self, missing: u64) {
        if self.turn.is_some() || missing <= MUCH || self.shards.cell(self.shard).is_standby() {
            return;
        }
        self.turn = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            turn = self.shards.turns.clone().acquire_owned() => turn.ok(),
        };
    }

    /// After a read failed: waits if that may help, and tells so meanwhile.
    async fn wait_after(&mut self, error: LogError, partition: &TopicPartition) -> Result<(), Stop> {
        self.turn = None;
        self.shards.cell(self.shard).hinder(&error);
        pause_after(error, partition, self.stop).await
    }

    fn tell(&self, done: u64, total: u64) {
        let cell = self.shards.cell(self.shard);
        if !cell.is_standby() {
            cell.set_phase(Phase::Restoring { done, total });
        }
    }

    pub(super) fn partition(&self, what: Replay) -> &TopicPartition {
        match what {
            Replay::Snapshots | Replay::Filters => &self.partitions.snapshots,
            Replay::Events => &self.partitions.events,
            Replay::Outcomes => &self.partitions.outcomes,
        }
    }

    /// Takes records into the state, and moves to behind them.
    pub(super) fn take(&mut self, what: Replay, records: &[StoredRecord], next: Offset) -> Result<(), Stop> {
        let mut batch = Decided::default();
        let Self { state, decider, snapshot_tail, filters, filtered, .. } = self;
        if matches!(what, Replay::Snapshots | Replay::Filters) {
            filters.get_or_insert_default();
        }
        let mut take_one = |stored: &StoredRecord, base: &Base<'_>| match what {
            Replay::Snapshots | Replay::Filters if is_filter(&stored.record) => filters
                .as_mut()
                .zip(*filtered)
                .map_or(Ok(()), |(filters, of)| filters.take(&stored.record, of)),
            Replay::Filters => Ok(()),
            Replay::Snapshots => Decider::<A>::restore_snapshot(stored, &mut batch).map(|tail| {
                *snapshot_tail = tail;
            }),
            Replay::Events => decider.replay(stored, &mut batch, base),
            Replay::Outcomes => Decider::<A>::replay_outcome(stored, &mut batch),
        };
        let taken: Result<(), (Offset, ProcessError)> = state
            .look_up(|committed| {
                let base = Base { in_flight: None, committed };
                records
                    .iter()
                    .try_for_each(|stored| take_one(stored, &base).map_err(|error| (stored.offset, error)))
            })
            .map_err(Stop::new)?;
        taken
            .map_err(|(offset, error)| Stop(format!("{} offset {offset}: {error}", self.partition(what))))?;
        self.replayed += records.len() as u64;
        if let Some(last) = records.last().filter(|_| matches!(what, Replay::Events | Replay::Outcomes)) {
            let topic = self.partition(what).topic.clone();
            self.landmarks.set(&topic, last.offset, Mark::of(&last.record));
        }
        match what {
            // They stand at no position: a store that holds only some of them must not look like one that is whole.
            Replay::Snapshots => self.state.commit(batch.delta.into_changes(), Default::default()),
            Replay::Filters => {}
            Replay::Events => self.moved(batch, next, self.outcomes_next),
            Replay::Outcomes => self.moved(batch, self.events_next, next),
        }
        Ok(())
    }

    fn moved(&mut self, batch: Decided, events_next: Offset, outcomes_next: Offset) {
        (self.events_next, self.outcomes_next) = (events_next, outcomes_next);
        let note = self.provenance.note(true, &self.landmarks);
        let checkpoint = checkpoint(&self.partitions, note, events_next, outcomes_next);
        self.state.commit(batch.delta.into_changes(), checkpoint);
    }

    /// Removes outcomes that have been kept long enough.
    pub(super) fn expire(&self, rows: &[(Bytes, Bytes)], now: Timestamp, batch: &mut Decided) {
        rows.iter().for_each(|(key, row)| self.decider.expire(key, row, now, batch));
    }

    /// Changes the state where it stands.
    pub(super) fn add(&mut self, batch: Decided) {
        self.moved(batch, self.events_next, self.outcomes_next);
    }

    /// Makes the state one to go on from, and shows it.
    pub(super) fn stand(&mut self) {
        self.add(Decided::default());
        self.shards.cell(self.shard).set_state(Some(self.state.clone()));
    }

    pub(super) fn state(&self) -> &Arc<ShardState> {
        &self.state
    }

    /// Ends a state that nobody else has, so that no flush of it comes after the next attempt.
    pub(super) fn give_up(&self) {
        if self.shards.cell(self.shard).state().is_none() {
            self.state.close();
        }
    }

    fn finish(self, begin: Begin, backlog: Option<Backlog>, is_first: bool) -> Restored {
        let cell = self.shards.cell(self.shard);
        cell.set_state(Some(self.state.clone()));
        cell.set_committed(self.events_next);
        cell.set_end_seen(self.events_next);
        Restored {
            state: self.state,
            provenance: self.provenance,
            landmarks: self.landmarks,
            events_next: self.events_next,
            outcomes_next: self.outcomes_next,
            commands_next: begin.commands_next,
            note: begin.note,
            backlog,
            is_first,
        }
    }
}
