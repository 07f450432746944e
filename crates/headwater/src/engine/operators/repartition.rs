//! Sending values to a topic under another key, so that equal keys meet in one partition.

use std::sync::Arc;

use bytes::Bytes;
use headwater_core::codec::{Codec, Json};
use headwater_core::key::{Key, partition_text, text};
use headwater_core::partitioner::partition_of;
use headwater_core::record::{Append, Record};
use headwater_core::topic::TopicPartition;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Sink;
use crate::engine::flow::{Flow, Keyed, ProcessError};

type KeyOf<K, V, L> = Arc<dyn Fn(Keyed<'_, K, V>) -> L + Send + Sync>;

/// Appends every value under the key that `key_of` gives it.
pub(crate) struct Repartition<K, V, L> {
    /// The partitions of the target topic, by index.
    pub(crate) to: Arc<[TopicPartition]>,
    pub(crate) key_of: KeyOf<K, V, L>,
}

impl<K, V, L> Sink<K, V> for Repartition<K, V, L>
where
    V: Serialize + DeserializeOwned,
    L: Key,
{
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let key = (self.key_of)(item);
        let part = partition_text(&key).map_err(|e| ProcessError::Record(e.to_string()))?;
        let to = partition_of(&part, self.to.len() as u32);
        let value: Bytes = Json.encode(item.value).map_err(|e| ProcessError::Record(e.to_string()))?;
        let record = Record {
            key: Some(text(&key).map_err(|e| ProcessError::Record(e.to_string()))?),
            value: Some(value),
            headers: item.meta.headers.clone(),
            timestamp: item.meta.timestamp,
        };
        flow.emit(Append { to: self.to[to.0 as usize].clone(), record });
        Ok(())
    }

    fn close(&mut self, _: &mut Flow<'_>) -> Result<(), ProcessError> {
        Ok(())
    }

    fn abort(&mut self) {}
}
