//! Running an emitter: reads its inputs, appends to its topics, and commits records, changes of its state and positions
//! together.
//!
//! - [`inputs`]: several partitions, taken in the order of their records' times;
//! - [`begin`]: where a shard goes on, and that a first start is one;
//! - [`globals`]: global tables, which are loaded first;
//! - [`changelog`]: the state that a shard keeps, and the topic that it is restored from; [`tie`]: by what a shard's head
//!   knows that topic again;
//! - [`parking`]: records that could not be processed, set aside in order.
//!
//! A shard works in batches: what waits is processed over its state, and all that comes of it is one transaction. Only
//! when that is written is the state changed: whatever else becomes of the transaction, the batch is processed again,
//! by operators that are put together anew, from state that knows nothing of it.

mod begin;
mod changelog;
mod globals;
mod inputs;
mod parking;
mod tie;

use std::sync::Arc;
use std::time::Duration;

use headwater_core::BoxFuture;
use headwater_core::clock::Timestamp;
use headwater_core::log::{Claim, Opened, Transaction, Writer};
use headwater_core::record::{Append, StoredRecord};
use headwater_core::store::StateChange;
use headwater_core::topic::{Offset, Partition, TopicName, TopicPartition};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::changelog::EmitterStore;
use self::changelog::Kept;
pub(crate) use self::globals::Global;
use self::inputs::{Inputs, Sourced};
pub(crate) use self::parking::Parks;
use self::parking::{Changed, Parking};
use self::tie::Tie;
use super::cell::{Phase, ShardCell};
use super::membership::RunShard;
use super::observe::Throughput;
use super::pace::Rest;
use super::shell::{Committed, Refusals, Regained, Shell, Stop, pause_after, regain};
use crate::engine::command_batch::continues_command;
use crate::engine::flow::{Counts, Flow, ProcessError};
use crate::engine::operators::{Failure, InputRecord, Task, run_batch, run_tick};
use crate::engine::state::{Delta, Layered};
use crate::topology::{Definition, ShardPlace};

/// How often those that wait for the clock on the wall are told the time.
const TICK_EVERY: Duration = Duration::from_millis(100);
/// How long a shard is idle before it commits a position that moved over no records: for tools that show lag.
const SETTLE_AFTER: Duration = Duration::from_secs(1);
/// How often an idle shard's state, or a standby's, is told to be as new as the log.
const TOUCH_EVERY: Duration = Duration::from_secs(60 * 60);

/// An emitter topology, ready to run its shards.
pub(crate) struct Emitter {
    pub(crate) shell: Shell,
    pub(crate) definition: Arc<Definition>,
    pub(crate) sources: Vec<TopicName>,
    /// The partitions of each topic that it appends to.
    pub(crate) targets: Arc<[Arc<[TopicPartition]>]>,
    /// What it keeps, if it keeps anything.
    pub(crate) store: Option<EmitterStore>,
    pub(crate) cells: Arc<[Arc<ShardCell>]>,
    /// The global tables among its sources.
    pub(crate) globals: Vec<Global>,
    /// The name of its group.
    pub(crate) group: String,
    /// For how long an input that has nothing is waited for while others have something.
    pub(crate) patience: Duration,
    /// Where it sets aside what it cannot process; `None` where it never did, and stops.
    pub(crate) parks: Option<Parks>,
    /// How far ahead of the clock a record's time may be.
    pub(crate) times_ahead: Option<Duration>,
}

impl RunShard for Emitter {
    fn run(
        self: Arc<Self>,
        shard: Partition,
        claim: Box<dyn Claim>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let cell = &self.cells[shard.0 as usize];
            let ended = self.emit(cell, &*claim, &stop).await;
            cell.set_left(0);
            match ended {
                Ok(()) => {
                    // Whoever has the shard next counts them.
                    cell.set_letters(0, 0);
                    cell.set_phase(Phase::Waiting);
                }
                Err(Stop(reason)) => cell.set_phase(Phase::Stopped { reason }),
            }
        })
    }

    fn follow(self: Arc<Self>, shard: Partition, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Some(store) = &self.store else { return };
            let cell = &self.cells[shard.0 as usize];
            if let Err(Stop(reason)) = self.keep_copy(store, cell, &stop).await {
                cell.standby_failed(&reason);
            }
            cell.set_standby(None);
        })
    }

    fn cell(&self, shard: Partition) -> &ShardCell {
        &self.cells[shard.0 as usize]
    }
}

