//! Reading: records of one partition, verified, into one buffer.
//!
//! Invariants: a record is answered only if its cell verifies at its own key and its offset follows the one before;
//! a gap is moved over only where a verified stub says so; nothing at or above the given end is answered. Whatever else
//! is found is an error that names topic, partition and offset. What lies before the damage is answered first.
//!
//! Reads run where they are called as long as they are near the end of a partition, whose pages are in the page cache.
//! Longer ones go to the blocking pool: on a cold file a page costs a disk read.

use std::ops::Range;

use bytes::Bytes;
use headwater_core::log::{Bounds, LogError, LogErrorKind, ReadBatch, ReadLimit};
use headwater_core::topic::Offset;

use super::catalogue::{Topic, unknown_topic};
use super::engine::{Engine, Snapshot};
use super::format::{
    Cell, LONG, Malformed, STUB, TopicRow, parse_key, parse_partition, parse_record, parse_record_key,
    parse_stub, part_key, partition_key, record_key, topic_key,
};
use super::page::Damage;
use super::tree::Cursor;

/// A read of at most so many records, at most so far from the end, runs where it is called.
const INLINE_RECORDS: u64 = 1_024;
const INLINE_DISTANCE: u64 = 16_384;

/// Why a cell cannot be read.
#[derive(Debug)]
pub(super) enum Fault {
    /// The tree is damaged.
    Damage(Damage),
    /// The cell is damaged.
    Record(&'static str),
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Record(malformed.0)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damage(damage) => damage.fmt(f),
            Self::Record(what) => f.write_str(what),
        }
    }
}

/// A verified cell: its content was appended to the caller's buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verified {
    pub(super) kind: u8,
    pub(super) time: i64,
}

/// Appends the content of the cell under the cursor, which stands on `key`, to `out`, verified.
///
/// Leaves the cursor on the cell's last part.
pub(super) fn read_cell(cursor: &mut Cursor<'_>, key: &[u8], out: &mut Vec<u8>) -> Result<Verified, Fault> {
    let from = out.len();
    let Some((_, value)) = cursor.entry()? else {
        return Err(Fault::Record("it is missing"));
    };
    let cell = Cell::parse(value)?;
    out.extend_from_slice(cell.start);
    if cell.kind != LONG {
        cell.verify(key, &out[from..])?;
        return Ok(Verified { kind: cell.kind, time: cell.time });
    }
    let (parts, whole) = (cell.parts(), Cell { start: &[], ..cell });
    for index in 1..=parts {
        cursor.next()?;
        match cursor.entry()? {
            Some((found, part)) if found == part_key(key, index as u32) => out.extend_from_slice(part),
            _ => return Err(Fault::Record("a part of it is missing")),
        }
    }
    whole.verify(key, &out[from..])?;
    Ok(Verified { kind: whole.kind, time: whole.time })
}

/// Whether reading may run on the caller's thread.
pub(super) fn is_short(from: Offset, limit: ReadLimit, bounds: Bounds) -> bool {
    let distance = bounds.end.0.saturating_sub(from.0);
    distance <= INLINE_DISTANCE && distance.min(limit.records as u64) <= INLINE_RECORDS
}

/// Which records to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) topic: &'a Topic,
    pub(super) partition: u32,
    pub(super) from: u64,
    /// Nothing at or above it is answered.
    pub(super) end: u64,
    pub(super) limit: ReadLimit,
}

/// Reads the records of `request` as of now.
pub(super) fn read(engine: &Engine, request: &Request<'_>) -> Result<ReadBatch, LogError> {
    let snapshot = engine.snapshot()?;
    let mut gathered = Gathered::default();
    let mut records = Records::seek(&snapshot, request);
    while records.next < request.end && gathered.has_room(request.limit) {
        match records.step(&mut gathered, request.limit) {
            Ok(true) => {}
            Ok(false) => break,
            // The next read starts at the damage and says so.
            Err(_) if records.next > request.from => break,
            Err(fault) => return Err(explain(&snapshot, request, &fault)),
        }
    }
    let next = records.next;
    gathered.finish(request, next)
}

