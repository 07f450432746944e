//! Event-sourced services that separate commands from queries, on an embedded log or Apache Kafka.

pub mod config;
pub mod log;
pub mod store;
