//! The records by which a state knows its log again.
//!
//! A log that lost what it had acknowledged, and went on, has other records at the same offsets: the loss of a replica
//! that others had not caught up with, a disk that lost what was not flushed, a backup that was put back. By its offsets
//! alone it looks as before. So a state remembers of each partition the last record that it includes, as a digest, and
//! before anybody goes on from it that record is read once more.

use headwater_core::BoxFuture;
use headwater_core::log::{Log, LogError, LogErrorKind, ReadLimit, Wait};
use headwater_core::record::Record;
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::digest::{digest, hex};

/// One record, however large.
const ONE: ReadLimit = ReadLimit { records: 1, bytes: 1 };

/// The landmarks of one shard: one in each partition that its state is folded from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Landmarks(Vec<Landmark>);

/// The last record of a partition that a state includes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(TopicName, Offset, Mark)", into = "(TopicName, Offset, Mark)")]
pub(crate) struct Landmark {
    topic: TopicName,
    pub(crate) offset: Offset,
    pub(crate) mark: Mark,
}

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
        match self.0.iter_mut().find(|landmark| landmark.topic == *topic) {
            Some(landmark) => (landmark.offset, landmark.mark) = (offset, mark),
            None => self.0.push(Landmark { topic: topic.clone(), offset, mark }),
        }
    }

    /// The one in a partition of the shard.
    pub(crate) fn of(&self, at: &TopicPartition) -> Option<&Landmark> {
        self.0.iter().find(|landmark| landmark.topic == at.topic)
    }
}

impl Landmark {
    /// Whether the log has something else in its place, or nothing: but for what it may have dropped by its age or, of a
    /// compacted topic, for a later record, and what it cannot read, which says nothing about the state.
    ///
    /// # Errors
    ///
    /// [`LogErrorKind::Unavailable`] if the log cannot say now.
    pub(crate) fn is_lost<'a>(
        &'a self,
        log: &'a dyn Log,
        at: &'a TopicPartition,
        is_compacted: bool,
    ) -> BoxFuture<'a, Result<bool, LogError>> {
        Box::pin(async move {
            match log.read(at, self.offset, ONE, Wait::No).await {
                Ok(batch) if batch.next > self.offset => {
                    let there = batch.records.first().filter(|stored| stored.offset == self.offset);
                    Ok(there.map_or(!is_compacted, |stored| Mark::of(&stored.record) != self.mark))
                }
                Ok(_) => {
                    let message = format!("{at} is not decided at offset {} yet", self.offset);
                    Err(LogError::new(LogErrorKind::Unavailable, message))
                }
                Err(error) if error.kind() == LogErrorKind::Unavailable => Err(error),
                Err(error) => {
                    let ends_before =
                        |kind| matches!(kind, LogErrorKind::OutOfRange(now) if self.offset >= now.end);
                    Ok(ends_before(error.kind()))
                }
            }
        })
    }
}

impl From<(TopicName, Offset, Mark)> for Landmark {
    fn from((topic, offset, mark): (TopicName, Offset, Mark)) -> Self {
        Self { topic, offset, mark }
    }
}

impl From<Landmark> for (TopicName, Offset, Mark) {
    fn from(landmark: Landmark) -> Self {
        (landmark.topic, landmark.offset, landmark.mark)
    }
}
