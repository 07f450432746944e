//! A table with a table, by their keys: a row of both, or of one where that is asked for.
//!
//! Each side is an operator that joins its own changes with the row that the other side has now, as Kafka's
//! `KTableKTableInnerJoin`, `KTableKTableLeftJoin`, `KTableKTableRightJoin` and `KTableKTableOuterJoin`: four times the
//! same, apart from whether a row of this side, and of the other, makes a result alone. A result is as late as the later
//! of its two rows.

use std::sync::Arc;

use super::Getter;
use crate::engine::flow::{Flow, Keyed, ProcessError};
use crate::engine::operators::stateless::pass_on;
use crate::engine::operators::{Change, Next, Sink};
use crate::engine::row::Row;

/// Makes a row of two rows, of which one may be missing where the join allows it.
pub(crate) type JoinRows<V, W, R> = Arc<dyn Fn(Option<&V>, Option<&W>) -> R + Send + Sync>;

/// One side of a join of tables.
pub(crate) struct TableJoinSide<K, V, O, R> {
    /// Whether a row of this side makes a result without the other.
    pub(crate) alone: bool,
    /// Whether a row of the other side makes a result without this one.
    pub(crate) other_alone: bool,
    pub(crate) other: Getter<K, O>,
    pub(crate) join: JoinRows<V, O, R>,
    pub(crate) next: Next<K, Change<R>>,
}

impl<K, V, O, R> Sink<K, Change<V>> for TableJoinSide<K, V, O, R> {
    fn push(&mut self, item: Keyed<'_, K, Change<V>>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let other = (self.other)(item.key, None, flow)?;
        // Neither side has or had a row: there is nothing to tell.
        if other.value.is_none() && (!self.alone || item.value.is_void()) {
            return Ok(());
        }
        let result =
            |mine: &Option<V>| joined_row(&self.join, (mine, self.alone), (&other.value, self.other_alone));
        let change = Change { old: result(&item.value.old), new: result(&item.value.new) };
        let meta = item.meta.at(item.meta.timestamp.max(other.time));
        self.next.push(Keyed { key: item.key, value: &change, meta: &meta }, flow)
    }

    pass_on!();
}

/// The row that two rows make, each given with whether it makes one alone.
pub(crate) fn joined_row<V, W, R>(
    join: &JoinRows<V, W, R>,
    (left, left_alone): (&Option<V>, bool),
    (right, right_alone): (&Option<W>, bool),
) -> Option<R> {
    let is_row = match (left, right) {
        (Some(_), Some(_)) => true,
        (Some(_), None) => left_alone,
        (None, Some(_)) => right_alone,
        (None, None) => false,
    };
    is_row.then(|| join(left.as_ref(), right.as_ref()))
}

/// The row that a join has for two rows, as it is asked for it.
pub(crate) fn join_of_rows<V, W, R>(
    join: &JoinRows<V, W, R>,
    (left, left_alone): (Row<V>, bool),
    (right, right_alone): (Row<W>, bool),
) -> Row<R> {
    match joined_row(join, (&left.value, left_alone), (&right.value, right_alone)) {
        Some(value) => Row { value: Some(value), time: left.time.max(right.time) },
        None => Row::NONE,
    }
}
