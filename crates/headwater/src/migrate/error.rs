//! Why a migration stopped, and what to do.

use headwater_core::log::LogError;
use headwater_core::topic::{Offset, TopicName, TopicPartition};

/// Why a migration stopped. What it had copied stays, and the same command goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// One of the logs.
    #[error("the {which} log: {error}")]
    Log {
        /// Old or new.
        which: &'static str,
        /// What it said.
        #[source]
        error: LogError,
    },
    /// The old log is not what this program's app was run on.
    #[error("the old log cannot be migrated by this program: {0}")]
    Source(String),
    /// The new log has content that is not this migration's.
    #[error("the new log already has {what}: {mend}")]
    Occupied {
        /// What it has.
        what: String,
        /// What to do.
        mend: String,
    },
    /// A copy is not equal to what was copied.
    #[error("{partition} differs: {how}")]
    Differs {
        /// The partition.
        partition: TopicPartition,
        /// In what.
        how: String,
    },
    /// A position of the old log cannot be told in the new one.
    #[error("the position {at}@{next} of group {group} lies beyond the end of the old partition")]
    Position {
        /// The group.
        group: String,
        /// The partition.
        at: TopicPartition,
        /// The position.
        next: Offset,
    },
    /// The new log's topics cannot be made what the app needs.
    #[error("the topics of the new log: {0}")]
    Topics(String),
}

impl MigrateError {
    pub(super) fn occupied(topic: &TopicName, what: &str) -> Self {
        let mend = "give an empty cluster, or delete the app's topics there if nobody needs them";
        Self::Occupied { what: format!("{what} in topic {topic}"), mend: mend.to_owned() }
    }
}

/// Says which log an error is of.
pub(super) trait Of<T> {
    fn of_old(self) -> Result<T, MigrateError>;
    fn of_new(self) -> Result<T, MigrateError>;
}

impl<T> Of<T> for Result<T, LogError> {
    fn of_old(self) -> Result<T, MigrateError> {
        self.map_err(|error| MigrateError::Log { which: "old", error })
    }

    fn of_new(self) -> Result<T, MigrateError> {
        self.map_err(|error| MigrateError::Log { which: "new", error })
    }
}
