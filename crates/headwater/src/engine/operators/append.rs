//! Sending values to a topic under the key that they have.

use std::sync::Arc;

use bytes::Bytes;
use headwater_core::partitioner::partition_of;
use headwater_core::record::{Append, Record};
use headwater_core::topic::TopicPartition;

use super::Sink;
use crate::engine::flow::{Flow, Keyed, ProcessError};

/// A key or a value as a record has it; `None` is null.
pub(crate) type Encoded = Result<Option<Bytes>, String>;

/// A topic that is appended to: its partitions, and how its records are written.
pub(crate) struct Target<K, V> {
    /// The partitions, by index.
    pub(crate) partitions: Arc<[TopicPartition]>,
    pub(crate) writes: Arc<dyn WriteRecord<K, V>>,
}

/// How a topic's keys and values are written.
pub(crate) trait WriteRecord<K, V>: Send + Sync {
    /// The bytes of a key, and those that decide the partition; `None` of a key that is null.
    fn key(&self, key: &K) -> Result<Option<(Bytes, Bytes)>, String>;

    /// The bytes of a value; `None` of one that is null.
    fn value(&self, value: &V) -> Encoded;
}

impl<K, V> Target<K, V> {
    /// The record of a value, on its way to the partition of its key.
    pub(crate) fn append(&self, item: Keyed<'_, K, V>) -> Result<Append, ProcessError> {
        let key = self.writes.key(item.key).map_err(ProcessError::Unencodable)?;
        let count = self.partitions.len() as u32;
        let to = match &key {
            Some((_, part)) => partition_of(part, count).0,
            // A record without a key may lie anywhere; where it came from keeps it beside its neighbours.
            None => item.meta.partition.0 % count,
        };
        let record = Record {
            key: key.map(|(key, _)| key),
            value: self.writes.value(item.value).map_err(ProcessError::Unencodable)?,
            headers: item.meta.headers.clone(),
            timestamp: item.meta.timestamp,
        };
        Ok(Append { to: self.partitions[to as usize].clone(), record })
    }
}

/// Appends every value to the topic that `choose` tells, by its index.
pub(crate) struct AppendTo<K, V> {
    pub(crate) targets: Vec<Target<K, V>>,
    pub(crate) choose: Arc<dyn Fn(Keyed<'_, K, V>) -> usize + Send + Sync>,
}

impl<K: 'static, V: 'static> Sink<K, V> for AppendTo<K, V> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let choice = (self.choose)(item);
        let count = self.targets.len();
        let unknown =
            || ProcessError::Record(format!("topic {choice} was chosen of {count} that were declared"));
        let append = self.targets.get(choice).ok_or_else(unknown)?.append(item)?;
        flow.emit(append);
        Ok(())
    }

    fn close(&mut self, _: &mut Flow<'_>) -> Result<(), ProcessError> {
        Ok(())
    }

    fn abort(&mut self) {}
}
