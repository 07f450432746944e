//! Stream time: the latest time that an operator has seen, which only moves on.
//!
//! Kafka Streams forgets it when a task moves, and then takes in again what was late before (KAFKA-9368); here it is a
//! row of the operator's store.

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::store::TableId;

use crate::engine::flow::{Flow, ProcessError};

/// An operator's stream time.
pub(crate) struct StreamTime {
    table: TableId,
    /// `None` before it was read.
    now: Option<Timestamp>,
    is_kept: bool,
}

impl StreamTime {
    /// Where it is kept in its table.
    pub(crate) const KEY: &'static [u8] = b"now";

    pub(crate) fn new(table: TableId) -> Self {
        Self { table, now: None, is_kept: true }
    }

    /// The latest time of all, this one included.
    pub(crate) fn observe(&mut self, time: Timestamp, flow: &Flow<'_>) -> Result<Timestamp, ProcessError> {
        let before = match self.now {
            Some(now) => now,
            None => self.kept(flow)?,
        };
        self.is_kept &= time <= before;
        let now = before.max(time);
        self.now = Some(now);
        Ok(now)
    }

    fn kept(&self, flow: &Flow<'_>) -> Result<Timestamp, ProcessError> {
        let Some(row) = flow.get(self.table, Self::KEY)? else { return Ok(Timestamp(i64::MIN)) };
        Self::of_row(&row).ok_or_else(|| ProcessError::record("the kept stream time is malformed"))
    }

    /// The stream time in a row.
    pub(crate) fn of_row(row: &[u8]) -> Option<Timestamp> {
        Some(Timestamp(i64::from_be_bytes(row.try_into().ok()?)))
    }

    /// Leaves it in the flow.
    pub(crate) fn close(&mut self, flow: &mut Flow<'_>) {
        if let Some(now) = self.now.filter(|_| !self.is_kept) {
            let row = Bytes::copy_from_slice(&now.0.to_be_bytes());
            flow.put(self.table, Bytes::from_static(Self::KEY), Some(row));
            self.is_kept = true;
        }
    }

    /// Forgets what the batch brought.
    pub(crate) fn abort(&mut self) {
        self.now = None;
        self.is_kept = true;
    }
}
