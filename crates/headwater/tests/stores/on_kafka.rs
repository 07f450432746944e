//! The same questions to two instances on a real cluster.

use headwater_kafka::{KafkaLog, KafkaSettings};
use kafka_broker::Broker;

use super::*;

async fn connect(broker: &Broker, name: &str) -> Arc<dyn Log> {
    let settings = KafkaSettings {
        replication_factor: 1,
        min_in_sync_replicas: 1,
        ..KafkaSettings::new(broker.bootstrap(), name)
    };
    KafkaLog::connect(settings).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_on_kafka_tell_how_a_view_was() {
    let broker = Broker::start().unwrap();
    let logs = [connect(&broker, "first").await, connect(&broker, "second").await];
    let (board, instances) = two(logs, history::app).await;
    let receipts = history::publish(&instances[0]).await;
    for running in &instances {
        history::check(running, &receipts).await;
    }
    let asked = ["first", "second"].map(|name| board.served(&PeerAddress::new(name)));
    assert!(asked.iter().any(|asked| *asked > 0), "shards of the other were asked for: {asked:?}");
    stop(instances).await;
}
