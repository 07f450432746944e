//! Keys and values of the embedded log, byte by byte.
//!
//! Everything lies in one sorted table of the engine. The first byte of a key says what it is:
//!
//! ```text
//! commit     = 01
//! topic      = 02 topic:u32
//! partition  = 03 topic:u32 partition:u32
//! head       = 04 shard:u32 group 00
//! birth      = 10 topic:u32 partition:u32                 keeps partitions on pages of their own
//! record     = 10 topic:u32 partition:u32 offset:u64
//! part       = (head | record) index:u32                  a further part of a long value, from 1
//! ```
//!
//! and every value, but for births and parts, is one cell:
//!
//! ```text
//! cell       = kind:u8 check:u32 time:i64 content          kind 1
//!            | kind:u8 check:u32 time:i64 len:u32 start    kind 2: content of len bytes goes on in parts
//! check      = crc32c(content kind key time)               so a cell at another key does not verify
//!
//! content of a record    = nullable(key) nullable(value) headers
//! content of a stub      = last:u64                        kind 3: key's offset to last are superseded
//! content of commit      = txn:u64 entries:u64 digest:u64 next_topic:u32 log:u128
//! content of topic       = live:u8 id:u128 partitions:u32 cleanup:u8 ms:u64 times:u8 name
//! content of partition   = start:u64 end:u64
//! content of head        = varint(n) n * (varint(len) topic varint(partition) varint(offset)) note
//! nullable(x)            = varint(0) | varint(len + 1) x
//! ```
//!
//! Numbers are big-endian, so that keys sort by them; varints are those of record headers.
//!
//! Invariants: no value is longer than [`PART_BYTES`], so the engine never needs a run of pages for one; `check` is
//! computed over the content first, so that whoever encodes a record need not know its offset yet.

use bytes::{BufMut, Bytes};
use headwater_core::clock::Timestamp;
use headwater_core::header::{Headers, put_varint, take_varint};
use headwater_core::log::{Cleanup, Head, LogId, RecordTimes, TopicSettings};
use headwater_core::position::Position;
use headwater_core::record::Record;
use headwater_core::topic::{Offset, TopicId, TopicName};

/// The longest value given to the engine: two of them, with keys and node headers, fill a page of 4 KiB.
pub(super) const PART_BYTES: usize = 2_000;

/// The longest group name: its key must fit.
pub(super) const GROUP_BYTES_MAX: usize = 500;

/// Bytes before the content of a cell that fits, and of one that goes on in parts.
pub(super) const CELL_HEADER: usize = 1 + 4 + 8;
/// As [`CELL_HEADER`], where the content goes on in parts.
pub(super) const LONG_HEADER: usize = CELL_HEADER + 4;

pub(super) const COMMIT_KEY: &[u8] = &[1];
pub(super) const TOPIC: u8 = 2;
pub(super) const PARTITION: u8 = 3;
pub(super) const HEAD: u8 = 4;
pub(super) const RECORD: u8 = 0x10;

pub(super) const WHOLE: u8 = 1;
pub(super) const LONG: u8 = 2;
pub(super) const STUB: u8 = 3;

/// Bytes that are not what their key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// A topic's number: shorter than its id, never used again.
pub(super) type TopicNumber = u32;

pub(super) fn topic_key(topic: TopicNumber) -> [u8; 5] {
    let mut key = [TOPIC; 5];
    key[1..].copy_from_slice(&topic.to_be_bytes());
    key
}

pub(super) fn partition_key(topic: TopicNumber, partition: u32) -> [u8; 9] {
    place_key(PARTITION, topic, partition)
}

pub(super) fn birth_key(topic: TopicNumber, partition: u32) -> [u8; 9] {
    place_key(RECORD, topic, partition)
}

fn place_key(table: u8, topic: TopicNumber, partition: u32) -> [u8; 9] {
    let mut key = [table; 9];
    key[1..5].copy_from_slice(&topic.to_be_bytes());
    key[5..].copy_from_slice(&partition.to_be_bytes());
    key
}

pub(super) fn record_key(topic: TopicNumber, partition: u32, offset: u64) -> [u8; 17] {
    let mut key = [0; 17];
    key[..9].copy_from_slice(&birth_key(topic, partition));
    key[9..].copy_from_slice(&offset.to_be_bytes());
    key
}

pub(super) fn head_key(group: &str, shard: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(6 + group.len());
    key.push(HEAD);
    key.put_u32(shard);
    key.put_slice(group.as_bytes());
    key.push(0);
    key
}

