//! One shard of a kind of aggregate: gather what waits, decide it, commit, apply, answer.
//!
//! While a commit is in flight the next batch is decided on top of it, and grows until the commit has answered: so a
//! batch closes when the log is ready for it, and no timer makes anybody wait.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_core::BoxFuture;
use headwater_core::clock::Timestamp;
use headwater_core::log::{
    Claim, CommitError, LogError, LogErrorKind, Opened, ReadBatch, ReadLimit, Transaction, Wait, Writer,
};
use headwater_core::position::Position;
use headwater_core::record::{Append, StoredRecord};
use headwater_core::store::{Checkpoint, KeyRange};
use headwater_core::topic::{Offset, Partition, TopicPartition};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::backlog::{Backlog, Piece};
use super::filters::{FilterRead, FilterWriting};
use super::note::Note;
use super::{AggregateCell, Submission, Topics};
use crate::aggregate::Aggregate;
use crate::app::AppOptions;
use crate::command::{CommandId, Origin, Outcome, Receipt, SendError, Version};
use crate::engine::decide::{Base, Decided, Decider, DeciderSettings, Incoming, OUTCOMES};
use crate::engine::outcome::Verdict;
use crate::engine::state::Delta;
use crate::event::header_number;
use crate::runtime::cell::{Phase, ShardCell};
use crate::runtime::landmarks::{Landmarks, Mark};
use crate::runtime::membership::RunShard;
use crate::runtime::shell::{Committed, NamedStore, Regained, Shell, Stop, regain};
use crate::runtime::trust::Provenance;
use crate::store::overlay::ShardState;

/// Commands that one batch holds at most.
const BATCH_MAX: usize = 4_096;
/// Events of the tail that one batch looks at to make snapshots.
const SNAPSHOT_CHUNK: ReadLimit = ReadLimit { records: 512, bytes: 1 << 20 };
/// Commands that are read from the topic at once.
const COMMANDS: ReadLimit = ReadLimit { records: 1_000, bytes: 4 << 20 };
/// Outcomes that one batch looks at to remove the old ones.
const SWEEP_CHUNK: usize = 1_000;
/// Sweeps through all outcomes in the time that an outcome is kept.
const SWEEPS: i64 = 8;
/// How often a command is decided again after the log refused its batch.
const ATTEMPTS: u32 = 3;
/// How long a shard rests that a log without a machine which answers has refused.
const REST: Duration = Duration::from_millis(100);

/// A kind of aggregate, ready to run its shards.
pub(super) struct AggregateShards<A: Aggregate> {
    pub(super) shell: Shell,
    pub(super) options: AppOptions,
    pub(super) source: String,
    pub(super) topics: Topics,
    pub(super) store: NamedStore,
    pub(super) cells: Arc<[AggregateCell<A>]>,
    /// The name of its group.
    pub(super) group: String,
    /// Whose turn it is to restore much.
    pub(super) turns: Arc<Semaphore>,
}

impl<A: Aggregate> RunShard for AggregateShards<A> {
    fn run(
        self: Arc<Self>,
        shard: Partition,
        claim: Box<dyn Claim>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let cell = &self.cells[shard.0 as usize];
            let ended = self.run_shard(shard, &*claim, &stop).await;
            cell.close_mailbox();
            match ended {
                Ok(()) => cell.cell.set_phase(Phase::Waiting),
                Err(Stop(reason)) => cell.cell.set_phase(Phase::Stopped { reason }),
            }
        })
    }

    fn follow(self: Arc<Self>, shard: Partition, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if let Err(Stop(reason)) = self.keep_copy(shard, &stop).await {
                self.cell(shard).standby_failed(&reason);
            }
            self.cell(shard).set_standby(None);
        })
    }

    fn cell(&self, shard: Partition) -> &ShardCell {
        &self.cells[shard.0 as usize].cell
    }
}

/// The partitions of one shard.
#[derive(Debug, Clone)]
pub(super) struct Partitions {
    pub(super) events: TopicPartition,
    pub(super) commands: TopicPartition,
    pub(super) outcomes: TopicPartition,
    pub(super) snapshots: TopicPartition,
}

