//! One partition: records in order, the bounds around them, and who waits at its end.
//!
//! Invariants: offsets of `records` rise strictly and lie within `start..end`; `end` never falls while the partition
//! lives; an offset in between that has no record is a gap (a marker, an aborted or a superseded record).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use headwater_core::clock::Timestamp;
use headwater_core::log::{Bounds, Cleanup, LogError, LogErrorKind, ReadBatch, ReadLimit};
use headwater_core::record::{Record, StoredRecord};
use headwater_core::topic::Offset;
use tokio::sync::Notify;

/// Below this many records a compacted partition is left alone.
const COMPACT_AT_MIN: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct PartitionLog {
    records: VecDeque<StoredRecord>,
    start: Offset,
    end: Offset,
    damaged: BTreeSet<Offset>,
    compact_at: usize,
    tail: Arc<Notify>,
}

impl PartitionLog {
    pub(super) fn new() -> Self {
        Self {
            records: VecDeque::new(),
            start: Offset::ZERO,
            end: Offset::ZERO,
            damaged: BTreeSet::new(),
            compact_at: COMPACT_AT_MIN,
            tail: Arc::default(),
        }
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds { start: self.start, end: self.end }
    }

    /// Told whenever the end moves or the partition goes away.
    pub(super) fn tail(&self) -> &Arc<Notify> {
        &self.tail
    }

    pub(super) fn append(&mut self, record: Record) -> Offset {
        let offset = self.end;
        self.records.push_back(StoredRecord { offset, record });
        self.skip(1);
        offset
    }

    /// Uses up offsets without a record.
    pub(super) fn skip(&mut self, offsets: u64) {
        self.end = Offset(self.end.0 + offsets);
        self.tail.notify_waiters();
    }

    /// From here on a read of this record answers that it is damaged.
    pub(super) fn damage(&mut self, offset: Offset) {
        self.damaged.insert(offset);
    }

    /// Loses what there is from an offset on.
    pub(super) fn cut(&mut self, from: Offset) {
        self.records.retain(|stored| stored.offset < from);
        self.end = self.end.min(from).max(self.start);
    }

    pub(super) fn read(&self, from: Offset, limit: ReadLimit) -> Result<ReadBatch, LogError> {
        if from < self.start || from > self.end {
            let message = format!("offset {from} lies outside {}..{}", self.start, self.end);
            return Err(LogError::new(LogErrorKind::OutOfRange(self.bounds()), message));
        }
        let first = self.index_of(from);
        let records = self.take(first, limit);
        if let (true, Some(damaged)) = (records.is_empty(), self.records.get(first)) {
            let message = format!("the record at offset {} is damaged", damaged.offset);
            return Err(LogError::new(LogErrorKind::Corrupt, message));
        }
        let stopped_at = records.last().filter(|_| first + records.len() < self.records.len());
        let next = stopped_at.map_or(self.end, |last| last.offset.next());
        Ok(ReadBatch { records, next, end: self.end })
    }

    /// Intact records from an index on, at least one where there is one.
    fn take(&self, first: usize, limit: ReadLimit) -> Vec<StoredRecord> {
        let mut bytes = 0usize;
        self.records
            .range(first..)
            .enumerate()
            .take_while(|(n, stored)| {
                bytes = bytes.saturating_add(stored.record.size());
                let fits = *n < limit.records && bytes <= limit.bytes;
                (*n == 0 || fits) && !self.damaged.contains(&stored.offset)
            })
            .map(|(_, stored)| stored.clone())
            .collect()
    }

    pub(super) fn offset_at(&self, time: Timestamp) -> Offset {
        let at_or_after = self.records.iter().find(|stored| stored.record.timestamp >= time);
        at_or_after.map_or(self.end, |stored| stored.offset)
    }

    /// Drops what the rule allows to drop now; compacts only where it pays.
    pub(super) fn tidy(&mut self, cleanup: Cleanup, now: Timestamp) {
        match cleanup {
            Cleanup::Compact { .. } if self.records.len() < self.compact_at => {}
            _ => self.clean(cleanup, now),
        }
    }

    /// Drops everything that the rule allows to drop.
    pub(super) fn clean(&mut self, cleanup: Cleanup, now: Timestamp) {
        match cleanup {
            Cleanup::Keep => {}
            Cleanup::Expire { after_ms } => self.expire(before(now, after_ms)),
            Cleanup::Compact { tombstones_ms } => self.compact(before(now, tombstones_ms)),
        }
    }

    fn expire(&mut self, older_than: Timestamp) {
        while self.records.front().is_some_and(|first| first.record.timestamp < older_than) {
            self.records.pop_front();
            self.start = self.records.front().map_or(self.end, |first| first.offset);
        }
    }

    fn compact(&mut self, tombstones_older_than: Timestamp) {
        let last: HashMap<_, _> =
            self.records.iter().map(|stored| (stored.record.key.clone(), stored.offset)).collect();
        self.records.retain(|stored| {
            let StoredRecord { offset, record } = stored;
            let forgotten = record.value.is_none() && record.timestamp < tombstones_older_than;
            last.get(&record.key) == Some(offset) && !forgotten
        });
        self.compact_at = COMPACT_AT_MIN.max(2 * self.records.len());
    }

    fn index_of(&self, offset: Offset) -> usize {
        self.records.partition_point(|stored| stored.offset < offset)
    }
}

fn before(now: Timestamp, ms: u64) -> Timestamp {
    Timestamp(now.0.saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX)))
}
