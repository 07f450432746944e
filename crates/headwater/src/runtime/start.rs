//! Starting an app: its topics made or checked, its stores opened, its groups joined.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use headwater_core::log::{Group, Log, LogError, TopicDescription};
use headwater_core::store::{StateStores, StoreError, StoreErrorKind};
use headwater_core::topic::{Partition, TopicId, TopicName, TopicPartition};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::aggregate::{StartedAggregate, Topics};
use super::cell::{Bell, Phase, ShardCell};
use super::emitter::{Emitter, EmitterStore, Global, Parks};
use super::fold::Fold;
use super::instances::Routes;
use super::membership::{RunShard, run_group};
use super::peers::AnswersPeers;
use super::shell::{NamedStore, Shell};
use super::standby::{StandbyBoard, keep_assigned};
use super::told_once::told_once;
use super::transfer::{Copies, CopySource};
use super::view::{ViewPlace, ViewState};
use crate::app::{App, AppOptions, InvalidApp};
use crate::letters::Facts;
use crate::migrate::map::OffsetMap;
use crate::migrate::map_topic;
use crate::store::memory::MemoryStores;
use crate::topics::prepare::{MIGRATION, Prepared, Reach, Survey, Word, prepare};
use crate::topics::{self, AggregateTopics, Plan, TopicDeclaration};
use crate::topology::{Asks, Definition, Kind, TopicRef, lineage, versioned};

/// How long a failed start waits for what it had started.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

