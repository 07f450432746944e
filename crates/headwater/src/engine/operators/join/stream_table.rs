//! A stream with a table: each value with the row of its key as it stands when the value comes.
//!
//! As Kafka's `KStreamKTableJoinProcessor`: only the stream's side makes results, at the time of its record; the table's
//! side is only kept. Of a table that keeps versions, it is the row as of the value's time.

use std::sync::Arc;

use super::Getter;
use crate::engine::flow::{Flow, Keyed, ProcessError};
use crate::engine::operators::stateless::pass_on;
use crate::engine::operators::{Next, Sink};

/// Makes a result of a value and the row of its key, if there is one.
pub(crate) type JoinValues<K, V, W, R> = Arc<dyn Fn(Keyed<'_, K, V>, Option<&W>) -> R + Send + Sync>;

/// Joins values with rows.
pub(crate) struct StreamTableJoin<K, V, W, R> {
    pub(crate) rows: Getter<K, W>,
    /// Whether a value without a row makes a result.
    pub(crate) left: bool,
    pub(crate) join: JoinValues<K, V, W, R>,
    pub(crate) next: Next<K, R>,
}

impl<K, V, W, R> Sink<K, V> for StreamTableJoin<K, V, W, R> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let row = (self.rows)(item.key, Some(item.meta.timestamp), flow)?.value;
        if row.is_none() && !self.left {
            return Ok(());
        }
        let value = (self.join)(item, row.as_ref());
        self.next.push(Keyed { key: item.key, value: &value, meta: item.meta }, flow)
    }

    pass_on!();
}
