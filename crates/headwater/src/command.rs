//! Commands on their way and their outcomes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use headwater_core::log::{LogError, LogErrorKind, LogId};
use headwater_core::topic::{Offset, Partition, TopicId, TopicName};
use serde::{Deserialize, Serialize};

use crate::aggregate::Aggregate;

/// The longest command id, in bytes.
pub const COMMAND_ID_BYTES_MAX: usize = 200;

/// Names a command within its aggregate: the idempotency key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommandId(Arc<str>);

/// A text that cannot be a command id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a command id has 1 to 200 bytes and no control characters; this one has {0} bytes")]
pub struct InvalidCommandId(usize);

impl CommandId {
    /// Checks and takes an id: 1 to 200 bytes, no control characters.
    ///
    /// # Errors
    ///
    /// [`InvalidCommandId`].
    pub fn new(id: impl AsRef<str>) -> Result<Self, InvalidCommandId> {
        let id = id.as_ref();
        if id.is_empty() || id.len() > COMMAND_ID_BYTES_MAX || id.chars().any(char::is_control) {
            return Err(InvalidCommandId(id.len()));
        }
        Ok(Self(id.into()))
    }

    /// A new id that no other command has.
    pub fn random() -> Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        Self((&*uuid::Uuid::now_v7().hyphenated().encode_lower(&mut text)).into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CommandId {
    type Error = InvalidCommandId;
    fn try_from(id: String) -> Result<Self, Self::Error> {
        Self::new(id)
    }
}

impl From<CommandId> for String {
    fn from(id: CommandId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// The number of events of one aggregate: 0 before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a command came from, for the records that it leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Groups everything that one request led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The command or event that caused this command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Who sent the command, where that is a process manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
}

/// What became of a command.
pub enum Outcome<A: Aggregate> {
    /// It took effect: the receipt tells where.
    Accepted(Receipt),
    /// The domain refused it.
    Rejected(A::Rejection),
    /// It may have taken effect or not: ask again under the same id.
    Unknown(CommandId),
}

impl<A: Aggregate<Rejection: fmt::Debug>> fmt::Debug for Outcome<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(receipt) => f.debug_tuple("Accepted").field(receipt).finish(),
            Self::Rejected(rejection) => f.debug_tuple("Rejected").field(rejection).finish(),
            Self::Unknown(command_id) => f.debug_tuple("Unknown").field(command_id).finish(),
        }
    }
}

impl<A: Aggregate> Outcome<A> {
    /// The receipt of an accepted command.
    pub fn accepted(self) -> Option<Receipt> {
        match self {
            Self::Accepted(receipt) => Some(receipt),
            Self::Rejected(_) | Self::Unknown(_) => None,
        }
    }
}

/// What an accepted command returns: the aggregate's version, and a position that includes its events.
///
/// As text (`Display`, `FromStr`) it is an opaque token that travels in headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The aggregate's version after the command.
    pub version: Version,
    /// The log that the position is of.
    pub log: LogId,
    /// The life of the events topic.
    pub topic_id: TopicId,
    /// The events topic.
    pub topic: TopicName,
    /// The partition of the aggregate.
    pub partition: Partition,
    /// The offset after the command's events.
    pub next: Offset,
}

/// A text that is no receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no receipt: pass on the text of a receipt unchanged")]
pub struct InvalidReceipt;

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, log, topic_id, topic, partition, next } = self;
        write!(f, "hw1~{log}~{topic_id}~{topic}~{partition}~{next}~{version}")
    }
}

impl std::str::FromStr for Receipt {
    type Err = InvalidReceipt;

    fn from_str(text: &str) -> Result<Self, InvalidReceipt> {
        let mut parts = text.split('~');
        let mut part = || parts.next().ok_or(InvalidReceipt);
        if part()? != "hw1" {
            return Err(InvalidReceipt);
        }
        let receipt = Self {
            log: LogId(hex_id(part()?)?),
            topic_id: TopicId(hex_id(part()?)?),
            topic: TopicName::new(part()?).map_err(|_| InvalidReceipt)?,
            partition: Partition(number(part()?)?),
            next: Offset(number(part()?)?),
            version: Version(number(part()?)?),
        };
        if parts.next().is_some() { Err(InvalidReceipt) } else { Ok(receipt) }
    }
}

