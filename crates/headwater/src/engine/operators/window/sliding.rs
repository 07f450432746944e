//! Sliding windows (KIP-450), as Kafka's `KStreamSlidingWindowAggregate` has them.
//!
//! Each value has two windows, both as long as the difference and with both ends in them: a left one, which ends at the
//! value's time, and a right one, which begins a millisecond after it and is there only if another value lies in it. So
//! there is one window for every distinct set of values that lie within the difference of each other.
//!
//! A row's time is that of the latest value in its window, which decides what the windows beside it hold.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use ahash::AHashMap;
use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::key::{Key, decode_ordered, ordered};
use headwater_core::store::{Direction, KeyRange};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{WindowRows, Windowed};
use crate::engine::flow::{Flow, Keyed, ProcessError};
use crate::engine::operators::{Change, Sink, Step};
use crate::engine::row::Row;

/// Aggregates the values of each key in each sliding window.
///
/// Within a batch the windows near a key's values are read and decoded once: a value whose windows lie in what was read
/// costs no look at the store.
pub(crate) struct SlidingAggregate<K, V, S> {
    difference_ms: i64,
    step: Step<K, V, S>,
    rows: WindowRows<K, S>,
    batch: AHashMap<K, Near<S>>,
}

/// All windows of a key that begin between two times, both included, as the store has them.
struct Near<S> {
    from: Timestamp,
    to: Timestamp,
    windows: BTreeMap<Timestamp, Row<S>>,
}

impl<K, V, S> SlidingAggregate<K, V, S> {
    pub(crate) fn new(difference_ms: i64, step: Step<K, V, S>, rows: WindowRows<K, S>) -> Self {
        Self { difference_ms, step, rows, batch: AHashMap::new() }
    }
}

/// What is there around a value's time before it is counted.
struct Around<S> {
    /// The windows that the value falls into, the latest first.
    holding: Vec<(Timestamp, Row<S>)>,
    /// The window that is the latest of those that begin at the value's time or before and end after it.
    right: Option<Row<S>>,
    /// The latest window that ends before the value.
    left: Option<Row<S>>,
    has_left: bool,
    has_right: bool,
    /// The time of the value before this one, if it is known to be near.
    previous: Option<Timestamp>,
}

