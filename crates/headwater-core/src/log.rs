//! The log: topics of partitions, and the contract behind which every implementation stands.
//!
//! Three rules hold for every implementation, and the conformance suite proves each:
//!
//! 1. A reader sees committed records only, offsets rise strictly, and the next position moves over whatever is no
//!    record (markers, aborted or superseded records) also when nothing follows.
//! 2. A [`Transaction`] is there whole or not at all: its records in every partition, its positions and its note.
//! 3. One [`Writer`] per shard of a group: opening a writer fences every earlier one, and resolves what that one left.
//!
//! No method takes a timeout: futures are cancelled by dropping them, and whoever waits brings the timer.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::BoxFuture;
use crate::clock::Timestamp;
use crate::position::Position;
use crate::record::{Append, StoredRecord};
use crate::topic::{Offset, Partition, TopicId, TopicName, TopicPartition};

/// Topics of partitions of records, and groups that share their shards.
///
/// # Contract
///
/// - Every call may be made from any task at any time; a future that is dropped before it is ready leaves the log as
///   if the call had been made and its answer lost.
/// - An answer means durable: what [`append`](Log::append) and [`Writer::commit`] acknowledge survives the loss of
///   everything that was not synced (embedded) or not replicated (cluster).
/// - Reading never shows a record of a transaction that has not committed, nor one of a writer that was fenced before
///   it committed.
pub trait Log: Send + Sync + 'static {
    /// Names this log among all logs; the same for every process that opens it, and after every restart.
    fn id(&self) -> LogId;

    /// On how many machines this log makes its topics, and wants those kept that it finds; `None` if it has only one.
    fn replicas_wanted(&self) -> Option<Replicas> {
        None
    }

    /// How many machines it had when it was opened; `None` if it has only one, or does not know.
    fn machines(&self) -> Option<u32> {
        None
    }

    /// The topics in which this log keeps what it knows of a group, as it makes them; none where it has another place.
    ///
    /// A log makes them itself where they are missing. They are told so that an operator sees them and others can check
    /// them.
    fn topics_of(&self, group: &Group) -> Vec<(TopicName, TopicSettings)> {
        let _ = group;
        Vec::new()
    }

    /// Describes a topic; `None` if there is none of that name.
    ///
    /// # Errors
    ///
    /// [`LogErrorKind::Unavailable`] if the log cannot be asked now.
    fn describe<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<TopicDescription>, LogError>>;

    /// All topics, in order of their names.
    ///
    /// # Errors
    ///
    /// As [`describe`](Log::describe).
    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicDescription>, LogError>>;

    /// Creates a topic, durably, with a new id.
    ///
    /// # Errors
    ///
    /// [`LogErrorKind::TopicExists`] if there is one of that name, whatever its settings;
    /// [`LogErrorKind::Invalid`] if the settings are (zero partitions).
    fn create<'a>(
        &'a self,
        topic: &'a TopicName,
        settings: TopicSettings,
    ) -> BoxFuture<'a, Result<TopicDescription, LogError>>;

    /// Changes, durably, how a topic is kept from now on: its cleanup and its times.
    ///
    /// The topic keeps its id, its records with the times they have, and its partitions; settings of the same count of
    /// partitions are given. What the new rule allows to drop may be dropped at once.
    ///
    /// # Errors
    ///
    /// [`LogErrorKind::UnknownTopic`]; [`LogErrorKind::Invalid`] if the count of partitions is another, or the log
    /// cannot change what it is asked to.
    fn alter<'a>(
        &'a self,
        topic: &'a TopicName,
        settings: TopicSettings,
    ) -> BoxFuture<'a, Result<TopicDescription, LogError>> {
        let _ = settings;
        let message = format!("this log cannot change how topic {topic} is kept");
        Box::pin(async move { Err(LogError::new(LogErrorKind::Invalid, message)) })
    }

    /// Deletes a topic with its records; positions in it are gone with it.
    ///
    /// # Errors
    ///
    /// [`LogErrorKind::UnknownTopic`].
    fn delete<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), LogError>>;

    /// Reads committed records of one partition from `from` on, bounded by `limit`, and the next position.
    ///
    /// With [`Wait::UntilMore`] an answer whose `next` equals `from` is withheld until there is more; the wake-up is
    /// never lost, whatever the timing of the append. With [`Wait::No`] it is given at once. If there is a record,
    /// at least one is answered, however large.
    ///
    /// # Errors
    ///
    /// [`LogErrorKind::UnknownTopic`]; [`LogErrorKind::OutOfRange`] if `from` lies below the first kept offset or
    /// above the end; [`LogErrorKind::Corrupt`] names the place of a record that is damaged, which is never served.
    fn read<'a>(
        &'a self,
        partition: &'a TopicPartition,
        from: Offset,
        limit: ReadLimit,
        wait: Wait,
    ) -> BoxFuture<'a, Result<ReadBatch, LogError>>;

    /// The first and the next offset of a partition, as of a moment after the call.
    ///
    /// The end covers every commit and append that was acknowledged before the call.
    ///
    /// # Errors
    ///
    /// [`LogErrorKind::UnknownTopic`].
    fn bounds<'a>(&'a self, partition: &'a TopicPartition) -> BoxFuture<'a, Result<Bounds, LogError>>;

    /// The first offset whose record's time is at or after `time`; the end if there is none.
    ///
    /// # Errors
    ///
    /// [`LogErrorKind::UnknownTopic`].
    fn offset_at<'a>(
        &'a self,
        partition: &'a TopicPartition,
        time: Timestamp,
    ) -> BoxFuture<'a, Result<Offset, LogError>>;

    /// Appends records outside any transaction: all or none, answered with their offsets in the order given.
    ///
    /// Anyone may; after an *unknown* the caller may append again, so such records carry an id by which their reader
    /// drops repeats.
    ///
    /// # Errors
    ///
    /// [`AppendError`] says whether the records are known not to be written.
    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Result<Vec<Offset>, AppendError>>;

    /// Joins a group, whose members share its shards between them.
    ///
    /// # Errors
    ///
    /// [`LogErrorKind::Unavailable`] if the coordinator cannot be reached.
    fn join<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<Box<dyn Membership>, LogError>>;

    /// The positions that a group's writers have committed, over all its shards.
    ///
    /// # Errors
    ///
    /// [`LogErrorKind::Unavailable`].
    fn committed<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Position, LogError>>;
}

