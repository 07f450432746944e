//! A read's hold on a cursor: taking records from what was fetched, and giving the cursor back however the read ends.
//!
//! Whatever is asked of the cluster is asked by tasks of their own (`scan.rs`, `tail.rs`), which bring their answers to
//! the cursor. So a read may be dropped at any time, by callers that wait for several things at once, and the next one
//! finds what came meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;

use headwater_core::log::{LogError, LogErrorKind, ReadLimit};
use headwater_core::record::StoredRecord;
use headwater_core::topic::TopicPartition;

use super::decode::{Damage, Decoder};
use super::partition::Partition;

/// What was decoded and not answered yet.
#[derive(Debug, Default)]
pub(super) struct Decoding {
    decoder: Option<Decoder>,
    ready: VecDeque<StoredRecord>,
    /// Where the reader continues after what is ready.
    next: i64,
}

/// A cursor while a read has it.
pub(super) struct Lease {
    pub(super) partition: Arc<Partition>,
    pub(super) id: u64,
    /// Where the reader continues.
    pub(super) at: i64,
    /// Which life of the cursor this is; what is held of an earlier one is void.
    life: u64,
    decoding: Decoding,
}

impl Lease {
    /// Takes a cursor that continues at `from`.
    pub(super) fn new(partition: Arc<Partition>, from: i64) -> Self {
        let mut state = partition.lock();
        let id = state.borrow(from);
        let held = state.cursor(id).map(|cursor| (cursor.lives, std::mem::take(&mut cursor.decoding)));
        let (life, decoding) = held.unwrap_or_default();
        drop(state);
        Self { partition, id, at: from, life, decoding }
    }

    /// Takes what is there, as much as the limit allows; what the position moves over is moved over.
    ///
    /// # Errors
    ///
    /// If the next batch is damaged, and nothing comes before it.
    pub(super) fn take(&mut self, limit: ReadLimit) -> Result<Vec<StoredRecord>, LogError> {
        let (from, mut taken) = (self.at, Vec::new());
        let mut room = Room { limit, records: 0, bytes: 0 };
        loop {
            while let Some(record) = self.decoding.ready.pop_front_if(|record| room.takes(record)) {
                taken.push(record);
            }
            self.at = taken.last().map_or(self.at, |last| last.offset.next().0 as i64);
            if !self.decoding.ready.is_empty() {
                return Ok(taken);
            }
            self.at = self.at.max(self.decoding.next);
            if room.is_full() {
                return Ok(taken);
            }
            match self.decode(&mut taken, &mut room) {
                Ok(true) => {}
                Err(damage) if self.at == from => {
                    let error = damaged(&self.partition.name, damage);
                    self.start_over();
                    return Err(error);
                }
                _ => return Ok(taken),
            }
        }
    }

    /// Decodes one more batch, into `taken` as long as there is room; whether there was one.
    fn decode(&mut self, taken: &mut Vec<StoredRecord>, room: &mut Room) -> Result<bool, Damage> {
        let (at, before) = (self.at, taken.len());
        let Some(decoder) = self.decoder() else { return Ok(false) };
        match decoder.next(at, taken).inspect_err(|_| taken.truncate(before))? {
            Some(next) => self.decoding.next = next,
            None => {
                self.decoding.next = decoder.end();
                self.decoding.decoder = None;
            }
        }
        let fits = taken[before..].iter().take_while(|record| room.takes(record)).count();
        self.decoding.ready.extend(taken.drain(before + fits..));
        Ok(true)
    }

    /// Lets go of all that was fetched, so that it is fetched again.
    pub(super) fn start_over(&mut self) {
        self.decoding = Decoding::default();
        if let Some(cursor) = self.partition.lock().cursor(self.id) {
            cursor.start_over();
            self.life = cursor.lives;
        }
    }

    fn decoder(&mut self) -> Option<&mut Decoder> {
        if self.decoding.decoder.is_none() {
            let mut state = self.partition.lock();
            let chunk = state.cursor(self.id)?.queue.pop_front()?;
            self.decoding.decoder = Some(Decoder::new(chunk));
        }
        self.decoding.decoder.as_mut()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let partition = Arc::clone(&self.partition);
        if let Some(cursor) = partition.lock().cursor(self.id) {
            let decoding = (cursor.lives == self.life).then(|| std::mem::take(&mut self.decoding));
            cursor.give_back(self.at, decoding);
        }
    }
}

/// What an answer may still take.
struct Room {
    limit: ReadLimit,
    records: usize,
    bytes: usize,
}

impl Room {
    /// Takes the record if it fits; the first one always does.
    fn takes(&mut self, stored: &StoredRecord) -> bool {
        let size = stored.record.size();
        let fits =
            self.records == 0 || (self.records < self.limit.records && self.bytes + size <= self.limit.bytes);
        if fits {
            self.records += 1;
            self.bytes += size;
        }
        fits
    }

    fn is_full(&self) -> bool {
        self.records > 0 && (self.records >= self.limit.records || self.bytes >= self.limit.bytes)
    }
}

fn damaged(partition: &TopicPartition, damage: Damage) -> LogError {
    let message = format!(
        "the batch at offset {} of {partition} is damaged: {}; restore the partition from another replica",
        damage.offset, damage.cause
    );
    LogError::new(LogErrorKind::Corrupt, message).with_source(damage.cause)
}
