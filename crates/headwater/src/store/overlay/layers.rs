//! The layers of a shard's state: changes that gather, over changes that are being flushed, over the store.

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::iter::{Peekable, Rev};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use headwater_core::store::{
    Checkpoint, Direction, KeyRange, StateBatch, StateChange, StateStore, StoreError, TableId, Visit,
};
use headwater_core::topic::Partition;
use parking_lot::Mutex;

use crate::store::left_right::Absorb;
use crate::store::memory::{Bounds, bounds};

/// What a row costs beside its key and value: its places in two trees, and the counters of what it shares.
const ROW_BYTES: usize = 240;

type Table = BTreeMap<Bytes, Option<Bytes>>;
type Change<'a> = (&'a Bytes, &'a Option<Bytes>);

/// The last change of each key; `None` removes it.
#[derive(Debug, Default)]
pub(super) struct Layer {
    tables: Vec<Table>,
    bytes: usize,
}

impl Layer {
    fn table(&self, table: TableId) -> Option<&Table> {
        self.tables.get(usize::from(table.0))
    }

    fn put(&mut self, change: StateChange) {
        let StateChange { table, key, value } = change;
        let index = usize::from(table.0);
        if self.tables.len() <= index {
            self.tables.resize_with(index + 1, Table::new);
        }
        let key_bytes = key.len();
        self.bytes += value_bytes(&value);
        match self.tables[index].insert(key, value) {
            Some(before) => self.bytes -= value_bytes(&before),
            None => self.bytes += key_bytes + ROW_BYTES,
        }
    }
}

fn value_bytes(value: &Option<Bytes>) -> usize {
    value.as_ref().map_or(0, Bytes::len)
}

/// A layer that changes no more, and the checkpoint that it leads to.
#[derive(Debug)]
pub(super) struct Frozen {
    layer: Layer,
    checkpoint: Arc<Checkpoint>,
}

impl Frozen {
    pub(super) fn changes(&self) -> usize {
        self.layer.tables.iter().map(BTreeMap::len).sum()
    }

    pub(super) fn batch(&self, shard: Partition) -> StateBatch {
        let mut changes = Vec::with_capacity(self.changes());
        for (table, number) in self.layer.tables.iter().zip(0..) {
            let change = |(key, value): Change<'_>| StateChange {
                table: TableId(number),
                key: key.clone(),
                value: value.clone(),
            };
            changes.extend(table.iter().map(change));
        }
        StateBatch { shard, changes, checkpoint: Checkpoint::clone(&self.checkpoint) }
    }
}

/// A write to the layers.
#[derive(Debug)]
pub(super) enum Write {
    /// Changes, and the checkpoint they lead to.
    Commit { changes: Vec<StateChange>, checkpoint: Arc<Checkpoint> },
    /// The active layer becomes the frozen one.
    Freeze(Freeze),
    /// The store has the frozen layer.
    Flushed,
}

/// How both copies come to share one frozen layer.
#[derive(Debug)]
pub(super) struct Freeze {
    /// The first copy's layer.
    pub(super) frozen: Option<Arc<Frozen>>,
    /// The second copy's, which is equal and not needed any more.
    pub(super) retired: Arc<Mutex<Layer>>,
}

/// One copy of the layers.
#[derive(Debug)]
pub(super) struct Layers {
    active: Layer,
    frozen: Option<Arc<Frozen>>,
    checkpoint: Option<Arc<Checkpoint>>,
    /// Whether there was a commit since the last freeze.
    fresh: bool,
}

impl Layers {
    pub(super) fn at(checkpoint: Option<Arc<Checkpoint>>) -> Self {
        Self { active: Layer::default(), frozen: None, checkpoint, fresh: false }
    }

    pub(super) fn checkpoint(&self) -> Option<&Arc<Checkpoint>> {
        self.checkpoint.as_ref()
    }

    pub(super) fn checkpoint_or_default(&self) -> Arc<Checkpoint> {
        self.checkpoint.clone().unwrap_or_default()
    }

    pub(super) fn frozen(&self) -> Option<&Arc<Frozen>> {
        self.frozen.as_ref()
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.fresh || self.frozen.is_some()
    }

    /// What the layers say about a key: nothing, removed, or a value.
    pub(super) fn get(&self, table: TableId, key: &[u8]) -> Option<&Option<Bytes>> {
        self.active
            .table(table)
            .and_then(|rows| rows.get(key))
            .or_else(|| self.frozen.as_ref()?.layer.table(table)?.get(key))
    }

    /// Which keys of a table the layers know, and whether they are there.
    pub(super) fn presence(&self, table: TableId) -> Vec<(Bytes, bool)> {
        let all = KeyRange::all();
        let changes = bounds(&all).map(|within| self.changes(table, within, all.direction));
        changes.into_iter().flatten().map(|(key, value)| (key.clone(), value.is_some())).collect()
    }