/// Whether the last record of a partition is there, and the pages sound that the next one will be written to.
pub(super) fn check_end(engine: &Engine, topic: &Topic, partition: u32) -> Result<(), LogError> {
    let bounds = topic.partitions[partition as usize].bounds();
    let (from, end) = (bounds.end.0.saturating_sub(1).max(bounds.start.0), bounds.end.0);
    let request = Request { topic, partition, from, end, limit: ReadLimit { records: 1, bytes: 1 } };
    let sound = |fault: Damage| corrupt(&request, from, &fault);
    if bounds.start < bounds.end {
        read(engine, &request)?;
    }
    let snapshot = engine.snapshot()?;
    for offset in [from, end] {
        let mut cursor = snapshot.cursor();
        cursor.seek(&record_key(topic.number, partition, offset)).map_err(sound)?;
        cursor.check_leaf().map_err(sound)?;
    }
    Ok(())
}

/// Steps through the records of a partition, expecting each.
pub(super) struct Records<'r, 'e> {
    request: &'r Request<'r>,
    cursor: Cursor<'e>,
    /// The offset that must come next.
    next: u64,
    placed: Result<(), Fault>,
}

impl<'r, 'e> Records<'r, 'e> {
    fn seek(snapshot: &Snapshot<'e>, request: &'r Request<'r>) -> Self {
        let mut records = Self { request, cursor: snapshot.cursor(), next: request.from, placed: Ok(()) };
        records.placed = records.place();
        records
    }

    /// Finds the record at the first offset, or the stub that covers it.
    fn place(&mut self) -> Result<(), Fault> {
        let Request { topic, partition, from, .. } = *self.request;
        let key = record_key(topic.number, partition, from);
        let found = self.cursor.seek(&key)?;
        if found && self.cursor.key()? == Some(&key[..]) {
            return Ok(());
        }
        // Something always follows a record: births of partitions that do not exist end every topic.
        if found
            && self.cursor.prev()?
            && let Some(last) = self.stub()?
            && last >= from
        {
            self.next = last + 1;
            self.cursor.next()?;
            return Ok(());
        }
        Err(Fault::Record("it is missing"))
    }

    /// The last offset of the stub under the cursor, if it is one of this partition.
    fn stub(&mut self) -> Result<Option<u64>, Fault> {
        let Some(key) = self.cursor.key()?.map(<[u8]>::to_vec) else { return Ok(None) };
        match parse_record_key(&key) {
            Some((topic, partition, _)) if (topic, partition) == self.place_numbers() => {}
            _ => return Ok(None),
        }
        let mut content = Vec::new();
        let verified = read_cell(&mut self.cursor, &key, &mut content)?;
        Ok(if verified.kind == STUB { Some(parse_stub(&content)?) } else { None })
    }

    fn place_numbers(&self) -> (u32, u32) {
        (self.request.topic.number, self.request.partition)
    }

    /// Takes the next record or stub; false if there is no room for it.
    fn step(&mut self, gathered: &mut Gathered, limit: ReadLimit) -> Result<bool, Fault> {
        std::mem::replace(&mut self.placed, Ok(()))?;
        if self.next >= self.request.end {
            return Ok(false);
        }
        let key = record_key(self.request.topic.number, self.request.partition, self.next);
        if self.cursor.key()? != Some(&key[..]) {
            return Err(Fault::Record("it is missing"));
        }
        let from = gathered.bytes.len();
        let verified = read_cell(&mut self.cursor, &key, &mut gathered.bytes)?;
        if verified.kind == STUB {
            self.next = parse_stub(&gathered.bytes[from..])?.max(self.next) + 1;
            gathered.bytes.truncate(from);
        } else if gathered.push(self.next, verified.time, from, limit) {
            self.next += 1;
        } else {
            return Ok(false);
        }
        // What follows is the next step's to judge.
        if self.next < self.request.end {
            self.placed = self.cursor.next().map(|_| ()).map_err(Fault::from);
        }
        Ok(true)
    }
}

/// Records on their way into one buffer.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    records: Vec<(u64, i64, Range<usize>)>,
}

impl Gathered {
    fn has_room(&self, limit: ReadLimit) -> bool {
        self.records.is_empty() || (self.records.len() < limit.records && self.bytes.len() < limit.bytes)
    }