impl<A: Aggregate> AggregateShards<A> {
    pub(super) fn partitions(&self, shard: Partition) -> Partitions {
        Partitions {
            events: self.topics.events.name.partition(shard.0),
            commands: self.topics.commands.name.partition(shard.0),
            outcomes: self.topics.outcomes.name.partition(shard.0),
            snapshots: self.topics.snapshots.name.partition(shard.0),
        }
    }

    pub(super) fn decider(&self, partitions: &Partitions) -> Decider<A> {
        Decider::new(DeciderSettings {
            source: self.source.clone(),
            events: partitions.events.clone(),
            outcomes: partitions.outcomes.clone(),
            snapshots: partitions.snapshots.clone(),
            outcomes_kept_ms: i64::try_from(self.options.outcomes_kept.as_millis()).unwrap_or(i64::MAX),
            command_bytes_max: self.options.command_bytes_max,
            cached_states: self.options.cached_states,
        })
    }

    /// The writing of filters behind those that a head speaks of.
    fn filter_writing(&self, note: Note) -> FilterWriting {
        FilterWriting::behind(note.filters, self.topics.outcomes.id, self.options.outcomes_per_filter)
    }

    /// Opens the writer and runs the shard; again whenever the writer died while the shard is still ours.
    async fn run_shard(
        &self,
        shard: Partition,
        claim: &dyn Claim,
        stop: &CancellationToken,
    ) -> Result<(), Stop> {
        let cell = &self.cells[shard.0 as usize];
        let mut mailbox = cell.open_mailbox(self.options.mailbox);
        let mut waiting: Vec<Pending<A>> = Vec::new();
        let ended = self.run_writers(shard, claim, stop, &mut mailbox, &mut waiting).await;
        cell.close_mailbox();
        waiting.into_iter().for_each(|pending| pending.answer_moving(&self.topics.events.name, shard));
        ended
    }

    async fn run_writers(
        &self,
        shard: Partition,
        claim: &dyn Claim,
        stop: &CancellationToken,
        mailbox: &mut mpsc::Receiver<Submission<A>>,
        waiting: &mut Vec<Pending<A>>,
    ) -> Result<(), Stop> {
        let cell = &self.cells[shard.0 as usize];
        while let Regained::Ours(Opened { mut writer, head }) = regain(claim, &cell.cell, stop).await? {
            let restored = self.restore(shard, head, stop).await;
            let Some(restored) = restored? else { break };
            if restored.is_first {
                match self.write_first_head(shard, &mut *writer, &restored, stop).await? {
                    Committed::Yes(_) => {}
                    Committed::WriterDied => continue,
                    Committed::Stopped => break,
                    Committed::Refused(why) => return Err(Stop(why)),
                }
            }
            cell.set_has_all_outcomes(restored.backlog.is_none());
            let mut run = ShardRun::new(self, shard, writer, restored);
            run.requeue = std::mem::take(waiting);
            cell.cell.set_phase(Phase::Running);
            let ended = run.run(mailbox, stop).await;
            waiting.append(&mut run.parked);
            match ended? {
                RunEnd::Stopped => break,
                RunEnd::WriterDied(mut undecided) => waiting.append(&mut undecided),
            }
        }
        Ok(())
    }

    /// Says that the shard has begun, before anything of it is there.
    async fn write_first_head(
        &self,
        shard: Partition,
        writer: &mut dyn Writer,
        restored: &Restored,
        stop: &CancellationToken,
    ) -> Result<Committed, Stop> {
        let commands = self.partitions(shard).commands;
        let positions = Position::from_iter([(commands.clone(), restored.commands_next)]);
        let first = Transaction { appends: Vec::new(), positions, note: restored.note.encode() };
        self.shell.commit_until(writer, first, &commands, stop).await
    }
}

/// Where a shard stands when it begins to decide.
pub(super) struct Restored {
    pub(super) state: Arc<ShardState>,
    pub(super) provenance: Provenance,
    pub(super) landmarks: Landmarks,
    pub(super) events_next: Offset,
    pub(super) outcomes_next: Offset,
    pub(super) commands_next: Offset,
    /// What the head says.
    pub(super) note: Note,
    /// Outcomes that the state has not yet.
    pub(super) backlog: Option<Backlog>,
    /// Whether the shard has no head yet.
    pub(super) is_first: bool,
}

