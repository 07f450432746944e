//! Folding values into a table, by key.
//!
//! Within a batch each key is read, decoded and encoded once, however often it is hit.

use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;
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
    batch: AHashMap<K, Row<S>>,
}

/// A key as the store has it, and its state so far.
struct Row<S> {
    key: Bytes,
    state: S,
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
        if let Some(row) = self.batch.get_mut(item.key) {
            (self.step)(&mut row.state, item);
            return Ok(());
        }
        let key = ordered(item.key).map_err(|e| ProcessError::Record(e.to_string()))?;
        let mut state = load(self.table, &key, flow)?;
        (self.step)(&mut state, item);
        self.batch.insert(item.key.clone(), Row { key, state });
        Ok(())
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        for Row { key, state } in self.batch.drain().map(|(_, row)| row) {
            let value = Json.encode(&state).map_err(|e| ProcessError::Record(e.to_string()))?;
            flow.put(self.table, key, Some(value));
        }
        Ok(())
    }

    fn abort(&mut self) {
        self.batch.clear();
    }
}

fn load<S: Default + Serialize + DeserializeOwned>(
    table: TableId,
    key: &[u8],
    flow: &Flow<'_>,
) -> Result<S, ProcessError> {
    match flow.get(table, key)? {
        None => Ok(S::default()),
        Some(value) => Json.decode(&value).map_err(|e| {
            ProcessError::Record(format!(
                "a kept value: {e}; give the view another version if its shape has changed"
            ))
        }),
    }
}
