//! The user's own operator, with stores and timers.
//!
//! Timers are rows: the operator's time and the next calls survive a restart, and a batch that is given up takes its calls
//! back. Their schedule is Kafka Streams' (`ProcessorContext.schedule`, `PunctuationSchedule`): by stream time the first call
//! comes with the first record, and the next ones on multiples of the interval; by the clock on the wall, an interval after
//! the first start. A call that was missed is not made up for.

use std::marker::PhantomData;
use std::ops::{Bound, ControlFlow, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::codec::{Codec, Json};
use headwater_core::key::{Key, KeyError, decode_ordered, ordered};
use headwater_core::store::{KeyRange, TableId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::window::StreamTime;
use super::{Next, Shared, Sink, TickSink};
use crate::engine::flow::{Flow, Keyed, ProcessError, RecordMeta};
use crate::topology::{StoreOf, Value};

/// An operator of the user's own: it sees each record, keeps rows, and hands on what it likes.
///
/// What it keeps in its own fields is gone after a restart: only rows, and times by which it is called, are kept. It must
/// depend on nothing but its input, its rows and the times that it is told, or a rebuild gives another state.
pub trait Processor: Send + 'static {
    /// The keys that come in.
    type Key: 'static;
    /// The values that come in.
    type Value: 'static;
    /// The keys that are handed on.
    type OutKey: Key;
    /// The values that are handed on.
    type OutValue: Send + Sync + 'static;
    /// The keys of its rows.
    type RowKey: Key;
    /// Its rows.
    type Row: Clone + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Takes a record.
    fn process(&mut self, item: Keyed<'_, Self::Key, Self::Value>, next: &mut Processing<'_, '_, Self>);

    /// Is called as often as it was scheduled, with the time that it was scheduled by.
    fn on_timer(&mut self, timer: Timer, time: Timestamp, next: &mut Processing<'_, '_, Self>) {
        let _ = (timer, time, next);
    }
}

/// By which time a processor is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timer {
    /// By the latest time of its records.
    StreamTime,
    /// By the clock on the wall.
    WallClock,
}

/// How often a processor is called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) stream_time: Option<Duration>,
    pub(crate) wall_clock: Option<Duration>,
}

/// What a processor may do while it is called.
pub struct Processing<'a, 'f, P: Processor + ?Sized> {
    flow: &'a mut Flow<'f>,
    next: &'a mut Next<P::OutKey, P::OutValue>,
    rows: TableId,
    others: &'a [NamedTable],
    meta: RecordMeta,
    failed: Option<ProcessError>,
    processor: PhantomData<fn(&P)>,
}

/// A store that a processor has beside its own rows.
pub(crate) type NamedTable = (Arc<str>, TableId);

/// The rows of one store of a processor, while it is called.
///
/// What cannot be read or written stops the shard once the processor has returned; until then it finds nothing.
pub struct StoreRows<'a, 'f, K, R> {
    flow: &'a mut Flow<'f>,
    table: TableId,
    failed: &'a mut Option<ProcessError>,
    types: PhantomData<fn() -> (K, R)>,
}

impl<K: Key, R: Serialize + DeserializeOwned> StoreRows<'_, '_, K, R> {
    /// The row under a key.
    pub fn get(&mut self, key: &K) -> Option<R> {
        self.tried(|flow, table| {
            let row = flow.get(table, &ordered(key).map_err(ProcessError::key)?)?;
            row.map(|row| Json.decode(&row).map_err(ProcessError::record)).transpose()
        })?
    }

    /// Sets the row under a key.
    pub fn put(&mut self, key: &K, row: &R) {
        self.tried(|flow, table| {
            let key = ordered(key).map_err(ProcessError::key)?;
            flow.put(table, key, Some(Json.encode(row).map_err(ProcessError::record)?));
            Ok(())
        });
    }

    /// Removes the row under a key.
    pub fn delete(&mut self, key: &K) {
        self.tried(|flow, table| {
            flow.put(table, ordered(key).map_err(ProcessError::key)?, None);
            Ok(())
        });
    }

    /// Every row whose key begins with these components, in order; all of them for `&()`.
    pub fn rows(&mut self, prefix: &(impl Serialize + ?Sized)) -> Vec<(K, R)> {
        self.between(usize::MAX, || Ok(KeyRange::prefix(&ordered(prefix)?)))
    }

