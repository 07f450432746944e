//! Event-sourced services that separate commands from queries, on an embedded log or Apache Kafka.

pub mod log;
pub mod metric_names;
pub mod store;