fn hex_id(text: &str) -> Result<u128, InvalidReceipt> {
    if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(InvalidReceipt);
    }
    u128::from_str_radix(text, 16).map_err(|_| InvalidReceipt)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, InvalidReceipt> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidReceipt);
    }
    text.parse().map_err(|_| InvalidReceipt)
}

/// Why a command has no outcome of the domain: it was not decided, or not for the domain's reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SendError {
    /// Another command with other content has this id.
    #[error("command id \"{command_id}\" was used for another command: send this one under an id of its own")]
    IdConflict {
        /// The id that is taken.
        command_id: CommandId,
    },
    /// The aggregate is not at the version that the caller expects.
    #[error("the aggregate is at version {actual}, not {expected}: read it again and decide anew")]
    VersionConflict {
        /// What the caller expects.
        expected: Version,
        /// What it was when the command was decided.
        actual: Version,
    },
    /// Too many commands wait for this shard.
    #[error("too many commands wait for shard {shard} of {topology}: try again in {} ms", retry_after.as_millis())]
    Overloaded {
        /// The topology whose mailbox is full.
        topology: String,
        /// The shard.
        shard: Partition,
        /// When to try again.
        retry_after: Duration,
    },
    /// `decide` or `evolve` panicked; nothing happened.
    #[error("the code of aggregate \"{aggregate}\" panicked on this command: {message}")]
    Panicked {
        /// The aggregate's name.
        aggregate: String,
        /// The panic's message.
        message: String,
    },
    /// The command, its events or its keys cannot be written; nothing happened.
    #[error("the command cannot be written: {0}")]
    Invalid(String),
    /// The command is older than outcomes are kept; it was not executed.
    #[error("the command is older than outcomes are kept and was not executed: send it under a new id")]
    Expired,
    /// The log refused the command for now; nothing happened.
    #[error("the log refused the command, which was not executed: {0}")]
    Unavailable(String),
    /// There is no space left to write the command; nothing happened.
    #[error("there is no space left to write the command, which was not executed: {0}")]
    Full(String),
    /// The shard is moving between instances, or nobody has it; nothing happened.
    #[error("shard {shard} of {topology} is moving: try again in {} ms", retry_after.as_millis())]
    Moving {
        /// The topology.
        topology: String,
        /// The shard.
        shard: Partition,
        /// When to try again.
        retry_after: Duration,
    },
    /// The shard does not run here, or has stopped.
    #[error("shard {shard} of {topology} does not run: {reason}")]
    NotRunning {
        /// The topology.
        topology: String,
        /// The shard.
        shard: Partition,
        /// Why.
        reason: String,
    },
}

impl SendError {
    /// Whether it says that the domain, or a rule about the command itself, has spoken: sending it again changes nothing.
    ///
    /// The others are about the moment, and say that *this* attempt had no effect; about another attempt under the same
    /// id they say nothing.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::IdConflict { .. } | Self::VersionConflict { .. } | Self::Invalid(_) | Self::Expired => true,
            Self::Panicked { .. }
            | Self::Overloaded { .. }
            | Self::Unavailable(_)
            | Self::Full(_)
            | Self::Moving { .. }
            | Self::NotRunning { .. } => false,
        }
    }

    /// The error of a command that the log did not write.
    pub(crate) fn not_written(error: &LogError) -> Self {
        match error.kind() {
            LogErrorKind::Full => Self::Full(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_comes_back_from_its_text() {
        let receipt = Receipt {
            version: Version(3),
            log: LogId(7),
            topic_id: TopicId(u128::MAX),
            topic: TopicName::new("ordering.order.events").unwrap(),
            partition: Partition(11),
            next: Offset(42),
        };
        assert_eq!(receipt.to_string().parse(), Ok(receipt));
    }

    #[test]
    fn a_text_that_is_no_receipt_is_refused() {
        let good = format!("hw1~{:032x}~{:032x}~t~1~2~3", 1, 2);
        assert!(good.parse::<Receipt>().is_ok());
        let bad = [
            "".to_owned(),
            "hw1".into(),
            good.replace("hw1", "hw2"),
            format!("{good}~4"),
            good.replace("~1~", "~-1~"),
            good.replace("~t~", "~/~"),
        ];
        for text in bad {
            assert_eq!(text.parse::<Receipt>(), Err(InvalidReceipt), "{text}");
        }
    }
}
