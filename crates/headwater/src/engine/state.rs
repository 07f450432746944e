//! State as a batch sees it: its own changes, over those of the batch in flight, over what is committed.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::{Bound, ControlFlow};

use ahash::AHashMap;
use bytes::Bytes;
use headwater_core::store::{Direction, KeyRange, StateChange, StoreError, TableId, Visit};

/// Reads of a shard's committed state.
pub(crate) trait StateRead {
    /// The value under a key.
    fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Visits the rows of a range in order, until `visit` breaks.
    fn scan(&self, table: TableId, range: &KeyRange, visit: &mut Visit<'_>) -> Result<(), StoreError>;
}

/// The changes of one batch: per table, each key's last value.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    tables: Vec<TableDelta>,
    /// What the rows said before, in the order in which they were changed, while changes may be taken back.
    journal: Option<Vec<Before>>,
}

/// What a batch said about a key before it was changed.
type Before = (TableId, Bytes, Option<Option<Bytes>>);

/// The changes of one table: hashed until a range of them is asked for, and sorted from then on.
#[derive(Debug)]
enum TableDelta {
    Hashed(AHashMap<Bytes, Option<Bytes>>),
    Sorted(BTreeMap<Bytes, Option<Bytes>>),
}

impl Default for TableDelta {
    fn default() -> Self {
        Self::Hashed(AHashMap::new())
    }
}

impl TableDelta {
    fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        match self {
            Self::Hashed(changes) => changes.get(key),
            Self::Sorted(changes) => changes.get(key),
        }
    }

    fn put(&mut self, key: Bytes, value: Option<Bytes>) {
        match self {
            Self::Hashed(changes) => changes.insert(key, value),
            Self::Sorted(changes) => changes.insert(key, value),
        };
    }

    fn forget(&mut self, key: &[u8]) {
        match self {
            Self::Hashed(changes) => drop(changes.remove(key)),
            Self::Sorted(changes) => drop(changes.remove(key)),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Hashed(changes) => changes.len(),
            Self::Sorted(changes) => changes.len(),
        }
    }

    fn sorted(&mut self) -> &BTreeMap<Bytes, Option<Bytes>> {
        if let Self::Hashed(changes) = self {
            *self = Self::Sorted(std::mem::take(changes).into_iter().collect());
        }
        let Self::Sorted(changes) = self else { unreachable!("they were sorted just now") };
        changes
    }

    fn into_changes(self, table: TableId, into: &mut Vec<StateChange>) {
        let change = |(key, value)| StateChange { table, key, value };
        match self {
            Self::Hashed(changes) => {
                let from = into.len();
                into.extend(changes.into_iter().map(change));
                into[from..].sort_unstable_by(|a, b| a.key.cmp(&b.key));
            }
            Self::Sorted(changes) => into.extend(changes.into_iter().map(change)),
        }
    }
}

impl Delta {
    /// What this batch says about a key: nothing, removed, or a value.
    pub(crate) fn get(&self, table: TableId, key: &[u8]) -> Option<&Option<Bytes>> {
        self.tables.get(usize::from(table.0))?.get(key)
    }

    /// Sets a key's value; `None` removes it.
    pub(crate) fn put(&mut self, table: TableId, key: Bytes, value: Option<Bytes>) {
        if self.journal.is_some() {
            let before = (table, key.clone(), self.get(table, &key).cloned());
            self.journal.get_or_insert_default().push(before);
        }
        self.table(table).put(key, value);
    }

    /// From now on changes may be taken back.
    pub(crate) fn begin(&mut self) {
        self.journal = Some(Vec::new());
    }

    /// The longest key that was changed since [`begin`](Self::begin), in bytes.
    pub(crate) fn longest_key(&self) -> usize {
        self.journal.iter().flatten().map(|(_, key, _)| key.len()).max().unwrap_or_default()
    }

    /// Takes back what was changed since [`begin`](Self::begin).
    pub(crate) fn take_back(&mut self) {
        for (table, key, before) in self.journal.take().into_iter().flatten().rev() {
            match before {
                Some(value) => self.table(table).put(key, value),
                None => self.table(table).forget(&key),
            }
        }
    }

