//! What a local store may be trusted for.
//!
//! A shard's state is good for the log that it was folded from, and for no other: each checkpoint's note says which log
//! and which lives of which topics that was, and by which records the log is known again (`landmarks.rs`). State of
//! another log, of a topic that was deleted and made again, from beyond the log's end, or of records that the log lost
//! before it went on with others, or of other tables, is *quarantined*: kept aside in a store of its own, where somebody can look at it, and
//! built again from the log.
//!
//! The note is JSON, without whitespace: `{"log":"<32 hex digits>","topics":[["<name>","<32 hex digits>"],…],
//! "caught_up":bool,"last":[["<name>",<offset>,"<16 hex digits>"],…],"as_of_ms":<milliseconds>,"tables":[…]}`, where `last`
//! may be missing, `as_of_ms` is told of a state that is good for some time only, and `tables` of a fold, whose state is
//! another's where they differ. An empty note, or the word `caught-up`, was
//! written by the first version, which did not say: it is believed.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::log::{Bounds, LogId};
use headwater_core::store::{Checkpoint, StoreError, StoreErrorKind};
use headwater_core::topic::{Offset, Partition, TopicId, TopicName, TopicPartition};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::cell::ShardCell;
use super::landmarks::Landmarks;
use super::observe;
use super::shell::{NamedStore, Shell, Stop};
use super::transfer::{COPY_CHUNK, copy_shard, take_copy};
use crate::store::overlay::ShardState;

/// What the first version's notes said of a state that had once caught up.
const CAUGHT_UP_V1: &[u8] = b"caught-up";

/// The log and the lives of the topics that a shard is folded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Provenance {
    log: LogId,
    topics: Vec<(TopicName, TopicId)>,
    /// The same as text, as notes have them.
    told: (String, Vec<(TopicName, String)>),
    /// States that are older than this are built again.
    oldest: Option<Timestamp>,
    /// The tables of states that are told by them.
    tables: Vec<String>,
}

/// A checkpoint's note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    log: String,
    topics: Vec<(TopicName, String)>,
    caught_up: bool,
    #[serde(default, skip_serializing_if = "Landmarks::is_empty")]
    last: Landmarks,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    as_of_ms: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tables: Vec<String>,
}

/// Why a state is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Distrust {
    OtherLog { found: String, log: LogId },
    OtherTopic { topic: TopicName, found: String, id: TopicId },
    BeyondEnd { partition: TopicPartition, next: Offset, end: Offset },
    BeforeStart { partition: TopicPartition, next: Offset, start: Offset },
    OtherRecord { partition: TopicPartition, offset: Offset },
    OtherTables { found: Vec<String>, tables: Vec<String> },
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherLog { found, log } => write!(f, "it was folded from the log {found}; this is {log}"),
            Self::OtherTopic { topic, found, id } => {
                write!(f, "it was folded from the topic {topic} of id {found}; its id is now {id}")
            }
            Self::BeyondEnd { partition, next, end } => {
                write!(f, "it stands at {partition} offset {next}, and the log ends at {end}")
            }
            Self::BeforeStart { partition, next, start } => {
                write!(f, "it stands at {partition} offset {next}, and the log begins at {start}")
            }
            Self::OtherTables { found, tables } => {
                write!(
                    f,
                    "it has the tables {}, and its topology now {}",
                    found.join(", "),
                    tables.join(", ")
                )
            }
            Self::OtherRecord { partition, offset } => {
                write!(
                    f,
                    "it includes another record of {partition} offset {offset} than the log has: the log lost it"
                )
            }
        }
    }
}

impl Provenance {
    fn new(log: LogId, topics: Vec<(TopicName, TopicId)>) -> Self {
        let ids = topics.iter().map(|(name, id)| (name.clone(), id.to_string())).collect();
        Self { log, topics, told: (log.to_string(), ids), oldest: None, tables: Vec::new() }
    }

    /// The same of states of these tables: one of others was made by another topology under the same name.
    pub(crate) fn of_tables(self, tables: &[String]) -> Self {
        Self { tables: tables.to_vec(), ..self }
    }

    /// The same of states that are as of a time, and are built again if that is before `oldest`.
    pub(crate) fn expiring(self, oldest: Timestamp) -> Self {
        Self { oldest: Some(oldest), ..self }
    }

    /// The note of a checkpoint of a state that has everything which was written before `as_of`.
    pub(crate) fn note_as_of(&self, as_of: Timestamp, last: &Landmarks) -> Bytes {
        let (log, topics) = self.told.clone();
        let tables = self.tables.clone();
        Note { log, topics, caught_up: true, last: last.clone(), as_of_ms: Some(as_of), tables }.encode()
    }

