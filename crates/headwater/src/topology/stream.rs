//! The language of topologies: streams, grouped streams and tables.

use std::sync::Arc;

use headwater_core::codec::{Codec, Json};
use headwater_core::key::{Key, decode_text};
use headwater_core::store::TableId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::definition::{Definition, Kind, ShardPlace, Store};
use super::topic::{Route, Topic, TopicRef, text_route};
use crate::engine::flow::Keyed;
use crate::engine::operators::{
    AppendTo, Filter, FlatMapValues, FoldInto, ForEach, MapValues, Next, Read, RecordSink, Repartition,
    Source,
};

/// Attaches the rest of a chain to its source.
type Attach<K, V> = Arc<dyn Fn(&ShardPlace, Next<K, V>) -> Box<dyn RecordSink> + Send + Sync>;

/// Keyed values, one after another: what a topic holds, after any number of operators.
///
/// A stream is a description; nothing runs before an app that uses it is started. Cheap to clone, and every clone may
/// be used for a view of its own.
pub struct Stream<K, V> {
    source: TopicRef,
    upstream: Vec<Arc<Definition>>,
    operators: Vec<String>,
    route: Route<K>,
    attach: Attach<K, V>,
}

impl<K, V> Clone for Stream<K, V> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            upstream: self.upstream.clone(),
            operators: self.operators.clone(),
            route: self.route.clone(),
            attach: self.attach.clone(),
        }
    }
}

