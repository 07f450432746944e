//! The language of topologies: tables joined with the rows that their own name.
//!
//! Two emitters make such a join. One keeps the left table: it sends subscriptions, takes answers, and sends results.
//! The other keeps the right table and the subscriptions, and answers. The results are a table of their own topic, so
//! however many follow the join, it is made once.
//!
//! ```text
//! left table ──► <name>.results ──► <app>.<name>.results ──► table <name>
//!                    │     ▲
//!   <app>.<name>.subscriptions  <app>.<name>.responses
//!                    ▼     │
//! right table ─► <name>.responses
//! ```

use std::marker::PhantomData;
use std::sync::Arc;

use headwater_core::codec::{Json, Nullable, Text};
use headwater_core::key::Key;

use super::Value;
use super::building::Building;
use super::definition::{Definition, Kind};
use super::node::{Node, StoreSpec};
use super::store::Store;
use super::stream::Stream;
use super::table::Table;
use super::topic::{Topic, TopicRef};
use crate::engine::flow::Keyed;
use crate::engine::operators::join::{
    Answers, ForeignKey, JoinForeign, Response, Responses, Subscribe, Subscription, Subscriptions,
};
use crate::engine::operators::{AppendTo, Target};

/// What a join by a foreign key makes of its rows, and under which name.
struct ForeignJoin<K, V, L, W, R> {
    name: String,
    /// Whether its stores are kept in memory alone.
    in_memory: bool,
    /// Whether a row of the left side makes a result alone.
    left: bool,
    key_of: ForeignKey<K, V, L>,
    join: JoinForeign<V, W, R>,
}

impl<K: Key, V: Value> Table<K, V> {
    /// Joins each row with the row of another table that it names.
    ///
    /// `key_of` tells the key of the other row, or `None`, which is counted under the store's name. The result is kept
    /// in the store; its topics are called `<app>.<store>.subscriptions`, `.responses` and `.results`.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Clone, Serialize, Deserialize)]
    /// struct Order { customer: String, item: String }
    ///
    /// let mut app = App::new("shop");
    /// let orders = app.table::<String, Order>("orders");
    /// let names = app.table::<String, String>("names");
    /// let with_names = orders.join_on(
    ///     Store::named("orders-with-names"),
    ///     &names,
    ///     |_, order| order.customer.clone(),
    ///     |order, name| format!("{name}: {}", order.item),
    /// );
    /// let shown = app.view(with_names);
    /// # app.check().unwrap();
    /// ```
    #[must_use]
    pub fn join_on<L: Key, W: Value, F: Into<Option<L>>, R: Value>(
        &self,
        store: Store,
        other: &Table<L, W>,
        key_of: impl Fn(&K, &V) -> F + Send + Sync + 'static,
        join: impl Fn(&V, &W) -> R + Send + Sync + 'static,
    ) -> Table<K, R> {
        let join: JoinForeign<V, W, R> =
            Arc::new(move |mine, other| join(mine, other.expect("an inner join has both rows")));
        let key_of: ForeignKey<K, V, L> = Arc::new(move |key, value| key_of(key, value).into());
        self.foreign("join_on", store, other, false, key_of, join)
    }

    /// The same with every row, also those that name none or one that is not there.
    #[must_use]
    pub fn left_join_on<L: Key, W: Value, F: Into<Option<L>>, R: Value>(
        &self,
        store: Store,
        other: &Table<L, W>,
        key_of: impl Fn(&K, &V) -> F + Send + Sync + 'static,
        join: impl Fn(&V, Option<&W>) -> R + Send + Sync + 'static,
    ) -> Table<K, R> {
        let key_of: ForeignKey<K, V, L> = Arc::new(move |key, value| key_of(key, value).into());
        self.foreign("left_join_on", store, other, true, key_of, Arc::new(join))
    }

