//! A record: what a log keeps.

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::header::Headers;
use crate::topic::{Offset, TopicPartition};

/// A key, a value, headers and a time. A null value is a tombstone where the topic is compacted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Decides the partition, and what compaction keeps.
    pub key: Option<Bytes>,
    /// The payload.
    pub value: Option<Bytes>,
    /// Headers in order.
    pub headers: Headers,
    /// The time of the event, as its producer says.
    pub timestamp: Timestamp,
}

impl Record {
    /// A record without headers.
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>, timestamp: Timestamp) -> Self {
        Self { key: Some(key.into()), value: Some(value.into()), headers: Headers::empty(), timestamp }
    }

    /// Bytes of key, value and headers together.
    pub fn size(&self) -> usize {
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        len(&self.key) + len(&self.value) + self.headers.encoded().len()
    }
}

/// A record at its place in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its place.
    pub offset: Offset,
    /// The record.
    pub record: Record,
}

/// A record on its way to a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Where to.
    pub to: TopicPartition,
    /// What.
    pub record: Record,
}