#[derive(PartialEq, Eq)]
enum WriterEnd {
    Stopped,
    Died,
}

impl Emitter {
    /// Opens the writer, and opens it again whenever it died while the shard is still ours.
    async fn emit(&self, cell: &ShardCell, claim: &dyn Claim, stop: &CancellationToken) -> Result<(), Stop> {
        while let Regained::Ours(opened) = regain(claim, cell, stop).await? {
            if self.emit_with(opened, cell, stop).await? == WriterEnd::Stopped {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn emit_with(
        &self,
        opened: Opened,
        cell: &ShardCell,
        stop: &CancellationToken,
    ) -> Result<WriterEnd, Stop> {
        let Opened { mut writer, head } = opened;
        let mut inputs = self.inputs_at(head.as_ref(), cell).await?;
        let position = inputs.position(&inputs.offsets());
        if head.is_none() {
            self.check_first_start(&position, cell, stop).await?;
            let first = Transaction { positions: position.clone(), ..Transaction::default() };
            match self.shell.commit_until(&mut *writer, first, inputs.first(), stop).await? {
                Committed::Yes(_) => {}
                Committed::WriterDied => return Ok(WriterEnd::Died),
                Committed::Stopped => return Ok(WriterEnd::Stopped),
                Committed::Refused(why) => return Err(Stop(why)),
            }
        }
        let kept = match &self.store {
            None => None,
            Some(store) => {
                let tie = head.as_ref().and_then(|head| Tie::told(&head.note));
                match self.restore(store, (position, tie), cell, stop).await? {
                    Some(kept) => Some(kept),
                    None => return Ok(WriterEnd::Stopped),
                }
            }
        };
        if !self.load_globals(&mut inputs, cell, stop).await? {
            return Ok(WriterEnd::Stopped);
        }
        let parking = self.parking(cell, stop).await?;
        if stop.is_cancelled() {
            return Ok(WriterEnd::Stopped);
        }
        Run::new(self, cell, writer, inputs, (kept, parking)).run(stop).await
    }

    fn task(&self, shard: Partition) -> Task {
        self.definition.task(&ShardPlace { shard, targets: self.targets.clone() })
    }
}

/// What is processed at once, and where the inputs stand afterwards.
struct Batch {
    records: Vec<Sourced>,
    offsets: Vec<Offset>,
    /// The time to be told, if it is time to tell it.
    tick: Option<Timestamp>,
    /// Whether the positions are to be committed although nothing is written.
    settles: bool,
}

impl Batch {
    /// The commands before the one that a record belongs to.
    fn before(mut self, at: usize) -> Self {
        let mut start = at;
        // A command is taken whole, so that its records stand side by side.
        while start > 0 && continues_command(&self.records[start].1) {
            start -= 1;
        }
        for (source, record) in self.records.drain(start..).rev() {
            self.offsets[source] = record.offset;
        }
        self.tick = None;
        self
    }

    /// Where it is to be split: between two commands, as near to the middle as can be; `None` if it is of one alone.
    fn middle(&self) -> Option<usize> {
        let middle = self.records.len() / 2;
        let starts = |at: &usize| !continues_command(&self.records[*at].1);
        (1..=middle).rev().find(starts).or_else(|| (middle + 1..self.records.len()).find(starts))
    }

    /// Two batches of it.
    fn split(self, at: usize) -> (Self, Self) {
        let second = Self {
            records: self.records[at..].to_vec(),
            offsets: self.offsets.clone(),
            tick: self.tick,
            settles: self.settles,
        };
        let mut first = Self { tick: None, settles: false, ..self };
        for (source, record) in first.records.drain(at..).rev() {
            first.offsets[source] = record.offset;
        }
        (first, second)
    }

    /// The times of the earliest and of the latest record.
    fn times(&self) -> Option<(Timestamp, Timestamp)> {
        let times = || self.records.iter().map(|(_, stored)| stored.record.timestamp);
        Some((times().min()?, times().max()?))
    }
}

/// What came of a batch.
struct Processed {
    appends: Vec<Append>,
    changes: Vec<StateChange>,
    counts: Counts,
    letters: Option<Changed>,
}

/// What became of a batch.
enum Taken {
    Whole,
    Ended(WriterEnd),
    /// The log refused its transaction for good; and why the shard is to stop behind it, if it is.
    Refused(Batch, String, Option<Stop>),
}

struct Run<'a> {
    emitter: &'a Emitter,
    cell: &'a ShardCell,
    writer: Box<dyn Writer>,
    inputs: Inputs,
    task: Task,
    kept: Option<Kept>,
    parking: Option<Parking>,
    refusals: Refusals,
    /// Where the inputs stood at the last commit.
    committed: Vec<Offset>,
    /// Where the inputs ended when the shard began.
    goals: Vec<Offset>,
    tick_at: Option<Instant>,
    settle_at: Option<Instant>,
    touch_at: Option<Instant>,
    latency: metrics::Histogram,
    throughput: Throughput,
}

impl<'a> Run<'a> {
    fn new(
        emitter: &'a Emitter,
        cell: &'a ShardCell,
        writer: Box<dyn Writer>,
        inputs: Inputs,
        (kept, parking): (Option<Kept>, Option<Parking>),
    ) -> Self {
        let task = emitter.task(cell.shard);
        let throughput = Throughput::new(&emitter.definition, &emitter.sources, &task);
        let now = Instant::now();
        Self {
            emitter,
            cell,
            writer,
            committed: inputs.offsets(),
            goals: inputs.ends(),
            inputs,
            tick_at: task.has_ticks().then_some(now),
            task,
            touch_at: kept.is_some().then_some(now + TOUCH_EVERY),
            kept,
            parking,
            refusals: Refusals::default(),
            // Whoever waits for a global table asks what its group has committed, and a log may have forgotten that
            // since the head was written.
            settle_at: emitter.definition.is_global().then_some(now),
            latency: super::observe::topology_latency(&emitter.definition.name),
            throughput,
        }
    }

    async fn run(mut self, stop: &CancellationToken) -> Result<WriterEnd, Stop> {
        self.publish(&self.committed.clone());
        self.cell.set_phase(Phase::Running);
        while let Some(batch) = self.gather(stop).await? {
            let records = batch.records.len();
            if let Some(end) = self.take(batch, stop).await? {
                return Ok(end);
            }
            if self.inputs.behind() == 0 {
                self.emitter.shell.pace.rest(Rest::Shared, records, self.cell, stop).await;
            }
        }
        Ok(WriterEnd::Stopped)
    }

    /// Waits for something to do; `None` if we are to stop.
    async fn gather(&mut self, stop: &CancellationToken) -> Result<Option<Batch>, Stop> {
        loop {
            let records = self.inputs.take();
            let offsets = self.inputs.offsets();
            let (now, tick) = (Instant::now(), self.tick_due());
            let settles = self.settle_at.is_some_and(|at| at <= now);
            if !records.is_empty() || tick.is_some() || settles {
                return Ok(Some(Batch { records, offsets, tick, settles }));
            }
            self.publish(&offsets);
            if offsets != self.committed {
                self.settle_at.get_or_insert(now + SETTLE_AFTER);
            }
            self.touch(now).await;
            let due = [self.touch_at, self.tick_at, self.settle_at].into_iter().flatten().min();
            let due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(None),
                more = self.inputs.more() => match more {
                    Ok(()) => self.cell.let_on(),
                    Err((source, error)) => {
                        self.cell.hinder(&error);
                        pause_after(error, self.inputs.partition(source), stop).await?;
                    }
                },
                () = due => {}
            }
        }
    }

    fn tick_due(&mut self) -> Option<Timestamp> {
        let now = Instant::now();
        let at = self.tick_at.as_mut().filter(|at| **at <= now)?;
        *at = now + TICK_EVERY;
        Some(self.emitter.shell.clock.now())
    }

    /// Processes a batch and commits what comes of it, until it is committed or the writer is dead.
    async fn take(&mut self, batch: Batch, stop: &CancellationToken) -> Result<Option<WriterEnd>, Stop> {
        if let Some(store) = &self.emitter.store {
            let may_grow = self.emitter.shell.may_grow(&self.emitter.definition, &store.named);
            let stopped =
                |reason| self.stopped(&batch, &Failure { at: 0, error: ProcessError::Record(reason) });
            may_grow.map_err(stopped)?;
        }
        let mut waiting = vec![batch];
        let mut stopped = None;
        while let Some(batch) = waiting.pop() {
            match self.take_whole(batch, stop).await? {
                Taken::Whole => {}
                Taken::Ended(end) => return Ok(Some(end)),
                Taken::Refused(batch, why, then) => {
                    if then.is_some() {
                        // Nothing behind it is to be processed any more.
                        (waiting, stopped) = (Vec::new(), then);
                    }
                    self.take_apart(batch, why, &mut waiting)?;
                }
            }
        }
        stopped.map_or(Ok(None), Err)
    }

    /// One of a batch's records is too large for the log, or all together are: it is tried in parts, down to the command.
    /// Where the record is set aside, which leaves its command without it anyway, down to the record.
    fn take_apart(&mut self, batch: Batch, why: String, waiting: &mut Vec<Batch>) -> Result<(), Stop> {
        let within =
            || (self.parking.is_some() && batch.records.len() > 1).then_some(batch.records.len() / 2);
        if let Some(at) = batch.middle().or_else(within) {
            tracing::debug!(%why, records = batch.records.len(), "a transaction is tried in two parts");
            let (first, second) = batch.split(at);
            waiting.extend([second, first]);
            return Ok(());
        }
        if !self.parking.as_mut().is_some_and(|parking| parking.refuse(&batch, &why)) {
            return Err(self.refused(&batch, &why));
        }
        waiting.push(batch);
        Ok(())
    }

    async fn take_whole(&mut self, batch: Batch, stop: &CancellationToken) -> Result<Taken, Stop> {
        let (batch, processed, stopped) = match self.process(&batch) {
            Ok(processed) => (batch, processed, None),
            Err(failure) => {
                let stopped = self.stopped(&batch, &failure);
                if failure.at >= batch.records.len() {
                    return Err(stopped);
                }
                let batch = batch.before(failure.at);
                self.task = self.emitter.task(self.cell.shard);
                let Ok(processed) = self.process(&batch) else { return Err(stopped) };
                (batch, processed, Some(stopped))
            }
        };
        let mut processed = processed;
        loop {
            match self.commit(&batch, processed, stop).await? {
                Some(Committed::Yes(_)) => break,
                Some(Committed::WriterDied) => return Ok(Taken::Ended(WriterEnd::Died)),
                Some(Committed::Stopped) => return Ok(Taken::Ended(WriterEnd::Stopped)),
                Some(Committed::Refused(why)) => {
                    self.task = self.emitter.task(self.cell.shard);
                    return Ok(Taken::Refused(batch, why, stopped));
                }
                None => {
                    // Processed again, which costs less than keeping a copy of every transaction until its answer.
                    self.task = self.emitter.task(self.cell.shard);
                    processed = self.process(&batch).map_err(|failure| self.stopped(&batch, &failure))?;
                }
            }
        }
        stopped.map_or(Ok(Taken::Whole), Err)
    }

    /// Processes a batch: whole where it can be, record by record where some of it is set aside.
    fn process(&mut self, batch: &Batch) -> Result<Processed, Failure> {
        let Some(parking) = &self.parking else { return self.process_whole(batch) };
        if !parking.concerns(batch) {
            match self.process_whole(batch) {
                Err(failure) if failure.at < batch.records.len() => {
                    self.task = self.emitter.task(self.cell.shard);
                }
                processed => return processed,
            }
        }
        self.process_each(batch)
    }

    fn process_whole(&mut self, batch: &Batch) -> Result<Processed, Failure> {
        let too_early = self.too_early();
        if let Some(at) = batch.records.iter().position(|(_, stored)| too_early(stored).is_some()) {
            let error = too_early(&batch.records[at].1).expect("it was found so");
            return Err(Failure { at, error });
        }
        let (task, shard) = (&mut self.task, self.cell.shard);
        let Some(kept) = &self.kept else {
            let (appends, counts) = work(task, batch, Flow::new(None), shard)?;
            return Ok(Processed { appends, changes: Vec::new(), counts, letters: None });
        };
        let mut delta = Delta::default();
        let worked = kept.state.look_up(|committed| {
            let layered = Layered { delta: &mut delta, in_flight: None, committed };
            work(task, batch, Flow::new(Some(layered)), shard)
        });
        let (appends, counts) = worked.unwrap_or_else(|error| Err(Failure { at: 0, error: error.into() }))?;
        let changes = delta.into_changes();
        if self.parking.is_some() && kept.check(&changes).is_err() {
            let error = ProcessError::KeyTooLong("a key of its state is too long".to_owned());
            return Err(Failure { at: 0, error });
        }
        Ok(Processed { appends, changes, counts, letters: None })
    }

    fn process_each(&mut self, batch: &Batch) -> Result<Processed, Failure> {
        let now = self.emitter.shell.clock.now();
        let shard = self.cell.shard;
        let new_task = || self.emitter.task(shard);
        let too_early = self.too_early();
        let parking = self.parking.as_ref().expect("only a shard that parks takes records one by one");
        let task = &mut self.task;
        let mut take = |mut flow: Flow<'_>| {
            let changed = parking.process((batch, now), (task, &new_task), &too_early, &mut flow)?;
            if let Some(now) = batch.tick {
                run_tick(task, now, &mut flow).map_err(|error| Failure { at: usize::MAX, error })?;
            }
            let counts = flow.take_counts();
            Ok((flow.into_appends(shard), counts, changed))
        };
        let mut delta = Delta::default();
        let (appends, counts, changed) = match &self.kept {
            None => take(Flow::new(None))?,
            Some(kept) => {
                let taken = kept.state.look_up(|committed| {
                    take(Flow::new(Some(Layered { delta: &mut delta, in_flight: None, committed })))
                });
                taken.unwrap_or_else(|error| Err(Failure { at: 0, error: error.into() }))?
            }
        };
        Ok(Processed { appends, changes: delta.into_changes(), counts, letters: Some(changed) })
    }

