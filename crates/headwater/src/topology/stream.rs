//! The language of topologies: streams, grouped streams and tables.

use std::sync::Arc;

use headwater_core::codec::{Codec, Json};
use headwater_core::key::{Key, decode_text};
use headwater_core::store::TableId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::definition::{Definition, Kind, ShardPlace, Store};
use crate::engine::flow::Keyed;
use crate::engine::operators::{
    Filter, FlatMapValues, FoldInto, MapValues, Next, RecordSink, Repartition, Source,
};

/// Attaches the rest of a chain to its source.
type Attach<K, V> = Arc<dyn Fn(&ShardPlace, Next<K, V>) -> Box<dyn RecordSink> + Send + Sync>;

/// Keyed values, one after another: what a topic holds, after any number of operators.
///
/// A stream is a description; nothing runs before an app that uses it is started. Cheap to clone, and every clone may
/// be used for a view of its own.
pub struct Stream<K, V> {
    pub(crate) source: String,
    pub(crate) upstream: Vec<Arc<Definition>>,
    operators: Vec<String>,
    attach: Attach<K, V>,
}

impl<K, V> Clone for Stream<K, V> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            upstream: self.upstream.clone(),
            operators: self.operators.clone(),
            attach: self.attach.clone(),
        }
    }
}

impl<K: Key, V: Send + Sync + 'static> Stream<K, V> {
    /// The stream of a topic whose records `read` reads.
    pub(crate) fn of(
        source: String,
        upstream: Vec<Arc<Definition>>,
        read: crate::engine::operators::Read<K, V>,
    ) -> Self {
        let attach: Attach<K, V> = Arc::new(move |place: &ShardPlace, next| {
            Box::new(Source { partition: place.shard, read: read.clone(), next }) as Box<dyn RecordSink>
        });
        Self { source, upstream, operators: Vec::new(), attach }
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
            kind: Kind::Emitter { to: name.clone() },
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
        Table { upstream: self.stream.upstream.clone(), definition, types: std::marker::PhantomData }
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