/// The key of a further part of the value at `key`.
pub(super) fn part_key(key: &[u8], index: u32) -> Vec<u8> {
    let mut part = Vec::with_capacity(key.len() + 4);
    part.put_slice(key);
    part.put_u32(index);
    part
}

/// The shard and the group of a head's key; `None` for a part of a head.
pub(super) fn parse_head_key(key: &[u8]) -> Option<(u32, &str)> {
    let (shard, rest) = key.strip_prefix(&[HEAD])?.split_first_chunk()?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let group = std::str::from_utf8(&rest[..end]).ok()?;
    (end + 1 == rest.len()).then_some((u32::from_be_bytes(*shard), group))
}

/// The number in a topic's key.
pub(super) fn parse_topic_key(key: &[u8]) -> Option<TopicNumber> {
    Some(u32::from_be_bytes(key.strip_prefix(&[TOPIC])?.try_into().ok()?))
}

/// Topic, partition and offset of a record's key; `None` for births and parts.
pub(super) fn parse_record_key(key: &[u8]) -> Option<(TopicNumber, u32, u64)> {
    let key: &[u8; 17] = key.try_into().ok()?;
    let mut rest = key.strip_prefix(&[RECORD])?;
    Some((take_u32(&mut rest).ok()?, take_u32(&mut rest).ok()?, take_u64(&mut rest).ok()?))
}

/// Writes the header of a cell whose content follows it and has the given checksum.
///
/// `hole` has [`CELL_HEADER`] bytes, or [`LONG_HEADER`] for a content of `len` bytes that goes on in parts.
pub(super) fn write_header(hole: &mut [u8], kind: u8, key: &[u8], time: i64, content_crc: u32, len: usize) {
    hole[0] = kind;
    hole[1..5].copy_from_slice(&check(content_crc, kind, key, time).to_be_bytes());
    hole[5..13].copy_from_slice(&time.to_be_bytes());
    if kind == LONG {
        hole[13..17].copy_from_slice(&(len as u32).to_be_bytes());
    }
}

fn check(content_crc: u32, kind: u8, key: &[u8], time: i64) -> u32 {
    let mut tail = [0u8; 64];
    if key.len() + 9 > tail.len() {
        let crc = crc32c::crc32c_append(content_crc, &[kind]);
        let crc = crc32c::crc32c_append(crc, key);
        return crc32c::crc32c_append(crc, &time.to_be_bytes());
    }
    tail[0] = kind;
    tail[1..1 + key.len()].copy_from_slice(key);
    tail[1 + key.len()..9 + key.len()].copy_from_slice(&time.to_be_bytes());
    crc32c::crc32c_append(content_crc, &tail[..9 + key.len()])
}

/// A cell with `content`, whole or in parts: the values for `key` and for its parts in order.
pub(super) fn cell(kind: u8, key: &[u8], time: i64, content: &[u8]) -> Vec<Vec<u8>> {
    let crc = crc32c::crc32c(content);
    if CELL_HEADER + content.len() <= PART_BYTES {
        let mut value = vec![0; CELL_HEADER];
        write_header(&mut value, kind, key, time, crc, 0);
        value.extend_from_slice(content);
        return vec![value];
    }
    let (start, rest) = content.split_at(PART_BYTES - LONG_HEADER);
    let mut first = vec![0; LONG_HEADER];
    write_header(&mut first, LONG, key, time, crc, content.len());
    first.extend_from_slice(start);
    std::iter::once(first).chain(rest.chunks(PART_BYTES).map(<[u8]>::to_vec)).collect()
}

/// How many values a cell with a content of `len` bytes has.
pub(super) fn cell_count(len: usize) -> usize {
    if CELL_HEADER + len <= PART_BYTES { 1 } else { (LONG_HEADER + len).div_ceil(PART_BYTES) }
}

/// A cell as it lies in the engine, not yet verified.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell<'a> {
    pub(super) kind: u8,
    pub(super) check: u32,
    pub(super) time: i64,
    /// The length of the whole content.
    pub(super) len: usize,
    /// The content, or its start.
    pub(super) start: &'a [u8],
}

