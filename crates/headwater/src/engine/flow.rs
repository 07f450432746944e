//! What operators see while a record passes, and what they leave behind.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::header::Headers;
use headwater_core::key::{KeyError, KeyErrorKind};
use headwater_core::record::{Append, StoredRecord};
use headwater_core::store::{KeyRange, StoreError, TableId, Visit};
use headwater_core::topic::{Offset, Partition, TopicPartition};

use super::state::Layered;
use crate::event::{header_number, name};

/// A key and a value on their way through a topology, with the record that they came from.
///
/// Dereferences to the value, so that `|event| event.price()` reads as it should.
#[derive(Debug)]
pub struct Keyed<'a, K, V> {
    /// The key.
    pub key: &'a K,
    /// The value.
    pub value: &'a V,
    /// The record that they came from.
    pub meta: &'a RecordMeta,
}

impl<K, V> Clone for Keyed<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Keyed<'_, K, V> {}

impl<K, V> std::ops::Deref for Keyed<'_, K, V> {
    type Target = V;
    fn deref(&self) -> &V {
        self.value
    }
}

/// Where a value came from: kept through every operator.
#[derive(Debug, Clone)]
pub struct RecordMeta {
    /// The time of the event.
    pub timestamp: Timestamp,
    /// The partition that the record was read from.
    pub partition: Partition,
    /// Its offset there.
    pub offset: Offset,
    /// Its headers.
    pub headers: Headers,
}

impl RecordMeta {
    /// What tells the record from all others of its topic: the id that its publisher gave it, that of its event, or else
    /// where it lies.
    pub fn id(&self) -> String {
        let given = ["hw_record_id", "ce_id"].into_iter().find_map(|name| self.headers.get_str(name));
        given.map_or_else(|| format!("{}/{}", self.partition.0, self.offset.0), str::to_owned)
    }

    /// The same, at another time.
    pub(crate) fn at(&self, timestamp: Timestamp) -> Self {
        Self { timestamp, ..self.clone() }
    }

    /// That of what a timer does: of no record.
    pub(crate) fn of_timer(timestamp: Timestamp) -> Self {
        Self { timestamp, partition: Partition(0), offset: Offset::ZERO, headers: Headers::empty() }
    }

    pub(crate) fn of(record: &StoredRecord, partition: Partition) -> Self {
        Self {
            timestamp: record.record.timestamp,
            partition,
            offset: record.offset,
            headers: record.record.headers.clone(),
        }
    }
}

/// Why a record could not be processed; it stops the shard by name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// The record cannot be processed, for a reason that has no name of its own.
    #[error("{0}")]
    Record(String),
    /// Its key or its value cannot be read.
    #[error("{0}")]
    Undecodable(String),
    /// What came of it cannot be written.
    #[error("{0}")]
    Unencodable(String),
    /// The user's code panicked at it.
    #[error("its code panicked: {0}")]
    Panicked(String),
    /// Its time is none.
    #[error("{0}")]
    BadTime(String),
    /// A key of what came of it is longer than a store takes.
    #[error("{0}")]
    KeyTooLong(String),
    /// What came of it is larger than the log takes.
    #[error("{0}")]
    TooLarge(String),
    /// The state could not be read.
    #[error("{0}")]
    State(#[from] StoreError),
}

impl ProcessError {
    /// What is wrong with a key that is to be written.
    pub(crate) fn key(error: KeyError) -> Self {
        match error.kind() {
            KeyErrorKind::TooLong => Self::KeyTooLong(error.to_string()),
            _ => Self::Unencodable(error.to_string()),
        }
    }

    /// What is wrong with the record, or with what came of it.
    pub(crate) fn record(error: impl std::fmt::Display) -> Self {
        Self::Record(error.to_string())
    }
}

/// Why an operator went on without a record, as its declaration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// It came after its window, and the grace of it, had ended.
    Late,
    /// It has no key, and the topology goes on without such.
    NullKey,
    /// It has no value, and the topology goes on without such.
    NullValue,
    /// Its like went on already.
    Duplicate,
}

impl DropReason {
    /// The reason as metrics tell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::NullKey => "null_key",
            Self::NullValue => "null_value",
            Self::Duplicate => "duplicate",
        }
    }
}

/// How many records each operator went on without, and why.
pub(crate) type Drops = BTreeMap<(Arc<str>, DropReason), u64>;

/// An operator that has a name: the place of its name among those of its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OperatorId(pub(crate) usize);

/// What the operators of a task have counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// The records that came to each, by its id; of those behind the last, none.
    pub(crate) taken: Vec<u64>,
    pub(crate) drops: Drops,
}

/// A batch on its way through one shard of a topology.
pub(crate) struct Flow<'a> {
    state: Option<Layered<'a>>,
    out: Vec<Emitted>,
    command: u64,
    counts: Counts,
}

/// What a flow had when something was begun that may be taken back.
pub(crate) struct Savepoint {
    out: usize,
    counts: Counts,
}

/// A record that left the topology, and the command that it comes from.
struct Emitted {
    append: Append,
    command: u64,
}

impl<'a> Flow<'a> {
    /// A flow over state; `None` for a topology without stores.
    pub(crate) fn new(state: Option<Layered<'a>>) -> Self {
        Self { state, out: Vec::new(), command: 0, counts: Counts::default() }
    }

