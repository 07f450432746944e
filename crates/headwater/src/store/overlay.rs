//! A shard's state as the runtime writes it and queries read it: committed changes in memory, over a store.
//!
//! A commit is seen at once, whole, with the checkpoint that it leads to. The store takes changes over later, many at a
//! time: a flush *freezes* the changes so far, so that new ones gather in a fresh layer while the frozen ones are
//! written, and drops the frozen layer when the store has them. A flush that fails is tried again with the same layer.
//!
//! - Readers never wait for a commit, however large, nor for a flush: the layers are kept twice (`left_right`), which a
//!   commit pays for by being applied twice. A reader makes the next commit but one wait until it is done, so what
//!   reads under the lock is bounded: one key, or one page.
//! - What a reader sees is the layers over the store. The store moves under it only by taking over the frozen layer,
//!   which hides that; the next layer cannot be frozen while a reader is about.
//! - The store is behind, never ahead: after a crash its checkpoint says from where to fold again.

mod layers;

use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use headwater_core::store::{
    Checkpoint, Direction, KEY_BYTES_MAX, KeyRange, LookUp, StateBatch, StateChange, StateStore, StoreError,
    TableId, Visit,
};
use headwater_core::topic::Partition;
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};

use self::layers::{Freeze, Frozen, Layers, Write};
use super::budget::MemoryBudget;
use super::left_right::LeftRight;
use crate::engine::state::StateRead;

/// The state of one shard.
///
/// One task commits; any task reads.
pub struct ShardState {
    store: Arc<dyn StateStore>,
    shard: Partition,
    layers: LeftRight<Layers, Write>,
    /// Bytes of the layers, as told to the budget.
    bytes: AtomicUsize,
    budget: Arc<MemoryBudget>,
    /// Held exclusively while the store takes a layer over.
    flushing: RwLock<Flushing>,
}

/// Whether the store may still take layers over.
struct Flushing {
    closed: bool,
}

impl fmt::Debug for ShardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardState").field("shard", &self.shard).finish_non_exhaustive()
    }
}

/// Rows of a range, and the checkpoint they stand at.
#[derive(Debug)]
pub struct RowPage {
    /// Keys and values, in the range's direction.
    pub rows: Vec<(Bytes, Bytes)>,
    /// The rest of the range, if it has more rows.
    pub next: Option<KeyRange>,
    /// What the rows stand at.
    pub checkpoint: Arc<Checkpoint>,
}

impl ShardState {
    /// Opens a shard's state, which stands where its store does; nobody flushes it but [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// As [`StateStore::checkpoint`].
    pub fn open(store: Arc<dyn StateStore>, shard: Partition) -> Result<Arc<Self>, StoreError> {
        Self::open_within(store, shard, Arc::new(MemoryBudget::new(usize::MAX)))
    }

    /// The same, counting its unflushed changes against a budget.
    ///
    /// # Errors
    ///
    /// As [`StateStore::checkpoint`].
    pub(super) fn open_within(
        store: Arc<dyn StateStore>,
        shard: Partition,
        budget: Arc<MemoryBudget>,
    ) -> Result<Arc<Self>, StoreError> {
        let checkpoint = store.checkpoint(shard)?.map(Arc::new);
        let layers = LeftRight::new(|| Layers::at(checkpoint.clone()));
        let flushing = RwLock::new(Flushing { closed: false });
        Ok(Arc::new(Self { store, shard, layers, bytes: AtomicUsize::new(0), budget, flushing }))
    }

    /// Whose state it is.
    pub fn shard(&self) -> Partition {
        self.shard
    }

