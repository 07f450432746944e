//! The language of topologies: values grouped by their keys, and what they are aggregated to.

use std::sync::Arc;

use headwater_core::key::Key;

use super::Value;
use super::node::StoreSpec;
use super::store::Store;
use super::stream::Stream;
use super::table::Table;
use crate::engine::flow::Keyed;
use crate::engine::operators::{Aggregate, Step};
use crate::engine::row::RowFormat;

/// A stream whose equal keys lie in one partition: ready to be aggregated.
pub struct Grouped<K, V> {
    pub(crate) stream: Stream<K, V>,
}

impl<K, V> Clone for Grouped<K, V> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone() }
    }
}

impl<K: Key, V: Send + Sync + 'static> Grouped<K, V> {
    /// Folds the values of each key into a state that begins as its default.
    pub fn fold<S: Default + Value>(
        &self,
        store: Store,
        step: impl Fn(&mut S, Keyed<'_, K, V>) + Send + Sync + 'static,
    ) -> Table<K, S> {
        self.stepping("fold", store, Arc::new(move |state, item| step(state.get_or_insert_default(), item)))
    }

    /// Counts the values of each key.
    pub fn count(&self, store: Store) -> Table<K, u64> {
        let step: Step<K, V, u64> = Arc::new(|count, _| *count.get_or_insert_default() += 1);
        self.stepping("count", store, step)
    }

    /// Aggregates the values of each key: `step` is given the state so far, if there is one, and answers the next;
    /// without one the key is removed.
    pub fn aggregate<S: Value>(
        &self,
        store: Store,
        step: impl Fn(Option<S>, Keyed<'_, K, V>) -> Option<S> + Send + Sync + 'static,
    ) -> Table<K, S> {
        self.stepping("aggregate", store, Arc::new(move |state, item| *state = step(state.take(), item)))
    }

    fn stepping<S: Value>(&self, label: &'static str, store: Store, step: Step<K, V, S>) -> Table<K, S> {
        let Stream { node, route, attach, .. } = self.stream.clone();
        let (spec, rows) = (StoreSpec::rows(&store), store.rows);
        Table::kept(label, store, spec, &[&node], route, move |building, store, next| {
            let format = if next.is_some() { RowFormat::Timed } else { rows };
            let table = building.table(store, "");
            let aggregate = building.counted(store, Aggregate::new(table, format, step.clone(), next));
            attach(building, aggregate);
        })
    }
}

impl<K: Key, V: Value> Grouped<K, V> {
    /// Reduces the values of each key to one: the first is the first state.
    pub fn reduce(
        &self,
        store: Store,
        step: impl Fn(V, Keyed<'_, K, V>) -> V + Send + Sync + 'static,
    ) -> Table<K, V> {
        let step: Step<K, V, V> = Arc::new(move |state, item| {
            *state = Some(match state.take() {
                None => item.value.clone(),
                Some(so_far) => step(so_far, item),
            });
        });
        self.stepping("reduce", store, step)
    }
}
