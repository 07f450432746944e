//! The language of topologies: several grouped streams aggregated into one table (KIP-150).
//!
//! Each stream's values become what they do to the state, so that all of them are one stream to whatever aggregates it.

use std::sync::Arc;

use headwater_core::key::Key;

use super::Value;
use super::grouped::Grouped;
use super::node::Node;
use super::store::Store;
use super::stream::{InPlace, Stream};
use super::table::Table;
use super::windowed::{SessionGroup, WindowedGroup};
use super::windows::Windows;
use crate::engine::flow::Keyed;
use crate::engine::operators::window::Windowed;

/// What a value does to the state of its key.
type Effect<S> = Arc<dyn Fn(&mut S) + Send + Sync>;

/// Several grouped streams, ready to be aggregated together.
pub struct Cogrouped<K, S> {
    effects: Stream<K, Effect<S>>,
}

impl<K, S> Clone for Cogrouped<K, S> {
    fn clone(&self) -> Self {
        Self { effects: self.effects.clone() }
    }
}

impl<K: Key, V: Value> Grouped<K, V> {
    /// Begins a state that several grouped streams are folded into, each in its own way; it begins as its default.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// let mut app = App::new("shop");
    /// let clicks = app.stream::<String, String>("clicks").group_by_key();
    /// let orders = app.stream::<String, u64>("orders").group_by_key();
    /// let both = clicks
    ///     .cogroup(|customer: &mut (u64, u64), _| customer.0 += 1)
    ///     .cogroup(&orders, |customer, order| customer.1 += order.value);
    /// let customers = app.view(both.fold(Store::named("customers")));
    /// # app.check().unwrap();
    /// ```
    pub fn cogroup<S: Default + Value>(
        &self,
        step: impl Fn(&mut S, Keyed<'_, K, V>) + Send + Sync + 'static,
    ) -> Cogrouped<K, S> {
        Cogrouped { effects: effects(self, step) }
    }
}

impl<K: Key, S: Default + Value> Cogrouped<K, S> {
    /// Folds another grouped stream into the same state, in its own way.
    #[must_use]
    pub fn cogroup<V: Value>(
        &self,
        other: &Grouped<K, V>,
        step: impl Fn(&mut S, Keyed<'_, K, V>) + Send + Sync + 'static,
    ) -> Self {
        Self { effects: self.effects.merge(&effects(other, step)) }
    }

    /// Folds the values of each key.
    pub fn fold(&self, store: Store) -> Table<K, S> {
        self.grouped().fold(store, run)
    }

    /// Divides the values of each key into windows.
    pub fn window<W: Windows>(&self, windows: W) -> CogroupedWindows<W::Of<K, Effect<S>>> {
        CogroupedWindows { group: self.grouped().window(windows) }
    }

    fn grouped(&self) -> Grouped<K, Effect<S>> {
        let Stream { node, route, attach, .. } = self.effects.clone();
        Grouped { stream: Stream::of_parts(Node::stateless("cogroup", vec![node]), route, attach) }
    }
}

/// Several grouped streams divided into windows, ready to be aggregated together.
#[derive(Clone)]
pub struct CogroupedWindows<G> {
    group: G,
}

impl<K: Key, S: Default + Value> CogroupedWindows<WindowedGroup<K, Effect<S>>> {
    /// Tells those that follow of a window once, as [`WindowedGroup::emit_on_close`].
    #[must_use]
    pub fn emit_on_close(self) -> Self {
        Self { group: self.group.emit_on_close() }
    }

    /// Folds the values of each key and window.
    pub fn fold(&self, store: Store) -> Table<Windowed<K>, S> {
        self.group.fold(store, run)
    }
}

impl<K: Key, S: Default + Value> CogroupedWindows<SessionGroup<K, Effect<S>>> {
    /// Tells those that follow of a session once, as [`WindowedGroup::emit_on_close`].
    #[must_use]
    pub fn emit_on_close(self) -> Self {
        Self { group: self.group.emit_on_close() }
    }

    /// Folds the values of each session; `merge` makes one state of two, as in [`SessionGroup::fold`].
    pub fn fold(
        &self,
        store: Store,
        merge: impl Fn(&K, S, S) -> S + Send + Sync + 'static,
    ) -> Table<Windowed<K>, S> {
        self.group.fold(store, run, merge)
    }
}

fn effects<K: Key, V: Value, S: Value>(
    group: &Grouped<K, V>,
    step: impl Fn(&mut S, Keyed<'_, K, V>) + Send + Sync + 'static,
) -> Stream<K, Effect<S>, InPlace> {
    let step = Arc::new(step);
    group.stream.map_values(move |item| {
        let (step, key, value, meta) =
            (step.clone(), item.key.clone(), item.value.clone(), item.meta.clone());
        let effect: Effect<S> =
            Arc::new(move |state| step(state, Keyed { key: &key, value: &value, meta: &meta }));
        effect
    })
}

fn run<K, S>(state: &mut S, item: Keyed<'_, K, Effect<S>>) {
    (item.value)(state);
}
