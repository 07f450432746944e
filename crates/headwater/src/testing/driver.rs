//! Topologies run in a test: synchronous, with time under control.
//!
//! The engine is the one that runs in production; only what surrounds it is another: every topic has one partition, and
//! every topology one shard, whose state lies in memory. A record is processed to its end before the next is piped.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::header::Headers;
use headwater_core::key::{Key, decode_ordered, ordered};
use headwater_core::record::{Record, StoredRecord};
use headwater_core::store::{Direction, KeyRange, StoreError, TableId, Visit};
use headwater_core::topic::{Offset, Partition, TopicName};

use crate::app::{App, View};
use crate::engine::flow::{Counts, Drops, Flow};
use crate::engine::history::{History, Version};
use crate::engine::operators::{InputRecord, Task, Windowed, run_batch};
use crate::engine::row::{Row, RowFormat};
use crate::engine::state::{Delta, Layered, StateRead};
use crate::topology::{Definition, Kind, ShardPlace, Topic, TopicRef, Value};

/// More records than any test pipes: whoever makes so many of one feeds itself.
const STEPS_MAX: usize = 1_000_000;

/// Runs the topologies of an app in a test.
///
/// ```
/// use headwater::core::clock::Timestamp;
/// use headwater::prelude::*;
/// use headwater::testing::Driver;
///
/// let mut app = App::new("shortener");
/// let visits = app.stream::<String, u64>("visits");
/// let total = app.view(visits.group_by_key().count(Store::named("total")));
/// app.emitter(visits.filter(|visit| *visit.value > 1_000).to("slow-visits"));
///
/// let mut driver = Driver::new(&app);
/// driver.pipe("visits", "a".to_owned(), 20_u64, Timestamp(0));
/// driver.pipe("visits", "a".to_owned(), 2_000_u64, Timestamp(1));
/// assert_eq!(driver.view(&total).get(&"a".to_owned()), Some(2));
/// assert_eq!(driver.read::<String, u64>("slow-visits"), [("a".to_owned(), 2_000, Timestamp(1))]);
/// ```
pub struct Driver {
    app: String,
    topics: BTreeMap<TopicName, Vec<StoredRecord>>,
    /// How far each topic was read by the test.
    taken: BTreeMap<TopicName, usize>,
    topologies: Vec<Running>,
    /// What came to the operators of each name, and what they went on without.
    came: BTreeMap<Arc<str>, u64>,
    drops: Drops,
}

/// A topology that is driven.
struct Running {
    definition: Arc<Definition>,
    sources: Vec<TopicName>,
    targets: Vec<TopicName>,
    next: Vec<usize>,
    task: Task,
    state: Tables,
}

#[derive(Default)]
struct Tables(BTreeMap<(TableId, Bytes), Bytes>);

impl Driver {
    /// The topologies of an app, before their first record. Its aggregates are not driven.
    ///
    /// # Panics
    ///
    /// If the app has mistakes.
    #[track_caller]
    pub fn new(app: &App) -> Self {
        if let Err(mistakes) = app.check() {
            panic!("{mistakes}");
        }
        let resolve = |topic: &TopicRef| topic.resolve(app.name()).expect("a checked app has good names");
        let running = |definition: &Arc<Definition>| Running {
            sources: definition.sources.iter().map(resolve).collect(),
            targets: definition.targets().iter().map(resolve).collect(),
            next: vec![0; definition.sources.len()],
            task: new_task(definition, resolve),
            state: Tables::default(),
            definition: definition.clone(),
        };
        let mut driver = Self {
            app: app.name().to_owned(),
            topics: BTreeMap::new(),
            taken: BTreeMap::new(),
            topologies: app.definitions.values().map(running).collect(),
            came: BTreeMap::new(),
            drops: Drops::new(),
        };
        driver.advance_to(Timestamp(0));
        driver
    }

