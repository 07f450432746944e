//! Handing a value on once, however often it comes among so many.
//!
//! What came last is known by its key and id, whatever its time: nothing is too late to go on, and no clock decides. Counted
//! by record, a replay leaves the same ones out.
//!
//! ```text
//! seen    key and id in their ordered form  ->  1
//! order   number as u64 big-endian          ->  key and id in their ordered form
//! ```
//!
//! Invariant: both tables have the same values, at most as many as are looked back at, under numbers that follow one
//! another.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use headwater_core::key::{Key, ordered};
use headwater_core::store::{Direction, KeyRange, TableId};

use super::deduplicate::IdOf;
use super::{Next, Sink};
use crate::engine::flow::{DropReason, Flow, Keyed, ProcessError};

/// Where it is known what was handed on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RepeatTables {
    pub(crate) seen: TableId,
    pub(crate) order: TableId,
}

/// Hands on what has no like among the last so many values that went on.
pub(crate) struct Repeats<K, V, I> {
    name: Arc<str>,
    id: IdOf<K, V, I>,
    among: u64,
    tables: RepeatTables,
    /// The number of the next value; `None` where that is not known.
    number: Option<u64>,
    next: Next<K, V>,
}

impl<K: Key, V, I: Key> Repeats<K, V, I> {
    pub(crate) fn new(
        name: &str,
        id: IdOf<K, V, I>,
        among: u64,
        tables: RepeatTables,
        next: Next<K, V>,
    ) -> Self {
        Self { name: name.into(), id, among, tables, number: None, next }
    }

    fn number(&mut self, flow: &mut Flow<'_>) -> Result<u64, ProcessError> {
        if let Some(number) = self.number {
            return Ok(number);
        }
        let mut next = 0;
        let backward = KeyRange { direction: Direction::Backward, ..KeyRange::all() };
        flow.scan(self.tables.order, &backward, &mut |row, _| {
            let last = row.try_into().expect("a row is a number of eight bytes");
            next = u64::from_be_bytes(last) + 1;
            ControlFlow::Break(())
        })?;
        Ok(next)
    }

    fn remember(&mut self, row: Bytes, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let number = self.number(flow)?;
        flow.put(self.tables.seen, row.clone(), Some(Bytes::from_static(b"1")));
        flow.put(self.tables.order, at(number), Some(row));
        self.number = Some(number + 1);
        let Some(oldest) = number.checked_sub(self.among) else { return Ok(()) };
        if let Some(row) = flow.get(self.tables.order, &at(oldest))? {
            flow.put(self.tables.seen, row, None);
            flow.put(self.tables.order, at(oldest), None);
        }
        Ok(())
    }
}

fn at(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

impl<K: Key, V, I: Key> Sink<K, V> for Repeats<K, V, I> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let row = ordered(&(item.key, (self.id)(item))).map_err(ProcessError::record)?;
        if flow.get(self.tables.seen, &row)?.is_some() {
            flow.drop_record(&self.name, DropReason::Duplicate);
            return Ok(());
        }
        self.remember(row, flow)?;
        self.next.push(item, flow)
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.next.close(flow)
    }

    fn abort(&mut self) {
        self.number = None;
        self.next.abort();
    }
}
