//! Values that wait for a table: until stream time has passed theirs by a grace, so that the versions of the table's rows
//! at their times are there (KIP-923).
//!
//! As Kafka's `RocksDBTimeOrderedKeyValueBuffer`: values are handed on in the order of their times, and of one time in
//! that of their keys; one that comes later than the grace does not wait.
//!
//! ```text
//! ""     time, key, number -> partition u32, offset u64, length of the headers u32, headers, json of the value
//! time   "now" -> stream time; "number" -> how many have waited, u64
//! ```

use std::ops::ControlFlow;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use headwater_core::clock::Timestamp;
use headwater_core::codec::{Codec, Json};
use headwater_core::header::Headers;
use headwater_core::key::{Key, decode_ordered, ordered};
use headwater_core::store::{KeyRange, TableId};
use headwater_core::topic::{Offset, Partition};

use crate::engine::flow::{Flow, Keyed, ProcessError, RecordMeta};
use crate::engine::operators::window::StreamTime;
use crate::engine::operators::{Next, Sink};
use crate::topology::Sent;

/// The tables of what waits, as the names of its spec.
pub(crate) const WAITING_TABLES: [&str; 2] = ["", "time"];

/// Where the count is kept.
const NUMBER: &[u8] = b"number";

/// Holds values back.
pub(crate) struct Waiting<K, V> {
    rows: TableId,
    time_table: TableId,
    grace_ms: i64,
    time: StreamTime,
    /// No value waits that is earlier; `None` where that is not known.
    waits_from: Option<i64>,
    next: Next<K, V>,
}

impl<K, V> Waiting<K, V> {
    pub(crate) fn new([rows, time]: [TableId; 2], grace_ms: i64, next: Next<K, V>) -> Self {
        Self { rows, time_table: time, grace_ms, time: StreamTime::new(time), waits_from: None, next }
    }
}

impl<K: Key, V: Sent> Waiting<K, V> {
    fn hold(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let time = item.meta.timestamp.0;
        let number = flow.get(self.time_table, NUMBER)?;
        let number = number.and_then(|row| Some(u64::from_be_bytes(*row.first_chunk()?))).unwrap_or(0) + 1;
        let counted = Bytes::copy_from_slice(&number.to_be_bytes());
        flow.put(self.time_table, Bytes::from_static(NUMBER), Some(counted));
        let row = ordered(&(time, item.key, number)).map_err(ProcessError::key)?;
        flow.put(self.rows, row, Some(encode(item)?));
        self.waits_from = self.waits_from.map(|from| from.min(time));
        Ok(())
    }

    /// Hands on what is of `until` or earlier.
    fn release(&mut self, until: i64, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        if self.waits_from.is_some_and(|from| from > until) {
            return Ok(());
        }
        let mut waits_from = i64::MAX;
        let mut rows = Vec::new();
        flow.scan(self.rows, &KeyRange::all(), &mut |row, value| {
            let time = row.get(..8).and_then(|time| decode_ordered(time).ok());
            // A row that cannot be read is told below.
            if let Some(time) = time.filter(|time: &i64| *time > until) {
                waits_from = time;
                return ControlFlow::Break(());
            }
            rows.push((Bytes::copy_from_slice(row), Bytes::copy_from_slice(value)));
            ControlFlow::Continue(())
        })?;
        for (row, waited) in rows {
            let (time, key, _): (i64, K, u64) = decode_ordered(&row).map_err(ProcessError::record)?;
            let (value, meta) = decode::<V>(waited, Timestamp(time))?;
            flow.put(self.rows, row, None);
            self.next.push(Keyed { key: &key, value: &value, meta: &meta }, flow)?;
        }
        self.waits_from = Some(waits_from);
        Ok(())
    }
}

fn encode<K, V: Sent>(item: Keyed<'_, K, V>) -> Result<Bytes, ProcessError> {
    let json = Json.encode(item.value).map_err(ProcessError::record)?;
    let headers = item.meta.headers.encoded();
    let mut bytes = BytesMut::with_capacity(16 + headers.len() + json.len());
    bytes.put_u32(item.meta.partition.0);
    bytes.put_u64(item.meta.offset.0);
    bytes.put_u32(u32::try_from(headers.len()).map_err(ProcessError::record)?);
    bytes.put_slice(headers);
    bytes.put(json);
    Ok(bytes.freeze())
}

fn decode<V: Sent>(mut bytes: Bytes, timestamp: Timestamp) -> Result<(V, RecordMeta), ProcessError> {
    let malformed = || ProcessError::record("a value that waits for a table is malformed");
    let partition = Partition(bytes.try_get_u32().map_err(|_| malformed())?);
    let offset = Offset(bytes.try_get_u64().map_err(|_| malformed())?);
    let length = bytes.try_get_u32().map_err(|_| malformed())? as usize;
    if length > bytes.len() {
        return Err(malformed());
    }
    let headers = Headers::decode(bytes.split_to(length)).map_err(ProcessError::record)?;
    let value = Json.decode(&bytes).map_err(ProcessError::record)?;
    Ok((value, RecordMeta { timestamp, partition, offset, headers }))
}

impl<K: Key, V: Sent> Sink<K, V> for Waiting<K, V> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let time = item.meta.timestamp;
        let now = self.time.observe(time, flow)?;
        let until = now.0.saturating_sub(self.grace_ms);
        if time.0 < until {
            self.next.push(item, flow)?;
        } else {
            self.hold(item, flow)?;
        }
        self.release(until, flow)
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.time.close(flow);
        self.next.close(flow)
    }

    fn abort(&mut self) {
        self.time.abort();
        self.waits_from = None;
        self.next.abort();
    }
}
