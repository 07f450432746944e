//! The state store: where topologies keep what they have folded, with the position that it stands at.
//!
//! State is local and derived: it can be thrown away and folded again from the log. What must hold is that state and
//! position never disagree, and that damage is noticed.

use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;

use crate::position::Position;
use crate::topic::Partition;

/// The longest key of a table, in bytes.
pub const KEY_BYTES_MAX: usize = 1_900;

/// Opens, lists and removes the stores of a data directory.
pub trait StateStores: Send + Sync + 'static {
    /// Opens a store, making it if there is none. Opening an open store gives the same one.
    ///
    /// Tables are known by their names: opening with other tables, or in another order, keeps the contents of every
    /// table, also of those that are not named. [`TableId`] is the index into `tables`.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Corrupt`] or [`StoreErrorKind::Unavailable`], naming the store.
    fn open(&self, name: &str, tables: &[&str]) -> Result<Arc<dyn StateStore>, StoreError>;

    /// The names of all stores, in order.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Unavailable`].
    fn names(&self) -> Result<Vec<String>, StoreError>;

    /// Removes a store and its contents; one that is open elsewhere answers [`StoreErrorKind::Unavailable`] from then
    /// on. Removing what is not there is no error.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Unavailable`].
    fn remove(&self, name: &str) -> Result<(), StoreError>;
}

/// Tables of sorted keys, split by shard, with a checkpoint per shard.
///
/// # Contract
///
/// - [`apply`](StateStore::apply) is atomic and durable per call: after a crash, all of its batches are there or none,
///   changes and checkpoint alike.
/// - A read sees the batches of every `apply` that returned before it began, whole, and none in part.
/// - Reads may run beside writes and each other, never wait for a writer, and hold nothing after they return.
/// - Every value that is answered is the value that was put: damage is [`StoreErrorKind::Corrupt`], never data.
/// - Calls block; none of them blocks for longer than its own disk work.
pub trait StateStore: Send + Sync + 'static {
    /// The checkpoint of the shard's last batch; `None` before the first.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Corrupt`].
    fn checkpoint(&self, shard: Partition) -> Result<Option<Checkpoint>, StoreError>;

    /// Applies batches, one per shard, atomically; durable on return.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Full`] if there is no space, with nothing applied; [`StoreErrorKind::KeyTooLong`].
    fn apply(&self, batches: &[StateBatch]) -> Result<(), StoreError>;

    /// The value under a key.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Corrupt`] names store, shard and table.
    fn get(&self, shard: Partition, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Calls `with` once, with a look-up of the shard's values as of one moment: for many keys cheaper than a
    /// [`get`](StateStore::get) for each.
    ///
    /// `with` must be quick, and must not write to the store.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Unavailable`], without a call of `with`; the look-up itself answers as `get` does.
    fn look_up(&self, shard: Partition, with: &mut WithLookUp<'_>) -> Result<(), StoreError> {
        with(&|table, key| self.get(shard, table, key));
        Ok(())
    }

    /// Visits the pairs of a range in order, until `visit` breaks; all of them as of one moment.
    ///
    /// `visit` must not write to the store.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Corrupt`] names store, shard and table.
    fn scan(
        &self,
        shard: Partition,
        table: TableId,
        range: &KeyRange,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError>;

    /// How many keys a table of a shard has.
    ///
    /// Gauges ask for it every few seconds: a store of many rows answers without a look at each.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Corrupt`].
    fn count(&self, shard: Partition, table: TableId) -> Result<u64, StoreError> {
        let mut count = 0;
        self.scan(shard, table, &KeyRange::all(), &mut |_, _| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// Drops everything of a shard, its checkpoint too; durable on return.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Full`].
    fn clear(&self, shard: Partition) -> Result<(), StoreError>;

    /// Bytes that the store occupies.
    fn size_bytes(&self) -> u64;
}

/// What a scan calls with each key and value; breaking ends the scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Answers the value under a key of a table.
pub type LookUp<'a> = dyn Fn(TableId, &[u8]) -> Result<Option<Bytes>, StoreError> + 'a;

/// What is handed a [`LookUp`].
pub type WithLookUp<'a> = dyn FnMut(&LookUp<'_>) + 'a;

/// A table of a store: the index of its name in the list that the store was opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u8);

/// What a shard's state stands at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The inputs up to which the state is folded.
    pub position: Position,
    /// The engine's own note.
    pub note: Bytes,
}

/// Changes of one shard, and the checkpoint that they lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateBatch {
    /// Whose state.
    pub shard: Partition,
    /// Changes, sorted by table and key, at most one for each.
    pub changes: Vec<StateChange>,
    /// Where the shard's state stands afterwards.
    pub checkpoint: Checkpoint,
}

/// One key's new value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The table.
    pub table: TableId,
    /// The key.
    pub key: Bytes,
    /// The value; `None` removes the key.
    pub value: Option<Bytes>,
}

/// Which keys, and from which side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The lower bound.
    pub from: Bound<Bytes>,
    /// The upper bound.
    pub to: Bound<Bytes>,
    /// From which side the range is visited.
    pub direction: Direction,
}

/// From which side a range is visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Smallest key first.
    Forward,
    /// Largest key first.
    Backward,
}

impl KeyRange {
    /// Every key, forward.
    pub fn all() -> Self {
        Self { from: Bound::Unbounded, to: Bound::Unbounded, direction: Direction::Forward }
    }

    /// Every key that starts with `prefix`, forward.
    pub fn prefix(prefix: &[u8]) -> Self {
        Self {
            from: Bound::Included(Bytes::copy_from_slice(prefix)),
            to: after_prefix(prefix).map_or(Bound::Unbounded, |end| Bound::Excluded(end.into())),
            direction: Direction::Forward,
        }
    }

    /// The same range, largest key first.
    #[must_use]
    pub fn backward(self) -> Self {
        Self { direction: Direction::Backward, ..self }
    }

    /// Whether a key lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        let above = match &self.from {
            Bound::Unbounded => true,
            Bound::Included(from) => key >= &from[..],
            Bound::Excluded(from) => key > &from[..],
        };
        let below = match &self.to {
            Bound::Unbounded => true,
            Bound::Included(to) => key <= &to[..],
            Bound::Excluded(to) => key < &to[..],
        };
        above && below
    }
}

/// The smallest key above every key that starts with `prefix`; `None` if there is none.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Why a call on a store failed.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What to do about a [`StoreError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// A value or a page is damaged: throw the shard's state away and fold it again.
    Corrupt,
    /// A key is longer than [`KEY_BYTES_MAX`].
    KeyTooLong,
    /// No space is left.
    Full,
    /// The store is gone or cannot be read or written.
    Unavailable,
}

impl StoreError {
    /// An error of `kind` whose message says what happened, to which store, and what to do.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same with the error that caused it.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// The kind.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_range_holds_exactly_the_keys_that_start_with_it() {
        for prefix in [&b"a"[..], b"a\xff", b"\xff\xff", b""] {
            let range = KeyRange::prefix(prefix);
            for key in [&b""[..], b"a", b"a\xff", b"a\xff\xff", b"b", b"\xff\xff", b"\xff\xff\x01", b"\xfe"] {
                assert_eq!(range.contains(key), key.starts_with(prefix), "{prefix:?} {key:?}");
            }
        }
    }
}
