//! What a table that keeps versions of its rows tells of the past, from its bytes alone: whoever has a shard answers for
//! it without knowing its types.
//!
//! The rows are those of `operators::versioned`. The versions of a key stand side by side in the order of their times,
//! since a key's row there ends with the time, in eight bytes.
//!
//! Only what is sure is told: before the history a row is known if it has not changed since, and otherwise nothing is.

use std::ops::{Bound, ControlFlow};

use bytes::{Bytes, BytesMut};
use headwater_core::clock::Timestamp;
use headwater_core::store::{Direction, KeyRange, StoreError, TableId};

use super::operators::VERSIONED_TABLES;
use super::operators::window::StreamTime;
use super::state::StateRead;

const TIME_BYTES: usize = size_of::<i64>();

/// Where a table keeps its versions, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct History {
    versions: TableId,
    time: TableId,
    history_ms: i64,
}

/// Why the past is not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Untold {
    #[error("its history begins at {} ms since 1970", .0.0)]
    BeforeHistory(Timestamp),
    #[error("a kept version is malformed")]
    Malformed,
    #[error("{0}")]
    State(#[from] StoreError),
}

/// A value that a key had from a time on, as JSON; or that it had none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) time: Timestamp,
    pub(crate) value: Option<Bytes>,
}

impl History {
    /// That of the table `name` among the tables of its topology.
    pub(crate) fn of(name: &str, tables: &[String], history_ms: i64) -> Option<Self> {
        let [_, versions, _, time] = VERSIONED_TABLES;
        let table = |part: &str| {
            let index = tables.iter().position(|table| *table == format!("{name}.{part}"))?;
            u8::try_from(index).ok().map(TableId)
        };
        Some(Self { versions: table(versions)?, time: table(time)?, history_ms })
    }

    /// The earliest time that everything is known of.
    fn begins(&self, state: &dyn StateRead) -> Result<Timestamp, Untold> {
        let Some(now) = state.get(self.time, StreamTime::KEY)? else { return Ok(Timestamp(i64::MIN)) };
        let now = StreamTime::of_row(&now).ok_or(Untold::Malformed)?;
        Ok(now.plus_ms(self.history_ms.saturating_neg()))
    }

    /// The version that a key had at a time.
    pub(crate) fn as_of(
        &self,
        key: &[u8],
        time: Timestamp,
        state: &dyn StateRead,
    ) -> Result<Option<Version>, Untold> {
        let begins = self.begins(state)?;
        if time >= begins {
            return self.last(key, time, state);
        }
        // The last version of a key is kept however old it is.
        match self.last(key, Timestamp(i64::MAX), state)? {
            Some(last) if last.time <= time => Ok(Some(last)),
            _ => Err(Untold::BeforeHistory(begins)),
        }
    }

