//! Running a fold: reads one kept partition, keeps one table, appends nothing.
//!
//! The state of a batch is visible as soon as it is folded, since everything it was folded from is committed; the store
//! takes it over later, with its position, in one atomic batch. What stops a fold is named by topic, partition and
//! offset; it skips nothing but what somebody decided on, and goes on by itself once a decision is there.

use std::sync::Arc;

use headwater_core::BoxFuture;
use headwater_core::log::{Claim, ReadLimit, Wait};
use headwater_core::position::Position;
use headwater_core::record::StoredRecord;
use headwater_core::store::Checkpoint;
use headwater_core::topic::{Offset, Partition, TopicName, TopicPartition};
use tokio_util::sync::CancellationToken;

use super::cell::{Phase, ShardCell};
use super::decided::Decided;
use super::landmarks::{Landmarks, Mark};
use super::membership::RunShard;
use super::observe::Throughput;
use super::pace::Rest;
use super::shell::{NamedStore, Shell, Stop, pause_after};
use super::trust::{Input, Provenance, had_caught_up, landmarks};
use super::view::state::TABLE;
use crate::engine::command_batch::{command_start, whole_commands};
use crate::engine::flow::{Flow, ProcessError};
use crate::engine::operators::{Failure, InputRecord, Task, run_batch};
use crate::engine::state::{Delta, Layered};
use crate::migrate::map::OffsetMap;
use crate::store::overlay::ShardState;
use crate::topology::{Definition, ShardPlace};

/// Whether a shard with this checkpoint had once caught up with its source.
pub(crate) fn is_whole(checkpoint: &Checkpoint) -> bool {
    had_caught_up(&checkpoint.note)
}

/// What a live shard reads at once, and what one that catches up does.
const LIVE: ReadLimit = ReadLimit { records: 2_000, bytes: 1 << 20 };
const CATCHING_UP: ReadLimit = ReadLimit { records: 10_000, bytes: 8 << 20 };

/// A fold topology, ready to run its shards.
pub(crate) struct Fold {
    pub(crate) shell: Shell,
    pub(crate) definition: Arc<Definition>,
    pub(crate) source: TopicName,
    pub(crate) store: NamedStore,
    pub(crate) cells: Arc<[Arc<ShardCell>]>,
    /// The topic of decisions about records that cannot be folded.
    pub(crate) decisions: TopicName,
    /// Where records lie of the log that the app ran on before.
    pub(crate) moved: Option<Arc<OffsetMap>>,
}

/// In whose right a shard is folded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It is ours, and answers.
    Owner,
    /// It is another's; ours is a copy, to go on from when the shard is gained.
    Standby,
}

impl RunShard for Fold {
    fn run(
        self: Arc<Self>,
        shard: Partition,
        _: Box<dyn Claim>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.run_shard(shard, stop).await })
    }

    fn follow(self: Arc<Self>, shard: Partition, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.run_as(Part::Standby, shard, stop).await })
    }

    fn processed(&self, shard: Partition) -> Option<(TopicPartition, Offset)> {
        let next = self.cells[shard.0 as usize]
            .state()?
            .checkpoint()?
            .position
            .get(&self.source.partition(shard.0))?;
        Some((self.source.partition(shard.0), next))
    }

    fn cell(&self, shard: Partition) -> &ShardCell {
        &self.cells[shard.0 as usize]
    }
}

impl Fold {
    fn task(&self, shard: Partition) -> Task {
        self.definition.task(&ShardPlace { shard, targets: Arc::from([]) })
    }

    /// Runs one shard until `stop` or an error that stops it.
    pub(crate) async fn run_shard(&self, shard: Partition, stop: CancellationToken) {
        self.run_as(Part::Owner, shard, stop).await;
    }