/// A command that is being decided, and who waits.
struct Pending<A: Aggregate> {
    incoming: Incoming<A>,
    reply: Option<oneshot::Sender<Result<Outcome<A>, SendError>>>,
    attempts: u32,
}

impl<A: Aggregate> Pending<A> {
    fn answer(self, answer: Result<Outcome<A>, SendError>) {
        if let Some(reply) = self.reply {
            // A caller who has gone away does not need its answer; the outcome is kept.
            let _ = reply.send(answer);
        }
    }

    fn answer_moving(self, topology: &headwater_core::topic::TopicName, shard: Partition) {
        let retry_after = super::handle::RETRY_MOVED_AFTER;
        self.answer(Err(SendError::Moving { topology: topology.to_string(), shard, retry_after }));
    }
}

/// A batch that is open, or on its way.
struct Batch<A: Aggregate> {
    decided: Decided,
    verdicts: Vec<(Pending<A>, Verdict<A>)>,
    commands_next: Offset,
    note: Note,
}

impl<A: Aggregate> Batch<A> {
    fn new(commands_next: Offset, note: Note) -> Self {
        Self { decided: Decided::default(), verdicts: Vec::new(), commands_next, note }
    }

    fn is_full(&self) -> bool {
        self.verdicts.len() >= BATCH_MAX
    }

    fn is_idle(&self) -> bool {
        self.verdicts.is_empty() && self.decided.appends.is_empty()
    }
}

type CommitAnswer = Result<Vec<Offset>, CommitError>;

/// A batch whose transaction is with the log.
struct InFlight<A: Aggregate> {
    delta: Delta,
    verdicts: Vec<(Pending<A>, Verdict<A>)>,
    /// For each append, whether it goes to the events and whether to the outcomes.
    targets: Vec<Target>,
    /// The last event and the last outcome.
    marks: [Option<Mark>; 2],
    commands_next: Offset,
    note: Note,
    answer: BoxFuture<'static, CommitAnswer>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Events,
    Outcomes,
    Snapshots,
}

enum RunEnd<A: Aggregate> {
    Stopped,
    /// With the commands that were decided on top of the last commit, and never sent.
    WriterDied(Vec<Pending<A>>),
}

enum Settled<A: Aggregate> {
    Alive,
    Died(Vec<Pending<A>>),
}

/// What the loop waits for.
enum Wake<A: Aggregate> {
    Stop,
    Answer(CommitAnswer),
    Mail(Option<Submission<A>>),
    Commands(Result<ReadBatch, LogError>),
    Outcomes(Piece, Result<ReadBatch, LogError>),
    Ids(FilterRead),
}

struct ShardRun<'a, A: Aggregate> {
    shards: &'a AggregateShards<A>,
    cell: &'a AggregateCell<A>,
    partitions: Partitions,
    writer: Box<dyn Writer>,
    decider: Decider<A>,
    state: Arc<ShardState>,
    open: Batch<A>,
    in_flight: Option<InFlight<A>>,
    requeue: Vec<Pending<A>>,
    provenance: Provenance,
    landmarks: Landmarks,
    backlog: Option<Backlog>,
    backlog_read: Option<BoxFuture<'static, (Piece, Result<ReadBatch, LogError>)>>,
    /// Commands whose outcome may be in the backlog.
    parked: Vec<Pending<A>>,
    /// Whether a command of the topic waits for the backlog, and all behind it.
    is_topic_stalled: bool,
    events_next: Offset,
    outcomes_next: Offset,
    note: Note,
    filters: FilterWriting,
    commands_next: Offset,
    commands_read: Option<BoxFuture<'static, Result<ReadBatch, LogError>>>,
    sweep: Sweep,
}

/// Where the removal of old outcomes has come.
#[derive(Default)]
pub(super) struct Sweep {
    after: Option<Bytes>,
    next_at: Timestamp,
}

