//! Aggregating the values of each key into one state.
//!
//! Within a batch each key is read and decoded once, and, where nobody follows, encoded once at its end, however often it
//! is hit. Those that follow are handed every update, as Kafka Streams does without a cache, and find it in the store:
//! a join asks for the row while the batch goes on.

use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::key::{Key, ordered};
use headwater_core::store::TableId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Change, Next, Sink};
use crate::engine::flow::{Flow, Keyed, ProcessError};
use crate::engine::row::{Row, RowFormat};

/// What a value makes of a state; `None` is no row, before and after.
pub(crate) type Step<K, V, S> = Arc<dyn Fn(&mut Option<S>, Keyed<'_, K, V>) + Send + Sync>;

/// Aggregates into one table.
pub(crate) struct Aggregate<K, V, S> {
    table: TableId,
    format: RowFormat,
    step: Step<K, V, S>,
    batch: AHashMap<K, Pending<S>>,
    next: Option<Next<K, Change<S>>>,
}

/// A key as the store has it, and its row so far.
struct Pending<S> {
    key: Bytes,
    row: Row<S>,
}

impl<K, V, S> Aggregate<K, V, S> {
    pub(crate) fn new(
        table: TableId,
        format: RowFormat,
        step: Step<K, V, S>,
        next: Option<Next<K, Change<S>>>,
    ) -> Self {
        Self { table, format, step, batch: AHashMap::new(), next }
    }
}

impl<K, V, S> Sink<K, V> for Aggregate<K, V, S>
where
    K: Key,
    S: Clone + Serialize + DeserializeOwned + Send,
{
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let Some(pending) = self.batch.get_mut(item.key) else {
            let key = ordered(item.key).map_err(ProcessError::key)?;
            let row = Row::load(self.format, self.table, &key, flow)?;
            let mut pending = Pending { key, row };
            update(self.table, &self.step, &mut pending, &mut self.next, item, flow)?;
            self.batch.insert(item.key.clone(), pending);
            return Ok(());
        };
        update(self.table, &self.step, pending, &mut self.next, item, flow)
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let unwritten = self.next.is_none();
        for Pending { key, row } in self.batch.drain().map(|(_, pending)| pending).filter(|_| unwritten) {
            let value = row.encode(self.format)?;
            flow.put(self.table, key, value);
        }
        self.next.as_mut().map_or(Ok(()), |next| next.close(flow))
    }

    fn abort(&mut self) {
        self.batch.clear();
        if let Some(next) = &mut self.next {
            next.abort();
        }
    }
}

fn update<K, V, S: Clone + Serialize + DeserializeOwned>(
    table: TableId,
    step: &Step<K, V, S>,
    Pending { key, row }: &mut Pending<S>,
    next: &mut Option<Next<K, Change<S>>>,
    item: Keyed<'_, K, V>,
    flow: &mut Flow<'_>,
) -> Result<(), ProcessError> {
    // As Kafka's KStreamAggregate: an aggregate is as late as the latest of its records.
    // One that was not there is as late as its first record, also where the row was removed earlier in this batch.
    let since = if row.value.is_some() { row.time } else { Timestamp(i64::MIN) };
    row.time = since.max(item.meta.timestamp);
    let Some(next) = next else {
        step(&mut row.value, item);
        return Ok(());
    };
    let old = row.value.clone();
    step(&mut row.value, item);
    flow.put(table, key.clone(), row.encode(RowFormat::Timed)?);
    let change = Change { old, new: row.value.clone() };
    let meta = item.meta.at(row.time);
    next.push(Keyed { key: item.key, value: &change, meta: &meta }, flow)
}
