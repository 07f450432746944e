//! Moving a shard's rows from one store to another.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use headwater_core::store::{Checkpoint, KeyRange, StateBatch, StateChange, StateStore, StoreError, TableId};
use headwater_core::topic::Partition;

/// Copies a shard that nobody writes to, `chunk` rows at a time; its checkpoint comes last, so that a copy that was cut
/// off is none.
///
/// # Errors
///
/// As [`StateStore::scan`] and [`StateStore::apply`].
pub(crate) fn copy_shard(
    from: &dyn StateStore,
    to: &dyn StateStore,
    shard: Partition,
    tables: usize,
    chunk: usize,
) -> Result<(), StoreError> {
    for table in 0..tables {
        let table = TableId(u8::try_from(table).expect("a store has at most 256 tables"));
        let mut range = KeyRange::all();
        loop {
            let changes = rows(from, shard, table, &range, chunk)?;
            let Some(last) = changes.last().map(|change| change.key.clone()) else { break };
            range.from = Bound::Excluded(last);
            to.apply(&[StateBatch { shard, changes, checkpoint: Checkpoint::default() }])?;
        }
    }
    let checkpoint = from.checkpoint(shard)?.unwrap_or_default();
    to.apply(&[StateBatch { shard, changes: Vec::new(), checkpoint }])
}

/// The first rows of a range, as changes.
fn rows(
    from: &dyn StateStore,
    shard: Partition,
    table: TableId,
    range: &KeyRange,
    limit: usize,
) -> Result<Vec<StateChange>, StoreError> {
    let mut changes = Vec::new();
    from.scan(shard, table, range, &mut |key, value| {
        let (key, value) = (Bytes::copy_from_slice(key), Some(Bytes::copy_from_slice(value)));
        changes.push(StateChange { table, key, value });
        if changes.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(changes)
}