impl Sweep {
    /// The next outcomes to look at; `None` while it is too early for another sweep.
    pub(super) fn page(
        &mut self,
        state: &ShardState,
        now: Timestamp,
        options: &AppOptions,
    ) -> Result<Option<Vec<(Bytes, Bytes)>>, Stop> {
        if now < self.next_at {
            return Ok(None);
        }
        let mut keys = KeyRange::all();
        if let Some(after) = self.after.take() {
            keys.from = std::ops::Bound::Excluded(after);
        }
        let page = state.page(OUTCOMES, &keys, SWEEP_CHUNK).map_err(Stop::new)?;
        if page.rows.len() == SWEEP_CHUNK {
            self.after = page.rows.last().map(|(key, _)| key.clone());
        } else {
            let kept_ms = i64::try_from(options.outcomes_kept.as_millis()).unwrap_or(i64::MAX);
            self.next_at = now.plus_ms(kept_ms / SWEEPS);
        }
        Ok(Some(page.rows))
    }
}

impl<'a, A: Aggregate> ShardRun<'a, A> {
    fn new(
        shards: &'a AggregateShards<A>,
        shard: Partition,
        writer: Box<dyn Writer>,
        restored: Restored,
    ) -> Self {
        let partitions = shards.partitions(shard);
        let Restored {
            state,
            provenance,
            landmarks,
            events_next,
            outcomes_next,
            commands_next,
            note,
            backlog,
            ..
        } = restored;
        Self {
            cell: &shards.cells[shard.0 as usize],
            decider: shards.decider(&partitions),
            open: Batch::new(commands_next, note),
            filters: shards.filter_writing(note),
            shards,
            partitions,
            writer,
            state,
            in_flight: None,
            requeue: Vec::new(),
            provenance,
            landmarks,
            backlog,
            backlog_read: None,
            parked: Vec::new(),
            is_topic_stalled: false,
            events_next,
            outcomes_next,
            note,
            commands_next,
            commands_read: None,
            sweep: Sweep::default(),
        }
    }

    async fn run(
        &mut self,
        mailbox: &mut mpsc::Receiver<Submission<A>>,
        stop: &CancellationToken,
    ) -> Result<RunEnd<A>, Stop> {
        loop {
            for pending in std::mem::take(&mut self.requeue) {
                self.decide(pending)?;
            }
            self.drain(mailbox)?;
            if self.in_flight.is_none() && !self.open.is_idle() {
                self.add_snapshots().await?;
                self.sweep_outcomes()?;
                self.send_off();
                continue;
            }
            match self.wait(mailbox, stop).await {
                Wake::Stop => return self.finish().await,
                Wake::Mail(Some(mail)) => self.decide_mail(mail)?,
                Wake::Mail(None) => return self.finish().await,
                Wake::Commands(read) => self.take_commands(read, stop).await?,
                Wake::Outcomes(piece, read) => self.take_outcomes(piece, read, stop).await?,
                Wake::Ids(read) => self.take_ids(read),
                Wake::Answer(answer) => {
                    if let Settled::Died(undecided) = self.settle(answer).await? {
                        return Ok(RunEnd::WriterDied(undecided));
                    }
                }
            }
        }
    }

    fn drain(&mut self, mailbox: &mut mpsc::Receiver<Submission<A>>) -> Result<(), Stop> {
        while !self.open.is_full() {
            let Ok(mail) = mailbox.try_recv() else { break };
            self.decide_mail(mail)?;
        }
        Ok(())
    }

    async fn wait(
        &mut self,
        mailbox: &mut mpsc::Receiver<Submission<A>>,
        stop: &CancellationToken,
    ) -> Wake<A> {
        let roomy = !self.open.is_full();
        let reads_commands = roomy && !self.is_topic_stalled;
        if let Some(piece) = self.backlog.as_ref().and_then(Backlog::next) {
            let (shell, turns, from) = (&self.shards.shell, &self.shards.turns, &self.partitions.outcomes);
            let read = || super::backlog::read(shell.clone(), turns.clone(), from.clone(), piece);
            self.backlog_read.get_or_insert_with(|| Box::pin(read()));
        }
        let written = self.open.note.filters;
        let shell = &self.shards.shell;
        self.filters.begin_reading(shell, &self.partitions.outcomes, self.outcomes_next, written);
        let outcomes = answer_of(&mut self.backlog_read);
        let ids = answer_of(&mut self.filters.read);
        let commands = self.commands_read.get_or_insert_with(|| {
            let (log, at) = (self.shards.shell.log.clone(), self.partitions.commands.clone());
            let from = self.open.commands_next;
            Box::pin(async move { log.read(&at, from, COMMANDS, Wait::UntilMore).await })
        });
        let answered = async {
            match &mut self.in_flight {
                Some(in_flight) => (&mut in_flight.answer).await,
                None => std::future::pending().await,
            }
        };
        let wake = tokio::select! {
            biased;
            answer = answered => Wake::Answer(answer),
            () = stop.cancelled() => Wake::Stop,
            // Before the mailbox, which is emptied between any two pieces: it may never be empty here.
            (piece, read) = outcomes => Wake::Outcomes(piece, read),
            read = ids => Wake::Ids(read),
            mail = mailbox.recv(), if roomy => Wake::Mail(mail),
            read = commands, if reads_commands => Wake::Commands(read),
        };
        match &wake {
            Wake::Commands(_) => self.commands_read = None,
            Wake::Outcomes(..) => self.backlog_read = None,
            Wake::Ids(_) => self.filters.read = None,
            _ => {}
        }
        wake
    }

