//! A stream with a stream: values of one key whose times are close, and values alone once their windows have closed.
//!
//! As Kafka's `KStreamJoinWindow` and `KStreamKStreamJoin` (KIP-633, KAFKA-10847): each side keeps its values for as long
//! as a value of the other may come in time, by its own stream time; a value that comes later than that is counted as
//! late, and still joined with what the other side has. A value that makes a result alone waits until the stream time of
//! both sides has passed its window and the grace.
//!
//! ```text
//! ""          key, time, number -> json   values of the left side
//! right       key, time, number -> json   values of the right side
//! due         1 for the left or 2, time, the value's key -> 1     when a value is dropped
//! unmatched   time, 0 for the right or 1, key, number -> json     values that wait to be alone
//! progress    "now" -> three times and a number, 8 bytes each: of both sides together, left, right; the last number
//! ```
//!
//! Values of one key and time are told apart by their numbers, and come in their order. All of it is in the store: after
//! a restart nothing is taken in again that was late before, and nothing is told twice.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use headwater_core::clock::Timestamp;
use headwater_core::codec::{Codec, Json};
use headwater_core::key::{Key, decode_ordered, ordered};
use headwater_core::store::{Direction, KeyRange, TableId};

use crate::topology::Sent;

use crate::engine::flow::{DropReason, Flow, Keyed, ProcessError, RecordMeta};
use crate::engine::operators::window::Due;
use crate::engine::operators::{Next, Shared, Sink};

/// The tables of a join's store, as the names of its spec.
pub(crate) const STREAM_JOIN_TABLES: [&str; 5] = ["", "right", "due", "unmatched", "progress"];

/// Makes a result of a key, the values of both sides, of which one may be missing, and the result's record.
pub(crate) type JoinSides<K, V, W, R> =
    Arc<dyn Fn(&K, Option<&V>, Option<&W>, &RecordMeta) -> R + Send + Sync>;

/// How close two values must be, in milliseconds, as the left side sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Closeness {
    /// How much earlier a value of the right side may be.
    pub(crate) before: i64,
    /// How much later.
    pub(crate) after: i64,
    /// For how long after a window's end values are waited for.
    pub(crate) grace: i64,
}

impl Closeness {
    fn retention(self) -> i64 {
        self.before.saturating_add(self.after).saturating_add(self.grace)
    }

    /// From a value's time to the last that it may be joined with.
    fn ahead(self, is_left: bool) -> i64 {
        if is_left { self.after } else { self.before }
    }
}

/// What both sides of a join share.
pub(crate) struct StreamJoinState {
    pub(crate) name: Arc<str>,
    pub(crate) tables: [TableId; 5],
    pub(crate) close: Closeness,
    progress: Option<Progress>,
    is_kept: bool,
    due: [Due; 2],
    /// No value waits that is earlier; `None` where that is not known.
    waits_from: Option<i64>,
}

/// How far a join has come.
#[derive(Debug, Clone, Copy)]
struct Progress {
    now: i64,
    /// The latest time of the right side, and of the left.
    sides: [i64; 2],
    number: u64,
}

impl Progress {
    const START: Self = Self { now: i64::MIN, sides: [i64::MIN; 2], number: 0 };

    fn encode(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(32);
        bytes.put_i64(self.now);
        self.sides.iter().for_each(|time| bytes.put_i64(*time));
        bytes.put_u64(self.number);
        bytes.freeze()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let at = |index: usize| Some(i64::from_be_bytes(*bytes.get(index * 8..)?.first_chunk()?));
        Some(Self { now: at(0)?, sides: [at(1)?, at(2)?], number: at(3)?.cast_unsigned() })
    }
}

const PROGRESS: &[u8] = b"now";

impl StreamJoinState {
    pub(crate) fn new(name: Arc<str>, tables: [TableId; 5], close: Closeness) -> Self {
        let due = [Due::new(tables[2], 2), Due::new(tables[2], 1)];
        Self { name, tables, close, progress: None, is_kept: true, due, waits_from: None }
    }

    fn rows(&self, is_left: bool) -> TableId {
        self.tables[usize::from(!is_left)]
    }

    fn unmatched(&self) -> TableId {
        self.tables[3]
    }

    /// Takes note of a value's time, and gives it a number.
    fn advance(&mut self, is_left: bool, time: i64, flow: &Flow<'_>) -> Result<Progress, ProcessError> {
        let mut progress = match self.progress {
            Some(progress) => progress,
            None => self.kept(flow)?,
        };
        progress.now = progress.now.max(time);
        let side = &mut progress.sides[usize::from(is_left)];
        *side = time.max(*side);
        progress.number += 1;
        self.progress = Some(progress);
        self.is_kept = false;
        Ok(progress)
    }

