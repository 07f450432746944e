//! Reading records: committed ones only, from any offset, bounded, and waiting where asked.

use std::sync::Arc;

use headwater_core::log::{LogError, LogErrorKind, ReadBatch, ReadLimit, Wait};
use headwater_core::topic::{Offset, TopicPartition};

use crate::connection::Connection;

/// Reads partitions of the cluster.
pub(crate) struct Reader {
    connection: Arc<Connection>,
}

impl Reader {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }

    /// As [`Log::read`](headwater_core::log::Log::read).
    pub(crate) async fn read(
        &self,
        partition: &TopicPartition,
        _from: Offset,
        _limit: ReadLimit,
        _wait: Wait,
    ) -> Result<ReadBatch, LogError> {
        let servers = &self.connection.settings().servers;
        Err(LogError::new(LogErrorKind::Unavailable, format!("{partition} at {servers} cannot be read yet")))
    }
}
