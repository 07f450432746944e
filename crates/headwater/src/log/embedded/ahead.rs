//! Space of the file that is written before it is used.
//!
//! A block that was only allocated counts as empty until it is first written, which the file system has to note beside it
//! before a sync returns: such a sync takes half as long again. So zeros are written into some space behind the used part,
//! while nobody waits for the committer.
//!
//! Invariants: only what lies behind the last page of the last commit is written, by the committer's thread, between two
//! transactions. Nothing depends on it: where it does not come about, commits take longer.

use std::io;
use std::sync::atomic::Ordering;

use super::engine::{Engine, write_zeros};

/// Written at once: what a commit that comes meanwhile has to wait for.
const PIECE_BYTES: u64 = 256 << 10;

/// An eighth of the used part is kept written ahead, between a piece and this.
const AHEAD_MOST: u64 = 4 << 20;

impl Engine {
    /// Whether a piece is to be written before the file grows into it.
    pub(super) fn wants_ahead(&self) -> bool {
        let used = self.used_bytes();
        let (from, to) = self.next_piece(used);
        let target = (used / 8).clamp(PIECE_BYTES, AHEAD_MOST);
        from < used + target && self.bytes_max.is_none_or(|max| to <= max)
    }

    /// Writes the next piece.
    pub(super) fn write_ahead(&self) {
        let (from, to) = self.next_piece(self.used_bytes());
        let behind = match self.try_write_ahead(from, to) {
            Ok(()) => to,
            Err(error) => {
                tracing::debug!(%error, "space of the log is not written ahead");
                // Another attempt is worth it when the file has been grown into this one.
                from + AHEAD_MOST
            }
        };
        self.written.store(behind, Ordering::Relaxed);
    }

    fn try_write_ahead(&self, from: u64, to: u64) -> io::Result<()> {
        let reserved = self.reserved.load(Ordering::Relaxed);
        if to > reserved {
            self.reserve(reserved, to).map_err(|error| io::Error::other(format!("{error:?}")))?;
        }
        write_zeros(self.pages.file(), from, to)?;
        self.pages.file().sync_data()
    }

    /// How far the file has been written ahead.
    #[cfg(test)]
    pub(super) fn written_bytes(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn next_piece(&self, used: u64) -> (u64, u64) {
        let from = self.written.load(Ordering::Relaxed).max(used);
        (from, from + PIECE_BYTES)
    }
}