    fn kept(&self, flow: &Flow<'_>) -> Result<Progress, ProcessError> {
        let malformed =
            || ProcessError::record(format!("the kept progress of \"{}\" is malformed", self.name));
        let row = flow.get(self.tables[4], PROGRESS)?;
        row.map_or(Ok(Progress::START), |row| Progress::decode(&row).ok_or_else(malformed))
    }

    fn close_batch(&mut self, flow: &mut Flow<'_>) {
        if let Some(progress) = self.progress.filter(|_| !self.is_kept) {
            flow.put(self.tables[4], Bytes::from_static(PROGRESS), Some(progress.encode()));
            self.is_kept = true;
        }
    }

    fn abort(&mut self) {
        self.progress = None;
        self.is_kept = true;
        self.waits_from = None;
        self.due.iter_mut().for_each(Due::abort);
    }

    /// Keeps a value, unless it is too late to be, and drops those whose time is over.
    fn keep(
        &mut self,
        is_left: bool,
        (row, time): (&Bytes, i64),
        value: &Bytes,
        seen: i64,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let table = self.rows(is_left);
        let due = &mut self.due[usize::from(is_left)];
        while due.is_due(Timestamp(seen), flow)? {
            for (_, expired) in due.take(Timestamp(seen), DROPPED_AT_ONCE, flow)? {
                flow.put(table, expired, None);
            }
        }
        let ends = time.saturating_add(self.close.retention());
        if ends <= seen {
            flow.drop_record(&self.name, DropReason::Late);
            return Ok(());
        }
        due.add(Timestamp(ends), row, flow)?;
        flow.put(table, row.clone(), Some(value.clone()));
        Ok(())
    }
}

/// Expired values that are dropped in one step.
const DROPPED_AT_ONCE: usize = 1_000;

/// One side of a join of streams.
pub(crate) struct StreamJoinSide<K, V, O, R> {
    pub(crate) is_left: bool,
    /// Whether a value of this side makes a result alone, and one of the other.
    pub(crate) alone: bool,
    pub(crate) other_alone: bool,
    pub(crate) state: Shared<StreamJoinState>,
    pub(crate) join: JoinSides<K, V, O, R>,
    pub(crate) next: Next<K, R>,
}

impl<K, V, O, R> Sink<K, V> for StreamJoinSide<K, V, O, R>
where
    K: Key,
    V: Sent,
    O: Sent,
    R: Send,
{
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let state = self.state.clone();
        state.with(|state| self.take(item, state, flow))
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.state.with(|state| state.close_batch(flow));
        self.next.close(flow)
    }

    fn abort(&mut self) {
        self.state.with(StreamJoinState::abort);
        self.next.abort();
    }
}

impl<K: Key, V: Sent, O: Sent, R> StreamJoinSide<K, V, O, R> {
    fn take(
        &mut self,
        item: Keyed<'_, K, V>,
        state: &mut StreamJoinState,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let time = item.meta.timestamp.0;
        let progress = state.advance(self.is_left, time, flow)?;
        let row = ordered(&(item.key, time, progress.number)).map_err(ProcessError::key)?;
        let value = Json.encode(item.value).map_err(ProcessError::record)?;
        state.keep(self.is_left, (&row, time), &value, progress.sides[usize::from(self.is_left)], flow)?;
        if time == progress.now {
            self.tell_unmatched(item.meta, progress.now, state, flow)?;
        }
        if self.tell_matches(item, &progress, state, flow)? || !self.alone {
            return Ok(());
        }
        if time.saturating_add(state.close.ahead(self.is_left)) < progress.now {
            let result = (self.join)(item.key, Some(item.value), None, item.meta);
            return self.next.push(Keyed { key: item.key, value: &result, meta: item.meta }, flow);
        }
        let waiting = unmatched_row(time, self.is_left, item.key, progress.number)?;
        flow.put(state.unmatched(), waiting, Some(value));
        state.waits_from = state.waits_from.map(|from| from.min(time));
        Ok(())
    }