    /// Whether a state with this note is too old to go on from.
    fn has_expired(&self, note: &[u8]) -> bool {
        self.oldest.is_some_and(|oldest| as_of(note).is_none_or(|as_of| as_of < oldest))
    }

    /// The note of a checkpoint of a state with this provenance, which includes these records.
    pub(crate) fn note(&self, caught_up: bool, last: &Landmarks) -> Bytes {
        let (log, topics) = self.told.clone();
        Note { log, topics, caught_up, last: last.clone(), as_of_ms: None, tables: self.tables.clone() }
            .encode()
    }

    /// Why a state with this note is of another provenance; `None` if it is of this one.
    fn differs(&self, note: &[u8]) -> Option<Distrust> {
        let note: Note = serde_json::from_slice(note).ok()?;
        if note.log != self.log.to_string() {
            return Some(Distrust::OtherLog { found: note.log, log: self.log });
        }
        // A note that names none was written before tables were told, and is believed.
        if !note.tables.is_empty() && note.tables != self.tables {
            return Some(Distrust::OtherTables { found: note.tables, tables: self.tables.clone() });
        }
        note.topics.into_iter().find_map(|(topic, found)| {
            let (_, id) = self.topics.iter().find(|(name, _)| *name == topic)?;
            (found != id.to_string()).then_some(Distrust::OtherTopic { topic, found, id: *id })
        })
    }
}

impl Note {
    fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("names and numbers are JSON").into()
    }
}

/// The time before which everything that was written is in a state with this note, if that is told.
pub(crate) fn as_of(note: &[u8]) -> Option<Timestamp> {
    serde_json::from_slice::<Note>(note).ok()?.as_of_ms
}

/// Whether a state with this note had once caught up with its source.
pub(crate) fn had_caught_up(note: &[u8]) -> bool {
    note == CAUGHT_UP_V1 || serde_json::from_slice::<Note>(note).is_ok_and(|note| note.caught_up)
}

/// The records by which a state with this checkpoint knows its log again.
pub(crate) fn landmarks(checkpoint: Option<&Checkpoint>) -> Landmarks {
    let note = checkpoint.and_then(|checkpoint| serde_json::from_slice::<Note>(&checkpoint.note).ok());
    note.map(|note| note.last).unwrap_or_default()
}

/// One partition that a state is folded from.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) partition: TopicPartition,
    pub(crate) bounds: Bounds,
    /// Whether records that the log no longer has would be missing from the state. Outcomes are not: they expire.
    pub(crate) is_kept: bool,
    /// Whether the log may drop a record for a later one of the same key.
    pub(crate) is_compacted: bool,
}

/// Why a state that stands at `checkpoint` cannot be gone on with; `None` if it can.
pub(crate) fn distrust(
    checkpoint: &Checkpoint,
    provenance: &Provenance,
    inputs: &[Input],
) -> Option<Distrust> {
    provenance
        .differs(&checkpoint.note)
        .or_else(|| inputs.iter().find_map(|input| out_of_bounds(checkpoint, input)))
}

fn out_of_bounds(checkpoint: &Checkpoint, input: &Input) -> Option<Distrust> {
    let next = checkpoint.position.get(&input.partition)?;
    let (partition, Bounds { start, end }) = (input.partition.clone(), input.bounds);
    if next > end {
        Some(Distrust::BeyondEnd { partition, next, end })
    } else if next < start && input.is_kept {
        Some(Distrust::BeforeStart { partition, next, start })
    } else {
        None
    }
}

impl Shell {
    /// Where a state folded from these topics comes from; waits while the log is not available.
    pub(crate) async fn provenance(
        &self,
        cell: &ShardCell,
        topics: &[&TopicName],
    ) -> Result<Provenance, Stop> {
        let mut lives = Vec::new();
        for topic in topics {
            let described = self.asked(cell, || self.log.describe(topic)).await?;
            let described = described.ok_or_else(|| Stop(format!("topic {topic} is not there any more")))?;
            lives.push(((*topic).clone(), described.id));
        }
        Ok(Provenance::new(self.log.id(), lives))
    }

    /// Why a state that stands at `checkpoint` cannot be gone on with; `None` if it can.
    async fn distrust(
        &self,
        cell: &ShardCell,
        checkpoint: &Checkpoint,
        provenance: &Provenance,
        inputs: &[Input],
    ) -> Result<Option<Distrust>, Stop> {
        if let Some(why) = distrust(checkpoint, provenance, inputs) {
            return Ok(Some(why));
        }
        let landmarks = landmarks(Some(checkpoint));
        for Input { partition, bounds, is_compacted, .. } in inputs {
            let landmark = landmarks.of(partition).filter(|landmark| landmark.offset >= bounds.start);
            let Some(landmark) = landmark else { continue };
            if landmark.offset >= bounds.end
                || self.asked(cell, || landmark.is_lost(&*self.log, partition, *is_compacted)).await?
            {
                let (partition, offset) = (partition.clone(), landmark.offset);
                return Ok(Some(Distrust::OtherRecord { partition, offset }));
            }
        }
        Ok(None)
    }

