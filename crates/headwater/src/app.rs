//! An app: its aggregates and its views, before anything runs.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use headwater_core::key::Key;
use headwater_core::topic::InvalidTopicName;

use crate::aggregate::Aggregate;
use crate::event;
use crate::letters::LettersMax;
use crate::runtime::aggregate::{AggregateDefinition, AnyAggregate};
use crate::topology::{
    Asks, Definition, Description, Emitter, GlobalTable, Kind, Observer, Route, Store, Stream, Table, Topic,
    TopicRef, Value, cycle, declared_otherwise,
};

/// How many partitions the topics of an app have, unless set.
pub const PARTITIONS: u32 = 12;

/// Aggregates and views under one name; describes, and runs once [started](crate::Headwater::start).
pub struct App {
    pub(crate) name: String,
    pub(crate) options: AppOptions,
    pub(crate) aggregates: Vec<Arc<dyn AnyAggregate>>,
    pub(crate) definitions: BTreeMap<String, Arc<Definition>>,
    mistakes: Vec<String>,
}

/// Settings of an app.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AppOptions {
    /// The partitions of its topics; fixed for good once they exist.
    pub partitions: u32,
    /// How long the outcome of a command is kept under its id.
    pub outcomes_kept: Duration,
    /// Commands that may wait for one shard before more are refused.
    pub mailbox: usize,
    /// Bytes of events that one command may lead to.
    pub command_bytes_max: usize,
    /// Events after which a shard makes snapshots of its aggregates.
    pub snapshot_distance: u64,
    /// States that one shard keeps decoded in memory.
    pub cached_states: usize,
    /// Missing outcomes that a shard loads before it decides; more are loaded while it decides.
    pub outcomes_at_once: u64,
    /// Outcomes whose ids are kept in one filter on the log; for tests, which have few.
    #[doc(hidden)]
    pub outcomes_per_filter: u64,
    /// Other instances that keep a copy of each shard of a view, or of the state of a topology that feeds one, ready to go
    /// on from it.
    ///
    /// Shards that decide commands have one copy wherever there is a second instance that runs commands.
    pub view_standbys: usize,
    /// How long a topology that reads several topics waits for one of them which has nothing, while others have something.
    ///
    /// Records are taken in the order of their times in any case, as far as they are there: a topic is always waited for
    /// while it has records that were not read. Not waited for beyond that unless set.
    pub input_wait: Duration,
    /// What topologies that append do with a record that they cannot process; they stop unless set.
    pub on_failure: OnFailure,
    /// The same for single topologies, by their names.
    pub on_failure_of: BTreeMap<String, OnFailure>,
    /// How far ahead of the clock a record's time may be for a topology that appends: one further ahead is a record that
    /// it cannot process. As far as they like unless set; folds, which have no clock, take all.
    pub times_ahead_max: Option<Duration>,
    /// Records of the log from which on a shard without local state asks other instances for theirs.
    pub copy_from_records: u64,
}

/// What a topology that appends does with a record that it cannot process.
///
/// ```
/// # use headwater::{App, OnFailure};
/// let mut app = App::new("shop").with(|options| {
///     options.on_failure = OnFailure::park();
///     options.on_failure_of.insert("invoices".to_owned(), OnFailure::Stop);
/// });
/// app.emitter(app.stream::<String, u64>("orders").to("invoices"));
/// # app.check().unwrap();
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFailure {
    /// Its shard stops there.
    #[default]
    Stop,
    /// The record is set aside as a dead letter, and later ones of its key wait behind it.
    Park {
        /// How many dead letters a shard may have: at the next one it stops.
        at_most: usize,
        /// How many bytes they may hold together: at the letter that would be too much the shard stops.
        ///
        /// What counts is what a shard keeps in memory: keys, values, headers, errors, and what values were edited to;
        /// an edit is never refused for it.
        bytes_max: usize,
    },
}

impl OnFailure {
    /// Sets records aside, 10,000 of a shard at most, and 64 MiB of them.
    pub const fn park() -> Self {
        Self::Park { at_most: 10_000, bytes_max: 64 << 20 }
    }
}

impl AppOptions {
    /// How many dead letters a shard of a topology may have, and how large; `None` if it stops.
    pub(crate) fn parks(&self, topology: &str) -> Option<LettersMax> {
        match *self.on_failure_of.get(topology).unwrap_or(&self.on_failure) {
            OnFailure::Stop => None,
            OnFailure::Park { at_most, bytes_max } => Some(LettersMax { count: at_most, bytes: bytes_max }),
        }
    }
}

