//! What went wrong between this process and the cluster, in the contract's words.
//!
//! The client's own errors are never public: a [`KafkaError`] says why the cluster cannot be used at all, a
//! [`LogError`] why one call failed; both say what happened, to which thing, and what to do.

use std::fmt;

use headwater_core::log::{LogError, LogErrorKind};
use krafka::KrafkaError;
use krafka::error::ErrorCode;

use crate::operation::Operation;

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

impl From<KafkaError> for LogError {
    fn from(error: KafkaError) -> Self {
        let kind = match error.kind {
            KafkaErrorKind::Unreachable => LogErrorKind::Unavailable,
            KafkaErrorKind::Refused => LogErrorKind::Denied,
            KafkaErrorKind::Unsupported | KafkaErrorKind::Settings => LogErrorKind::Invalid,
        };
        Self::new(kind, error.message.clone()).with_source(error)
    }
}

/// An operation that failed.
pub(crate) fn failed_to(what: Operation<'_>, error: KrafkaError) -> LogError {
    let kind = kind_of(&error);
    LogError::new(kind, format!("could not {what}: {}", advice(kind, what, &error))).with_source(error)
}

fn advice(kind: LogErrorKind, what: Operation<'_>, error: &KrafkaError) -> String {
    match kind {
        LogErrorKind::UnknownTopic => "the cluster has no such topic or partition".to_owned(),
        LogErrorKind::TopicExists => "a topic of that name exists".to_owned(),
        LogErrorKind::Denied => denied(what, error),
        LogErrorKind::Unavailable => "the cluster does not answer, or not yet; it is tried again".to_owned(),
        LogErrorKind::Fenced => "somebody else has taken over".to_owned(),
        LogErrorKind::Invalid => reason(error),
        _ => "the connection is closed".to_owned(),
    }
}

/// What is missing, in the words of access control lists.
fn denied(what: Operation<'_>, error: &KrafkaError) -> String {
    match code_of(error).and_then(|denial| what.right(denial)) {
        Some(right) => format!("the cluster denies it to this process's user; grant it {right}"),
        None => "the cluster refuses this process; check its credentials".to_owned(),
    }
}

/// Why the cluster refuses for good, in words where it says only a code.
fn reason(error: &KrafkaError) -> String {
    match code_of(error) {
        Some(ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge) => {
            return "a record is larger than the topic takes; raise the topic's max.message.bytes or send less"
                .to_owned();
        }
        Some(ErrorCode::InvalidReplicationFactor) => {
            return "the cluster has too few brokers for the replication factor; start more, or ask for fewer replicas by \
             kafka_replication (HEADWATER_KAFKA_REPLICATION), with which a lost machine can lose what was acknowledged"
                .to_owned();
        }
        _ => {}
    }
    match error {
        KrafkaError::Broker { message, .. } | KrafkaError::Config { message } => message.clone(),
        other => other.to_string(),
    }
}

/// The contract's kind for what the client says.
pub(crate) fn kind_of(error: &KrafkaError) -> LogErrorKind {
    if let Some(code) = code_of(error) {
        return kind_of_code(code);
    }
    match error {
        KrafkaError::Auth { .. } => LogErrorKind::Denied,
        KrafkaError::Fenced { .. } => LogErrorKind::Fenced,
        KrafkaError::UnknownTopic { .. } => LogErrorKind::UnknownTopic,
        KrafkaError::Config { .. } | KrafkaError::Serialization { .. } | KrafkaError::Compression { .. } => {
            LogErrorKind::Invalid
        }
        _ => LogErrorKind::Unavailable,
    }
}

fn kind_of_code(code: ErrorCode) -> LogErrorKind {
    match code {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => LogErrorKind::UnknownTopic,
        ErrorCode::TopicAlreadyExists => LogErrorKind::TopicExists,
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::TransactionalIdAuthorizationFailed
        | ErrorCode::SaslAuthenticationFailed => LogErrorKind::Denied,
        ErrorCode::MessageTooLarge
        | ErrorCode::RecordListTooLarge
        | ErrorCode::InvalidTopic
        | ErrorCode::InvalidPartitions
        | ErrorCode::InvalidReplicationFactor
        | ErrorCode::InvalidConfig
        | ErrorCode::InvalidTimestamp
        | ErrorCode::InvalidRequest
        | ErrorCode::InvalidRecord
        | ErrorCode::PolicyViolation
        | ErrorCode::InconsistentGroupProtocol
        | ErrorCode::InvalidSessionTimeout
        | ErrorCode::InvalidGroupId
        | ErrorCode::GroupMaxSizeReached
        | ErrorCode::UnsupportedVersion => LogErrorKind::Invalid,
        code if takes_over(code) => LogErrorKind::Fenced,
        _ => LogErrorKind::Unavailable,
    }
}

/// Whether a code says that another producer, or another member, has taken this one's place.
fn takes_over(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::ProducerFenced
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::TransactionCoordinatorFenced
            | ErrorCode::FencedInstanceId
            | ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
    )
}

/// The code with which a broker answered, where it did.
pub(crate) fn code_of(error: &KrafkaError) -> Option<ErrorCode> {
    match error {
        KrafkaError::Broker { code, .. } => Some(*code),
        KrafkaError::TransactionAbortable { message, .. } => code_in(message),
        _ => None,
    }
}

/// What a broker refuses for good within a transaction; of it the client keeps the code's name alone.
const REFUSALS: [ErrorCode; 7] = [
    ErrorCode::TopicAuthorizationFailed,
    ErrorCode::MessageTooLarge,
    ErrorCode::RecordListTooLarge,
    ErrorCode::UnknownTopicOrPartition,
    ErrorCode::InvalidRecord,
    ErrorCode::InvalidTimestamp,
    ErrorCode::PolicyViolation,
];

/// The refusal that a text of the client ends with, as in "produce to orders-0 failed with MessageTooLarge".
fn code_in(message: &str) -> Option<ErrorCode> {
    REFUSALS.into_iter().find(|code| message.ends_with(&format!(" {code:?}")))
}
