//! Outcomes that a shard has not loaded yet, while it decides already.
//!
//! A shard that was gained without a warm copy may have a day's outcomes to load, by the million. It has their ids in
//! filters, one for each stretch of them: a command whose id is in none has no outcome, and is decided at once. One
//! whose id may be in some waits until those stretches are loaded, before all others. The rows come into the store
//! beside, a small piece at a time; until all are there, the store's checkpoint stands where they begin, so that a crash
//! meanwhile loads them again.

use std::sync::Arc;
use std::time::Duration;

use headwater_core::log::{LogError, ReadBatch, ReadLimit, Wait};
use headwater_core::topic::{Offset, TopicPartition};
use tokio::sync::Semaphore;

use crate::engine::id_filter::{IdFilter, IdPlaces};
use crate::runtime::shell::Shell;

/// Outcomes that are loaded between two looks at the mailbox.
const CHUNK: ReadLimit = ReadLimit { records: 2_000, bytes: 1 << 20 };
/// How long loading waits while the stores have much to write.
const PAUSE: Duration = Duration::from_millis(20);

/// What is left to be loaded.
pub(super) struct Backlog {
    /// In the order of their offsets; none is empty.
    stretches: Vec<Stretch>,
    until: Offset,
}

/// Outcomes from one offset up to another, and their ids.
struct Stretch {
    next: Offset,
    until: Offset,
    ids: IdFilter,
    /// Whether a command waits for it.
    is_wanted: bool,
}

/// What is to be read next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) from: Offset,
    /// Where its stretch ends.
    pub(super) until: Offset,
    is_wanted: bool,
}

impl Backlog {
    /// One that has nothing to load yet, of outcomes that end at `until`.
    pub(super) fn new(until: Offset) -> Self {
        Self { stretches: Vec::new(), until }
    }

    /// Adds a stretch behind those that are there.
    pub(super) fn push(&mut self, from: Offset, until: Offset, ids: IdFilter) {
        if from < until {
            self.stretches.push(Stretch { next: from, until, ids, is_wanted: false });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    /// Whether a command's outcome may be left to be loaded: what may have it is loaded first from now on.
    pub(super) fn wants(&mut self, command: &[u8]) -> bool {
        let id = IdPlaces::of(command);
        let mut may_have = self.stretches.iter_mut().filter(|stretch| stretch.ids.may_contain(id)).peekable();
        let is_any = may_have.peek().is_some();
        may_have.for_each(|stretch| stretch.is_wanted = true);
        is_any
    }

    /// Whether a command waits for any of it.
    pub(super) fn is_wanted(&self) -> bool {
        self.stretches.iter().any(|stretch| stretch.is_wanted)
    }

    /// What is to be read next: what commands wait for, or else the oldest.
    pub(super) fn next(&self) -> Option<Piece> {
        let wanted = self.stretches.iter().find(|stretch| stretch.is_wanted);
        let Stretch { next, until, is_wanted, .. } = wanted.or(self.stretches.first())?;
        Some(Piece { from: *next, until: *until, is_wanted: *is_wanted })
    }

    /// Up to where everything is loaded.
    pub(super) fn loaded_to(&self) -> Offset {
        self.stretches.first().map_or(self.until, |stretch| stretch.next)
    }

    /// How many offsets are left to be loaded.
    pub(super) fn left(&self) -> u64 {
        self.stretches.iter().map(|stretch| stretch.until.0 - stretch.next.0).sum()
    }

    /// A piece was read, up to `next`.
    pub(super) fn advance(&mut self, piece: Piece, next: Offset) {
        let Some(place) = self.stretches.iter().position(|stretch| stretch.until == piece.until) else {
            return;
        };
        if next < piece.until {
            self.stretches[place].next = next;
        } else {
            self.stretches.remove(place);
        }
    }
}

/// Reads a piece once the stores have room for it; one that nobody waits for also gives way to shards that are restored.
pub(super) async fn read(
    shell: Shell,
    turns: Arc<Semaphore>,
    from: TopicPartition,
    piece: Piece,
) -> (Piece, Result<ReadBatch, LogError>) {
    // Turns are given while the process runs.
    let _turn = if piece.is_wanted { None } else { turns.acquire_owned().await.ok() };
    while shell.flusher.budget().is_pressed() {
        tokio::time::sleep(PAUSE).await;
    }
    let records = CHUNK.records.min(usize::try_from(piece.until.0 - piece.from.0).unwrap_or(usize::MAX));
    let limit = ReadLimit { records, ..CHUNK };
    (piece, shell.log.read(&from, piece.from, limit, Wait::No).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(of: &[&str]) -> IdFilter {
        let mut ids = IdFilter::for_ids(10);
        of.iter().for_each(|id| ids.insert(id.as_bytes()));
        ids
    }

    /// Three stretches of ten offsets, of two ids each.
    fn backlog() -> Backlog {
        let mut backlog = Backlog::new(Offset(30));
        for (from, names) in [(0, ["a", "b"]), (10, ["c", "d"]), (20, ["e", "f"])] {
            backlog.push(Offset(from), Offset(from + 10), ids(&names));
        }
        backlog
    }

    #[test]
    fn what_commands_wait_for_is_loaded_first_and_counts_once_all_before_it_is() {
        let mut backlog = backlog();
        assert!(!backlog.wants(b"never"));
        assert!(backlog.wants(b"d"));
        let mut read = Vec::new();
        while let Some(piece) = backlog.next() {
            let next = Offset((piece.from.0 + 6).min(piece.until.0));
            backlog.advance(piece, next);
            read.push((piece.from.0, backlog.loaded_to().0, backlog.wants(b"d")));
        }
        let expected =
            [(10, 0, true), (16, 0, false), (0, 6, false), (6, 20, false), (20, 26, false), (26, 30, false)];
        assert_eq!(read, expected);
        assert!(backlog.is_empty());
    }

    #[test]
    fn outcomes_that_expired_meanwhile_are_left_out() {
        let mut backlog = backlog();
        let piece = backlog.next().unwrap();
        backlog.advance(piece, Offset(25));
        assert_eq!((backlog.loaded_to(), backlog.left()), (Offset(10), 20));
        let piece = backlog.next().unwrap();
        backlog.advance(piece, Offset(25));
        assert_eq!(backlog.next().unwrap().from, Offset(20), "each stretch is told by itself");
    }
}
