//! Headwater's log on an Apache Kafka cluster: topics, heads, fenced writers and shared shards, behind the log contract.
//!
//! [`KafkaLog::connect`] is the way in; everything else is the contract of [`headwater_core::log`]. No type of the
//! client that speaks to the brokers is public.
//!
//! ```no_run
//! use headwater_core::log::Log;
//! use headwater_core::topic::TopicName;
//! use headwater_kafka::{KafkaLog, KafkaSettings, Mechanism, Sasl, Security, Tls};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let security = Security {
//!     tls: Some(Tls { ca: Some("/etc/kafka/ca.pem".into()), client: None }),
//!     sasl: Some(Sasl { mechanism: Mechanism::ScramSha512, user: "me".into(), password: "secret".into() }),
//! };
//! let settings = KafkaSettings { security, ..KafkaSettings::new("kafka-1:9093,kafka-2:9093", "instance-1") };
//! let log = KafkaLog::connect(settings).await?;
//! println!("{:?}", log.describe(&TopicName::new("orders")?).await?);
//! # Ok(())
//! # }
//! ```
//!
//! A shard's writer has two transactional producers that take turns, `<group>.<shard>` and `<group>.<shard>~2`. Each
//! transaction carries records, positions and the shard's head, which is the truth about how far the shard has come; the
//! group's offsets follow it.

mod append;
mod bounds;
mod breaker;
mod circuit;
mod claim;
mod cluster;
mod connecting;
mod connection;
mod errors;
mod heads;
mod log;
mod membership;
mod names;
mod operation;
mod outage;
mod reader;
mod record;
mod replicas;
mod security;
mod settings;
#[cfg(test)]
mod simulated;
mod topics;
mod transaction;
mod turns;
mod writer;

pub use errors::{KafkaError, KafkaErrorKind};
pub use log::KafkaLog;
pub use settings::{ClientCertificate, KafkaSettings, Mechanism, Sasl, Security, Tls};

/// What of the client's own messages is worth an operator's time, as directives of a log filter.
///
/// What it warns of is told here where it matters, once and with what to do; it repeats it for every connection, attempt
/// and producer.
pub const CLIENT_LOG_FILTER: &str = "krafka=error,krafka::network=off";