    /// The checkpoint of a shard's stored state, if it can be trusted. Whatever else is stored of the shard is gone
    /// afterwards: what is damaged is dropped, what is of another log is quarantined.
    pub(crate) async fn trusted(
        &self,
        store: &NamedStore,
        cell: &ShardCell,
        provenance: &Provenance,
        inputs: &[Input],
    ) -> Result<Option<Checkpoint>, Stop> {
        let shard = cell.shard;
        let checkpoint = match store.checkpoint(shard) {
            Err(error) if error.kind() == StoreErrorKind::Corrupt => {
                tracing::error!(store = store.name, %shard, %error, "a damaged state is thrown away and built again");
                None
            }
            other => other.map_err(Stop::new)?,
        };
        let stands = |checkpoint: &Checkpoint| {
            inputs.iter().all(|input| checkpoint.position.get(&input.partition).is_some())
        };
        match checkpoint {
            Some(checkpoint) if stands(&checkpoint) => {
                match self.distrust(cell, &checkpoint, provenance, inputs).await? {
                    None if provenance.has_expired(&checkpoint.note) => {
                        tracing::info!(store = store.name, %shard, "a state is too old to go on from: it is built again");
                    }
                    None => return Ok(Some(checkpoint)),
                    Some(why) => self.quarantine(store, shard, &why).await?,
                }
            }
            _ => {}
        }
        store.clear(shard).map_err(Stop::new)?;
        Ok(None)
    }

    /// A shard's state to go on from: the one that this process has open, or the stored one, where they can be trusted;
    /// an empty one otherwise.
    pub(crate) async fn shard_state(
        &self,
        store: &NamedStore,
        cell: &ShardCell,
        provenance: &Provenance,
        inputs: &[Input],
        stop: &CancellationToken,
    ) -> Result<Arc<ShardState>, Stop> {
        if let Some(open) = cell.state() {
            let is_trusted = match open.checkpoint() {
                Some(checkpoint) if open.is_open() => {
                    self.distrust(cell, &checkpoint, provenance, inputs).await?.is_none()
                        && !provenance.has_expired(&checkpoint.note)
                }
                _ => false,
            };
            if is_trusted {
                return Ok(open);
            }
            // What it has not flushed is not worth keeping, or is read again.
            open.close();
            cell.set_state(None);
        }
        let trusted = self.trusted(store, cell, provenance, inputs).await?;
        if trusted.is_none() && take_copy(store, cell, inputs, stop).await? {
            // What came may stand further than the log did when it was asked: it is asked again.
            let mut inputs = inputs.to_vec();
            for input in &mut inputs {
                input.bounds = self.bounds(cell, &input.partition).await?;
            }
            self.trusted(store, cell, provenance, &inputs).await?;
        }
        self.open_state(store, cell.shard)
    }

    /// Copies a shard's state into the store beside, in place of what was quarantined before it.
    async fn quarantine(&self, store: &NamedStore, shard: Partition, why: &Distrust) -> Result<(), Stop> {
        let aside = store.quarantine_name();
        tracing::error!(store = store.name, %shard, %why, kept_as = aside,
            "the state is not of this log: it is kept aside and built again");
        observe::quarantined(&store.name);
        let from = store.clone();
        let copied = tokio::task::spawn_blocking(move || from.copy_aside(shard)).await;
        let failed = |error: &dyn fmt::Display| {
            tracing::error!(store = store.name, %shard, %error, "the state could not be kept aside; it is dropped");
        };
        match copied {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.kind() == StoreErrorKind::Corrupt => failed(&error),
            Ok(Err(error)) => {
                return Err(Stop(format!("a state that is not of this log cannot be kept aside: {error}")));
            }
            Err(panic) => failed(&panic),
        }
        Ok(())
    }
}

impl NamedStore {
    /// The store that keeps what was quarantined of this one; no topology can be called so.
    pub(crate) fn quarantine_name(&self) -> String {
        format!("{}@quarantined", self.name)
    }

    fn copy_aside(&self, shard: Partition) -> Result<(), StoreError> {
        let tables: Vec<&str> = self.tables.iter().map(String::as_str).collect();
        let aside = self.stores.open(&self.quarantine_name(), &tables)?;
        aside.clear(shard)?;
        copy_shard(&*self.store, &*aside, shard, tables.len(), COPY_CHUNK)
    }
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
