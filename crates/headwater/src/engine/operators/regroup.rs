//! Rows of a table grouped by another key: what a row was is taken back, and what it is now is added.
//!
//! As Kafka's `KTableRepartitionMap`, `KTableReduce` and `KTableAggregate`: where a row keeps its new key, both of its
//! values go in one record (KIP-904), so that nobody sees the aggregate between the two; otherwise the old value goes
//! first. The old value is subtracted only where there is an aggregate to subtract it from.

use std::sync::Arc;

use headwater_core::key::{Key, ordered};
use headwater_core::store::TableId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Change, Next, Sink};
use crate::engine::flow::{Flow, Keyed, ProcessError};
use crate::engine::row::{Row, RowFormat};

/// The changes of a grouped table that one change of a row leads to, in their order.
pub(crate) fn regrouped<L: PartialEq, W>(
    old: Option<(L, W)>,
    new: Option<(L, W)>,
) -> impl Iterator<Item = (L, Change<W>)> {
    let added = |(key, value)| (key, Change { old: None, new: Some(value) });
    let removed = |(key, value)| (key, Change { old: Some(value), new: None });
    let both = match (old, new) {
        (Some((before, old)), Some((key, new))) if before == key => {
            [Some((key, Change { old: Some(old), new: Some(new) })), None]
        }
        (old, new) => [old.map(removed), new.map(added)],
    };
    both.into_iter().flatten()
}

/// Adds a value to an aggregate that may not be there yet; without an answer, the row is gone.
pub(crate) type Add<K, V, S> = Arc<dyn Fn(Option<S>, Keyed<'_, K, V>) -> Option<S> + Send + Sync>;

/// Takes a value back from an aggregate.
pub(crate) type Subtract<K, V, S> = Arc<dyn Fn(S, Keyed<'_, K, V>) -> Option<S> + Send + Sync>;

/// Aggregates the changes of a grouped table into one table.
pub(crate) struct AggregateChanges<K, V, S> {
    pub(crate) table: TableId,
    pub(crate) format: RowFormat,
    pub(crate) add: Add<K, V, S>,
    pub(crate) subtract: Subtract<K, V, S>,
    pub(crate) next: Option<Next<K, Change<S>>>,
}

impl<K, V, S> Sink<K, Change<V>> for AggregateChanges<K, V, S>
where
    K: Key,
    S: Clone + Serialize + DeserializeOwned + Send,
{
    fn push(&mut self, item: Keyed<'_, K, Change<V>>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let Keyed { key, value: Change { old, new }, meta } = item;
        let place = ordered(key).map_err(ProcessError::key)?;
        let before: Row<S> = Row::load(self.format, self.table, &place, flow)?;
        let mut value = before.value.clone();
        if let (Some(old), Some(so_far)) = (old, value.take_if(|_| old.is_some())) {
            value = (self.subtract)(so_far, Keyed { key, value: old, meta });
        }
        if let Some(new) = new {
            value = (self.add)(value, Keyed { key, value: new, meta });
        }
        // A row that was not there has no time to be later than: `Row::NONE` is of the earliest.
        let after = Row { value, time: before.time.max(meta.timestamp) };
        flow.put(self.table, place, after.encode(self.format)?);
        let Some(next) = &mut self.next else { return Ok(()) };
        let change = Change { old: before.value, new: after.value };
        next.push(Keyed { key, value: &change, meta: &meta.at(after.time) }, flow)
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
