//! A case that is being built: an app, and what of it is to be compared.

use headwater::core::BoxFuture;
use headwater::core::clock::Timestamp;
use headwater::core::codec::{Json, Nullable, Text};
use headwater::core::key::Key;
use headwater::prelude::*;
use headwater::testing::Driver;
use headwater::{Emitter, QueryError, Value as Kept};
use streams_oracle::{Answer, Input, Row};

use super::data::{datum, json, output, record};

/// More rows than any case has.
const ROWS_MAX: usize = 1_000;

/// How the rows of a table are read.
struct Rows {
    driven: Box<dyn Fn(&Driver) -> Vec<Row> + Send + Sync>,
    running: Box<dyn Fn(&Running) -> BoxFuture<'_, Result<Vec<Row>, QueryError>> + Send + Sync>,
}

/// What of a case is built: outputs and rows are topologies apart, each of which counts what it drops.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Outputs,
    Rows,
    Both,
}

/// An app that is being built, and what of it is to be compared.
pub(crate) struct Plan {
    part: Part,
    pub(super) app: App,
    /// Begins the names of all topics of the case, so that many run on one log.
    prefix: String,
    outputs: Vec<String>,
    rows: Option<Rows>,
    pub(super) dropping: Vec<String>,
}

impl Plan {
    /// One shard, which has the order of the driver.
    pub(super) fn new(part: Part, app: &str, prefix: String) -> Plan {
        let app = App::new(app).with(|options| options.partitions = 1);
        Plan { part, app, prefix, outputs: vec![], rows: None, dropping: vec![] }
    }

    /// The case's name for a topic, as the log has it.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The topics that the case writes.
    pub(crate) fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// The rows that are compared, where the case runs.
    pub(crate) async fn rows_of(&self, running: &Running) -> Result<Vec<Row>, QueryError> {
        match &self.rows {
            Some(rows) => (rows.running)(running).await,
            None => Ok(Vec::new()),
        }
    }

    pub(crate) fn into_app(self) -> App {
        self.app
    }

    /// A stream of words, or of none, as Kafka Streams has them.
    pub(super) fn stream<V: Kept>(&self, topic: &str) -> Stream<Option<String>, Option<V>> {
        self.app.stream(Topic::with(self.topic(topic), Nullable(Text), Json))
    }

    /// A stream of what is there; what is not is counted as dropped.
    pub(super) fn present<V: Kept>(&mut self, topic: &str) -> Stream<String, V> {
        self.dropping.push(topic.to_owned());
        self.stream(topic).present(topic)
    }

    /// A stream of words or of none, each under a key.
    pub(super) fn keyed(&self, topic: &str) -> Stream<String, Option<String>> {
        self.app.stream(self.topic(topic).as_str())
    }

    /// Counts what an operator drops.
    pub(super) fn count_drops_of(&mut self, operator: &str) {
        self.dropping.push(operator.to_owned());
    }

    pub(super) fn table(&self, topic: &str) -> Table<String, String> {
        self.app.table(self.topic(topic).as_str())
    }

    /// Writes to the topic that most cases write to.
    pub(super) fn out<K: Key, V: Kept, P>(&mut self, stream: &Stream<K, V, P>) {
        self.out_to("output", stream);
    }

    /// Writes keys and values of any type as JSON.
    pub(super) fn out_to<K: Key, V: Kept, P>(&mut self, topic: &str, stream: &Stream<K, V, P>) {
        let topic = self.topic(topic);
        self.emit(stream.select_key(|item| json(item.key)).to(topic.as_str()), &[topic]);
    }

    pub(super) fn emit(&mut self, emitter: Emitter, topics: &[String]) {
        if self.part != Part::Rows {
            self.app.emitter(emitter);
            self.outputs.extend_from_slice(topics);
        }
    }

    /// Compares the rows of a table.
    pub(super) fn show<K: Key, V: Kept>(&mut self, table: Table<K, V>) {
        if self.part == Part::Outputs {
            return;
        }
        let view = self.app.view(table);
        let row = |(key, value): (K, V)| Row { key: datum(&key), value: datum(&value), time: None };
        let rows = move |rows: Vec<(K, V)>| rows.into_iter().map(row).collect();
        let asked = view.clone();
        self.rows = Some(Rows {
            driven: Box::new(move |driver| rows(driver.view(&view).all())),
            running: Box::new(move |running| {
                let query = running.view(&asked);
                Box::pin(async move { Ok(rows(query?.scan(ROWS_MAX, None).await?.value.rows)) })
            }),
        });
    }

    /// Writes the updates of a table and compares its rows.
    pub(super) fn out_and_show<K: Key, V: Kept>(&mut self, table: Table<K, V>) {
        self.out(&table.to_stream());
        self.show(table);
    }

    /// Drives the case, which is restarted before the inputs of which `restarts` says so.
    pub(crate) fn run(self, inputs: &[Input], restarts: impl Fn(usize) -> bool) -> Answer {
        let mut driver = Driver::new(&self.app);
        let mut clock = 0;
        let mut outputs = vec![];
        for (after, input) in inputs.iter().enumerate() {
            if restarts(after) {
                driver.restart();
            }
            match input {
                // A stream that leads nowhere is no topology here, and is read for nothing there.
                Input::Record(input) if !driver.reads(&self.topic(&input.topic)) => {}
                Input::Record(input) => driver.pipe_record(&self.topic(&input.topic), record(input)),
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
        let store = self.rows.map_or_else(Vec::new, |rows| (rows.driven)(&driver));
        let dropped = self.dropping.iter().map(|operator| driver.dropped(operator)).sum();
        Answer { outputs, store, dropped }
    }
}
