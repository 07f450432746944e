//! A log with its stores, opened once per process, and the apps that run on it.

use std::collections::{BTreeMap, HashSet};
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
use super::cell::{Phase, ShardCell};
use super::instances::{Cluster, InstanceRecord, Route};
use super::observe::{LogDamage, LogMetrics, LogSize, left_to_restore};
use super::peers::{PeerAddress, PeerService, Peers};
use super::publish::Publish;
use super::replaced::Replaced;
use super::shell::Shell;
use super::start::{Parts, StartError, StartedApp, Starting, TopologyStatus, troubles};
use super::told_once::told_once;
use super::view::{QueryError, ViewQuery};
use crate::aggregate::Aggregate;
use crate::app::{Aggregates, App, View};
use crate::command::{CommandId, Receipt, SendError, Version};
use crate::letters::{DeadLetters, RecordId};
#[cfg(feature = "kafka")]
use crate::log::embedded::directory::Directory;
use crate::store::{Flusher, FlusherOptions};
use crate::topics::Place;
use crate::topology::Topic;

/// How often the wait for readiness looks at what other instances say.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Stores of state, however they are kept.
pub type Stores = Arc<dyn StateStores>;

/// A log and the state beside it, on which apps are started.
#[derive(Clone)]
pub struct Headwater {
    shell: Shell,
    stores: Stores,
    apps: Arc<Mutex<HashSet<String>>>,
    name: Option<Arc<str>>,
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
            cluster: None,
            place: Place::default(),
            replaced: Replaced::default(),
            _held: None,
        };
        Self { shell, stores, apps: Arc::default(), name: None }
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

    /// The same under this instance's name: its alone among those that share the log, and the same after a restart.
    ///
    /// [`open`](Headwater::open) names an instance on Kafka by what it keeps in the data directory.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into());
        self
    }

    /// The same, where stores that are kept [in memory](crate::Store::in_memory) take so many bytes together at most; half
    /// a gibibyte unless set.
    ///
    /// What is kept of shards that moved to another instance is dropped first. A shard whose store would go beyond stops and
    /// says so; what it had stays readable, and nothing is lost.
    #[must_use]
    pub fn store_memory(self, bytes: usize) -> Self {
        self.shell.flusher.budget().keep_at_most(bytes);
        self
    }

    /// This instance's name among those that share the log; `None` for a log that is one process's own.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The same as one of several instances that share a log: each answers everything, by asking the others for what is
    /// not its own.
    ///
    /// `name` is this instance's alone among those of the log; `address` is where `peers` of the others reach what
    /// [`peer_service`](Headwater::peer_service) answers.
    #[must_use]
    pub fn among(mut self, name: impl Into<String>, address: PeerAddress, peers: Arc<dyn Peers>) -> Self {
        let name = name.into();
        self.name = Some(name.as_str().into());
        let cluster = Cluster { name, address, peers, registry: Arc::default() };
        self.shell.cluster = Some(Arc::new(cluster));
        self
    }

    /// What answers other instances; `None` unless it is one [among](Headwater::among) several.
    pub fn peer_service(&self) -> Option<PeerService> {
        self.shell.cluster.as_ref().map(|cluster| PeerService(cluster.registry.clone()))
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
            Ok(started) => {
                let app = Arc::new(started);
                if let Some(cluster) = &self.shell.cluster {
                    cluster.registry.add(&app);
                }
                Ok(Running { app, apps: self.apps.clone() })
            }
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

/// A fold that stopped at a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoppedFold {
    /// The record, which a decision is to be about.
    pub id: RecordId,
    /// Why it stopped.
    pub reason: String,
}

/// One of the instances that share an app, as it tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceReport {
    /// Its name.
    pub name: String,
    /// Where other instances reach it.
    pub address: String,
    /// What it runs: `command`, `query`.
    pub roles: Vec<String>,
    /// The shards that it has, by topology.
    pub shards: BTreeMap<String, Vec<u32>>,
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
    /// Records that it has still to read before it is as new as the log was when it began here; 0 from then on.
    pub left_records: u64,
}

impl Running {
    /// The app's name.
    pub fn name(&self) -> &str {
        &self.app.name
    }