    async fn run_as(&self, part: Part, shard: Partition, stop: CancellationToken) {
        let cell = self.cells[shard.0 as usize].clone();
        let ended = self.fold(part, shard, &cell, &stop).await;
        if part == Part::Owner {
            cell.set_left(0);
        }
        match (ended, part) {
            (Ok(()), Part::Owner) => cell.set_phase(Phase::Waiting),
            (Err(Stop(reason)), Part::Owner) => cell.set_phase(Phase::Stopped { reason }),
            (Ok(()), Part::Standby) => {}
            (Err(Stop(reason)), Part::Standby) => cell.standby_failed(&reason),
        }
        if part == Part::Standby {
            cell.set_standby(None);
        }
    }

    async fn fold(
        &self,
        part: Part,
        shard: Partition,
        cell: &Arc<ShardCell>,
        stop: &CancellationToken,
    ) -> Result<(), Stop> {
        let source = self.source.partition(shard.0);
        let provenance = self.shell.provenance(cell, &[&self.source]).await?;
        let provenance = provenance.of_tables(&self.definition.tables);
        let bounds = self.shell.bounds(cell, &source).await?;
        let input = Input { partition: source.clone(), bounds, is_kept: true, is_compacted: false };
        let state = self.shell.shard_state(&self.store, cell, &provenance, &[input], stop).await?;
        if stop.is_cancelled() {
            return Ok(());
        }
        let decisions = self.decisions.partition(shard.0);
        let about = (self.definition.name.as_str(), &source);
        let decided = Decided::read(&self.shell, cell, about, decisions, self.moved.clone(), stop).await?;
        let mut run = FoldRun::begin(self, part, cell.clone(), source, (provenance, state, decided)).await?;
        loop {
            let read = self.shell.log.read(&run.source, run.next, run.limit, Wait::UntilMore);
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                batch = read => batch,
            };
            match batch {
                Ok(batch) => {
                    cell.let_on();
                    let (records, end) = (batch.records.len(), batch.end);
                    if let Some(stopped) = run.take(batch.records, batch.next, batch.end).await? {
                        run.await_decision(stopped, stop).await?;
                    }
                    if run.next >= end {
                        self.shell.pace.rest(Rest::Own, records, cell, stop).await;
                    }
                }
                Err(error) => {
                    cell.hinder(&error);
                    pause_after(error, &run.source, stop).await?;
                }
            }
        }
    }
}

/// A record that cannot be folded as it stands.
struct Stopped {
    at: Offset,
    reason: String,
}

/// What came of records that were folded.
struct Folded {
    delta: Delta,
    skipped: u64,
    replaced: u64,
}

struct FoldRun<'a> {
    fold: &'a Fold,
    part: Part,
    cell: Arc<ShardCell>,
    source: TopicPartition,
    state: Arc<ShardState>,
    task: Task,
    next: Offset,
    limit: ReadLimit,
    /// Where the source ended when the shard began, and where the shard began.
    goal: Offset,
    began: Offset,
    caught_up: bool,
    provenance: Provenance,
    landmarks: Landmarks,
    decided: Decided,
    folded: metrics::Counter,
    latency: metrics::Histogram,
    throughput: Throughput,
}

impl<'a> FoldRun<'a> {
    async fn begin(
        fold: &'a Fold,
        part: Part,
        cell: Arc<ShardCell>,
        source: TopicPartition,
        (provenance, state, decided): (Provenance, Arc<ShardState>, Decided),
    ) -> Result<Self, Stop> {
        let bounds = fold.shell.bounds(&cell, &source).await?;
        let checkpoint = state.checkpoint();
        let next = checkpoint.as_ref().and_then(|c| c.position.get(&source)).unwrap_or(bounds.start);
        let landmarks = landmarks(checkpoint.as_ref());
        let caught_up = checkpoint.is_some_and(|c| had_caught_up(&c.note));
        let task = fold.task(source.partition);
        cell.set_state(Some(state.clone()));
        cell.set_committed(next);
        cell.set_end_seen(bounds.end);
        cell.changes.reset(next);
        let folded = super::observe::view_records(&fold.definition.name);
        let latency = super::observe::topology_latency(&fold.definition.name);
        let sources = std::slice::from_ref(&fold.source);
        let throughput = Throughput::new(&fold.definition, sources, &task);
        let mut run = Self {
            fold,
            part,
            cell,
            source,
            state,
            task,
            next,
            limit: LIVE,
            goal: bounds.end,
            began: next,
            caught_up,
            provenance,
            landmarks,
            decided,
            folded,
            latency,
            throughput,
        };
        run.tell_phase();
        Ok(run)
    }

