//! The options of a piece of state.

use std::time::Duration;

use crate::engine::row::RowFormat;

/// The name of a piece of state, and how it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Store {
    pub(crate) name: String,
    pub(crate) rows: RowFormat,
    pub(crate) retain: Option<Duration>,
    pub(crate) history: Option<Duration>,
    pub(crate) in_memory: bool,
}

impl Store {
    /// A store with this name. The name alone decides where its state lies.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), rows: RowFormat::Plain, retain: None, history: None, in_memory: false }
    }

    /// Keeps the time of the last update with each row.
    ///
    /// Where other operators follow, or times decide, they are kept anyway.
    #[must_use]
    pub fn timed(mut self) -> Self {
        self.rows = RowFormat::Timed;
        self
    }

    /// Drops windows once the events have come so far beyond their ends; without it, they are kept for ever.
    ///
    /// A window that may still change is not dropped. Only windows expire: a store of anything else is refused with it.
    #[must_use]
    pub fn retain(mut self, after_end: Duration) -> Self {
        self.retain = Some(after_end);
        self
    }

    /// Keeps the rows in memory alone, and not on disk.
    ///
    /// They are made again at each start, of the topic that a fold reads, or of the changelog of what is no fold; until
    /// then a view answers that it is being built. Everything else is the same. All stores of one topology are kept
    /// alike; what those in memory take together is bounded by
    /// [`Headwater::store_memory`](crate::Headwater::store_memory), and a shard that would go beyond stops.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// Keeps every value of a row for so long after it was replaced, by the times of the events.
    ///
    /// A table of a stream or a topic can be asked for its rows as of a time then, and values that come out of order
    /// find their place among the others; what is older than the history is counted under the store's name. A
    /// store of anything else is refused with it.
    #[must_use]
    pub fn versioned(mut self, history: Duration) -> Self {
        self.history = Some(history);
        self
    }
}
