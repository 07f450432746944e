//! Records made ready by whoever appends them, so that the committer only has to put them.
//!
//! All records of a transaction lie in one buffer, each behind room for its cell's header; the checksum of each
//! content is already taken. What is left for the committer is the offset, the time, and thirteen bytes.

use std::sync::Arc;

use headwater_core::log::LogError;
use headwater_core::record::{Append, Record};
use headwater_core::topic::TopicPartition;

use super::catalogue::{Catalogue, Topic};
use super::error::invalid;
use super::format::{CELL_HEADER, LONG_HEADER, PART_BYTES, put_record, record_bytes};

/// Records of one transaction, encoded.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) places: Vec<Place>,
    pub(super) records: Vec<EncodedRecord>,
}

/// A partition that a transaction appends to.
pub(super) struct Place {
    at: TopicPartition,
    pub(super) topic: Arc<Topic>,
    pub(super) partition: u32,
}

/// Where a record's content lies in the buffer.
pub(super) struct EncodedRecord {
    /// The index of its place.
    pub(super) place: usize,
    /// Where its content begins; before it is room for the header.
    pub(super) at: usize,
    pub(super) len: usize,
    pub(super) crc: u32,
    pub(super) time: i64,
}

/// How large records and transactions may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) record_bytes: usize,
    pub(super) transaction_bytes: usize,
}

impl EncodedRecord {
    /// How long the header before the content is.
    pub(super) fn header(&self) -> usize {
        header_of(self.len)
    }
}

fn header_of(content: usize) -> usize {
    if CELL_HEADER + content <= PART_BYTES { CELL_HEADER } else { LONG_HEADER }
}

impl Encoded {
    /// Encodes `appends`.
    ///
    /// # Errors
    ///
    /// An unknown topic or partition, or more bytes than the limits allow.
    pub(super) fn new(catalogue: &Catalogue, limits: Limits, appends: &[Append]) -> Result<Self, LogError> {
        let size: usize = appends.iter().map(|append| record_bytes(&append.record) + LONG_HEADER).sum();
        if size > limits.transaction_bytes {
            return Err(too_large("a transaction", size, limits.transaction_bytes));
        }
        let mut encoded = Self {
            bytes: Vec::with_capacity(size),
            places: Vec::new(),
            records: Vec::with_capacity(appends.len()),
        };
        for append in appends {
            let place = encoded.place(catalogue, &append.to)?;
            encoded.push(place, &append.record, limits)?;
        }
        Ok(encoded)
    }

    fn place(&mut self, catalogue: &Catalogue, at: &TopicPartition) -> Result<usize, LogError> {
        if let Some(place) = self.places.iter().rposition(|place| place.at == *at) {
            return Ok(place);
        }
        let topic = catalogue.partition(at)?;
        self.places.push(Place { at: at.clone(), topic, partition: at.partition.0 });
        Ok(self.places.len() - 1)
    }

    fn push(&mut self, place: usize, record: &Record, limits: Limits) -> Result<(), LogError> {
        if record.size() > limits.record_bytes {
            return Err(too_large("a record", record.size(), limits.record_bytes));
        }
        let hole = self.bytes.len();
        // The header depends on the length of what is encoded; the longer one is rare, and then the content moves.
        self.bytes.resize(hole + CELL_HEADER, 0);
        put_record(&mut self.bytes, record);
        let len = self.bytes.len() - hole - CELL_HEADER;
        let extra = header_of(len) - CELL_HEADER;
        self.bytes.splice(hole..hole, std::iter::repeat_n(0, extra));
        let at = hole + header_of(len);
        let crc = crc32c::crc32c(&self.bytes[at..]);
        self.records.push(EncodedRecord { place, at, len, crc, time: record.timestamp.0 });
        Ok(())
    }
}

fn too_large(what: &str, size: usize, limit: usize) -> LogError {
    invalid(format!("{what} of {size} bytes is larger than the log's limit of {limit}"))
}