    /// Appends a value to a topic, and processes what comes of it.
    ///
    /// # Panics
    ///
    /// If a topology stops at it, saying why; if the value cannot be written; if no topology reads the topic.
    #[track_caller]
    pub fn pipe<K: Key, V: Send + Sync + 'static>(
        &mut self,
        topic: impl Into<Topic<K, V>>,
        key: K,
        value: V,
        time: Timestamp,
    ) {
        self.pipe_with(topic, key, value, time, Headers::empty());
    }

    /// The same with headers.
    ///
    /// # Panics
    ///
    /// As [`pipe`](Driver::pipe).
    #[track_caller]
    pub fn pipe_with<K: Key, V: Send + Sync + 'static>(
        &mut self,
        topic: impl Into<Topic<K, V>>,
        key: K,
        value: V,
        time: Timestamp,
        headers: Headers,
    ) {
        let topic = topic.into();
        let writes = topic.writes();
        let key = writes.key(&key).expect("the key can be written").map(|(key, _)| key);
        let value = writes.value(&value).expect("the value can be written");
        let name = TopicName::new(topic.name()).expect("the topic has a good name");
        self.append(name, Record { key, value, headers, timestamp: time });
    }

    /// Appends a record with a key and no value to a topic: of a table, the row is gone.
    ///
    /// # Panics
    ///
    /// As [`pipe`](Driver::pipe).
    #[track_caller]
    pub fn delete<K: Key>(&mut self, topic: &str, key: K, time: Timestamp) {
        self.pipe(Topic::<K, Option<()>>::from(topic), key, None, time);
    }

    /// Appends a record to a topic as it is, and processes what comes of it.
    ///
    /// # Panics
    ///
    /// If a topology stops at it, saying why.
    #[track_caller]
    pub fn pipe_record(&mut self, topic: &str, record: Record) {
        self.append(TopicName::new(topic).expect("the topic has a good name"), record);
    }

    /// Whether a topology reads a topic.
    pub fn reads(&self, topic: &str) -> bool {
        self.topologies.iter().flat_map(|topology| &topology.sources).any(|source| source.as_str() == topic)
    }

    #[track_caller]
    fn append(&mut self, topic: TopicName, record: Record) {
        assert!(
            self.reads(topic.as_str()),
            "no topology reads the topic \"{topic}\": they read {}",
            listed(self.topologies.iter().flat_map(|topology| &topology.sources))
        );
        self.push(topic, record);
        self.settle();
    }

    fn push(&mut self, topic: TopicName, record: Record) {
        let records = self.topics.entry(topic).or_default();
        records.push(StoredRecord { offset: Offset(records.len() as u64), record });
    }

    /// Lets the clock on the wall, which begins at zero, move on to a time, for those that wait for it.
    ///
    /// # Panics
    ///
    /// If a topology stops.
    #[track_caller]
    pub fn advance_to(&mut self, now: Timestamp) {
        for index in 0..self.topologies.len() {
            let topology = &mut self.topologies[index];
            let name = topology.definition.name.clone();
            let step = topology.tick(now).unwrap_or_else(|error| panic!("\"{name}\" stopped: {error}"));
            self.take(index, step);
        }
        self.settle();
    }

    /// What a topic holds that was not read yet, as the app wrote it.
    ///
    /// # Panics
    ///
    /// If a record cannot be read with the topic's codecs; if no topology appends to the topic.
    #[track_caller]
    pub fn read<K: Key, V: Send + Sync + 'static>(
        &mut self,
        topic: impl Into<Topic<K, V>>,
    ) -> Vec<(K, V, Timestamp)> {
        let topic = topic.into();
        let read = topic.read();
        let fresh = self.fresh(topic.name()).iter();
        let one = |stored: &StoredRecord| {
            let (key, value) =
                read(stored).unwrap_or_else(|error| panic!("{error}")).expect("it is one of ours");
            (key, value, stored.record.timestamp)
        };
        fresh.map(one).collect()
    }

    /// The same records as they are on the log.
    ///
    /// # Panics
    ///
    /// If no topology appends to the topic.
    #[track_caller]
    pub fn read_records(&mut self, topic: &str) -> Vec<Record> {
        self.fresh(topic).iter().map(|stored| stored.record.clone()).collect()
    }

    /// What a topic holds that was not read yet, and is now.
    #[track_caller]
    fn fresh(&mut self, topic: &str) -> &[StoredRecord] {
        let name = TopicName::new(topic).expect("the topic has a good name");
        let written = || self.topologies.iter().flat_map(|topology| &topology.targets);
        assert!(
            self.topics.contains_key(&name) || written().any(|target| *target == name),
            "no topology appends to the topic \"{name}\": they append to {}",
            listed(written())
        );
        let records = self.topics.get(&name).map_or(&[][..], |records| records);
        let taken = self.taken.entry(name).or_default();
        &records[std::mem::replace(taken, records.len())..]
    }

    /// A view, as it stands.
    ///
    /// # Panics
    ///
    /// If it is none of this app's.
    #[track_caller]
    pub fn view<K: Key, S: Value>(&self, view: &View<K, S>) -> Rows<'_, K, S> {
        assert_eq!(*view.app, *self.app, "the view is another app's");
        self.rows(view.name())
    }

    #[track_caller]
    fn rows<K, S>(&self, name: &str) -> Rows<'_, K, S> {
        let topology = self.topologies.iter().find(|topology| topology.definition.name == name);
        let topology = topology.unwrap_or_else(|| panic!("there is no view \"{name}\""));
        let Kind::Fold { rows, .. } = &topology.definition.kind else {
            panic!("\"{name}\" is no view");
        };
        let (state, history) = (&topology.state, topology.definition.history());
        Rows { state, format: *rows, history, as_of: None, types: std::marker::PhantomData }
    }

    /// How many records came to the operators of this name.
    ///
    /// What keeps rows has the name of its store, and what writes a topic is called `to` and the topic's name.
    pub fn taken(&self, operator: &str) -> u64 {
        self.came.get(operator).copied().unwrap_or(0)
    }

    /// How many records the operator of this name went on without, for whatever reason.
    pub fn dropped(&self, operator: &str) -> u64 {
        self.drops.iter().filter(|((name, _), _)| **name == *operator).map(|(_, count)| count).sum()
    }

    /// Gives up what the topologies hold beside their state, as a crash between two batches does.
    ///
    /// What is kept must be all that matters: whatever is piped next gives what it would have given.
    pub fn restart(&mut self) {
        let app = self.app.clone();
        for topology in &mut self.topologies {
            let resolve = |topic: &TopicRef| topic.resolve(&app).expect("a checked app has good names");
            topology.task = new_task(&topology.definition, resolve);
        }
    }

    #[track_caller]
    fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            let Some((index, source)) = self.next_input() else { return };
            let topology = &mut self.topologies[index];
            let at = topology.next[source];
            let stored = self.topics[&topology.sources[source]][at].clone();
            topology.next[source] += 1;
            let (name, topic) = (&topology.definition.name, &topology.sources[source]);
            let place = format!("\"{name}\" stopped at {topic} offset {at}");
            let step = topology.push(source, &stored).unwrap_or_else(|error| panic!("{place}: {error}"));
            self.take(index, step);
        }
        panic!("the topologies do not come to rest: one of them feeds itself");
    }

    /// The waiting record of the earliest time.
    fn next_input(&self) -> Option<(usize, usize)> {
        let waiting = self.topologies.iter().enumerate().flat_map(|(index, topology)| {
            topology.sources.iter().enumerate().filter_map(move |(source, topic)| {
                let stored = self.topics.get(topic)?.get(topology.next[source])?;
                Some((stored.record.timestamp, index, source))
            })
        });
        waiting.min().map(|(_, topology, source)| (topology, source))
    }

    fn take(&mut self, topology: usize, Step { appends, counts }: Step) {
        let operators = self.topologies[topology].task.operators();
        for (name, count) in operators.iter().zip(counts.taken) {
            *self.came.entry(name.clone()).or_default() += count;
        }
        for (name, count) in counts.drops {
            *self.drops.entry(name).or_default() += count;
        }
        for append in appends {
            self.push(append.to.topic, append.record);
        }
    }
}