    /// Waits until this process cannot go on, and says why: another one goes by the name of this instance.
    ///
    /// That is so where a data directory was copied and both copies run. A program ends itself then.
    pub async fn replaced(&self) -> String {
        self.app.shell.replaced.told().await
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
    /// Where another instance owns the aggregate, it is asked.
    ///
    /// # Panics
    ///
    /// If the aggregate is of another app.
    pub fn send<A: Aggregate>(&self, aggregates: &Aggregates<A>, id: &A::Id, command: A::Command) -> Send<A> {
        let handle = self.handle(aggregates).expect("an app has the aggregates that it declared");
        Send::new(handle, id, command)
    }

    /// Appends a record to a topic by its own name that the app reads or feeds: durable once this is answered.
    ///
    /// What the app could not read is refused: keys or values of other types or codecs than it has there, nulls where it
    /// reads none, and keys of more than 1,800 bytes where it keeps rows under them.
    ///
    /// The receipt lets a view be asked for an answer that includes the record. How a null is published, which removes a
    /// key from a [table](crate::App::table), is shown there.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use headwater::config::{Config, LogChoice};
    /// # let config = Config { log: LogChoice::Memory, ..Config::default() };
    /// let visits: Topic<String, u64> = "visits".into();
    /// let mut app = App::new("shortener");
    /// let total = app.view(app.stream(visits.clone()).group_by_key().count(Store::named("total")));
    ///
    /// let shortener = Headwater::open(&config).await?.start(app).await?;
    /// let code = "abc".to_owned();
    /// let receipt = shortener.publish(&visits, &code, &12).await?;
    /// assert_eq!(shortener.view(&total)?.after(&receipt).get(&code).await?.value, Some(1));
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// If the app neither reads nor feeds a topic of that name.
    pub fn publish<K: 'static, V: 'static>(&self, topic: &Topic<K, V>, key: &K, value: &V) -> Publish {
        Publish::new(&self.app, topic, key, value)
    }

    /// Asks for the outcome of a command.
    ///
    /// Where another instance owns the aggregate, it is asked.
    ///
    /// # Panics
    ///
    /// If the aggregate is of another app.
    pub fn outcome<A: Aggregate>(
        &self,
        aggregates: &Aggregates<A>,
        id: &A::Id,
        command: &CommandId,
    ) -> OutcomeQuery<A> {
        let handle = self.handle(aggregates).expect("an app has the aggregates that it declared");
        OutcomeQuery::new(handle, id, command)
    }

    /// The committed state of an aggregate with its version; the default at version 0 if it has no events.
    ///
    /// # Errors
    ///
    /// [`SendError::NotRunning`], [`SendError::Moving`].
    ///
    /// Where another instance owns the aggregate, it is asked.
    ///
    /// # Panics
    ///
    /// If the aggregate is of another app.
    pub async fn state<A: Aggregate>(
        &self,
        aggregates: &Aggregates<A>,
        id: &A::Id,
    ) -> Result<(Version, A), SendError> {
        let handle = self.handle(aggregates).expect("an app has the aggregates that it declared");
        handle.state(id).await
    }

    /// Asks a view.
    ///
    /// # Errors
    ///
    /// [`QueryError::NotHere`] if this instance does not run it, and is not one of several.
    pub fn view<K: Key, S>(&self, view: &View<K, S>) -> Result<ViewQuery<K, S>, QueryError>
    where
        S: Serialize + DeserializeOwned + std::marker::Send + 'static,
    {
        let state = self.app.views.get(&view.name).filter(|state| state.can_be_asked());
        let state = state.ok_or_else(|| QueryError::NotHere(view.name.clone()))?;
        let lineage = self.app.lineages.get(&view.name).cloned().unwrap_or_default();
        Ok(ViewQuery::new(self.app.clone(), state.clone(), lineage, view.route.clone()))
    }

    /// The records that could not be processed, and the decisions about them; of every instance of the app.
    pub fn dead_letters(&self) -> DeadLetters {
        let Shell { log, clock, .. } = &self.app.shell;
        DeadLetters::of(log.clone(), clock.clone(), self.app.facts.clone())
    }

    /// The folds of this instance that stopped at a record, and wait for a decision about it.
    pub fn stopped_folds(&self) -> Vec<StoppedFold> {
        let stopped = |topology: &TopologyStatus, cell: &ShardCell| {
            let ((at, offset), Phase::Stopped { reason }) = (cell.stopped_at()?, cell.phase()) else {
                return None;
            };
            // Decisions are about every version of a fold.
            let name = topology.name.split('@').next().unwrap_or_default().to_owned();
            Some(StoppedFold { id: RecordId { topology: name, at, offset }, reason })
        };
        let cells = self.app.topologies.iter().flat_map(|t| t.cells.iter().map(move |cell| (t, cell)));
        cells.filter_map(|(topology, cell)| stopped(topology, cell)).collect()
    }

    /// What each topology is doing.
    pub fn report(&self) -> Vec<TopologyReport> {
        let shard = |cell: &Arc<ShardCell>| ShardStatus {
            phase: cell.reported_phase(),
            lag_records: cell.end_seen().0.saturating_sub(cell.committed().0),
            next: cell.committed().0,
            left_records: left_to_restore(cell),
        };
        let report = |topology: &TopologyStatus| TopologyReport {
            name: topology.name.clone(),
            shards: topology.cells.iter().map(shard).collect(),
            state_bytes: topology.store.as_ref().map_or(0, |store| store.size_bytes()),
        };
        self.app.topologies.iter().map(report).collect()
    }

    /// What keeps the app from being ready: one line per topology that does not run whole, here or elsewhere; empty when
    /// it is ready. A log that does not answer is told by [`log_silence`](Running::log_silence).
    pub fn troubles(&self) -> Vec<String> {
        let of = |topology: &TopologyStatus| {
            let mine = topology.cells.iter().filter(|cell| !self.app.is_elsewhere(topology, cell));
            let troubles = troubles(mine.map(|cell| &**cell))?;
            Some(format!("{}: {troubles}", topology.name))
        };
        self.app.topologies.iter().filter_map(of).collect()
    }

    /// What stopped for good in this instance: one line for each topology, with each reason once. A restart tries again.
    pub fn stopped(&self) -> Vec<String> {
        let reason = |cell: &Arc<ShardCell>| match cell.phase() {
            Phase::Stopped { reason } => Some((cell.shard.0, reason)),
            _ => None,
        };
        let of = |topology: &TopologyStatus| {
            let told = told_once(topology.cells.iter().filter_map(reason));
            (!told.is_empty()).then(|| format!("{}: {}", topology.name, told.join("; ")))
        };
        self.app.topologies.iter().filter_map(of).collect()
    }

    /// Whether this is one of several instances, which are asked for what is not here.
    pub fn is_one_of_several(&self) -> bool {
        self.app.routes.is_some()
    }

    /// The instances that are there, this one among them; none where it is not one of several.
    pub fn instances(&self) -> Vec<InstanceReport> {
        let Some(routes) = &self.app.routes else { return Vec::new() };
        let table = routes.watch();
        let report = |(name, record): (&str, &InstanceRecord)| InstanceReport {
            name: name.to_owned(),
            address: record.address.clone(),
            roles: record.roles.iter().cloned().collect(),
            shards: record.shards.iter().map(|(t, s)| (t.clone(), s.keys().copied().collect())).collect(),
        };
        let table = table.borrow();
        table.instances().map(report).collect()
    }

    /// For how long the log has not answered, where several instances share it and that is longer than it should be:
    /// queries are answered from what is here, and may be as old as that.
    pub fn log_silence(&self) -> Option<Duration> {
        self.app.routes.as_ref()?.silence()
    }

    /// Records of the log that were found damaged: one line for each place; empty as long as none is.
    ///
    /// They are never served. What was made of them before they were damaged goes on to be.
    pub fn log_damage(&self) -> Vec<String> {
        self.app.shell.log_damage.as_ref().map(|damage| damage()).unwrap_or_default()
    }

    /// Waits until every shard runs, here or at another instance.
    ///
    /// # Errors
    ///
    /// What is in the way, when `within` has passed or a shard has stopped.
    pub async fn ready(&self, within: Duration) -> Result<(), Vec<String>> {
        let settled = async {
            let mut bell = self.app.bell.listen();
            loop {
                bell.mark_unchanged();
                let stopped = |cell: &Arc<ShardCell>| matches!(cell.phase(), Phase::Stopped { .. });
                let any_stopped = self.app.topologies.iter().any(|t| t.cells.iter().any(stopped));
                if any_stopped || self.troubles().is_empty() {
                    return;
                }
                tokio::select! {
                    _ = bell.changed() => {}
                    // What others say rings no bell.
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
            }
        };
        let _ = tokio::time::timeout(within, settled).await;
        let troubles = self.troubles();
        if troubles.is_empty() { Ok(()) } else { Err(troubles) }
    }

    /// Keeps copies of exactly these shards of a group, as far as they are not this instance's: for tests that decide
    /// themselves who is whose standby.
    #[cfg(feature = "testing")]
    pub fn keep_copies(
        &self,
        group: &str,
        shards: impl IntoIterator<Item = headwater_core::topic::Partition>,
    ) {
        self.app.standbys.set(group, shards.into_iter().collect());
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
        if let Some(cluster) = &self.app.shell.cluster {
            cluster.registry.remove(&self.app.name);
        }
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

    /// Whether a topic lives under this id; asked of the log only where it is not known to.
    pub(crate) async fn has_topic(&self, topic: &TopicName, id: TopicId) -> Result<bool, LogError> {
        if self.topic_ids.lock().get(topic) == Some(&id) {
            return Ok(true);
        }
        let now = self.shell.log.describe(topic).await?.map(|description| description.id);
        if let Some(now) = now {
            self.topic_ids.lock().insert(topic.clone(), now);
        }
        Ok(now == Some(id))
    }

    /// Whether another instance has a shard.
    fn is_elsewhere(&self, topology: &TopologyStatus, cell: &ShardCell) -> bool {
        let Some(routes) = self.routes.as_ref().filter(|_| cell.phase() == Phase::Waiting) else {
            return false;
        };
        matches!(routes.owner(&topology.name, cell.shard), Route::There(_))
    }
}
