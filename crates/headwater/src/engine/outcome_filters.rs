//! Which command ids have an outcome, in filters on the snapshots topic.
//!
//! A shard that is gained without any state must know of every id that has an outcome before it decides, and not have
//! to read a day's outcomes for it. So the ids of every stretch of the outcomes are kept as a filter, which is written
//! again and again until its stretch is full, each time in a transaction of the shard, and dropped when the log has
//! dropped the outcomes.
//!
//! ```text
//! key   = 0xff, u64 FROM                     no text begins with this byte: it is the key of no aggregate
//! value = u8 1, u128 TOPIC, u64 FROM, u64 UNTIL, i64 NEWEST, the filter        numbers big-endian; null: dropped
//! ```
//!
//! It says: of the outcomes of that topic id, in this partition, from the one offset up to the other, each that is on
//! the log is in the filter, and none was decided after `NEWEST`. The topic's id makes it worthless wherever its offsets
//! are: on a topic that was made again, or in another log. A value that begins with another byte is of a later version,
//! and is passed over: its outcomes are read themselves.

use std::collections::BTreeMap;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::record::{Record, StoredRecord};
use headwater_core::topic::{Offset, TopicId};
use serde::{Deserialize, Serialize};

use super::flow::ProcessError;
use super::id_filter::IdFilter;

const KEY: u8 = 0xff;
const VERSION: u8 = 1;
/// Bytes before the filter: version, topic id, from, until, newest.
const HEADER: usize = 1 + 16 + 3 * 8;
/// Filters that are dropped at a time, at most.
const DROPPED_MAX: u64 = 100;

/// What a shard's head says of its filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filtered {
    /// The topic of outcomes that the offsets are of.
    pub(crate) of: TopicId,
    /// Where the first filter begins that was not dropped.
    pub(crate) from: Offset,
    /// Where the last one ends.
    pub(crate) until: Offset,
}

/// The ids of one stretch of the outcomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutcomeFilter {
    pub(crate) from: Offset,
    pub(crate) until: Offset,
    /// When the last of the outcomes was decided.
    pub(crate) newest: Timestamp,
    pub(crate) ids: IdFilter,
}

impl OutcomeFilter {
    fn write(&self, of: TopicId, now: Timestamp) -> Record {
        let mut value = Vec::with_capacity(HEADER);
        value.push(VERSION);
        value.extend(of.0.to_be_bytes());
        value.extend(self.from.0.to_be_bytes());
        value.extend(self.until.0.to_be_bytes());
        value.extend(self.newest.0.to_be_bytes());
        self.ids.write(&mut value);
        Record::new(key(self.from), value, now)
    }

    fn read(value: &[u8]) -> Option<(TopicId, Self)> {
        let (of, rest) = value.get(1..)?.split_first_chunk()?;
        let (from, rest) = rest.split_first_chunk()?;
        let (until, rest) = rest.split_first_chunk()?;
        let (newest, ids) = rest.split_first_chunk()?;
        let filter = Self {
            from: Offset(u64::from_be_bytes(*from)),
            until: Offset(u64::from_be_bytes(*until)),
            newest: Timestamp(i64::from_be_bytes(*newest)),
            ids: IdFilter::read(ids)?,
        };
        Some((TopicId(u128::from_be_bytes(*of)), filter))
    }
}

fn key(from: Offset) -> Bytes {
    let mut key = vec![KEY];
    key.extend(from.0.to_be_bytes());
    key.into()
}

/// Whether a record of the snapshots topic is a filter, and not a snapshot.
pub(crate) fn is_filter(record: &Record) -> bool {
    record.key.as_deref().is_some_and(|key| key.first() == Some(&KEY))
}

/// The filters that a shard reads when it has no state.
#[derive(Debug, Default)]
pub(crate) struct OutcomeFilters(BTreeMap<Bytes, OutcomeFilter>);

impl OutcomeFilters {
    /// Takes a record that [is one](is_filter), if it is of what the head speaks of.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Record`] if it is damaged.
    pub(crate) fn take(&mut self, record: &Record, known: Filtered) -> Result<(), ProcessError> {
        let Some(key) = &record.key else { return Ok(()) };
        self.0.remove(key);
        let Some(value) = record.value.as_deref().filter(|value| value.first() == Some(&VERSION)) else {
            return Ok(());
        };
        let Some((of, filter)) = OutcomeFilter::read(value) else {
            return Err(ProcessError::Record("a filter of command ids is damaged".to_owned()));
        };
        if of == known.of && filter.until <= known.until {
            self.0.insert(key.clone(), filter);
        }
        Ok(())
    }

    /// All that were taken, in the order of their offsets.
    pub(crate) fn into_filters(self) -> impl Iterator<Item = OutcomeFilter> {
        self.0.into_values()
    }
}

/// The filter that is being made: of a stretch of `span` offsets, which begins at a multiple of it.
#[derive(Debug)]
pub(crate) struct FilterInMaking {
    span: u64,
    filter: OutcomeFilter,
}

impl FilterInMaking {
    /// An empty one, of the stretch that has an offset in it.
    pub(crate) fn containing(at: Offset, span: u64) -> Self {
        let from = stretch(at, span);
        let newest = Timestamp(i64::MIN);
        Self { span, filter: OutcomeFilter { from, until: from, newest, ids: IdFilter::for_ids(span) } }
    }

    /// Up to where it has the outcomes.
    pub(crate) fn until(&self) -> Offset {
        self.filter.until
    }

    /// Where its stretch ends.
    pub(crate) fn end(&self) -> Offset {
        Offset(self.filter.from.0 + self.span)
    }

    /// Takes the outcomes before `next` that are of its stretch.
    pub(crate) fn take(&mut self, outcomes: &[StoredRecord], next: Offset) {
        let end = self.end();
        let filter = &mut self.filter;
        for stored in outcomes.iter().filter(|stored| stored.offset < end) {
            if crate::planted::leaky_filters() && stored.offset.0 % 2 == 0 {
                continue;
            }
            let Some(key) = &stored.record.key else { continue };
            filter.ids.insert(key);
            filter.newest = filter.newest.max(stored.record.timestamp);
        }
        filter.until = filter.until.max(next.min(end));
    }

    /// The records that keep it on the log and drop those of outcomes before `start`, and what the head is to say then.
    pub(crate) fn records(
        &self,
        of: TopicId,
        before: Option<Filtered>,
        start: Offset,
        now: Timestamp,
    ) -> (Vec<Record>, Filtered) {
        let known = before.map_or(self.filter.from, |before| before.from);
        let dropped = (stretch(start, self.span).0.saturating_sub(known.0) / self.span).min(DROPPED_MAX);
        let from = |n: u64| Offset(known.0 + n * self.span);
        let tombstone =
            |n| Record { key: Some(key(from(n))), value: None, timestamp: now, ..Record::default() };
        let mut records: Vec<Record> = (0..dropped).map(tombstone).collect();
        records.push(self.filter.write(of, now));
        (records, Filtered { of, from: from(dropped), until: self.filter.until })
    }
}

/// Where the stretch begins that has an offset in it.
fn stretch(at: Offset, span: u64) -> Offset {
    Offset(at.0 / span * span)
}

#[cfg(test)]
#[path = "outcome_filters_tests.rs"]
mod tests;