/// Topics, each once, in words.
fn listed<'a>(topics: impl Iterator<Item = &'a TopicName>) -> String {
    let topics: BTreeSet<_> = topics.map(|topic| format!("\"{topic}\"")).collect();
    if topics.is_empty() { "none".to_owned() } else { Vec::from_iter(topics).join(", ") }
}

fn new_task(definition: &Definition, resolve: impl Fn(&TopicRef) -> TopicName) -> Task {
    let target = |topic: &TopicRef| Arc::from([resolve(topic).partition(0)]);
    let targets = definition.targets().iter().map(target).collect();
    definition.task(&ShardPlace { shard: Partition(0), targets })
}

/// What came of one input.
struct Step {
    appends: Vec<headwater_core::record::Append>,
    counts: Counts,
}

impl Running {
    fn push(&mut self, source: usize, stored: &StoredRecord) -> Result<Step, String> {
        self.run(|task, flow| {
            let input = InputRecord { source, record: stored };
            run_batch(task, [input].into_iter(), flow).map_err(|failure| failure.error.to_string())
        })
    }

    fn tick(&mut self, now: Timestamp) -> Result<Step, String> {
        self.run(|task, flow| {
            let told = task.tick(now, flow).and_then(|()| task.close(flow));
            told.map_err(|error| error.to_string())
        })
    }