impl<'a> Cell<'a> {
    pub(super) fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = value;
        let kind = take_u8(&mut rest)?;
        let check = take_u32(&mut rest)?;
        let time = take_u64(&mut rest)? as i64;
        let len = if kind == LONG { take_u32(&mut rest)? as usize } else { rest.len() };
        if !(WHOLE..=STUB).contains(&kind) || len < rest.len() {
            return Err(Malformed("its kind or length is impossible"));
        }
        Ok(Self { kind, check, time, len, start: rest })
    }

    /// How many parts follow.
    pub(super) fn parts(&self) -> usize {
        (self.len - self.start.len()).div_ceil(PART_BYTES)
    }

    /// Whether `content`, gathered from this cell and its parts, is what was written at `key`.
    pub(super) fn verify(&self, key: &[u8], content: &[u8]) -> Result<(), Malformed> {
        let found = check(crc32c::crc32c(content), self.kind, key, self.time);
        if content.len() == self.len && found == self.check {
            Ok(())
        } else {
            Err(Malformed("its checksum does not match"))
        }
    }
}

/// Appends the content of a record to `out`.
pub(super) fn put_record(out: &mut Vec<u8>, record: &Record) {
    put_nullable(out, record.key.as_deref());
    put_nullable(out, record.value.as_deref());
    out.extend_from_slice(record.headers.encoded());
}

/// Bytes that [`put_record`] appends, at most.
pub(super) fn record_bytes(record: &Record) -> usize {
    record.size() + 20
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, 0),
        Some(bytes) => {
            put_varint(out, bytes.len() as u64 + 1);
            out.extend_from_slice(bytes);
        }
    }
}

/// The record whose verified content is `content`; slices of it, nothing copied.
pub(super) fn parse_record(content: &Bytes, time: i64) -> Result<Record, Malformed> {
    let mut rest = &content[..];
    let key = take_nullable(&mut rest)?.map(|bytes| content.slice_ref(bytes));
    let value = take_nullable(&mut rest)?.map(|bytes| content.slice_ref(bytes));
    let headers =
        Headers::decode(content.slice_ref(rest)).map_err(|_| Malformed("its headers are malformed"))?;
    Ok(Record { key, value, headers, timestamp: Timestamp(time) })
}

/// The key of the record in `content`, and whether the record has a value.
pub(super) fn parse_key(content: &[u8]) -> Result<(Option<&[u8]>, bool), Malformed> {
    let mut rest = content;
    let key = take_nullable(&mut rest)?;
    Ok((key, take_nullable(&mut rest)?.is_some()))
}

fn take_nullable<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
    let len = take_number(rest)?;
    if len == 0 {
        return Ok(None);
    }
    take(rest, len as usize - 1).map(Some)
}

/// What the last transaction says about the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Commit {
    /// The engine's number of the transaction that wrote this.
    pub(super) txn: u64,
    /// How many entries the table has, this one included.
    pub(super) entries: u64,
    /// The sum of the [`row_digest`]s of all topics, partitions and heads.
    pub(super) digest: u64,
    /// The number of the next topic.
    pub(super) next_topic: TopicNumber,
    /// Names the log.
    pub(super) log: LogId,
}

impl Commit {
    pub(super) fn content(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(44);
        out.put_u64(self.txn);
        out.put_u64(self.entries);
        out.put_u64(self.digest);
        out.put_u32(self.next_topic);
        out.put_u128(self.log.0);
        out
    }

    pub(super) fn parse(content: &[u8]) -> Result<Self, Malformed> {
        let rest = &mut &*content;
        Ok(Self {
            txn: take_u64(rest)?,
            entries: take_u64(rest)?,
            digest: take_u64(rest)?,
            next_topic: take_u32(rest)?,
            log: LogId(take_u128(rest)?),
        })
    }
}

/// What a row adds to [`Commit::digest`]: a row that is missing, doubled or older than it should be changes the sum.
pub(super) fn row_digest(key: &[u8], content: &[u8]) -> u64 {
    let low = crc32c::crc32c_append(crc32c::crc32c(key), content);
    let high = crc32c::crc32c_append(crc32c::crc32c_append(0x5eed, content), key);
    u64::from(high) << 32 | u64::from(low)
}

/// A topic's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicRow {
    /// Whether it still exists: a deleted topic's row stays until its records are gone.
    pub(super) live: bool,
    pub(super) id: TopicId,
    pub(super) settings: TopicSettings,
    pub(super) name: TopicName,
}

