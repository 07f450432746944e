//! The language of topologies: joins by equal keys.
//!
//! A stream is joined with what its trait [`Joined`] is implemented for; a table with a table. A join keeps nothing
//! beyond what its options name.

use std::sync::Arc;
use std::time::Duration;

use headwater_core::clock::Timestamp;
use headwater_core::key::Key;

use super::building::Building;
use super::node::{Node, StoreSpec};
use super::store::Store;
use super::stream::{IsInPlace, Stream};
use super::table::Table;
use super::windows::Lengths;
use super::{Sent, Value};
use crate::engine::flow::{Flow, Keyed};
use crate::engine::operators::join::{
    Getter, JoinRows, JoinValues, StreamTableJoin, TableJoinSide, WAITING_TABLES, Waiting, join_of_rows,
};
use crate::engine::operators::{Change, ForEach, Next, Shared};

pub(super) use sealed::{How, Sealed};

/// How a stream is joined with a table.
#[derive(Debug, Clone, Default)]
#[must_use = "options join a stream with a table when they are given to a join"]
pub struct Join {
    grace: Option<(Store, Duration)>,
}

impl Join {
    /// Lets values wait in a store, until those of later times have come and passed them by so much: then the versions
    /// of the table's rows at their times are there.
    ///
    /// For tables that keep [versions](Store::versioned). Values go on in the order of their times.
    pub fn grace(store: Store, grace: Duration) -> Self {
        Self { grace: Some((store, grace)) }
    }
}

/// What a stream can be joined with by its keys.
#[diagnostic::on_unimplemented(
    message = "a stream with keys of `{K}` cannot be joined with this",
    label = "neither a table nor a stream of the same keys",
    note = "a stream is joined with what has the same type of key: `.select_key(..).repartition(\"name\")` changes a stream's"
)]
pub trait Joined<K>: Sealed {
    /// Its values.
    type Value;
    /// How it is joined.
    type Options;

    #[doc(hidden)]
    fn joined<V: Sent, R: Send + Sync + 'static>(
        &self,
        stream: &Stream<K, V>,
        how: How<K, V, Self::Value, R>,
        options: Self::Options,
    ) -> Stream<K, R>;
}

mod sealed {
    use super::JoinValues;

    pub trait Sealed {}

    /// What a join makes of its two sides.
    #[allow(
        unreachable_pub,
        missing_debug_implementations,
        reason = "a parameter of a method that nobody calls"
    )]
    pub struct How<K, V, W, R> {
        /// Whether a value without its counterpart makes a result.
        pub(crate) left: bool,
        pub(crate) join: JoinValues<K, V, W, R>,
    }
}

impl<K: Key, V: Sent, P> Stream<K, V, P> {
    /// Joins each value with what the other side has under its key; without that there is no result.
    ///
    /// With a table: the row as it stands when the value comes; changes of the table make no results of their own. A
    /// table that keeps [versions](Store::versioned) has its row as of the value's time. With a stream: every value of the other that is close enough in time, as the [`JoinWindow`](super::JoinWindow) tells;
    /// the result is as late as the later of both.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// let mut app = App::new("shortener");
    /// let visits = app.stream::<String, String>("visits");
    /// let links = app.table::<String, String>("links");
    /// let told = visits.join(&links, |visit, link| format!("{} went to {link}", visit.value), Join::default());
    /// app.emitter(told.to("told"));
    /// # app.check().unwrap();
    /// ```
    #[must_use]
    pub fn join<J: Joined<K>, R: Send + Sync + 'static>(
        &self,
        other: &J,
        join: impl Fn(Keyed<'_, K, V>, &J::Value) -> R + Send + Sync + 'static,
        options: J::Options,
    ) -> Stream<K, R>
    where
        P: IsInPlace,
    {
        let join: JoinValues<K, V, J::Value, R> =
            Arc::new(move |item, other| join(item, other.expect("an inner join has both sides")));
        other.joined(&self.in_place(), How { left: false, join }, options)
    }