    fn run(
        &mut self,
        run: impl FnOnce(&mut Task, &mut Flow<'_>) -> Result<(), String>,
    ) -> Result<Step, String> {
        let mut delta = Delta::default();
        let layered = Layered { delta: &mut delta, in_flight: None, committed: &self.state };
        let mut flow = Flow::new(Some(layered));
        run(&mut self.task, &mut flow)?;
        let step = Step { counts: flow.take_counts(), appends: flow.into_appends(Partition(0)) };
        for change in delta.into_changes() {
            match change.value {
                Some(value) => self.state.0.insert((change.table, change.key), value),
                None => self.state.0.remove(&(change.table, change.key)),
            };
        }
        Ok(step)
    }
}

impl StateRead for Tables {
    fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.get(&(table, Bytes::copy_from_slice(key))).cloned())
    }

    fn scan(&self, table: TableId, range: &KeyRange, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let rows = self.0.iter().filter(|((of, key), _)| *of == table && range.contains(key));
        let mut visit_one = |((_, key), value): (&(TableId, Bytes), &Bytes)| visit(key, value);
        let _: ControlFlow<()> = match range.direction {
            Direction::Forward => {
                rows.map(&mut visit_one).find(ControlFlow::is_break).unwrap_or(ControlFlow::Continue(()))
            }
            Direction::Backward => rows
                .rev()
                .map(&mut visit_one)
                .find(ControlFlow::is_break)
                .unwrap_or(ControlFlow::Continue(())),
        };
        Ok(())
    }
}

/// The rows of a view in a test.
pub struct Rows<'a, K, S> {
    state: &'a Tables,
    format: RowFormat,
    history: Option<History>,
    as_of: Option<Timestamp>,
    types: std::marker::PhantomData<fn() -> (K, S)>,
}

impl<K: Key, S: Value> Rows<'_, K, S> {
    /// The rows as they were at a time, of a view that keeps [versions](crate::Store::versioned).
    #[must_use]
    pub fn as_of(mut self, time: Timestamp) -> Self {
        self.as_of = Some(time);
        self
    }

    /// The value under a key.
    ///
    /// # Panics
    ///
    /// If a row cannot be read.
    #[track_caller]
    pub fn get(&self, key: &K) -> Option<S> {
        let key = ordered(key).expect("the key can be written");
        if let Some(time) = self.as_of {
            let version = self.history().as_of(&key, time, self.state);
            return self.value(version.unwrap_or_else(|untold| panic!("{untold}"))?);
        }
        let row = self.state.0.get(&(TableId(0), key))?;
        self.decoded(row)
    }

    /// Every row, in the order of the keys.
    ///
    /// # Panics
    ///
    /// If a row cannot be read.
    #[track_caller]
    pub fn all(&self) -> Vec<(K, S)> {
        if let Some(time) = self.as_of {
            let rows = self.history().page(&KeyRange::all(), time, usize::MAX, self.state);
            let rows = rows.unwrap_or_else(|untold| panic!("{untold}")).into_iter();
            let key = |key: Bytes| decode_ordered(&key).expect("a key in a store can be read");
            return rows.filter_map(|(of, version)| Some((key(of), self.value(version)?))).collect();
        }
        let rows = self.state.0.iter().filter(|((table, _), _)| *table == TableId(0));
        let row = |((_, key), row): (&(TableId, Bytes), &Bytes)| {
            let key = decode_ordered(key).expect("a key in a store can be read");
            (key, self.decoded(row).expect("a row in a store has a value"))
        };
        rows.map(row).collect()
    }

    #[track_caller]
    fn history(&self) -> History {
        self.history.expect("the view's table keeps versions")
    }

    #[track_caller]
    fn value(&self, version: Version) -> Option<S> {
        self.decoded(&self.format.row(version.time, version.value?))
    }

    #[track_caller]
    fn decoded(&self, row: &Bytes) -> Option<S> {
        Row::decode(self.format, row).unwrap_or_else(|error| panic!("{error}")).value
    }
}

impl<K: Key, S: Value> Rows<'_, Windowed<K>, S> {
    /// The windows of a key, by their starts, in order.
    ///
    /// # Panics
    ///
    /// If a row cannot be read.
    #[track_caller]
    pub fn windows(&self, key: &K) -> Vec<(Timestamp, S)> {
        self.spans(key).into_iter().map(|((start, _), value)| (start, value)).collect()
    }

    /// The same, by their starts and ends.
    ///
    /// # Panics
    ///
    /// If a row cannot be read.
    #[track_caller]
    pub fn spans(&self, key: &K) -> Vec<((Timestamp, Timestamp), S)> {
        let of_key = self.all().into_iter().filter(|(window, _)| window.key == *key);
        of_key.map(|(window, value)| ((window.start, window.end), value)).collect()
    }
}