    /// Where the state stands; `None` before the first commit.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.layers.read().checkpoint().map(|checkpoint| Checkpoint::clone(checkpoint))
    }

    /// Applies changes, at most one for each key, with the checkpoint they lead to: readers see all of it or nothing.
    ///
    /// Sorted changes are applied faster.
    ///
    /// # Panics
    ///
    /// If a key is longer than [`KEY_BYTES_MAX`], which the caller has to refuse: the store would never take it.
    pub fn commit(&self, changes: Vec<StateChange>, checkpoint: Checkpoint) {
        let fits = changes.iter().all(|change| change.key.len() <= KEY_BYTES_MAX);
        assert!(fits, "keys that are too long are refused before they are committed");
        self.write(Write::Commit { changes, checkpoint: Arc::new(checkpoint) });
    }

    /// The value under a key.
    ///
    /// # Errors
    ///
    /// As [`StateStore::get`].
    pub fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let layers = self.layers.read();
        match layers.get(table, key) {
            Some(value) => Ok(value.clone()),
            None => self.store.get(self.shard, table, key),
        }
    }

    /// Calls `with` with the state as of one commit: for many keys cheaper than a [`get`](Self::get) for each.
    ///
    /// The commit after the next waits for it: `with` must be quick, and must not commit.
    ///
    /// # Errors
    ///
    /// As [`StateStore::look_up`].
    ///
    /// # Panics
    ///
    /// If the store breaks its contract and does not call.
    pub(crate) fn look_up<T>(&self, with: impl FnOnce(&dyn StateRead) -> T) -> Result<T, StoreError> {
        self.look_up_at(with).map(|(answer, _)| answer)
    }

    /// The same, with the checkpoint that it is as of.
    pub(crate) fn look_up_at<T>(
        &self,
        with: impl FnOnce(&dyn StateRead) -> T,
    ) -> Result<(T, Arc<Checkpoint>), StoreError> {
        // The layers first: whatever the store takes over afterwards, they still have.
        let layers = self.layers.read();
        let (mut with, mut answer) = (Some(with), None);
        self.store.look_up(self.shard, &mut |stored| {
            let with = with.take().expect("a store calls once");
            answer = Some(with(&LookUpBelow { state: self, layers: &layers, stored }));
        })?;
        Ok((answer.expect("a store calls what looks up"), layers.checkpoint_or_default()))
    }

    /// The value under a key, and the checkpoint it stands at.
    ///
    /// # Errors
    ///
    /// As [`StateStore::get`].
    pub fn get_at(&self, table: TableId, key: &[u8]) -> Result<(Option<Bytes>, Arc<Checkpoint>), StoreError> {
        let layers = self.layers.read();
        let value = match layers.get(table, key) {
            Some(value) => value.clone(),
            None => self.store.get(self.shard, table, key)?,
        };
        Ok((value, layers.checkpoint_or_default()))
    }

    /// Visits the rows of a range in order, until `visit` breaks; all of them as of one commit.
    ///
    /// Commits wait for it in the end: `visit` must be quick, and must not commit.
    ///
    /// # Errors
    ///
    /// As [`StateStore::scan`].
    pub fn scan(&self, table: TableId, range: &KeyRange, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.layers.read().scan(&*self.store, self.shard, table, range, visit)
    }

    /// The first rows of a range, up to `limit`, and what is left of the range.
    ///
    /// # Errors
    ///
    /// As [`StateStore::scan`].
    pub fn page(&self, table: TableId, range: &KeyRange, limit: usize) -> Result<RowPage, StoreError> {
        let layers = self.layers.read();
        let (mut rows, mut more) = (Vec::new(), false);
        layers.scan(&*self.store, self.shard, table, range, &mut |key, value| {
            if rows.len() == limit {
                more = true;
                return ControlFlow::Break(());
            }
            rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            ControlFlow::Continue(())
        })?;
        let next = more.then(|| rest(range, rows.last().map(|(key, _)| key)));
        Ok(RowPage { rows, next, checkpoint: layers.checkpoint_or_default() })
    }

    /// How many keys a table has, and the checkpoint at which it has them.
    ///
    /// Costs one look-up in the store for each key that is not flushed yet, and waits for a flush that is under way.
    ///
    /// # Errors
    ///
    /// As [`StateStore::count`].
    pub fn count_at(&self, table: TableId) -> Result<(u64, Arc<Checkpoint>), StoreError> {
        let _standstill = self.flushing.read();
        let (unflushed, checkpoint) = {
            let layers = self.layers.read();
            (layers.presence(table), layers.checkpoint_or_default())
        };
        let mut count = self.store.count(self.shard, table)?;
        for (key, present) in unflushed {
            let stored = self.store.get(self.shard, table, &key)?.is_some();
            count = (count + u64::from(present)).saturating_sub(u64::from(stored));
        }
        Ok((count, checkpoint))
    }

    /// Writes what has been committed so far to the store; durable on return.
    ///
    /// # Errors
    ///
    /// As [`StateStore::apply`]; nothing is lost, and the next flush tries again.
    pub fn flush(&self) -> Result<(), StoreError> {
        // What a flush that failed has left, and then what was committed since.
        for _ in 0..2 {
            let Some(flush) = self.begin_flush() else { break };
            let result = apply(&*self.store, &[flush.batch()]);
            flush.end(result.is_ok());
            result?;
        }
        Ok(())
    }

    /// Reads the shard's rows in the store while they stand still: nothing is flushed meanwhile.
    ///
    /// To be over soon, on a thread that may block: commits go on, and gather in memory.
    pub fn at_rest<T>(&self, read: impl FnOnce(&dyn StateStore) -> T) -> T {
        let _standstill = self.flushing.read();
        read(&*self.store)
    }

    /// Ends the writing to the store: no flush is under way afterwards, and none will be.
    ///
    /// What was committed stays readable. To be called before the shard's rows in the store are written by another.
    pub fn close(&self) {
        self.flushing.write().closed = true;
        self.give_back(self.bytes.swap(0, Ordering::Relaxed));
    }

    /// Whether what is committed still goes to the store: it was not [closed](Self::close).
    pub fn is_open(&self) -> bool {
        // Who holds it exclusively is flushing, which nobody does to a closed state.
        self.flushing.try_read().is_none_or(|flushing| !flushing.closed)
    }

    /// Whether something was committed that the store does not have.
    pub(super) fn is_dirty(&self) -> bool {
        self.layers.read().is_dirty()
    }

    pub(super) fn store(&self) -> &Arc<dyn StateStore> {
        &self.store
    }

    /// Freezes what was committed, unless a frozen layer is still there; `None` if there is nothing to write.
    pub(super) fn begin_flush(&self) -> Option<Flush<'_>> {
        let guard = self.flushing.write();
        if guard.closed {
            return None;
        }
        // The second copy's layer is retired through the freeze, so that it is dropped outside the lock.
        let retired = Arc::new(Mutex::default());
        let froze = self.layers.write_if(|layers| {
            (layers.frozen().is_none() && layers.is_dirty())
                .then(|| Write::Freeze(Freeze { frozen: None, retired: retired.clone() }))
        });
        if froze.is_some() {
            self.layers.settle();
        }
        let frozen = self.layers.read().frozen().cloned()?;
        Some(Flush { state: self, frozen, _guard: guard })
    }

    fn write(&self, write: Write) {
        let grown = self.layers.write(write);
        self.bytes.fetch_add(grown as usize, Ordering::Relaxed);
        self.budget.take(grown);
    }

    fn give_back(&self, bytes: usize) {
        self.budget.take(0isize.wrapping_sub_unsigned(bytes));
    }
}