    fn decide_mail(&mut self, mail: Submission<A>) -> Result<(), Stop> {
        let Submission { incoming, ticket, reply } = mail;
        if reply.is_closed() || !ticket.take() {
            return Ok(());
        }
        self.decide(Pending { incoming, reply: Some(reply), attempts: 0 })
    }

    /// Whether a command may have an outcome that is not loaded yet.
    fn awaits_outcomes(&mut self, incoming: &Incoming<A>) -> Result<bool, Stop> {
        let Some(backlog) = self.backlog.as_mut().filter(|_| !crate::planted::blind_takeover()) else {
            return Ok(false);
        };
        let base =
            Base { in_flight: self.in_flight.as_ref().map(|batch| &batch.delta), committed: &*self.state };
        let was_wanted = backlog.is_wanted();
        let awaits = self
            .decider
            .awaits_outcomes(incoming, |id| backlog.wants(id), &mut self.open.decided, &base)
            .map_err(|e| Stop(format!("shard {}: {e}", self.partitions.events)))?;
        if awaits && !was_wanted {
            // It may wait for its turn, and what a command waits for does not.
            self.backlog_read = None;
        }
        Ok(awaits)
    }

    /// Keeps a command until its outcome is loaded, or known to be none.
    fn park(&mut self, pending: Pending<A>) {
        if self.parked.len() < BATCH_MAX {
            self.parked.push(pending);
        } else {
            pending.answer_moving(&self.partitions.events.topic, self.partitions.events.partition);
        }
    }

    fn decide(&mut self, mut pending: Pending<A>) -> Result<(), Stop> {
        if self.awaits_outcomes(&pending.incoming)? {
            self.park(pending);
            return Ok(());
        }
        let now = self.shards.shell.clock.now();
        let base =
            Base { in_flight: self.in_flight.as_ref().map(|batch| &batch.delta), committed: &*self.state };
        let verdict = self
            .decider
            .decide(&mut pending.incoming, now, &mut self.open.decided, &base)
            .map_err(|e| Stop(format!("shard {}: {e}", self.partitions.events)))?;
        self.open.verdicts.push((pending, verdict));
        Ok(())
    }

    async fn take_commands(
        &mut self,
        read: Result<ReadBatch, LogError>,
        stop: &CancellationToken,
    ) -> Result<(), Stop> {
        let batch = match read {
            Ok(batch) => batch,
            Err(error) => {
                return crate::runtime::shell::pause_after(error, &self.partitions.commands, stop).await;
            }
        };
        for stored in &batch.records {
            match command_of::<A>(stored) {
                Ok(incoming) if self.awaits_outcomes(&incoming)? => {
                    // The topic's order is kept: it goes on from here once more outcomes are loaded.
                    (self.is_topic_stalled, self.open.commands_next) = (true, stored.offset);
                    return Ok(());
                }
                Ok(incoming) => self.decide(Pending { incoming, reply: None, attempts: 0 })?,
                Err(reason) => tracing::error!(
                    partition = %self.partitions.commands, offset = %stored.offset, reason,
                    "a record of the commands topic is no command and is set aside"
                ),
            }
        }
        self.open.commands_next = batch.next;
        Ok(())
    }

