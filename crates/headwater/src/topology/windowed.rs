//! The language of topologies: grouped values divided into windows, and what they are aggregated to.

use std::sync::Arc;

use headwater_core::key::Key;

use super::Value;
use super::building::Building;
use super::grouped::Grouped;
use super::node::StoreSpec;
use super::route::Route;
use super::store::Store;
use super::stream::Stream;
use super::table::{Table, updates_topic};
use super::windows::Windows;
use crate::engine::flow::Keyed;
use crate::engine::operators::window::{
    Frames, KeepWindows, Merge, SessionAggregate, SlidingAggregate, TimeAggregate, WindowRows, WindowRules,
    WindowTables, Windowed,
};
use crate::engine::operators::{Change, Next, Step};
use crate::engine::row::RowFormat;

impl<K: Key, V: Send + Sync + 'static> Grouped<K, V> {
    /// Divides the values of each key into windows, by the times of their events.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// let mut app = App::new("shortener");
    /// let visits = app.stream::<String, u64>("visits");
    /// let per_day = visits.group_by_key().window(Tumbling::days(1).grace(hours(1)));
    /// let daily = app.view(per_day.count(Store::named("visits-per-day")));
    /// # app.check().unwrap();
    /// ```
    pub fn window<W: Windows>(&self, windows: W) -> W::Of<K, V> {
        windows.divide(self)
    }
}

/// A stream divided into windows of a fixed length: ready to be aggregated.
pub struct WindowedGroup<K, V> {
    stream: Stream<K, V>,
    shape: Shape,
    closes_ms: i64,
    on_close: bool,
}

/// What windows of a fixed length there are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// Those that begin at the multiples of an interval.
    Aligned(Frames),
    /// Those that end at a value, or begin after one.
    Sliding {
        /// How far apart values of one window lie at most.
        difference_ms: i64,
    },
}

impl<K, V> Clone for WindowedGroup<K, V> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone(), ..*self }
    }
}

impl<K: Key, V: Send + Sync + 'static> WindowedGroup<K, V> {
    pub(super) fn new(stream: Stream<K, V>, shape: Shape, closes_ms: i64) -> Self {
        Self { stream, shape, closes_ms, on_close: false }
    }

    /// Tells those that follow of a window once, when it closes, and not of every update.
    ///
    /// A window closes when an event of any key is as late as its end and the grace. A view of the table itself shows
    /// every window from its first value on; one of the table [stored](Table::stored) again shows those that have closed.
    #[must_use]
    pub fn emit_on_close(mut self) -> Self {
        self.on_close = true;
        self
    }

    /// Folds the values of each key and window into a state that begins as its default.
    pub fn fold<S: Default + Value>(
        &self,
        store: Store,
        step: impl Fn(&mut S, Keyed<'_, K, V>) + Send + Sync + 'static,
    ) -> Table<Windowed<K>, S> {
        self.stepping("fold", store, Arc::new(move |state, item| step(state.get_or_insert_default(), item)))
    }

    /// Counts the values of each key and window.
    pub fn count(&self, store: Store) -> Table<Windowed<K>, u64> {
        let step: Step<K, V, u64> = Arc::new(|count, _| *count.get_or_insert_default() += 1);
        self.stepping("count", store, step)
    }

    /// Aggregates the values of each key and window: `step` is given the state so far, if there is one, and answers the
    /// next; without one the row is removed.
    pub fn aggregate<S: Value>(
        &self,
        store: Store,
        step: impl Fn(Option<S>, Keyed<'_, K, V>) -> Option<S> + Send + Sync + 'static,
    ) -> Table<Windowed<K>, S> {
        self.stepping("aggregate", store, Arc::new(move |state, item| *state = step(state.take(), item)))
    }

    fn stepping<S: Value>(
        &self,
        label: &'static str,
        store: Store,
        step: Step<K, V, S>,
    ) -> Table<Windowed<K>, S> {
        let Self { stream: Stream { node, route, attach, .. }, shape, closes_ms, on_close } = self.clone();
        // Sliding windows are made of what their neighbours hold up to which time.
        let store = if let Shape::Sliding { .. } = shape { store.timed() } else { store };
        let kept = WindowStore::new(&store, closes_ms, on_close);
        let (spec, route, view) = (kept.spec.clone(), windowed_route(route), store.clone());
        let table = Table::kept(label, store, spec, &[&node], route, move |building, store, next| {
            let (step, rows) = (step.clone(), kept.rows(building, next));
            let aggregate: Next<K, V> = match shape {
                Shape::Aligned(frames) => building.counted(store, TimeAggregate::new(frames, step, rows)),
                Shape::Sliding { difference_ms } => {
                    building.counted(store, SlidingAggregate::new(difference_ms, step, rows))
                }
            };
            attach(building, aggregate);
        });
        expiring_everywhere(table, view, closes_ms)
    }
}

impl<K: Key, V: Value> WindowedGroup<K, V> {
    /// Reduces the values of each key and window to one: the first is the first state.
    pub fn reduce(
        &self,
        store: Store,
        step: impl Fn(V, Keyed<'_, K, V>) -> V + Send + Sync + 'static,
    ) -> Table<Windowed<K>, V> {
        let step: Step<K, V, V> = Arc::new(move |state, item| {
            *state = Some(match state.take() {
                None => item.value.clone(),
                Some(so_far) => step(so_far, item),
            });
        });
        self.stepping("reduce", store, step)
    }
}

/// A stream divided into sessions: ready to be aggregated.
pub struct SessionGroup<K, V> {
    stream: Stream<K, V>,
    gap_ms: i64,
    closes_ms: i64,
    on_close: bool,
}

impl<K, V> Clone for SessionGroup<K, V> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone(), ..*self }
    }
}

