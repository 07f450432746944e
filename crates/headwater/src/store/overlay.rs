//! Committed changes that are not flushed yet, over a store.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;
use headwater_core::store::{
    Checkpoint, Direction, KeyRange, StateBatch, StateChange, StateStore, StoreError, TableId,
};
use headwater_core::topic::Partition;
use parking_lot::RwLock;

type Layer = BTreeMap<(TableId, Bytes), Option<Bytes>>;

#[derive(Default)]
struct Layers {
    active: Layer,
    frozen: Option<Arc<Layer>>,
    checkpoint: Option<Checkpoint>,
    bytes: usize,
}

/// A shard's state: what readers see and the runtime writes through.
pub struct ShardState {
    store: Arc<dyn StateStore>,
    shard: Partition,
    layers: RwLock<Layers>,
}

/// Rows of a range, and the checkpoint they stand at.
#[derive(Debug)]
pub struct RowPage {
    /// Keys and values.
    pub rows: Vec<(Bytes, Bytes)>,
    /// What they stand at.
    pub checkpoint: Checkpoint,
}

impl ShardState {
    /// Opens the state.
    pub fn open(store: Arc<dyn StateStore>, shard: Partition) -> Result<Arc<Self>, StoreError> {
        let checkpoint = store.checkpoint(shard)?;
        Ok(Arc::new(Self { store, shard, layers: RwLock::new(Layers { checkpoint, ..Layers::default() }) }))
    }

    /// Where the state stands.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.layers.read().checkpoint.clone()
    }

    /// Applies.
    pub fn commit(&self, changes: Vec<StateChange>, checkpoint: Checkpoint) {
        let mut layers = self.layers.write();
        for change in changes {
            layers.bytes += change.key.len() + change.value.as_ref().map_or(0, Bytes::len) + 64;
            layers.active.insert((change.table, change.key), change.value);
        }
        layers.checkpoint = Some(checkpoint);
    }

    /// Value.
    pub fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.get_at(table, key).map(|(value, _)| value)
    }

    /// Value and checkpoint.
    pub fn get_at(&self, table: TableId, key: &[u8]) -> Result<(Option<Bytes>, Checkpoint), StoreError> {
        let layers = self.layers.read();
        let checkpoint = layers.checkpoint.clone().unwrap_or_default();
        let probe = (table, Bytes::copy_from_slice(key));
        let layered =
            layers.active.get(&probe).or_else(|| layers.frozen.as_ref().and_then(|f| f.get(&probe)));
        match layered {
            Some(value) => Ok((value.clone(), checkpoint)),
            None => Ok((self.store.get(self.shard, table, key)?, checkpoint)),
        }
    }

    /// Rows.
    pub fn page(&self, table: TableId, range: &KeyRange, limit: usize) -> Result<RowPage, StoreError> {
        let layers = self.layers.read();
        let mut merged: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
        self.store.scan(self.shard, table, range, &mut |key, value| {
            merged.insert(Bytes::copy_from_slice(key), Some(Bytes::copy_from_slice(value)));
            ControlFlow::Continue(())
        })?;
        for layer in layers.frozen.iter().map(|f| &**f).chain([&layers.active]) {
            let bound = |bound: &Bound<Bytes>| bound.clone().map(|key| (table, key));
            for ((t, key), value) in layer.range((Bound::Included((table, Bytes::new())), Bound::Unbounded)) {
                if *t == table && range.contains(key) {
                    merged.insert(key.clone(), value.clone());
                }
            }
            let _ = bound;
        }
        let rows = merged.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let rows = match range.direction {
            Direction::Forward => rows.take(limit).collect(),
            Direction::Backward => {
                let all: Vec<_> = rows.collect();
                all.into_iter().rev().take(limit).collect()
            }
        };
        Ok(RowPage { rows, checkpoint: layers.checkpoint.clone().unwrap_or_default() })
    }

    /// Count.
    pub fn count_at(&self, table: TableId) -> Result<(u64, Checkpoint), StoreError> {
        let page = self.page(table, &KeyRange::all(), usize::MAX)?;
        Ok((page.rows.len() as u64, page.checkpoint))
    }

    /// Flushes.
    pub fn flush(&self) -> Result<(), StoreError> {
        let (frozen, checkpoint) = {
            let mut layers = self.layers.write();
            let Some(checkpoint) = layers.checkpoint.clone() else { return Ok(()) };
            if layers.frozen.is_none() {
                layers.frozen = Some(Arc::new(std::mem::take(&mut layers.active)));
                layers.bytes = 0;
            }
            (layers.frozen.clone().expect("just set"), checkpoint)
        };
        let changes = frozen
            .iter()
            .map(|((table, key), value)| StateChange {
                table: *table,
                key: key.clone(),
                value: value.clone(),
            })
            .collect();
        self.store.apply(&[StateBatch { shard: self.shard, changes, checkpoint }])?;
        self.layers.write().frozen = None;
        Ok(())
    }
}
