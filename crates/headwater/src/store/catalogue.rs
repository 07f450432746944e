//! Which names a store's tables have: a name keeps its number for good, whatever the order it is asked for in.

use headwater_core::store::{StoreError, StoreErrorKind, TableId};

/// The names of a store's tables; a name's place is its number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Catalogue {
    names: Vec<String>,
}

/// The numbers of the tables that a store was opened with, by [`TableId`].
pub(super) type TableNumbers = Vec<u8>;

impl Catalogue {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self { names }
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The name of a table; `?` for a number that was never given.
    pub(super) fn name(&self, number: u8) -> &str {
        self.names.get(usize::from(number)).map_or("?", String::as_str)
    }

    /// The numbers of `tables`, of which new ones get the next.
    pub(super) fn number(&mut self, store: &str, tables: &[&str]) -> Result<TableNumbers, StoreError> {
        tables.iter().map(|table| self.number_of(table).ok_or_else(|| too_many(store))).collect()
    }

    fn number_of(&mut self, table: &str) -> Option<u8> {
        let place = self.names.iter().position(|name| name == table).unwrap_or(self.names.len());
        let number = u8::try_from(place).ok()?;
        if place == self.names.len() {
            self.names.push(table.to_owned());
        }
        Some(number)
    }
}

fn too_many(store: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, format!("store {store}: more than 256 tables in its life"))
}

/// The number of a table.
///
/// # Panics
///
/// If the store was opened with fewer tables.
pub(super) fn number(numbers: &TableNumbers, table: TableId) -> u8 {
    *numbers
        .get(usize::from(table.0))
        .expect("a table id is an index into the tables the store was opened with")
}