impl Drop for ShardState {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        self.give_back(bytes);
    }
}

/// Layers over a store that is being looked up.
struct LookUpBelow<'a> {
    state: &'a ShardState,
    layers: &'a Layers,
    stored: &'a LookUp<'a>,
}

impl StateRead for LookUpBelow<'_> {
    fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.layers.get(table, key) {
            Some(value) => Ok(value.clone()),
            None => (self.stored)(table, key),
        }
    }

    fn scan(&self, table: TableId, range: &KeyRange, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.layers.scan(&*self.state.store, self.state.shard, table, range, visit)
    }
}

/// Applies frozen layers, each shard's changes and checkpoint in one batch.
pub(super) fn apply(store: &dyn StateStore, batches: &[StateBatch]) -> Result<(), StoreError> {
    if crate::planted::position_outside_batch() {
        let ahead = |batch: &StateBatch| StateBatch { changes: Vec::new(), ..batch.clone() };
        store.apply(&batches.iter().map(ahead).collect::<Vec<_>>())?;
    }
    store.apply(batches)
}

/// What is left of a range behind a key.
fn rest(range: &KeyRange, last: Option<&Bytes>) -> KeyRange {
    let mut rest = range.clone();
    if let Some(last) = last {
        let behind = match range.direction {
            Direction::Forward => &mut rest.from,
            Direction::Backward => &mut rest.to,
        };
        *behind = Bound::Excluded(last.clone());
    }
    rest
}

/// A frozen layer on its way to the store.
pub(super) struct Flush<'a> {
    state: &'a ShardState,
    frozen: Arc<Frozen>,
    _guard: RwLockWriteGuard<'a, Flushing>,
}

impl Flush<'_> {
    /// What the store has to apply.
    pub(super) fn batch(&self) -> StateBatch {
        self.frozen.batch(self.state.shard)
    }

    /// How many keys change.
    pub(super) fn changes(&self) -> usize {
        self.frozen.changes()
    }

    /// Drops the frozen layer, if the store has it.
    pub(super) fn end(self, applied: bool) {
        if applied {
            self.state.write(Write::Flushed);
            self.state.layers.settle();
        }
    }
}

#[cfg(test)]
#[path = "overlay/tests.rs"]
mod tests;