/// Which shards a member of a group has.
///
/// A member that is dropped without [`leave`](Membership::leave) has left when the log notices.
pub trait Membership: Send + Sync {
    /// The next change; waits for one. Dropping the future loses no change.
    ///
    /// # Errors
    ///
    /// [`LogErrorKind::Fenced`] ends the membership: another process bears the same name.
    fn next(&mut self) -> BoxFuture<'_, Result<ShardChange, LogError>>;

    /// Gives every shard back and leaves at once.
    ///
    /// # Errors
    ///
    /// [`LogErrorKind::Unavailable`] if the log could not be told; it will notice.
    fn leave(self: Box<Self>) -> BoxFuture<'static, Result<(), LogError>>;

    /// Tells the log how far the member has come without a transaction, for tools that show lag.
    ///
    /// What keeps its positions elsewhere (a fold, in its local store) calls this now and then. Nothing of Headwater
    /// reads it back, no promise rests on it, and a log without such tools does nothing, which is the default.
    ///
    /// # Errors
    ///
    /// [`LogErrorKind::Unavailable`] if the log could not be told; go on, and tell it the next time.
    fn processed(&self, positions: Position) -> BoxFuture<'_, Result<(), LogError>> {
        let _ = positions;
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A change in the shards that a member has.
pub enum ShardChange {
    /// The shard is this member's from now on.
    Gained(Partition, Box<dyn Claim>),
    /// The shard moves elsewhere: finish, then drop its claim and its writer.
    Revoked(Partition),
    /// The shard is another's already; its writer is fenced.
    Lost(Partition),
}

impl fmt::Debug for ShardChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gained(shard, _) => write!(f, "Gained({shard})"),
            Self::Revoked(shard) => write!(f, "Revoked({shard})"),
            Self::Lost(shard) => write!(f, "Lost({shard})"),
        }
    }
}

