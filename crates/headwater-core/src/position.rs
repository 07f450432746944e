//! How far something has come: per partition, the offset of the next record to process.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::topic::{Offset, TopicPartition};

/// Per partition, the offset up to which (exclusive) records have been processed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(TopicPartition, Offset)>", into = "Vec<(TopicPartition, Offset)>")]
pub struct Position(BTreeMap<TopicPartition, Offset>);

impl Position {
    /// A position that has processed nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next offset to process in `partition`; `None` if the position does not speak of it.
    pub fn get(&self, partition: &TopicPartition) -> Option<Offset> {
        self.0.get(partition).copied()
    }

    /// Sets the next offset to process.
    pub fn set(&mut self, partition: TopicPartition, next: Offset) {
        self.0.insert(partition, next);
    }

    /// Moves each partition forward to `other`'s offset where that is further.
    pub fn advance(&mut self, other: &Position) {
        for (partition, next) in &other.0 {
            let mine = self.0.entry(partition.clone()).or_default();
            *mine = (*mine).max(*next);
        }
    }

    /// Whether everything that `other` has processed is processed here too.
    pub fn includes(&self, other: &Position) -> bool {
        other.0.iter().all(|(partition, next)| self.get(partition).unwrap_or_default() >= *next)
    }

    /// The partitions and their next offsets, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, Offset)> {
        self.0.iter().map(|(partition, next)| (partition, *next))
    }

    /// Whether the position speaks of no partition.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(TopicPartition, Offset)> for Position {
    fn from_iter<I: IntoIterator<Item = (TopicPartition, Offset)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl From<Vec<(TopicPartition, Offset)>> for Position {
    fn from(entries: Vec<(TopicPartition, Offset)>) -> Self {
        entries.into_iter().collect()
    }
}

impl From<Position> for Vec<(TopicPartition, Offset)> {
    fn from(position: Position) -> Self {
        position.0.into_iter().collect()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (partition, next) in &self.0 {
            if !std::mem::take(&mut first) {
                f.write_str(",")?;
            }
            write!(f, "{partition}@{next}")?;
        }
        Ok(())
    }
}
