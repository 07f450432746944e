//! The records by which a state knows its log again.
//!
//! A log that lost what it had acknowledged, and went on, has other records at the same offsets: the loss of a replica
//! that others had not caught up with, a disk that lost what was not flushed, a backup that was put back. By its offsets
//! alone it looks as before. So a state remembers of each partition the last record that it includes, as a digest, and
//! before anybody goes on from it that record is read once more.

use headwater_core::log::{Bounds, Log, LogErrorKind, ReadLimit, Wait};
use headwater_core::record::Record;
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use serde::{Deserialize, Serialize};
use tokio::time::{Duration, sleep};

use crate::digest::{digest, hex};

/// One record, however large.
const ONE: ReadLimit = ReadLimit { records: 1, bytes: 1 };
/// How often a log that does not answer is asked, and the pause between: it may go on without an answer.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Of each topic the last record of the shard's partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Landmarks(Vec<(TopicName, Offset, Mark)>);

/// A record's content, in 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Mark(String);

impl Mark {
    pub(crate) fn of(record: &Record) -> Self {
        let time = record.timestamp.0.to_be_bytes();
        let content = [record.key.as_deref(), record.value.as_deref(), Some(&time[..])];
        let headers = record.headers.iter().flat_map(|(name, value)| [Some(name.as_bytes()), value]);
        let mut text = hex(digest(content.into_iter().chain(headers).map(Option::unwrap_or_default)));
        text.truncate(16);
        Self(text)
    }
}

impl Landmarks {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The state includes this record now, and none behind it.
    pub(crate) fn set(&mut self, topic: &TopicName, offset: Offset, mark: Mark) {
        self.0.retain(|(name, ..)| name != topic);
        self.0.push((topic.clone(), offset, mark));
    }

    /// The offset at which the log has another record of a partition than the state; `None` if it has the same, or
    /// dropped it by its age, or cannot say.
    pub(crate) async fn lost(&self, log: &dyn Log, at: &TopicPartition, bounds: Bounds) -> Option<Offset> {
        let (_, offset, mark) = self.0.iter().find(|(topic, ..)| *topic == at.topic)?;
        if *offset < bounds.start {
            return None;
        }
        for _ in 0..ATTEMPTS {
            match log.read(at, *offset, ONE, Wait::No).await {
                Ok(batch) if batch.next > *offset => {
                    let there = batch.records.first().filter(|stored| stored.offset == *offset);
                    let same = there.is_some_and(|stored| Mark::of(&stored.record) == *mark);
                    return (!same).then_some(*offset);
                }
                Ok(_) => {}
                Err(error) if error.kind() == LogErrorKind::Unavailable => {}
                // Above the end, it was lost without others in its place; below the start, it was dropped since.
                Err(error) if matches!(error.kind(), LogErrorKind::OutOfRange(now) if *offset >= now.end) => {
                    return Some(*offset);
                }
                Err(_) => return None,
            }
            sleep(PAUSE).await;
        }
        None
    }
}