/// The right to write for a shard, for as long as the member has it.
pub trait Claim: Send + Sync {
    /// Opens the shard's writer: fences every earlier writer, resolves the transaction that it left open, and tells
    /// the head of the last one that committed.
    ///
    /// Afterwards whoever reads up to the partitions' [`bounds`](Log::bounds) has read all that earlier writers
    /// committed, and no more of theirs follows.
    ///
    /// # Errors
    ///
    /// [`LogErrorKind::Fenced`] if the shard is no longer this member's; [`LogErrorKind::Unavailable`] if the log
    /// cannot be reached: try again; [`LogErrorKind::Corrupt`] if the head is damaged, or speaks of records that the
    /// log has lost.
    fn open(&self) -> BoxFuture<'_, Result<Opened, LogError>>;
}

/// A writer that was just opened.
pub struct Opened {
    /// The writer.
    pub writer: Box<dyn Writer>,
    /// What the shard's last committed transaction said about the shard; `None` before the first.
    pub head: Option<Head>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("head", &self.head).finish_non_exhaustive()
    }
}

/// Commits a shard's transactions, one after another.
///
/// After [`CommitError::Fenced`] or [`CommitError::Unknown`] the writer is dead and answers `Fenced` to everything.
pub trait Writer: Send {
    /// Commits a transaction, atomically over all its topics and partitions; answers the offsets of its records in
    /// the order given.
    ///
    /// Call it again only after the last call has been answered. The future may be driven from any task. Dropping it
    /// makes the outcome unknown to the caller.
    ///
    /// # Errors
    ///
    /// [`CommitError`].
    fn commit(&mut self, transaction: Transaction) -> BoxFuture<'static, Result<Vec<Offset>, CommitError>>;
}

/// What a writer commits at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Records, in order per partition.
    pub appends: Vec<Append>,
    /// How far the shard has come in its inputs; never empty, since on Kafka the positions are what fences.
    pub positions: Position,
    /// The engine's own note; with the positions it becomes the shard's [`Head`].
    pub note: Bytes,
}

/// The last word of a shard about itself.
///
/// Positions of earlier transactions that later ones did not mention are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// How far the shard has come in its inputs.
    pub positions: Position,
    /// The engine's own note, of the last transaction.
    pub note: Bytes,
}

/// Who joins which group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// `<app>.<topology>`, with `@version` from the second on.
    pub name: String,
    /// How many shards the group has.
    pub shards: u32,
    /// A topic that has as many partitions as the group has shards: what a cluster's membership is about.
    pub topic: TopicName,
}

/// Names one log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogId(pub u128);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a topic is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicSettings {
    /// How many partitions, fixed for good.
    pub partitions: u32,
    /// What may be dropped.
    pub cleanup: Cleanup,
    /// Whose time the records carry.
    pub times: RecordTimes,
}

impl TopicSettings {
    /// A topic that keeps every record for ever, with its producers' times.
    pub fn kept(partitions: u32) -> Self {
        Self { partitions, cleanup: Cleanup::Keep, times: RecordTimes::Producer }
    }

    /// The same with another rule for dropping.
    #[must_use]
    pub fn cleanup(self, cleanup: Cleanup) -> Self {
        Self { cleanup, ..self }
    }
}