impl<K: Key, V, S> SlidingAggregate<K, V, S>
where
    S: Clone + Serialize + DeserializeOwned + Send,
{
    fn end(&self, start: Timestamp) -> Timestamp {
        start.plus_ms(self.difference_ms)
    }

    /// The windows of a key that begin between two differences before a time and a millisecond after it, the latest first.
    fn windows_near(
        &mut self,
        key: &K,
        time: Timestamp,
        flow: &mut Flow<'_>,
    ) -> Result<Vec<(Timestamp, Row<S>)>, ProcessError> {
        let far = -self.difference_ms;
        let (from, to) = (time.plus_ms(far).plus_ms(far), time.plus_ms(1));
        let is_read = self.batch.get(key).is_some_and(|near| near.from <= from && to <= near.to);
        if !is_read {
            // A difference more on either side, for the values that follow.
            let near = self.read(key, from.plus_ms(far), self.end(to), flow)?;
            self.batch.insert(key.clone(), near);
        }
        let near = self.batch[key].windows.range(from..=to).rev();
        Ok(near.map(|(start, row)| (*start, row.clone())).collect())
    }

    fn read(
        &self,
        key: &K,
        from: Timestamp,
        to: Timestamp,
        flow: &mut Flow<'_>,
    ) -> Result<Near<S>, ProcessError> {
        let bound = |start, end| ordered(&Windowed { key, start, end }).map_err(ProcessError::key);
        let range = KeyRange {
            from: Bound::Included(bound(from, Timestamp(i64::MIN))?),
            to: Bound::Included(bound(to, Timestamp(i64::MAX))?),
            direction: Direction::Forward,
        };
        let mut found = Vec::new();
        self.rows.scan(&range, flow, &mut |key, row| {
            found.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(row)));
            ControlFlow::Continue(())
        })?;
        let window = |(key, row): (Bytes, Bytes)| {
            let window: Windowed<K> = decode_ordered(&key).map_err(ProcessError::record)?;
            Ok((window.start, self.rows.decode(&row)?))
        };
        let windows = found.into_iter().map(window).collect::<Result<_, ProcessError>>()?;
        Ok(Near { from, to, windows })
    }

    /// Keeps in mind what the store has now.
    fn remember(&mut self, key: &K, start: Timestamp, row: Row<S>) {
        let Some(near) = self.batch.get_mut(key).filter(|near| near.from <= start && start <= near.to) else {
            return;
        };
        if row.value.is_some() {
            near.windows.insert(start, row);
        } else {
            near.windows.remove(&start);
        }
    }

    /// Forgets windows that were dropped.
    fn forget(&mut self, dropped: &[Bytes]) -> Result<(), ProcessError> {
        for row in dropped {
            let window: Windowed<K> = decode_ordered(row).map_err(ProcessError::record)?;
            self.remember(&window.key, window.start, Row::NONE);
        }
        Ok(())
    }

    /// What is around a time, and whether the windows beside the value may be missing: they may not if another value of the
    /// same time made them (`processReverse`).
    fn around(&self, time: Timestamp, near: Vec<(Timestamp, Row<S>)>) -> (Around<S>, bool) {
        let (holding, right, left, previous) = (Vec::new(), None, None, None);
        let mut around = Around { holding, right, left, has_left: false, has_right: false, previous };
        for (start, row) in near {
            let (end, latest) = (self.end(start), row.time);
            if start > time {
                around.has_right = true;
            } else if end > time {
                around.right.get_or_insert_with(|| row.clone());
                around.holding.push((start, row));
            } else if end == time {
                around.has_left = true;
                around.holding.push((start, row));
                if latest >= time {
                    return (around, false);
                }
                around.previous = Some(latest);
            } else {
                around.previous = Some(latest);
                around.left = Some(row);
                break;
            }
        }
        (around, true)
    }

    /// Counts a value in a window, unless that is closed.
    fn update(
        &mut self,
        start: Timestamp,
        before: Option<Row<S>>,
        is_new: bool,
        now: Timestamp,
        item: Keyed<'_, K, V>,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        if self.rows.is_closed(self.end(start), now) {
            self.rows.late(flow);
            return Ok(());
        }
        let time = item.meta.timestamp;
        let before = before.unwrap_or(Row::NONE);
        let old = before.value.clone().filter(|_| !is_new);
        let time = if before.value.is_none() { time } else { before.time.max(time) };
        let mut row = Row { value: before.value, time };
        (self.step)(&mut row.value, item);
        self.put(start, old, row, is_new, item, flow)
    }

    fn put(
        &mut self,
        start: Timestamp,
        old: Option<S>,
        row: Row<S>,
        is_new: bool,
        item: Keyed<'_, K, V>,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let window = Windowed { key: item.key.clone(), start, end: self.end(start) };
        let key = ordered(&window).map_err(ProcessError::key)?;
        if is_new && row.value.is_some() {
            self.rows.begun(window.end, &key, flow)?;
        }
        self.rows.store(&key, &row, flow)?;
        let change = Change { old, new: row.value.clone() };
        let meta = item.meta.at(row.time);
        self.remember(item.key, start, row);
        self.rows.tell(&window, &change, &meta, flow)
    }

    /// Makes the windows that this value is the first to need: the right one of the value before it, its own left one, and
    /// its own right one (`createWindows`).
    fn make_windows(
        &mut self,
        around: Around<S>,
        starts: &[Timestamp],
        now: Timestamp,
        item: Keyed<'_, K, V>,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let time = item.meta.timestamp;
        let Around { right, left, has_left, has_right, previous, .. } = around;
        if let Some(after_previous) = previous.map(|previous| previous.plus_ms(1))
            && !starts.contains(&after_previous)
            && self.end(after_previous) >= time
        {
            self.update(after_previous, None, true, now, item, flow)?;
        }
        if !has_left {
            let start = time.plus_ms(-self.difference_ms);
            let reaches = previous.is_some_and(|previous| start <= previous);
            let before = left.filter(|_| reaches).map(|row| Row { time, ..row });
            self.update(start, before, true, now, item, flow)?;
        }
        match right.filter(|row| row.time > time && !has_right) {
            Some(row) => self.put(time.plus_ms(1), None, row, true, item, flow),
            None => Ok(()),
        }
    }
}

impl<K, V, S> Sink<K, V> for SlidingAggregate<K, V, S>
where
    K: Key,
    S: Clone + Serialize + DeserializeOwned + Send,
{
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let time = item.meta.timestamp;
        let now = self.rows.observe(time, flow)?;
        if self.rows.is_closed(self.end(time), now) {
            // Not even its right window would be open.
            self.rows.late(flow);
        } else {
            let near = self.windows_near(item.key, time, flow)?;
            let starts: Vec<_> = near.iter().map(|(start, _)| *start).collect();
            let (mut around, may_lack) = self.around(time, near);
            for (start, row) in std::mem::take(&mut around.holding) {
                self.update(start, Some(row), false, now, item, flow)?;
            }
            if may_lack {
                self.make_windows(around, &starts, now, item, flow)?;
            }
        }
        if !self.rows.is_due(now, flow)? {
            return Ok(());
        }
        let dropped = self.rows.settle(now, item.meta, flow)?;
        self.forget(&dropped)
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.batch.clear();
        self.rows.close(flow)
    }

    fn abort(&mut self) {
        self.batch.clear();
        self.rows.abort();
    }
}
