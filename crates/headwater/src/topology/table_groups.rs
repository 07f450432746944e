//! The language of topologies: tables grouped by another key, and what they are aggregated to.

use std::sync::Arc;

use headwater_core::key::Key;

use super::Value;
use super::building::Building;
use super::node::{Node, StoreSpec};
use super::route::Route;
use super::store::Store;
use super::stream::{Moved, Stream};
use super::table::Table;
use crate::engine::flow::Keyed;
use crate::engine::operators::{Add, AggregateChanges, Change, FlatMap, Next, Subtract, regrouped};
use crate::engine::row::RowFormat;

/// A table whose rows lie under another key: ready to be aggregated.
///
/// A row that changes is taken back from the aggregate that it was in, and added to the one where it belongs now.
pub struct Regrouped<K, V> {
    changes: Stream<K, Change<V>>,
}

impl<K, V> Clone for Regrouped<K, V> {
    fn clone(&self) -> Self {
        Self { changes: self.changes.clone() }
    }
}

impl<K: Key, V: Value> Table<K, V> {
    /// Groups the rows by another key, with other values, through the topic `<app>.<name>`.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// let mut app = App::new("shop");
    /// // Where each customer lives, and how many live in each town.
    /// let towns = app.table::<String, String>("towns");
    /// let by_town = towns.group_by("customers-by-town", |customer, town| (town.clone(), customer.clone()));
    /// let customers = app.view(by_town.count(Store::named("customers-in-town")));
    /// # app.check().unwrap();
    /// ```
    pub fn group_by<L: Key, W: Value>(
        &self,
        name: impl Into<String>,
        row_of: impl Fn(&K, &V) -> (L, W) + Send + Sync + 'static,
    ) -> Regrouped<L, W> {
        let attach = self.attach.clone();
        let row_of = Arc::new(row_of);
        let attach = move |building: &mut Building<'_>, next: Next<L, Change<W>>| {
            let row_of = row_of.clone();
            let change = move |item: Keyed<'_, K, Change<V>>| {
                let row = |value: &Option<V>| value.as_ref().map(|value| row_of(item.key, value));
                regrouped(row(&item.value.old), row(&item.value.new)).collect()
            };
            attach(building, Box::new(FlatMap { change: Arc::new(change), next }));
        };
        let node = Node::stateless("group_by", vec![self.node.clone()]);
        let moved: Stream<L, Change<W>, Moved> = Stream::of_parts(node, Route::text(), Arc::new(attach));
        Regrouped { changes: moved.repartition(name) }
    }
}

impl<K: Key, V: Value> Regrouped<K, V> {
    /// Counts the rows of each key; a key that had rows and has none any more is 0.
    pub fn count(&self, store: Store) -> Table<K, u64> {
        let add: Add<K, V, u64> = Arc::new(|count, _| Some(count.unwrap_or(0) + 1));
        // A store that was rebuilt beside its topic cannot count below nothing.
        let subtract: Subtract<K, V, u64> = Arc::new(|count: u64, _| Some(count.saturating_sub(1)));
        self.combined("count", store, add, subtract)
    }

    /// Reduces the values of each key to one: the first is the first state. What `subtract` gives back stays when
    /// nothing is added.
    pub fn reduce(
        &self,
        store: Store,
        add: impl Fn(V, Keyed<'_, K, V>) -> V + Send + Sync + 'static,
        subtract: impl Fn(V, Keyed<'_, K, V>) -> V + Send + Sync + 'static,
    ) -> Table<K, V> {
        let add: Add<K, V, V> = Arc::new(move |state, item| {
            Some(match state {
                None => item.value.clone(),
                Some(state) => add(state, item),
            })
        });
        let subtract: Subtract<K, V, V> = Arc::new(move |state, item| Some(subtract(state, item)));
        self.combined("reduce", store, add, subtract)
    }

    /// Folds the values of each key into a state that begins as its default.
    pub fn fold<S: Default + Value>(
        &self,
        store: Store,
        add: impl Fn(&mut S, Keyed<'_, K, V>) + Send + Sync + 'static,
        subtract: impl Fn(&mut S, Keyed<'_, K, V>) + Send + Sync + 'static,
    ) -> Table<K, S> {
        let add: Add<K, V, S> = Arc::new(move |state, item| {
            let mut state = state.unwrap_or_default();
            add(&mut state, item);
            Some(state)
        });
        let subtract: Subtract<K, V, S> = Arc::new(move |mut state, item| {
            subtract(&mut state, item);
            Some(state)
        });
        self.combined("fold", store, add, subtract)
    }

    /// Aggregates the values of each key: `add` is given the state so far, if there is one, and `subtract` the one to
    /// take a value back from; without an answer the key is removed.
    pub fn aggregate<S: Value>(
        &self,
        store: Store,
        add: impl Fn(Option<S>, Keyed<'_, K, V>) -> Option<S> + Send + Sync + 'static,
        subtract: impl Fn(S, Keyed<'_, K, V>) -> Option<S> + Send + Sync + 'static,
    ) -> Table<K, S> {
        self.combined("aggregate", store, Arc::new(add), Arc::new(subtract))
    }

    fn combined<S: Value>(
        &self,
        label: &'static str,
        store: Store,
        add: Add<K, V, S>,
        subtract: Subtract<K, V, S>,
    ) -> Table<K, S> {
        let Stream { node, route, attach, .. } = self.changes.clone();
        let spec = StoreSpec::rows(&store);
        Table::kept(label, store, spec, &[&node], route, move |building, store, next| {
            let format = if next.is_some() { RowFormat::Timed } else { RowFormat::Plain };
            let table = building.table(store, "");
            let (add, subtract) = (add.clone(), subtract.clone());
            let combine = AggregateChanges { table, format, add, subtract, next };
            let combine = building.counted(store, combine);
            attach(building, combine);
        })
    }
}