    /// Takes a piece of the backlog into the state, and tries again what waited for it.
    async fn take_outcomes(
        &mut self,
        piece: Piece,
        read: Result<ReadBatch, LogError>,
        stop: &CancellationToken,
    ) -> Result<(), Stop> {
        let at = &self.partitions.outcomes;
        let Some(mut backlog) = self.backlog.take() else { return Ok(()) };
        let next = match read {
            Ok(batch) => {
                self.load_outcomes(&batch.records)?;
                batch.next
            }
            Err(error) => match error.kind() {
                // They have expired meanwhile.
                LogErrorKind::OutOfRange(bounds) if bounds.start > piece.from => bounds.start,
                _ => {
                    self.backlog = Some(backlog);
                    return crate::runtime::shell::pause_after(error, at, stop).await;
                }
            },
        };
        backlog.advance(piece, next);
        if !backlog.is_empty() {
            self.backlog = Some(backlog);
        }
        self.state.commit(Vec::new(), self.checkpoint());
        self.cell.set_has_all_outcomes(self.backlog.is_none());
        self.cell.cell.batch_committed();
        self.is_topic_stalled = false;
        self.requeue.append(&mut self.parked);
        Ok(())
    }

    /// Takes outcomes whose ids are in no filter yet, and adds their filter to the batch once there are enough.
    fn take_ids(&mut self, read: FilterRead) {
        let (now, written) = (self.shards.shell.clock.now(), self.open.note.filters);
        let Some((records, filters)) = self.filters.take(read, self.outcomes_next, written, now) else {
            return;
        };
        let append = |record| Append { to: self.partitions.snapshots.clone(), record };
        self.open.decided.appends.extend(records.into_iter().map(append));
        self.open.note.filters = Some(filters);
    }

    fn load_outcomes(&mut self, records: &[StoredRecord]) -> Result<(), Stop> {
        let now = self.shards.shell.clock.now();
        let mut loaded = Decided::default();
        let base = Base { in_flight: None, committed: &*self.state };
        for stored in records {
            self.decider
                .load_outcome(stored, now, &mut loaded, &base)
                .map_err(|e| Stop(format!("{} offset {}: {e}", self.partitions.outcomes, stored.offset)))?;
        }
        self.state.commit(loaded.delta.into_changes(), self.state.checkpoint().unwrap_or_default());
        Ok(())
    }

    /// Adds snapshots to the batch where the tail has grown too long.
    async fn add_snapshots(&mut self) -> Result<(), Stop> {
        let tail = self.note.tail;
        let distance = self.events_next.0.saturating_sub(tail.0);
        if distance <= self.shards.options.snapshot_distance {
            return Ok(());
        }
        let read = self.shards.shell.log.read(&self.partitions.events, tail, SNAPSHOT_CHUNK, Wait::No).await;
        let Ok(chunk) = read else { return Ok(()) };
        let now = self.shards.shell.clock.now();
        let base = Base { in_flight: None, committed: &*self.state };
        self.decider
            .snapshot(&chunk.records, now, &mut self.open.decided, &base)
            .map_err(|e| Stop(format!("shard {}: {e}", self.partitions.events)))?;
        self.open.note.tail = chunk.next;
        Ok(())
    }

    /// Removes outcomes that have been kept long enough, a piece of the table with each batch.
    fn sweep_outcomes(&mut self) -> Result<(), Stop> {
        let now = self.shards.shell.clock.now();
        let Some(rows) = self.sweep.page(&self.state, now, &self.shards.options)? else { return Ok(()) };
        for (key, row) in &rows {
            self.decider.expire(key, row, now, &mut self.open.decided);
        }
        Ok(())
    }

    /// Hands the open batch to the log; one without records is settled at once.
    fn send_off(&mut self) {
        let next = Batch::new(self.open.commands_next, self.open.note);
        let batch = std::mem::replace(&mut self.open, next);
        let Decided { appends, delta } = batch.decided;
        let target = |to: &TopicPartition| match to {
            to if *to == self.partitions.events => Target::Events,
            to if *to == self.partitions.outcomes => Target::Outcomes,
            _ => Target::Snapshots,
        };
        let targets: Vec<Target> = appends.iter().map(|append| target(&append.to)).collect();
        let marks = [Target::Events, Target::Outcomes].map(|wanted| {
            let last = targets.iter().rposition(|target| *target == wanted)?;
            Some(Mark::of(&appends[last].record))
        });
        let answer: BoxFuture<'static, CommitAnswer> = if appends.is_empty()
            && batch.commands_next == self.commands_next
        {
            Box::pin(std::future::ready(Ok(Vec::new())))
        } else {
            let positions = Position::from_iter([(self.partitions.commands.clone(), batch.commands_next)]);
            let note = batch.note.encode();
            self.shards.shell.commit(&mut *self.writer, Transaction { appends, positions, note })
        };
        self.in_flight = Some(InFlight {
            delta,
            verdicts: batch.verdicts,
            targets,
            marks,
            commands_next: batch.commands_next,
            note: batch.note,
            answer,
        });
    }

