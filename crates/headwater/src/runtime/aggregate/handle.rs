//! What callers use of a kind of aggregate that runs.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_core::BoxFuture;
use headwater_core::clock::Clock;
use headwater_core::key::{ordered, partition_text, text};
use headwater_core::log::{AppendError, Log, LogId};
use headwater_core::partitioner::partition_of;
use headwater_core::record::{Append, Record};
use headwater_core::topic::Partition;
use tokio::sync::{mpsc::error::TrySendError, oneshot};

use super::{AggregateCell, Submission, Ticket, Topics};
use crate::aggregate::Aggregate;
use crate::command::{CommandId, Origin, Outcome, Receipt, SendError, Version};
use crate::engine::decide::{Incoming, OUTCOMES, STATES, read_state};
use crate::engine::outcome::{OutcomeRow, Verdict};
use crate::runtime::cell::Phase;
use crate::runtime::instances::Routes;
use crate::runtime::observe::CommandMetrics;
use crate::runtime::start::Starting;

/// When a caller whom a full mailbox refused should come again.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// When a caller whose shard is moving should come again.
pub(super) const RETRY_MOVED_AFTER: Duration = Duration::from_secs(1);
/// How long a caller waits for a shard that is starting or moving.
pub(super) const WAIT_FOR_SHARD: Duration = Duration::from_secs(5);
/// How long a command may take, from its arrival at its shard to its answer.
pub(super) const COMMAND_WITHIN: Duration = Duration::from_secs(15);
/// How often a caller that waits is looked after: one whose command nobody has taken yet need not wait for a log that is
/// known to take nothing.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) struct AggregateHandle<A: Aggregate> {
    topology: String,
    log: Arc<dyn Log>,
    log_id: LogId,
    clock: Arc<dyn Clock>,
    topics: Topics,
    cells: Arc<[AggregateCell<A>]>,
    runs_here: bool,
    pub(super) routes: Option<Arc<Routes>>,
    command_bytes_max: usize,
    metrics: CommandMetrics,
}

impl<A: Aggregate> AggregateHandle<A> {
    pub(crate) fn new(
        starting: &Starting,
        topics: Topics,
        cells: Arc<[AggregateCell<A>]>,
        runs_here: bool,
    ) -> Self {
        Self {
            topology: format!("{}.{}", starting.app, A::NAME),
            log: starting.shell.log.clone(),
            log_id: starting.shell.log.id(),
            clock: starting.shell.clock.clone(),
            topics,
            cells,
            runs_here,
            routes: starting.routes.clone(),
            command_bytes_max: starting.options.command_bytes_max,
            metrics: CommandMetrics::new(A::NAME),
        }
    }

    pub(super) fn cell(&self, id: &A::Id) -> Result<&AggregateCell<A>, SendError> {
        let part = partition_text(id).map_err(|e| SendError::Invalid(e.to_string()))?;
        let shard = partition_of(&part, self.cells.len() as u32);
        Ok(&self.cells[shard.0 as usize])
    }

    pub(super) fn not_running(&self, shard: Partition, reason: impl Into<String>) -> SendError {
        SendError::NotRunning { topology: self.topology.clone(), shard, reason: reason.into() }
    }

    pub(super) fn moving(&self, shard: Partition) -> SendError {
        SendError::Moving { topology: self.topology.clone(), shard, retry_after: RETRY_MOVED_AFTER }
    }

    /// Waits until the shard runs.
    async fn running(&self, cell: &AggregateCell<A>) -> Result<(), SendError> {
        if !self.runs_here {
            return Err(
                self.not_running(cell.shard(), "this instance does not run it, and knows of no other")
            );
        }
        let mut phase = cell.cell.watch_phase();
        let settled = phase.wait_for(|phase| matches!(phase, Phase::Running | Phase::Stopped { .. }));
        match tokio::time::timeout(WAIT_FOR_SHARD, settled).await {
            Ok(Ok(phase)) => match &*phase {
                Phase::Stopped { reason } => Err(self.not_running(cell.shard(), reason.clone())),
                _ => Ok(()),
            },
            Ok(Err(_)) => Err(self.not_running(cell.shard(), "it is shutting down")),
            Err(_) => {
                let why = cell.cell.hindrance().unwrap_or_else(|| "it is still being restored".to_owned());
                Err(self.not_running(cell.shard(), format!("{why}: try again")))
            }
        }
    }

