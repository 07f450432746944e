//! The latest changes of a shard's view, kept in memory so that a watcher can go on where it was cut off.
//!
//! A ring holds whole batches, bounded by entries. A watcher that is further behind than the ring reaches is told to
//! begin anew from the view itself; it holds nothing open meanwhile, and costs nothing while it waits.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use headwater_core::store::{StateChange, TableId};
use headwater_core::topic::Offset;
use parking_lot::Mutex;

/// Changes that a ring holds at most.
const CHANGES_MAX: usize = 4_096;

/// Changes of one batch, and the position that they lead to.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) next: Offset,
    pub(crate) changes: Arc<[(Bytes, Option<Bytes>)]>,
}

#[derive(Default)]
struct Ring {
    batches: VecDeque<Batch>,
    changes: usize,
    /// The position that the oldest batch begins after.
    from: Offset,
}

/// The latest changes.
#[derive(Default)]
pub(crate) struct ChangeRing(Mutex<Ring>);

impl ChangeRing {
    /// Starts anew at a position: nothing before it is known.
    pub(crate) fn reset(&self, at: Offset) {
        *self.0.lock() = Ring { from: at, ..Ring::default() };
    }

    /// Adds the changes of a table that lead to `next`; what the fold keeps in others beside it is nobody's to see.
    pub(crate) fn push(&self, next: Offset, table: TableId, changes: &[StateChange]) {
        let shown = || changes.iter().filter(|change| change.table == table);
        if shown().count() > CHANGES_MAX {
            return self.reset(next);
        }
        let changes: Arc<[_]> = shown().map(|change| (change.key.clone(), change.value.clone())).collect();
        let mut ring = self.0.lock();
        ring.changes += changes.len();
        ring.batches.push_back(Batch { next, changes });
        while ring.changes > CHANGES_MAX {
            let Some(oldest) = ring.batches.pop_front() else { break };
            ring.changes -= oldest.changes.len();
            ring.from = oldest.next;
        }
    }

    /// The batches after a position; `None` if the ring does not reach back to it.
    pub(crate) fn after(&self, position: Offset) -> Option<Vec<Batch>> {
        let ring = self.0.lock();
        if position < ring.from {
            return None;
        }
        let first = ring.batches.partition_point(|batch| batch.next <= position);
        Some(ring.batches.range(first..).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: TableId = TableId(0);

    fn change(n: u64) -> StateChange {
        StateChange { table: SHOWN, key: Bytes::from(n.to_string()), value: None }
    }

    #[test]
    fn a_watcher_gets_what_came_after_its_position_or_is_told_to_begin_anew() {
        let ring = ChangeRing::default();
        ring.reset(Offset(10));
        assert!(ring.after(Offset(9)).is_none());
        assert_eq!(ring.after(Offset(10)).map(|batches| batches.len()), Some(0));
        ring.push(Offset(12), SHOWN, &[change(1), change(2)]);
        ring.push(Offset(13), SHOWN, &[change(3)]);
        let nexts = |from| ring.after(Offset(from)).map(|b| b.iter().map(|b| b.next.0).collect::<Vec<_>>());
        assert_eq!(nexts(10), Some(vec![12, 13]));
        assert_eq!(nexts(12), Some(vec![13]));
        assert_eq!(nexts(13), Some(vec![]));
    }

    #[test]
    fn what_is_kept_beside_the_view_is_not_told() {
        let ring = ChangeRing::default();
        let beside = (0..=CHANGES_MAX as u64).map(|n| StateChange { table: TableId(1), ..change(n) });
        let changes: Vec<_> = beside.chain([change(7)]).collect();
        ring.push(Offset(1), SHOWN, &changes);
        let told = ring.after(Offset(0)).unwrap();
        assert_eq!(told.iter().flat_map(|batch| batch.changes.iter()).count(), 1);
    }

    #[test]
    fn the_ring_is_bounded_and_forgets_from_the_front() {
        let ring = ChangeRing::default();
        for n in 0..2 * CHANGES_MAX as u64 {
            ring.push(Offset(n + 1), SHOWN, &[change(n)]);
        }
        assert!(ring.after(Offset(0)).is_none());
        let kept = ring.after(Offset(CHANGES_MAX as u64)).unwrap();
        assert_eq!(kept.len(), CHANGES_MAX);
        let too_many: Vec<_> = (0..=CHANGES_MAX as u64).map(change).collect();
        ring.push(Offset(99_999), SHOWN, &too_many);
        assert!(ring.after(Offset(8_000)).is_none());
    }
}
