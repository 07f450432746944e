//! The rows of an operator of windows: who hears of them, when they close, and when they expire.

use std::sync::Arc;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::key::{Key, decode_ordered};
use headwater_core::store::{KeyRange, TableId, Visit};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Due, StreamTime, Windowed};
use crate::engine::flow::{DropReason, Flow, Keyed, ProcessError, RecordMeta};
use crate::engine::operators::{Change, Next, Sink};
use crate::engine::row::{Row, RowFormat};

/// Expired rows that go with one record, and for each window that it begins: more than come, so that none are left over
/// for long; few, so that no record waits for many. Counted by record, not by batch, a replay drops the same rows at the
/// same places.
const EXPIRED_AT_ONCE: usize = 16;
const EXPIRED_PER_BEGUN: usize = 2;

const CLOSING: u8 = 0;
const EXPIRING: u8 = 1;

/// When the windows of an operator close and expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowRules {
    /// From a window's end to the stream time at which it closes: nothing is taken in any more.
    pub(crate) closes_ms: i64,
    /// Whether those that follow hear of a window when it closes, and then only (KIP-825).
    pub(crate) on_close: bool,
    /// From a window's end to the stream time at which it may be dropped, if ever.
    pub(crate) retain_ms: Option<i64>,
}

impl WindowRules {
    /// Whether anything is to be done about a window after its last record.
    pub(crate) fn has_dues(&self) -> bool {
        self.on_close || self.retain_ms.is_some()
    }

    fn closes(&self, end: Timestamp) -> Timestamp {
        end.plus_ms(self.closes_ms)
    }

    /// Never before it closes.
    fn expires(&self, end: Timestamp, retain_ms: i64) -> Timestamp {
        end.plus_ms(retain_ms).max(self.closes(end))
    }
}

/// Where an operator of windows keeps what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowTables {
    pub(crate) rows: TableId,
    pub(crate) time: TableId,
    /// There if anything is [ever due](WindowRules::has_dues).
    pub(crate) due: Option<TableId>,
}

/// The rows of an operator of windows.
pub(crate) struct WindowRows<K, S> {
    name: Arc<str>,
    table: TableId,
    format: RowFormat,
    rules: WindowRules,
    time: StreamTime,
    closing: Option<Due>,
    expiring: Option<(Due, i64)>,
    /// Windows that the last record began.
    begun: usize,
    next: Option<Next<Windowed<K>, Change<S>>>,
}

impl<K, S> WindowRows<K, S> {
    pub(crate) fn new(
        name: &str,
        tables: WindowTables,
        format: RowFormat,
        rules: WindowRules,
        next: Option<Next<Windowed<K>, Change<S>>>,
    ) -> Self {
        let due =
            |kind| Due::new(tables.due.expect("a store of windows that are due has a table for it"), kind);
        Self {
            name: name.into(),
            table: tables.rows,
            format,
            rules,
            time: StreamTime::new(tables.time),
            closing: (rules.on_close && next.is_some()).then(|| due(CLOSING)),
            expiring: rules.retain_ms.map(|retain_ms| (due(EXPIRING), retain_ms)),
            begun: 0,
            next,
        }
    }

    /// The stream time, with this record.
    pub(crate) fn observe(&mut self, time: Timestamp, flow: &Flow<'_>) -> Result<Timestamp, ProcessError> {
        self.begun = 0;
        self.time.observe(time, flow)
    }

    pub(crate) fn is_closed(&self, end: Timestamp, now: Timestamp) -> bool {
        self.rules.closes(end) <= now
    }

    /// A record came too late for a window. Counted per window, as Kafka's `droppedRecordsSensor` is.
    pub(crate) fn late(&self, flow: &mut Flow<'_>) {
        flow.drop_record(&self.name, DropReason::Late);
    }

    /// Whether any operator follows.
    pub(crate) fn is_followed(&self) -> bool {
        self.next.is_some()
    }
}

impl<K: Key, S: Clone + Serialize + DeserializeOwned> WindowRows<K, S> {
    pub(crate) fn load(&self, key: &[u8], flow: &Flow<'_>) -> Result<Row<S>, ProcessError> {
        Row::load(self.format, self.table, key, flow)
    }

    pub(crate) fn decode(&self, row: &Bytes) -> Result<Row<S>, ProcessError> {
        Row::decode(self.format, row)
    }

