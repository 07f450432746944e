//! A chunk: what one fetch brought of one partition, still encoded.
//!
//! Chunks are what cursors hold ahead of their readers. They stay encoded until a reader takes from them, so that
//! decoding happens in the reader's own task (readers of several partitions decode side by side), several cursors share
//! one chunk, and what is held is counted by the bytes that it really takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use krafka::__private::protocol::RecordBatchHeader;

use super::wire::Batches;

/// Whole record batches of one partition, one after another.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    /// The offset that was asked for; records of the first batch may lie below it.
    pub(super) from: i64,
    /// The offset after the last batch.
    pub(super) next: i64,
    /// The leader epoch of the last batch.
    pub(super) epoch: i32,
    /// Aborted transactions, by the offset where they start.
    pub(super) aborted: Vec<(i64, i64)>,
    _held: Held,
}

/// All that chunks may take together, and what they take.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: usize,
    held: AtomicUsize,
}

/// Gives back what a chunk took.
#[derive(Debug)]
struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { bytes, held: AtomicUsize::new(0) })
    }

    /// What is left.
    pub(super) fn left(&self) -> usize {
        self.bytes.saturating_sub(self.held.load(Ordering::Relaxed))
    }

    fn hold(self: &Arc<Self>, bytes: usize) -> Held {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Held { budget: Arc::clone(self), bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Chunk {
    /// The whole batches of an answer; a last one that was cut off is left for the next fetch.
    ///
    /// `None` if there is no whole batch at or above `from`.
    pub(super) fn of(from: i64, batches: &Batches, budget: &Arc<Budget>) -> Option<Self> {
        let (mut len, mut next, mut epoch) = (0, from, -1);
        while let Ok(header) = RecordBatchHeader::peek(&batches.bytes[len..])
            && header.total_size() <= batches.bytes.len() - len
        {
            len += header.total_size();
            next = next.max(header.last_offset().saturating_add(1));
            epoch = header.partition_leader_epoch;
        }
        if next == from {
            return None;
        }
        let mut aborted = batches.aborted.clone();
        aborted.sort_unstable_by_key(|(_, first)| *first);
        let bytes = batches.bytes.slice(..len);
        Some(Self { bytes, from, next, epoch, aborted, _held: budget.hold(len) })
    }

    /// A chunk without batches, where the log has nothing from `from` up to `next`.
    pub(super) fn hole(from: i64, next: i64, budget: &Arc<Budget>) -> Self {
        Self { bytes: Bytes::new(), from, next, epoch: -1, aborted: Vec::new(), _held: budget.hold(0) }
    }

    /// Whether bytes came of which no batch can be told from another.
    pub(super) fn is_garbage(batches: &Batches) -> bool {
        !batches.bytes.is_empty() && RecordBatchHeader::peek(&batches.bytes).is_err()
    }
}