    /// Joins each value with what the other side has under its key, or with nothing.
    ///
    /// With a stream, a value is joined with nothing once its window has closed.
    #[must_use]
    pub fn left_join<J: Joined<K>, R: Send + Sync + 'static>(
        &self,
        other: &J,
        join: impl Fn(Keyed<'_, K, V>, Option<&J::Value>) -> R + Send + Sync + 'static,
        options: J::Options,
    ) -> Stream<K, R>
    where
        P: IsInPlace,
    {
        other.joined(&self.in_place(), How { left: true, join: Arc::new(join) }, options)
    }

    fn in_place(&self) -> Stream<K, V>
    where
        P: IsInPlace,
    {
        Stream::of_parts(self.node.clone(), self.route.clone(), self.attach.clone())
    }
}

impl<K, W> Sealed for Table<K, W> {}

impl<K: Key, W: Value> Joined<K> for Table<K, W> {
    type Value = W;
    type Options = Join;

    fn joined<V: Sent, R: Send + Sync + 'static>(
        &self,
        stream: &Stream<K, V>,
        How { left, join }: How<K, V, W, R>,
        Join { grace }: Join,
    ) -> Stream<K, R> {
        let stream = &grace.map_or_else(|| stream.clone(), |grace| waiting(stream, grace, self.history));
        let (values, rows, look) = (stream.attach.clone(), self.attach.clone(), self.look.clone());
        let attach = move |building: &mut Building<'_>, next: Next<K, R>| {
            // The table is kept; what changes in it concerns nobody here.
            rows(building, Box::new(ForEach { effect: |_: Keyed<'_, K, Change<W>>| {} }));
            let rows = look(building);
            values(building, Box::new(StreamTableJoin { rows, left, join: join.clone(), next }));
        };
        let node = Node::stateless(label(left), vec![stream.node.clone(), self.node.clone()]);
        Stream::of_parts(node, stream.route.clone(), Arc::new(attach))
    }
}

/// A stream held back by a grace.
fn waiting<K: Key, V: Sent>(
    stream: &Stream<K, V>,
    (store, grace): (Store, Duration),
    history: Option<Duration>,
) -> Stream<K, V> {
    let mut lengths = Lengths::default();
    let of = format!("the join \"{}\"", store.name);
    let grace_ms = lengths.any(&of, "grace", grace);
    match history {
        None => lengths.mistake(format!(
            "{of} waits for a table that keeps no versions: keep it in a store with `.versioned(history)`"
        )),
        Some(history) if history < grace => lengths.mistake(format!(
            "{of} waits for {grace:?}, longer than the {history:?} for which its table keeps versions"
        )),
        Some(_) => {}
    }
    let spec = StoreSpec::of(&store, &WAITING_TABLES);
    let node = Node::stateful("grace", spec, vec![stream.node.clone()]);
    let node = Node::mistaken(node, lengths.into_mistakes());
    let attach = {
        let (node, attach, name) = (node.clone(), stream.attach.clone(), store.name);
        move |building: &mut Building<'_>, next: Next<K, V>| {
            building.once(&node, next, |building, next| {
                let tables = WAITING_TABLES.map(|table| building.table(&name, table));
                let waiting = building.counted(&name, Waiting::new(tables, grace_ms, next));
                attach(building, waiting);
            });
        }
    };
    Stream::of_parts(node, stream.route.clone(), Arc::new(attach))
}

pub(super) fn label(left: bool) -> &'static str {
    if left { "left_join" } else { "join" }
}

/// Whether a row of the left side, and one of the right, makes a row of a join alone.
type Alone = (bool, bool);