    /// The rows whose keys lie in a range, up to `limit`, in order.
    pub fn range(&mut self, keys: impl RangeBounds<K>, limit: usize) -> Vec<(K, R)> {
        let bound = |end: Bound<&K>| match end {
            Bound::Unbounded => Ok(Bound::Unbounded),
            Bound::Included(key) => ordered(key).map(Bound::Included),
            Bound::Excluded(key) => ordered(key).map(Bound::Excluded),
        };
        let range = || {
            let (from, to) = (bound(keys.start_bound())?, bound(keys.end_bound())?);
            Ok(KeyRange { from, to, ..KeyRange::all() })
        };
        self.between(limit, range)
    }

    fn between(&mut self, limit: usize, range: impl FnOnce() -> Result<KeyRange, KeyError>) -> Vec<(K, R)> {
        let rows = self.tried(|flow, table| {
            let mut rows = Vec::new();
            flow.scan(table, &range().map_err(ProcessError::key)?, &mut |key, row| {
                if rows.len() == limit {
                    return ControlFlow::Break(());
                }
                rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(row)));
                ControlFlow::Continue(())
            })?;
            let row = |(key, row): (Bytes, Bytes)| {
                let key = decode_ordered(&key).map_err(ProcessError::record)?;
                Ok((key, Json.decode(&row).map_err(ProcessError::record)?))
            };
            rows.into_iter().map(row).collect()
        });
        rows.unwrap_or_default()
    }

    /// Does what may fail; the first failure stops the shard.
    fn tried<T>(
        &mut self,
        call: impl FnOnce(&mut Flow<'_>, TableId) -> Result<T, ProcessError>,
    ) -> Option<T> {
        if self.failed.is_some() {
            return None;
        }
        call(self.flow, self.table).map_err(|error| *self.failed = Some(error)).ok()
    }
}

impl<'f, P: Processor + ?Sized> Processing<'_, 'f, P> {
    /// Hands on a value, at the time of the record or the timer.
    pub fn forward(&mut self, key: &P::OutKey, value: &P::OutValue) {
        self.forward_at(key, value, self.meta.timestamp);
    }

    /// Hands on a value at another time.
    pub fn forward_at(&mut self, key: &P::OutKey, value: &P::OutValue, time: Timestamp) {
        let meta = self.meta.at(time);
        if self.failed.is_none() {
            self.failed = self.next.push(Keyed { key, value, meta: &meta }, self.flow).err();
        }
    }

    /// The row under a key.
    pub fn get(&mut self, key: &P::RowKey) -> Option<P::Row> {
        self.own().get(key)
    }

    /// Sets the row under a key.
    pub fn put(&mut self, key: &P::RowKey, row: &P::Row) {
        self.own().put(key, row);
    }

    /// Removes the row under a key.
    pub fn delete(&mut self, key: &P::RowKey) {
        self.own().delete(key);
    }

    /// Every row whose key begins with these components, in order; all of them for `&()`.
    pub fn rows(&mut self, prefix: &(impl Serialize + ?Sized)) -> Vec<(P::RowKey, P::Row)> {
        self.own().rows(prefix)
    }

    /// The rows whose keys lie in a range, up to `limit`, in order.
    pub fn range(&mut self, keys: impl RangeBounds<P::RowKey>, limit: usize) -> Vec<(P::RowKey, P::Row)> {
        self.own().range(keys, limit)
    }

    /// The rows of another store that the processor was given; of one that it was not, the shard stops.
    pub fn store<K: Key, R: Value>(&mut self, store: &StoreOf<K, R>) -> StoreRows<'_, 'f, K, R> {
        let table = self.others.iter().find(|(name, _)| **name == *store.name()).map(|(_, table)| *table);
        if table.is_none() && self.failed.is_none() {
            let name = store.name();
            self.failed = Some(ProcessError::record(format!(
                "the processor was not given the store \"{name}\": give it to `process` with `.and(&store)`"
            )));
        }
        self.in_table(table.unwrap_or(self.rows))
    }

    fn own(&mut self) -> StoreRows<'_, 'f, P::RowKey, P::Row> {
        self.in_table(self.rows)
    }

    fn in_table<K, R>(&mut self, table: TableId) -> StoreRows<'_, 'f, K, R> {
        // What failed once does nothing more, so that a store that was not given is never mistaken for another.
        StoreRows { flow: &mut *self.flow, table, failed: &mut self.failed, types: PhantomData }
    }
}

