//! Folding values into a table, by key.
//!
//! Within a batch each key is read, decoded and encoded once, however often it is hit.

use std::sync::Arc;

use ahash::AHashMap;
use headwater_core::codec::{Codec, Json};
use headwater_core::key::{Key, ordered};
use headwater_core::store::TableId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Sink;
use crate::engine::flow::{Flow, Keyed, ProcessError};

type Step<K, V, S> = Arc<dyn Fn(&mut S, Keyed<'_, K, V>) + Send + Sync>;

/// Folds into one table.
pub(crate) struct FoldInto<K, V, S> {
    table: TableId,
    step: Step<K, V, S>,
    batch: AHashMap<K, S>,
}

impl<K: Key, V, S> FoldInto<K, V, S> {
    pub(crate) fn new(table: TableId, step: Step<K, V, S>) -> Self {
        Self { table, step, batch: AHashMap::new() }
    }
}

impl<K, V, S> Sink<K, V> for FoldInto<K, V, S>
where
    K: Key,
    S: Default + Serialize + DeserializeOwned + Send,
{
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        if let Some(sum) = self.batch.get_mut(item.key) {
            (self.step)(sum, item);
            return Ok(());
        }
        let mut sum = load(self.table, item.key, flow)?;
        (self.step)(&mut sum, item);
        self.batch.insert(item.key.clone(), sum);
        Ok(())
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        for (key, sum) in self.batch.drain() {
            let key = ordered(&key).map_err(|e| ProcessError::Record(e.to_string()))?;
            let value = Json.encode(&sum).map_err(|e| ProcessError::Record(e.to_string()))?;
            flow.put(self.table, key, Some(value));
        }
        Ok(())
    }

    fn abort(&mut self) {
        self.batch.clear();
    }
}

fn load<K: Key, S: Default + Serialize + DeserializeOwned>(
    table: TableId,
    key: &K,
    flow: &Flow<'_>,
) -> Result<S, ProcessError> {
    let key = ordered(key).map_err(|e| ProcessError::Record(e.to_string()))?;
    match flow.get(table, &key)? {
        None => Ok(S::default()),
        Some(value) => Json.decode(&value).map_err(|e| {
            ProcessError::Record(format!(
                "a kept value: {e}; give the view another version if its shape has changed"
            ))
        }),
    }
}