impl<K: Key, V: Value> Table<K, V> {
    /// The rows that both tables have under one key; as late as the later of both.
    ///
    /// Kept nowhere: what the join is asked for, it makes of the rows of both tables.
    /// [`stored`](Table::stored) keeps it.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// let mut app = App::new("shop");
    /// let names = app.table::<String, String>("names");
    /// let towns = app.table::<String, String>("towns");
    /// let labels = names.join(&towns, |name, town| format!("{name}, {town}"));
    /// let shown = app.view(labels.stored(Store::named("labels")));
    /// # app.check().unwrap();
    /// ```
    #[must_use]
    pub fn join<W: Value, R: Value>(
        &self,
        other: &Table<K, W>,
        join: impl Fn(&V, &W) -> R + Send + Sync + 'static,
    ) -> Table<K, R> {
        let both = "an inner join has both rows";
        let join = move |left: Option<&V>, right: Option<&W>| join(left.expect(both), right.expect(both));
        self.join_rows("join", other, (false, false), Arc::new(join))
    }

    /// The rows of this table, each with the other's row of its key, or with none.
    #[must_use]
    pub fn left_join<W: Value, R: Value>(
        &self,
        other: &Table<K, W>,
        join: impl Fn(&V, Option<&W>) -> R + Send + Sync + 'static,
    ) -> Table<K, R> {
        let join = move |left: Option<&V>, right: Option<&W>| {
            join(left.expect("a left join has the left row"), right)
        };
        self.join_rows("left_join", other, (true, false), Arc::new(join))
    }

    /// The rows of both tables: those of one key together, and those that only one has.
    #[must_use]
    pub fn outer_join<W: Value, R: Value>(
        &self,
        other: &Table<K, W>,
        join: impl Fn(Option<&V>, Option<&W>) -> R + Send + Sync + 'static,
    ) -> Table<K, R> {
        self.join_rows("outer_join", other, (true, true), Arc::new(join))
    }

    fn join_rows<W: Value, R: Value>(
        &self,
        label: &'static str,
        other: &Table<K, W>,
        alone: Alone,
        join: JoinRows<V, W, R>,
    ) -> Table<K, R> {
        let node = Node::stateless(label, vec![self.node.clone(), other.node.clone()]);
        let attach = {
            let (left, right, join) = (self.clone(), other.clone(), join.clone());
            move |building: &mut Building<'_>, next| attach_sides(building, &left, &right, alone, &join, next)
        };
        let (left, right) = (self.look.clone(), other.look.clone());
        let look = move |building: &Building<'_>| {
            let (left, right, join) = (left(building), right(building), join.clone());
            let rows = move |key: &K, _: Option<Timestamp>, flow: &mut Flow<'_>| {
                let (left, right) = (left(key, None, flow)?, right(key, None, flow)?);
                Ok(join_of_rows(&join, (left, alone.0), (right, alone.1)))
            };
            Arc::new(rows) as Getter<K, R>
        };
        Table::derived(node, self.route.clone(), Arc::new(attach), Arc::new(look))
    }
}

fn attach_sides<K: Key, V: Value, W: Value, R: Value>(
    building: &mut Building<'_>,
    left: &Table<K, V>,
    right: &Table<K, W>,
    (left_alone, right_alone): Alone,
    join: &JoinRows<V, W, R>,
    next: Next<K, Change<R>>,
) {
    // A getter may name the tables of a side before its operators are there: they are known by their names.
    let (left_rows, right_rows) = ((left.look)(building), (right.look)(building));
    let next = Shared::new(next);
    let join_left = join.clone();
    (left.attach)(
        building,
        Box::new(TableJoinSide {
            alone: left_alone,
            other_alone: right_alone,
            other: right_rows,
            join: join_left,
            next: Box::new(next.clone()),
        }),
    );
    let join = join.clone();
    (right.attach)(
        building,
        Box::new(TableJoinSide {
            alone: right_alone,
            other_alone: left_alone,
            other: left_rows,
            join: Arc::new(move |right, left| join(left, right)),
            next: Box::new(next),
        }),
    );
}
