//! The log on Kafka keeps the contract of a log, on the real broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use headwater_core::BoxFuture;
use headwater_core::conformance::log::{Harness, run_all};
use headwater_core::log::Log;
use headwater_kafka::{KafkaLog, KafkaSettings};
use kafka_broker::Broker;
use krafka::Kafka;
use krafka::admin::ListTransactionsOptions;

/// Rules that ask of a broker what it cannot be made to do when asked.
const NOT_ON_DEMAND: [&str; 3] = [
    // A broker drops what it may by the file, and never the one that it writes to.
    "expiry_drops_old_records_from_the_front",
    "compaction_keeps_the_last_record_of_each_key",
    // Answers are lost on the client's in-memory cluster: `src/tests`.
    "an_unknown_commit_ends_its_writer",
];

/// For one rule: some kill the broker a dozen times, and on a busy machine it takes long to come back.
const PATIENCE: Duration = Duration::from_secs(600);

struct OnBroker {
    broker: Broker,
    names: AtomicU32,
}

impl OnBroker {
    async fn connect(&self) -> Arc<dyn Log> {
        let settings = KafkaSettings {
            replication_factor: 1,
            min_in_sync_replicas: 1,
            ..KafkaSettings::new(self.broker.bootstrap(), "conformance")
        };
        KafkaLog::connect(settings).await.expect("the broker runs")
    }

    /// Waits until the markers of every transaction that is decided are written.
    ///
    /// The only broker of a cluster that dies before them forgets them: its coordinator finds no leader for the partitions
    /// when it comes back, takes them for deleted, and leaves the transaction open there for ever. With replicas there is
    /// a leader elsewhere; here nothing that a client does could help. Some seconds are time enough for a broker that writes
    /// them at all.
    async fn let_markers_be_written(&self) {
        let kafka = Kafka::builder(self.broker.bootstrap()).connect().await.expect("the broker runs");
        let admin = kafka.admin().metrics_push(false);
        for _ in 0..250 {
            let listed = admin.list_transactions(ListTransactionsOptions::default()).await;
            let listed: Vec<_> = listed.expect("the broker runs").into_values().collect();
            let mut all = listed.into_iter().flat_map(|listed| listed.expect("the broker coordinates"));
            if !all.any(|transaction| transaction.state.starts_with("Prepare")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Harness for OnBroker {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Log>> {
        Box::pin(self.connect())
    }

    fn patience(&self) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(PATIENCE))
    }

    fn moment(&self) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(300)))
    }

    fn name(&self, hint: &str) -> String {
        format!("{hint}.{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    fn crash(&self, log: Arc<dyn Log>) -> BoxFuture<'_, Option<Arc<dyn Log>>> {
        drop(log);
        Box::pin(async {
            self.let_markers_be_written().await;
            tokio::task::block_in_place(|| {
                self.broker.kill().expect("the broker runs");
                self.broker.restart().expect("the broker starts again");
            });
            Some(self.connect().await)
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_keeps_its_contract() {
    let harness = OnBroker { broker: Broker::start().expect("a broker starts"), names: AtomicU32::new(0) };
    let report = run_all(&harness).await;
    report.assert_kept(&NOT_ON_DEMAND);
}
