//! The same on a real cluster: an instance is killed amid counting, and the next one, without its store, goes on.

use std::sync::Arc;
use std::time::Duration;

use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use headwater_kafka::{KafkaLog, KafkaSettings};
use kafka_broker::Broker;
use tokio::runtime::{Builder, Runtime};

use super::sipping_log::SippingLog;
use super::{Outcome, Visits, dyn_log, make, produce, told, visits, visits_among, written};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn connect(broker: &Broker, name: &str) -> dyn_log::Shared {
    let settings = KafkaSettings {
        replication_factor: 1,
        min_in_sync_replicas: 1,
        ..KafkaSettings::new(broker.bootstrap(), name)
    };
    KafkaLog::connect(settings).await.unwrap()
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Starts the app on a log that answers sip by sip.
async fn start(log: dyn_log::Shared) -> (Running, View<String, u64>) {
    let Visits { app, total } = visits();
    let log = Arc::new(SippingLog(log));
    let running = Headwater::on(log, Arc::new(MemoryStores::new())).start(app).await.unwrap();
    (running, total)
}

#[test]
fn state_and_several_inputs_outlive_a_kill_on_kafka() {
    let broker = Broker::start().unwrap();
    let written = written(120);
    let all = visits_among(&written);
    let first = runtime();
    let so_far = first.block_on(async {
        let log = connect(&broker, "instance").await;
        make(&*log, &["visits", "clicks"]).await;
        produce(&*log, &written).await;
        let _running = start(log.clone()).await;
        let counting = async {
            loop {
                let so_far = told(&*log, "counts").await.concat().len();
                if so_far > all / 4 {
                    return so_far;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, counting).await.expect("it counts in time")
    });
    // Nothing says good-bye.
    first.shutdown_background();
    println!("killed when it had counted {so_far} of {all}");
    let outcome = runtime().block_on(async {
        let log = connect(&broker, "instance").await;
        let (running, total) = start(log.clone()).await;
        running.ready(PATIENCE).await.unwrap();
        let outcome = Outcome::of(&*log, &running, &total, &written).await;
        assert!(running.stop(PATIENCE).await);
        outcome
    });
    assert_eq!(outcome, Outcome::expected(&written));
}
