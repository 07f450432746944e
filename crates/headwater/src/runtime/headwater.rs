//! A log with its stores, opened once per process, and the apps that run on it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use headwater_core::clock::{Clock, SystemClock};
use headwater_core::key::Key;
use headwater_core::log::{Log, LogError, LogId};
use headwater_core::store::StateStores;
use headwater_core::topic::{TopicId, TopicName};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::aggregate::{AggregateHandle, OutcomeQuery, Send};
use super::cell::Phase;
use super::observe::{LogDamage, LogMetrics, LogSize};
use super::shell::Shell;
use super::start::{Parts, StartError, StartedApp, Starting, trouble};
use super::view::{QueryError, ViewQuery};
use crate::aggregate::Aggregate;
use crate::app::{Aggregates, App, View};
use crate::command::{CommandId, Receipt, SendError, Version};
#[cfg(feature = "kafka")]
use crate::log::embedded::directory::Directory;
use crate::store::{Flusher, FlusherOptions};
use crate::topics::Place;

/// Stores of state, however they are kept.
pub type Stores = Arc<dyn StateStores>;

/// A log and the state beside it, on which apps are started.
#[derive(Clone)]
pub struct Headwater {
    shell: Shell,
    stores: Stores,
    apps: Arc<Mutex<HashSet<String>>>,
}

impl Headwater {
    /// Runs on this log and these stores.
    pub fn on(log: Arc<dyn Log>, stores: Stores) -> Self {
        Self::with_clock(log, stores, Arc::new(SystemClock))
    }

    /// The same with a clock of the caller's.
    ///
    /// # Panics
    ///
    /// If the operating system gives no thread for flushing.
    pub fn with_clock(log: Arc<dyn Log>, stores: Stores, clock: Arc<dyn Clock>) -> Self {
        Self::observed(log, stores, clock, "custom", None)
    }

    /// The same without a thread: state is flushed on the caller's, at a stop or when it is asked for, so that a
    /// simulation repeats.
    #[cfg(feature = "testing")]
    pub fn by_hand(log: Arc<dyn Log>, stores: Stores, clock: Arc<dyn Clock>) -> Self {
        let on_flush = Box::new(super::observe::flushed);
        let flusher = Flusher::by_hand(FlusherOptions::default(), clock.clone(), on_flush);
        Self::flushed_by(flusher, log, stores, clock, "custom", None)
    }

    /// The same with the log's name and size for metrics.
    pub(super) fn observed(
        log: Arc<dyn Log>,
        stores: Stores,
        clock: Arc<dyn Clock>,
        log_name: &'static str,
        log_size: Option<LogSize>,
    ) -> Self {
        let on_flush = Box::new(super::observe::flushed);
        let flusher = Flusher::start(FlusherOptions::default(), clock.clone(), on_flush)
            .expect("the operating system gives a thread");
        Self::flushed_by(flusher, log, stores, clock, log_name, log_size)
    }

    fn flushed_by(
        flusher: Flusher,
        log: Arc<dyn Log>,
        stores: Stores,
        clock: Arc<dyn Clock>,
        log_name: &'static str,
        log_size: Option<LogSize>,
    ) -> Self {
        let log_metrics = LogMetrics::new(log_name);
        let shell = Shell {
            log,
            clock,
            flusher: Arc::new(flusher),
            log_metrics,
            log_size,
            log_damage: None,
            place: Place::default(),
            _held: None,
        };
        Self { shell, stores, apps: Arc::default() }
    }

    /// The same with a log that tells what is damaged.
    pub(super) fn checked(mut self, damage: LogDamage) -> Self {
        self.shell.log_damage = Some(damage);
        self
    }

    /// The same, holding a data directory for as long as anything runs.
    #[cfg(feature = "kafka")]
    pub(super) fn holding(mut self, directory: Directory) -> Self {
        self.shell._held = Some(Arc::new(directory));
        self
    }

    /// The same with the place where an operator mends what a start refuses.
    pub(super) fn placed(mut self, place: Place) -> Self {
        self.shell.place = place;
        self
    }

