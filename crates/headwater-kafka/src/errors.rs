//! What went wrong between this process and the cluster, in the contract's words.
//!
//! The client's own errors are never public: a [`KafkaError`] says why the cluster cannot be used at all, a
//! [`LogError`] why one call failed; both say what happened, to which thing, and what to do.

use std::fmt;

use headwater_core::log::{LogError, LogErrorKind};
use krafka::KrafkaError;

/// Why a cluster cannot be used.
#[derive(Debug)]
pub struct KafkaError {
    kind: KafkaErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What to do about a [`KafkaError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KafkaErrorKind {
    /// No broker answers at the address: check it, and that the cluster runs.
    Unreachable,
    /// The cluster refuses who asks, or is not who it should be: check credentials and certificates.
    Refused,
    /// The cluster lacks what the log needs: upgrade it.
    Unsupported,
    /// A setting makes no sense.
    Settings,
}

impl KafkaError {
    pub(crate) fn new(kind: KafkaErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn with_source(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// What the client says when it connects.
    pub(crate) fn of_connecting(servers: &str, error: KrafkaError) -> Self {
        let (kind, what) = match &error {
            KrafkaError::Auth { .. } => (
                KafkaErrorKind::Refused,
                format!(
                    "the Kafka cluster at {servers} and this process do not trust each other; check credentials and certificates"
                ),
            ),
            KrafkaError::Config { message } => {
                (KafkaErrorKind::Settings, format!("the Kafka settings make no sense: {message}"))
            }
            KrafkaError::Protocol { .. } => (
                KafkaErrorKind::Unsupported,
                format!("what answers at {servers} does not speak Kafka's protocol as this process does"),
            ),
            _ => (
                KafkaErrorKind::Unreachable,
                format!("no Kafka broker answers at {servers}; check the address and that the cluster runs"),
            ),
        };
        Self::new(kind, what).with_source(error)
    }

    /// The kind.
    pub fn kind(&self) -> KafkaErrorKind {
        self.kind
    }
}

impl fmt::Display for KafkaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for KafkaError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

/// A call failed because the cluster cannot be reached now.
impl From<KafkaError> for LogError {
    fn from(error: KafkaError) -> Self {
        let kind = match error.kind {
            KafkaErrorKind::Unreachable => LogErrorKind::Unavailable,
            _ => LogErrorKind::Closed,
        };
        Self::new(kind, error.message.clone()).with_source(error)
    }
}
