//! State as a batch sees it: its own changes, over those of the batch in flight, over what is committed.

use ahash::AHashMap;
use bytes::Bytes;
use headwater_core::store::{StateChange, StoreError, TableId};

/// Reads of a shard's committed state.
pub(crate) trait StateRead {
    /// The value under a key.
    fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError>;
}

/// The changes of one batch: per table, each key's last value.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    tables: Vec<AHashMap<Bytes, Option<Bytes>>>,
}

impl Delta {
    /// What this batch says about a key: nothing, removed, or a value.
    pub(crate) fn get(&self, table: TableId, key: &[u8]) -> Option<&Option<Bytes>> {
        self.tables.get(usize::from(table.0))?.get(key)
    }

    /// Sets a key's value; `None` removes it.
    pub(crate) fn put(&mut self, table: TableId, key: Bytes, value: Option<Bytes>) {
        let index = usize::from(table.0);
        if self.tables.len() <= index {
            self.tables.resize_with(index + 1, AHashMap::default);
        }
        self.tables[index].insert(key, value);
    }

    /// Whether nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.iter().all(|table| table.is_empty())
    }

    /// The changes, sorted by table and key.
    pub(crate) fn into_changes(self) -> Vec<StateChange> {
        let mut changes: Vec<StateChange> =
            Vec::with_capacity(self.tables.iter().map(|table| table.len()).sum());
        for (index, table) in self.tables.into_iter().enumerate() {
            let id = TableId(u8::try_from(index).expect("a topology has at most 256 tables"));
            let from = changes.len();
            changes.extend(table.into_iter().map(|(key, value)| StateChange { table: id, key, value }));
            changes[from..].sort_unstable_by(|a, b| a.key.cmp(&b.key));
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

    /// Sets a key's value; `None` removes it.
    pub(crate) fn put(&mut self, table: TableId, key: Bytes, value: Option<Bytes>) {
        self.delta.put(table, key, value);
    }
}
