//! The head of a chain: reads a topic's records as keys and values.

use std::sync::Arc;

use headwater_core::record::StoredRecord;
use headwater_core::topic::Partition;

use super::{Next, RecordSink};
use crate::engine::flow::{Flow, Keyed, ProcessError, RecordMeta};

/// Reads a record; `None` sets it aside as foreign.
pub(crate) type Read<K, V> = Arc<dyn Fn(&StoredRecord) -> Result<Option<(K, V)>, String> + Send + Sync>;

/// Reads records and hands them on.
pub(crate) struct Source<K, V> {
    pub(crate) partition: Partition,
    pub(crate) read: Read<K, V>,
    pub(crate) next: Next<K, V>,
}

impl<K, V> RecordSink for Source<K, V> {
    fn push(&mut self, record: &StoredRecord, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let Some((key, value)) = (self.read)(record).map_err(ProcessError::Undecodable)? else {
            return Ok(());
        };
        let meta = RecordMeta::of(record, self.partition);
        self.next.push(Keyed { key: &key, value: &value, meta: &meta }, flow)
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.next.close(flow)
    }

    fn abort(&mut self) {
        self.next.abort();
    }
}
