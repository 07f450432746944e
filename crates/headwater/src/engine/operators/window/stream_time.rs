//! Stream time: the latest time that an operator has seen, which only moves on.
//!
//! Kafka Streams forgets it when a task moves, and then takes in again what was late before (KAFKA-9368); here it is a
//! row of the operator's store.

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::store::TableId;

use crate::engine::flow::{Flow, ProcessError};

/// Where it is kept in its table.
const KEY: &[u8] = b"now";

/// An operator's stream time.
pub(crate) struct StreamTime {
    table: TableId,
    /// `None` before it was read.
    now: Option<Timestamp>,
    is_kept: bool,
}

impl StreamTime {
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
        let Some(row) = flow.get(self.table, KEY)? else { return Ok(Timestamp(i64::MIN)) };
        let bytes =
            row[..].try_into().map_err(|_| ProcessError::record("the kept stream time is malformed"))?;
        Ok(Timestamp(i64::from_be_bytes(bytes)))
    }

    /// Leaves it in the flow.
    pub(crate) fn close(&mut self, flow: &mut Flow<'_>) {
        if let Some(now) = self.now.filter(|_| !self.is_kept) {
            let row = Bytes::copy_from_slice(&now.0.to_be_bytes());
            flow.put(self.table, Bytes::from_static(KEY), Some(row));
            self.is_kept = true;
        }
    }

    /// Forgets what the batch brought.
    pub(crate) fn abort(&mut self) {
        self.now = None;
        self.is_kept = true;
    }
}
