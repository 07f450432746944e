//! The language of topologies: streams.

use std::marker::PhantomData;
use std::sync::Arc;

use headwater_core::key::Key;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::building::{Attach, Building};
use super::definition::{Definition, Kind};
use super::grouped::Grouped;
use super::node::{Node, StoreSpec};
use super::route::Route;
use super::store::Store;
use super::table::Table;
use super::topic::{Topic, TopicRef};
use super::versioned::versioned_table;
use super::{Emitter, Observer, Value};
use crate::engine::flow::Keyed;
use crate::engine::operators::{
    AppendTo, Filter, FlatMap, FlatMapValues, ForEach, MapValues, Materialise, Next, Peek, Present, Read,
    SelectKey, Shared, Source, Target,
};
use crate::engine::row::RowFormat;

/// Keyed values, one after another: what a topic holds, after any number of operators.
///
/// A stream is a description; nothing runs before an app that uses it is started. Cheap to clone, and every clone may
/// be used for a view of its own.
///
/// `P` tells whether equal keys lie in one partition, as they do where a stream begins, or [no longer](Moved).
pub struct Stream<K, V, P = InPlace> {
    pub(crate) node: Arc<Node>,
    pub(crate) route: Route<K>,
    pub(crate) attach: Attach<K, V>,
    placement: PhantomData<fn() -> P>,
}

/// Equal keys of the stream lie in one partition.
#[derive(Debug, Clone, Copy)]
pub enum InPlace {}

/// The keys of the stream were changed, so equal keys may lie in different partitions.
#[derive(Debug, Clone, Copy)]
pub enum Moved {}

/// A stream whose equal keys lie in one partition.
#[diagnostic::on_unimplemented(
    message = "the keys of this stream were changed, so equal keys may lie in different partitions",
    label = "this needs equal keys in one partition",
    note = "bring them together first: `.repartition(\"name\")`, or group with `.group_by(\"name\", |item| key)`"
)]
pub trait IsInPlace: 'static {}

impl IsInPlace for InPlace {}

type On<K, V, R> = Arc<dyn Fn(Keyed<'_, K, V>) -> R + Send + Sync>;

impl<K, V, P> Clone for Stream<K, V, P> {
    fn clone(&self) -> Self {
        Self::of_parts(self.node.clone(), self.route.clone(), self.attach.clone())
    }
}

impl<K, V, P> Stream<K, V, P> {
    pub(crate) fn of_parts(node: Arc<Node>, route: Route<K>, attach: Attach<K, V>) -> Self {
        Self { node, route, attach, placement: PhantomData }
    }
}

impl<K: Key, V: Send + Sync + 'static> Stream<K, V> {
    /// The stream of a topic of the app, with keys in their text form, whose records `read` reads.
    pub(crate) fn of(name: String, fed_by: Option<Arc<Definition>>, read: Read<K, V>) -> Self {
        let topic = TopicRef::Own(name);
        Self::reading(topic.clone(), Node::source(topic, fed_by, None, None), Route::text(), read)
    }

    /// The same, as `app` declares it by the handle of what makes the topic.
    pub(crate) fn of_app(app: &str, name: String, read: Read<K, V>) -> Self {
        let topic = TopicRef::Own(name);
        Self::reading(topic.clone(), Node::source(topic, None, None, Some(app)), Route::text(), read)
    }

    /// The stream of a topic by its own name, as `app` declares it.
    pub(crate) fn of_topic(app: &str, topic: &Topic<K, V>) -> Self {
        let shared = TopicRef::Shared(topic.name().to_owned());
        let node = Node::source(shared.clone(), None, Some(topic.reads()), Some(app));
        Self::reading(shared, node, topic.route(), topic.read())
    }

    fn reading(topic: TopicRef, node: Arc<Node>, route: Route<K>, read: Read<K, V>) -> Self {
        let attach = move |building: &mut Building<'_>, next: Next<K, V>| {
            let source = Source { partition: building.shard(), read: read.clone(), next };
            building.feed(&topic, Box::new(source));
        };
        Self::of_parts(node, route, Arc::new(attach))
    }
}