    /// Keeps what was appended since `from` as a record, unless it goes beyond the limit and is not the first.
    fn push(&mut self, offset: u64, time: i64, from: usize, limit: ReadLimit) -> bool {
        if !self.records.is_empty() && self.bytes.len() > limit.bytes {
            self.bytes.truncate(from);
            return false;
        }
        self.records.push((offset, time, from..self.bytes.len()));
        true
    }

    fn finish(self, request: &Request<'_>, next: u64) -> Result<ReadBatch, LogError> {
        let bytes = Bytes::from(self.bytes);
        let mut records = Vec::with_capacity(self.records.len());
        for (offset, time, range) in self.records {
            let record = parse_record(&bytes.slice(range), time);
            let record = record.map_err(|Malformed(what)| corrupt(request, offset, &what))?;
            records.push(headwater_core::record::StoredRecord { offset: Offset(offset), record });
        }
        // A stub never reaches beyond the end of its partition.
        Ok(ReadBatch { records, next: Offset(next.min(request.end)), end: Offset(request.end) })
    }
}

/// Why the first record of a request is not there: the snapshot knows whether it should be.
fn explain(snapshot: &Snapshot<'_>, request: &Request<'_>, fault: &Fault) -> LogError {
    let Request { topic, partition, from, .. } = *request;
    match read_partition_row(snapshot, topic, partition) {
        Ok(Some((start, end))) if from < start => out_of_range(
            topic,
            partition,
            from,
            Bounds { start: Offset(start), end: Offset(end.min(request.end)) },
        ),
        Ok(None) => unknown_topic(&topic.name),
        _ if !topic.is_live() => unknown_topic(&topic.name),
        _ => corrupt(request, from, fault),
    }
}

fn read_partition_row(
    snapshot: &Snapshot<'_>,
    topic: &Topic,
    partition: u32,
) -> Result<Option<(u64, u64)>, Fault> {
    let row = read_row(snapshot, &partition_key(topic.number, partition))?;
    Ok(row.map(|content| parse_partition(&content)).transpose()?)
}

fn read_row(snapshot: &Snapshot<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let mut cursor = snapshot.cursor();
    if !cursor.seek(key)? || cursor.key()? != Some(key) {
        return Ok(None);
    }
    let mut content = Vec::new();
    read_cell(&mut cursor, key, &mut content)?;
    Ok(Some(content))
}

/// The first offset that a partition should hold at a moment; `None` if its topic is gone.
fn expected_start(snapshot: &Snapshot<'_>, (topic, partition): (&Topic, u32)) -> Option<u64> {
    let live = read_row(snapshot, &topic_key(topic.number)).and_then(|row| match row {
        Some(content) => Ok(TopicRow::parse(&content)?.live),
        None => Ok(false),
    });
    // What cannot be read is damage, and then everything is expected.
    if !live.unwrap_or(true) {
        return None;
    }
    match read_partition_row(snapshot, topic, partition) {
        Ok(row) => row.map(|(start, _)| start),
        Err(_) => Some(0),
    }
}

pub(super) fn out_of_range(topic: &Topic, partition: u32, from: u64, bounds: Bounds) -> LogError {
    let place = topic.place(partition);
    let Bounds { start, end } = bounds;
    let message = format!("offset {from} lies outside {place}, which holds {start} to {end}");
    LogError::new(LogErrorKind::OutOfRange(bounds), message)
}

fn corrupt(request: &Request<'_>, offset: u64, what: &dyn std::fmt::Display) -> LogError {
    corrupt_at(request.topic, request.partition, offset, what)
}

pub(super) fn corrupt_at(
    topic: &Topic,
    partition: u32,
    offset: u64,
    what: &dyn std::fmt::Display,
) -> LogError {
    let place = topic.place(partition);
    let message =
        format!("the record at {place}@{offset} is damaged and not served: {what}; restore it from a copy");
    LogError::new(LogErrorKind::Corrupt, message)
}

/// A record or stub as a scan sees it.
#[derive(Debug)]
pub(super) struct Scanned<'a> {
    pub(super) offset: u64,
    /// The last offset that it stands for: its own, or a stub's.
    pub(super) last: u64,
    pub(super) time: i64,
    /// Key and whether there is a value; `None` for a stub.
    pub(super) record: Option<(Option<&'a [u8]>, bool)>,
}

/// How many entries are visited under one snapshot.
const SCAN_ENTRIES: usize = 4_096;