    /// Hands a command to the shard that runs here, and waits for its answer.
    pub(super) async fn submit_here(
        &self,
        incoming: Incoming<A>,
        deadline: tokio::time::Instant,
    ) -> Result<Outcome<A>, SendError> {
        let cell = self.cell(&incoming.id)?;
        if let Some(cut_off) = self.cut_off() {
            return Err(cut_off);
        }
        if cell.cell.phase() != Phase::Running {
            self.running(cell).await?;
        }
        let Some(mailbox) = cell.mailbox() else { return Err(self.moving(cell.shard())) };
        let command_id = incoming.command_id.clone();
        let ticket = Arc::new(Ticket::default());
        let (reply, mut answer) = oneshot::channel();
        match mailbox.try_send(Submission { incoming, ticket: ticket.clone(), reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(SendError::Overloaded {
                    topology: self.topology.clone(),
                    shard: cell.shard(),
                    retry_after: RETRY_AFTER,
                });
            }
            Err(TrySendError::Closed(_)) => return Err(self.moving(cell.shard())),
        }
        loop {
            let look = deadline.min(tokio::time::Instant::now() + LOOK);
            return match tokio::time::timeout_at(look, &mut answer).await {
                Ok(Ok(answer)) => answer,
                // Only what was never taken to be decided is known not to have been written.
                Ok(Err(_)) if ticket.withdraw() => Err(self.moving(cell.shard())),
                Err(_) if look < deadline => match self.cut_off() {
                    Some(cut_off) if ticket.withdraw() => Err(cut_off),
                    _ => continue,
                },
                Err(_) if ticket.withdraw() => Err(SendError::Unavailable(format!(
                    "shard {} of {} took no commands for {} s",
                    cell.shard(),
                    self.topology,
                    COMMAND_WITHIN.as_secs()
                ))),
                Ok(Err(_)) | Err(_) => Ok(Outcome::Unknown(command_id)),
            };
        }
    }

    /// The refusal of whatever the log is known not to take now.
    pub(super) fn cut_off(&self) -> Option<SendError> {
        self.log.cut_off().map(|error| SendError::not_written(&error))
    }

