//! How a connection is encrypted, and by what it says who it is.

use krafka::KafkaBuilder;

use crate::errors::KafkaError;

/// Encryption and credentials of a connection.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Security {
    /// Neither: for a cluster on a network of one's own.
    #[default]
    Plaintext,
}

impl Security {
    /// Tells the client.
    pub(crate) fn apply(&self, client: KafkaBuilder) -> Result<KafkaBuilder, KafkaError> {
        match self {
            Self::Plaintext => Ok(client),
        }
    }
}