/// Runs a processor.
pub(crate) struct Process<P: Processor> {
    processor: P,
    schedule: Schedule,
    rows: TableId,
    times: TableId,
    others: Vec<NamedTable>,
    stream_time: StreamTime,
    next: Next<P::OutKey, P::OutValue>,
}

impl Timer {
    /// Where it is kept when the timer calls next.
    const fn key(self) -> &'static [u8] {
        match self {
            Self::StreamTime => b"stream_time_due",
            Self::WallClock => b"wall_clock_due",
        }
    }

    /// When it calls next; `None` before it was first asked.
    fn due(self, table: TableId, flow: &Flow<'_>) -> Result<Option<i64>, ProcessError> {
        let Some(row) = flow.get(table, self.key())? else { return Ok(None) };
        let due = row[..].try_into().map_err(|_| ProcessError::record("a kept timer is malformed"))?;
        Ok(Some(i64::from_be_bytes(due)))
    }

    fn put_due(self, due: i64, table: TableId, flow: &mut Flow<'_>) {
        let row = Bytes::copy_from_slice(&due.to_be_bytes());
        flow.put(table, Bytes::from_static(self.key()), Some(row));
    }
}

/// The first multiple of an interval, counted from `due`, that lies after `now`.
fn after(now: i64, due: i64, every: Duration) -> i64 {
    let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1);
    let missed = now.saturating_sub(due).max(0) / every;
    due.saturating_add(every.saturating_mul(missed + 1))
}

impl<P: Processor> Process<P> {
    pub(crate) fn new(
        processor: P,
        schedule: Schedule,
        (rows, times): (TableId, TableId),
        others: Vec<NamedTable>,
        next: Next<P::OutKey, P::OutValue>,
    ) -> Self {
        Self { processor, schedule, rows, times, others, stream_time: StreamTime::new(times), next }
    }

    fn call(
        &mut self,
        meta: RecordMeta,
        flow: &mut Flow<'_>,
        call: impl FnOnce(&mut P, &mut Processing<'_, '_, P>),
    ) -> Result<(), ProcessError> {
        let (rows, next) = (self.rows, &mut self.next);
        let (others, failed) = (&self.others[..], None);
        let mut processing = Processing { flow, next, rows, others, meta, failed, processor: PhantomData };
        call(&mut self.processor, &mut processing);
        processing.failed.map_or(Ok(()), Err)
    }

    fn call_if_due(&mut self, meta: &RecordMeta, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let Some(every) = self.schedule.stream_time else { return Ok(()) };
        let now = self.stream_time.observe(meta.timestamp, flow)?;
        // Who was never called is called with the first record.
        let due = Timer::StreamTime.due(self.times, flow)?.unwrap_or(0);
        if now.0 < due {
            return Ok(());
        }
        Timer::StreamTime.put_due(after(now.0, due, every), self.times, flow);
        self.call(meta.at(now), flow, |processor, next| processor.on_timer(Timer::StreamTime, now, next))
    }
}

impl<P: Processor> Sink<P::Key, P::Value> for Process<P> {
    fn push(&mut self, item: Keyed<'_, P::Key, P::Value>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.call(item.meta.clone(), flow, |processor, next| processor.process(item, next))?;
        self.call_if_due(item.meta, flow)
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.stream_time.close(flow);
        self.next.close(flow)
    }

    fn abort(&mut self) {
        self.stream_time.abort();
        self.next.abort();
    }
}

impl<P: Processor> TickSink for Shared<Process<P>> {
    fn tick(&mut self, now: Timestamp, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.with(|process| {
            let Some(every) = process.schedule.wall_clock else { return Ok(()) };
            // A row, so that a batch that is given up takes its call back with everything else.
            let Some(due) = Timer::WallClock.due(process.times, flow)? else {
                Timer::WallClock.put_due(after(now.0, now.0, every), process.times, flow);
                return Ok(());
            };
            if now.0 < due {
                return Ok(());
            }
            Timer::WallClock.put_due(after(now.0, due, every), process.times, flow);
            let meta = RecordMeta::of_timer(now);
            process.call(meta, flow, |processor, next| processor.on_timer(Timer::WallClock, now, next))
        })
    }
}
