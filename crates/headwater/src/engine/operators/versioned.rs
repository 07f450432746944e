//! Tables that remember: each row as of any time within a history (KIP-889, KIP-914).
//!
//! As Kafka's `RocksDBVersionedStore`: a value is put where its own time is, between older and newer ones; one older than
//! the history is late; the last value of a key is kept however old it is. Only what changes the last value is handed on.
//!
//! ```text
//! ""         key -> timed row                          the last value, if it is one
//! versions   key, time -> 1 then json, or 0            every value, and where there was none from some time on
//! due        1, time, the version's key -> 1           when a version is no longer asked for
//! time       "now" -> stream time
//! ```

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use headwater_core::clock::Timestamp;
use headwater_core::codec::{Codec, Json};
use headwater_core::key::{Key, decode_ordered, ordered};
use headwater_core::store::{Direction, KeyRange, TableId};

use super::window::{Due, StreamTime};
use super::{Change, Next, Sink};
use crate::engine::flow::{DropReason, Flow, Keyed, ProcessError};
use crate::engine::row::{Row, RowFormat};
use crate::topology::Value;

/// The tables of a versioned store, as the names of its spec.
pub(crate) const VERSIONED_TABLES: [&str; 4] = ["", "versions", "due", "time"];

/// The tables of a versioned store in a shard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VersionedTables {
    pub(crate) last: TableId,
    pub(crate) versions: TableId,
    pub(crate) time: TableId,
    pub(crate) history_ms: i64,
}

/// A version of a row: its time, and its value if it has one.
type Version<V> = (i64, Option<V>);

impl VersionedTables {
    /// The row that a key had at a time; none before the history, apart from the last.
    pub(crate) fn as_of<K: Key, V: Value>(
        &self,
        key: &K,
        time: Timestamp,
        flow: &mut Flow<'_>,
    ) -> Result<Row<V>, ProcessError> {
        let now = StreamTime::new(self.time).observe(Timestamp(i64::MIN), flow)?;
        if time.0 < now.0.saturating_sub(self.history_ms) {
            let place = ordered(key).map_err(ProcessError::key)?;
            let last = Row::load(RowFormat::Timed, self.last, &place, flow)?;
            return Ok(if last.time <= time { last } else { Row::NONE });
        }
        let version = self.nearest(key, (i64::MIN, time.0), Direction::Backward, flow)?;
        Ok(version.map_or(Row::NONE, |(at, value)| match value {
            Some(value) => Row { value: Some(value), time: Timestamp(at) },
            None => Row::NONE,
        }))
    }

    /// The first version of a key within some times, from either side.
    fn nearest<K: Key, V: Value>(
        &self,
        key: &K,
        (from, to): (i64, i64),
        direction: Direction,
        flow: &mut Flow<'_>,
    ) -> Result<Option<Version<V>>, ProcessError> {
        let range = KeyRange {
            from: Bound::Included(version_key(key, from)?),
            to: Bound::Included(version_key(key, to)?),
            direction,
        };
        let mut found = None;
        flow.scan(self.versions, &range, &mut |row, value| {
            found = Some((Bytes::copy_from_slice(row), Bytes::copy_from_slice(value)));
            ControlFlow::Break(())
        })?;
        let Some((row, value)) = found else { return Ok(None) };
        let (_, time): (K, i64) = decode_ordered(&row).map_err(ProcessError::record)?;
        Ok(Some((time, decode_version(&value)?)))
    }
}

fn version_key<K: Key>(key: &K, time: i64) -> Result<Bytes, ProcessError> {
    ordered(&(key, time)).map_err(ProcessError::key)
}

fn encode_version<V: Value>(value: Option<&V>) -> Result<Bytes, ProcessError> {
    let Some(value) = value else { return Ok(Bytes::from_static(&[0])) };
    let json = Json.encode(value).map_err(ProcessError::record)?;
    let mut bytes = BytesMut::with_capacity(1 + json.len());
    bytes.put_u8(1);
    bytes.put(json);
    Ok(bytes.freeze())
}

fn decode_version<V: Value>(bytes: &Bytes) -> Result<Option<V>, ProcessError> {
    match bytes.first() {
        Some(0) => Ok(None),
        Some(1) => Json.decode(&bytes.slice(1..)).map(Some).map_err(ProcessError::record),
        _ => Err(ProcessError::record("a kept version is malformed")),
    }
}

/// Keeps the versions of each key.
pub(crate) struct MaterialiseVersions<K, V> {
    name: Arc<str>,
    tables: VersionedTables,
    format: RowFormat,
    time: StreamTime,
    due: Due,
    next: Option<Next<K, Change<V>>>,
}

