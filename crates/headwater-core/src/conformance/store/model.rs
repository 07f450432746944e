//! A store that is nothing but maps, and seeded changes to hold a real one against it.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use super::{Verdict, same};
use crate::position::Position;
use crate::store::{
    Checkpoint, Direction, KeyRange, StateBatch, StateChange, StateStore, StoreError, TableId,
};
use crate::topic::{Offset, Partition, TopicName};

pub(super) const TABLES: [&str; 2] = ["totals", "items"];
pub(super) const SHARDS: u32 = 3;

/// A pair of a table.
pub(super) type Pair = (Bytes, Bytes);

/// What a store should hold.
#[derive(Debug, Default)]
pub(super) struct Model {
    rows: BTreeMap<(Partition, TableId), BTreeMap<Bytes, Bytes>>,
    checkpoints: BTreeMap<Partition, Checkpoint>,
}

impl Model {
    pub(super) fn apply(&mut self, batches: &[StateBatch]) {
        for batch in batches {
            for change in &batch.changes {
                let table = self.rows.entry((batch.shard, change.table)).or_default();
                match &change.value {
                    Some(value) => table.insert(change.key.clone(), value.clone()),
                    None => table.remove(&change.key),
                };
            }
            self.checkpoints.insert(batch.shard, batch.checkpoint.clone());
        }
    }

    pub(super) fn clear(&mut self, shard: Partition) {
        self.rows.retain(|(of, _), _| *of != shard);
        self.checkpoints.remove(&shard);
    }

    pub(super) fn range(&self, shard: Partition, table: TableId, range: &KeyRange) -> Vec<Pair> {
        let rows = self.rows.get(&(shard, table)).into_iter().flatten();
        let mut pairs: Vec<_> = rows
            .filter(|(key, _)| range.contains(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if range.direction == Direction::Backward {
            pairs.reverse();
        }
        pairs
    }

    /// Every row, count and checkpoint of `store` is the model's.
    pub(super) fn equals(&self, store: &dyn StateStore) -> Verdict {
        for (shard, table) in tables() {
            let expected = self.range(shard, table, &KeyRange::all());
            let place = format!("shard {shard}, {table:?}");
            for (key, value) in &expected {
                same(&place, store.get(shard, table, key)?, Some(value.clone()))?;
            }
            same(&place, store.count(shard, table)?, expected.len() as u64)?;
            same(&place, scan(store, shard, table, &KeyRange::all())?, expected)?;
            same(&place, store.checkpoint(shard)?, self.checkpoints.get(&shard).cloned())?;
        }
        Ok(())
    }
}

/// Every table of every shard.
pub(super) fn tables() -> impl Iterator<Item = (Partition, TableId)> {
    (0..SHARDS).flat_map(|shard| (0..TABLES.len() as u8).map(move |table| (Partition(shard), TableId(table))))
}

/// All pairs of a range, in the order in which they are visited.
pub(super) fn scan(
    store: &dyn StateStore,
    shard: Partition,
    table: TableId,
    range: &KeyRange,
) -> Result<Vec<Pair>, StoreError> {
    let mut pairs = Vec::new();
    store.scan(shard, table, range, &mut |key, value| {
        pairs.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        ControlFlow::Continue(())
    })?;
    Ok(pairs)
}

pub(super) fn put(table: u8, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> StateChange {
    let value = Some(Bytes::copy_from_slice(value.as_ref()));
    StateChange { table: TableId(table), key: Bytes::copy_from_slice(key.as_ref()), value }
}

pub(super) fn remove(table: u8, key: impl AsRef<[u8]>) -> StateChange {
    StateChange { table: TableId(table), key: Bytes::copy_from_slice(key.as_ref()), value: None }
}

pub(super) fn batch(shard: u32, changes: Vec<StateChange>, offset: u64) -> StateBatch {
    StateBatch { shard: Partition(shard), changes, checkpoint: checkpoint(shard, offset) }
}

pub(super) fn checkpoint(shard: u32, offset: u64) -> Checkpoint {
    let topic = TopicName::new("inputs").expect("the name is valid");
    let position = Position::from_iter([(topic.partition(shard), Offset(offset))]);
    Checkpoint { position, note: Bytes::from(format!("note {offset}")) }
}

/// Seeded random values (splitmix64): the same from run to run.
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A key of few short bytes, so that keys collide, are each other's prefixes, and touch the highest bytes.
    pub(super) fn key(&mut self) -> Bytes {
        let length = self.below(4);
        (0..length).map(|_| [0, 1, b'a', 0xfe, 0xff][self.below(5) as usize]).collect()
    }

    pub(super) fn range(&mut self) -> KeyRange {
        let range = KeyRange { from: self.bound(), to: self.bound(), direction: Direction::Forward };
        if self.below(2) == 0 { range.backward() } else { range }
    }

    fn bound(&mut self) -> Bound<Bytes> {
        match self.below(3) {
            0 => Bound::Unbounded,
            1 => Bound::Included(self.key()),
            _ => Bound::Excluded(self.key()),
        }
    }

    /// Batches of some shards, each with some changes, sorted as the contract asks.
    pub(super) fn batches(&mut self, offset: u64) -> Vec<StateBatch> {
        let first = self.below(u64::from(SHARDS)) as u32;
        (first..SHARDS).map(|shard| batch(shard, self.changes(), offset)).collect()
    }

    fn changes(&mut self) -> Vec<StateChange> {
        let changes: BTreeMap<(TableId, Bytes), Option<Bytes>> = (0..self.below(12))
            .map(|_| {
                let table = TableId(self.below(TABLES.len() as u64) as u8);
                let value = (self.below(3) > 0).then(|| Bytes::from(self.next().to_string()));
                ((table, self.key()), value)
            })
            .collect();
        changes.into_iter().map(|((table, key), value)| StateChange { table, key, value }).collect()
    }
}
