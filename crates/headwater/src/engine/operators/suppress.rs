//! Holding the updates of a table back (KIP-328): of each row only the last is told, and not before its time.
//!
//! As Kafka's `KTableSuppressProcessorSupplier`: a row that is held keeps its place while it is updated again, rows are
//! told in the order of their times and then their keys, and an update is told with its own time and headers.
//!
//! ```text
//! rows   key  ->  due i64, time i64, length of headers u32 (big-endian), headers, JSON [value before, value now]
//! time   "now", "held"  ->  i64 big-endian: stream time, and how many rows are held where they are limited
//! order  see `Due`
//! ```

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use headwater_core::clock::Timestamp;
use headwater_core::codec::{Codec, Json};
use headwater_core::header::Headers;
use headwater_core::key::{Key, decode_ordered, ordered};
use headwater_core::store::TableId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::window::{Due, StreamTime};
use super::{Change, Next, Sink};
use crate::engine::flow::{Flow, Keyed, ProcessError, RecordMeta};

const HELD: &[u8] = b"held";
const HEADER_BYTES: usize = 2 * size_of::<i64>() + size_of::<u32>();

/// When rows are told, and how many are held.
pub(crate) struct SuppressRules<K> {
    /// When a row is told that was updated at a time.
    pub(crate) due: Arc<dyn Fn(&K, Timestamp) -> Timestamp + Send + Sync>,
    /// Whether rows that are gone by then are told, too.
    pub(crate) tells_gone: bool,
    pub(crate) limit: Option<Limit>,
}

impl<K> Clone for SuppressRules<K> {
    fn clone(&self) -> Self {
        Self { due: self.due.clone(), ..*self }
    }
}

/// How many rows are held, and what is done about more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) rows: u64,
    /// Whether the shard stops, instead of telling the first rows early.
    pub(crate) stops: bool,
}

/// Where rows are held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SuppressTables {
    pub(crate) rows: TableId,
    pub(crate) order: TableId,
    pub(crate) time: TableId,
}

/// Holds the updates of a table back.
pub(crate) struct Suppress<K, V> {
    name: Arc<str>,
    rules: SuppressRules<K>,
    tables: SuppressTables,
    time: StreamTime,
    order: Due,
    held: Option<u64>,
    next: Next<K, Change<V>>,
}

/// A row that is held.
pub(crate) struct Held<V> {
    due: Timestamp,
    time: Timestamp,
    headers: Headers,
    pub(crate) before: Option<V>,
    now: Option<V>,
}

impl<V: Serialize + DeserializeOwned> Held<V> {
    pub(crate) fn load(table: TableId, key: &[u8], flow: &Flow<'_>) -> Result<Option<Self>, ProcessError> {
        flow.get(table, key)?.map(|row| Self::decode(row).map_err(ProcessError::Record)).transpose()
    }

    fn decode(mut row: Bytes) -> Result<Self, String> {
        let malformed = || "a row that is held back is malformed".to_owned();
        if row.len() < HEADER_BYTES {
            return Err(malformed());
        }
        let (due, time, length) =
            (Timestamp(row.get_i64()), Timestamp(row.get_i64()), row.get_u32() as usize);
        if row.len() < length {
            return Err(malformed());
        }
        let headers = Headers::decode(row.split_to(length)).map_err(|error| error.to_string())?;
        let advice = "give the topology another version if its shape has changed";
        let values: Result<(Option<V>, Option<V>), _> = Json.decode(&row);
        let (before, now) =
            values.map_err(|error| format!("a value that is held back: {error}; {advice}"))?;
        Ok(Self { due, time, headers, before, now })
    }

    fn encode(&self) -> Result<Bytes, ProcessError> {
        let values = serde_json::to_vec(&(&self.before, &self.now)).map_err(ProcessError::record)?;
        let headers = self.headers.encoded();
        let mut row = BytesMut::with_capacity(HEADER_BYTES + headers.len() + values.len());
        row.put_i64(self.due.0);
        row.put_i64(self.time.0);
        row.put_u32(u32::try_from(headers.len()).map_err(ProcessError::record)?);
        row.put_slice(headers);
        row.put_slice(&values);
        Ok(row.freeze())
    }
}