    fn table(&mut self, table: TableId) -> &mut TableDelta {
        let index = usize::from(table.0);
        if self.tables.len() <= index {
            self.tables.resize_with(index + 1, TableDelta::default);
        }
        &mut self.tables[index]
    }

    /// Whether nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.iter().all(|table| table.len() == 0)
    }

    /// The changes, sorted by table and key.
    pub(crate) fn into_changes(self) -> Vec<StateChange> {
        let mut changes = Vec::with_capacity(self.tables.iter().map(TableDelta::len).sum());
        for (index, table) in self.tables.into_iter().enumerate() {
            let id = TableId(u8::try_from(index).expect("a topology has at most 256 tables"));
            table.into_changes(id, &mut changes);
        }
        changes
    }
}

/// What a batch reads and writes.
pub(crate) struct Layered<'a> {
    pub delta: &'a mut Delta,
    pub in_flight: Option<&'a Delta>,
    pub committed: &'a dyn StateRead,
}

impl Layered<'_> {
    /// The value under a key as this batch sees it.
    pub(crate) fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let pending =
            self.delta.get(table, key).or_else(|| self.in_flight.and_then(|delta| delta.get(table, key)));
        match pending {
            Some(value) => Ok(value.clone()),
            None => self.committed.get(table, key),
        }
    }

    /// Visits the rows of a range in order as this batch sees them, until `visit` breaks.
    ///
    /// # Panics
    ///
    /// If a batch is in flight below: only topologies read ranges, and their batches follow one another.
    pub(crate) fn scan(
        &mut self,
        table: TableId,
        range: &KeyRange,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        assert!(self.in_flight.is_none(), "ranges are read where no batch is in flight");
        if is_empty(range) {
            return Ok(());
        }
        let bounds = (range.from.as_ref().map(|key| &key[..]), range.to.as_ref().map(|key| &key[..]));
        let changes = self.delta.table(table).sorted().range::<[u8], _>(bounds);
        let forward = range.direction == Direction::Forward;
        let changes: Box<dyn Iterator<Item = Pending<'_>>> =
            if forward { Box::new(changes) } else { Box::new(changes.rev()) };
        let mut pending = changes.peekable();
        let mut flow = ControlFlow::Continue(());
        self.committed.scan(table, range, &mut |key, value| {
            let mut hidden = false;
            flow = visit_changes(&mut pending, Some((key, forward)), &mut hidden, visit);
            if flow.is_continue() && !hidden {
                flow = visit(key, value);
            }
            flow
        })?;
        if flow.is_continue() {
            let _ = visit_changes(&mut pending, None, &mut false, visit);
        }
        Ok(())
    }

    /// Sets a key's value; `None` removes it.
    pub(crate) fn put(&mut self, table: TableId, key: Bytes, value: Option<Bytes>) {
        self.delta.put(table, key, value);
    }

    /// The batch's own changes.
    pub(crate) fn own(&mut self) -> &mut Delta {
        self.delta
    }
}

/// Whether no key can lie in a range; such ones a sorted map refuses.
fn is_empty(range: &KeyRange) -> bool {
    match (&range.from, &range.to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
            from >= to
        }
        _ => false,
    }
}

/// A change of a row, by its key.
type Pending<'a> = (&'a Bytes, &'a Option<Bytes>);

/// Visits the changes in their order, up to a key and its own, which then is hidden by it; or all of them.
fn visit_changes<'a>(
    pending: &mut Peekable<impl Iterator<Item = Pending<'a>>>,
    up_to: Option<(&[u8], bool)>,
    hidden: &mut bool,
    visit: &mut Visit<'_>,
) -> ControlFlow<()> {
    while let Some((key, value)) = pending.peek().copied() {
        if let Some((stored, forward)) = up_to {
            let lies_behind = if forward { key[..] > *stored } else { key[..] < *stored };
            if lies_behind {
                break;
            }
            *hidden = key[..] == *stored;
        }
        pending.next();
        if let Some(value) = value {
            visit(key, value)?;
        }
    }
    ControlFlow::Continue(())
}
