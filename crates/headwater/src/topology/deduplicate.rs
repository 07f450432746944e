//! The language of topologies: values that come once, however often they were sent.

use std::sync::Arc;
use std::time::Duration;

use headwater_core::key::Key;

use super::building::Building;
use super::node::{Node, StoreSpec};
use super::store::Store;
use super::stream::{IsInPlace, Stream};
use super::windows::Lengths;
use crate::engine::flow::Keyed;
use crate::engine::operators::{Deduplicate, DeduplicateTables, IdOf, Next, RepeatTables, Repeats};

const NEAR_TABLES: [&str; 3] = ["", "due", "time"];
const AMONG_TABLES: [&str; 2] = ["", "order"];

/// What is the same value: near in time, or among the last so many.
///
/// ```
/// use headwater::{Once, hours, minutes};
///
/// let once_a_day = Once::within(hours(24)).grace(minutes(5));
/// let sent_again = Once::among(10_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "it says what `deduplicate` does"]
pub struct Once(Near);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Near {
    InTime { within: Duration, grace: Duration },
    Among(u64),
}

impl Once {
    /// Of values that lie so close to each other, by the times of their events, only the one that came first goes on.
    pub const fn within(within: Duration) -> Self {
        Self(Near::InTime { within, grace: Duration::ZERO })
    }

    /// Of values of which one follows among so many of its shard after the other, whatever their times, only the one that
    /// came first goes on; none is too late.
    ///
    /// For records that their publisher sends again because it does not know whether they were written.
    pub const fn among(count: u64) -> Self {
        Self(Near::Among(count))
    }

    /// Takes values in that are so much older than `within`; what is older still is dropped, and counted as late.
    ///
    /// Of [`among`](Once::among) it changes nothing.
    pub const fn grace(self, grace: Duration) -> Self {
        match self.0 {
            Near::InTime { within, .. } => Self(Near::InTime { within, grace }),
            Near::Among(_) => self,
        }
    }
}

impl<K: Key, V: Send + Sync + 'static, P> Stream<K, V, P> {
    /// Hands on one value of each key within a time; those that are left out are counted.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// # use headwater::Once;
    /// let mut app = App::new("shop");
    /// let orders = app.stream::<String, u64>("orders");
    /// let once = orders.deduplicate(Store::named("seen-orders"), Once::within(hours(24)));
    /// app.emitter(once.to("orders-once"));
    /// # app.check().unwrap();
    /// ```
    #[must_use]
    pub fn deduplicate(&self, store: Store, once: Once) -> Self
    where
        P: IsInPlace,
    {
        self.deduplicate_by(store, once, |_| ())
    }

    /// The same of each key and id.
    ///
    /// With the [id of its record](crate::RecordMeta::id) a record counts once that was published again under it:
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// # use headwater::Once;
    /// let mut app = App::new("shortener");
    /// let visits = app.stream::<String, u64>("visits");
    /// let visits = visits.deduplicate_by(Store::named("seen-visits"), Once::among(10_000), |visit| visit.meta.id());
    /// let total = app.view(visits.group_by_key().count(Store::named("total")));
    /// # app.check().unwrap();
    /// ```
    #[must_use]
    pub fn deduplicate_by<I: Key>(
        &self,
        store: Store,
        once: Once,
        id: impl Fn(Keyed<'_, K, V>) -> I + Send + Sync + 'static,
    ) -> Self
    where
        P: IsInPlace,
    {
        let id: IdOf<K, V, I> = Arc::new(id);
        let mut lengths = Lengths::default();
        let name = store.name.clone();
        match once.0 {
            Near::InTime { within, grace } => {
                let within_ms = lengths.any("what is deduplicated", "time", within);
                let grace_ms = lengths.any("what is deduplicated", "grace", grace);
                self.keeping(&store, &NEAR_TABLES, lengths, move |building, next| {
                    let [seen, due, time] = NEAR_TABLES.map(|table| building.table(&name, table));
                    let tables = DeduplicateTables { seen, due, time };
                    let once = Deduplicate::new(&name, id.clone(), (within_ms, grace_ms), tables, next);
                    building.counted(&name, once)
                })
            }
            Near::Among(count) => {
                if count == 0 {
                    lengths.mistake("what is deduplicated among none goes on: name one at least".to_owned());
                }
                self.keeping(&store, &AMONG_TABLES, lengths, move |building, next| {
                    let [seen, order] = AMONG_TABLES.map(|table| building.table(&name, table));
                    let tables = RepeatTables { seen, order };
                    building.counted(&name, Repeats::new(&name, id.clone(), count, tables, next))
                })
            }
        }
    }

    /// The stream behind an operator that keeps these tables.
    fn keeping(
        &self,
        store: &Store,
        tables: &'static [&'static str],
        lengths: Lengths,
        operator: impl Fn(&mut Building<'_>, Next<K, V>) -> Next<K, V> + Send + Sync + 'static,
    ) -> Self {
        let spec = StoreSpec::of(store, tables);
        let inputs = vec![self.node.clone()];
        let node = Node::stateful_with("deduplicate", spec, inputs, lengths.into_mistakes());
        let (attach, kept) = (self.attach.clone(), node.clone());
        let attach = move |building: &mut Building<'_>, next| {
            building.once(&kept, next, |building, next| {
                let operator = operator(building, next);
                attach(building, operator);
            });
        };
        Self::of_parts(node, self.route.clone(), Arc::new(attach))
    }
}
