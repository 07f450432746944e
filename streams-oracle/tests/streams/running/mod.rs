//! The cases where they run: on the memory log, the embedded log and Kafka, cut short at random points and not, they
//! write and keep what the driver does.
//!
//! All inputs are on the log before a case begins, and each case has one shard, so that the order in which it takes them
//! follows from their times, in whatever pieces it comes to them. Where records meet that came by ways of their own, what is
//! there first is up to the moment, see [`Settled`].

mod kills;
mod on_kafka;

#[path = "../../../../crates/headwater/tests/emitters/lives.rs"]
mod lives;
#[path = "../../../../crates/headwater/tests/emitters/sipping_log.rs"]
mod sipping_log;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater::core::log::{Log, ReadLimit, TopicSettings, Wait};
use headwater::core::record::Append;
use headwater::core::topic::{Offset, TopicName};
use headwater::prelude::*;
use streams_oracle::{Answer, Case, Input, InputRecord, Output};

use super::oracle;
use super::ours::data::{output, record};
use super::ours::{Ours, Plan, all};

/// How far two runs of a case are equal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// In every record.
    Always,
    /// In the last record of each key: those before it are of whatever was there when two ways met.
    InTheEnd,
}

/// A case with inputs, under the name of an app.
struct Scenario {
    name: String,
    ours: Ours,
    /// In the order in which they are taken: a global table is loaded first.
    inputs: Vec<InputRecord>,
    expected: Answer,
    settled: Settled,
}

/// What asks the clock, or gives records other times on their way to where they meet others, is shown in the driver alone.
fn is_shown_in_the_driver_alone(case: &Case) -> bool {
    let on_the_clock = case.sources.iter().any(|source| source.values == "clock");
    on_the_clock || case.name == "versioned-as_of"
}

/// The cases that run with inputs of a seed.
fn scenarios(seed: u64) -> Vec<Scenario> {
    let cases = oracle().cases().unwrap();
    let of = |ours: Ours| {
        let case = cases.iter().find(|case| case.name == ours.case).unwrap();
        if is_shown_in_the_driver_alone(case) {
            return None;
        }
        let inputs = streams_oracle::random_inputs(case, seed, ours.options);
        Some(Scenario::new(&case.name, ours, records(inputs)))
    };
    all().into_iter().filter_map(of).collect()
}

fn records(inputs: Vec<Input>) -> Vec<InputRecord> {
    let record = |input| match input {
        Input::Record(record) => record,
        Input::Clock { .. } => panic!("no case that runs asks the clock"),
    };
    inputs.into_iter().map(record).collect()
}

impl Scenario {
    /// Under the name of an app, expecting what the driver answers.
    fn new(name: &str, ours: Ours, inputs: Vec<InputRecord>) -> Scenario {
        let settled = if ours.case.starts_with("foreign_key") { Settled::InTheEnd } else { Settled::Always };
        let name = name.replace('_', "-");
        let is_loaded =
            |input: &InputRecord| ours.case.starts_with("stream_global") && input.topic == "right";
        let (loaded, others): (Vec<_>, Vec<_>) = inputs.into_iter().partition(is_loaded);
        let inputs = [loaded, as_taken(others)].concat();
        let piped: Vec<_> = inputs.iter().cloned().map(Input::Record).collect();
        let answer = ours.app(&name).run(&piped, |_| false);
        let expected = settled.comparable(answer);
        Scenario { name, ours, inputs, expected, settled }
    }

    fn plan(&self) -> Plan {
        self.ours.app(&self.name)
    }

    /// Makes the topics that the case reads, and fills them.
    async fn fill(&self, log: &dyn Log) {
        let plan = self.plan();
        let settings = TopicSettings::kept(1);
        let mut topics: Vec<_> = self.inputs.iter().map(|input| plan.topic(&input.topic)).collect();
        topics.sort();
        topics.dedup();
        for topic in &topics {
            log.create(&name(topic), settings).await.unwrap();
        }
        let append = |input: &InputRecord| {
            let to = name(&plan.topic(&input.topic)).partition(0);
            Append { to, record: record(input) }
        };
        log.append(self.inputs.iter().map(append).collect()).await.unwrap();
    }

    /// Waits until the case has written and keeps what it should.
    async fn outcome(&self, log: &dyn Log, running: &Running, within: Duration) {
        let plan = self.plan();
        let mut last = Err("nothing was asked".to_owned());
        let settled = async {
            loop {
                last = self.answer(log, &plan, running).await;
                if last.as_ref() == Ok(&self.expected) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(within, settled).await.is_ok() {
            return;
        }
        let (name, troubles) = (&self.name, running.troubles());
        panic!("{name}, {troubles:?}: expected {:#?}, got {last:#?}", self.expected);
    }

    async fn answer(&self, log: &dyn Log, plan: &Plan, running: &Running) -> Result<Answer, String> {
        let mut outputs = Vec::new();
        for topic in plan.outputs() {
            outputs.extend(told(log, topic).await);
        }
        let store = plan.rows_of(running).await.map_err(|error| error.to_string())?;
        Ok(self.settled.comparable(Answer { outputs, store, dropped: 0 }))
    }
}

impl Settled {
    /// An answer as two runs are compared: not after which input each record came, and not what was dropped, which is
    /// counted anew by each life.
    fn comparable(self, mut answer: Answer) -> Answer {
        answer.outputs.iter_mut().for_each(|output| output.after = 0);
        answer.outputs.sort_by(|one, other| one.topic.cmp(&other.topic));
        if self == Settled::InTheEnd {
            let last: BTreeMap<_, _> =
                answer.outputs.into_iter().map(|output| (format!("{:?}", output.key), output)).collect();
            let rows = last.into_values().filter(|output| output.value.is_some());
            answer.outputs =
                rows.map(|output| Output { time: 0, headers: BTreeMap::new(), ..output }).collect();
        }
        answer.store.sort_by_key(|row| row.key.to_string());
        answer.dropped = 0;
        answer
    }
}

/// The inputs in the order in which a shard takes them: of those that wait, the one of the earliest time, and of equal
/// times that of the topic which the case names first, which comes first in the alphabet, too.
fn as_taken(inputs: Vec<InputRecord>) -> Vec<InputRecord> {
    let mut waiting: BTreeMap<String, std::collections::VecDeque<InputRecord>> = BTreeMap::new();
    for input in inputs {
        waiting.entry(input.topic.clone()).or_default().push_back(input);
    }
    let mut taken = Vec::new();
    while let Some(queue) = waiting
        .values_mut()
        .filter(|queue| !queue.is_empty())
        .min_by_key(|queue| queue.front().map(|input| input.time))
    {
        taken.extend(queue.pop_front());
    }
    taken
}

fn name(topic: &str) -> TopicName {
    TopicName::new(topic).unwrap()
}

/// What a topic holds; nothing where there is none yet.
async fn told(log: &dyn Log, topic: &str) -> Vec<Output> {
    if log.describe(&name(topic)).await.unwrap().is_none() {
        return Vec::new();
    }
    let partition = name(topic).partition(0);
    let (mut next, mut told) = (Offset::ZERO, Vec::new());
    while next < log.bounds(&partition).await.unwrap().end {
        let batch = log.read(&partition, next, ReadLimit::default(), Wait::No).await.unwrap();
        next = batch.next;
        told.extend(batch.records.iter().map(|stored| output(0, topic, &stored.record)));
    }
    told
}

/// A log of any kind.
type Shared = Arc<dyn Log>;
