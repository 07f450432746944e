//! The language of topologies: tables that every shard holds whole.
//!
//! The records of the table's topic are sent to every partition of a topic of the app's own, `<app>.<name>`: a shard reads
//! its copy beside its other inputs, in the order of their times, exactly once. What the topic holds when a shard begins is
//! taken before anything else, so that nothing is joined with a table that is still to come.

use std::sync::Arc;

use headwater_core::codec::{Json, Nullable, Text};
use headwater_core::key::Key;

use super::building::Building;
use super::definition::{Definition, Kind};
use super::node::Node;
use super::store::Store;
use super::stream::Stream;
use super::table::Table;
use super::topic::{Topic, TopicRef};
use super::{Sent, Value};
use crate::engine::flow::Keyed;
use crate::engine::operators::join::{AppendToAll, GlobalJoin, JoinValues, NamesKey};
use crate::engine::operators::{Change, ForEach, Next, Target};

/// What copies a topic to every shard.
pub(super) const TO_ALL: &str = "to_all";

/// The whole table of a topic, in every shard: streams are joined with it by any key.
pub struct GlobalTable<K, V> {
    name: Arc<str>,
    table: Table<K, V>,
}

impl<K, V> Clone for GlobalTable<K, V> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), table: self.table.clone() }
    }
}

impl<K: Key, V: Value> GlobalTable<K, V> {
    /// The table of a topic, sent to every shard through the topic `<app>.<name>`.
    pub(crate) fn of_topic(app: &str, name: String, topic: &Topic<K, V>) -> Self {
        let rows: Stream<K, Option<V>> = Stream::of_topic(app, &topic.with_nulls());
        let copies: Topic<K, Option<V>> = Topic::with(&name, Text, Nullable(Json));
        let (read, attach) = (copies.read(), rows.attach.clone());
        let to = vec![TopicRef::Own(name.clone())];
        let operator = TopicRef::appender(&to);
        let build = move |building: &mut Building<'_>| {
            let target = Target { partitions: building.target(0), writes: copies.writes() };
            let append = building.counted(&operator, AppendToAll { target });
            attach(building, append);
        };
        let node = Node::stateless(TO_ALL, vec![rows.node.clone()]);
        let kind = Kind::Emitter { to };
        let definition = Definition::new(name.clone(), kind, node, Arc::new(build));
        let copy = Stream::of(name.clone(), Some(Arc::new(definition)), read);
        Self { name: name.as_str().into(), table: copy.to_table_with_deletes(Store::named(name)) }
    }
}

impl<K: Key, V: Sent, P> Stream<K, V, P> {
    /// Joins each value with the row of a global table that it names; without one there is no result.
    ///
    /// Values that name none are counted under the global table's name. The stream's keys may lie anywhere.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// let mut app = App::new("shop");
    /// // Orders hold the code of a country.
    /// let orders = app.stream::<String, String>("orders");
    /// let countries = app.global_table::<String, String>("all-countries", "countries");
    /// let named = orders.join_global(&countries, |code| Some(code.value.clone()), |_, name| name.clone());
    /// app.emitter(named.to("orders-with-countries"));
    /// # app.check().unwrap();
    /// ```
    #[must_use]
    pub fn join_global<L: Key, W: Value, R: Send + Sync + 'static>(
        &self,
        table: &GlobalTable<L, W>,
        key_of: impl Fn(Keyed<'_, K, V>) -> Option<L> + Send + Sync + 'static,
        join: impl Fn(Keyed<'_, K, V>, &W) -> R + Send + Sync + 'static,
    ) -> Stream<K, R, P> {
        let join: JoinValues<K, V, W, R> =
            Arc::new(move |item, row| join(item, row.expect("an inner join has both sides")));
        self.with_global("join_global", table, Arc::new(key_of), (false, join))
    }

    /// Joins each value with the row of a global table that it names, or with nothing.
    #[must_use]
    pub fn left_join_global<L: Key, W: Value, R: Send + Sync + 'static>(
        &self,
        table: &GlobalTable<L, W>,
        key_of: impl Fn(Keyed<'_, K, V>) -> Option<L> + Send + Sync + 'static,
        join: impl Fn(Keyed<'_, K, V>, Option<&W>) -> R + Send + Sync + 'static,
    ) -> Stream<K, R, P> {
        self.with_global("left_join_global", table, Arc::new(key_of), (true, Arc::new(join)))
    }

    fn with_global<L: Key, W: Value, R: Send + Sync + 'static>(
        &self,
        label: &'static str,
        GlobalTable { name, table }: &GlobalTable<L, W>,
        key_of: NamesKey<K, V, L>,
        (left, join): (bool, JoinValues<K, V, W, R>),
    ) -> Stream<K, R, P> {
        let (values, rows, look) = (self.attach.clone(), table.attach.clone(), table.look.clone());
        let operator = name.clone();
        let attach = move |building: &mut Building<'_>, next: Next<K, R>| {
            rows(building, Box::new(ForEach { effect: |_: Keyed<'_, L, Change<W>>| {} }));
            let (operator, rows) = (operator.clone(), look(building));
            let (key_of, join) = (key_of.clone(), join.clone());
            values(building, Box::new(GlobalJoin { operator, rows, key_of, left, join, next }));
        };
        let node = Node::stateless(label, vec![self.node.clone(), table.node.clone()]);
        Stream::of_parts(node, self.route.clone(), Arc::new(attach))
    }
}