    /// Takes the log's answer to the batch in flight.
    async fn settle(&mut self, answer: CommitAnswer) -> Result<Settled<A>, Stop> {
        let batch = self.in_flight.take().expect("only a batch in flight is answered");
        match answer {
            Ok(offsets) => {
                self.apply(batch, &offsets);
                self.shards.shell.room().await;
                Ok(Settled::Alive)
            }
            Err(CommitError::NotWritten { retry, error }) => {
                let is_cut_off = self.shards.shell.log.cut_off().is_some();
                self.refused(batch, retry && !is_cut_off, &error);
                match error.kind() {
                    // What was acknowledged is gone: nobody decides on.
                    LogErrorKind::Corrupt => return Err(Stop::new(error)),
                    // Commands of the topic come again at once, and would be refused as fast as they come.
                    _ if is_cut_off => tokio::time::sleep(REST).await,
                    _ => {}
                }
                Ok(Settled::Alive)
            }
            Err(dead) => {
                let cause = dead.source().map(ToString::to_string);
                tracing::warn!(shard = %self.partitions.events, error = %dead, cause, "a shard's writer died");
                Ok(Settled::Died(self.died(batch, &dead)))
            }
        }
    }

    fn apply(&mut self, batch: InFlight<A>, offsets: &[Offset]) {
        for (offset, target) in offsets.iter().zip(&batch.targets) {
            match target {
                Target::Events => self.events_next = self.events_next.max(offset.next()),
                Target::Outcomes => self.outcomes_next = self.outcomes_next.max(offset.next()),
                Target::Snapshots => {}
            }
        }
        let lasts =
            [(&self.partitions.events, self.events_next), (&self.partitions.outcomes, self.outcomes_next)];
        for ((at, next), mark) in lasts.into_iter().zip(batch.marks) {
            if let Some((mark, last)) = mark.zip(next.0.checked_sub(1)) {
                self.landmarks.set(&at.topic, Offset(last), mark);
            }
        }
        self.commands_next = batch.commands_next;
        self.note = batch.note;
        if !batch.delta.is_empty() {
            self.state.commit(batch.delta.into_changes(), self.checkpoint());
        }
        self.cell.cell.set_committed(self.events_next);
        self.cell.cell.set_end_seen(self.events_next);
        self.cell.cell.batch_committed();
        for (pending, verdict) in batch.verdicts {
            pending.answer(self.answer(verdict));
        }
    }

    fn checkpoint(&self) -> Checkpoint {
        let outcomes_next = self.backlog.as_ref().map_or(self.outcomes_next, Backlog::loaded_to);
        let note = self.provenance.note(true, &self.landmarks);
        checkpoint(&self.partitions, note, self.events_next, outcomes_next)
    }

    fn answer(&self, verdict: Verdict<A>) -> Result<Outcome<A>, SendError> {
        match verdict {
            Verdict::Accepted(version) => Ok(Outcome::Accepted(self.receipt(version))),
            Verdict::Rejected(rejection) => Ok(Outcome::Rejected(rejection)),
            Verdict::Refused(refusal) => Err(refusal),
        }
    }

    fn receipt(&self, version: Version) -> Receipt {
        Receipt {
            version,
            log: self.shards.shell.log.id(),
            topic_id: self.shards.topics.events.id,
            topic: self.partitions.events.topic.clone(),
            partition: self.partitions.events.partition,
            next: self.events_next,
        }
    }

