//! What a topology is, apart from the types that flow through it.

use std::sync::Arc;

use headwater_core::topic::{Partition, TopicName, TopicPartition};

use super::topic::TopicRef;
use crate::engine::operators::RecordSink;

/// The name of a piece of state, and how it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Store {
    pub(crate) name: String,
}

impl Store {
    /// A store with this name. The name alone decides where its state lies.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

/// Whether a topology only keeps state or also appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Keeps one table, appends nothing.
    Fold {
        /// Whether every instance holds all shards.
        replicated: bool,
    },
    /// A fold that keeps its position alone, and calls the user's code.
    Observer,
    /// Appends to a topic.
    Emitter {
        /// The topic.
        to: TopicRef,
    },
}

/// One topology of an app: a chain from a topic to a table or another topic.
pub(crate) struct Definition {
    /// Its name within the app; decides its group and stores.
    pub name: String,
    /// From 1; another version is another topology, built beside.
    pub version: u32,
    pub kind: Kind,
    /// The topic that it reads.
    pub source: TopicRef,
    /// The operators between, for `describe`.
    pub operators: Vec<String>,
    /// Makes the chain of one shard.
    pub chain: Chain,
}

/// Makes a shard's chain.
pub(crate) type Chain = Arc<dyn Fn(&ShardPlace) -> Box<dyn RecordSink> + Send + Sync>;

/// Where a shard's chain reads and writes.
pub(crate) struct ShardPlace {
    pub shard: Partition,
    /// The partitions of the topic that an emitter appends to.
    pub to: Arc<[TopicPartition]>,
}

impl Definition {
    /// `name`, and `name@version` from the second version on.
    pub(crate) fn versioned_name(&self) -> String {
        versioned(&self.name, self.version)
    }
}

/// A name with its version, from the second on.
pub(crate) fn versioned(name: &str, version: u32) -> String {
    if version == 1 { name.to_owned() } else { format!("{name}@{version}") }
}

/// A topic of an app.
///
/// # Errors
///
/// If the two names make none.
pub(crate) fn topic_of(app: &str, name: &str) -> Result<TopicName, headwater_core::topic::InvalidTopicName> {
    TopicName::new(format!("{app}.{name}"))
}