    async fn enqueue(&self, incoming: Incoming<A>) -> Result<(), SendError> {
        let invalid = |e: headwater_core::key::KeyError| SendError::Invalid(e.to_string());
        ordered(&(&incoming.id, &incoming.command_id)).map_err(invalid)?;
        let key = text(&incoming.id).map_err(invalid)?;
        let to = self.topics.commands.name.partition(self.cell(&incoming.id)?.shard().0);
        let mut headers = headwater_core::header::Headers::builder();
        headers.add("hw_command_id", Some(incoming.command_id.as_str().as_bytes()));
        if let Some(expected) = incoming.expected {
            headers.add("hw_expected_version", Some(expected.to_string().as_bytes()));
        }
        let origin = &incoming.origin;
        let parts = [
            ("ce_correlationid", &origin.correlation_id),
            ("ce_causationid", &origin.causation_id),
            ("traceparent", &origin.traceparent),
            ("hw_reply_to", &origin.sender),
        ];
        for (name, value) in parts.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            headers.add(name, Some(value.as_bytes()));
        }
        let record = Record {
            key: Some(key),
            value: Some(incoming.payload),
            headers: headers.build(),
            timestamp: self.clock.now(),
        };
        match self.log.append(vec![Append { to, record }]).await {
            Ok(_) => Ok(()),
            Err(AppendError::NotWritten(error)) => Err(SendError::not_written(&error)),
            Err(AppendError::Unknown(error)) => {
                Err(SendError::Unavailable(format!("it may be written, and be executed yet: {error}")))
            }
        }
    }

    /// The outcome kept for a command; `None` if there is none yet.
    pub(crate) fn kept(&self, id: &A::Id, command_id: &CommandId) -> Result<Option<Outcome<A>>, SendError> {
        let cell = self.cell(id)?;
        let Some(state) = cell.cell.state() else {
            return Err(self.not_running(cell.shard(), "its state is not open yet: try again"));
        };
        let key = ordered(&(id, command_id)).map_err(|e| SendError::Invalid(e.to_string()))?;
        let unreadable = |e: &dyn std::fmt::Display| self.not_running(cell.shard(), e.to_string());
        let Some(row) = state.get(OUTCOMES, &key).map_err(|e| unreadable(&e))? else { return Ok(None) };
        let row = OutcomeRow::decode(&row).map_err(|e| unreadable(&e))?;
        match row.kept.verdict::<A>(command_id) {
            Verdict::Accepted(version) => Ok(Some(Outcome::Accepted(self.receipt(cell, version)))),
            Verdict::Rejected(rejection) => Ok(Some(Outcome::Rejected(rejection))),
            Verdict::Refused(refusal) => Err(refusal),
        }
    }

    fn receipt(&self, cell: &AggregateCell<A>, version: Version) -> Receipt {
        Receipt {
            version,
            log: self.log_id,
            topic_id: self.topics.events.id,
            topic: self.topics.events.name.clone(),
            partition: cell.shard(),
            next: cell.cell.committed(),
        }
    }

    pub(super) async fn outcome_here(
        &self,
        id: &A::Id,
        command_id: &CommandId,
        within: Duration,
    ) -> Result<Option<Outcome<A>>, SendError> {
        let cell = self.cell(id)?;
        self.running(cell).await?;
        let mut batches = cell.cell.watch_batches();
        let deadline = tokio::time::Instant::now() + within;
        loop {
            batches.mark_unchanged();
            if let Some(outcome) = self.kept(id, command_id)? {
                return Ok(Some(outcome));
            }
            if tokio::time::timeout_at(deadline, batches.changed()).await.is_ok() {
                continue;
            }
            if cell.has_all_outcomes() {
                return Ok(None);
            }
            return Err(self.not_running(cell.shard(), "its outcomes are still being loaded: try again"));
        }
    }

    /// The row of an aggregate's committed state; `None` if it has no events.
    pub(super) async fn row_here(&self, id: &A::Id) -> Result<Option<Bytes>, SendError> {
        let cell = self.cell(id)?;
        if cell.cell.phase() != Phase::Running {
            self.running(cell).await?;
        }
        let Some(state) = cell.cell.state() else {
            return Err(self.not_running(cell.shard(), "its state is not open yet: try again"));
        };
        let key = ordered(id).map_err(|e| SendError::Invalid(e.to_string()))?;
        state.get(STATES, &key).map_err(|e| self.not_running(cell.shard(), e.to_string()))
    }

    /// The committed state of an aggregate, with its version; the default at version 0 if it has no events.
    pub(crate) async fn state(&self, id: &A::Id) -> Result<(Version, A), SendError> {
        match self.row(id).await? {
            None => Ok((Version(0), A::default())),
            Some(row) => read_state(&row).map_err(|e| {
                let shard = self.cell(id).map(AggregateCell::shard).unwrap_or(Partition(0));
                self.not_running(shard, e.to_string())
            }),
        }
    }
}

/// A command about to be sent; awaiting it sends it.
#[must_use = "a command is sent when it is awaited"]
pub struct Send<A: Aggregate> {
    handle: Arc<AggregateHandle<A>>,
    incoming: Incoming<A>,
    encoded: Result<(), String>,
}

impl<A: Aggregate> Send<A> {
    pub(crate) fn new(handle: Arc<AggregateHandle<A>>, id: &A::Id, command: A::Command) -> Self {
        let encoded = serde_json::to_vec(&command);
        let (payload, encoded) = match encoded {
            Ok(payload) => (Bytes::from(payload), Ok(())),
            Err(e) => (Bytes::new(), Err(e.to_string())),
        };
        let incoming = Incoming {
            id: id.clone(),
            payload,
            command: Some(command),
            command_id: CommandId::random(),
            expected: None,
            origin: Origin::default(),
            appended: None,
        };
        Self { handle, incoming, encoded }
    }

