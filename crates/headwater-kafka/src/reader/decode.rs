//! Decoding: from record batches to records, without those of aborted transactions and without markers.
//!
//! What is handed out must not keep large buffers alive: a fetch's answer has megabytes, and a single key kept in some
//! map would hold all of it. So records are copied out in runs of [`RUN_BYTES`] at most (a larger record has a buffer of
//! its own), and their keys and values are slices of their run: one copy at the speed of memory, an allocation per some
//! hundred records, and whatever is kept for long holds one run at worst. Headers are encoded anew into the contract's
//! form, a buffer per record.
//!
//! Times are as the topic says: the producer's per record, or, where the log sets them, the batch's own for all of its
//! records, which their differences do not tell (`DefaultRecordBatch.maxTimestamp` of the JVM client).

use std::sync::Arc;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::header::{Headers, HeadersBuilder, WELL_KNOWN, WellKnown, take_varint};
use headwater_core::record::{Record, StoredRecord};
use krafka::__private::protocol::{self, Compression, RecordBatch, RecordBatchHeader, TimestampType};

use super::chunk::Chunk;
use super::wire::to_offset;
#[cfg(test)]
use crate::simulated::{Bug, planted};

/// What records that are kept hold at most beside themselves.
const RUN_BYTES: usize = 64 << 10;

/// The first byte that a batch's checksum covers: its attributes.
const CHECKED_FROM: usize = 21;

/// Where a reader stands in a chunk.
#[derive(Debug)]
pub(super) struct Decoder {
    chunk: Arc<Chunk>,
    /// Where the next batch begins.
    at: usize,
    /// How many of the chunk's aborted transactions have begun.
    begun: usize,
    /// Producers in the middle of an aborted transaction.
    aborted: Vec<i64>,
}

/// A batch is damaged.
#[derive(Debug)]
pub(super) struct Damage {
    /// The first offset of the batch.
    pub(super) offset: i64,
    pub(super) cause: Box<dyn std::error::Error + Send + Sync>,
}

impl Decoder {
    pub(super) fn new(chunk: Arc<Chunk>) -> Self {
        Self { chunk, at: 0, begun: 0, aborted: Vec::new() }
    }

    /// Appends the next batch's records from offset `from` on; answers the offset after the batch, or `None` at the
    /// chunk's end.
    pub(super) fn next(&mut self, from: i64, out: &mut Vec<StoredRecord>) -> Result<Option<i64>, Damage> {
        if self.at >= self.chunk.bytes.len() {
            return Ok(None);
        }
        let bytes = self.chunk.bytes.slice(self.at..);
        let header =
            RecordBatchHeader::peek(&bytes).map_err(|cause| Damage { offset: from, cause: cause.into() })?;
        let batch = bytes.slice(..header.total_size());
        let damage = |cause| Damage { offset: header.base_offset, cause };
        if self.is_wanted(&header, &batch).map_err(damage)? {
            decode(&header, batch, from, out).map_err(damage)?;
        }
        self.at += header.total_size();
        Ok(Some(header.last_offset().saturating_add(1)))
    }

    /// The offset after the chunk.
    pub(super) fn end(&self) -> i64 {
        self.chunk.next
    }

