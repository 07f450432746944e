//! On Apache Kafka's own broker: the examples of Kafka Streams' documentation, and cases of every kind of operator.

use std::sync::Arc;
use std::time::Duration;

use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use headwater_kafka::{KafkaLog, KafkaSettings};
use kafka_broker::Broker;
use streams_oracle::golden;
use tokio::task::JoinSet;

use super::{Scenario, Settled, Shared, all, records, scenarios};

const SEED: u64 = 42;
/// Generous: all of them run at once on whatever machine this is.
const WITHIN: Duration = Duration::from_secs(120);

/// With random inputs, beside the examples.
const CASES: [&str; 20] = [
    "flat_map",
    "branch",
    "to-chosen",
    "repartition",
    "to_table-by_letter",
    "table-filter-kept",
    "count-by_letter",
    "aggregate-to_null",
    "cogroup-session",
    "tumbling-count-grace",
    "hopping-reduce-close",
    "sliding-aggregate-grace",
    "session-aggregate-grace-close",
    "suppress-limit",
    "suppress-records",
    "stream_stream-outer-grace",
    "stream_table-left-versioned-grace",
    "table_table-inner-versioned",
    "process-store",
    "punctuate-stream_time",
];

/// The examples of the documentation, each for each of its cases.
fn examples() -> Vec<Scenario> {
    let mut scenarios = Vec::new();
    for (number, example) in golden::examples().unwrap().iter().enumerate() {
        for ours in all().into_iter().filter(|ours| example.cases.contains(&ours.case)) {
            let inputs = records(example.with(ours.options).inputs());
            let scenario = Scenario::new(&format!("{}-{number}", ours.case), ours, inputs.clone());
            let in_order = scenario.inputs == inputs || scenario.settled == Settled::InTheEnd;
            assert!(in_order, "{}: its steps are not taken in their order", example.about);
            scenarios.push(scenario);
        }
    }
    scenarios
}

#[test]
fn the_documentation_s_examples_and_cases_of_every_kind_run_on_kafka() {
    let mut scenarios = scenarios(SEED);
    scenarios.retain(|scenario| CASES.contains(&scenario.ours.case.as_str()));
    assert_eq!(scenarios.len(), CASES.len(), "a case is missing");
    scenarios.extend(examples());
    let broker = Broker::start().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = KafkaSettings {
            replication_factor: 1,
            min_in_sync_replicas: 1,
            ..KafkaSettings::new(broker.bootstrap(), "instance")
        };
        let log: Shared = KafkaLog::connect(settings).await.unwrap();
        let headwater = Headwater::on(log.clone(), Arc::new(MemoryStores::new()));
        let mut players = JoinSet::new();
        for scenario in scenarios {
            players.spawn(play(scenario, log.clone(), headwater.clone()));
        }
        while let Some(played) = players.join_next().await {
            played.unwrap();
        }
    });
}

async fn play(scenario: Scenario, log: Shared, headwater: Headwater) {
    scenario.fill(&*log).await;
    let running = headwater.start(scenario.plan().into_app()).await.unwrap();
    scenario.outcome(&*log, &running, WITHIN).await;
    assert!(running.stop(WITHIN).await);
}
