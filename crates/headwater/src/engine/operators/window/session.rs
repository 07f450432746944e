//! Sessions: windows that grow with the values that fall into them, as Kafka's `KStreamSessionWindowAggregate` has them.
//!
//! Invariant: the sessions of a key are further apart than the gap, so that the order of their starts is that of their
//! ends.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

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

/// Makes one state of those of two sessions, the earlier first.
pub(crate) type Merge<K, S> = Arc<dyn Fn(&K, S, S) -> S + Send + Sync>;

/// How many gaps around a value are read at once, so that values which follow each other are read for together.
const READ_AROUND: i64 = 8;

/// Aggregates the values of each key in each session.
///
/// Within a batch the sessions around a key's values are read and decoded once: a value that lies in what was read costs no
/// look at the store. How many sessions that can be is bounded by how far is read, since they are a gap apart.
pub(crate) struct SessionAggregate<K, V, S> {
    gap_ms: i64,
    step: Step<K, V, S>,
    merge: Merge<K, S>,
    rows: WindowRows<K, S>,
    batch: AHashMap<K, Near<K, S>>,
}

/// A session as the store has it.
struct Session<K, S> {
    window: Windowed<K>,
    key: Bytes,
    value: S,
}

/// All sessions of a key that overlap a range of times, as the store has them, by their starts.
struct Near<K, S> {
    from: Timestamp,
    to: Timestamp,
    sessions: BTreeMap<Timestamp, Session<K, S>>,
}

