//! The language of topologies: tables.

use std::sync::Arc;
use std::time::Duration;

use headwater_core::clock::Timestamp;
use headwater_core::key::{Key, ordered};
use headwater_core::store::TableId;

use super::Value;
use super::building::{Attach, Building};
use super::definition::{Definition, Kind};
use super::node::{Node, StoreSpec};
use super::route::Route;
use super::store::Store;
use super::stream::Stream;
use super::topic::Topic;
use crate::engine::flow::{Flow, ProcessError};
use crate::engine::operators::join::Getter;
use crate::engine::operators::{Change, Next, TableFilter, TableMapValues, Updates};
use crate::engine::row::{Row, RowFormat};

/// Rows by key: what is kept of a stream, or made of other tables; ready to be shown as a view.
pub struct Table<K, V> {
    pub(crate) node: Arc<Node>,
    pub(crate) route: Route<K>,
    pub(crate) attach: Attach<K, Change<V>>,
    pub(crate) look: Look<K, V>,
    /// How far back its rows can be asked for, if they can.
    pub(crate) history: Option<Duration>,
    /// Where its rows are kept, if they are.
    kept: Option<Kept<K, V>>,
    pub(crate) version: u32,
    pub(crate) replicated: bool,
}

/// How a table's rows are asked for, in a shard that has its operators: it must be attached there, too.
pub(crate) type Look<K, V> = Arc<dyn Fn(&Building<'_>) -> Getter<K, V> + Send + Sync>;

/// A table's own store.
struct Kept<K, V> {
    name: String,
    /// How its rows are written where nobody follows.
    rows: RowFormat,
    in_memory: bool,
    /// Puts the operators together without any that follow.
    finish: Arc<dyn Fn(&mut Building<'_>) + Send + Sync>,
    /// Makes the same table of a topic of the app's own, where a table of its updates would not be the same.
    through_a_topic: Option<Remake<K, V>>,
}

/// Makes a table once more, of what leads to it.
pub(crate) type Remake<K, V> = Arc<dyn Fn() -> Table<K, V> + Send + Sync>;

impl<K, V> Clone for Kept<K, V> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            rows: self.rows,
            in_memory: self.in_memory,
            finish: self.finish.clone(),
            through_a_topic: self.through_a_topic.clone(),
        }
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
            route: self.route.clone(),
            attach: self.attach.clone(),
            look: self.look.clone(),
            history: self.history,
            kept: self.kept.clone(),
            version: self.version,
            replicated: self.replicated,
        }
    }
}

impl<K: Key, V: Value> Table<K, V> {
    /// A table that an operator keeps in a store.
    ///
    /// `build` puts the operator together, over the store's name and those that follow it; there may be none.
    pub(crate) fn kept(
        label: &'static str,
        store: Store,
        spec: StoreSpec,
        inputs: &[&Arc<Node>],
        route: Route<K>,
        build: impl Fn(&mut Building<'_>, &str, Option<Next<K, Change<V>>>) + Send + Sync + 'static,
    ) -> Self {
        let node = Node::stateful(label, spec, inputs.iter().map(|input| Arc::clone(input)).collect());
        let Store { name, rows, in_memory, .. } = store;
        let build = Arc::new(build);
        let finish = {
            let (name, build) = (name.clone(), build.clone());
            Arc::new(move |building: &mut Building<'_>| build(building, &name, None))
        };
        let attach = {
            let (node, name) = (node.clone(), name.clone());
            Arc::new(move |building: &mut Building<'_>, next| {
                building.once(&node, next, |building, next| build(building, &name, Some(next)));
            })
        };
        let look = {
            let name = name.clone();
            Arc::new(move |building: &Building<'_>| kept_rows(building.table(&name, "")))
        };
        let kept = Some(Kept { name, rows, in_memory, finish, through_a_topic: None });
        Self { node, route, attach, look, history: None, kept, version: 1, replicated: false }
    }

    /// The same, where rows can be asked for as of a time within a history.
    pub(crate) fn remembering(self, history: Duration, look: Look<K, V>, again: Remake<K, V>) -> Self {
        Self { history: Some(history), look, ..self.remade(again) }
    }

    /// The same, made again by `again` where a view of it is folded from a topic of the app's own.
    pub(super) fn remade(self, again: Remake<K, V>) -> Self {
        let kept = self.kept.map(|kept| Kept { through_a_topic: Some(again), ..kept });
        Self { kept, ..self }
    }

    /// A table that is kept nowhere: what others make of it at every moment.
    pub(crate) fn derived(
        node: Arc<Node>,
        route: Route<K>,
        attach: Attach<K, Change<V>>,
        look: Look<K, V>,
    ) -> Self {
        Self { node, route, attach, look, history: None, kept: None, version: 1, replicated: false }
    }

    fn then<W: Value>(
        &self,
        label: &'static str,
        value_of: impl Fn(&K, &V) -> Option<W> + Send + Sync + 'static,
        link: impl Fn(Next<K, Change<W>>) -> Next<K, Change<V>> + Send + Sync + 'static,
    ) -> Table<K, W> {
        let (attach, look, value_of) = (self.attach.clone(), self.look.clone(), Arc::new(value_of));
        let attach = move |building: &mut Building<'_>, next| attach(building, link(next));
        let look = move |building: &Building<'_>| {
            let (rows, value_of) = (look(building), value_of.clone());
            let getter = move |key: &K, as_of: Option<Timestamp>, flow: &mut Flow<'_>| {
                Ok(rows(key, as_of, flow)?.and_then(|value| value_of(key, value)))
            };
            Arc::new(getter) as Getter<K, W>
        };
        let node = Node::stateless(label, vec![self.node.clone()]);
        let table = Table::derived(node, self.route.clone(), Arc::new(attach), Arc::new(look));
        Table { history: self.history, ..table }
    }

