//! Handing a value on once, however often it comes within a time.
//!
//! What was handed on is known by its key, an id and its time for as long as a value may come that it is near to. A value
//! that comes so late that its like may be forgotten is dropped and counted: it is neither lost in silence nor told twice.
//!
//! ```text
//! seen   key and id in their ordered form, time  ->  1
//! due    see `Due`; time: see `StreamTime`
//! ```

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::key::{Key, ordered};
use headwater_core::store::{KeyRange, TableId};

use super::window::{Due, StreamTime};
use super::{Next, Sink};
use crate::engine::flow::{DropReason, Flow, Keyed, ProcessError};

/// What was seen and may be forgotten goes with the records that follow, at most so many with each.
const FORGOTTEN_AT_ONCE: usize = 16;

/// Where it is known what was handed on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeduplicateTables {
    pub(crate) seen: TableId,
    pub(crate) due: TableId,
    pub(crate) time: TableId,
}

/// What tells values of one key apart.
pub(crate) type IdOf<K, V, I> = Arc<dyn Fn(Keyed<'_, K, V>) -> I + Send + Sync>;

/// Hands on what has no like within a time before or after it.
pub(crate) struct Deduplicate<K, V, I> {
    name: Arc<str>,
    id: IdOf<K, V, I>,
    within_ms: i64,
    grace_ms: i64,
    tables: DeduplicateTables,
    time: StreamTime,
    due: Due,
    next: Next<K, V>,
}

impl<K: Key, V, I: Key> Deduplicate<K, V, I> {
    pub(crate) fn new(
        name: &str,
        id: IdOf<K, V, I>,
        (within_ms, grace_ms): (i64, i64),
        tables: DeduplicateTables,
        next: Next<K, V>,
    ) -> Self {
        let (time, due) = (StreamTime::new(tables.time), Due::new(tables.due, 0));
        Self { name: name.into(), id, within_ms, grace_ms, tables, time, due, next }
    }

    fn row(key: &K, id: &I, time: Timestamp) -> Result<Bytes, ProcessError> {
        ordered(&(key, id, time)).map_err(ProcessError::key)
    }

    /// Whether its like was handed on within the time, before it or after it.
    fn was_seen(&self, key: &K, id: &I, time: Timestamp, flow: &mut Flow<'_>) -> Result<bool, ProcessError> {
        let range = KeyRange {
            from: Bound::Included(Self::row(key, id, time.plus_ms(-self.within_ms))?),
            to: Bound::Included(Self::row(key, id, time.plus_ms(self.within_ms))?),
            ..KeyRange::all()
        };
        let mut was_seen = false;
        flow.scan(self.tables.seen, &range, &mut |_, _| {
            was_seen = true;
            ControlFlow::Break(())
        })?;
        Ok(was_seen)
    }

    fn remember(&mut self, row: Bytes, time: Timestamp, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        // The earliest value that is not late lies the time and the grace back, and is near to what lies the time before.
        let due = time.plus_ms(self.within_ms).plus_ms(self.within_ms).plus_ms(self.grace_ms);
        self.due.add(due.plus_ms(1), &row, flow)?;
        flow.put(self.tables.seen, row, Some(Bytes::from_static(b"1")));
        Ok(())
    }
}

impl<K: Key, V, I: Key> Sink<K, V> for Deduplicate<K, V, I> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let time = item.meta.timestamp;
        let now = self.time.observe(time, flow)?;
        if self.due.is_due(now, flow)? {
            for (_, row) in self.due.take(now, FORGOTTEN_AT_ONCE, flow)? {
                flow.put(self.tables.seen, row, None);
            }
        }
        if time.plus_ms(self.within_ms).plus_ms(self.grace_ms) < now {
            flow.drop_record(&self.name, DropReason::Late);
            return Ok(());
        }
        let id = (self.id)(item);
        if self.was_seen(item.key, &id, time, flow)? {
            flow.drop_record(&self.name, DropReason::Duplicate);
            return Ok(());
        }
        self.remember(Self::row(item.key, &id, time)?, time, flow)?;
        self.next.push(item, flow)
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.time.close(flow);
        self.next.close(flow)
    }

    fn abort(&mut self) {
        self.time.abort();
        self.due.abort();
        self.next.abort();
    }
}
