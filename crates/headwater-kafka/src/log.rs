//! The log itself: one connection, and the contract's calls handed to the module that knows about each.

use std::fmt;
use std::sync::Arc;

use crate::connection::Connection;
use crate::errors::KafkaError;
use crate::reader::Reader;
use crate::settings::KafkaSettings;

/// A log on a Kafka cluster.
pub struct KafkaLog {
    connection: Arc<Connection>,
    #[expect(dead_code, reason = "the contract's calls follow")]
    reader: Reader,
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog")
            .field("servers", &self.connection.settings().servers)
            .finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// Connects to a cluster, and checks that it has what the log needs.
    ///
    /// # Errors
    ///
    /// [`KafkaError`] says why the cluster cannot be used, and what to do.
    pub async fn connect(settings: KafkaSettings) -> Result<Arc<Self>, KafkaError> {
        let connection = Connection::open(settings).await?;
        let reader = Reader::new(connection.clone());
        Ok(Arc::new(Self { connection, reader }))
    }
}