impl<K, V> MaterialiseVersions<K, V> {
    pub(crate) fn new(
        name: Arc<str>,
        tables: VersionedTables,
        due: TableId,
        format: RowFormat,
        next: Option<Next<K, Change<V>>>,
    ) -> Self {
        Self { name, tables, format, time: StreamTime::new(tables.time), due: Due::new(due, 1), next }
    }
}

/// Versions that are dropped in one step.
const DROPPED_AT_ONCE: usize = 1_000;

impl<K: Key, V: Value> MaterialiseVersions<K, V> {
    /// When a version is no longer asked for: the last one is for ever, unless it is that there is no row.
    fn dropped_at(&self, time: i64, is_row: bool, next: Option<i64>) -> Option<Timestamp> {
        let superseded = if is_row { next? } else { time };
        Some(Timestamp(superseded.saturating_add(self.tables.history_ms).saturating_add(1)))
    }

    /// Tells that the version that follows another is a new one.
    fn reschedule(
        &mut self,
        (key, time): (&K, i64),
        is_row: bool,
        (before, after): (Option<i64>, Option<i64>),
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let row = version_key(key, time)?;
        let (before, after) = (self.dropped_at(time, is_row, before), self.dropped_at(time, is_row, after));
        if before == after {
            return Ok(());
        }
        if let Some(before) = before {
            self.due.remove(before, &row, flow);
        }
        after.map_or(Ok(()), |after| self.due.add(after, &row, flow))
    }

    /// Puts a version where its time is; whether it is the last one then.
    fn put(
        &mut self,
        key: &K,
        time: i64,
        value: Option<&V>,
        flow: &mut Flow<'_>,
    ) -> Result<bool, ProcessError> {
        let tables = self.tables;
        let newer = match time.checked_add(1) {
            Some(from) => tables.nearest::<K, V>(key, (from, i64::MAX), Direction::Forward, flow)?,
            None => None,
        };
        let newer = newer.map(|(time, _)| time);
        let same = tables.nearest::<K, V>(key, (time, time), Direction::Forward, flow)?;
        if let Some((_, was)) = &same {
            // It is replaced: what was to be dropped at another time no longer is.
            if let Some(at) = self.dropped_at(time, was.is_some(), newer) {
                self.due.remove(at, &version_key(key, time)?, flow);
            }
        } else if let Some(until) = time.checked_sub(1)
            && let Some((older, was)) =
                tables.nearest::<K, V>(key, (i64::MIN, until), Direction::Backward, flow)?
        {
            self.reschedule((key, older), was.is_some(), (newer, Some(time)), flow)?;
        }
        let row = version_key(key, time)?;
        if let Some(at) = self.dropped_at(time, value.is_some(), newer) {
            self.due.add(at, &row, flow)?;
        }
        flow.put(tables.versions, row, Some(encode_version(value)?));
        Ok(newer.is_none())
    }
}

impl<K: Key, V: Value> Sink<K, Option<V>> for MaterialiseVersions<K, V> {
    fn push(&mut self, item: Keyed<'_, K, Option<V>>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let time = item.meta.timestamp;
        let now = self.time.observe(time, flow)?;
        // Whoever joins with the table asks for its time while the batch goes on.
        self.time.close(flow);
        if time.0 < now.0.saturating_sub(self.tables.history_ms) {
            flow.drop_record(&self.name, DropReason::Late);
            return Ok(());
        }
        while self.due.is_due(now, flow)? {
            for (_, version) in self.due.take(now, DROPPED_AT_ONCE, flow)? {
                flow.put(self.tables.versions, version, None);
            }
        }
        if !self.put(item.key, time.0, item.value.as_ref(), flow)? {
            return Ok(());
        }
        let place = ordered(item.key).map_err(ProcessError::key)?;
        let row = Row { value: item.value.clone(), time };
        let old = Row::load(self.format, self.tables.last, &place, flow)?.value;
        flow.put(self.tables.last, place, row.encode(self.format)?);
        let Some(next) = &mut self.next else { return Ok(()) };
        let change = Change { old, new: row.value };
        next.push(Keyed { key: item.key, value: &change, meta: item.meta }, flow)
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.next.as_mut().map_or(Ok(()), |next| next.close(flow))
    }

    fn abort(&mut self) {
        self.time.abort();
        self.due.abort();
        if let Some(next) = &mut self.next {
            next.abort();
        }
    }
}
