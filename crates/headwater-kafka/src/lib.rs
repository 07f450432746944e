//! Headwater's log on an Apache Kafka cluster: topics, heads, fenced writers and shared shards, behind the log contract.
//!
//! [`KafkaLog::connect`] is the way in; everything else is the contract of [`headwater_core::log`]. No type of the
//! client that speaks to the brokers is public.
//!
//! A shard's writer is a transactional producer of the name `<group>.<shard>`. Each of its transactions carries records,
//! positions and the shard's head, which is the truth about how far the shard has come; the group's offsets follow it.

mod append;
mod bounds;
mod claim;
mod cluster;
mod connecting;
mod connection;
mod errors;
mod heads;
mod log;
mod membership;
mod names;
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
mod writer;

pub use errors::{KafkaError, KafkaErrorKind};
pub use log::KafkaLog;
pub use settings::{ClientCertificate, KafkaSettings, Mechanism, Sasl, Security, Tls};

/// What of the client's own messages is worth an operator's time, as directives of a log filter.
///
/// What it warns of is told here where it matters, once and with what to do; it repeats it for every connection, attempt
/// and producer.
pub const CLIENT_LOG_FILTER: &str = "krafka=error,krafka::network=off";
