//! A store that counts, fails and waits as it is told, for the tests of what writes through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use headwater_core::position::Position;
use headwater_core::store::{
    Checkpoint, KeyRange, StateBatch, StateChange, StateStore, StateStores, StoreError, StoreErrorKind,
    TableId, Visit,
};
use headwater_core::topic::{Offset, Partition, TopicName};
use parking_lot::Mutex;

use super::memory::MemoryStores;

/// How an apply ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Applied,
    Full,
    Panics,
}

pub(super) struct Scripted {
    inner: Arc<dyn StateStore>,
    fate: Mutex<Fate>,
    /// Batches of each apply that was tried.
    pub(super) tried: Mutex<Vec<usize>>,
    applied: AtomicUsize,
}

impl Scripted {
    pub(super) fn new() -> Arc<Self> {
        let inner = MemoryStores::new().open("s", &["a", "b"]).unwrap();
        let fate = Mutex::new(Fate::Applied);
        Arc::new(Self { inner, fate, tried: Mutex::default(), applied: AtomicUsize::new(0) })
    }

    pub(super) fn will(&self, fate: Fate) {
        *self.fate.lock() = fate;
    }

    pub(super) fn applied(&self) -> usize {
        self.applied.load(Ordering::SeqCst)
    }
}

impl StateStore for Scripted {
    fn checkpoint(&self, shard: Partition) -> Result<Option<Checkpoint>, StoreError> {
        self.inner.checkpoint(shard)
    }

    fn apply(&self, batches: &[StateBatch]) -> Result<(), StoreError> {
        self.tried.lock().push(batches.len());
        for batch in batches {
            assert!(batch.changes.is_sorted_by_key(|change| (change.table, change.key.clone())));
        }
        match *self.fate.lock() {
            Fate::Full => return Err(StoreError::new(StoreErrorKind::Full, "no space")),
            Fate::Panics => panic!("as the test wants it"),
            Fate::Applied => {}
        }
        self.inner.apply(batches)?;
        self.applied.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn get(&self, shard: Partition, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(shard, table, key)
    }

    fn scan(
        &self,
        shard: Partition,
        table: TableId,
        range: &KeyRange,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        self.inner.scan(shard, table, range, visit)
    }

    fn count(&self, shard: Partition, table: TableId) -> Result<u64, StoreError> {
        self.inner.count(shard, table)
    }

    fn clear(&self, shard: Partition) -> Result<(), StoreError> {
        self.inner.clear(shard)
    }

    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }
}

pub(super) fn change(table: u8, key: impl AsRef<[u8]>, value: Option<&str>) -> StateChange {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    StateChange { table: TableId(table), key: Bytes::copy_from_slice(key.as_ref()), value }
}

pub(super) fn at(offset: u64) -> Checkpoint {
    let topic = TopicName::new("inputs").unwrap();
    Checkpoint { position: Position::from_iter([(topic.partition(0), Offset(offset))]), note: Bytes::new() }
}