    /// The rows that pass `test`: a row that no longer does is gone.
    #[must_use]
    pub fn filter(&self, test: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        let test: Arc<dyn Fn(&K, &V) -> bool + Send + Sync> = Arc::new(test);
        let passing = {
            let test = test.clone();
            move |key: &K, value: &V| test(key, value).then(|| value.clone())
        };
        self.then("filter", passing, move |next| Box::new(TableFilter { test: test.clone(), next }))
    }

    /// The rows with other values.
    #[must_use]
    pub fn map_values<W: Value>(&self, change: impl Fn(&K, &V) -> W + Send + Sync + 'static) -> Table<K, W> {
        let change: Arc<dyn Fn(&K, &V) -> W + Send + Sync> = Arc::new(change);
        let changed = {
            let change = change.clone();
            move |key: &K, value: &V| Some(change(key, value))
        };
        self.then("map_values", changed, move |next| {
            Box::new(TableMapValues { change: change.clone(), next })
        })
    }

    /// The new value of every row that changes; an absent one where the row is gone.
    pub fn to_stream(&self) -> Stream<K, Option<V>> {
        let attach = self.attach.clone();
        let attach = move |building: &mut Building<'_>, next| attach(building, Box::new(Updates { next }));
        let node = Node::stateless("to_stream", vec![self.node.clone()]);
        Stream::of_parts(node, self.route.clone(), Arc::new(attach))
    }

    /// The new values of rows that change; rows that go are not told.
    pub fn updates(&self) -> Stream<K, V> {
        self.to_stream().flat_map_values(|item| item.value.clone().into_iter().collect())
    }

    /// The same table, kept in a store of its own.
    pub fn stored(&self, store: Store) -> Self {
        self.to_stream().to_table_with_deletes(store)
    }

    /// The fold that keeps the table, to be asked as a view.
    ///
    /// # Errors
    ///
    /// What is missing, in words.
    pub(crate) fn into_fold(self) -> Result<Definition, String> {
        let Some(kept) = self.kept.clone() else {
            return Err(format!(
                "a view of a table made by \"{}\" has no name: keep it, with `.stored(Store::named(\"...\"))`",
                self.node.label
            ));
        };
        if !self.node.is_repeatable() {
            return self.through_a_topic(kept).into_fold();
        }
        let kind = Kind::Fold { replicated: self.replicated, rows: kept.rows, history: self.history };
        let mut definition = Definition::new(kept.name, kind, self.node, kept.finish);
        definition.version = self.version;
        Ok(definition)
    }

    /// What reads several topics cannot be replayed in the same order, so it is done once: its updates go to a topic of
    /// the app's own, which the table is folded from.
    ///
    /// Where versions are kept it is the input that goes there, since an update that comes out of order is not told; and
    /// windows expire in the view as well, since that is not told either.
    fn through_a_topic(self, kept: Kept<K, V>) -> Self {
        let Kept { name, in_memory, through_a_topic, .. } = kept;
        let updates = updates_topic(&name);
        let again = through_a_topic.map(|again| again());
        let table = again.unwrap_or_else(|| {
            let store = Store { in_memory, ..Store::named(name) };
            self.to_stream().repartition(updates).to_table_with_deletes(store)
        });
        let Self { version, replicated, .. } = self;
        Self { version, replicated, ..table }
    }
}

impl<K, V> Table<K, V> {
    /// Declares the version of the table, from 1. A table of another version is built anew, beside the old one, which
    /// serves until the new one has caught up. It is made of the one topic that its fold reads; of a table that is no fold
    /// that is the topic of its updates, whose records stay as they were made.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Has every instance hold the whole table.
    #[must_use]
    pub fn replicated(mut self) -> Self {
        self.replicated = true;
        self
    }
}

/// The topic from which a view is folded whose table is no fold.
pub(super) fn updates_topic(store: &str) -> String {
    format!("{store}.updates")
}

/// Answers the rows that an operator keeps for those that follow it.
fn kept_rows<K: Key, V: Value>(table: TableId) -> Getter<K, V> {
    Arc::new(move |key, _, flow| {
        let key = ordered(key).map_err(ProcessError::key)?;
        Row::load(RowFormat::Timed, table, &key, flow)
    })
}

impl<K: Key, V: Value> Table<K, V> {
    /// The table of a topic: the last value of each key; a record without a value removes the key.
    pub(crate) fn of_topic(app: &str, topic: &Topic<K, V>, store: Store) -> Self {
        Stream::of_topic(app, &topic.with_nulls()).to_table_with_deletes(store)
    }
}