impl<K: Key, V: Send + Sync + 'static> SessionGroup<K, V> {
    pub(super) fn new(stream: Stream<K, V>, gap_ms: i64, closes_ms: i64) -> Self {
        Self { stream, gap_ms, closes_ms, on_close: false }
    }

    /// Tells those that follow of a session once, when it closes, as [`WindowedGroup::emit_on_close`].
    #[must_use]
    pub fn emit_on_close(mut self) -> Self {
        self.on_close = true;
        self
    }

    /// Folds the values of each session into a state that begins as its default; `merge` makes one state of those of two
    /// sessions that a value brings together, the earlier first.
    pub fn fold<S: Default + Value>(
        &self,
        store: Store,
        step: impl Fn(&mut S, Keyed<'_, K, V>) + Send + Sync + 'static,
        merge: impl Fn(&K, S, S) -> S + Send + Sync + 'static,
    ) -> Table<Windowed<K>, S> {
        let step: Step<K, V, S> = Arc::new(move |state, item| step(state.get_or_insert_default(), item));
        self.stepping("fold", store, step, Arc::new(merge))
    }

    /// Counts the values of each session.
    pub fn count(&self, store: Store) -> Table<Windowed<K>, u64> {
        let step: Step<K, V, u64> = Arc::new(|count, _| *count.get_or_insert_default() += 1);
        self.stepping("count", store, step, Arc::new(|_, one, other| one + other))
    }

    /// Aggregates the values of each session: `step` is given the state so far, if there is one, and answers the next, and
    /// `merge` is as in [`fold`](SessionGroup::fold); without a state the row is removed.
    pub fn aggregate<S: Value>(
        &self,
        store: Store,
        step: impl Fn(Option<S>, Keyed<'_, K, V>) -> Option<S> + Send + Sync + 'static,
        merge: impl Fn(&K, S, S) -> S + Send + Sync + 'static,
    ) -> Table<Windowed<K>, S> {
        let step: Step<K, V, S> = Arc::new(move |state, item| *state = step(state.take(), item));
        self.stepping("aggregate", store, step, Arc::new(merge))
    }

    fn stepping<S: Value>(
        &self,
        label: &'static str,
        store: Store,
        step: Step<K, V, S>,
        merge: Merge<K, S>,
    ) -> Table<Windowed<K>, S> {
        let Self { stream: Stream { node, route, attach, .. }, gap_ms, closes_ms, on_close } = self.clone();
        let kept = WindowStore::new(&store, closes_ms, on_close);
        let (spec, route, view) = (kept.spec.clone(), windowed_route(route), store.clone());
        let table = Table::kept(label, store, spec, &[&node], route, move |building, store, next| {
            let (step, merge, rows) = (step.clone(), merge.clone(), kept.rows(building, next));
            let aggregate = SessionAggregate::new(gap_ms, step, merge, rows);
            let aggregate = building.counted(store, aggregate);
            attach(building, aggregate);
        });
        expiring_everywhere(table, view, closes_ms)
    }
}

impl<K: Key, V: Value> SessionGroup<K, V> {
    /// Reduces the values of each session to one, and the states of two sessions to one; the first value is the first state.
    pub fn reduce(
        &self,
        store: Store,
        step: impl Fn(V, V) -> V + Send + Sync + 'static,
    ) -> Table<Windowed<K>, V> {
        let merge = Arc::new(step);
        let step = merge.clone();
        let step: Step<K, V, V> = Arc::new(move |state, item| {
            *state = Some(match state.take() {
                None => item.value.clone(),
                Some(so_far) => step(so_far, item.value.clone()),
            });
        });
        self.stepping("reduce", store, step, Arc::new(move |_, one, other| merge(one, other)))
    }
}

/// The same table, whose windows also expire where a view of it is folded from a topic of the app's own.
fn expiring_everywhere<K: Key, S: Value>(
    table: Table<Windowed<K>, S>,
    store: Store,
    closes_ms: i64,
) -> Table<Windowed<K>, S> {
    if store.retain.is_none() {
        return table;
    }
    let made = table.clone();
    table.remade(Arc::new(move || {
        let told = made.to_stream().repartition(updates_topic(&store.name));
        let Stream { node, route, attach, .. } = told;
        let kept = WindowStore::new(&store, closes_ms, false);
        let spec = kept.spec.clone();
        Table::kept("windows", store.clone(), spec, &[&node], route, move |building, store, next| {
            let keep = KeepWindows::new(kept.rows(building, next));
            let keep = building.counted(store, keep);
            attach(building, keep);
        })
    }))
}

/// A store of windows.
struct WindowStore {
    spec: StoreSpec,
    format: RowFormat,
    rules: WindowRules,
}

impl WindowStore {
    fn new(store: &Store, closes_ms: i64, on_close: bool) -> Self {
        // Longer than time is counted is for ever.
        let retain_ms = store.retain.and_then(|retain| i64::try_from(retain.as_millis()).ok());
        let rules = WindowRules { closes_ms, on_close, retain_ms };
        let tables: &'static [&'static str] =
            if rules.has_dues() { &["", "time", "due"] } else { &["", "time"] };
        let spec = StoreSpec { has_windows: true, ..StoreSpec::of(store, tables) };
        Self { spec, format: store.rows, rules }
    }

    /// Its rows in a shard. Those that follow are told times, which are kept then.
    fn rows<K, S>(
        &self,
        building: &Building<'_>,
        next: Option<Next<Windowed<K>, Change<S>>>,
    ) -> WindowRows<K, S> {
        let name = &self.spec.name;
        let tables = WindowTables {
            rows: building.table(name, ""),
            time: building.table(name, "time"),
            due: self.rules.has_dues().then(|| building.table(name, "due")),
        };
        let format = if next.is_some() { RowFormat::Timed } else { self.format };
        WindowRows::new(name, tables, format, self.rules, next)
    }
}

/// A window lies where its key lies.
fn windowed_route<K: Key>(route: Route<K>) -> Route<Windowed<K>> {
    Route::new(move |window: &Windowed<K>| route.of(&window.key))
}