    /// Folds the whole commands among `records`, and moves to behind them, or to the one that cannot be folded.
    async fn take(
        &mut self,
        records: Vec<StoredRecord>,
        next: Offset,
        end: Offset,
    ) -> Result<Option<Stopped>, Stop> {
        let whole = if crate::planted::split_commands() { records.len() } else { whole_commands(&records) };
        // A command is appended whole: what is not all there at the end was never a command of this topic.
        let whole = if whole == 0 && next >= end { records.len() } else { whole };
        if whole == 0 && !records.is_empty() {
            self.limit = self.limit.doubled();
            return Ok(None);
        }
        let next = records.get(whole).map_or(next, |record| record.offset);
        let behind = end.0 > next.0 + LIVE.records as u64;
        self.limit = if behind { CATCHING_UP } else { LIVE };
        self.fold.shell.room().await;
        self.fold.shell.may_grow(&self.fold.definition, &self.fold.store).map_err(|reason| {
            let (name, source, next) = (&self.fold.definition.name, &self.source, self.next);
            Stop(format!("view \"{name}\" stopped at {source} offset {next}: {reason}"))
        })?;
        let (folded, stopped) = match self.fold_records(&records[..whole]) {
            Ok(folded) => (folded, None),
            Err(failure) => self.up_to_failure(&records[..whole], failure)?,
        };
        let next = stopped.as_ref().map_or(next, |(start, _)| *start);
        if let Some(last) = records[..whole].iter().rfind(|stored| stored.offset < next) {
            self.landmarks.set(&self.source.topic, last.offset, Mark::of(&last.record));
        }
        super::observe::decided(&self.fold.definition.name, folded.skipped, folded.replaced);
        self.commit(folded.delta, next, end);
        self.throughput.processed(0, records[..whole].partition_point(|stored| stored.offset < next));
        if let (Some(first), Some(last), true) = (records.first(), records[..whole].last(), self.is_live()) {
            let now = self.fold.shell.clock.now();
            let times = [first.record.timestamp, last.record.timestamp];
            super::observe::took(&self.latency, now, times);
        }
        tokio::task::yield_now().await;
        Ok(stopped.map(|(_, stopped)| stopped))
    }

    /// Whether what is folded is folded for the first time, as it comes.
    fn is_live(&self) -> bool {
        self.part == Part::Owner && self.caught_up
    }

    fn fold_records(&mut self, records: &[StoredRecord]) -> Result<Folded, Failure> {
        let mut delta = Delta::default();
        let decided = self.decided.apply(records);
        let run = self.state.look_up(|committed| {
            let layered = Layered { delta: &mut delta, in_flight: None, committed };
            let mut flow = Flow::new(Some(layered));
            let run = run_batch(&mut self.task, InputRecord::of_one(&decided.records), &mut flow);
            run.map(|()| flow.take_counts())
        });
        let run = run.unwrap_or_else(|error| Err(Failure { at: 0, error: error.into() }));
        let counts = run.map_err(|failure| Failure { at: decided.index(failure.at), ..failure })?;
        self.throughput.taken(&counts.taken);
        super::observe::dropped(&self.fold.definition.name, counts.drops);
        Ok(Folded { delta, skipped: decided.skipped, replaced: decided.replaced })
    }

    /// The first record at which folding one after another fails: what fails at a batch's end need not be its last.
    fn culprit(&mut self, records: &[StoredRecord]) -> Option<Failure> {
        // What the code left behind in the middle of something is not to be trusted.
        self.task = self.fold.task(self.source.partition);
        let mut delta = Delta::default();
        let decided = self.decided.apply(records);
        let run = self.state.look_up(|committed| {
            let mut flow = Flow::new(Some(Layered { delta: &mut delta, in_flight: None, committed }));
            decided.records.iter().enumerate().find_map(|(index, record)| {
                let alone = InputRecord::of_one(std::slice::from_ref(record));
                let failed = run_batch(&mut self.task, alone, &mut flow).err()?;
                Some(Failure { at: decided.index(index), ..failed })
            })
        });
        self.task = self.fold.task(self.source.partition);
        run.ok().flatten()
    }

