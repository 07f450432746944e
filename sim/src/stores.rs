//! Stores that a crash leaves as they were at some apply, and that keep what every apply left.
//!
//! Each apply is atomic and durable, as the contract of a store says; so a crash leaves the last one, a restored copy
//! leaves an earlier one, and a lost disk leaves nothing. What is kept after every apply is a whole copy: the data is
//! small.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use headwater::core::store::{
    Checkpoint, Direction, KeyRange, StateBatch, StateStore, StateStores, StoreError, TableId, Visit,
};
use headwater::core::topic::Partition;
use parking_lot::Mutex;

/// Copies that are kept.
const IMAGES_MAX: usize = 24;

type Rows = BTreeMap<(u8, Bytes), Bytes>;

#[derive(Clone, Default)]
struct ShardImage {
    rows: Rows,
    checkpoint: Option<Checkpoint>,
}

/// Everything that all stores hold.
type Image = BTreeMap<String, BTreeMap<Partition, Arc<ShardImage>>>;

#[derive(Default)]
struct Disk {
    now: Image,
    before: VecDeque<Image>,
    applies: u64,
}

/// Stores on a simulated disk. Clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct SimStores(Arc<Mutex<Disk>>);

impl SimStores {
    /// Another disk with what a crash leaves of this one now.
    pub(crate) fn surviving(&self) -> Self {
        Self::holding(self.0.lock().now.clone())
    }

    /// Another disk with what this one held some applies ago.
    pub(crate) fn earlier(&self, applies: usize) -> Self {
        let disk = self.0.lock();
        let place = disk.before.len().checked_sub(applies);
        Self::holding(place.and_then(|place| disk.before.get(place)).unwrap_or(&disk.now).clone())
    }

    fn holding(now: Image) -> Self {
        Self(Arc::new(Mutex::new(Disk { now, ..Disk::default() })))
    }
}

impl StateStores for SimStores {
    fn open(&self, name: &str, _: &[&str]) -> Result<Arc<dyn StateStore>, StoreError> {
        self.0.lock().now.entry(name.to_owned()).or_default();
        Ok(Arc::new(SimStore { disk: self.0.clone(), name: name.to_owned() }))
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.0.lock().now.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.0.lock().now.remove(name);
        Ok(())
    }
}

struct SimStore {
    disk: Arc<Mutex<Disk>>,
    name: String,
}

impl SimStore {
    fn shard(&self, shard: Partition) -> Arc<ShardImage> {
        let disk = self.disk.lock();
        disk.now.get(&self.name).and_then(|store| store.get(&shard)).cloned().unwrap_or_default()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<Partition, Arc<ShardImage>>)) {
        let mut disk = self.disk.lock();
        let before = disk.now.clone();
        disk.before.push_back(before);
        if disk.before.len() > IMAGES_MAX {
            disk.before.pop_front();
        }
        disk.applies += 1;
        change(disk.now.entry(self.name.clone()).or_default());
    }
}

impl StateStore for SimStore {
    fn checkpoint(&self, shard: Partition) -> Result<Option<Checkpoint>, StoreError> {
        Ok(self.shard(shard).checkpoint.clone())
    }

    fn apply(&self, batches: &[StateBatch]) -> Result<(), StoreError> {
        self.change(|store| {
            for batch in batches {
                let shard = Arc::make_mut(store.entry(batch.shard).or_default());
                for change in &batch.changes {
                    let key = (change.table.0, change.key.clone());
                    match &change.value {
                        Some(value) => drop(shard.rows.insert(key, value.clone())),
                        None => drop(shard.rows.remove(&key)),
                    }
                }
                shard.checkpoint = Some(batch.checkpoint.clone());
            }
        });
        Ok(())
    }

    fn get(&self, shard: Partition, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.shard(shard).rows.get(&(table.0, Bytes::copy_from_slice(key))).cloned())
    }

    fn scan(
        &self,
        shard: Partition,
        table: TableId,
        range: &KeyRange,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        let image = self.shard(shard);
        let within = |((of, key), _): &(&(u8, Bytes), &Bytes)| *of == table.0 && range.contains(key);
        let mut rows: Vec<_> = image.rows.iter().filter(within).collect();
        if range.direction == Direction::Backward {
            rows.reverse();
        }
        for ((_, key), value) in rows {
            if visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn count(&self, shard: Partition, table: TableId) -> Result<u64, StoreError> {
        Ok(self.shard(shard).rows.keys().filter(|(of, _)| *of == table.0).count() as u64)
    }

    fn clear(&self, shard: Partition) -> Result<(), StoreError> {
        self.change(|store| drop(store.remove(&shard)));
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        0
    }
}
