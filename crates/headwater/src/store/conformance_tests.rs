//! Both engines keep the contract, and the suite finds stores that do not.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;
use headwater_core::conformance::store::{Place, check, failures};
use headwater_core::store::{
    Checkpoint, Direction, KeyRange, StateBatch, StateStore, StateStores, StoreError, TableId, Visit,
};
use headwater_core::topic::Partition;

use super::memory::MemoryStores;

struct Memory(MemoryStores);

impl Place for Memory {
    fn open(&self) -> Result<Arc<dyn StateStores>, StoreError> {
        Ok(Arc::new(self.0.clone()))
    }
}

#[test]
fn memory_keeps_the_contract() {
    check(&mut || Box::new(Memory(MemoryStores::new())));
}

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// What was applied is gone when the store is opened again.
    Volatile,
    /// An apply becomes visible shard by shard.
    TornBetweenShards,
    /// Within a shard, values become visible in two halves.
    TornWithinBatch,
    /// The checkpoint becomes visible before its values do.
    CheckpointFirst,
    /// The checkpoint is not kept.
    NoCheckpoint,
    /// Removals leave the value.
    NeverRemoves,
    /// Tables are their places in the list.
    TablesByPlace,
    /// The same table of different shards is one.
    ShardsShared,
    /// Clearing a shard clears all.
    ClearsAll,
    /// Backward scans go forward.
    ForwardOnly,
    /// The upper bound is always included.
    UpperIncluded,
    /// Scans do not stop.
    NeverBreaks,
    /// Removals of absent keys are counted.
    Miscounts,
    /// Values over a page's size lose their end.
    CutsLongValues,
    /// Long keys are cut instead of refused.
    CutsLongKeys,
    /// A removed store still answers.
    RemoveIsIgnored,
    /// Batches before a refused one are kept.
    PartOfRefused,
}

const BUGS: [Bug; 17] = [
    Bug::Volatile,
    Bug::TornBetweenShards,
    Bug::TornWithinBatch,
    Bug::CheckpointFirst,
    Bug::NoCheckpoint,
    Bug::NeverRemoves,
    Bug::TablesByPlace,
    Bug::ShardsShared,
    Bug::ClearsAll,
    Bug::ForwardOnly,
    Bug::UpperIncluded,
    Bug::NeverBreaks,
    Bug::Miscounts,
    Bug::CutsLongValues,
    Bug::CutsLongKeys,
    Bug::RemoveIsIgnored,
    Bug::PartOfRefused,
];

#[test]
fn the_suite_rejects_broken_stores() {
    for bug in BUGS {
        let found = failures(&mut || Box::new(BrokenPlace { bug, stores: MemoryStores::new() }));
        assert!(!found.is_empty(), "{bug:?} is not found");
    }
}

struct BrokenPlace {
    bug: Bug,
    stores: MemoryStores,
}

impl Place for BrokenPlace {
    fn open(&self) -> Result<Arc<dyn StateStores>, StoreError> {
        let stores = if self.bug == Bug::Volatile { MemoryStores::new() } else { self.stores.clone() };
        Ok(Arc::new(BrokenStores { bug: self.bug, stores }))
    }
}

struct BrokenStores {
    bug: Bug,
    stores: MemoryStores,
}

impl StateStores for BrokenStores {
    fn open(&self, name: &str, tables: &[&str]) -> Result<Arc<dyn StateStore>, StoreError> {
        let places = ["0", "1", "2", "3"];
        let tables = if self.bug == Bug::TablesByPlace { &places[..tables.len()] } else { tables };
        Ok(Arc::new(Broken { bug: self.bug, store: self.stores.open(name, tables)? }))
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        self.stores.names()
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        if self.bug == Bug::RemoveIsIgnored { Ok(()) } else { self.stores.remove(name) }
    }
}

struct Broken {
    bug: Bug,
    store: Arc<dyn StateStore>,
}

impl Broken {
    fn shard(&self, shard: Partition) -> Partition {
        if self.bug == Bug::ShardsShared { Partition(0) } else { shard }
    }

    /// Applies in steps with a pause between, so that readers see what lies between.
    fn apply_torn(&self, steps: impl IntoIterator<Item = StateBatch>) -> Result<(), StoreError> {
        for step in steps {
            self.store.apply(&[step])?;
            std::thread::sleep(std::time::Duration::from_micros(500));
        }
        Ok(())
    }

    fn damaged(&self, batch: &StateBatch) -> StateBatch {
        let mut batch = batch.clone();
        batch.shard = self.shard(batch.shard);
        for change in &mut batch.changes {
            match self.bug {
                Bug::NeverRemoves if change.value.is_none() => change.value = Some("kept".into()),
                Bug::CutsLongValues => {
                    change.value = change.value.take().map(|value| value.slice(..value.len().min(4_096)));
                }
                Bug::CutsLongKeys => change.key.truncate(1_900),
                _ => {}
            }
        }
        batch
    }

    fn checkpoint_before(&self, shard: Partition) -> Checkpoint {
        self.store.checkpoint(shard).ok().flatten().unwrap_or_default()
    }
}

impl StateStore for Broken {
    fn checkpoint(&self, shard: Partition) -> Result<Option<Checkpoint>, StoreError> {
        if self.bug == Bug::NoCheckpoint { Ok(None) } else { self.store.checkpoint(self.shard(shard)) }
    }

    fn apply(&self, batches: &[StateBatch]) -> Result<(), StoreError> {
        let batches: Vec<_> = batches.iter().map(|batch| self.damaged(batch)).collect();
        match self.bug {
            Bug::TornBetweenShards | Bug::PartOfRefused => self.apply_torn(batches),
            Bug::TornWithinBatch => self.apply_torn(batches.into_iter().flat_map(|whole| {
                let mut first = whole.clone();
                first.changes.truncate(whole.changes.len() / 2);
                first.checkpoint = self.checkpoint_before(whole.shard);
                [first, whole]
            })),
            Bug::CheckpointFirst => self.apply_torn(batches.into_iter().flat_map(|whole| {
                let mut first = whole.clone();
                first.changes.clear();
                [first, whole]
            })),
            _ => self.store.apply(&batches),
        }
    }

    fn get(&self, shard: Partition, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.get(self.shard(shard), table, key)
    }

    fn scan(
        &self,
        shard: Partition,
        table: TableId,
        range: &KeyRange,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        let mut range = range.clone();
        match self.bug {
            Bug::ForwardOnly => range.direction = Direction::Forward,
            Bug::UpperIncluded => {
                if let Bound::Excluded(to) = range.to {
                    range.to = Bound::Included(to);
                }
            }
            _ => {}
        }
        self.store.scan(self.shard(shard), table, &range, &mut |key, value| {
            let flow = visit(key, value);
            if self.bug == Bug::NeverBreaks { ControlFlow::Continue(()) } else { flow }
        })
    }

    fn count(&self, shard: Partition, table: TableId) -> Result<u64, StoreError> {
        let count = self.store.count(self.shard(shard), table)?;
        Ok(if self.bug == Bug::Miscounts { count.saturating_sub(10) } else { count })
    }

    fn clear(&self, shard: Partition) -> Result<(), StoreError> {
        if self.bug == Bug::ClearsAll {
            (0..10).try_for_each(|shard| self.store.clear(Partition(shard)))
        } else {
            self.store.clear(shard)
        }
    }

    fn size_bytes(&self) -> u64 {
        self.store.size_bytes()
    }
}
