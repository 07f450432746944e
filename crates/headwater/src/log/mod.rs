//! The logs that come with this crate: embedded (durable, one process) and memory (deterministic, for tests).

pub mod embedded;
mod groups;
pub mod memory;

use headwater_core::log::{LogError, LogErrorKind};
use headwater_core::topic::TopicName;

/// What a program logs unless it is told otherwise, as directives of a log filter.
pub fn default_filter() -> String {
    #[cfg(feature = "kafka")]
    return format!("info,{}", headwater_kafka::CLIENT_LOG_FILTER);
    #[cfg(not(feature = "kafka"))]
    "info".to_owned()
}

/// The refusal of an alteration to another count of partitions.
fn other_partitions(topic: &TopicName, count: u32) -> LogError {
    let message = format!("topic {topic} has {count} partitions, which cannot be altered");
    LogError::new(LogErrorKind::Invalid, message)
}
