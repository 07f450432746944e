//! What one instance can ask another.
//!
//! The head of a frame is JSON of these; keys and payloads are its parts. A new kind of question is a new variant: an
//! instance that does not know it refuses to serve it, so the two can run side by side.

use std::ops::Bound;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::position::Position;
use headwater_core::store::KeyRange;
use headwater_core::topic::{Offset, Partition};
use serde::{Deserialize, Serialize};

use super::{Frame, FrameError};
use crate::command::{CommandId, Origin, Version};
use crate::runtime::transfer::CopyAsk;

/// A question to the owner of a shard.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// To an aggregate's shard; the first part is the aggregate's id.
    Aggregate { name: String, shard: Partition, ask: AggregateAsk },
    /// To a view's shard, answered from a state that has reached `needed`.
    View { name: String, version: u32, shard: Partition, needed: Option<Offset>, ask: ViewAsk },
    /// Wait until a topology that feeds others has committed up to an offset of its source; of several, of the one of
    /// this index.
    Reach {
        topology: String,
        shard: Partition,
        next: Offset,
        #[serde(default)]
        source: usize,
    },
    /// The rows of a shard of a store, for one that is to have them as well.
    Copy { store: String, shard: Partition, ask: CopyAsk },
}

impl Question {
    /// Its kind, for metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Aggregate { ask: AggregateAsk::Send { .. }, .. } => "send",
            Self::Aggregate { ask: AggregateAsk::Outcome { .. }, .. } => "outcome",
            Self::Aggregate { ask: AggregateAsk::State, .. } => "state",
            Self::View { ask: ViewAsk::Changes { .. }, .. } => "changes",
            Self::View { .. } => "query",
            Self::Reach { .. } => "reach",
            Self::Copy { .. } => "copy",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AggregateAsk {
    /// Decide a command; the second part is its payload.
    Send { command_id: CommandId, expected: Option<Version>, origin: Origin },
    /// Tell a command's outcome, waiting for it.
    Outcome { command_id: CommandId, wait_ms: u64 },
    /// Tell the committed state.
    State,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ViewAsk {
    /// The value under the key that is the first part.
    Get,
    /// The rows between the keys that are the first two parts.
    Page { from: End, to: End, limit: usize },
    /// The number of keys.
    Count,
    /// The same of `ask`, as of a time.
    Past { time: Timestamp, ask: Box<Self> },
    /// The versions that the key that is the first part had between two times, both included, and the one behind.
    Versions { from: Timestamp, to: Timestamp },
    /// The windows between two keys of one key that end from a time on.
    EndingFrom { from: End, to: End, time: Timestamp },
    /// The windows between two keys that begin between two times, both included.
    Beginning { from: End, to: End, starts: (Timestamp, Timestamp), limit: usize },
    /// Changes between two keys after an offset; all rows if they are not known that far back.
    Changes { from: End, to: End, at: Option<Offset> },
}

/// One end of a range, its key beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    Unbounded,
    Included,
    Excluded,
}

/// The ends of a range, and their keys as parts.
pub(crate) fn ends(keys: &KeyRange) -> ((End, End), Vec<Option<Bytes>>) {
    let end = |bound: &Bound<Bytes>| match bound {
        Bound::Unbounded => (End::Unbounded, None),
        Bound::Included(key) => (End::Included, Some(key.clone())),
        Bound::Excluded(key) => (End::Excluded, Some(key.clone())),
    };
    let ((from, from_key), (to, to_key)) = (end(&keys.from), end(&keys.to));
    ((from, to), vec![from_key, to_key])
}

/// The range between two ends whose keys are the first two parts.
pub(crate) fn range(from: End, to: End, parts: &[Option<Bytes>]) -> KeyRange {
    let bound = |end: End, at: usize| match (end, parts.get(at).cloned().flatten()) {
        (End::Included, Some(key)) => Bound::Included(key),
        (End::Excluded, Some(key)) => Bound::Excluded(key),
        _ => Bound::Unbounded,
    };
    KeyRange { from: bound(from, 0), to: bound(to, 1), ..KeyRange::all() }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply<T> {
    /// The answer.
    Done(T),
    /// The shard is not here; nothing was done.
    Moved,
    /// It took too long: it may have been done, or may still be.
    Late,
}

impl<T: Serialize> Reply<T> {
    /// As a frame with these parts.
    pub(crate) fn with(self, parts: Vec<Option<Bytes>>) -> Result<Bytes, FrameError> {
        Frame { head: self, parts }.encode()
    }
}

/// Where and how an answer of a view was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) position: Position,
    pub(crate) frozen_version: Option<u32>,
    /// For how long the answering instance has not reached the log, in milliseconds.
    pub(crate) stale_ms: Option<u64>,
}

/// What a view's shard answers; rows are parts, key and value in turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ViewTold {
    /// The value is the only part.
    Value(Made),
    Rows(Made),
    Count(Made, u64),
    /// Versions: the time from which each holds, and its value as a part, if it is one.
    Versions(Made, Vec<Timestamp>),
    /// All rows, standing at an offset of the source.
    Reset(Offset),
    /// Batches: the offset that each leads to, and how many of the rows are its.
    Changes(Vec<(Offset, usize)>),
}

/// What an aggregate's shard answers to a command.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutcomeTold {
    /// With the receipt's text.
    Accepted(String),
    /// With the rejection as JSON.
    Rejected(String),
    Unknown,
}
