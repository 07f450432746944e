//! What a table hands on: a key's value before and after an update.

use serde::{Deserialize, Serialize};

/// One update of a table's row; `None` where there is no row.
///
/// Both sides are told so that what was made of the old value can be taken back (as Kafka's `Change` tells them, see
/// KIP-904): whoever sums up a table subtracts the old value and adds the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change<V> {
    /// The value before.
    pub old: Option<V>,
    /// The value after.
    pub new: Option<V>,
}

impl<V> Change<V> {
    /// The same update of another value; a side without a value stays so.
    pub(crate) fn and_then<W>(&self, of: impl Fn(&V) -> Option<W>) -> Change<W> {
        Change { old: self.old.as_ref().and_then(&of), new: self.new.as_ref().and_then(&of) }
    }

    /// Whether there is no row before and after.
    pub(crate) fn is_void(&self) -> bool {
        self.old.is_none() && self.new.is_none()
    }
}