    /// Folds the commands before the one that failed, and names the record that failed and where its command begins.
    fn up_to_failure(
        &mut self,
        records: &[StoredRecord],
        failure: Failure,
    ) -> Result<(Folded, Option<(Offset, Stopped)>), Stop> {
        let failure = self.culprit(records).unwrap_or(failure);
        // Where there are no records, only positions moved, and it was the state that failed.
        let at = records.get(failure.at).map_or(self.next, |record| record.offset);
        let reason = format!(
            "view \"{}\" stopped at {} offset {at}: {}",
            self.fold.definition.name, self.source, failure.error
        );
        if records.is_empty() || matches!(failure.error, ProcessError::State(_)) {
            return Err(Stop(reason));
        }
        let start = command_start(records, failure.at);
        match self.fold_records(&records[..start]) {
            Ok(folded) => Ok((folded, Some((records[start].offset, Stopped { at, reason })))),
            Err(_) => Err(Stop(reason)),
        }
    }

    /// Waits for a decision about a record that cannot be folded, or until `stop`.
    async fn await_decision(
        &mut self,
        Stopped { at, reason }: Stopped,
        stop: &CancellationToken,
    ) -> Result<(), Stop> {
        if self.decided.fails(at) {
            return Ok(());
        }
        self.decided.catch_up(&self.fold.shell, &self.cell, stop).await?;
        if !self.decided.has(at) {
            self.tell_stopped(at, &reason);
            while !self.decided.has(at) && !stop.is_cancelled() {
                let more = self.decided.more(stop).await;
                more.map_err(|Stop(why)| Stop(format!("{reason}; and decisions cannot be read: {why}")))?;
            }
        }
        if !stop.is_cancelled() {
            tracing::info!(view = self.fold.definition.name, source = %self.source, offset = at.0, "going on as decided");
            self.tell_phase();
        }
        self.cell.set_stopped_at(None);
        Ok(())
    }

    fn tell_stopped(&self, at: Offset, reason: &str) {
        match self.part {
            Part::Owner => {
                self.cell.set_left(0);
                self.cell.set_stopped_at(Some((self.source.clone(), at)));
                self.cell.set_phase(Phase::Stopped { reason: reason.to_owned() });
            }
            Part::Standby => self.cell.standby_failed(reason),
        }
    }

    fn commit(&mut self, delta: Delta, next: Offset, end: Offset) {
        self.next = next;
        self.caught_up |= next >= self.goal;
        let changes = delta.into_changes();
        self.throughput.changed(&changes);
        let note = self.provenance.note(self.caught_up, &self.landmarks);
        let position = Position::from_iter([(self.source.clone(), next)]);
        if self.caught_up {
            self.cell.changes.push(next, TABLE, &changes);
        } else {
            self.cell.changes.reset(next);
        }
        self.state.commit(changes, Checkpoint { position, note });
        self.cell.set_end_seen(end);
        self.folded.increment(next.0 - self.cell.committed().0);
        self.cell.set_committed(next);
        self.tell_phase();
    }

    fn tell_phase(&mut self) {
        self.caught_up |= self.next >= self.goal;
        if self.part == Part::Standby {
            return self.cell.set_standby(Some(self.cell.end_seen().0.saturating_sub(self.next.0)));
        }
        // A state that had caught up in an earlier life answers at once, and is told to be older than the log.
        self.cell.set_left(self.goal.0.saturating_sub(self.next.0));
        let phase = if self.caught_up {
            Phase::Running
        } else {
            Phase::Restoring { done: self.next.0 - self.began.0, total: self.goal.0 - self.began.0 }
        };
        if self.cell.phase() != phase {
            self.cell.set_phase(phase);
        }
    }
}