impl Default for AppOptions {
    fn default() -> Self {
        Self {
            partitions: PARTITIONS,
            outcomes_kept: Duration::from_secs(24 * 60 * 60),
            mailbox: 4_096,
            command_bytes_max: 1 << 20,
            snapshot_distance: 200_000,
            cached_states: 20_000,
            outcomes_at_once: 10_000,
            outcomes_per_filter: 50_000,
            view_standbys: 0,
            input_wait: Duration::ZERO,
            on_failure: OnFailure::Stop,
            on_failure_of: BTreeMap::new(),
            times_ahead_max: None,
            copy_from_records: 20_000,
        }
    }
}

/// What is wrong with an app, found before anything runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("app \"{app}\": {}", mistakes.join("; "))]
pub struct InvalidApp {
    app: String,
    mistakes: Vec<String>,
}

impl App {
    /// An app with this name, which begins the names of its topics, groups and stores.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            options: AppOptions::default(),
            aggregates: Vec::new(),
            definitions: BTreeMap::new(),
            mistakes: Vec::new(),
        }
    }

    /// The app with other settings.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut AppOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// The app's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a kind of aggregate.
    pub fn aggregate<A: Aggregate>(&mut self) -> Aggregates<A> {
        if self.aggregates.iter().any(|other| other.name() == A::NAME) {
            self.mistakes.push(format!("aggregate \"{}\" is declared twice", A::NAME));
        }
        self.aggregates.push(Arc::new(AggregateDefinition::<A>::default()));
        Aggregates { app: self.name.clone(), kind: PhantomData }
    }

    /// The stream of a topic by its own name, which other programs may write.
    ///
    /// The topic is made if there is none. Keys are text and values JSON unless the [`Topic`] says otherwise.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// let mut app = App::new("shortener");
    /// let visits = app.stream::<String, u64>("visits");
    /// let total = app.view(visits.group_by_key().count(Store::named("total")));
    /// app.emitter(visits.filter(|visit| *visit.value > 1_000).to("slow-visits"));
    /// # app.check().unwrap();
    /// ```
    pub fn stream<K: Key, V: Send + Sync + 'static>(&self, topic: impl Into<Topic<K, V>>) -> Stream<K, V> {
        Stream::of_topic(&self.name, &topic.into())
    }

    /// The table of a topic by its own name: the last value of each key; a null removes the key.
    ///
    /// The topic is made if there is none.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// let mut app = App::new("shop");
    /// let customers = app.table::<String, String>("customers");
    /// let shown = app.view(customers.filter(|_, name| !name.is_empty()).stored(Store::named("named")));
    /// # app.check().unwrap();
    /// ```
    ///
    /// To remove a key is to publish a null under it, a tombstone, which the codec [`Nullable`] writes for `None`:
    ///
    /// [`Nullable`]: crate::core::codec::Nullable
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use headwater::config::{Config, LogChoice};
    /// # let config = Config { log: LogChoice::Memory, ..Config::default() };
    /// use headwater::core::codec::{Json, Nullable, Text};
    ///
    /// let mut app = App::new("shop");
    /// let prices = app.view(app.table::<String, u64>("prices"));
    ///
    /// let shop = Headwater::open(&config).await?.start(app).await?;
    /// let topic: Topic<String, Option<u64>> = Topic::with("prices", Text, Nullable(Json));
    /// let kettle = "kettle".to_owned();
    /// let told = shop.publish(&topic, &kettle, &Some(20)).await?;
    /// assert_eq!(shop.view(&prices)?.after(&told).get(&kettle).await?.value, Some(20));
    /// let gone = shop.publish(&topic, &kettle, &None).await?;
    /// assert_eq!(shop.view(&prices)?.after(&gone).get(&kettle).await?.value, None);
    /// # Ok(()) }
    /// ```
    pub fn table<K: Key, V: Value>(&self, topic: impl Into<Topic<K, V>>) -> Table<K, V> {
        let topic = topic.into();
        let store = Store::named(topic.name());
        Table::of_topic(&self.name, &topic, store)
    }

    /// The table of a topic, kept as a store's options tell.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// let mut app = App::new("exchange");
    /// let orders = app.stream::<String, i64>("orders");
    /// let rates = app.table_in::<String, i64>(Store::named("rates-of-the-day").versioned(hours(24)), "rates");
    /// // Each order at the rate that held when it was placed; rates that come up to a minute late still count.
    /// let grace = Join::grace(Store::named("orders-waiting"), minutes(1));
    /// let priced = orders.join(&rates, |order, rate| *order * rate, grace);
    /// app.emitter(priced.to("priced"));
    /// # app.check().unwrap();
    /// ```
    pub fn table_in<K: Key, V: Value>(&self, store: Store, topic: impl Into<Topic<K, V>>) -> Table<K, V> {
        Table::of_topic(&self.name, &topic.into(), store)
    }

    /// The whole table of a topic in every shard, for streams to be [joined](Stream::join_global) with by any key.
    ///
    /// The topic's records go to every shard through the topic `<app>.<name>`, which has as many copies of them as
    /// partitions: for tables that are small.
    ///
    /// ```
    /// use headwater::core::clock::Timestamp;
    /// use headwater::prelude::*;
    /// use headwater::testing::Driver;
    ///
    /// let mut app = App::new("shop");
    /// let orders = app.stream::<String, String>("orders"); // an order's id, and its country
    /// let taxes = app.global_table::<String, u64>("taxes-everywhere", "taxes"); // a country, and its tax
    /// let taxed = orders.join_global(&taxes, |order| Some(order.value.clone()), |_, tax| *tax);
    /// app.emitter(taxed.to("taxed"));
    ///
    /// let mut driver = Driver::new(&app);
    /// driver.pipe("taxes", "NO".to_owned(), 25_u64, Timestamp(0));
    /// driver.pipe("orders", "o1".to_owned(), "NO".to_owned(), Timestamp(1));
    /// assert_eq!(driver.read::<String, u64>("taxed"), [("o1".to_owned(), 25, Timestamp(1))]);
    /// ```
    pub fn global_table<K: Key, V: Value>(
        &self,
        name: impl Into<String>,
        topic: impl Into<Topic<K, V>>,
    ) -> GlobalTable<K, V> {
        GlobalTable::of_topic(&self.name, name.into(), &topic.into())
    }

    /// Runs an emitter, with every topology that it needs.
    pub fn emitter(&mut self, emitter: Emitter) {
        self.define_all(emitter.definition);
    }

    /// Runs an observer, with every topology that it needs.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// let mut app = App::new("shortener");
    /// let visits = app.stream::<String, u64>("visits");
    /// app.observer(visits.for_each("print", |visit| println!("{}: {} ms", visit.key, visit.value)));
    /// # app.check().unwrap();
    /// ```
    pub fn observer(&mut self, observer: Observer) {
        self.define_all(observer.definition);
    }

    /// Shows a table as a view, with every topology that it needs.
    ///
    /// The view is called as the table's store is. A table that reads several topics is made once, in an order that no
    /// replay would repeat: its updates go to the topic `<app>.<store>.updates`, and the view is folded from there.
    pub fn view<K: Key, S: Value>(&mut self, table: Table<K, S>) -> View<K, S> {
        let route = table.route.clone();
        let name = match table.into_fold() {
            Ok(definition) => {
                let name = definition.name.clone();
                self.define_all(definition);
                name
            }
            Err(mistake) => {
                self.mistakes.push(mistake);
                String::new()
            }
        };
        View { app: self.name.clone(), name, route, types: PhantomData }
    }

    fn define_all(&mut self, last: Definition) {
        for definition in last.end.upstream() {
            self.define(definition);
        }
        self.define(Arc::new(last));
    }

    fn define(&mut self, definition: Arc<Definition>) {
        if definition.version == 0 {
            self.mistakes.push(format!("\"{}\" has version 0: versions begin at 1", definition.name));
        }
        for mistake in definition.end.mistakes() {
            if !self.mistakes.contains(&mistake) {
                self.mistakes.push(mistake);
            }
        }
        if let Some((topic, app)) = definition.end.declared_elsewhere(&self.name) {
            self.mistakes.push(format!(
                "\"{}\" begins at \"{}\" as app \"{app}\" declares it: take the stream or table from this app",
                definition.name,
                topic.shown(&app)
            ));
        }
        if definition.kind == Kind::Observer && !definition.end.is_repeatable() {
            self.mistakes.push(format!(
                "\"{}\" calls `for_each` behind what reads several topics or asks the clock: bring it into one topic \
                 first, with `.repartition(\"...\")`",
                definition.name
            ));
        }
        if let Some(table) = definition.table_named_twice() {
            self.mistakes.push(format!(
                "\"{table}\" is the name of two pieces of state in \"{}\": name each, or make one and use it twice",
                definition.name
            ));
        }
        if let Some((memory, disk)) = definition.kept_apart() {
            self.mistakes.push(format!(
                "\"{}\" keeps \"{memory}\" in memory and \"{disk}\" on disk: what one topology keeps is kept alike, so make \
                 both `.in_memory()` or neither",
                definition.name
            ));
        }
        match self.definitions.get(&definition.name) {
            Some(known) if Arc::ptr_eq(known, &definition) => {}
            Some(_) => self.mistakes.push(format!(
                "\"{}\" is defined twice: names of stores and repartitions are unique in an app; group once and use the result twice",
                definition.name
            )),
            None => {
                self.definitions.insert(definition.name.clone(), definition);
            }
        }
    }

    /// The topics that the app reads or feeds by their own names, and whether a fold reads them.
    pub(crate) fn shared_topics(&self) -> BTreeMap<String, Folded> {
        let mut topics = BTreeMap::new();
        for definition in self.definitions.values() {
            let folds = !matches!(definition.kind, Kind::Emitter { .. });
            let mut see = |topic: &TopicRef, folded| {
                if let TopicRef::Shared(name) = topic {
                    topics.entry(name.clone()).or_insert(Folded(false)).0 |= folded;
                }
            };
            definition.sources.iter().for_each(|topic| see(topic, folds));
            definition.targets().iter().for_each(|topic| see(topic, false));
        }
        topics
    }

    /// What its topologies ask of the records of a topic by its own name.
    pub(crate) fn asks(&self, topic: &str) -> Asks {
        Asks::of(&self.definitions, &TopicRef::Shared(topic.to_owned()))
    }

    /// The topologies of the app.
    pub fn describe(&self) -> Description {
        let rank = |definition: &Definition| !matches!(definition.kind, Kind::Emitter { .. });
        let mut topologies: Vec<_> = self.definitions.values().collect();
        topologies.sort_by_key(|definition| rank(definition));
        Description {
            app: self.name.clone(),
            aggregates: self.aggregates.iter().map(|aggregate| aggregate.name().to_owned()).collect(),
            topologies: topologies
                .iter()
                .map(|d| crate::topology::TopologyDescription::of(&self.name, d))
                .collect(),
        }
    }

    /// Checks what can be checked without a log.
    ///
    /// # Errors
    ///
    /// [`InvalidApp`] lists every mistake.
    pub fn check(&self) -> Result<(), InvalidApp> {
        let mut mistakes = self.mistakes.clone();
        mistakes.extend(self.nameless());
        let names = self.aggregates.iter().map(|a| format!("{}.events", a.name()));
        let names = names.chain(self.definitions.keys().cloned()).map(TopicRef::Own);
        let names = names.chain(self.definitions.values().filter_map(|definition| definition.changelog()));
        let names = names.chain(self.shared_topics().into_keys().map(TopicRef::Shared));
        let illegal = |topic: TopicRef| topic.resolve(&self.name).err();
        mistakes.extend(names.filter_map(illegal).map(|e: InvalidTopicName| e.to_string()));
        let unknown = self.options.on_failure_of.keys().filter(|name| {
            let definition = self.definitions.get(*name);
            !definition.is_some_and(|definition| matches!(definition.kind, Kind::Emitter { .. }))
        });
        mistakes.extend(
            unknown
                .map(|name| format!("`on_failure_of` names \"{name}\", which is no topology that appends")),
        );
        mistakes.extend(declared_otherwise(&self.definitions));
        if let Some((topic, way)) = cycle(&self.definitions) {
            let way: Vec<_> = way.iter().map(|name| format!("\"{name}\"")).collect();
            mistakes.push(format!(
                "topic \"{topic}\" feeds itself, by way of {}: what is written there is read again for ever; write it to \
                 another topic",
                way.join(", ")
            ));
        }
        if self.options.partitions == 0 {
            mistakes.push("it has zero partitions: it needs one at least".to_owned());
        }
        if mistakes.is_empty() { Ok(()) } else { Err(InvalidApp { app: self.name.clone(), mistakes }) }
    }

    /// What has an empty name, in words.
    fn nameless(&self) -> Vec<String> {
        let stores = self.definitions.values().flat_map(|definition| definition.operators());
        let store = |(name, made_by): (String, String)| {
            name.is_empty()
                .then(|| format!("a store has an empty name, that of `{made_by}`: give it another"))
        };
        let app = self.name.is_empty().then(|| "its name is empty".to_owned());
        app.into_iter().chain(stores.filter_map(store)).collect()
    }
}

/// Whether a fold reads a topic, which must be kept then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Folded(pub(crate) bool);

/// A kind of aggregate in an app: where its commands go and its events come from.
pub struct Aggregates<A> {
    pub(crate) app: String,
    kind: PhantomData<fn() -> A>,
}

impl<A> Clone for Aggregates<A> {
    fn clone(&self) -> Self {
        Self { app: self.app.clone(), kind: PhantomData }
    }
}

impl<A: Aggregate> Aggregates<A> {
    /// The events of all aggregates of this kind, by their ids.
    pub fn events(&self) -> Stream<A::Id, A::Event> {
        let source = format!("{}.events", A::NAME);
        Stream::of_app(&self.app, source, Arc::new(event::read_keyed::<A>))
    }
}

/// A view in an app: a table that can be asked once the app runs.
pub struct View<K, S> {
    pub(crate) app: String,
    pub(crate) name: String,
    pub(crate) route: Route<K>,
    types: PhantomData<fn() -> (K, S)>,
}

impl<K, S> View<K, S> {
    /// The name of the view's store.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<K, S> Clone for View<K, S> {
    fn clone(&self) -> Self {
        Self { app: self.app.clone(), name: self.name.clone(), route: self.route.clone(), types: PhantomData }
    }
}