impl<K: Key, V: Send + Sync + 'static, P> Stream<K, V, P> {
    fn then<W: 'static>(
        &self,
        label: &'static str,
        link: impl Fn(Next<K, W>) -> Next<K, V> + Send + Sync + 'static,
    ) -> Stream<K, W, P> {
        self.leading_to(label, self.route.clone(), link)
    }

    fn leading_to<L: 'static, W: 'static, Q>(
        &self,
        label: &'static str,
        route: Route<L>,
        link: impl Fn(Next<L, W>) -> Next<K, V> + Send + Sync + 'static,
    ) -> Stream<L, W, Q> {
        let attach = self.attach.clone();
        let attach = move |building: &mut Building<'_>, next| attach(building, link(next));
        Stream::of_parts(Node::stateless(label, vec![self.node.clone()]), route, Arc::new(attach))
    }

    /// Keeps the values that pass `test`.
    #[must_use]
    pub fn filter(&self, test: impl Fn(Keyed<'_, K, V>) -> bool + Send + Sync + 'static) -> Self {
        let test: On<K, V, bool> = Arc::new(test);
        self.then("filter", move |next| Box::new(Filter { test: test.clone(), next }))
    }

    /// Changes each value; the key stays.
    #[must_use]
    pub fn map_values<W: Send + Sync + 'static>(
        &self,
        change: impl Fn(Keyed<'_, K, V>) -> W + Send + Sync + 'static,
    ) -> Stream<K, W, P> {
        let change: On<K, V, W> = Arc::new(change);
        self.then("map_values", move |next| Box::new(MapValues { change: change.clone(), next }))
    }

    /// Changes each value into any number of values; the key stays.
    #[must_use]
    pub fn flat_map_values<W: Send + Sync + 'static>(
        &self,
        change: impl Fn(Keyed<'_, K, V>) -> Vec<W> + Send + Sync + 'static,
    ) -> Stream<K, W, P> {
        let change: On<K, V, Vec<W>> = Arc::new(change);
        self.then("flat_map_values", move |next| Box::new(FlatMapValues { change: change.clone(), next }))
    }

    /// Changes each key and value.
    #[must_use]
    pub fn map<L: Key, W: Send + Sync + 'static>(
        &self,
        change: impl Fn(Keyed<'_, K, V>) -> (L, W) + Send + Sync + 'static,
    ) -> Stream<L, W, Moved> {
        self.flat_map_as("map", move |item| vec![change(item)])
    }

    /// Changes each key and value into any number of them.
    #[must_use]
    pub fn flat_map<L: Key, W: Send + Sync + 'static>(
        &self,
        change: impl Fn(Keyed<'_, K, V>) -> Vec<(L, W)> + Send + Sync + 'static,
    ) -> Stream<L, W, Moved> {
        self.flat_map_as("flat_map", change)
    }

    fn flat_map_as<L: Key, W: Send + Sync + 'static>(
        &self,
        label: &'static str,
        change: impl Fn(Keyed<'_, K, V>) -> Vec<(L, W)> + Send + Sync + 'static,
    ) -> Stream<L, W, Moved> {
        let change: On<K, V, Vec<(L, W)>> = Arc::new(change);
        self.leading_to(label, Route::text(), move |next| Box::new(FlatMap { change: change.clone(), next }))
    }

    /// Puts each value under another key.
    ///
    /// Equal keys may lie in different partitions then: [`repartition`](Stream::repartition) brings them together.
    #[must_use]
    pub fn select_key<L: Key>(
        &self,
        key_of: impl Fn(Keyed<'_, K, V>) -> L + Send + Sync + 'static,
    ) -> Stream<L, V, Moved> {
        let key_of: On<K, V, L> = Arc::new(key_of);
        let link = move |next| Box::new(SelectKey { key_of: key_of.clone(), next }) as Next<K, V>;
        self.leading_to("select_key", Route::text(), link)
    }

    /// Puts each value under its key and something more.
    ///
    /// What is equal under the new keys had equal keys before, so it stays where it is: no repartition is needed. All that
    /// lies under one of the keys before can be asked for together ([`ViewQuery::of`](crate::ViewQuery::of)).
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// # use headwater::testing::{Driver, at};
    /// let mut app = App::new("shortener");
    /// let visits = app.stream::<String, String>("visits"); // from where, by link
    /// let by_host = visits.extend_key(|visit| visit.value.clone()).group_by_key();
    /// let by_host = app.view(by_host.count(Store::named("visits-by-host")));
    ///
    /// let mut driver = Driver::new(&app);
    /// for host in ["a.example", "b.example", "a.example"] {
    ///     driver.pipe("visits", "link".to_owned(), host.to_owned(), at("2026-03-01T12:00Z"));
    /// }
    /// assert_eq!(driver.view(&by_host).get(&("link".to_owned(), "a.example".to_owned())), Some(2));
    /// ```
    #[must_use]
    pub fn extend_key<R: Key>(
        &self,
        rest_of: impl Fn(Keyed<'_, K, V>) -> R + Send + Sync + 'static,
    ) -> Stream<(K, R), V, P> {
        let key_of: On<K, V, (K, R)> = Arc::new(move |item| (item.key.clone(), rest_of(item)));
        let link = move |next| Box::new(SelectKey { key_of: key_of.clone(), next }) as Next<K, V>;
        self.leading_to("extend_key", self.route.extended(), link)
    }

    /// Shows each value to `look`, and hands it on.
    ///
    /// At least once: what is processed again after a crash is shown again.
    #[must_use]
    pub fn peek(&self, look: impl Fn(Keyed<'_, K, V>) + Send + Sync + 'static) -> Self {
        let look: On<K, V, ()> = Arc::new(look);
        self.then("peek", move |next| Box::new(Peek { look: look.clone(), next }))
    }

    /// Divides the stream into `N`: each value goes to the one that `class` tells, from 0 on, and to none beyond.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// let app = App::new("shop");
    /// let numbers = app.stream::<String, u64>("numbers");
    /// let [even, odd] = numbers.branch(|number| (*number.value % 2) as usize);
    /// ```
    #[must_use]
    pub fn branch<const N: usize>(
        &self,
        class: impl Fn(Keyed<'_, K, V>) -> usize + Send + Sync + 'static,
    ) -> [Self; N] {
        let class: On<K, V, usize> = Arc::new(class);
        std::array::from_fn(|index| {
            let class = class.clone();
            let test: On<K, V, bool> = Arc::new(move |item| class(item) == index);
            self.then("branch", move |next| Box::new(Filter { test: test.clone(), next }))
        })
    }

    /// The values of both streams; in the order of their times where both wait.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let node = Node::stateless("merge", vec![self.node.clone(), other.node.clone()]);
        let (ours, others) = (self.attach.clone(), other.attach.clone());
        let attach = move |building: &mut Building<'_>, next: Next<K, V>| {
            let next = Shared::new(next);
            ours(building, Box::new(next.clone()));
            others(building, Box::new(next));
        };
        Self::of_parts(node, self.route.clone(), Arc::new(attach))
    }

    /// Appends every value, under the key it has, to a topic that other programs may read, with its headers and time.
    ///
    /// Exactly once, for who reads committed records only. The topic's name is also the emitter's, unless
    /// [named](Emitter::named) otherwise.
    pub fn to(&self, topic: impl Into<Topic<K, V>>) -> Emitter {
        let topic = topic.into();
        let name = topic.name().to_owned();
        self.to_chosen([topic], |_| 0).named(name)
    }

    /// Appends every value to one of several topics: the one whose index `choose` tells.
    ///
    /// The emitter is named after the first topic, unless [named](Emitter::named) otherwise. An index without a topic
    /// stops the shard.
    ///
    /// # Panics
    ///
    /// If there are no topics.
    pub fn to_chosen<T: Into<Topic<K, V>>>(
        &self,
        topics: impl IntoIterator<Item = T>,
        choose: impl Fn(Keyed<'_, K, V>) -> usize + Send + Sync + 'static,
    ) -> Emitter {
        let topics: Vec<Topic<K, V>> = topics.into_iter().map(Into::into).collect();
        let name = topics.first().expect("a stream goes to one topic at least").name().to_owned();
        let to: Vec<_> = topics.iter().map(|topic| TopicRef::Shared(topic.name().to_owned())).collect();
        let codecs: Vec<_> =
            to.iter().cloned().zip(topics.iter().map(|topic| topic.codecs().clone())).collect();
        Emitter { definition: self.appending(name, to, topics, Arc::new(choose)).writing(codecs) }
    }

    fn appending(
        &self,
        name: String,
        to: Vec<TopicRef>,
        topics: Vec<Topic<K, V>>,
        choose: On<K, V, usize>,
    ) -> Definition {
        let (attach, operator) = (self.attach.clone(), TopicRef::appender(&to));
        let build = move |building: &mut Building<'_>| {
            let target = |(index, topic): (usize, &Topic<K, V>)| Target {
                partitions: building.target(index),
                writes: topic.writes(),
            };
            let targets = topics.iter().enumerate().map(target).collect();
            let append = building.counted(&operator, AppendTo { targets, choose: choose.clone() });
            attach(building, append);
        };
        Definition::new(name, Kind::Emitter { to }, self.node.clone(), Arc::new(build))
    }

    /// Calls `effect` with every value, in order per partition.
    ///
    /// At least once: after a crash, and on another instance, what came after the last kept position comes again. The
    /// name decides the group and where the position is kept.
    pub fn for_each(
        &self,
        name: impl Into<String>,
        effect: impl Fn(Keyed<'_, K, V>) + Send + Sync + 'static,
    ) -> Observer {
        let name = name.into();
        let effect = Arc::new(effect);
        let (attach, operator) = (self.attach.clone(), name.clone());
        let build = move |building: &mut Building<'_>| {
            let effect = effect.clone();
            let effect = ForEach { effect: move |item: Keyed<'_, K, V>| effect(item) };
            let counted = building.counted(&operator, effect);
            attach(building, counted);
        };
        let end = Node::stateless("for_each", vec![self.node.clone()]);
        Observer { definition: Definition::new(name, Kind::Observer, end, Arc::new(build)) }
    }
}

impl<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static, P> Stream<K, V, P> {
    /// Groups the values by another key, through the topic `<app>.<name>`.
    ///
    /// The first component of a tuple is the key's partition part: it alone decides the shard, so that all keys of one
    /// partition part can be asked for together.
    pub fn group_by<L: Key>(
        &self,
        name: impl Into<String>,
        key_of: impl Fn(Keyed<'_, K, V>) -> L + Send + Sync + 'static,
    ) -> Grouped<L, V> {
        Grouped { stream: self.select_key(key_of).repartition(name) }
    }

    /// Brings equal keys together in one partition, through the topic `<app>.<name>`.
    #[must_use]
    pub fn repartition(&self, name: impl Into<String>) -> Stream<K, V> {
        let name = name.into();
        let topic = Topic::from(name.clone());
        let read = topic.read();
        let to = vec![TopicRef::Own(name.clone())];
        let definition = self.appending(name.clone(), to, vec![topic], Arc::new(|_| 0));
        Stream::of(name, Some(Arc::new(definition)), read)
    }
}

// What needs equal keys together says so at the method: the compiler gives its advice there, and not for a whole `impl`.
impl<K: Key, V: Send + Sync + 'static, P> Stream<K, V, P> {
    /// Groups the values by the key they have.
    pub fn group_by_key(&self) -> Grouped<K, V>
    where
        P: IsInPlace,
    {
        let stream = Stream::of_parts(self.node.clone(), self.route.clone(), self.attach.clone());
        Grouped { stream }
    }
}

impl<K: Key, V: Value, P> Stream<K, V, P> {
    /// A table of the last value of each key.
    ///
    /// Of a stream of `Option`s, [`Stream::to_table_with_deletes`] removes a key whose value is absent.
    pub fn to_table(&self, store: Store) -> Table<K, V>
    where
        P: IsInPlace,
    {
        self.map_values(|item| Some(item.value.clone())).to_table_with_deletes(store)
    }
}

impl<K: Key, V: Value, P> Stream<K, Option<V>, P> {
    /// A table of the last value of each key; an absent value removes the key.
    pub fn to_table_with_deletes(&self, store: Store) -> Table<K, V>
    where
        P: IsInPlace,
    {
        if let Some(history) = store.history {
            return versioned_table(self, store, history);
        }
        let (spec, rows) = (StoreSpec::rows(&store), store.rows);
        let attach = self.attach.clone();
        Table::kept("table", store, spec, &[&self.node], self.route.clone(), move |building, store, next| {
            let format = if next.is_some() { RowFormat::Timed } else { rows };
            let table = building.table(store, "");
            let keep = building.counted(store, Materialise { table, format, next });
            attach(building, keep);
        })
    }
}

impl<K: Key, V: Send + Sync + 'static, P> Stream<Option<K>, Option<V>, P> {
    /// The values that are there, under keys that are there; the others are counted by `name` and gone on without.
    #[must_use]
    pub fn present(&self, name: impl Into<Arc<str>>) -> Stream<K, V, P> {
        let operator = name.into();
        let nullable = self.route.clone();
        // A key that is there lies where it would lie if it could not be absent.
        let route = Route::new(move |key: &K| nullable.of(&Some(key.clone())));
        let node = Node::stateless("present", vec![self.node.clone()]);
        let (attach, present) = (self.attach.clone(), node.clone());
        let attach = move |building: &mut Building<'_>, next| {
            if building.is_first(&present) {
                let counts = Some(operator.clone());
                let counted = building.counted(&operator, Present { counts, next });
                attach(building, counted);
            } else {
                attach(building, Box::new(Present { counts: None, next }));
            }
        };
        Stream::of_parts(node, route, Arc::new(attach))
    }
}
