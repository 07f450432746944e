//! The records of a stretch of one partition, one after another, a page at a time.

use std::collections::VecDeque;

use headwater_core::log::{Log, LogError, ReadLimit, Wait};
use headwater_core::record::{Record, StoredRecord};
use headwater_core::topic::{Offset, TopicPartition};
use sha2::{Digest, Sha256};

const PAGE: ReadLimit = ReadLimit { records: 5_000, bytes: 4 << 20 };

pub(super) struct Records<'a> {
    log: &'a dyn Log,
    at: &'a TopicPartition,
    next: Offset,
    end: Offset,
    page: VecDeque<StoredRecord>,
}

impl<'a> Records<'a> {
    /// The records from one offset up to another.
    pub(super) fn between(log: &'a dyn Log, at: &'a TopicPartition, from: Offset, end: Offset) -> Self {
        Self { log, at, next: from, end, page: VecDeque::new() }
    }

    pub(super) async fn next(&mut self) -> Result<Option<StoredRecord>, LogError> {
        while self.page.is_empty() && self.next < self.end {
            let batch = self.log.read(self.at, self.next, PAGE, Wait::No).await?;
            let end = self.end;
            self.page = batch.records.into_iter().filter(|stored| stored.offset < end).collect();
            if batch.next == self.next {
                break;
            }
            self.next = batch.next;
        }
        Ok(self.page.pop_front())
    }
}

/// A digest over records in order: key, value, headers and time of each.
#[derive(Default, Clone)]
pub(super) struct RecordsDigest(Sha256);

impl RecordsDigest {
    pub(super) fn add(&mut self, record: &Record) {
        let mut nullable = |bytes: Option<&[u8]>| {
            let len = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
            self.0.update(len.to_be_bytes());
            self.0.update(bytes.unwrap_or_default());
        };
        nullable(record.key.as_deref());
        nullable(record.value.as_deref());
        nullable(Some(&canonical(record)));
        self.0.update(record.timestamp.0.to_be_bytes());
    }

    /// Thirty-two hexadecimal digits.
    pub(super) fn finish(self) -> String {
        let whole = self.0.finalize();
        crate::digest::hex(std::array::from_fn(|i| whole[i]))
    }
}

/// Headers by their names and values, since a name may be encoded in more than one way.
fn canonical(record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in record.headers.iter() {
        out.extend_from_slice(&(name.len() as u64).to_be_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&value.map_or(u64::MAX, |value| value.len() as u64).to_be_bytes());
        out.extend_from_slice(value.unwrap_or_default());
    }
    out
}

/// Whether two records say the same, whatever the encoding of their headers.
pub(super) fn same(one: &Record, other: &Record) -> bool {
    one.key == other.key
        && one.value == other.value
        && one.timestamp == other.timestamp
        && one.headers.iter().eq(other.headers.iter())
}