impl<K, S> Near<K, S> {
    /// The sessions that overlap a part of the range, in order.
    fn within(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = &Session<K, S>> {
        let until = self.sessions.range(..=to).map(|(_, session)| session);
        let mut overlapping: Vec<_> = until.rev().take_while(|session| session.window.end >= from).collect();
        overlapping.reverse();
        overlapping.into_iter()
    }
}

impl<K, V, S> SessionAggregate<K, V, S> {
    pub(crate) fn new(gap_ms: i64, step: Step<K, V, S>, merge: Merge<K, S>, rows: WindowRows<K, S>) -> Self {
        Self { gap_ms, step, merge, rows, batch: AHashMap::new() }
    }
}

impl<K: Key, V, S> SessionAggregate<K, V, S>
where
    S: Clone + Serialize + DeserializeOwned + Send,
{
    /// The sessions of a key that a time belongs to: those that begin a gap later at most, and end a gap earlier at least
    /// (`SessionStore::findSessions`); their starts, and the first start and the last end of all with that time.
    fn around(
        &mut self,
        key: &K,
        time: Timestamp,
        flow: &mut Flow<'_>,
    ) -> Result<(Vec<Timestamp>, Timestamp, Timestamp), ProcessError> {
        let (from, to) = (time.plus_ms(-self.gap_ms), time.plus_ms(self.gap_ms));
        let is_read = self.batch.get(key).is_some_and(|near| near.from <= from && to <= near.to);
        if !is_read {
            let far = self.gap_ms.saturating_mul(READ_AROUND);
            let near = self.read(key, time.plus_ms(-far), time.plus_ms(far), flow)?;
            self.batch.insert(key.clone(), near);
        }
        let (mut starts, mut start, mut end) = (Vec::new(), time, time);
        for Session { window, .. } in self.batch[key].within(from, to) {
            starts.push(window.start);
            (start, end) = (start.min(window.start), end.max(window.end));
        }
        Ok((starts, start, end))
    }

    fn read(
        &self,
        key: &K,
        from: Timestamp,
        to: Timestamp,
        flow: &mut Flow<'_>,
    ) -> Result<Near<K, S>, ProcessError> {
        let end = Timestamp(i64::MAX);
        let last = ordered(&Windowed { key, start: to, end }).map_err(ProcessError::key)?;
        let of_key = KeyRange::prefix(&ordered(key).map_err(ProcessError::key)?);
        let range = KeyRange { to: Bound::Included(last), direction: Direction::Backward, ..of_key };
        let mut rows = Vec::new();
        let mut malformed = None;
        self.rows.scan(&range, flow, &mut |key, row| match decode_ordered::<Windowed<K>>(key) {
            Ok(window) if window.end < from => ControlFlow::Break(()),
            Ok(window) => {
                rows.push((window, Bytes::copy_from_slice(key), Bytes::copy_from_slice(row)));
                ControlFlow::Continue(())
            }
            Err(error) => {
                malformed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        if let Some(error) = malformed {
            return Err(ProcessError::record(error));
        }
        let session = |(window, key, row): (Windowed<K>, _, _)| {
            let value = self.rows.decode(&row)?.value.expect("a row that is there has a value");
            Ok((window.start, Session { window, key, value }))
        };
        let sessions = rows.into_iter().map(session).collect::<Result<_, ProcessError>>()?;
        Ok(Near { from, to, sessions })
    }

    /// Takes sessions out of what was read, in order: what becomes of them is put back by [`update`](Self::update).
    fn take(&mut self, key: &K, starts: &[Timestamp]) -> Vec<Session<K, S>> {
        let near = self.batch.get_mut(key).expect("what is around a value was read");
        starts.iter().filter_map(|start| near.sessions.remove(start)).collect()
    }

    /// Forgets sessions that were dropped.
    fn forget(&mut self, dropped: &[Bytes]) -> Result<(), ProcessError> {
        for row in dropped {
            let window: Windowed<K> = decode_ordered(row).map_err(ProcessError::record)?;
            if let Some(near) = self.batch.get_mut(&window.key) {
                near.sessions.remove(&window.start);
            }
        }
        Ok(())
    }

    /// Takes the sessions away that become part of another, and tells that they are gone.
    fn replace(
        &mut self,
        merged: &[Session<K, S>],
        item: Keyed<'_, K, V>,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        for Session { window, key, value } in merged {
            self.rows.ended(window.end, key, flow);
            let change = Change { old: Some(value.clone()), new: None };
            self.rows.tell(window, &change, &item.meta.at(window.end), flow)?;
        }
        Ok(())
    }

    fn update(
        &mut self,
        merged: Vec<Session<K, S>>,
        window: Windowed<K>,
        item: Keyed<'_, K, V>,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let grows = window.start != item.meta.timestamp || window.end != item.meta.timestamp;
        if grows {
            self.replace(&merged, item, flow)?;
        }
        let old = merged.first().filter(|_| !grows).map(|session| session.value.clone());
        let is_new = old.is_none();
        let merge = |one, other| (self.merge)(item.key, one, other);
        let mut state = merged.into_iter().map(|session| session.value).reduce(merge);
        (self.step)(&mut state, item);
        let key = ordered(&window).map_err(ProcessError::key)?;
        // As Kafka has it: a session is as late as its end.
        let row = Row { value: state, time: window.end };
        if is_new && row.value.is_some() {
            self.rows.begun(window.end, &key, flow)?;
        }
        self.rows.store(&key, &row, flow)?;
        self.rows.tell(&window, &Change { old, new: row.value.clone() }, &item.meta.at(row.time), flow)?;
        if let (Some(value), Some(near)) = (row.value, self.batch.get_mut(item.key)) {
            near.sessions.insert(window.start, Session { window, key, value });
        }
        Ok(())
    }
}

impl<K, V, S> Sink<K, V> for SessionAggregate<K, V, S>
where
    K: Key,
    S: Clone + Serialize + DeserializeOwned + Send,
{
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let time = item.meta.timestamp;
        let now = self.rows.observe(time, flow)?;
        let (starts, start, end) = self.around(item.key, time, flow)?;
        if self.rows.is_closed(end, now) {
            self.rows.late(flow);
        } else {
            let merged = self.take(item.key, &starts);
            self.update(merged, Windowed { key: item.key.clone(), start, end }, item, flow)?;
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
