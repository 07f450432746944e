//! What a table of windows tells by times, from its bytes alone: whoever has a shard answers for it without knowing its
//! types.
//!
//! A row's key is a key, then the window's start and its end, in eight bytes each: so the windows of a key are a range, in
//! the order of their starts. No more rows are read than are told, but for one or two of each key.

use std::ops::{Bound, ControlFlow};

use bytes::{Bytes, BytesMut};
use headwater_core::clock::Timestamp;
use headwater_core::store::{KeyRange, StoreError, TableId};

use super::state::StateRead;

const TIME_BYTES: usize = size_of::<i64>();

type Rows = Vec<(Bytes, Bytes)>;

/// Why windows are not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoSpans {
    #[error("its rows are no windows")]
    Malformed,
    #[error("{0}")]
    State(#[from] StoreError),
}

/// The windows of one key that end at a time or later, of a range of them that ends with the last to be told.
///
/// Of one key, whoever begins later ends later, or the windows would not be sessions, nor of one length.
pub(crate) fn ending_from(
    table: TableId,
    windows: &KeyRange,
    time: Timestamp,
    state: &dyn StateRead,
) -> Result<Rows, NoSpans> {
    let (mut rows, mut malformed) = (Rows::new(), false);
    state.scan(table, &windows.clone().backward(), &mut |row, value| {
        let Some((_, _, end)) = span(row) else {
            malformed = true;
            return ControlFlow::Break(());
        };
        if end < time {
            return ControlFlow::Break(());
        }
        rows.push((Bytes::copy_from_slice(row), Bytes::copy_from_slice(value)));
        ControlFlow::Continue(())
    })?;
    rows.reverse();
    if malformed { Err(NoSpans::Malformed) } else { Ok(rows) }
}

/// The first windows of a range, of any keys, that begin between two times, both included.
pub(crate) fn beginning(
    table: TableId,
    windows: &KeyRange,
    (from, to): (Timestamp, Timestamp),
    limit: usize,
    state: &dyn StateRead,
) -> Result<Rows, NoSpans> {
    let (mut rows, mut range) = (Rows::new(), Some(windows.clone()));
    while let Some(part) = range.take().filter(|_| rows.len() < limit) {
        let (mut next, mut malformed) = (None, false);
        state.scan(table, &part, &mut |row, value| {
            let Some((key, start, _)) = span(row) else {
                malformed = true;
                return ControlFlow::Break(());
            };
            if start < from {
                next = Some(Bound::Included(at(key, from, Timestamp(i64::MIN))));
            } else if start > to {
                next = Some(Bound::Excluded(at(key, Timestamp(i64::MAX), Timestamp(i64::MAX))));
            } else {
                rows.push((Bytes::copy_from_slice(row), Bytes::copy_from_slice(value)));
            }
            let is_done = next.is_some() || rows.len() == limit;
            if is_done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if malformed {
            return Err(NoSpans::Malformed);
        }
        range = next.map(|next| KeyRange { from: next, ..part });
    }
    Ok(rows)
}

/// A window's key, its start and its end.
fn span(row: &[u8]) -> Option<(&[u8], Timestamp, Timestamp)> {
    let (row, end) = row.split_last_chunk()?;
    let (key, start) = row.split_last_chunk()?;
    let time = |bytes: &[u8; TIME_BYTES]| Timestamp(i64::from_be_bytes(*bytes) ^ i64::MIN);
    Some((key, time(start), time(end)))
}

fn at(key: &[u8], start: Timestamp, end: Timestamp) -> Bytes {
    let mut row = BytesMut::with_capacity(key.len() + 2 * TIME_BYTES);
    row.extend_from_slice(key);
    for time in [start, end] {
        row.extend_from_slice(&(time.0 ^ i64::MIN).to_be_bytes());
    }
    row.freeze()
}
