//! Bugs planted in the log for one thread, to show that the simulation finds them.

use std::cell::Cell;

/// A bug that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A commit whose answer was lost is told as not written.
    UnknownIsNotWritten,
    /// Records of aborted transactions are read.
    AbortedIsRead,
    /// A head is looked for without its last record.
    HeadBeforeLast,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

pub(super) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this thread runs with the bug.
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
