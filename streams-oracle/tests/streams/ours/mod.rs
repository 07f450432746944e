//! The cases of the reference as apps of Headwater, run by its test driver.
//!
//! A case is a function that builds on a [`Plan`] what the Java function of the same name builds. Those of one kind of
//! operator stand in one file each; a case that is here is compared in the gate.

mod aggregations;
mod cogrouped;
mod joins;
mod lookups;
mod processors;
mod stateless;
mod suppressed;
mod versions;
mod windows;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use headwater::core::clock::Timestamp;
use headwater::core::codec::{Json, Nullable, Text};
use headwater::core::header::Headers;
use headwater::core::key::Key;
use headwater::core::record::Record;
use headwater::prelude::*;
use headwater::testing::Driver;
use headwater::{Emitter, Value as Kept};
use serde::Serialize;
use serde_json::Value;
use streams_oracle::{Answer, Datum, Input, InputRecord, Options, Output, Row};

/// A case of the reference on Headwater, and which differences are known.
pub(crate) struct Ours {
    pub(crate) case: String,
    pub(crate) options: Options,
    build: Box<dyn Fn(&mut Plan)>,
}

/// All that are compared.
pub(crate) fn all() -> Vec<Ours> {
    [
        stateless::cases(),
        aggregations::cases(),
        cogrouped::cases(),
        windows::cases(),
        suppressed::cases(),
        joins::cases(),
        lookups::cases(),
        versions::cases(),
        processors::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Compared in everything that Headwater's test driver tells: a row's time is not.
fn ours(case: impl Into<String>, build: impl Fn(&mut Plan) + 'static) -> Ours {
    let options = Options { row_times: false, ..Options::default() };
    Ours { case: case.into(), options, build: Box::new(build) }
}

impl Ours {
    /// A stream or table that takes no records without a key: one that comes stops the shard.
    fn with_keys(mut self) -> Ours {
        self.options.null_keys = false;
        self
    }

    /// What is told here with the first record that allows it is told later there, with another record's headers; and
    /// until then it can still be matched by what comes later than the grace.
    fn sooner(mut self, grace: Duration) -> Ours {
        self.options.moments = false;
        self.options.headers = false;
        self.late_at_most(grace)
    }

    /// What comes later is late for one of them, and not for the other.
    fn late_at_most(mut self, grace: Duration) -> Ours {
        self.options.lateness_ms_max = grace.as_millis() as i64;
        self
    }

    /// Where exactly at its end something closes differs.
    fn at_even_times(mut self) -> Ours {
        self.options.even_times = true;
        self
    }

    /// What the store holds is no view here.
    fn without_rows(mut self) -> Ours {
        self.options.store = false;
        self
    }

    /// Headers go on here, and are left behind there.
    fn without_headers(mut self) -> Ours {
        self.options.headers = false;
        self
    }

    /// Null values are dropped here, and aggregated there.
    fn with_values(mut self) -> Ours {
        self.options.null_values = false;
        self
    }

    /// Nobody is told of a row's end where there was none.
    fn without_void_deletes(mut self) -> Ours {
        self.options.void_deletes = false;
        self
    }

    /// What is dropped is counted otherwise: Kafka Streams also counts what changes nothing that is told.
    fn uncounted(mut self) -> Ours {
        self.options.dropped = false;
        self
    }

    fn plan(&self, part: Part) -> Plan {
        let mut plan = Plan::new(part);
        (self.build)(&mut plan);
        plan
    }

    /// Runs the case from an empty state.
    pub(crate) fn run(&self, inputs: &[Input]) -> Result<Answer, String> {
        let answer = catch_unwind(AssertUnwindSafe(|| {
            let rows = self.plan(Part::Rows).run(inputs).store;
            Answer { store: rows, ..self.plan(Part::Outputs).run(inputs) }
        }));
        answer.map_err(|panic| *panic.downcast::<String>().unwrap_or_else(|_| Box::new("it panicked".into())))
    }
}

type Rows = Box<dyn Fn(&Driver) -> Vec<Row>>;

/// What of a case runs: outputs and rows are topologies apart, each of which counts what it drops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Outputs,
    Rows,
}

/// An app that is being built, and what of it is to be compared.
pub(crate) struct Plan {
    part: Part,
    app: App,
    outputs: Vec<String>,
    rows: Option<Rows>,
    dropping: Vec<String>,
}

impl Plan {
    fn new(part: Part) -> Plan {
        Plan { part, app: App::new("ours"), outputs: vec![], rows: None, dropping: vec![] }
    }

    /// A stream of words, or of none, as Kafka Streams has them.
    fn stream<V: Kept>(&self, topic: &str) -> Stream<Option<String>, Option<V>> {
        self.app.stream(Topic::with(topic, Nullable(Text), Json))
    }

    /// A stream of what is there; what is not is counted as dropped.
    fn present<V: Kept>(&mut self, topic: &str) -> Stream<String, V> {
        self.dropping.push(topic.to_owned());
        self.stream(topic).present(topic)
    }

    /// A stream of words or of none, each under a key.
    fn keyed(&self, topic: &str) -> Stream<String, Option<String>> {
        self.app.stream(topic)
    }

    /// Counts what an operator drops.
    fn count_drops_of(&mut self, operator: &str) {
        self.dropping.push(operator.to_owned());
    }

    fn table(&self, topic: &str) -> Table<String, String> {
        self.app.table(topic)
    }

    /// Writes to the topic that most cases write to.
    fn out<K: Key, V: Kept, P>(&mut self, stream: &Stream<K, V, P>) {
        self.out_to("output", stream);
    }

    /// Writes keys and values of any type as JSON.
    fn out_to<K: Key, V: Kept, P>(&mut self, topic: &str, stream: &Stream<K, V, P>) {
        self.emit(stream.select_key(|item| json(item.key)).to(topic), &[topic.to_owned()]);
    }

    fn emit(&mut self, emitter: Emitter, topics: &[String]) {
        if self.part == Part::Outputs {
            self.app.emitter(emitter);
            self.outputs.extend_from_slice(topics);
        }
    }

    /// Compares the rows of a table.
    fn show<K: Key, V: Kept>(&mut self, table: Table<K, V>) {
        if self.part == Part::Outputs {
            return;
        }
        let view = self.app.view(table);
        let row = |(key, value): (K, V)| Row { key: datum(&key), value: datum(&value), time: None };
        self.rows = Some(Box::new(move |driver| driver.view(&view).all().into_iter().map(row).collect()));
    }

    /// Writes the updates of a table and compares its rows.
    fn out_and_show<K: Key, V: Kept>(&mut self, table: Table<K, V>) {
        self.out(&table.to_stream());
        self.show(table);
    }

    fn run(self, inputs: &[Input]) -> Answer {
        let mut driver = Driver::new(&self.app);
        let mut clock = 0;
        let mut outputs = vec![];
        for (after, input) in inputs.iter().enumerate() {
            match input {
                Input::Record(input) => driver.pipe_record(&input.topic, record(input)),
                Input::Clock { advance_wall_clock_ms } => {
                    clock += *advance_wall_clock_ms as i64;
                    driver.advance_to(Timestamp(clock));
                }
            }
            for topic in &self.outputs {
                let read = driver.read_records(topic);
                outputs.extend(read.iter().map(|record| output(after, topic, record)));
            }
        }
        let store = self.rows.map_or_else(Vec::new, |rows| rows(&driver));
        let dropped = self.dropping.iter().map(|operator| driver.dropped(operator)).sum();
        Answer { outputs, store, dropped }
    }
}

fn record(input: &InputRecord) -> Record {
    let mut headers = Headers::builder();
    for (name, value) in &input.headers {
        headers.add(name, Some(value.as_bytes()));
    }
    Record {
        key: input.key.as_ref().map(|key| Bytes::from(key.clone())),
        value: input.value.as_ref().map(|value| Bytes::from(json(value))),
        headers: headers.build(),
        timestamp: Timestamp(input.time),
    }
}

fn output(after: usize, topic: &str, record: &Record) -> Output {
    let read = |bytes: &Bytes| read(serde_json::from_slice(bytes).unwrap());
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    let headers = record.headers.iter().map(|(name, value)| (name.to_owned(), text(value)));
    Output {
        after,
        topic: topic.to_owned(),
        key: record.key.as_ref().and_then(read),
        value: record.value.as_ref().and_then(read),
        time: record.timestamp.0,
        // Headwater's own begin like this.
        headers: headers.filter(|(name, _)| !name.starts_with("hw_")).collect(),
    }
}

fn json(data: &impl Serialize) -> String {
    serde_json::to_string(data).unwrap()
}

fn datum(data: &impl Serialize) -> Datum {
    read(serde_json::to_value(data).unwrap()).unwrap()
}

/// A key or value; a windowed key is written as the list of key, start and end.
fn read(json: Value) -> Option<Datum> {
    match json {
        Value::Array(parts) => {
            let (key, start, end) = serde_json::from_value(parts.into()).unwrap();
            Some(Datum::Windowed { key, start, end })
        }
        json => serde_json::from_value(json).unwrap(),
    }
}

/// The first letter, where there is one.
fn initial(word: &str) -> Option<String> {
    word.chars().next().map(String::from)
}

fn has_a(word: &str) -> bool {
    word.contains('a')
}
