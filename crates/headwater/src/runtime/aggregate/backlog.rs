//! Outcomes that a shard has not loaded yet, while it decides already.
//!
//! A shard that was gained without a warm copy may have a day's outcomes to load, by the million. Their ids are read
//! first, into a filter: a command whose id is not in it has no outcome, and is decided at once. One whose id may be
//! among them waits for its outcome alone. The rows come into the store beside, a small piece at a time; until all are
//! there, the store's checkpoint stands where they begin, so that a crash meanwhile loads them again.

use std::time::Duration;

use headwater_core::log::{LogError, ReadBatch, ReadLimit, Wait};
use headwater_core::topic::{Offset, TopicPartition};

use crate::engine::id_filter::IdFilter;
use crate::runtime::shell::Shell;

/// Outcomes that are loaded between two looks at the mailbox.
const CHUNK: ReadLimit = ReadLimit { records: 2_000, bytes: 1 << 20 };
/// How long loading waits while the stores have much to write.
const PAUSE: Duration = Duration::from_millis(20);

/// What is left to be loaded.
pub(super) struct Backlog {
    pub(super) ids: IdFilter,
    next: Offset,
    until: Offset,
}

impl Backlog {
    pub(super) fn new(from: Offset, until: Offset, ids: IdFilter) -> Self {
        Self { ids, next: from, until }
    }

    /// Where the rows that are loaded end.
    pub(super) fn next(&self) -> Offset {
        self.next
    }

    /// Where the rows that are to be loaded end.
    pub(super) fn until(&self) -> Offset {
        self.until
    }

    /// How many offsets are left to be loaded.
    pub(super) fn left(&self) -> u64 {
        self.until.0 - self.next.0
    }

    /// Everything before `next` is loaded; answers whether that is all.
    pub(super) fn advance(&mut self, next: Offset) -> bool {
        self.next = next.min(self.until);
        self.next == self.until
    }
}

/// Reads the next piece, once the stores have room for it.
pub(super) async fn read(shell: Shell, from: TopicPartition, next: Offset) -> Result<ReadBatch, LogError> {
    while shell.flusher.budget().is_pressed() {
        tokio::time::sleep(PAUSE).await;
    }
    shell.log.read(&from, next, CHUNK, Wait::No).await
}