    fn foreign<L: Key, W: Value, R: Value>(
        &self,
        label: &'static str,
        store: Store,
        other: &Table<L, W>,
        left: bool,
        key_of: ForeignKey<K, V, L>,
        join: JoinForeign<V, W, R>,
    ) -> Table<K, R> {
        let in_memory = store.in_memory;
        let foreign = ForeignJoin { name: store.name.clone(), in_memory, left, key_of, join };
        let responses = foreign.answering(other);
        let results: Topic<K, Option<R>> =
            Topic::with(format!("{}.results", store.name), Text, Nullable(Json));
        let read = results.read();
        let name = results.name().to_owned();
        let definition = foreign.asking(label, self, other, &responses, results);
        Stream::of(name, Some(Arc::new(definition)), read).to_table_with_deletes(store)
    }
}

impl<K: Key, V: Value, L: Key, W: Value, R: Value> ForeignJoin<K, V, L, W, R> {
    fn subscriptions(&self) -> String {
        format!("{}.subscriptions", self.name)
    }

    /// The answers of the shards that keep the right table.
    fn answering(&self, right: &Table<L, W>) -> Stream<K, Response<W>> {
        let name = format!("{}.responses", self.name);
        let subscriptions = self.subscriptions();
        let topic: Topic<Option<L>, Subscription<K>> = Topic::with(&subscriptions, Nullable(Text), Json);
        let asked = Stream::of(subscriptions.clone(), None, topic.read());
        let spec = StoreSpec::rows(&Store { in_memory: self.in_memory, ..Store::named(&subscriptions) });
        let node = Node::stateful("subscriptions", spec, vec![asked.node.clone(), right.node.clone()]);
        let (rows, look) = (right.attach.clone(), right.look.clone());
        let build = move |building: &mut Building<'_>| {
            let (table, to) = (building.table(&subscriptions, ""), building.target(0));
            let answers = Answers::<K> { table, to: to.clone(), keys: PhantomData };
            let answers = building.counted(&subscriptions, answers);
            rows(building, answers);
            let asking = Subscriptions { table, rows: look(building), to };
            let asking = building.counted(&subscriptions, asking);
            (asked.attach)(building, asking);
        };
        let kind = Kind::Emitter { to: vec![TopicRef::Own(name.clone())] };
        let definition = Definition::new(name.clone(), kind, node, Arc::new(build));
        let topic: Topic<K, Response<W>> = Topic::from(name.clone());
        Stream::of(name, Some(Arc::new(definition)), topic.read())
    }

    /// The emitter that keeps the left table: asks for the rows that it names, and makes results of the answers.
    fn asking(
        self,
        label: &'static str,
        left: &Table<K, V>,
        right: &Table<L, W>,
        responses: &Stream<K, Response<W>>,
        results: Topic<K, Option<R>>,
    ) -> Definition {
        let node = Node::stateless(label, vec![left.node.clone(), responses.node.clone()]);
        let to = vec![TopicRef::Own(results.name().to_owned()), TopicRef::Own(self.subscriptions())];
        let name = results.name().to_owned();
        let (rows, look, answers) = (left.attach.clone(), left.look.clone(), responses.attach.clone());
        let route = right.route.clone();
        let (operator, appender): (Arc<str>, _) = (self.name.as_str().into(), TopicRef::appender(&to[..1]));
        let build = move |building: &mut Building<'_>| {
            let subscribe = Subscribe {
                left: self.left,
                key_of: self.key_of.clone(),
                operator: operator.clone(),
                shard: building.shard(),
                route: route.clone(),
                to: building.target(1),
            };
            let subscribe = building.counted(&operator, subscribe);
            rows(building, subscribe);
            let targets = vec![Target { partitions: building.target(0), writes: results.writes() }];
            let choose = Arc::new(|_: Keyed<'_, K, Option<R>>| 0);
            let responses = Responses {
                left: self.left,
                rows: look(building),
                join: self.join.clone(),
                next: building.counted(&appender, AppendTo { targets, choose }),
            };
            answers(building, Box::new(responses));
        };
        Definition::new(name, Kind::Emitter { to }, node, Arc::new(build))
    }
}
