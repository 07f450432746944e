//! Tables: kept rows made of a stream, and what can be made of their changes without keeping more.

use std::sync::Arc;

use headwater_core::key::{Key, ordered};
use headwater_core::store::TableId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::stateless::pass_on;
use super::{Change, Next, Sink};
use crate::engine::flow::{Flow, Keyed, ProcessError};
use crate::engine::row::{Row, RowFormat};

/// Keeps the last value of each key; an absent value removes it.
pub(crate) struct Materialise<K, V> {
    pub(crate) table: TableId,
    pub(crate) format: RowFormat,
    /// Those that follow; without any, the old value is not even read.
    pub(crate) next: Option<Next<K, Change<V>>>,
}

impl<K: Key, V> Sink<K, Option<V>> for Materialise<K, V>
where
    V: Clone + Serialize + DeserializeOwned + Send + Sync,
{
    fn push(&mut self, item: Keyed<'_, K, Option<V>>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let key = ordered(item.key).map_err(ProcessError::key)?;
        let row = Row { value: item.value.clone(), time: item.meta.timestamp };
        let encoded = row.encode(self.format)?;
        let Some(next) = &mut self.next else {
            flow.put(self.table, key, encoded);
            return Ok(());
        };
        let old = Row::load(self.format, self.table, &key, flow)?.value;
        flow.put(self.table, key, encoded);
        let change = Change { old, new: row.value };
        next.push(Keyed { key: item.key, value: &change, meta: item.meta }, flow)
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.next.as_mut().map_or(Ok(()), |next| next.close(flow))
    }

    fn abort(&mut self) {
        if let Some(next) = &mut self.next {
            next.abort();
        }
    }
}

/// Hands on the rows that pass a test: one that does not is no row.
pub(crate) struct TableFilter<K, V> {
    pub(crate) test: Arc<dyn Fn(&K, &V) -> bool + Send + Sync>,
    pub(crate) next: Next<K, Change<V>>,
}

impl<K, V: Clone> Sink<K, Change<V>> for TableFilter<K, V> {
    fn push(&mut self, item: Keyed<'_, K, Change<V>>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let change = item.value.and_then(|value| (self.test)(item.key, value).then(|| value.clone()));
        // As Kafka's KTableFilter: what was no row before and is none after, nobody needs to hear of.
        if change.is_void() {
            return Ok(());
        }
        self.next.push(Keyed { key: item.key, value: &change, meta: item.meta }, flow)
    }

    pass_on!();
}

/// Hands on rows of another value.
pub(crate) struct TableMapValues<K, V, W> {
    pub(crate) change: Arc<dyn Fn(&K, &V) -> W + Send + Sync>,
    pub(crate) next: Next<K, Change<W>>,
}

impl<K, V, W> Sink<K, Change<V>> for TableMapValues<K, V, W> {
    fn push(&mut self, item: Keyed<'_, K, Change<V>>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let change = item.value.and_then(|value| Some((self.change)(item.key, value)));
        self.next.push(Keyed { key: item.key, value: &change, meta: item.meta }, flow)
    }

    pass_on!();
}

/// Hands on the new values of a table; an absent one tells that the row is gone.
pub(crate) struct Updates<K, V> {
    pub(crate) next: Next<K, Option<V>>,
}

impl<K, V> Sink<K, Change<V>> for Updates<K, V> {
    fn push(&mut self, item: Keyed<'_, K, Change<V>>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.next.push(Keyed { key: item.key, value: &item.value.new, meta: item.meta }, flow)
    }

    pass_on!();
}