    /// Starts an app, all of it.
    ///
    /// # Errors
    ///
    /// [`StartError`]: nothing of the app runs then.
    pub async fn start(&self, app: App) -> Result<Running, StartError> {
        self.start_parts(app, Parts::ALL).await
    }

    /// Starts the parts of an app that this instance is to run.
    ///
    /// # Errors
    ///
    /// [`StartError`]: nothing of the app runs then.
    pub async fn start_parts(&self, app: App, parts: Parts) -> Result<Running, StartError> {
        app.check()?;
        if !self.apps.lock().insert(app.name().to_owned()) {
            return Err(StartError::AlreadyRunning(app.name().to_owned()));
        }
        let starting = Starting::new(&app, self.shell.clone(), self.stores.clone());
        match starting.start(&app, parts).await {
            Ok(started) => Ok(Running { app: Arc::new(started), apps: self.apps.clone() }),
            Err(error) => {
                self.apps.lock().remove(app.name());
                Err(error)
            }
        }
    }
}

/// An app that runs.
///
/// Cheap to clone. Dropping every clone does not stop it: [`stop`](Running::stop) does.
#[derive(Clone)]
pub struct Running {
    app: Arc<StartedApp>,
    apps: Arc<Mutex<HashSet<String>>>,
}

/// What one topology is doing.
#[derive(Debug, Clone, Serialize)]
pub struct TopologyReport {
    /// Its name, with its version from the second on.
    pub name: String,
    /// Its shards, in order.
    pub shards: Vec<ShardStatus>,
    /// Bytes of its store.
    pub state_bytes: u64,
}

/// What one shard is doing.
#[derive(Debug, Clone, Serialize)]
pub struct ShardStatus {
    /// Its phase.
    #[serde(flatten)]
    pub phase: Phase,
    /// Records of its source that it has not processed, as of its last read.
    pub lag_records: u64,
    /// The next offset of its source that it will process.
    pub next: u64,
}

impl Running {
    /// The app's name.
    pub fn name(&self) -> &str {
        &self.app.name
    }

    /// The log that it runs on; positions mean nothing on another.
    pub fn log_id(&self) -> LogId {
        self.app.shell.log.id()
    }

    fn handle<A: Aggregate>(&self, _: &Aggregates<A>) -> Option<Arc<AggregateHandle<A>>> {
        self.app.aggregates.get(A::NAME)?.clone().downcast().ok()
    }

    /// Sends a command to an aggregate.
    ///
    /// # Panics
    ///
    /// If this instance does not run the aggregate.
    pub fn send<A: Aggregate>(&self, aggregates: &Aggregates<A>, id: &A::Id, command: A::Command) -> Send<A> {
        let handle = self.handle(aggregates).expect("this instance runs the aggregate that it sends to");
        Send::new(handle, id, command)
    }

    /// Asks for the outcome of a command.
    ///
    /// # Panics
    ///
    /// If this instance does not run the aggregate.
    pub fn outcome<A: Aggregate>(
        &self,
        aggregates: &Aggregates<A>,
        id: &A::Id,
        command: &CommandId,
    ) -> OutcomeQuery<A> {
        let handle = self.handle(aggregates).expect("this instance runs the aggregate that it asks");
        OutcomeQuery::new(handle, id, command)
    }

    /// The committed state of an aggregate with its version; the default at version 0 if it has no events.
    ///
    /// # Errors
    ///
    /// [`SendError::NotRunning`].
    ///
    /// # Panics
    ///
    /// If this instance does not run the aggregate.
    pub async fn state<A: Aggregate>(
        &self,
        aggregates: &Aggregates<A>,
        id: &A::Id,
    ) -> Result<(Version, A), SendError> {
        let handle = self.handle(aggregates).expect("this instance runs the aggregate that it reads");
        handle.state(id).await
    }

    /// Asks a view.
    ///
    /// # Errors
    ///
    /// [`QueryError::NotHere`] if this instance does not run it.
    pub fn view<K: Key, S>(&self, view: &View<K, S>) -> Result<ViewQuery<K, S>, QueryError>
    where
        S: Serialize + DeserializeOwned + std::marker::Send + 'static,
    {
        let state = self.app.views.get(&view.name).ok_or_else(|| QueryError::NotHere(view.name.clone()))?;
        Ok(ViewQuery::new(self.app.clone(), state.clone(), view.lineage.clone(), view.route.clone()))
    }