/// What of a topic may be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cleanup {
    /// Nothing.
    Keep,
    /// Records older than this, from the front.
    Expire {
        /// Age in milliseconds.
        after_ms: u64,
    },
    /// Records of a key that has a later one; tombstones after this age.
    Compact {
        /// Age in milliseconds.
        tombstones_ms: u64,
    },
}

/// Whose time the records of a topic carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordTimes {
    /// The producer's, as given.
    Producer,
    /// The log's own, at the append.
    Log,
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: TopicName,
    /// Which life of that name.
    pub id: TopicId,
    /// How it is kept.
    pub settings: TopicSettings,
    /// On how many machines; `None` on a log of one machine.
    pub replicas: Option<Replicas>,
}

/// On how many machines of a cluster a topic is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicas {
    /// How many keep each partition; where partitions differ, the fewest.
    pub factor: u32,
    /// How many must have a record before it is acknowledged.
    pub min_in_sync: u32,
}

/// How much one read may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Records at most.
    pub records: usize,
    /// Bytes of records at most, but always one record.
    pub bytes: usize,
}

impl ReadLimit {
    /// Twice as much of both.
    #[must_use]
    pub fn doubled(self) -> Self {
        Self { records: self.records.saturating_mul(2), bytes: self.bytes.saturating_mul(2) }
    }
}

impl Default for ReadLimit {
    fn default() -> Self {
        Self { records: 10_000, bytes: 4 << 20 }
    }
}

/// Whether a read waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Answer what is there.
    No,
    /// Answer when the position moves.
    UntilMore,
}

/// What a read answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadBatch {
    /// Committed records, offsets rising strictly.
    pub records: Vec<StoredRecord>,
    /// Where to read on: above every record answered, and moved over what is no record.
    pub next: Offset,
    /// The partition's end when this was read.
    pub end: Offset,
}

/// The first kept and the next offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that may still be read.
    pub start: Offset,
    /// The offset after the last committed record.
    pub end: Offset,
}

/// Why an append was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// None of the records is, or will be, in the log.
    #[error("the records were not written")]
    NotWritten(#[source] LogError),
    /// All of them or none of them are.
    #[error("it is unknown whether the records were written")]
    Unknown(#[source] LogError),
}

/// Why a commit was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing of the transaction is, or will be, in the log. The writer lives.
    #[error("the transaction was not written")]
    NotWritten {
        /// Whether the same transaction may succeed when tried again.
        retry: bool,
        /// The cause.
        #[source]
        error: LogError,
    },
    /// Another writer was opened for the shard; nothing of the transaction is in the log. This writer is dead.
    #[error("the writer is fenced: the shard has another writer")]
    Fenced,
    /// All of the transaction or nothing of it is in the log; opening the writer again settles which. This writer is
    /// dead.
    #[error("it is unknown whether the transaction was written")]
    Unknown(#[source] LogError),
}

/// Why a call on a log failed: a kind to act on, a message to read, a cause.
#[derive(Debug)]
pub struct LogError {
    kind: LogErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What to do about a [`LogError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogErrorKind {
    /// There is no such topic, or it has no such partition.
    UnknownTopic,
    /// A topic of that name exists.
    TopicExists,
    /// The offset lies outside what the partition holds.
    OutOfRange(Bounds),
    /// A record is damaged, or the log has lost what it had: nothing is served or written in its place.
    Corrupt,
    /// The request can never succeed (an empty position, a record too large).
    Invalid,
    /// Not now: try again later.
    Unavailable,
    /// No space is left to write; reading goes on, and writing when space returns.
    Full,
    /// Somebody else has taken over.
    Fenced,
    /// Whoever asks has no right to it: an operator grants it.
    Denied,
    /// The log is closed or cannot be opened.
    Closed,
}

impl LogError {
    /// An error of `kind` whose message says what happened, to which thing, and what to do.
    pub fn new(kind: LogErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same with the error that caused it.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// The kind.
    pub fn kind(&self) -> LogErrorKind {
        self.kind
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
