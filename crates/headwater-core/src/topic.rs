//! Names and numbers that address a place in a log.
//!
//! Each is a type of its own, so that a partition, an offset and a count never mix.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest topic name, in bytes, as in Kafka.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// A topic's name: Kafka's legal characters, checked when it is made.
///
/// Cheap to clone.
#[derive(Clone, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicName(Arc<str>);

impl PartialEq for TopicName {
    /// Clones of one name are told to be equal without looking at the text.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl std::hash::Hash for TopicName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// A name that no topic may have, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{name}\" is no topic name: {reason}")]
pub struct InvalidTopicName {
    name: String,
    reason: &'static str,
}

impl TopicName {
    /// Checks and makes a name: 1 to 249 of `a-z A-Z 0-9 . _ -`, neither `.` nor `..`.
    ///
    /// # Errors
    ///
    /// [`InvalidTopicName`] says which rule the name breaks.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidTopicName> {
        let name = name.as_ref();
        match broken_rule(name) {
            Some(reason) => Err(InvalidTopicName { name: name.to_owned(), reason }),
            None => Ok(Self(name.into())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition of this topic with the given index.
    pub fn partition(&self, partition: u32) -> TopicPartition {
        TopicPartition { topic: self.clone(), partition: Partition(partition) }
    }
}

fn broken_rule(name: &str) -> Option<&'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > TOPIC_NAME_BYTES_MAX {
        Some("it is longer than 249 characters")
    } else if name == "." || name == ".." {
        Some("it may not be a dot or two")
    } else if !name.chars().all(legal) {
        Some("only a-z, A-Z, 0-9, '.', '_' and '-' are allowed")
    } else {
        None
    }
}

impl TryFrom<String> for TopicName {
    type Error = InvalidTopicName;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

impl From<TopicName> for String {
    fn from(name: TopicName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// The index of a partition of a topic, from 0; also the index of the shard that owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub u32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of a record in its partition, from 0, strictly rising.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Self = Self(0);

    /// The offset after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition's index in it.
    pub partition: Partition,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Identifies one life of a topic: deleted and created again, it has another id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicId(pub u128);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