impl TopicRow {
    pub(super) fn content(&self) -> Vec<u8> {
        let (cleanup, ms) = match self.settings.cleanup {
            Cleanup::Keep => (0, 0),
            Cleanup::Expire { after_ms } => (1, after_ms),
            Cleanup::Compact { tombstones_ms } => (2, tombstones_ms),
        };
        let mut out = Vec::with_capacity(40 + self.name.as_str().len());
        out.put_u8(self.live.into());
        out.put_u128(self.id.0);
        out.put_u32(self.settings.partitions);
        out.put_u8(cleanup);
        out.put_u64(ms);
        out.put_u8(u8::from(self.settings.times == RecordTimes::Log));
        out.put_slice(self.name.as_str().as_bytes());
        out
    }

    pub(super) fn parse(content: &[u8]) -> Result<Self, Malformed> {
        let rest = &mut &*content;
        let live = take_u8(rest)? == 1;
        let id = TopicId(take_u128(rest)?);
        let partitions = take_u32(rest)?;
        let cleanup = match (take_u8(rest)?, take_u64(rest)?) {
            (0, _) => Cleanup::Keep,
            (1, after_ms) => Cleanup::Expire { after_ms },
            (2, tombstones_ms) => Cleanup::Compact { tombstones_ms },
            _ => return Err(Malformed("its cleanup is unknown")),
        };
        let times = if take_u8(rest)? == 1 { RecordTimes::Log } else { RecordTimes::Producer };
        let name = parse_topic_name(rest)?;
        Ok(Self { live, id, settings: TopicSettings { partitions, cleanup, times }, name })
    }
}

pub(super) fn partition_content(start: u64, end: u64) -> [u8; 16] {
    let mut content = [0; 16];
    content[..8].copy_from_slice(&start.to_be_bytes());
    content[8..].copy_from_slice(&end.to_be_bytes());
    content
}

/// The start and the end in a partition's row.
pub(super) fn parse_partition(content: &[u8]) -> Result<(u64, u64), Malformed> {
    let rest = &mut &*content;
    let (start, end) = (take_u64(rest)?, take_u64(rest)?);
    if start <= end { Ok((start, end)) } else { Err(Malformed("its start lies above its end")) }
}

pub(super) fn stub_content(last: u64) -> [u8; 8] {
    last.to_be_bytes()
}

pub(super) fn parse_stub(content: &[u8]) -> Result<u64, Malformed> {
    take_u64(&mut &*content)
}

pub(super) fn head_content(head: &Head) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + head.note.len());
    put_varint(&mut out, head.positions.iter().count() as u64);
    for (at, offset) in head.positions.iter() {
        put_varint(&mut out, at.topic.as_str().len() as u64);
        out.put_slice(at.topic.as_str().as_bytes());
        put_varint(&mut out, u64::from(at.partition.0));
        put_varint(&mut out, offset.0);
    }
    out.put_slice(&head.note);
    out
}

pub(super) fn parse_head(content: &[u8]) -> Result<Head, Malformed> {
    let rest = &mut &*content;
    let count = take_number(rest)?;
    let mut positions = Position::new();
    for _ in 0..count {
        let len = take_number(rest)? as usize;
        let name = parse_topic_name(take(rest, len)?)?;
        let partition =
            u32::try_from(take_number(rest)?).map_err(|_| Malformed("its partition is impossible"))?;
        positions.set(name.partition(partition), Offset(take_number(rest)?));
    }
    Ok(Head { positions, note: Bytes::copy_from_slice(rest) })
}

fn parse_topic_name(bytes: &[u8]) -> Result<TopicName, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed("its topic's name is no text"))?;
    TopicName::new(text).map_err(|_| Malformed("its topic's name is not legal"))
}

const CUT: Malformed = Malformed("it is cut short");

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], Malformed> {
    let (taken, after) = rest.split_at_checked(len).ok_or(CUT)?;
    *rest = after;
    Ok(taken)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (taken, after) = rest.split_first_chunk().ok_or(CUT)?;
    *rest = after;
    Ok(*taken)
}

fn take_u8(rest: &mut &[u8]) -> Result<u8, Malformed> {
    take_array(rest).map(u8::from_be_bytes)
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, Malformed> {
    take_array(rest).map(u32::from_be_bytes)
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, Malformed> {
    take_array(rest).map(u64::from_be_bytes)
}

fn take_u128(rest: &mut &[u8]) -> Result<u128, Malformed> {
    take_array(rest).map(u128::from_be_bytes)
}

fn take_number(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let (number, after) = take_varint(rest).ok_or(CUT)?;
    *rest = after;
    Ok(number)
}