/// Visits the records and stubs of `from..end` in order until `visit` answers false, holding no snapshot for long.
///
/// Damage goes to `damaged` as a range of offsets, and the scan goes on behind it, unless that answers an error.
pub(super) fn scan<E: From<LogError>>(
    engine: &Engine,
    place: (&Topic, u32),
    range: Range<u64>,
    damaged: &mut dyn FnMut(Range<u64>, &Fault) -> Result<(), E>,
    visit: &mut dyn FnMut(Scanned<'_>) -> bool,
) -> Result<(), E> {
    let mut scan = Scan { engine, place, next: range.start, end: range.end, fault: None, done: false };
    while scan.next < range.end && !scan.done {
        let snapshot = engine.snapshot()?;
        scan.page(&mut snapshot.cursor(), damaged, visit)?;
    }
    Ok(())
}

struct Scan<'a> {
    engine: &'a Engine,
    place: (&'a Topic, u32),
    next: u64,
    end: u64,
    fault: Option<Fault>,
    done: bool,
}

impl Scan<'_> {
    fn page<E: From<LogError>>(
        &mut self,
        cursor: &mut Cursor<'_>,
        damaged: &mut dyn FnMut(Range<u64>, &Fault) -> Result<(), E>,
        visit: &mut dyn FnMut(Scanned<'_>) -> bool,
    ) -> Result<(), E> {
        let mut found = cursor.seek(&record_key(self.place.0.number, self.place.1, self.next));
        let mut content = Vec::new();
        let mut visited = 0;
        while self.next < self.end && !self.done {
            content.clear();
            let entry = found.map_err(Fault::from).and_then(|found| self.entry(cursor, found, &mut content));
            match entry {
                Ok(Some((offset, verified))) => {
                    self.report(offset, damaged)?;
                    self.visit(offset, verified, &content, visit);
                    visited += 1;
                }
                Ok(None) => self.report(self.end, damaged)?,
                Err(fault) => {
                    self.fault.get_or_insert(fault);
                }
            }
            // Damage is passed under one snapshot, since nothing behind it can be sought yet.
            if visited >= SCAN_ENTRIES && self.fault.is_none() {
                break;
            }
            found = cursor.next();
        }
        Ok(())
    }

    /// The cell under the cursor, if it is one of this partition below the end.
    fn entry(
        &self,
        cursor: &mut Cursor<'_>,
        found: bool,
        content: &mut Vec<u8>,
    ) -> Result<Option<(u64, Verified)>, Fault> {
        let Some(key) = cursor.key()?.filter(|_| found).map(<[u8]>::to_vec) else { return Ok(None) };
        let (topic, partition) = self.place;
        if key > record_key(topic.number, partition, self.end - 1).to_vec() {
            return Ok(None);
        }
        match parse_record_key(&key) {
            Some((number, in_partition, offset)) if (number, in_partition) == (topic.number, partition) => {
                Ok(Some((offset, read_cell(cursor, &key, content)?)))
            }
            _ => Err(Fault::Record("its parts have no record before them")),
        }
    }

    /// Reports what is missing or damaged before `offset`, but for what was dropped since the scan began.
    fn report<E: From<LogError>>(
        &mut self,
        offset: u64,
        damaged: &mut dyn FnMut(Range<u64>, &Fault) -> Result<(), E>,
    ) -> Result<(), E> {
        let fault = self.fault.take();
        if offset <= self.next {
            return Ok(());
        }
        let start = expected_start(&self.engine.snapshot()?, self.place);
        let missing = self.next.max(start.unwrap_or(offset))..offset;
        if !missing.is_empty() {
            damaged(missing, &fault.unwrap_or(Fault::Record("it is missing")))?;
        }
        self.next = offset;
        Ok(())
    }

    fn visit(
        &mut self,
        offset: u64,
        verified: Verified,
        content: &[u8],
        visit: &mut dyn FnMut(Scanned<'_>) -> bool,
    ) {
        let time = verified.time;
        let scanned = if verified.kind == STUB {
            let last = parse_stub(content).unwrap_or(offset).max(offset);
            Scanned { offset, last, time, record: None }
        } else {
            Scanned { offset, last: offset, time, record: parse_key(content).ok() }
        };
        self.next = scanned.last + 1;
        self.done = !visit(scanned);
    }
}