    /// Sends it under this id: sent again under it, it has the same outcome and no second effect.
    ///
    /// Whoever gets no answer, or [`Unknown`](Outcome::Unknown), sends the same command again under the same id. Another
    /// command under it is refused as [`IdConflict`](SendError::IdConflict).
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Clone, Default, Serialize, Deserialize)] struct Account { pence: u64 }
    /// # #[derive(Serialize, Deserialize)] enum Command { PayIn(u64) }
    /// # #[derive(Debug, Serialize, Deserialize)] enum Event { PaidIn(u64) }
    /// # #[derive(Debug, Serialize, Deserialize)] enum Rejection { Nothing }
    /// # impl Aggregate for Account {
    /// #     const NAME: &'static str = "account";
    /// #     type Id = String; type Command = Command; type Event = Event; type Rejection = Rejection;
    /// #     fn decide(&self, Command::PayIn(pence): Command, _: &Context) -> Result<Vec<Event>, Rejection> {
    /// #         if pence == 0 { Err(Rejection::Nothing) } else { Ok(vec![Event::PaidIn(pence)]) }
    /// #     }
    /// #     fn evolve(&mut self, Event::PaidIn(pence): &Event) { self.pence += pence; }
    /// # }
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use headwater::config::{Config, LogChoice};
    /// # let config = Config { log: LogChoice::Memory, ..Config::default() };
    /// # let mut app = App::new("bank");
    /// # let accounts = app.aggregate::<Account>();
    /// # let bank = Headwater::open(&config).await?.start(app).await?;
    /// let (ada, id) = ("ada".to_owned(), CommandId::new("transfer-4711")?);
    /// let pay_in = || bank.send(&accounts, &ada, Command::PayIn(500)).command_id(id.clone());
    /// let receipt = pay_in().await?.accepted().ok_or("refused")?;
    /// let again = pay_in().await?.accepted().ok_or("refused")?;
    /// assert_eq!(again.version, receipt.version);
    /// assert_eq!(bank.state(&accounts, &ada).await?.1.pence, 500, "it took effect once");
    /// # Ok(()) }
    /// ```
    pub fn command_id(mut self, id: CommandId) -> Self {
        self.incoming.command_id = id;
        self
    }

    /// Refuses it unless the aggregate has this version when it is decided.
    pub fn expect_version(mut self, version: u64) -> Self {
        self.incoming.expected = Some(Version(version));
        self
    }

    /// Says where it comes from; its events carry that.
    pub fn origin(mut self, origin: Origin) -> Self {
        self.incoming.origin = origin;
        self
    }

    /// Sends it by the commands topic: it waits there for whoever owns the aggregate, and is answered by its outcome.
    ///
    /// # Errors
    ///
    /// [`SendError::Unavailable`] if the log did not take it, or may not have: send it again under the same id.
    pub async fn by_topic(self) -> Result<CommandId, SendError> {
        self.check()?;
        let command_id = self.incoming.command_id.clone();
        self.handle.enqueue(self.incoming).await?;
        Ok(command_id)
    }

    fn check(&self) -> Result<(), SendError> {
        let invalid = |reason: String| Err(SendError::Invalid(reason));
        if let Err(reason) = &self.encoded {
            return invalid(format!("its payload cannot be encoded: {reason}"));
        }
        let (bytes, max) = (self.incoming.payload.len(), self.handle.command_bytes_max);
        if bytes > max {
            return invalid(format!("its payload has {bytes} bytes; a command may have {max} at most"));
        }
        Ok(())
    }
}

impl<A: Aggregate> IntoFuture for Send<A> {
    type Output = Result<Outcome<A>, SendError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.check()?;
            let since = Instant::now();
            let answer = self.handle.submit(self.incoming).await;
            self.handle.metrics.answered(since, &answer);
            answer
        })
    }
}

/// Asking for a command's outcome; awaiting it asks.
#[must_use = "an outcome is asked for when this is awaited"]
pub struct OutcomeQuery<A: Aggregate> {
    handle: Arc<AggregateHandle<A>>,
    id: A::Id,
    command_id: CommandId,
    within: Duration,
}

impl<A: Aggregate> OutcomeQuery<A> {
    pub(crate) fn new(handle: Arc<AggregateHandle<A>>, id: &A::Id, command_id: &CommandId) -> Self {
        Self { handle, id: id.clone(), command_id: command_id.clone(), within: Duration::ZERO }
    }

    /// Waits this long for an outcome that is not there yet.
    pub fn within(mut self, wait: Duration) -> Self {
        self.within = wait;
        self
    }
}

impl<A: Aggregate> IntoFuture for OutcomeQuery<A> {
    type Output = Result<Option<Outcome<A>>, SendError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.handle.outcome(&self.id, &self.command_id, self.within).await })
    }
}
