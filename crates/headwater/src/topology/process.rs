//! The language of topologies: operators of the user's own.

use std::sync::Arc;
use std::time::Duration;

use super::building::Building;
use super::node::{Node, StoreSpec};
use super::store::Store;
use super::stream::{IsInPlace, Moved, Stream};
use super::topic::text_route;
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

impl<K: 'static, V: 'static, P: IsInPlace> Stream<K, V, P> {
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
    pub fn process<R: Processor<Key = K, Value = V>>(
        &self,
        store: Store,
        Timers(schedule): Timers,
        make: impl Fn() -> R + Send + Sync + 'static,
    ) -> Stream<R::OutKey, R::OutValue, Moved> {
        let spec = StoreSpec { name: store.name.clone(), tables: &["", "times"] };
        let node = Node::process(spec, self.node.clone(), schedule.wall_clock.is_none());
        let (upstream, make) = (self.attach.clone(), Arc::new(make));
        let attach = {
            let node = node.clone();
            move |building: &mut Building<'_>, next: Next<R::OutKey, R::OutValue>| {
                building.once(&node, next, |building, next| {
                    let tables = (building.table(&store.name, ""), building.table(&store.name, "times"));
                    let process = Shared::new(Process::new(make(), schedule, tables, next));
                    if schedule.wall_clock.is_some() {
                        building.on_tick(Box::new(process.clone()));
                    }
                    upstream(building, Box::new(process));
                });
            }
        };
        Stream::of_parts(node, text_route(), Arc::new(attach))
    }
}