    pub(crate) fn scan(
        &self,
        range: &KeyRange,
        flow: &mut Flow<'_>,
        visit: &mut Visit<'_>,
    ) -> Result<(), ProcessError> {
        Ok(flow.scan(self.table, range, visit)?)
    }

    pub(crate) fn store(&self, key: &Bytes, row: &Row<S>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        flow.put(self.table, key.clone(), row.encode(self.format)?);
        Ok(())
    }

    /// A window has its first record.
    pub(crate) fn begun(
        &mut self,
        end: Timestamp,
        key: &[u8],
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let rules = self.rules;
        self.begun += 1;
        if let Some(closing) = &mut self.closing {
            closing.add(rules.closes(end), key, flow)?;
        }
        if let Some((expiring, retain_ms)) = &mut self.expiring {
            expiring.add(rules.expires(end, *retain_ms), key, flow)?;
        }
        Ok(())
    }

    /// A window became part of another: its row goes.
    pub(crate) fn ended(&mut self, end: Timestamp, key: &Bytes, flow: &mut Flow<'_>) {
        if let Some(closing) = &self.closing {
            closing.remove(self.rules.closes(end), key, flow);
        }
        if let Some((expiring, retain_ms)) = &self.expiring {
            expiring.remove(self.rules.expires(end, *retain_ms), key, flow);
        }
        flow.put(self.table, key.clone(), None);
    }

    /// Tells of an update, unless those that follow are to hear of it at the window's close.
    pub(crate) fn tell(
        &mut self,
        window: &Windowed<K>,
        change: &Change<S>,
        meta: &RecordMeta,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        match &mut self.next {
            Some(next) if !self.rules.on_close => next.push(Keyed { key: window, value: change, meta }, flow),
            _ => Ok(()),
        }
    }

    /// Whether [`settle`](WindowRows::settle) has anything to do; it wants all rows in the flow.
    pub(crate) fn is_due(&mut self, now: Timestamp, flow: &mut Flow<'_>) -> Result<bool, ProcessError> {
        let closes = match &mut self.closing {
            Some(closing) => closing.is_due(now, flow)?,
            None => false,
        };
        match &mut self.expiring {
            Some((expiring, _)) if !closes => expiring.is_due(now, flow),
            _ => Ok(closes),
        }
    }

    /// Tells of the windows that have closed, and drops some that have expired: those, by their keys.
    pub(crate) fn settle(
        &mut self,
        now: Timestamp,
        meta: &RecordMeta,
        flow: &mut Flow<'_>,
    ) -> Result<Vec<Bytes>, ProcessError> {
        self.tell_closed(now, meta, flow)?;
        let Some((expiring, _)) = &mut self.expiring else { return Ok(Vec::new()) };
        let limit = EXPIRED_AT_ONCE + EXPIRED_PER_BEGUN * self.begun;
        let dropped: Vec<_> = expiring.take(now, limit, flow)?.into_iter().map(|(_, key)| key).collect();
        dropped.iter().for_each(|key| flow.put(self.table, key.clone(), None));
        Ok(dropped)
    }

    /// In the order of their ends, then their keys, as Kafka's time-ordered stores have them (KIP-825); with the headers
    /// of the record that closes them.
    fn tell_closed(
        &mut self,
        now: Timestamp,
        meta: &RecordMeta,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let (Some(closing), Some(next)) = (&mut self.closing, &mut self.next) else { return Ok(()) };
        for (_, key) in closing.take(now, usize::MAX, flow)? {
            let row = Row::<S>::load(self.format, self.table, &key, flow)?;
            let Some(value) = row.value else { continue };
            let window = decode_ordered(&key).map_err(ProcessError::record)?;
            let change = Change { old: None, new: Some(value) };
            next.push(Keyed { key: &window, value: &change, meta: &meta.at(row.time) }, flow)?;
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.time.close(flow);
        self.next.as_mut().map_or(Ok(()), |next| next.close(flow))
    }

    pub(crate) fn abort(&mut self) {
        self.time.abort();
        let dues = self.closing.iter_mut().chain(self.expiring.iter_mut().map(|(due, _)| due));
        dues.for_each(Due::abort);
        if let Some(next) = &mut self.next {
            next.abort();
        }
    }
}
