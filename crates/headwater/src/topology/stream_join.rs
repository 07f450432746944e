//! The language of topologies: streams joined with streams.

use std::sync::Arc;
use std::time::Duration;

use headwater_core::key::Key;

use super::Sent;
use super::building::Building;
use super::join::{How, Joined, Sealed, label};
use super::node::{Node, StoreSpec};
use super::store::Store;
use super::stream::{IsInPlace, Stream};
use super::windows::Lengths;
use crate::engine::flow::Keyed;
use crate::engine::operators::join::{
    Closeness, JoinSides, STREAM_JOIN_TABLES, StreamJoinSide, StreamJoinState,
};
use crate::engine::operators::{Next, Shared};

/// How close in time two values must be to be joined, and where they wait for each other.
///
/// ```
/// use headwater::prelude::*;
///
/// // A click up to five minutes after the page was shown; clicks that come a minute late still count.
/// let shown_before = JoinWindow::within(Store::named("clicks-of-pages"), minutes(5)).before(seconds(0)).grace(minutes(1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a window joins streams when it is given to a join"]
pub struct JoinWindow {
    store: Store,
    before: Duration,
    after: Duration,
    grace: Duration,
}

impl JoinWindow {
    /// Values of the other side that are at most `difference` earlier or later.
    ///
    /// Both sides wait in the store, whose name is also that of the join.
    pub const fn within(store: Store, difference: Duration) -> Self {
        Self { store, before: difference, after: difference, grace: Duration::ZERO }
    }

    /// Values of the other side that are at most so much earlier.
    pub fn before(self, before: Duration) -> Self {
        Self { before, ..self }
    }

    /// Values of the other side that are at most so much later.
    pub fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }

    /// Waits for late values for so long after a window's end; not at all unless set.
    ///
    /// Time is that of the events of both sides. What comes later still finds only what is there yet, is not kept, and
    /// is counted under the store's name.
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    fn closeness(&self) -> (Closeness, Vec<String>) {
        let mut lengths = Lengths::default();
        let of = format!("the join \"{}\"", self.store.name);
        let close = Closeness {
            before: lengths.any(&of, "time before", self.before),
            after: lengths.any(&of, "time after", self.after),
            grace: lengths.any(&of, "grace", self.grace),
        };
        (close, lengths.into_mistakes())
    }
}

impl<K, W, Q> Sealed for Stream<K, W, Q> {}

impl<K: Key, W: Sent, Q: IsInPlace> Joined<K> for Stream<K, W, Q> {
    type Value = W;
    type Options = JoinWindow;

    fn joined<V: Sent, R: Send + Sync + 'static>(
        &self,
        stream: &Stream<K, V>,
        How { left, join }: How<K, V, W, R>,
        options: JoinWindow,
    ) -> Stream<K, R> {
        let join: JoinSides<K, V, W, R> = Arc::new(move |key, value, other, meta| {
            let value = value.expect("only the left side makes a result alone");
            join(Keyed { key, value, meta }, other)
        });
        stream.join_sides(label(left), self, (left, false), join, options)
    }
}

impl<K: Key, V: Sent, P> Stream<K, V, P> {
    /// Joins the values of both streams that are close in time; those that find none come alone once their windows have
    /// closed.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// let mut app = App::new("shop");
    /// let orders = app.stream::<String, u64>("orders");
    /// let payments = app.stream::<String, u64>("payments");
    /// let window = JoinWindow::within(Store::named("orders-and-payments"), hours(24));
    /// let pairs = orders.outer_join(&payments, |order, payment| (order.copied(), payment.copied()), window);
    /// app.emitter(pairs.filter(|pair| pair.0.is_none() || pair.1.is_none()).to("unpaid-or-unordered"));
    /// # app.check().unwrap();
    /// ```
    #[must_use]
    pub fn outer_join<W: Sent, Q: IsInPlace, R: Send + Sync + 'static>(
        &self,
        other: &Stream<K, W, Q>,
        join: impl Fn(Option<&V>, Option<&W>) -> R + Send + Sync + 'static,
        options: JoinWindow,
    ) -> Stream<K, R>
    where
        P: IsInPlace,
    {
        let join: JoinSides<K, V, W, R> = Arc::new(move |_, value, other, _| join(value, other));
        self.join_sides("outer_join", other, (true, true), join, options)
    }

    fn join_sides<W: Sent, Q: IsInPlace, R: Send + Sync + 'static>(
        &self,
        label: &'static str,
        other: &Stream<K, W, Q>,
        (left_alone, right_alone): (bool, bool),
        join: JoinSides<K, V, W, R>,
        options: JoinWindow,
    ) -> Stream<K, R> {
        let (close, mistakes) = options.closeness();
        let spec = StoreSpec::of(&options.store, &STREAM_JOIN_TABLES);
        let name = options.store.name;
        let node = Node::stateful(label, spec, vec![self.node.clone(), other.node.clone()]);
        let node = Node::mistaken(node, mistakes);
        let (left, right) = (self.attach.clone(), other.attach.clone());
        let build = {
            let name: Arc<str> = name.into();
            move |building: &mut Building<'_>, next: Next<K, R>| {
                let tables = STREAM_JOIN_TABLES.map(|table| building.table(&name, table));
                let state = Shared::new(StreamJoinState::new(name.clone(), tables, close));
                let next = Shared::new(next);
                let turned: JoinSides<K, W, V, R> = {
                    let join = join.clone();
                    Arc::new(move |key, right, left, meta| join(key, left, right, meta))
                };
                let left_side = StreamJoinSide {
                    is_left: true,
                    alone: left_alone,
                    other_alone: right_alone,
                    state: state.clone(),
                    join: join.clone(),
                    next: Box::new(next.clone()),
                };
                let right_side = StreamJoinSide {
                    is_left: false,
                    alone: right_alone,
                    other_alone: left_alone,
                    state,
                    join: turned,
                    next: Box::new(next),
                };
                let left_side = building.counted(&name, left_side);
                left(building, left_side);
                let right_side = building.counted(&name, right_side);
                right(building, right_side);
            }
        };
        let attach = {
            let node = node.clone();
            move |building: &mut Building<'_>, next: Next<K, R>| {
                building.once(&node, next, |b, next| build(b, next))
            }
        };
        Stream::of_parts(node, self.route.clone(), Arc::new(attach))
    }
}
