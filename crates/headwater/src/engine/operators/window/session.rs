//! Sessions: windows that grow with the values that fall into them, as Kafka's `KStreamSessionWindowAggregate` has them.
//!
//! Invariant: the sessions of a key are further apart than the gap, so that the order of their starts is that of their
//! ends.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

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

/// Aggregates the values of each key in each session.
pub(crate) struct SessionAggregate<K, V, S> {
    pub(crate) gap_ms: i64,
    pub(crate) step: Step<K, V, S>,
    pub(crate) merge: Merge<K, S>,
    pub(crate) rows: WindowRows<K, S>,
}

/// A session as the store has it.
struct Session<K, S> {
    window: Windowed<K>,
    key: Bytes,
    value: S,
}

impl<K: Key, V, S> SessionAggregate<K, V, S>
where
    S: Clone + Serialize + DeserializeOwned + Send,
{
    /// The sessions of a key that a time belongs to, in order: those that begin a gap later at most, and end a gap earlier
    /// at least (`SessionStore::findSessions`).
    fn around(
        &self,
        key: &K,
        time: Timestamp,
        flow: &mut Flow<'_>,
    ) -> Result<Vec<Session<K, S>>, ProcessError> {
        let end = Timestamp(i64::MAX);
        let last = ordered(&Windowed { key, start: time.plus_ms(self.gap_ms), end })
            .map_err(ProcessError::record)?;
        let of_key = KeyRange::prefix(&ordered(key).map_err(ProcessError::key)?);
        let range = KeyRange { to: Bound::Included(last), direction: Direction::Backward, ..of_key };
        let mut rows = Vec::new();
        let mut malformed = None;
        self.rows.scan(&range, flow, &mut |key, row| match decode_ordered::<Windowed<K>>(key) {
            Ok(window) if time.ms_since(window.end) > self.gap_ms => ControlFlow::Break(()),
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
        let session = |(window, key, row)| {
            let value = self.rows.decode(&row)?.value.expect("a row that is there has a value");
            Ok(Session { window, key, value })
        };
        rows.into_iter().rev().map(session).collect()
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
        self.rows.tell(&window, &Change { old, new: row.value }, &item.meta.at(row.time), flow)
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
        let merged = self.around(item.key, time, flow)?;
        let start = merged.first().map_or(time, |first| first.window.start.min(time));
        let end = merged.last().map_or(time, |last| last.window.end.max(time));
        if self.rows.is_closed(end, now) {
            self.rows.late(flow);
        } else {
            self.update(merged, Windowed { key: item.key.clone(), start, end }, item, flow)?;
        }
        if self.rows.is_due(now, flow)? { self.rows.settle(now, item.meta, flow) } else { Ok(()) }
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.rows.close(flow)
    }

    fn abort(&mut self) {
        self.rows.abort();
    }
}