/// Why an app could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The app itself is wrong.
    #[error(transparent)]
    App(#[from] InvalidApp),
    /// The log refused.
    #[error("the log: {0}")]
    Log(#[from] LogError),
    /// A store cannot be opened.
    #[error("the state store: {0}")]
    Store(#[from] StoreError),
    /// Topics that are not as the app needs them, or topologies that are defined otherwise than they were.
    ///
    /// The plan tells each, with the command that mends it.
    #[error("{}", .0.refusal())]
    Refused(Box<Plan>),
    /// An app of this name runs already.
    #[error("an app named \"{0}\" runs already in this process: give one of them another name")]
    AlreadyRunning(String),
}

/// What one topology is doing.
#[derive(Clone)]
pub(crate) struct TopologyStatus {
    pub(crate) name: String,
    /// What it reads, the group's topic first.
    pub(crate) sources: Vec<TopicName>,
    pub(crate) store: Option<NamedStore>,
    pub(crate) cells: Arc<[Arc<ShardCell>]>,
    /// Whether every instance holds all shards.
    pub(crate) replicated: bool,
    /// The role of the instances that run it, and of how many others each shard has a copy.
    pub(crate) role: &'static str,
    pub(crate) copies: usize,
    /// Whether it sets aside what it cannot process.
    pub(crate) parks: bool,
}

impl TopologyStatus {
    pub(crate) fn new(
        name: &str,
        source: TopicName,
        store: impl Into<Option<NamedStore>>,
        cells: Arc<[Arc<ShardCell>]>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            sources: vec![source],
            store: store.into(),
            cells,
            replicated: false,
            role: "query",
            copies: 0,
            parks: false,
        }
    }
}

/// An app that runs: what its handles share.
pub(crate) struct StartedApp {
    pub(crate) name: String,
    pub(crate) shell: Shell,
    /// Also those that other instances run; questions to them are forwarded.
    pub(crate) aggregates: HashMap<&'static str, Arc<dyn std::any::Any + Send + Sync>>,
    /// The same, for questions of other instances.
    pub(crate) answering: HashMap<&'static str, Arc<dyn AnswersPeers>>,
    /// Who runs what, where several instances share the app.
    pub(crate) routes: Option<Arc<Routes>>,
    /// Rings whenever a shard changes its phase.
    pub(crate) bell: Bell,
    pub(crate) emitters: HashMap<String, StartedEmitter>,
    pub(crate) views: HashMap<String, Arc<ViewState>>,
    /// The topologies that feed each view, those first that feed others.
    pub(crate) lineages: HashMap<String, Arc<[String]>>,
    pub(crate) topologies: Vec<TopologyStatus>,
    /// The topics that it has by their own names.
    pub(crate) shared_topics: HashMap<String, SharedTopic>,
    /// Where the records of the log lie that the app ran on before.
    pub(crate) moved: Option<Arc<OffsetMap>>,
    /// What decisions may be about.
    pub(crate) facts: Arc<Facts>,
    #[cfg(feature = "testing")]
    pub(crate) standbys: StandbyBoard,
    pub(crate) copies: Copies,
    pub(crate) stop: CancellationToken,
    pub(crate) groups: Mutex<Vec<JoinHandle<()>>>,
    /// The lives of topics that receipts were of.
    pub(crate) topic_ids: Mutex<HashMap<TopicName, TopicId>>,
}

impl StartedApp {
    /// The partitions of a topic of which `own` is the app's count.
    pub(crate) fn count_of(&self, topic: &TopicName, own: usize) -> u32 {
        let shared = self.shared_topics.get(topic.as_str());
        shared.map_or(own as u32, |shared| shared.described.settings.partitions)
    }
}

/// A topic that an app has by its own name.
#[derive(Clone)]
pub(crate) struct SharedTopic {
    pub(crate) described: TopicDescription,
    /// What the app asks of its records.
    pub(crate) asks: Arc<Asks>,
}

/// An emitter, here or elsewhere.
pub(crate) struct StartedEmitter {
    pub(crate) sources: Vec<TopicName>,
    pub(crate) to: Vec<TopicName>,
    pub(crate) cells: Arc<[Arc<ShardCell>]>,
}

/// An app that is being started.
pub(crate) struct Starting {
    pub(crate) app: String,
    pub(crate) options: AppOptions,
    pub(crate) shell: Shell,
    pub(crate) routes: Option<Arc<Routes>>,
    pub(crate) bell: Bell,
    stores: Arc<dyn StateStores>,
    /// Those that are kept in memory alone, and begin anew with every start.
    memory: Arc<dyn StateStores>,
    standbys: StandbyBoard,
    topics: BTreeMap<TopicName, TopicDescription>,
    /// Topics that the app has had at any time.
    known: BTreeSet<String>,
    stop: CancellationToken,
    groups: Mutex<Vec<JoinHandle<()>>>,
}

impl Starting {
    pub(crate) fn new(app: &App, shell: Shell, stores: Arc<dyn StateStores>) -> Self {
        let bell = Bell::default();
        let routes = shell.cluster.clone().map(|cluster| {
            let topic = topics::instances(app.name()).name.partition(0);
            Arc::new(Routes::new(cluster, app.name(), shell.clone(), bell.clone(), topic))
        });
        Self {
            app: app.name().to_owned(),
            options: app.options.clone(),
            routes,
            bell,
            memory: Arc::new(MemoryStores::within(shell.flusher.budget().clone())),
            shell,
            stores,
            standbys: StandbyBoard::default(),
            topics: BTreeMap::new(),
            known: BTreeSet::new(),
            stop: CancellationToken::new(),
            groups: Mutex::new(Vec::new()),
        }
    }

    /// Starts everything that `app` has and `wanted` selects.
    pub(crate) async fn start(mut self, app: &App, wanted: Parts) -> Result<StartedApp, StartError> {
        tracing::info!(app = app.name(), commands = wanted.commands, queries = wanted.queries, "starting");
        for line in app.describe().to_string().lines() {
            tracing::info!("{line}");
        }
        let survey = self.prepare(app).await?;
        self.known = survey.registry.topics();
        let moved = moved(&*self.shell.log, app, &survey).await?;
        self.topics = survey.topics;
        let mut started = StartedApp {
            name: self.app.clone(),
            shell: self.shell.clone(),
            aggregates: HashMap::new(),
            answering: HashMap::new(),
            routes: self.routes.clone(),
            bell: self.bell.clone(),
            emitters: HashMap::new(),
            views: HashMap::new(),
            lineages: app
                .definitions
                .keys()
                .map(|name| (name.clone(), lineage(&app.definitions, name).into()))
                .collect(),
            topologies: Vec::new(),
            shared_topics: self.shared_topics(app),
            moved: moved.map(Arc::new),
            facts: Arc::new(Facts::of(app)),
            #[cfg(feature = "testing")]
            standbys: self.standbys.clone(),
            copies: Copies::default(),
            stop: self.stop.clone(),
            groups: Mutex::default(),
            topic_ids: Mutex::default(),
        };
        match self.start_parts(app, wanted, &mut started).await {
            Ok(()) => {
                self.spawn(super::observe::sample(
                    self.shell.log.clone(),
                    self.shell.clock.clone(),
                    self.shell.log_size.clone(),
                    started.topologies.clone(),
                    self.stop.clone(),
                ));
                if let Some(routes) = &self.routes {
                    let (told, stop) = (started.topologies.clone(), self.stop.clone());
                    self.spawn(routes.clone().follow(stop.clone()));
                    let (board, copied) = (self.standbys.clone(), started.topologies.clone());
                    self.spawn(keep_assigned(routes.clone(), board, copied, stop.clone()));
                    self.spawn(routes.clone().tell(told, wanted, stop));
                }
                *started.groups.lock() = std::mem::take(&mut *self.groups.lock());
                Ok(started)
            }
            Err(error) => {
                self.stop.cancel();
                let groups = std::mem::take(&mut *self.groups.lock());
                let ended = async {
                    for group in groups {
                        let _ = group.await;
                    }
                };
                if tokio::time::timeout(GIVE_UP_AFTER, ended).await.is_err() {
                    tracing::warn!(app = app.name(), "parts of an app that could not be started do not end");
                }
                Err(error)
            }
        }
    }

    /// Makes the topics that are missing, and refuses to start on others than the app needs.
    async fn prepare(&self, app: &App) -> Result<Survey, StartError> {
        let Shell { log, clock, place, .. } = &self.shell;
        match prepare(&**log, &**clock, app, place, (Reach::Create, &Word::default())).await? {
            Prepared::Ready(survey) => Ok(survey),
            Prepared::Refused(plan) => Err(StartError::Refused(Box::new(plan))),
        }
    }

    fn shared_topics(&self, app: &App) -> HashMap<String, SharedTopic> {
        let shared = |name: String| {
            let described = self.topics.get(&TopicName::new(&name).ok()?)?.clone();
            let asks = Arc::new(app.asks(&name));
            Some((name, SharedTopic { described, asks }))
        };
        app.shared_topics().into_keys().filter_map(shared).collect()
    }

    async fn start_parts(
        &self,
        app: &App,
        wanted: Parts,
        started: &mut StartedApp,
    ) -> Result<(), StartError> {
        for aggregate in &app.aggregates {
            let StartedAggregate { handle, answering, status } =
                aggregate.start(self, wanted.commands).await?;
            started.aggregates.insert(aggregate.name(), handle);
            started.answering.insert(aggregate.name(), answering);
            started.topologies.extend(status);
        }
        for definition in app.definitions.values() {
            match &definition.kind {
                Kind::Emitter { to } => self.start_emitter(definition, to, wanted.queries, started)?,
                Kind::Fold { replicated, .. } if wanted.queries => {
                    self.start_fold(definition, *replicated, started)?;
                }
                Kind::Fold { replicated, .. } => {
                    let view = self.view_elsewhere(definition, *replicated);
                    started.views.insert(definition.name.clone(), Arc::new(view));
                }
                Kind::Observer if wanted.queries => self.start_fold(definition, false, started)?,
                Kind::Observer => {}
            }
        }
        Ok(())
    }

    fn start_emitter(
        &self,
        definition: &Arc<Definition>,
        to: &[TopicRef],
        runs_here: bool,
        started: &mut StartedApp,
    ) -> Result<(), StartError> {
        let sources: Vec<_> = definition.sources.iter().map(|source| self.resolve(source)).collect();
        let to: Vec<_> = to.iter().map(|to| self.resolve(to)).collect();
        let shards = self.count_of(&sources[0]);
        let cells = self.cells(shards);
        let handle = StartedEmitter { sources: sources.clone(), to: to.clone(), cells: cells.clone() };
        started.emitters.insert(definition.name.clone(), handle);
        if !runs_here {
            return Ok(());
        }
        let store = self.emitter_store(definition)?;
        let group = self.group(definition, shards, sources[0].clone());
        let named = store.as_ref().map(|store| store.named.clone());
        if let Some(named) = &named {
            self.shell.spare(definition, named, &cells);
        }
        let copies = if named.is_some() { self.options.view_standbys } else { 0 };
        let status = TopologyStatus::new(&definition.name, sources[0].clone(), named, cells.clone());
        let parks = self.options.parks(&definition.name).is_some();
        started.topologies.push(TopologyStatus { copies, parks, sources: sources.clone(), ..status });
        let emitter = Emitter {
            shell: self.shell.clone(),
            definition: definition.clone(),
            sources,
            targets: to.iter().map(|to| self.partitions_of(to)).collect(),
            store,
            cells,
            globals: self.globals(definition),
            group: group.name.clone(),
            patience: self.options.input_wait,
            parks: self.parks(definition),
            times_ahead: self.options.times_ahead_max,
        };
        self.run_group(group, Arc::new(emitter));
        Ok(())
    }

    /// Where an emitter sets aside what it cannot process; `None` if it does not, and never did.
    fn parks(&self, definition: &Definition) -> Option<Parks> {
        let max = self.options.parks(&definition.name);
        let letters = self.resolve(&definition.letters());
        let parks = max.is_some() || self.known.contains(letters.as_str());
        let decision_partitions = self.options.partitions;
        parks.then(|| Parks { letters, decisions: self.decisions(), decision_partitions, max })
    }

    fn decisions(&self) -> TopicName {
        topics::decisions(&self.app, &self.options).name
    }

    /// What an emitter keeps; `None` if it keeps nothing.
    fn emitter_store(&self, definition: &Definition) -> Result<Option<EmitterStore>, StartError> {
        let Some(changelog) = definition.changelog() else { return Ok(None) };
        let tables = tables_of(definition);
        let named = self.open_store_of(definition, &definition.name, &tables)?;
        self.remove_other_versions(&definition.name, definition.version)?;
        Ok(Some(EmitterStore { named, changelog: self.resolve(&changelog) }))
    }

    /// The global tables that an emitter reads copies of.
    fn globals(&self, definition: &Definition) -> Vec<Global> {
        let global = |(source, copies): (usize, Arc<Definition>)| {
            let of = self.resolve(&copies.sources[0]);
            let group = format!("{}.{}", self.app, copies.versioned_name());
            Global { source, group, partitions: self.count_of(&of), of }
        };
        definition.globals().into_iter().map(global).collect()
    }

    fn partitions_of(&self, topic: &TopicName) -> Arc<[TopicPartition]> {
        (0..self.count_of(topic)).map(|partition| topic.partition(partition)).collect()
    }

    /// The partitions that a topic has: other programs may have made it with more or fewer than the app's.
    fn count_of(&self, topic: &TopicName) -> u32 {
        self.topics.get(topic).map_or(self.options.partitions, |there| there.settings.partitions)
    }

    /// A view that other instances run.
    fn view_elsewhere(&self, definition: &Definition, replicated: bool) -> ViewState {
        let place = self.view_place(false, replicated);
        ViewState::new(definition, self.resolve(&definition.sources[0]), self.own_cells(), Vec::new(), place)
    }

    fn start_fold(
        &self,
        definition: &Arc<Definition>,
        replicated: bool,
        started: &mut StartedApp,
    ) -> Result<(), StartError> {
        let source = self.resolve(&definition.sources[0]);
        let tables = tables_of(definition);
        let store = self.open_store_of(definition, &definition.versioned_name(), &tables)?;
        let cells = self.own_cells();
        self.shell.spare(definition, &store, &cells);
        let fold = Arc::new(Fold {
            shell: self.shell.clone(),
            definition: definition.clone(),
            source: source.clone(),
            store: store.clone(),
            cells: cells.clone(),
            decisions: self.decisions(),
            moved: started.moved.clone(),
        });
        let name = definition.versioned_name();
        let status = TopologyStatus::new(&name, source.clone(), store.clone(), cells.clone());
        let copies = if replicated { 0 } else { self.options.view_standbys };
        started.topologies.push(TopologyStatus { replicated, copies, ..status });
        let older = self.older_stores(definition)?;
        let place = self.view_place(true, replicated);
        let view = Arc::new(ViewState::new(definition, source.clone(), cells, older, place));
        self.spawn(view.clone().switch_when_caught_up(self.stores.clone()));
        started.views.insert(definition.name.clone(), view);
        if replicated {
            for shard in (0..self.options.partitions).map(Partition) {
                let (fold, stop) = (fold.clone(), self.stop.clone());
                self.spawn(async move { fold.run_shard(shard, stop).await });
            }
        } else {
            self.run_group(self.group(definition, self.options.partitions, source), fold);
        }
        Ok(())
    }

    fn view_place(&self, runs_here: bool, replicated: bool) -> ViewPlace {
        let (routes, bell) = (self.routes.clone(), self.bell.clone());
        ViewPlace { runs_here, replicated, routes, bell, stop: self.stop.clone() }
    }

    fn store_name(&self, definition: &Definition) -> String {
        format!("{}.{}", self.app, definition.versioned_name())
    }

    fn group(&self, definition: &Definition, shards: u32, source: TopicName) -> Group {
        let name = format!("{}.{}", self.app, definition.versioned_name());
        Group { name, shards, topic: source }
    }

    /// The shards' states of other versions of a view, newest first.
    fn older_stores(&self, definition: &Definition) -> Result<Vec<super::view::OlderVersion>, StartError> {
        let mut older = Vec::new();
        for (version, name) in self.versions_of(&definition.name)? {
            if version == definition.version {
                continue;
            }
            let store = self.stores.open(&name, &[&definition.name])?;
            let shards = (0..self.options.partitions).map(Partition);
            let states =
                shards.map(|shard| self.shell.open_frozen(&store, shard)).collect::<Result<Vec<_>, _>>()?;
            older.push(super::view::OlderVersion { version, store_name: name, states });
        }
        older.sort_by_key(|older| std::cmp::Reverse(older.version));
        Ok(older)
    }

    fn versions_of(&self, name: &str) -> Result<Vec<(u32, String)>, StartError> {
        let base = format!("{}.{name}", self.app);
        let version_of = |store: &str| match store.strip_prefix(&base)? {
            "" => Some(1),
            rest => rest.strip_prefix('@')?.parse().ok(),
        };
        let names = self.stores.names()?;
        Ok(names.into_iter().filter_map(|store| version_of(&store).map(|version| (version, store))).collect())
    }

    /// Opens a store; a damaged one is thrown away, since its state is folded again from the log.
    pub(crate) fn open_store(
        &self,
        topology: &str,
        name: &str,
        tables: &[&str],
    ) -> Result<NamedStore, StartError> {
        self.open_among(&self.stores, topology, name, tables)
    }

    /// Opens the store of a topology, on disk or in memory as it declares.
    fn open_store_of(
        &self,
        definition: &Definition,
        topology: &str,
        tables: &[&str],
    ) -> Result<NamedStore, StartError> {
        let name = self.store_name(definition);
        if !definition.in_memory {
            return self.open_store(topology, &name, tables);
        }
        // What was kept on disk before is of no use, and would grow old.
        self.stores.remove(&name)?;
        self.open_among(&self.memory, topology, &name, tables)
    }

    fn open_among(
        &self,
        stores: &Arc<dyn StateStores>,
        topology: &str,
        name: &str,
        tables: &[&str],
    ) -> Result<NamedStore, StartError> {
        let store = match stores.open(name, tables) {
            Err(error) if error.kind() == StoreErrorKind::Corrupt => {
                tracing::error!(store = name, %error, "a damaged store is thrown away and built again from the log");
                stores.remove(name)?;
                stores.open(name, tables)?
            }
            opened => opened?,
        };
        let tables = tables.iter().map(|table| (*table).to_owned()).collect();
        // What was kept aside for others in an earlier life.
        stores.remove(&format!("{name}@copy"))?;
        let source = self.routes.clone().map(|routes| {
            let (topology, worth) = (topology.to_owned(), self.options.copy_from_records);
            Arc::new(CopySource { routes, topology, worth })
        });
        Ok(NamedStore { name: name.to_owned(), store, tables, stores: stores.clone(), source })
    }

    /// Removes the stores of other versions of an aggregate's or an emitter's state: they are of no use to this program.
    pub(crate) fn remove_other_versions(&self, name: &str, version: u32) -> Result<(), StartError> {
        for (other, store) in self.versions_of(name)? {
            if other != version {
                tracing::info!(
                    store,
                    keeps = versioned(name, version),
                    "removing the state of another version"
                );
                self.stores.remove(&store)?;
            }
        }
        Ok(())
    }

    /// As many shards as the app's topics have partitions.
    pub(crate) fn own_cells(&self) -> Arc<[Arc<ShardCell>]> {
        self.cells(self.options.partitions)
    }

    fn cells(&self, shards: u32) -> Arc<[Arc<ShardCell>]> {
        (0..shards).map(|shard| Arc::new(ShardCell::new(Partition(shard), self.bell.clone()))).collect()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.groups.lock().push(tokio::spawn(task));
    }

    pub(crate) fn run_group(&self, group: Group, shards: Arc<dyn RunShard>) {
        let standbys = self.standbys.of(&group.name);
        self.spawn(run_group(
            self.shell.log.clone(),
            group,
            shards,
            standbys,
            self.shell.replaced.clone(),
            self.stop.clone(),
        ));
    }

    fn resolve(&self, topic: &TopicRef) -> TopicName {
        topic.resolve(&self.app).expect("an app is checked before it is started")
    }

    /// The topics of a kind of aggregate.
    pub(crate) fn aggregate_topics(&self, aggregate: &str) -> Topics {
        let AggregateTopics { events, commands, outcomes, snapshots } =
            AggregateTopics::of(&self.app, aggregate, &self.options);
        let there = |declared: TopicDeclaration| {
            self.topics.get(&declared.name).cloned().expect("a start makes every topic of the app first")
        };
        Topics {
            events: there(events),
            commands: there(commands),
            outcomes: there(outcomes),
            snapshots: there(snapshots),
        }
    }
}

/// The tables of a fold's store: an observer keeps its position alone, in a store that has one nevertheless.
fn tables_of(definition: &Definition) -> Vec<&str> {
    if definition.tables.is_empty() {
        return vec![&definition.name];
    }
    definition.tables.iter().map(String::as_str).collect()
}

/// The map of the migration that brought the app to this log; `None` if none did.
async fn moved(log: &dyn Log, app: &App, survey: &Survey) -> Result<Option<OffsetMap>, LogError> {
    match survey.registry.get(MIGRATION) {
        Some(_) => OffsetMap::load(log, &map_topic(app)).await.map(Some),
        None => Ok(None),
    }
}

/// Which parts of an app an instance runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Its aggregates.
    pub commands: bool,
    /// Its views, with the topologies that feed them.
    pub queries: bool,
}

