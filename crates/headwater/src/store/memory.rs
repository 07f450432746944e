//! State in memory: for tests, and beside a log that forgets as well.
//!
//! Clones of [`MemoryStores`] are the same stores, so that what is opened again is what was left.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use headwater_core::store::{
    Checkpoint, Direction, KEY_BYTES_MAX, KeyRange, StateBatch, StateStore, StateStores, StoreError,
    StoreErrorKind, TableId, Visit,
};
use headwater_core::topic::Partition;
use parking_lot::Mutex;

use super::budget::MemoryBudget;
use super::catalogue::{Catalogue, TableNumbers, number};
use super::left_right::{Absorb, LeftRight};

/// Stores that live as long as one of their handles.
#[derive(Debug, Clone, Default)]
pub struct MemoryStores {
    stores: Arc<Mutex<BTreeMap<String, Arc<Shared>>>>,
    budget: Option<Arc<MemoryBudget>>,
}

impl MemoryStores {
    /// No stores.
    pub fn new() -> Self {
        Self::default()
    }

    /// No stores; what they take is counted.
    pub fn within(budget: Arc<MemoryBudget>) -> Self {
        Self { budget: Some(budget), ..Self::default() }
    }
}

impl StateStores for MemoryStores {
    fn open(&self, name: &str, tables: &[&str]) -> Result<Arc<dyn StateStore>, StoreError> {
        let fresh = || Shared::new(name, self.budget.clone());
        let shared = self.stores.lock().entry(name.to_owned()).or_insert_with(fresh).clone();
        let tables = shared.catalogue.lock().number(name, tables)?;
        Ok(Arc::new(MemoryStore { shared, tables }))
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.stores.lock().keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        if let Some(shared) = self.stores.lock().remove(name) {
            shared.removed.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// One store, whoever has it open.
#[derive(Debug)]
struct Shared {
    name: String,
    catalogue: Mutex<Catalogue>,
    contents: LeftRight<Contents, Write>,
    size_bytes: AtomicU64,
    removed: AtomicBool,
    budget: Option<Arc<MemoryBudget>>,
}

impl Shared {
    fn new(name: &str, budget: Option<Arc<MemoryBudget>>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            catalogue: Mutex::default(),
            contents: LeftRight::new(Contents::default),
            size_bytes: AtomicU64::new(0),
            removed: AtomicBool::new(false),
            budget,
        })
    }

    fn refuse_if_removed(&self) -> Result<(), StoreError> {
        if !self.removed.load(Ordering::Acquire) {
            return Ok(());
        }
        let message = format!("store {} has been removed: open it again", self.name);
        Err(StoreError::new(StoreErrorKind::Unavailable, message))
    }

    fn write(&self, write: Write) {
        let after = self.contents.write(write);
        self.tell_size(after);
    }

    fn tell_size(&self, after: u64) {
        let before = self.size_bytes.swap(after, Ordering::Relaxed);
        if let Some(budget) = &self.budget {
            budget.keep((after as isize).wrapping_sub(before as isize));
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tell_size(0);
    }
}

type Rows = BTreeMap<Bytes, Bytes>;

#[derive(Debug, Default)]
struct Contents {
    rows: HashMap<(Partition, u8), Rows>,
    checkpoints: HashMap<Partition, Checkpoint>,
    size_bytes: u64,
}

#[derive(Debug)]
enum Write {
    /// Batches whose tables are numbers, not places in anybody's list.
    Apply(Vec<StateBatch>),
    Clear(Partition),
}

impl Absorb<Write> for Contents {
    /// The size afterwards.
    type Effect = u64;

    fn absorb_first(&mut self, write: &mut Write) -> u64 {
        match write {
            Write::Apply(batches) => batches.iter().for_each(|batch| self.apply(batch)),
            Write::Clear(shard) => self.clear(*shard),
        }
        self.size_bytes
    }

    fn absorb_second(&mut self, mut write: Write) {
        self.absorb_first(&mut write);
    }
}

impl Contents {
    fn apply(&mut self, batch: &StateBatch) {
        for change in &batch.changes {
            let rows = self.rows.entry((batch.shard, change.table.0)).or_default();
            let before = match &change.value {
                Some(value) => {
                    self.size_bytes += row_bytes(&change.key, value);
                    rows.insert(change.key.clone(), value.clone())
                }
                None => rows.remove(&change.key),
            };
            self.size_bytes -= before.map_or(0, |before| row_bytes(&change.key, &before));
        }
        self.checkpoints.insert(batch.shard, batch.checkpoint.clone());
    }

    fn clear(&mut self, shard: Partition) {
        self.rows.retain(|(of, _), _| *of != shard);
        self.checkpoints.remove(&shard);
        let rows = self.rows.values().flatten();
        self.size_bytes = rows.map(|(key, value)| row_bytes(key, value)).sum();
    }
}

/// What a row costs beside its key and value: its places in two trees, and the counters of what they share.
const ROW_BYTES: u64 = 240;

fn row_bytes(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + ROW_BYTES
}

/// A store opened with some tables.
#[derive(Debug)]
struct MemoryStore {
    shared: Arc<Shared>,
    tables: TableNumbers,
}

impl StateStore for MemoryStore {
    fn checkpoint(&self, shard: Partition) -> Result<Option<Checkpoint>, StoreError> {
        self.shared.refuse_if_removed()?;
        Ok(self.shared.contents.read().checkpoints.get(&shard).cloned())
    }

    fn apply(&self, batches: &[StateBatch]) -> Result<(), StoreError> {
        self.shared.refuse_if_removed()?;
        let batches: Result<Vec<_>, _> = batches.iter().map(|batch| self.numbered(batch)).collect();
        self.shared.write(Write::Apply(batches?));
        Ok(())
    }

    fn get(&self, shard: Partition, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.shared.refuse_if_removed()?;
        let contents = self.shared.contents.read();
        let rows = contents.rows.get(&(shard, number(&self.tables, table)));
        Ok(rows.and_then(|rows| rows.get(key)).cloned())
    }

    fn scan(
        &self,
        shard: Partition,
        table: TableId,
        range: &KeyRange,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        self.shared.refuse_if_removed()?;
        let contents = self.shared.contents.read();
        if let Some(rows) = contents.rows.get(&(shard, number(&self.tables, table)))
            && let Some(bounds) = bounds(range)
        {
            let mut pairs = rows.range::<[u8], _>(bounds);
            let mut next = || match range.direction {
                Direction::Forward => pairs.next(),
                Direction::Backward => pairs.next_back(),
            };
            while let Some((key, value)) = next() {
                if visit(key, value).is_break() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn count(&self, shard: Partition, table: TableId) -> Result<u64, StoreError> {
        self.shared.refuse_if_removed()?;
        let contents = self.shared.contents.read();
        Ok(contents.rows.get(&(shard, number(&self.tables, table))).map_or(0, |rows| rows.len() as u64))
    }

    fn clear(&self, shard: Partition) -> Result<(), StoreError> {
        self.shared.refuse_if_removed()?;
        self.shared.write(Write::Clear(shard));
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.shared.size_bytes.load(Ordering::Relaxed)
    }
}

impl MemoryStore {
    /// The batch with the numbers of its tables.
    fn numbered(&self, batch: &StateBatch) -> Result<StateBatch, StoreError> {
        let mut batch = batch.clone();
        for change in &mut batch.changes {
            fits(&self.shared.name, &change.key)?;
            change.table = TableId(number(&self.tables, change.table));
        }
        Ok(batch)
    }
}

/// Refuses a key that is too long, naming the store.
pub(super) fn fits(store: &str, key: &[u8]) -> Result<(), StoreError> {
    if key.len() <= KEY_BYTES_MAX {
        return Ok(());
    }
    let message =
        format!("store {store}: a key of {} bytes, more than the {KEY_BYTES_MAX} that fit", key.len());
    Err(StoreError::new(StoreErrorKind::KeyTooLong, message))
}

/// The lower and the upper bound of a range.
pub(super) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The range's bounds, unless no key can lie between them, which `BTreeMap::range` does not accept.
pub(super) fn bounds(range: &KeyRange) -> Option<Bounds<'_>> {
    let (from, to) = (as_slice(&range.from), as_slice(&range.to));
    let possible = match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from <= to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
            from < to
        }
        _ => true,
    };
    possible.then_some((from, to))
}

fn as_slice(bound: &Bound<Bytes>) -> Bound<&[u8]> {
    match bound {
        Bound::Unbounded => Bound::Unbounded,
        Bound::Included(key) => Bound::Included(&key[..]),
        Bound::Excluded(key) => Bound::Excluded(&key[..]),
    }
}