    fn changes<'a>(&'a self, table: TableId, within: Bounds<'_>, direction: Direction) -> Changes<'a> {
        let walk = |layer: Option<&'a Layer>| {
            Walk::of(layer.and_then(|layer| layer.table(table)), within, direction)
        };
        Changes {
            active: walk(Some(&self.active)).peekable(),
            frozen: walk(self.frozen.as_ref().map(|frozen| &frozen.layer)).peekable(),
            direction,
        }
    }

    /// Visits the rows of a range: the store's where no layer says otherwise.
    pub(super) fn scan(
        &self,
        store: &dyn StateStore,
        shard: Partition,
        table: TableId,
        range: &KeyRange,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        let Some(within) = bounds(range) else { return Ok(()) };
        let mut merge = Merge {
            changes: self.changes(table, within, range.direction).peekable(),
            direction: range.direction,
            visit,
        };
        let mut flow = ControlFlow::Continue(());
        store.scan(shard, table, range, &mut |key, value| {
            flow = merge.stored(key, value);
            flow
        })?;
        if flow.is_continue() {
            // Whether the visitor wants all of them is its own affair: nothing comes after.
            let _ = merge.up_to(None);
        }
        Ok(())
    }
}

impl Absorb<Write> for Layers {
    /// By how many bytes the layers have grown.
    type Effect = isize;

    fn absorb_first(&mut self, write: &mut Write) -> isize {
        match write {
            Write::Commit { changes, checkpoint } => {
                let before = self.active.bytes;
                changes.iter().for_each(|change| self.active.put(change.clone()));
                self.moved_to(checkpoint.clone());
                self.active.bytes.wrapping_sub(before) as isize
            }
            Write::Freeze(freeze) => {
                let layer = std::mem::take(&mut self.active);
                let frozen = Arc::new(Frozen { layer, checkpoint: self.checkpoint_or_default() });
                freeze.frozen = Some(frozen.clone());
                self.freeze(frozen);
                0
            }
            Write::Flushed => {
                let frozen = self.frozen.take();
                frozen.map_or(0, |frozen| 0isize.wrapping_sub_unsigned(frozen.layer.bytes))
            }
        }
    }

    fn absorb_second(&mut self, write: Write) {
        match write {
            Write::Commit { changes, checkpoint } => {
                changes.into_iter().for_each(|change| self.active.put(change));
                self.moved_to(checkpoint);
            }
            Write::Freeze(freeze) => {
                *freeze.retired.lock() = std::mem::take(&mut self.active);
                self.freeze(freeze.frozen.expect("the first copy has frozen its layer"));
            }
            Write::Flushed => self.frozen = None,
        }
    }
}

impl Layers {
    fn moved_to(&mut self, checkpoint: Arc<Checkpoint>) {
        self.checkpoint = Some(checkpoint);
        self.fresh = true;
    }

    fn freeze(&mut self, frozen: Arc<Frozen>) {
        self.frozen = Some(frozen);
        self.fresh = false;
    }
}

/// How two keys follow each other in a direction.
fn order(direction: Direction, a: &[u8], b: &[u8]) -> Ordering {
    match direction {
        Direction::Forward => a.cmp(b),
        Direction::Backward => b.cmp(a),
    }
}

/// The changes of a layer's table, from one side.
enum Walk<'a> {
    Nothing,
    Forward(btree_map::Range<'a, Bytes, Option<Bytes>>),
    Backward(Rev<btree_map::Range<'a, Bytes, Option<Bytes>>>),
}

impl<'a> Walk<'a> {
    fn of(table: Option<&'a Table>, within: Bounds<'_>, direction: Direction) -> Self {
        match (table, direction) {
            (None, _) => Self::Nothing,
            (Some(table), Direction::Forward) => Self::Forward(table.range::<[u8], _>(within)),
            (Some(table), Direction::Backward) => Self::Backward(table.range::<[u8], _>(within).rev()),
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Change<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Nothing => None,
            Self::Forward(rows) => rows.next(),
            Self::Backward(rows) => rows.next(),
        }
    }
}

/// The changes of both layers in order; where both have a key, the active one's.
struct Changes<'a> {
    active: Peekable<Walk<'a>>,
    frozen: Peekable<Walk<'a>>,
    direction: Direction,
}

impl<'a> Iterator for Changes<'a> {
    type Item = Change<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (Some((active, _)), Some((frozen, _))) = (self.active.peek(), self.frozen.peek()) else {
            return self.active.next().or_else(|| self.frozen.next());
        };
        match order(self.direction, active, frozen) {
            Ordering::Greater => self.frozen.next(),
            Ordering::Less => self.active.next(),
            Ordering::Equal => {
                self.frozen.next();
                self.active.next()
            }
        }
    }
}

/// Lays changes over the rows that a store visits.
struct Merge<'a, 'v, 'w> {
    changes: Peekable<Changes<'a>>,
    direction: Direction,
    visit: &'v mut Visit<'w>,
}

impl Merge<'_, '_, '_> {
    /// A row of the store: first the changes before it, then it or what replaces it.
    fn stored(&mut self, key: &[u8], value: &[u8]) -> ControlFlow<()> {
        self.up_to(Some(key))?;
        match self.changes.next_if(|(changed, _)| **changed == key) {
            Some((_, Some(value))) => (self.visit)(key, value),
            Some((_, None)) => ControlFlow::Continue(()),
            None => (self.visit)(key, value),
        }
    }

    /// The changes before a key, or all that are left.
    fn up_to(&mut self, key: Option<&[u8]>) -> ControlFlow<()> {
        let direction = self.direction;
        let before = |(changed, _): &Change<'_>| key.is_none_or(|key| order(direction, changed, key).is_lt());
        while let Some((key, value)) = self.changes.next_if(before) {
            if let Some(value) = value {
                (self.visit)(key, value)?;
            }
        }
        ControlFlow::Continue(())
    }
}