    /// The last version of a key up to a time.
    fn last(&self, key: &[u8], time: Timestamp, state: &dyn StateRead) -> Result<Option<Version>, Untold> {
        let range = self.within(key, Timestamp(i64::MIN), time).backward();
        let mut found = None;
        self.visit(&range, state, &mut |_, version| {
            found = Some(version);
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// The versions of a key that held at some moment between two times, both included, as far as they are kept; with the
    /// one that follows the last of them.
    pub(crate) fn versions(
        &self,
        key: &[u8],
        (from, to): (Timestamp, Timestamp),
        state: &dyn StateRead,
    ) -> Result<Vec<Version>, Untold> {
        let mut versions: Vec<_> = self.last(key, from, state)?.into_iter().collect();
        let Some(after) = from.0.checked_add(1) else { return Ok(versions) };
        let rest = self.within(key, Timestamp(after), Timestamp(i64::MAX));
        self.visit(&rest, state, &mut |_, version| {
            let is_beyond = version.time > to;
            versions.push(version);
            if is_beyond { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(versions)
    }

    /// The keys of a range that had a value at a time, with it, up to `limit` of them in order.
    pub(crate) fn page(
        &self,
        keys: &KeyRange,
        time: Timestamp,
        limit: usize,
        state: &dyn StateRead,
    ) -> Result<Vec<(Bytes, Version)>, Untold> {
        let begins = self.begins(state)?;
        if time < begins {
            return Err(Untold::BeforeHistory(begins));
        }
        let mut rows: Vec<(Bytes, Version)> = Vec::new();
        let mut current: Option<(Bytes, Version)> = None;
        self.visit(&of_keys(keys), state, &mut |key, version| {
            if current.as_ref().is_some_and(|(of, _)| of != key) {
                rows.extend(current.take().filter(|(_, version)| version.value.is_some()));
            }
            if rows.len() >= limit {
                return ControlFlow::Break(());
            }
            if version.time <= time {
                current = Some((Bytes::copy_from_slice(key), version));
            }
            ControlFlow::Continue(())
        })?;
        rows.extend(current.filter(|(_, version)| version.value.is_some()));
        rows.truncate(limit);
        Ok(rows)
    }

    /// How many keys had a value at a time.
    pub(crate) fn count(&self, time: Timestamp, state: &dyn StateRead) -> Result<u64, Untold> {
        let begins = self.begins(state)?;
        if time < begins {
            return Err(Untold::BeforeHistory(begins));
        }
        // The key whose versions are visited, and whether it had a value at that time as far as they were.
        let (mut current, mut has_value, mut count) = (Vec::new(), false, 0);
        self.visit(&KeyRange::all(), state, &mut |key, version| {
            if current != key {
                count += u64::from(std::mem::take(&mut has_value));
                current.clear();
                current.extend_from_slice(key);
            }
            if version.time <= time {
                has_value = version.value.is_some();
            }
            ControlFlow::Continue(())
        })?;
        Ok(count + u64::from(has_value))
    }

    fn within(&self, key: &[u8], from: Timestamp, to: Timestamp) -> KeyRange {
        let (from, to) = (Bound::Included(at(key, from)), Bound::Included(at(key, to)));
        KeyRange { from, to, direction: Direction::Forward }
    }

    /// Visits versions with the keys that they are of.
    fn visit(
        &self,
        range: &KeyRange,
        state: &dyn StateRead,
        visit: &mut dyn FnMut(&[u8], Version) -> ControlFlow<()>,
    ) -> Result<(), Untold> {
        let mut malformed = false;
        state.scan(self.versions, range, &mut |row, value| match read(row, value) {
            Some((key, version)) => visit(key, version),
            None => {
                malformed = true;
                ControlFlow::Break(())
            }
        })?;
        if malformed { Err(Untold::Malformed) } else { Ok(()) }
    }
}

/// The row of a key's version of a time.
fn at(key: &[u8], time: Timestamp) -> Bytes {
    let mut row = BytesMut::with_capacity(key.len() + TIME_BYTES);
    row.extend_from_slice(key);
    row.extend_from_slice(&(time.0 ^ i64::MIN).to_be_bytes());
    row.freeze()
}

fn read<'a>(row: &'a [u8], value: &[u8]) -> Option<(&'a [u8], Version)> {
    let (key, time) = row.split_last_chunk()?;
    let time = Timestamp(i64::from_be_bytes(*time) ^ i64::MIN);
    let value = match value.split_first()? {
        (0, []) => None,
        (1, json) => Some(Bytes::copy_from_slice(json)),
        _ => return None,
    };
    Some((key, Version { time, value }))
}

/// The versions of the keys in a range: no key is the beginning of another, so only an end that is itself in or out of
/// the range moves, to behind its last version.
fn of_keys(keys: &KeyRange) -> KeyRange {
    let last = |key: &Bytes| at(key, Timestamp(i64::MAX));
    let from = match &keys.from {
        Bound::Excluded(key) => Bound::Excluded(last(key)),
        other => other.clone(),
    };
    let to = match &keys.to {
        Bound::Included(key) => Bound::Included(last(key)),
        other => other.clone(),
    };
    KeyRange { from, to, direction: Direction::Forward }
}