    /// Joins a value with those of the other side that are close; whether there were any.
    fn tell_matches(
        &mut self,
        item: Keyed<'_, K, V>,
        progress: &Progress,
        state: &StreamJoinState,
        flow: &mut Flow<'_>,
    ) -> Result<bool, ProcessError> {
        let (time, close) = (item.meta.timestamp.0, state.close);
        let kept_from = progress.sides[usize::from(!self.is_left)]
            .checked_sub(close.retention())
            .map_or(i64::MIN, |over| over.saturating_add(1));
        let from = time.saturating_sub(close.ahead(!self.is_left)).max(kept_from);
        let to = time.saturating_add(close.ahead(self.is_left));
        if from > to {
            return Ok(false);
        }
        let bound = |time: i64, number: u64| ordered(&(item.key, time, number)).map_err(ProcessError::key);
        let range = KeyRange {
            from: Bound::Included(bound(from, 0)?),
            to: Bound::Included(bound(to, u64::MAX)?),
            direction: Direction::Forward,
        };
        let matches = flow.rows(state.rows(!self.is_left), &range)?;
        for (row, other) in &matches {
            let (_, at, number): (K, i64, u64) = decode_ordered(row).map_err(ProcessError::record)?;
            if self.other_alone {
                self.forget_unmatched(at, item.key, number, state, flow)?;
            }
            let other: O = Json.decode(other).map_err(ProcessError::record)?;
            let meta = item.meta.at(Timestamp(at.max(time)));
            let result = (self.join)(item.key, Some(item.value), Some(&other), &meta);
            self.next.push(Keyed { key: item.key, value: &result, meta: &meta }, flow)?;
        }
        Ok(!matches.is_empty())
    }

    fn forget_unmatched(
        &self,
        time: i64,
        key: &K,
        number: u64,
        state: &StreamJoinState,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let row = unmatched_row(time, !self.is_left, key, number)?;
        if flow.get(state.unmatched(), &row)?.is_some() {
            flow.put(state.unmatched(), row, None);
        }
        Ok(())
    }

    /// Tells the values whose windows have closed without a match: by time, and of one time the right side first.
    fn tell_unmatched(
        &mut self,
        meta: &RecordMeta,
        now: i64,
        state: &mut StreamJoinState,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let is_open =
            |time: i64, ahead: i64| time.saturating_add(ahead).saturating_add(state.close.grace) >= now;
        let least = state.close.before.min(state.close.after);
        if !(self.alone || self.other_alone) || state.waits_from.is_some_and(|from| is_open(from, least)) {
            return Ok(());
        }
        let mut waits_from = i64::MAX;
        for (row, value) in
            waiting_rows(state.unmatched(), |time| is_open(time, least), &mut waits_from, flow)?
        {
            let (time, is_left, key, _): (i64, bool, K, u64) =
                decode_ordered(&row).map_err(ProcessError::record)?;
            if is_open(time, state.close.ahead(is_left)) {
                waits_from = waits_from.min(time);
                continue;
            }
            let meta = meta.at(Timestamp(time));
            let result = self.alone_result(&key, is_left, &value, &meta)?;
            flow.put(state.unmatched(), row, None);
            self.next.push(Keyed { key: &key, value: &result, meta: &meta }, flow)?;
        }
        state.waits_from = Some(waits_from);
        Ok(())
    }

    fn alone_result(
        &self,
        key: &K,
        is_left: bool,
        value: &Bytes,
        meta: &RecordMeta,
    ) -> Result<R, ProcessError> {
        Ok(if is_left == self.is_left {
            let mine: V = Json.decode(value).map_err(ProcessError::record)?;
            (self.join)(key, Some(&mine), None, meta)
        } else {
            let other: O = Json.decode(value).map_err(ProcessError::record)?;
            (self.join)(key, None, Some(&other), meta)
        })
    }
}

fn unmatched_row<K: Key>(time: i64, is_left: bool, key: &K, number: u64) -> Result<Bytes, ProcessError> {
    ordered(&(time, is_left, key, number)).map_err(ProcessError::key)
}

/// The rows that wait, up to the first whose window is open for certain, of which the time goes to `open_from`.
fn waiting_rows(
    table: TableId,
    is_open: impl Fn(i64) -> bool,
    open_from: &mut i64,
    flow: &mut Flow<'_>,
) -> Result<Vec<(Bytes, Bytes)>, ProcessError> {
    let mut rows = Vec::new();
    let mut malformed = None;
    flow.scan(table, &KeyRange::all(), &mut |row, value| {
        match waiting_time(row) {
            Ok(time) if is_open(time) => *open_from = time,
            Ok(_) => {
                rows.push((Bytes::copy_from_slice(row), Bytes::copy_from_slice(value)));
                return ControlFlow::Continue(());
            }
            Err(error) => malformed = Some(error),
        }
        ControlFlow::Break(())
    })?;
    malformed.map_or(Ok(rows), Err)
}

/// The time that a row begins with: an integer of 8 bytes in the ordered form.
fn waiting_time(row: &[u8]) -> Result<i64, ProcessError> {
    let time = row.get(..TIME_BYTES).ok_or_else(|| ProcessError::record("a row of a join is malformed"))?;
    decode_ordered(time).map_err(ProcessError::record)
}

const TIME_BYTES: usize = 8;