    /// Tells of a record whether its time lies further ahead of the clock than it may.
    fn too_early(&self) -> impl Fn(&StoredRecord) -> Option<ProcessError> + use<> {
        let ahead =
            self.emitter.times_ahead.map(|ahead| i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX));
        let limit = ahead.map(|ahead| self.emitter.shell.clock.now().plus_ms(ahead));
        move |stored| {
            let time = stored.record.timestamp;
            limit.filter(|limit| time > *limit).map(|_| {
                let time = time.0;
                ProcessError::BadTime(format!(
                    "its time, {time} ms, lies further ahead of the clock than it may"
                ))
            })
        }
    }

    /// Commits what came of a batch; `None` if it was refused and may be tried again.
    async fn commit(
        &mut self,
        batch: &Batch,
        processed: Processed,
        stop: &CancellationToken,
    ) -> Result<Option<Committed>, Stop> {
        let Processed { mut appends, changes, counts, letters } = processed;
        if batch.records.is_empty() && !batch.settles && appends.is_empty() && changes.is_empty() {
            return Ok(Some(Committed::Yes(Vec::new())));
        }
        let now = self.emitter.shell.clock.now();
        if let (Some(parking), Some(letters)) = (&self.parking, &letters) {
            appends.extend(parking.appends(letters, now));
        }
        let outputs = appends.len();
        if let Some(kept) = &self.kept {
            kept.check(&changes)?;
            appends.extend(kept.appends(&changes, now));
        }
        let positions = self.inputs.position(&batch.offsets);
        let tie = self.kept.as_ref().and_then(|kept| kept.tie(&appends[outputs..]));
        let note = tie.as_ref().map(Tie::note).unwrap_or_default();
        let transaction = Transaction { appends, positions, note };
        let (shell, at) = (&self.emitter.shell, self.inputs.first());
        let answer = shell.commit_once(&mut *self.writer, transaction, at, &mut self.refusals, stop).await?;
        if let Some(Committed::Yes(offsets)) = &answer {
            self.refusals = Refusals::default();
            self.throughput.changed(&changes);
            for source in 0..self.emitter.sources.len() {
                let records = batch.records.iter().filter(|(of, _)| *of == source).count();
                self.throughput.processed(source, records);
            }
            if let Some(kept) = &mut self.kept {
                let position = self.inputs.position(&batch.offsets);
                kept.commit(changes, (&offsets[outputs..], tie), position, now);
                self.touch_at = Some(Instant::now() + TOUCH_EVERY);
            }
            if let (Some(parking), Some(letters)) = (&mut self.parking, letters) {
                parking.commit(letters, self.cell);
            }
            self.committed.clone_from(&batch.offsets);
            self.settle_at = None;
            self.publish(&batch.offsets);
            self.throughput.taken(&counts.taken);
            super::observe::dropped(&self.emitter.definition.name, counts.drops);
            if let Some((earliest, latest)) = batch.times() {
                super::observe::took(&self.latency, now, [earliest, latest]);
            }
            shell.room().await;
        }
        Ok(answer)
    }

    /// Tells how far the shard has come.
    fn publish(&self, offsets: &[Offset]) {
        let behind = self.inputs.behind();
        self.cell.set_committed_all(offsets);
        self.cell.set_end_seen(Offset(self.cell.committed().0 + behind));
        // What views read of this topology is older than the log until it has come as far as the log was.
        let left = self.goals.iter().zip(offsets).map(|(goal, next)| goal.0.saturating_sub(next.0));
        self.cell.set_left(left.sum());
    }

    /// Tells an idle shard's state to be as new as the log, where nothing was written since: not even by another owner
    /// whom this one does not know of yet.
    async fn touch(&mut self, now: Instant) {
        let Some(at) = self.touch_at.as_mut().filter(|at| **at <= now) else { return };
        *at = now + TOUCH_EVERY;
        if let Some(kept) = &mut self.kept {
            kept.renew(&self.emitter.shell).await;
        }
    }

    /// Why the shard stops where the log refuses a transaction for good.
    fn refused(&self, batch: &Batch, why: &str) -> Stop {
        let error = ProcessError::TooLarge(format!("what came of it was refused: {why}"));
        self.stopped(batch, &Failure { at: 0, error })
    }

    /// Why the shard stops, naming the record.
    fn stopped(&self, batch: &Batch, Failure { at, error }: &Failure) -> Stop {
        let name = &self.emitter.definition.name;
        match batch.records.get(*at) {
            Some((source, record)) => {
                let (partition, offset) = (self.inputs.partition(*source), record.offset);
                Stop(format!("\"{name}\" stopped at {partition} offset {offset}: {error}"))
            }
            None => Stop(format!("\"{name}\" stopped when it was told the time: {error}")),
        }
    }
}

/// Runs a batch through a task.
fn work(
    task: &mut Task,
    batch: &Batch,
    mut flow: Flow<'_>,
    shard: Partition,
) -> Result<(Vec<Append>, Counts), Failure> {
    let records = batch.records.iter().map(|(source, record)| InputRecord { source: *source, record });
    run_batch(task, records, &mut flow)?;
    if let Some(now) = batch.tick {
        run_tick(task, now, &mut flow).map_err(|error| Failure { at: usize::MAX, error })?;
    }
    let counts = flow.take_counts();
    Ok((flow.into_appends(shard), counts))
}
