//! Where the records of an old log lie in the new one.
//!
//! The map is a topic of the new log, `<app>.migration`, that keeps every record:
//!
//! ```text
//! "begin"      {"from": LOG, "topics": [{"name", "from_id", "to_id", "partitions": [{"start", "end"}, ...]}, ...]}
//! "TOPIC-P"    {"runs": [[FROM, TO, COUNT], ...]}     in order; each record of the old log is in one run
//! "copied"     {}
//! ```
//!
//! `start` and `end` are the old partition's bounds, which no longer moved. A run is a row of records whose offsets rise
//! by one in both logs.

use std::collections::BTreeMap;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::log::{Log, LogError, LogErrorKind, LogId, ReadLimit, Wait};
use headwater_core::record::{Append, Record};
use headwater_core::topic::{Offset, TopicId, TopicName, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::command::Receipt;

const BEGIN: &str = "begin";
const COPIED: &str = "copied";

/// Records whose offsets rise by one in both logs: the first in the old, the first in the new, how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run(pub(crate) u64, pub(crate) u64, pub(crate) u64);

/// Adds a record to runs, to the last one where it continues it.
pub(crate) fn push(runs: &mut Vec<Run>, from: Offset, to: Offset) {
    match runs.last_mut() {
        Some(Run(first, target, count)) if *first + *count == from.0 && *target + *count == to.0 => {
            *count += 1
        }
        _ => runs.push(Run(from.0, to.0, 1)),
    }
}

/// What a migration is about, fixed when it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begin {
    pub(crate) from: LogId,
    pub(crate) topics: Vec<MigratedTopic>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MigratedTopic {
    pub(crate) name: TopicName,
    pub(crate) from_id: TopicId,
    pub(crate) to_id: TopicId,
    pub(crate) partitions: Vec<Range>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Range {
    pub(crate) start: Offset,
    pub(crate) end: Offset,
}

#[derive(Serialize, Deserialize)]
struct Runs {
    runs: Vec<Run>,
}

/// Old offsets, topic ids and the old log's id, and what they are in the new log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OffsetMap {
    pub(crate) begin: Option<Begin>,
    pub(crate) copied: bool,
    runs: BTreeMap<TopicPartition, Vec<Run>>,
}

impl OffsetMap {
    /// Reads the map; an empty one where there is none.
    pub(crate) async fn load(log: &dyn Log, topic: &TopicName) -> Result<Self, LogError> {
        let mut map = Self::default();
        if log.describe(topic).await?.is_none() {
            return Ok(map);
        }
        let at = topic.partition(0);
        let bounds = log.bounds(&at).await?;
        let mut next = bounds.start;
        while next < bounds.end {
            let batch = log.read(&at, next, ReadLimit::default(), Wait::No).await?;
            for stored in &batch.records {
                map.take(&stored.record).ok_or_else(|| {
                    let message = format!("{at} offset {} is no record of a migration", stored.offset);
                    LogError::new(LogErrorKind::Corrupt, message)
                })?;
            }
            next = batch.next;
        }
        Ok(map)
    }

    fn take(&mut self, record: &Record) -> Option<()> {
        let (key, value) = (std::str::from_utf8(record.key.as_ref()?).ok()?, record.value.as_ref()?);
        match key {
            BEGIN => self.begin = Some(serde_json::from_slice(value).ok()?),
            COPIED => self.copied = true,
            place => {
                let (topic, partition) = place.rsplit_once('-')?;
                let at = TopicName::new(topic).ok()?.partition(partition.parse().ok()?);
                let Runs { runs } = serde_json::from_slice(value).ok()?;
                self.add(&at, &runs);
            }
        }
        Some(())
    }

    /// Adds runs that follow those that are there.
    pub(crate) fn add(&mut self, at: &TopicPartition, more: &[Run]) {
        let runs = self.runs.entry(at.clone()).or_default();
        for Run(from, to, count) in more {
            match runs.last_mut() {
                Some(Run(first, target, have)) if *first + *have == *from && *target + *have == *to => {
                    *have += count
                }
                _ => runs.push(Run(*from, *to, *count)),
            }
        }
    }

    /// The runs of one partition.
    pub(crate) fn runs(&self, at: &TopicPartition) -> &[Run] {
        self.runs.get(at).map_or(&[], Vec::as_slice)
    }

    /// The old topic; `None` if it was not migrated.
    pub(crate) fn topic(&self, name: &TopicName) -> Option<&MigratedTopic> {
        self.begin.as_ref()?.topics.iter().find(|topic| topic.name == *name)
    }

    /// The position in the new log of who had processed all records below `next` in the old one, and no others.
    ///
    /// `None` if the old partition never reached to `next`, or was not migrated.
    pub(crate) fn position(&self, at: &TopicPartition, next: Offset) -> Option<Offset> {
        let range = self.topic(&at.topic)?.partitions.get(at.partition.0 as usize)?;
        if next > range.end {
            return None;
        }
        let runs = self.runs(at);
        let below = runs.partition_point(|Run(from, ..)| *from < next.0);
        let Some(Run(from, to, count)) = below.checked_sub(1).map(|last| runs[last]) else {
            return Some(runs.first().map_or(Offset::ZERO, |Run(_, to, _)| Offset(*to)));
        };
        Some(Offset(to + (next.0 - from).min(count)))
    }

    /// A receipt of the old log as one of the new; `None` if it is of neither.
    pub(crate) fn resolve(&self, receipt: &Receipt, log: LogId) -> Option<Receipt> {
        let topic = self.topic(&receipt.topic)?;
        let is_old = self.begin.as_ref()?.from == receipt.log && topic.from_id == receipt.topic_id;
        let at = TopicPartition { topic: receipt.topic.clone(), partition: receipt.partition };
        let next = self.position(&at, receipt.next).filter(|_| is_old)?;
        Some(Receipt { log, topic_id: topic.to_id, next, ..receipt.clone() })
    }
}

/// The record that begins a migration.
pub(crate) fn begin_record(map: &TopicPartition, begin: &Begin, now: Timestamp) -> Append {
    append(map, BEGIN, serde_json::to_vec(begin), now)
}

/// The record that ends the copying.
pub(crate) fn copied_record(map: &TopicPartition, now: Timestamp) -> Append {
    append(map, COPIED, Ok(b"{}".to_vec()), now)
}

/// The record of some runs.
pub(crate) fn runs_record(
    map: &TopicPartition,
    at: &TopicPartition,
    runs: Vec<Run>,
    now: Timestamp,
) -> Append {
    append(map, &at.to_string(), serde_json::to_vec(&Runs { runs }), now)
}

fn append(map: &TopicPartition, key: &str, value: serde_json::Result<Vec<u8>>, now: Timestamp) -> Append {
    let value = Bytes::from(value.expect("names and numbers are JSON"));
    Append { to: map.clone(), record: Record::new(key.to_owned(), value, now) }
}
