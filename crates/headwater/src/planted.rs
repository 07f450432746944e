//! Bugs planted behind a switch of the tests, to show that the tests find them.
//!
//! Without the feature `planted` every switch is constant and off, and the compiler removes it.

/// A bug that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "planted"), allow(dead_code))]
pub enum Bug {
    /// A position is stored apart from the state that it belongs to.
    PositionOutsideBatch,
    /// Two commands of one key in one commit do not see each other.
    BlindBatch,
    /// A batch may end between two events of one command.
    SplitCommands,
    /// A shard that is gained decides a command whose outcome it has not loaded yet.
    BlindTakeover,
    /// Filters of the ids that have outcomes leave some out.
    LeakyFilters,
}

#[cfg(feature = "planted")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants one bug, or none, in whatever this thread runs: tests of other threads do not see it.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(super) fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(feature = "planted")]
pub use switch::plant;

#[cfg(feature = "planted")]
fn planted(bug: Bug) -> bool {
    switch::planted(bug)
}

#[cfg(not(feature = "planted"))]
const fn planted(_: Bug) -> bool {
    false
}

pub(crate) fn position_outside_batch() -> bool {
    planted(Bug::PositionOutsideBatch)
}

pub(crate) fn blind_batch() -> bool {
    planted(Bug::BlindBatch)
}

pub(crate) fn split_commands() -> bool {
    planted(Bug::SplitCommands)
}

pub(crate) fn blind_takeover() -> bool {
    planted(Bug::BlindTakeover)
}

pub(crate) fn leaky_filters() -> bool {
    planted(Bug::LeakyFilters)
}