impl<K: Key, V> Suppress<K, V>
where
    V: Clone + Serialize + DeserializeOwned + Send,
{
    pub(crate) fn new(
        name: &str,
        rules: SuppressRules<K>,
        tables: SuppressTables,
        next: Next<K, Change<V>>,
    ) -> Self {
        let (time, order) = (StreamTime::new(tables.time), Due::new(tables.order, 0));
        Self { name: name.into(), rules, tables, time, order, held: None, next }
    }

    /// Holds an update; a row that is held already keeps its place, and the value that was told before.
    fn hold(&mut self, item: Keyed<'_, K, Change<V>>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let key = ordered(item.key).map_err(ProcessError::key)?;
        let RecordMeta { timestamp: time, headers, .. } = item.meta.clone();
        let (due, before) = match Held::load(self.tables.rows, &key, flow)? {
            Some(held) => (held.due, held.before),
            None => {
                let due = (self.rules.due)(item.key, time);
                self.order.add(due, &key, flow)?;
                self.count(1, flow)?;
                (due, item.value.old.clone())
            }
        };
        let held = Held { due, time, headers, before, now: item.value.new.clone() };
        flow.put(self.tables.rows, key, Some(held.encode()?));
        Ok(())
    }

    /// How many are held now, where they are limited.
    fn count(&mut self, more: i64, flow: &Flow<'_>) -> Result<u64, ProcessError> {
        if self.rules.limit.is_none() {
            return Ok(0);
        }
        let held = match self.held {
            Some(held) => held,
            None => flow.get(self.tables.time, HELD)?.map_or(0, |mut row| row.get_u64()),
        };
        let held = held.saturating_add_signed(more);
        self.held = Some(held);
        Ok(held)
    }

    fn tell_due(
        &mut self,
        now: Timestamp,
        item: &RecordMeta,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        if self.order.is_due(now, flow)? {
            self.tell(now, usize::MAX, item, flow)?;
        }
        let Some(limit) = self.rules.limit else { return Ok(()) };
        let held = self.count(0, flow)?;
        if held > limit.rows && limit.stops {
            let (name, most) = (&self.name, limit.rows);
            let advice = "raise the limit, or shorten the wait";
            return Err(ProcessError::Record(format!(
                "\"{name}\" holds {held} rows back of at most {most}: {advice}"
            )));
        }
        let many = usize::try_from(held.saturating_sub(limit.rows)).unwrap_or(usize::MAX);
        if many == 0 { Ok(()) } else { self.tell(Timestamp(i64::MAX), many, item, flow) }
    }

    fn tell(
        &mut self,
        now: Timestamp,
        limit: usize,
        item: &RecordMeta,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        for (_, key) in self.order.take(now, limit, flow)? {
            let Some(held) = Held::<V>::load(self.tables.rows, &key, flow)? else { continue };
            flow.put(self.tables.rows, key.clone(), None);
            self.count(-1, flow)?;
            if held.now.is_none() && !self.rules.tells_gone {
                continue;
            }
            let key: K = decode_ordered(&key).map_err(ProcessError::record)?;
            let meta = RecordMeta { timestamp: held.time, headers: held.headers, ..item.clone() };
            let change = Change { old: held.before, new: held.now };
            self.next.push(Keyed { key: &key, value: &change, meta: &meta }, flow)?;
        }
        Ok(())
    }
}

impl<K: Key, V> Sink<K, Change<V>> for Suppress<K, V>
where
    V: Clone + Serialize + DeserializeOwned + Send,
{
    fn push(&mut self, item: Keyed<'_, K, Change<V>>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let now = self.time.observe(item.meta.timestamp, flow)?;
        self.hold(item, flow)?;
        self.tell_due(now, item.meta, flow)
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.time.close(flow);
        if let Some(held) = self.held {
            let row = Bytes::copy_from_slice(&held.to_be_bytes());
            flow.put(self.tables.time, Bytes::from_static(HELD), Some(row));
        }
        self.next.close(flow)
    }

    fn abort(&mut self) {
        self.time.abort();
        self.order.abort();
        self.held = None;
        self.next.abort();
    }
}
