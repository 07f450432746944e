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
use crate::engine::operators::{Deduplicate, DeduplicateTables};

const TABLES: [&str; 3] = ["", "due", "time"];

/// What is the same value, and for how long.
///
/// ```
/// use headwater::{Once, hours, minutes};
///
/// let once_a_day = Once::within(hours(24)).grace(minutes(5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "it says what `deduplicate` does"]
pub struct Once {
    within: Duration,
    grace: Duration,
}

impl Once {
    /// Of values that lie so close to each other, by the times of their events, only the one that came first goes on.
    pub const fn within(within: Duration) -> Self {
        Self { within, grace: Duration::ZERO }
    }

    /// Takes values in that are so much older than `within`; what is older still is dropped, and counted as late.
    pub const fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
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
        let mut lengths = Lengths::default();
        let within_ms = lengths.any("what is deduplicated", "time", once.within);
        let grace_ms = lengths.any("what is deduplicated", "grace", once.grace);
        let spec = StoreSpec::of(&store, &TABLES);
        let inputs = vec![self.node.clone()];
        let node = Node::stateful_with("deduplicate", spec, inputs, lengths.into_mistakes());
        let id: Arc<dyn Fn(Keyed<'_, K, V>) -> I + Send + Sync> = Arc::new(id);
        let (attach, kept) = (self.attach.clone(), node.clone());
        let attach = move |building: &mut Building<'_>, next| {
            building.once(&kept, next, |building, next| {
                let [seen, due, time] = TABLES.map(|table| building.table(&store.name, table));
                let tables = DeduplicateTables { seen, due, time };
                let times = (within_ms, grace_ms);
                attach(building, Box::new(Deduplicate::new(&store.name, id.clone(), times, tables, next)));
            });
        };
        Self::of_parts(node, self.route.clone(), Arc::new(attach))
    }
}