    /// Tells that the next input record is this one.
    pub(crate) fn next_input(&mut self, record: &StoredRecord) {
        if header_number(&record.record.headers, name::INDEX).unwrap_or(0) == 0 {
            self.command += 1;
        }
    }

    pub(crate) fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.state.as_ref().expect("an operator with a store runs over state").get(table, key)
    }

    pub(crate) fn put(&mut self, table: TableId, key: Bytes, value: Option<Bytes>) {
        self.state.as_mut().expect("an operator with a store runs over state").put(table, key, value);
    }

    /// The rows of a range as this batch sees them, in its order, until `visit` breaks.
    pub(crate) fn scan(
        &mut self,
        table: TableId,
        range: &KeyRange,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        self.state.as_mut().expect("an operator with a store runs over state").scan(table, range, visit)
    }

    /// The same, all of them.
    pub(crate) fn rows(
        &mut self,
        table: TableId,
        range: &KeyRange,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let mut rows = Vec::new();
        self.scan(table, range, &mut |key, value| {
            rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            ControlFlow::Continue(())
        })?;
        Ok(rows)
    }

    /// Tells that an operator goes on without a record.
    pub(crate) fn drop_record(&mut self, operator: &Arc<str>, reason: DropReason) {
        *self.counts.drops.entry((operator.clone(), reason)).or_default() += 1;
    }

    /// Tells that so many records came to an operator.
    pub(crate) fn took(&mut self, OperatorId(operator): OperatorId, records: u64) {
        let taken = &mut self.counts.taken;
        if taken.len() <= operator {
            taken.resize(operator + 1, 0);
        }
        taken[operator] += records;
    }

    /// What operators told so since the last call.
    pub(crate) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Tells that what comes next belongs to no record before it.
    pub(crate) fn next_command(&mut self) {
        self.command += 1;
    }

    /// A place to which what follows can be taken back.
    pub(crate) fn begin(&mut self) -> Savepoint {
        if let Some(state) = &mut self.state {
            state.own().begin();
        }
        Savepoint { out: self.out.len(), counts: self.counts.clone() }
    }

    /// The longest key that was written since the last [`begin`](Self::begin), in bytes.
    pub(crate) fn longest_key(&mut self) -> usize {
        self.state.as_mut().map_or(0, |state| state.own().longest_key())
    }

    /// Takes back what came since a savepoint, the last that was begun.
    pub(crate) fn take_back(&mut self, savepoint: Savepoint) {
        if let Some(state) = &mut self.state {
            state.own().take_back();
        }
        self.out.truncate(savepoint.out);
        self.counts = savepoint.counts;
    }

    /// Sends a record out of the topology.
    pub(crate) fn emit(&mut self, append: Append) {
        self.out.push(Emitted { append, command: self.command });
    }

    /// What was emitted, each record stamped with its index and count within its command per target partition, and
    /// with the shard that writes it.
    pub(crate) fn into_appends(self, shard: Partition) -> Vec<Append> {
        let mut out = self.out;
        for command in out.chunk_by_mut(|a, b| a.command == b.command) {
            stamp(command, shard);
        }
        out.into_iter().map(|emitted| emitted.append).collect()
    }
}

/// Which shard of its topology wrote a record.
const FROM_SHARD: &str = "hw_from_shard";

/// The shard of an emitter that wrote a record; `None` if no emitter did.
pub(crate) fn writer_of(headers: &Headers) -> Option<Partition> {
    headers.get_str(FROM_SHARD)?.parse().ok().map(Partition)
}

fn stamp(command: &mut [Emitted], shard: Partition) {
    if let [alone] = command
        && is_unstamped(&alone.append.record.headers)
    {
        // A record without a place stands alone, which this one does.
        return;
    }
    let mut counts = AHashMap::<TopicPartition, usize>::new();
    let mut index_of = |emitted: &Emitted| {
        let count = counts.entry(emitted.append.to.clone()).or_default();
        *count += 1;
        *count - 1
    };
    let indices: Vec<usize> = command.iter().map(&mut index_of).collect();
    for (Emitted { append, .. }, index) in command.iter_mut().zip(indices) {
        let headers = &mut append.record.headers;
        *headers = restamped(headers, index, counts[&append.to], shard);
    }
}

fn is_unstamped(headers: &Headers) -> bool {
    headers.known(name::INDEX).is_none() && headers.known(name::COUNT).is_none()
}

fn restamped(headers: &Headers, index: usize, count: usize, shard: Partition) -> Headers {
    let mut builder = headwater_core::header::HeadersBuilder::with_capacity(headers.encoded().len() + 24);
    let stamps = ["hw_index", "hw_count", FROM_SHARD];
    for (name, value) in headers.iter().filter(|(name, _)| !stamps.contains(name)) {
        builder.add(name, value);
    }
    let mut digits = itoa::Buffer::new();
    builder.add("hw_index", Some(digits.format(index).as_bytes()));
    builder.add("hw_count", Some(digits.format(count).as_bytes()));
    builder.add(FROM_SHARD, Some(digits.format(shard.0).as_bytes()));
    builder.build()
}