    /// Whether the batch has records to hand out: it is no marker, and its transaction was not aborted.
    fn is_wanted(&mut self, header: &RecordBatchHeader, batch: &Bytes) -> Result<bool, Cause> {
        while let Some((producer, first)) = self.chunk.aborted.get(self.begun)
            && *first <= header.last_offset()
        {
            self.aborted.push(*producer);
            self.begun += 1;
        }
        if header.attributes.is_control_batch {
            if self.aborted.contains(&header.producer_id) && is_abort(batch)? {
                self.aborted.retain(|producer| *producer != header.producer_id);
            }
            return Ok(false);
        }
        #[cfg(test)]
        if planted(Bug::AbortedIsRead) {
            return Ok(true);
        }
        Ok(!header.attributes.is_transactional || !self.aborted.contains(&header.producer_id))
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Whether a marker ends an aborted transaction: its record's key is a version and a type, of which 0 is the abort
/// (`ControlRecordType` of the JVM client).
fn is_abort(batch: &Bytes) -> Result<bool, Cause> {
    let batch = RecordBatch::decode(&mut batch.clone())?;
    let key = batch.records.first().and_then(|record| record.key.as_ref());
    Ok(key.is_some_and(|key| key.len() >= 4 && key[2..4] == [0, 0]))
}

fn decode(
    header: &RecordBatchHeader,
    mut batch: Bytes,
    from: i64,
    out: &mut Vec<StoredRecord>,
) -> Result<(), Cause> {
    let run = Run::new(header, from, out);
    if header.attributes.compression != Compression::None {
        return run.of_records(RecordBatch::decode(&mut batch)?.records);
    }
    if crc32c::crc32c(&batch[CHECKED_FROM..]) != header.crc {
        return Err("its checksum does not match".into());
    }
    run.of_bytes(header.records_count, &batch[RecordBatchHeader::SIZE..])
}

/// Records of one batch on their way out: copied together, then sliced.
struct Run<'a> {
    header: &'a RecordBatchHeader,
    from: i64,
    bytes: Vec<u8>,
    /// Records whose keys and values lie in `bytes` and are not set yet.
    waiting: Vec<(StoredRecord, Span, Span)>,
    out: &'a mut Vec<StoredRecord>,
    headers: HeaderNames,
}

/// A place in the run's bytes, or null.
type Span = Option<(usize, usize)>;

impl<'a> Run<'a> {
    fn new(header: &'a RecordBatchHeader, from: i64, out: &'a mut Vec<StoredRecord>) -> Self {
        Self { header, from, bytes: Vec::new(), waiting: Vec::new(), out, headers: HeaderNames::default() }
    }

    fn of_records(mut self, records: Vec<protocol::Record>) -> Result<(), Cause> {
        let mut left: usize = records.iter().map(record_bytes).sum();
        for record in records {
            let size = record_bytes(&record);
            if let Some(at) = self.wanted(record.offset_delta) {
                let headers = record.headers.iter().map(|header| (&header.key[..], header.value.as_deref()));
                let headers = self.headers.encode(headers);
                let (key, value) = (record.key.as_deref(), record.value.as_deref());
                self.push(at, record.timestamp_delta, key, value, headers, left);
            }
            left -= size;
        }
        self.finish();
        Ok(())
    }

    fn of_bytes(mut self, count: i32, mut bytes: &[u8]) -> Result<(), Cause> {
        for _ in 0..count {
            let left = bytes.len();
            let record = wire_record(&mut bytes).ok_or("a record of it is malformed")?;
            let Some(at) = self.wanted(record.offset_delta) else { continue };
            let headers =
                self.headers.decode(record.headers).ok_or("the headers of a record are malformed")?;
            self.push(at, record.timestamp_delta, record.key, record.value, headers, left);
        }
        self.finish();
        Ok(())
    }

    /// The record's offset, if it is one that was asked for.
    fn wanted(&self, offset_delta: i32) -> Option<i64> {
        let offset = self.header.base_offset.saturating_add(i64::from(offset_delta));
        (offset >= self.from).then_some(offset)
    }

    /// Takes a record; `left` is how many bytes are still to come, with this one.
    fn push(
        &mut self,
        offset: i64,
        timestamp_delta: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: Headers,
        left: usize,
    ) {
        let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        if self.bytes.len() + size > self.bytes.capacity() {
            self.finish();
            self.bytes.reserve_exact(left.min(RUN_BYTES).max(size));
        }
        let timestamp = match self.header.attributes.timestamp_type {
            TimestampType::LogAppendTime => self.header.max_timestamp,
            _ => self.header.base_timestamp.saturating_add(timestamp_delta),
        };
        let record = Record { key: None, value: None, headers, timestamp: Timestamp(timestamp) };
        let (key, value) = (self.copy(key), self.copy(value));
        self.waiting.push((StoredRecord { offset: to_offset(offset), record }, key, value));
    }