    /// What each topology is doing.
    pub fn report(&self) -> Vec<TopologyReport> {
        let shard = |cell: &Arc<super::cell::ShardCell>| ShardStatus {
            phase: cell.phase(),
            lag_records: cell.end_seen().0.saturating_sub(cell.committed().0),
            next: cell.committed().0,
        };
        let report = |topology: &super::start::TopologyStatus| TopologyReport {
            name: topology.name.clone(),
            shards: topology.cells.iter().map(shard).collect(),
            state_bytes: topology.store.as_ref().map_or(0, |store| store.size_bytes()),
        };
        self.app.topologies.iter().map(report).collect()
    }

    /// What keeps the app from being ready: one line per topology that does not run whole; empty when it is ready.
    pub fn troubles(&self) -> Vec<String> {
        let of = |topology: &super::start::TopologyStatus| {
            let troubles: Vec<_> = topology.cells.iter().filter_map(|cell| trouble(cell)).collect();
            (!troubles.is_empty()).then(|| format!("{}: {}", topology.name, troubles.join("; ")))
        };
        self.app.topologies.iter().filter_map(of).collect()
    }

    /// Records of the log that were found damaged: one line for each place; empty as long as none is.
    ///
    /// They are never served. What was made of them before they were damaged goes on to be.
    pub fn log_damage(&self) -> Vec<String> {
        self.app.shell.log_damage.as_ref().map(|damage| damage()).unwrap_or_default()
    }

    /// Waits until every shard runs.
    ///
    /// # Errors
    ///
    /// What is in the way, when `within` has passed or a shard has stopped.
    pub async fn ready(&self, within: Duration) -> Result<(), Vec<String>> {
        let settled = async {
            for cell in self.app.topologies.iter().flat_map(|topology| topology.cells.iter()) {
                let mut phase = cell.watch_phase();
                let _ = phase.wait_for(|phase| matches!(phase, Phase::Running | Phase::Stopped { .. })).await;
            }
        };
        let _ = tokio::time::timeout(within, settled).await;
        let troubles = self.troubles();
        if troubles.is_empty() { Ok(()) } else { Err(troubles) }
    }

    /// Flushes every shard's state now, on this thread: for tests that drive flushes by hand.
    ///
    /// # Panics
    ///
    /// If a store refuses.
    #[cfg(feature = "testing")]
    pub fn flush_states(&self) {
        for cell in self.app.topologies.iter().flat_map(|topology| topology.cells.iter()) {
            if let Some(state) = cell.state() {
                state.flush().expect("the store of a test takes what it is given");
            }
        }
    }

    /// Stops: what is in flight is finished and committed, states are flushed, groups are left.
    ///
    /// Answers whether that was done `within` the time given.
    pub async fn stop(&self, within: Duration) -> bool {
        self.app.stop.cancel();
        let groups = std::mem::take(&mut *self.app.groups.lock());
        let ended = async {
            for group in groups {
                let _ = group.await;
            }
            if let Err(error) = self.app.shell.flusher.flush_now().await {
                tracing::warn!(%error, "the state could not be flushed; it will be read from the log again");
            }
        };
        let ended = tokio::time::timeout(within, ended).await.is_ok();
        self.apps.lock().remove(&self.app.name);
        ended
    }
}

impl StartedApp {
    /// The receipt in this log's offsets, if it is of the log that the app ran on before; otherwise as it is.
    pub(crate) fn resolve(&self, receipt: &Receipt) -> Receipt {
        let log = self.shell.log.id();
        let moved = self.moved.as_ref().filter(|_| receipt.log != log);
        moved.and_then(|moved| moved.resolve(receipt, log)).unwrap_or_else(|| receipt.clone())
    }

    /// The id of a topic; `None` if it is not there.
    pub(crate) async fn topic_id(&self, topic: &TopicName) -> Result<Option<TopicId>, LogError> {
        Ok(self.shell.log.describe(topic).await?.map(|description| description.id))
    }
}
