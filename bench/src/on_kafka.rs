//! The set-up of the benchmarks that measure the log on Kafka alone: a broker, a connection, topics of this run's own.
//!
//! The broker is the one at the address that is the program's first argument, or one of its own, which shares the
//! processors. Topics of another run on the same broker are left alone.

use std::sync::Arc;

use headwater_core::log::{Log, TopicSettings};
use headwater_core::topic::TopicName;
use headwater_kafka::{KafkaLog, KafkaSettings};
use kafka_broker::Broker;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A connected log, on a broker that lives as long.
pub(crate) struct OnKafka {
    pub(crate) log: Arc<dyn Log>,
    _own: Option<Broker>,
}

impl OnKafka {
    pub(crate) async fn connect() -> Result<Self> {
        let address = std::env::args().nth(1);
        let own = address.is_none().then(Broker::start).transpose()?;
        let servers = own.as_ref().map(Broker::bootstrap).or(address).unwrap_or_default();
        let settings = KafkaSettings {
            replication_factor: 1,
            min_in_sync_replicas: 1,
            ..KafkaSettings::new(servers, "bench")
        };
        Ok(Self { log: KafkaLog::connect(settings).await?, _own: own })
    }

    /// Makes a topic that keeps everything.
    pub(crate) async fn create(&self, name: &str, partitions: u32) -> Result<TopicName> {
        let name = TopicName::new(format!("bench.{}.{name}", std::process::id()))?;
        self.log.create(&name, TopicSettings::kept(partitions)).await?;
        Ok(name)
    }
}
