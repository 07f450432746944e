//! Tumbling and hopping windows, as Kafka's `KStreamWindowAggregate` has them.
//!
//! Within a batch each window is read and decoded once; where nobody follows it is encoded once, at the batch's end.

use ahash::AHashMap;
use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::key::{Key, ordered};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{WindowRows, Windowed};
use crate::engine::flow::{Flow, Keyed, ProcessError};
use crate::engine::operators::{Change, Sink, Step};
use crate::engine::row::Row;

/// Windows of one size that begin at every multiple of `advance_ms` since the epoch, and before it.
///
/// Kafka's `TimeWindows::windowsFor` knows none that begin before the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frames {
    pub(crate) size_ms: i64,
    /// At least 1, at most the size.
    pub(crate) advance_ms: i64,
}

impl Frames {
    /// The starts of the windows that a time lies in, in order.
    fn around(self, time: Timestamp) -> impl Iterator<Item = Timestamp> {
        let (time, size, advance) =
            (i128::from(time.0), i128::from(self.size_ms), i128::from(self.advance_ms));
        let before_first = (time - size).div_euclid(advance) * advance;
        let starts = (1..).map(move |n| before_first + n * advance).take_while(move |start| *start <= time);
        starts.map(|start| Timestamp(i64::try_from(start).unwrap_or(i64::MIN)))
    }

    fn end(self, start: Timestamp) -> Timestamp {
        start.plus_ms(self.size_ms)
    }
}

/// Aggregates the values of each key in each window.
pub(crate) struct TimeAggregate<K, V, S> {
    frames: Frames,
    step: Step<K, V, S>,
    rows: WindowRows<K, S>,
    batch: AHashMap<K, Vec<Open<S>>>,
}

/// A window as the store has it, and its row so far.
struct Open<S> {
    start: Timestamp,
    key: Bytes,
    row: Row<S>,
}

impl<K, V, S> TimeAggregate<K, V, S> {
    pub(crate) fn new(frames: Frames, step: Step<K, V, S>, rows: WindowRows<K, S>) -> Self {
        Self { frames, step, rows, batch: AHashMap::new() }
    }
}

impl<K: Key, V, S> TimeAggregate<K, V, S>
where
    S: Clone + Serialize + DeserializeOwned + Send,
{
    fn update(
        &mut self,
        start: Timestamp,
        item: Keyed<'_, K, V>,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let Self { frames, step, rows, batch } = self;
        let end = frames.end(start);
        let Open { key, row, .. } = opened(batch, item.key, start, end, rows, flow)?;
        let is_new = row.value.is_none();
        // As Kafka's KStreamWindowAggregate: an aggregate is as late as the latest of its records.
        row.time = if is_new { item.meta.timestamp } else { row.time.max(item.meta.timestamp) };
        let old = row.value.clone().filter(|_| rows.is_followed());
        step(&mut row.value, item);
        if is_new && row.value.is_some() {
            rows.begun(end, key, flow)?;
        }
        if !rows.is_followed() {
            return Ok(());
        }
        rows.store(key, row, flow)?;
        let change = Change { old, new: row.value.clone() };
        let window = Windowed { key: item.key.clone(), start, end };
        rows.tell(&window, &change, &item.meta.at(row.time), flow)
    }

    /// Leaves the rows in the flow that nobody heard of.
    fn flush(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let unwritten = !self.rows.is_followed();
        for Open { key, row, .. } in self.batch.drain().flat_map(|(_, open)| open).filter(|_| unwritten) {
            self.rows.store(&key, &row, flow)?;
        }
        Ok(())
    }
}

/// A window of this batch; read, if it is its first time.
fn opened<'b, K: Key, S: Clone + Serialize + DeserializeOwned>(
    batch: &'b mut AHashMap<K, Vec<Open<S>>>,
    key: &K,
    start: Timestamp,
    end: Timestamp,
    rows: &WindowRows<K, S>,
    flow: &Flow<'_>,
) -> Result<&'b mut Open<S>, ProcessError> {
    if !batch.contains_key(key) {
        batch.insert(key.clone(), Vec::new());
    }
    let open = batch.get_mut(key).expect("it was put there just now");
    let known = open.iter().position(|open| open.start == start);
    let index = match known {
        Some(index) => index,
        None => {
            let key = ordered(&Windowed { key, start, end }).map_err(ProcessError::key)?;
            let row = rows.load(&key, flow)?;
            open.push(Open { start, key, row });
            open.len() - 1
        }
    };
    Ok(&mut open[index])
}

impl<K, V, S> Sink<K, V> for TimeAggregate<K, V, S>
where
    K: Key,
    S: Clone + Serialize + DeserializeOwned + Send,
{
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let time = item.meta.timestamp;
        let now = self.rows.observe(time, flow)?;
        for start in self.frames.around(time) {
            if self.rows.is_closed(self.frames.end(start), now) {
                self.rows.late(flow);
            } else {
                self.update(start, item, flow)?;
            }
        }
        if self.rows.is_due(now, flow)? {
            self.flush(flow)?;
            self.rows.settle(now, item.meta, flow)?;
        }
        Ok(())
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.flush(flow)?;
        self.rows.close(flow)
    }

    fn abort(&mut self) {
        self.batch.clear();
        self.rows.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_aligned_to_the_epoch_before_it_too() {
        let starts = |size_ms, advance_ms, time| -> Vec<i64> {
            Frames { size_ms, advance_ms }.around(Timestamp(time)).map(|start| start.0).collect()
        };
        assert_eq!(starts(10, 10, 0), [0]);
        assert_eq!(starts(10, 10, 9), [0]);
        assert_eq!(starts(10, 10, 10), [10]);
        assert_eq!(starts(10, 10, -1), [-10]);
        assert_eq!(starts(10, 10, -10), [-10]);
        assert_eq!(starts(10, 5, 12), [5, 10]);
        assert_eq!(starts(10, 4, 12), [4, 8, 12]);
        assert_eq!(starts(10, 4, -1), [-8, -4]);
        assert_eq!(starts(10, 10, i64::MIN), [i64::MIN]);
        assert_eq!(starts(10, 10, i64::MAX), [i64::MAX - 7]);
    }
}