    fn copy(&mut self, part: Option<&[u8]>) -> Span {
        let part = part?;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(part);
        Some((start, start + part.len()))
    }

    /// Hands out the records that wait, as slices of the run.
    fn finish(&mut self) {
        let run = Bytes::from(std::mem::take(&mut self.bytes));
        let slice = |span: Span| span.map(|(start, end)| run.slice(start..end));
        self.out.extend(self.waiting.drain(..).map(|(mut stored, key, value)| {
            stored.record.key = slice(key);
            stored.record.value = slice(value);
            stored
        }));
    }
}

fn record_bytes(record: &protocol::Record) -> usize {
    record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len)
}

/// One record as it lies in a batch (record batch format, version 2):
///
/// ```text
/// record = len attributes:1 timestamp_delta offset_delta bytes(key) bytes(value) count header*
/// header = bytes(name) bytes(value)
/// bytes  = len raw             len -1 stands for null; every number but the attributes is a zigzag varint
/// ```
struct WireRecord<'a> {
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    /// The count and the headers.
    headers: &'a [u8],
}

/// Splits a record off the front; `None` if it is malformed.
fn wire_record<'a>(bytes: &mut &'a [u8]) -> Option<WireRecord<'a>> {
    let mut record = take_bytes(bytes)??.split_first()?.1;
    Some(WireRecord {
        timestamp_delta: take_zigzag(&mut record)?,
        offset_delta: i32::try_from(take_zigzag(&mut record)?).ok()?,
        key: take_bytes(&mut record)?,
        value: take_bytes(&mut record)?,
        headers: record,
    })
}

/// Splits off bytes that may be null; `None` if they are cut short.
fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let len = take_zigzag(bytes)?;
    if len < 0 {
        return Some(None);
    }
    let (taken, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
    *bytes = rest;
    Some(Some(taken))
}

fn take_zigzag(bytes: &mut &[u8]) -> Option<i64> {
    let (raw, rest) = take_varint(bytes)?;
    *bytes = rest;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

/// Encodes headers, remembering the names of the record before: those of the next are nearly always the same.
#[derive(Default)]
struct HeaderNames(Vec<(Vec<u8>, Option<WellKnown>)>);

impl HeaderNames {
    /// From the form they have in a batch; `None` if they are malformed.
    fn decode(&mut self, mut bytes: &[u8]) -> Option<Headers> {
        let count = take_zigzag(&mut bytes)?;
        if count == 0 {
            return Some(Headers::empty());
        }
        let mut headers = HeadersBuilder::with_capacity(bytes.len());
        for index in 0..usize::try_from(count).ok()? {
            let name = take_bytes(&mut bytes)??;
            self.add(&mut headers, index, name, take_bytes(&mut bytes)?);
        }
        Some(headers.build())
    }

    fn encode<'b>(
        &mut self,
        headers: impl ExactSizeIterator<Item = (&'b [u8], Option<&'b [u8]>)>,
    ) -> Headers {
        if headers.len() == 0 {
            return Headers::empty();
        }
        let mut encoded = HeadersBuilder::default();
        for (index, (name, value)) in headers.enumerate() {
            self.add(&mut encoded, index, name, value);
        }
        encoded.build()
    }

    fn add(&mut self, headers: &mut HeadersBuilder, index: usize, name: &[u8], value: Option<&[u8]>) {
        match (self.known(index, name), value) {
            (Some(known), Some(value)) => headers.put(known, value),
            // A name that is not UTF-8 is read as the JVM client reads it.
            _ => headers.add(&String::from_utf8_lossy(name), value),
        }
    }

    fn known(&mut self, index: usize, name: &[u8]) -> Option<WellKnown> {
        if let Some((last, known)) = self.0.get(index)
            && last == name
        {
            return *known;
        }
        let known =
            WELL_KNOWN.iter().find(|known| known.as_bytes() == name).map(|known| WellKnown::of(known));
        self.0.truncate(index);
        self.0.push((name.to_owned(), known));
        known
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
