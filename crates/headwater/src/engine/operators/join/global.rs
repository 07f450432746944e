//! A stream with a global table: each value with the row of a key that it names, which every shard holds.
//!
//! As Kafka's `KStreamGlobalKTableJoin`: only the stream's side makes results, and its keys may lie anywhere.

use std::sync::Arc;

use headwater_core::key::Key;
use headwater_core::record::Append;
use headwater_core::topic::TopicPartition;

use super::{Getter, JoinValues};
use crate::engine::flow::{DropReason, Flow, Keyed, ProcessError};
use crate::engine::operators::stateless::pass_on;
use crate::engine::operators::{Next, Sink, Target};

/// Tells the key of the row that a value is to be joined with, if any.
pub(crate) type NamesKey<K, V, L> = Arc<dyn Fn(Keyed<'_, K, V>) -> Option<L> + Send + Sync>;

/// Joins values with rows of another key.
pub(crate) struct GlobalJoin<K, V, L, W, R> {
    /// What values of an inner join are counted under that name no row.
    pub(crate) operator: Arc<str>,
    pub(crate) rows: Getter<L, W>,
    pub(crate) key_of: NamesKey<K, V, L>,
    /// Whether a value without a row makes a result (KIP-962: also one that names none).
    pub(crate) left: bool,
    pub(crate) join: JoinValues<K, V, W, R>,
    pub(crate) next: Next<K, R>,
}

impl<K, V, L, W, R> Sink<K, V> for GlobalJoin<K, V, L, W, R> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let key = (self.key_of)(item);
        if key.is_none() && !self.left {
            flow.drop_record(&self.operator, DropReason::NullKey);
            return Ok(());
        }
        let row = match &key {
            Some(key) => (self.rows)(key, None, flow)?.value,
            None => None,
        };
        if row.is_none() && !self.left {
            return Ok(());
        }
        let value = (self.join)(item, row.as_ref());
        self.next.push(Keyed { key: item.key, value: &value, meta: item.meta }, flow)
    }

    pass_on!();
}

/// Appends every value to every partition.
pub(crate) struct AppendToAll<K, V> {
    pub(crate) target: Target<K, V>,
}

impl<K: Key, V: Send + Sync + 'static> Sink<K, V> for AppendToAll<K, V> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let Append { record, .. } = self.target.append(item)?;
        let copy = |to: &TopicPartition| Append { to: to.clone(), record: record.clone() };
        self.target.partitions.iter().for_each(|to| flow.emit(copy(to)));
        Ok(())
    }

    fn close(&mut self, _: &mut Flow<'_>) -> Result<(), ProcessError> {
        Ok(())
    }

    fn abort(&mut self) {}
}
