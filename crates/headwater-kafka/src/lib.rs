//! Headwater's log on an Apache Kafka cluster: topics, heads, fenced writers and shared shards, behind the log contract.
//!
//! [`KafkaLog::connect`] is the way in; everything else is the contract of [`headwater_core::log`]. No type of the
//! client that speaks to the brokers is public.

mod connection;
mod errors;
mod log;
mod reader;
mod security;
mod settings;

pub use errors::{KafkaError, KafkaErrorKind};
pub use log::KafkaLog;
pub use settings::{KafkaSettings, Security};
