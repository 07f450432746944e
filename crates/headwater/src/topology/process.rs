//! The language of topologies: operators of the user's own.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use headwater_core::key::Key;

use super::Value;
use super::building::Building;
use super::node::{Node, StoreSpec};
use super::route::Route;
use super::store::Store;
use super::stream::{IsInPlace, Moved, Stream};
use crate::engine::operators::{Next, Process, Processor, Schedule, Shared};

/// How often a [`Processor`] is called beside its records; never unless said.
///
/// ```
/// use headwater::prelude::*;
/// use headwater::Timers;
///
/// let timers = Timers::default().stream_time(minutes(1)).wall_clock(seconds(10));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "timers are given to `Stream::process`"]
pub struct Timers(Schedule);

impl Timers {
    /// Calls whenever so much time has passed by the times of the records.
    pub fn stream_time(self, every: Duration) -> Self {
        Self(Schedule { stream_time: Some(every), ..self.0 })
    }

    /// Calls whenever so much time has passed by the clock on the wall.
    ///
    /// What comes of it is not the same when it is done again, so a view of it is folded from a topic of its own.
    pub fn wall_clock(self, every: Duration) -> Self {
        Self(Schedule { wall_clock: Some(every), ..self.0 })
    }
}

/// A store of a processor beside its own rows, with types of its own.
///
/// The processor is given it where it is declared, and reads and writes it by this handle
/// ([`Processing::store`](crate::Processing::store)). Cheap to clone.
pub struct StoreOf<K, R> {
    store: Store,
    types: PhantomData<fn() -> (K, R)>,
}

impl<K, R> Clone for StoreOf<K, R> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), types: PhantomData }
    }
}

impl<K: Key, R: Value> StoreOf<K, R> {
    /// A store with this name. The name alone decides where its rows lie.
    pub fn named(name: impl Into<String>) -> Self {
        Self::kept(Store::named(name))
    }

    /// The same, kept as a store's options tell.
    pub fn kept(store: Store) -> Self {
        Self { store, types: PhantomData }
    }

    pub(crate) fn name(&self) -> &str {
        &self.store.name
    }
}

/// The stores of a [`Processor`]: the one of its own rows, and any number beside it.
///
/// A [`Store`] alone will do where there is one.
#[derive(Debug, Clone)]
#[must_use = "stores are given to `Stream::process`"]
pub struct ProcessorStores {
    own: Store,
    others: Vec<Store>,
}

impl From<Store> for ProcessorStores {
    fn from(own: Store) -> Self {
        Self { own, others: Vec::new() }
    }
}

impl Store {
    /// Gives a processor another store beside this one, in which its own rows are.
    pub fn and<K, R>(self, other: &StoreOf<K, R>) -> ProcessorStores {
        ProcessorStores::from(self).and(other)
    }
}

impl ProcessorStores {
    /// The same with another one.
    pub fn and<K, R>(mut self, other: &StoreOf<K, R>) -> Self {
        self.others.push(other.store.clone());
        self
    }
}

impl<K: 'static, V: 'static, P> Stream<K, V, P> {
    /// Hands each value to an operator of the user's own, which keeps rows in a store.
    ///
    /// `make` makes one for each shard, and again after a restart.
    ///
    /// ```
    /// use headwater::core::clock::Timestamp;
    /// use headwater::prelude::*;
    /// use headwater::testing::Driver;
    /// use headwater::{Keyed, Processing, Processor, Timers};
    ///
    /// /// Hands on values that are larger than all before them under the same key.
    /// struct Records;
    ///
    /// impl Processor for Records {
    ///     type Key = String;
    ///     type Value = u64;
    ///     type OutKey = String;
    ///     type OutValue = u64;
    ///     type RowKey = String;
    ///     type Row = u64;
    ///
    ///     fn process(&mut self, item: Keyed<'_, String, u64>, next: &mut Processing<'_, '_, Self>) {
    ///         if next.get(item.key).is_none_or(|best| *item > best) {
    ///             next.put(item.key, item.value);
    ///             next.forward(item.key, item.value);
    ///         }
    ///     }
    /// }
    ///
    /// let mut app = App::new("sports");
    /// let jumps = app.stream::<String, u64>("jumps");
    /// app.emitter(jumps.process(Store::named("best"), Timers::default(), || Records).to("records"));
    ///
    /// let mut driver = Driver::new(&app);
    /// for (jump, time) in [(3, 0), (2, 1), (5, 2)] {
    ///     driver.pipe("jumps", "ann".to_owned(), jump, Timestamp(time));
    /// }
    /// let records: Vec<_> = driver.read::<String, u64>("records").into_iter().map(|(_, jump, _)| jump).collect();
    /// assert_eq!(records, [3, 5]);
    /// ```
    ///
    /// A processor may have several stores, each with types of its own: see [`StoreOf`].
    pub fn process<R: Processor<Key = K, Value = V>>(
        &self,
        stores: impl Into<ProcessorStores>,
        Timers(schedule): Timers,
        make: impl Fn() -> R + Send + Sync + 'static,
    ) -> Stream<R::OutKey, R::OutValue, Moved>
    where
        P: IsInPlace,
    {
        let ProcessorStores { own: store, others } = stores.into();
        let mut specs = vec![StoreSpec::of(&store, &["", "times"])];
        specs.extend(others.iter().map(StoreSpec::rows));
        let node = Node::process(specs, self.node.clone(), schedule.wall_clock.is_none());
        let (upstream, make) = (self.attach.clone(), Arc::new(make));
        let attach = {
            let node = node.clone();
            move |building: &mut Building<'_>, next: Next<R::OutKey, R::OutValue>| {
                building.once(&node, next, |building, next| {
                    let tables = (building.table(&store.name, ""), building.table(&store.name, "times"));
                    let others = others.iter().map(|other| {
                        let name: Arc<str> = other.name.as_str().into();
                        (name, building.table(&other.name, ""))
                    });
                    let process = Process::new(make(), schedule, tables, others.collect(), next);
                    let process = Shared::new(process);
                    if schedule.wall_clock.is_some() {
                        building.on_tick(Box::new(process.clone()));
                    }
                    let process = building.counted(&store.name, process);
                    upstream(building, process);
                });
            }
        };
        Stream::of_parts(node, Route::text(), Arc::new(attach))
    }
}
