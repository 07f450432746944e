//! The logs that come with this crate: embedded (durable, one process) and memory (deterministic, for tests).

pub mod embedded;
mod groups;
pub mod memory;

use headwater_core::log::{LogError, LogErrorKind};
use headwater_core::topic::TopicName;

/// The refusal of an alteration to another count of partitions.
fn other_partitions(topic: &TopicName, count: u32) -> LogError {
    let message = format!("topic {topic} has {count} partitions, which cannot be altered");
    LogError::new(LogErrorKind::Invalid, message)
}
