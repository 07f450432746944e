//! The language of topologies: tables whose updates are held back.

use std::sync::Arc;
use std::time::Duration;

use headwater_core::clock::Timestamp;
use headwater_core::key::{Key, ordered};

use super::Value;
use super::building::Building;
use super::node::{Node, StoreSpec};
use super::store::Store;
use super::table::Table;
use super::windows::Lengths;
use crate::engine::flow::{Flow, ProcessError};
use crate::engine::operators::join::Getter;
use crate::engine::operators::window::Windowed;
use crate::engine::operators::{Held, Limit, Suppress, SuppressRules, SuppressTables};
use crate::engine::row::Row;

/// For how long the updates of a row are held back, and how many rows at once.
///
/// ```
/// use headwater::{HoldBack, minutes};
///
/// let at_most_every_minute = HoldBack::for_time(minutes(1)).rows_max(100_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "it says what `suppress` does"]
pub struct HoldBack {
    wait: Duration,
    limit: Option<Limit>,
}

impl HoldBack {
    /// Tells of a row when the events have come so far beyond its first update that was not told.
    pub const fn for_time(wait: Duration) -> Self {
        Self { wait, limit: None }
    }

    /// Holds so many rows at most: more of them are told early, the longest held first.
    pub const fn rows_max(mut self, rows: u64) -> Self {
        self.limit = Some(Limit { rows, stops: false });
        self
    }

    /// Stops the shard instead, where more than this would be held.
    pub const fn stop_beyond(mut self, rows: u64) -> Self {
        self.limit = Some(Limit { rows, stops: true });
        self
    }
}

const TABLES: [&str; 3] = ["", "order", "time"];

impl<K: Key, V: Value> Table<K, V> {
    /// Tells only the last of the updates of a row that come close to each other.
    ///
    /// Time is that of the events: what is held back is told when a later event of the table comes.
    ///
    /// ```
    /// use headwater::HoldBack;
    /// use headwater::core::clock::Timestamp;
    /// use headwater::prelude::*;
    /// use headwater::testing::Driver;
    ///
    /// let mut app = App::new("shortener");
    /// let visits = app.stream::<String, u64>("visits");
    /// let total = visits.group_by_key().count(Store::named("total"));
    /// let calm = total.suppress(Store::named("held-back"), HoldBack::for_time(seconds(10)));
    /// app.emitter(calm.updates().to("totals"));
    ///
    /// let mut driver = Driver::new(&app);
    /// for ms in [0, 1_000, 2_000, 12_000] {
    ///     driver.pipe("visits", "a".to_owned(), 1_u64, Timestamp(ms));
    /// }
    /// // The first three are told as one, once an event ten seconds after the first has come.
    /// assert_eq!(driver.read::<String, u64>("totals").len(), 1);
    /// ```
    #[must_use]
    pub fn suppress(&self, store: Store, hold: HoldBack) -> Self {
        let mut lengths = Lengths::default();
        let wait_ms = lengths.any("what is held back", "wait", hold.wait);
        let rules = SuppressRules {
            due: Arc::new(move |_: &K, time: Timestamp| time.plus_ms(wait_ms)),
            tells_gone: true,
            limit: hold.limit,
        };
        self.holding(store, rules, lengths)
    }

    fn holding(&self, store: Store, rules: SuppressRules<K>, lengths: Lengths) -> Self {
        let spec = StoreSpec::of(&store, &TABLES);
        let name = store.name;
        let node = Node::stateful_with("suppress", spec, vec![self.node.clone()], lengths.into_mistakes());
        let attach = {
            let (node, name, attach) = (node.clone(), name.clone(), self.attach.clone());
            move |building: &mut Building<'_>, next| {
                building.once(&node, next, |building, next| {
                    let [rows, order, time] = TABLES.map(|table| building.table(&name, table));
                    let tables = SuppressTables { rows, order, time };
                    let suppress = Suppress::new(&name, rules.clone(), tables, next);
                    let suppress = building.counted(&name, suppress);
                    attach(building, suppress);
                });
            }
        };
        let look = self.look.clone();
        let look = move |building: &Building<'_>| told(building.table(&name, ""), look(building));
        Self::derived(node, self.route.clone(), Arc::new(attach), Arc::new(look))
    }
}

/// What was told of a row: while it is held back, that is what it was before (`priorValueForBuffered`).
fn told<K: Key, V: Value>(held: headwater_core::store::TableId, rows: Getter<K, V>) -> Getter<K, V> {
    Arc::new(move |key: &K, _: Option<Timestamp>, flow: &mut Flow<'_>| {
        let at = ordered(key).map_err(ProcessError::key)?;
        match Held::load(held, &at, flow)? {
            Some(Held { before: Some(value), .. }) => Ok(Row { value: Some(value), ..Row::NONE }),
            Some(Held { before: None, .. }) => Ok(Row::NONE),
            None => rows(key, None, flow),
        }
    })
}

impl<K: Key, V: Value> Table<Windowed<K>, V> {
    /// Tells of each window once, when it closes: its last value.
    ///
    /// A window closes when an event is as late as its end and the grace of its windows. As `emit_on_close` of the windows
    /// themselves, but of a table that was made of them, by a filter, say.
    #[must_use]
    pub fn suppress_until_close(&self, store: Store) -> Self {
        let mut lengths = Lengths::default();
        let closes_ms = self.node.closing_ms();
        if closes_ms.is_none() {
            let name = &store.name;
            lengths.mistake(format!(
                "\"{name}\" cannot tell when windows close that were read from a topic: suppress them before they go there"
            ));
        }
        let closes_ms = closes_ms.unwrap_or(0);
        let rules = SuppressRules {
            due: Arc::new(move |window: &Windowed<K>, _| window.end.plus_ms(closes_ms)),
            tells_gone: false,
            limit: None,
        };
        self.holding(store, rules, lengths)
    }
}
