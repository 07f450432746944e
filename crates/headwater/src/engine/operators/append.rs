//! Sending values to a topic under the key that they have.

use std::sync::Arc;

use headwater_core::codec::{Codec, KeyCodec};
use headwater_core::partitioner::partition_of;
use headwater_core::record::{Append, Record};
use headwater_core::topic::TopicPartition;

use super::Sink;
use crate::engine::flow::{Flow, Keyed, ProcessError};

/// Appends every value.
pub(crate) struct AppendTo<K, V> {
    /// The partitions of the target topic, by index.
    pub(crate) to: Arc<[TopicPartition]>,
    pub(crate) keys: Arc<dyn KeyCodec<K>>,
    pub(crate) values: Arc<dyn Codec<V>>,
}

impl<K: 'static, V: 'static> Sink<K, V> for AppendTo<K, V> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let unwritable = |error: &dyn std::fmt::Display| ProcessError::Record(error.to_string());
        let key = self.keys.encode(item.key).map_err(|e| unwritable(&e))?;
        let part = self.keys.partition_part(item.key, &key).map_err(|e| unwritable(&e))?;
        let to = partition_of(&part, self.to.len() as u32);
        let record = Record {
            key: Some(key),
            value: Some(self.values.encode(item.value).map_err(|e| unwritable(&e))?),
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
