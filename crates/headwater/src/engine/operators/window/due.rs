//! What is to be done once stream time has come so far: keys sorted by when.
//!
//! ```text
//! kind, time as i64 big-endian with its sign flipped, key  ->  1
//! ```
//!
//! Invariant: before the last that was taken there is nothing, so that what was taken and is not removed from the store
//! yet need not be passed again.

use std::ops::{Bound, ControlFlow};

use bytes::{BufMut, Bytes, BytesMut};
use headwater_core::clock::Timestamp;
use headwater_core::store::{KEY_BYTES_MAX, KeyRange, TableId};

use crate::engine::flow::{Flow, ProcessError};

const TIME_END: usize = 1 + size_of::<i64>();

/// Keys by the time when something is to be done about them.
pub(crate) struct Due {
    table: TableId,
    /// Tells apart those that share a table.
    kind: u8,
    /// Nothing is due before; `None` where that is not known.
    earliest: Option<Timestamp>,
    /// The last that was taken: before it, the table is empty, though what was removed may still be passed.
    taken: Option<Bytes>,
}

impl Due {
    pub(crate) fn new(table: TableId, kind: u8) -> Self {
        Self { table, kind, earliest: None, taken: None }
    }

    /// Adds a key that is due at a time.
    pub(crate) fn add(
        &mut self,
        time: Timestamp,
        key: &[u8],
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let row = self.row(time, key);
        if row.len() > KEY_BYTES_MAX {
            return Err(ProcessError::record(format!(
                "its key has {} bytes too many",
                row.len() - KEY_BYTES_MAX
            )));
        }
        self.taken = self.taken.take().filter(|taken| *taken < row);
        flow.put(self.table, row, Some(Bytes::from_static(b"1")));
        self.earliest = self.earliest.map(|earliest| earliest.min(time));
        Ok(())
    }

    /// Removes a key that was due at a time.
    pub(crate) fn remove(&self, time: Timestamp, key: &[u8], flow: &mut Flow<'_>) {
        flow.put(self.table, self.row(time, key), None);
    }

    /// Whether anything is due by `now`.
    pub(crate) fn is_due(&mut self, now: Timestamp, flow: &mut Flow<'_>) -> Result<bool, ProcessError> {
        if let Some(earliest) = self.earliest {
            return Ok(earliest <= now);
        }
        let (rows, behind) = self.look(now, 1, flow)?;
        self.earliest = Some(rows.first().map_or(behind, |row| time_of(row)));
        Ok(!rows.is_empty())
    }

    /// Takes away the first keys that are due by `now`, up to `limit`, with their times.
    pub(crate) fn take(
        &mut self,
        now: Timestamp,
        limit: usize,
        flow: &mut Flow<'_>,
    ) -> Result<Vec<(Timestamp, Bytes)>, ProcessError> {
        let (rows, behind) = self.look(now, limit, flow)?;
        self.earliest = Some(behind);
        let mut due = Vec::with_capacity(rows.len());
        for row in rows {
            due.push((time_of(&row), row.slice(TIME_END..)));
            flow.put(self.table, row.clone(), None);
            self.taken = Some(row);
        }
        Ok(due)
    }

    /// The first rows that are due by `now`, up to `limit`, and when the one behind them is.
    fn look(
        &self,
        now: Timestamp,
        limit: usize,
        flow: &mut Flow<'_>,
    ) -> Result<(Vec<Bytes>, Timestamp), ProcessError> {
        let mut rows = Vec::new();
        let mut behind = Timestamp(i64::MAX);
        flow.scan(self.table, &self.rest(), &mut |row, _| {
            if time_of(row) <= now && rows.len() < limit {
                rows.push(Bytes::copy_from_slice(row));
                return ControlFlow::Continue(());
            }
            behind = time_of(row);
            ControlFlow::Break(())
        })?;
        Ok((rows, behind))
    }

    fn rest(&self) -> KeyRange {
        let mut range = KeyRange::prefix(&[self.kind]);
        if let Some(taken) = &self.taken {
            range.from = Bound::Excluded(taken.clone());
        }
        range
    }

    fn row(&self, time: Timestamp, key: &[u8]) -> Bytes {
        let mut row = BytesMut::with_capacity(TIME_END + key.len());
        row.put_u8(self.kind);
        row.put_i64(time.0 ^ i64::MIN);
        row.put_slice(key);
        row.freeze()
    }

    /// Forgets what the batch brought.
    pub(crate) fn abort(&mut self) {
        self.earliest = None;
        self.taken = None;
    }
}

fn time_of(row: &[u8]) -> Timestamp {
    let time = row[1..TIME_END].try_into().expect("a row begins with its kind and its time");
    Timestamp(i64::from_be_bytes(time) ^ i64::MIN)
}
