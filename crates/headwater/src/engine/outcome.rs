//! Outcomes as they are kept: one per command id, on the outcomes topic and in the store of the shard.

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::aggregate::Aggregate;
use crate::command::{CommandId, Origin, SendError, Version};

/// An outcome as JSON.
///
/// No offsets: a repeated answer takes its position from the log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OutcomeRow {
    /// The digest of the command's content, 32 hexadecimal digits.
    pub digest: String,
    /// When the command was decided, in milliseconds.
    pub at: Timestamp,
    /// What was decided.
    #[serde(flatten)]
    pub kept: Kept,
    /// Where the command came from.
    #[serde(flatten)]
    pub origin: Origin,
}

/// What was decided.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(crate) enum Kept {
    /// With the versions before and after.
    Accepted {
        /// The version before.
        from: Version,
        /// The version after.
        to: Version,
    },
    /// With the rejection, of the domain's own type.
    Rejected {
        /// Its JSON, as text, since the row is read with its tag first.
        rejection: String,
    },
    /// The caller expected another version.
    VersionConflict {
        /// What was expected.
        expected: Version,
        /// What it was.
        actual: Version,
    },
    /// A command from the topic that could not be decided.
    Failed {
        /// Why.
        reason: String,
    },
    /// A command from the topic that was older than outcomes are kept.
    Expired,
}

/// What a command's caller is told once the batch is committed.
#[derive(Debug)]
pub(crate) enum Verdict<A: Aggregate> {
    /// The aggregate's version after the command.
    Accepted(Version),
    /// The domain's refusal.
    Rejected(A::Rejection),
    /// Not decided by the domain.
    Refused(SendError),
}

impl Kept {
    /// The verdict that was kept for the command of this id.
    pub(crate) fn verdict<A: Aggregate>(self, command_id: &CommandId) -> Verdict<A> {
        match self {
            Self::Accepted { to, .. } => Verdict::Accepted(to),
            Self::Rejected { rejection } => match serde_json::from_str(&rejection) {
                Ok(rejection) => Verdict::Rejected(rejection),
                Err(e) => Verdict::Refused(SendError::Invalid(format!(
                    "the kept rejection of command \"{command_id}\" cannot be read by this program: {e}"
                ))),
            },
            Self::VersionConflict { expected, actual } => {
                Verdict::Refused(SendError::VersionConflict { expected, actual })
            }
            Self::Failed { reason } => Verdict::Refused(SendError::Invalid(reason)),
            Self::Expired => Verdict::Refused(SendError::Expired),
        }
    }
}

impl OutcomeRow {
    pub(crate) fn encode(&self) -> Result<Bytes, serde_json::Error> {
        serde_json::to_vec(self).map(Bytes::from)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// The JSON of a rejection.
pub(crate) fn rejection_text<R: Serialize>(rejection: &R) -> Result<String, serde_json::Error> {
    serde_json::value::to_raw_value(rejection).map(|raw: Box<RawValue>| raw.get().to_owned())
}