impl<K: Key, V: Send + Sync + 'static> Stream<K, V> {
    /// The stream of a topic of the app, with keys in their text form, whose records `read` reads.
    pub(crate) fn of(name: String, upstream: Vec<Arc<Definition>>, read: Read<K, V>) -> Self {
        Self::new(TopicRef::Own(name), upstream, text_route(), read)
    }

    /// The stream of a topic by its own name.
    pub(crate) fn of_topic(topic: &Topic<K, V>) -> Self {
        let source = TopicRef::Shared(topic.name().to_owned());
        Self::new(source, Vec::new(), topic.route(), topic.read())
    }

    fn new(source: TopicRef, upstream: Vec<Arc<Definition>>, route: Route<K>, read: Read<K, V>) -> Self {
        let attach: Attach<K, V> = Arc::new(move |place: &ShardPlace, next| {
            Box::new(Source { partition: place.shard, read: read.clone(), next }) as Box<dyn RecordSink>
        });
        Self { source, upstream, operators: Vec::new(), route, attach }
    }

    fn then<W>(
        &self,
        operator: &str,
        link: impl Fn(Next<K, W>) -> Next<K, V> + Send + Sync + 'static,
    ) -> Stream<K, W>
    where
        W: 'static,
    {
        let attach = self.attach.clone();
        let mut operators = self.operators.clone();
        operators.push(operator.to_owned());
        Stream {
            source: self.source.clone(),
            upstream: self.upstream.clone(),
            operators,
            route: self.route.clone(),
            attach: Arc::new(move |place: &ShardPlace, next| attach(place, link(next))),
        }
    }

    /// Keeps the values that pass `test`.
    #[must_use]
    pub fn filter(&self, test: impl Fn(Keyed<'_, K, V>) -> bool + Send + Sync + 'static) -> Self {
        let test: Arc<dyn Fn(Keyed<'_, K, V>) -> bool + Send + Sync> = Arc::new(test);
        self.then("filter", move |next| Box::new(Filter { test: test.clone(), next }))
    }

    /// Changes each value; the key stays.
    #[must_use]
    pub fn map_values<W: Send + Sync + 'static>(
        &self,
        change: impl Fn(Keyed<'_, K, V>) -> W + Send + Sync + 'static,
    ) -> Stream<K, W> {
        let change: Arc<dyn Fn(Keyed<'_, K, V>) -> W + Send + Sync> = Arc::new(change);
        self.then("map_values", move |next| Box::new(MapValues { change: change.clone(), next }))
    }

    /// Changes each value into any number of values; the key stays.
    #[must_use]
    pub fn flat_map_values<W: Send + Sync + 'static>(
        &self,
        change: impl Fn(Keyed<'_, K, V>) -> Vec<W> + Send + Sync + 'static,
    ) -> Stream<K, W> {
        let change: Arc<dyn Fn(Keyed<'_, K, V>) -> Vec<W> + Send + Sync> = Arc::new(change);
        self.then("flat_map_values", move |next| Box::new(FlatMapValues { change: change.clone(), next }))
    }

    /// Appends every value, under the key it has, to a topic that other programs may read, with its headers and time.
    ///
    /// Exactly once, for who reads committed records only. The topic's name is also the emitter's, unless
    /// [named](Emitter::named) otherwise.
    pub fn to(&self, topic: impl Into<Topic<K, V>>) -> Emitter {
        let topic = topic.into();
        let to = TopicRef::Shared(topic.name().to_owned());
        let name = topic.name().to_owned();
        let attach = self.attach.clone();
        let chain = move |place: &ShardPlace| {
            let (to, keys, values) = (place.to.clone(), topic.keys().clone(), topic.values().clone());
            attach(place, Box::new(AppendTo { to, keys, values }))
        };
        let definition = Definition {
            name,
            version: 1,
            kind: Kind::Emitter { to },
            source: self.source.clone(),
            operators: self.operators.clone(),
            chain: Arc::new(chain),
        };
        Emitter { upstream: self.upstream.clone(), definition }
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
        let effect = Arc::new(effect);
        let attach = self.attach.clone();
        let chain = move |place: &ShardPlace| {
            let effect = effect.clone();
            attach(place, Box::new(ForEach { effect: move |item: Keyed<'_, K, V>| effect(item) }))
        };
        let mut operators = self.operators.clone();
        operators.push("for_each".to_owned());
        let definition = Definition {
            name: name.into(),
            version: 1,
            kind: Kind::Observer,
            source: self.source.clone(),
            operators,
            chain: Arc::new(chain),
        };
        Observer { upstream: self.upstream.clone(), definition }
    }

    /// Groups the values by the key they have.
    pub fn group_by_key(&self) -> Grouped<K, V> {
        Grouped { stream: self.clone() }
    }
}

impl<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static> Stream<K, V> {
    /// Groups the values by another key, through the topic `<app>.<name>`.
    ///
    /// The first component of a tuple is the key's partition part: it alone decides the shard, so that all keys of one
    /// partition part can be asked for together.
    pub fn group_by<L: Key>(
        &self,
        name: impl Into<String>,
        key_of: impl Fn(Keyed<'_, K, V>) -> L + Send + Sync + 'static,
    ) -> Grouped<L, V> {
        let name = name.into();
        let key_of: Arc<dyn Fn(Keyed<'_, K, V>) -> L + Send + Sync> = Arc::new(key_of);
        let attach = self.attach.clone();
        let chain = move |place: &ShardPlace| {
            attach(place, Box::new(Repartition { to: place.to.clone(), key_of: key_of.clone() }))
        };
        let definition = Definition {
            name: name.clone(),
            version: 1,
            kind: Kind::Emitter { to: TopicRef::Own(name.clone()) },
            source: self.source.clone(),
            operators: self.operators.clone(),
            chain: Arc::new(chain),
        };
        let mut upstream = self.upstream.clone();
        upstream.push(Arc::new(definition));
        Grouped { stream: Stream::of(name, upstream, Arc::new(read_json)) }
    }
}

/// Reads a record whose key is text and whose value is JSON, as repartition topics have them.
fn read_json<K: Key, V: Serialize + DeserializeOwned>(
    record: &headwater_core::record::StoredRecord,
) -> Result<Option<(K, V)>, String> {
    let record = &record.record;
    let (Some(key), Some(value)) = (&record.key, &record.value) else { return Ok(None) };
    let key = decode_text(key).map_err(|e| e.to_string())?;
    let value = Json.decode(value).map_err(|e| e.to_string())?;
    Ok(Some((key, value)))
}

/// A stream whose equal keys lie in one partition: ready to be folded.
pub struct Grouped<K, V> {
    stream: Stream<K, V>,
}

impl<K, V> Clone for Grouped<K, V> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone() }
    }
}

impl<K: Key, V: Send + Sync + 'static> Grouped<K, V> {
    /// Folds the values of each key into a state that begins as its default.
    pub fn fold<S>(
        &self,
        store: Store,
        step: impl Fn(&mut S, Keyed<'_, K, V>) + Send + Sync + 'static,
    ) -> Table<K, S>
    where
        S: Default + Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let step: Arc<dyn Fn(&mut S, Keyed<'_, K, V>) + Send + Sync> = Arc::new(step);
        let attach = self.stream.attach.clone();
        let chain =
            move |place: &ShardPlace| attach(place, Box::new(FoldInto::new(TableId(0), step.clone())));
        let definition = Definition {
            name: store.name,
            version: 1,
            kind: Kind::Fold { replicated: false },
            source: self.stream.source.clone(),
            operators: self.stream.operators.clone(),
            chain: Arc::new(chain),
        };
        let Stream { upstream, route, .. } = self.stream.clone();
        Table { upstream, definition, route, types: std::marker::PhantomData }
    }

    /// Counts the values of each key.
    pub fn count(&self, store: Store) -> Table<K, u64> {
        self.fold(store, |count: &mut u64, _| *count += 1)
    }
}

/// A table that a topology keeps, ready to be shown as a view.
pub struct Table<K, S> {
    pub(crate) upstream: Vec<Arc<Definition>>,
    pub(crate) definition: Definition,
    pub(crate) route: Route<K>,
    types: std::marker::PhantomData<fn() -> (K, S)>,
}

impl<K, S> Table<K, S> {
    /// Declares the version of the fold, from 1. A table of another version is built anew, beside the old one, which
    /// serves until the new one has caught up.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.definition.version = version;
        self
    }

    /// Has every instance hold the whole table.
    #[must_use]
    pub fn replicated(mut self) -> Self {
        self.definition.kind = Kind::Fold { replicated: true };
        self
    }
}

/// A stream on its way to a topic, ready to be run by an app.
#[must_use = "an emitter runs in the app that it is added to"]
pub struct Emitter {
    pub(crate) upstream: Vec<Arc<Definition>>,
    pub(crate) definition: Definition,
}

impl Emitter {
    /// Names it, and with it its group, otherwise than its topic.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.definition.name = name.into();
        self
    }

    /// Declares its version, from 1. Another version begins anew, and must append to another topic.
    pub fn version(mut self, version: u32) -> Self {
        self.definition.version = version;
        self
    }
}

/// A stream that ends in the user's code, ready to be run by an app.
#[must_use = "an observer runs in the app that it is added to"]
pub struct Observer {
    pub(crate) upstream: Vec<Arc<Definition>>,
    pub(crate) definition: Definition,
}