    /// Nothing of the batch was written: its commands, and those decided on top of it, are decided again or refused.
    fn refused(&mut self, batch: InFlight<A>, retry: bool, error: &LogError) {
        tracing::warn!(shard = %self.partitions.events, %error, retry, "the log refused a batch");
        let retry = retry && error.kind() != LogErrorKind::Full;
        self.decider.forget_undecided();
        self.filters = self.shards.filter_writing(self.note);
        let open = std::mem::replace(&mut self.open, Batch::new(self.commands_next, self.note));
        self.commands_read = None;
        for (mut pending, _) in batch.verdicts.into_iter().chain(open.verdicts) {
            pending.attempts += 1;
            if pending.incoming.appended.is_some() {
                continue;
            }
            if retry && pending.attempts < ATTEMPTS {
                self.requeue.push(pending);
            } else {
                pending.answer(Err(SendError::not_written(error)));
            }
        }
    }

    /// The batch may be written or not, or is known not to be: its callers are told so. Those of the batch on top, which
    /// was never sent, are handed back to be decided again, unless the log is known to take nothing now.
    fn died(&mut self, batch: InFlight<A>, dead: &CommitError) -> Vec<Pending<A>> {
        for (pending, _) in batch.verdicts {
            let unknown = pending.incoming.command_id.clone();
            pending.answer(match dead {
                CommitError::Abandoned(error) => Err(SendError::not_written(error)),
                _ => Ok(Outcome::Unknown(unknown)),
            });
        }
        let open = std::mem::replace(&mut self.open, Batch::new(self.commands_next, self.note));
        let direct = |(pending, _): (Pending<A>, _)| pending.incoming.appended.is_none().then_some(pending);
        let undecided = open.verdicts.into_iter().filter_map(direct);
        let Some(cut_off) = self.shards.shell.log.cut_off() else { return undecided.collect() };
        undecided.for_each(|pending| pending.answer(Err(SendError::not_written(&cut_off))));
        Vec::new()
    }

    /// Commits what is decided and ends.
    async fn finish(&mut self) -> Result<RunEnd<A>, Stop> {
        for _ in 0..2 * ATTEMPTS {
            if self.in_flight.is_none() {
                for pending in std::mem::take(&mut self.requeue) {
                    self.decide(pending)?;
                }
                if self.open.is_idle() {
                    return Ok(RunEnd::Stopped);
                }
                self.send_off();
            }
            let in_flight = self.in_flight.as_mut().expect("a batch was sent off");
            let answer = (&mut in_flight.answer).await;
            if let Settled::Died(undecided) = self.settle(answer).await? {
                return Ok(RunEnd::WriterDied(undecided));
            }
        }
        Ok(RunEnd::Stopped)
    }
}

/// What is being read, if anything is.
async fn answer_of<T>(read: &mut Option<BoxFuture<'static, T>>) -> T {
    match read {
        Some(read) => read.await,
        None => std::future::pending().await,
    }
}

/// The checkpoint of a shard whose state includes events and outcomes up to these offsets.
pub(super) fn checkpoint(
    partitions: &Partitions,
    note: Bytes,
    events_next: Offset,
    outcomes_next: Offset,
) -> Checkpoint {
    let position = Position::from_iter([
        (partitions.events.clone(), events_next),
        (partitions.outcomes.clone(), outcomes_next),
    ]);
    Checkpoint { position, note }
}

/// Reads a record of the commands topic.
fn command_of<A: Aggregate>(stored: &StoredRecord) -> Result<Incoming<A>, String> {
    let record = &stored.record;
    let headers = &record.headers;
    let key = record.key.as_deref().ok_or("it has no key")?;
    let id = headwater_core::key::decode_text(key).map_err(|e| e.to_string())?;
    let payload = record.value.clone().ok_or("it has no value")?;
    let command_id = headers.get_str("hw_command_id").ok_or("it has no hw_command_id header")?;
    let command_id = CommandId::new(command_id).map_err(|e| e.to_string())?;
    let text = |name: &str| headers.get_str(name).map(str::to_owned);
    let origin = Origin {
        correlation_id: text("ce_correlationid"),
        causation_id: text("ce_causationid"),
        traceparent: text("traceparent"),
        sender: text("hw_reply_to"),
    };
    let expected = header_number(headers, crate::event::name::EXPECTED_VERSION).map(Version);
    Ok(Incoming {
        id,
        payload,
        command: None,
        command_id,
        expected,
        origin,
        appended: Some(record.timestamp),
    })
}