impl Parts {
    /// Everything.
    pub const ALL: Self = Self { commands: true, queries: true };
    /// The aggregates alone.
    pub const COMMANDS: Self = Self { commands: true, queries: false };
    /// The views alone.
    pub const QUERIES: Self = Self { commands: false, queries: true };
}

/// What keeps shards of a topology from being ready, in words, for health checks; `None` if nothing does.
pub(crate) fn troubles<'a>(shards: impl Iterator<Item = &'a ShardCell>) -> Option<String> {
    let told = told_once(shards.filter_map(|cell| Some((cell.shard.0, trouble(cell)?))));
    (!told.is_empty()).then(|| told.join("; "))
}

fn trouble(cell: &ShardCell) -> Option<String> {
    let trouble = match cell.reported_phase() {
        Phase::Running if cell.left() == 0 => return None,
        Phase::Running => format!("an older state answers, {} records are left to read", cell.left()),
        Phase::Waiting => "not started".to_owned(),
        Phase::Refused { reason } => return Some(format!("refused, and tried again: {reason}")),
        Phase::Restoring { done, total } => {
            format!(
                "restored up to {done} of {total}, {} records are left to read",
                total.saturating_sub(done)
            )
        }
        Phase::Standby { .. } => return Some("nobody's yet; a copy is kept here".to_owned()),
        Phase::Stopped { reason } => return Some(format!("stopped: {reason}")),
    };
    Some(match cell.hindrance() {
        Some(reason) => format!("{trouble}; waiting, since {reason}"),
        None => trouble,
    })
}
