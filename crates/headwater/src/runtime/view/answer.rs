//! What a view answers, and why it does not.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::position::Position;
use headwater_core::topic::TopicPartition;
use serde::{Deserialize, Serialize};

/// Why a view did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum QueryError {
    /// The view does not include the receipt's events, or has not come to the position, yet.
    #[error("view \"{view}\" has not reached what was asked for within {} ms: ask again", waited.as_millis())]
    NotYet {
        /// The view.
        view: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The receipt is of another log, or of a topic that was deleted and made again.
    #[error("the receipt is of {0}: ask without it")]
    ForeignReceipt(Cow<'static, str>),
    /// The position is of a topic, or a partition of one, that the view is not made of.
    #[error(
        "the position speaks of {partition}, and view \"{view}\" is not made of it: pass on what an answer of the view carried"
    )]
    ForeignPosition {
        /// The view.
        view: String,
        /// The partition.
        partition: TopicPartition,
    },
    /// The view cannot tell how it was.
    #[error("view \"{view}\" cannot tell of an earlier time: {reason}")]
    NoHistory {
        /// The view.
        view: String,
        /// What is missing.
        reason: String,
    },
    /// The time lies before what the view still knows.
    #[error(
        "the history of view \"{view}\" begins at {} ms since 1970: ask for a later time, or keep versions for longer",
        begins.0
    )]
    BeforeHistory {
        /// The view.
        view: String,
        /// The earliest time that can be asked for.
        begins: Timestamp,
    },
    /// The view is being built and nothing older can answer.
    #[error("view \"{view}\" is being built: {done} of {total} records read; ask again")]
    Building {
        /// The view.
        view: String,
        /// Records read.
        done: u64,
        /// Records there were to read.
        total: u64,
    },
    /// Whoever has the shard cannot be asked now: it is moving, or the log or an instance does not answer.
    #[error("view \"{view}\" cannot be asked now: {reason}; ask again")]
    Unavailable {
        /// The view.
        view: String,
        /// What is in the way.
        reason: String,
    },
    /// The view does not run here, and there are no other instances to ask.
    #[error("view \"{0}\" does not run in this instance")]
    NotHere(String),
    /// A shard of the view stopped, and its state does not suffice for the answer.
    #[error("view \"{view}\" stopped: {reason}")]
    Stopped {
        /// The view.
        view: String,
        /// Why, naming the place.
        reason: String,
    },
    /// The key cannot be one of this view.
    #[error("the key cannot be asked for: {0}")]
    Key(String),
    /// The token of a page is none that this view gave.
    #[error("this is no page token of view \"{0}\": begin with the first page")]
    Token(String),
    /// The state cannot be read.
    #[error("view \"{view}\": {reason}")]
    State {
        /// The view.
        view: String,
        /// Why.
        reason: String,
    },
}

/// An answer, and the position that it was made at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// Per partition of the view's source, how far it had been folded.
    pub position: Position,
    /// The version of the view that answered, where it is an older one, frozen while the new one is built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen_version: Option<u32>,
    /// For how many milliseconds whoever answered had not reached the log; nothing where it does reach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_ms: Option<u64>,
}

impl<T> std::ops::Deref for Answer<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// A value that a key had for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Past<S> {
    /// The value.
    pub value: S,
    /// When it began to be the value.
    pub from: Timestamp,
    /// When another took its place, or the key was removed; `None` of what is so still.
    pub until: Option<Timestamp>,
}

/// One page of rows, and the token of the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<K, S> {
    /// Rows, in the order of their keys.
    pub rows: Vec<(K, S)>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<PageToken>,
}

/// Where a page begins; opaque, and good for as long as the view lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PageToken(String);

impl std::fmt::Display for PageToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for PageToken {
    fn from(token: String) -> Self {
        Self(token)
    }
}

impl PageToken {
    /// The page after this key.
    pub(super) fn after(key: &[u8]) -> Self {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("k.{hex}"))
    }

    /// The key that the page begins after.
    pub(super) fn key(&self) -> Option<Bytes> {
        let hex = self.0.strip_prefix("k.").filter(|hex| hex.len() % 2 == 0)?;
        let digit = |i: usize| u8::from_str_radix(hex.get(i..i + 2)?, 16).ok();
        (0..hex.len()).step_by(2).map(digit).collect::<Option<Vec<u8>>>().map(Bytes::from)
    }
}
