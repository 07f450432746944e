//! The inputs of one shard of an emitter, read side by side and taken in the order of their records' times.
//!
//! Of the records that wait, the one with the earliest time comes next (as Kafka Streams' `PartitionGroup` chooses; of
//! equal times, that of the source which was named first). An input without a record that waits is waited for only as
//! long as records before its known end are still to come (KIP-695), or for a while where the app asks for that
//! (`max.task.idle.ms`). As in `PartitionGroup.readyToProcess`, that is asked before every record, also in the middle of a
//! batch, which ends there, and an input that was waited for in vain is not waited for again until it has had a record.
//! Other than there, the while begins once another input has something to wait with.
//!
//! What one command wrote to a partition is taken whole: only whole commands wait, and nothing of another input comes
//! between two of their records.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use headwater_core::BoxFuture;
use headwater_core::log::{Log, LogError, ReadBatch, ReadLimit, Wait};
use headwater_core::position::Position;
use headwater_core::record::StoredRecord;
use headwater_core::topic::{Offset, TopicPartition};
use tokio::time::Instant;

use crate::engine::command_batch::{continues_command, whole_commands};

/// Records after which a batch takes no further command.
const BATCH_RECORDS: usize = 10_000;

/// One partition that a shard reads.
pub(super) struct Input {
    pub(super) partition: TopicPartition,
    /// Whole commands that wait to be taken.
    queue: VecDeque<StoredRecord>,
    /// Where the next read begins.
    next: Offset,
    /// The partition's end when it was last asked for.
    end: Offset,
    limit: ReadLimit,
    /// Whether its records come before all others, whatever their times, and nobody waits for more of them.
    comes_first: bool,
    /// Until when it is waited for, once others had to wait for it, since its last record.
    idle_until: Option<Instant>,
    read: Option<BoxFuture<'static, Result<ReadBatch, LogError>>>,
}

impl Input {
    pub(super) fn new(partition: TopicPartition, next: Offset, end: Offset) -> Self {
        let limit = ReadLimit::default();
        let comes_first = false;
        Self {
            partition,
            queue: VecDeque::new(),
            next,
            end,
            limit,
            comes_first,
            idle_until: None,
            read: None,
        }
    }

    /// One whose records come before all others.
    pub(super) fn first(partition: TopicPartition, next: Offset, end: Offset) -> Self {
        Self { comes_first: true, ..Self::new(partition, next, end) }
    }

    /// The first record that was not taken, or where it will be.
    fn position(&self) -> Offset {
        self.queue.front().map_or(self.next, |stored| stored.offset)
    }

    /// Whether nothing of it waits, although there are records that were not read.
    fn is_awaited(&self) -> bool {
        self.queue.is_empty() && self.next < self.end
    }

    fn begin_read(&mut self, log: &Arc<dyn Log>) {
        if self.read.is_none() && self.queue.is_empty() {
            let (log, partition) = (log.clone(), self.partition.clone());
            let (next, limit) = (self.next, self.limit);
            self.read =
                Some(Box::pin(async move { log.read(&partition, next, limit, Wait::UntilMore).await }));
        }
    }

    fn take_in(&mut self, batch: ReadBatch) {
        let ReadBatch { mut records, next, end } = batch;
        self.end = self.end.max(end);
        let whole = if crate::planted::split_commands() { records.len() } else { whole_commands(&records) };
        // A command is appended whole: what is not all there at the end was never a command of this topic.
        let whole = if whole == 0 && next >= end { records.len() } else { whole };
        if whole == 0 && !records.is_empty() {
            self.limit = self.limit.doubled();
            return;
        }
        self.next = records.get(whole).map_or(next, |record| record.offset);
        self.limit = ReadLimit::default();
        records.truncate(whole);
        if !records.is_empty() {
            self.idle_until = None;
        }
        self.queue.extend(records);
    }

    /// The records of the command that comes next.
    fn next_command(&mut self) -> impl Iterator<Item = StoredRecord> + '_ {
        let mut first = true;
        std::iter::from_fn(move || {
            let belongs = std::mem::take(&mut first) || continues_command(self.queue.front()?);
            if belongs { self.queue.pop_front() } else { None }
        })
    }
}

/// A record, and the source that it is of, by its index.
pub(super) type Sourced = (usize, StoredRecord);

/// The inputs of a shard, in the order of the topology's sources.
pub(super) struct Inputs {
    log: Arc<dyn Log>,
    inputs: Vec<Input>,
    /// For how long an input that has nothing is waited for while others have something.
    patience: Duration,
    /// When it was last asked which inputs are still waited for.
    asked: Instant,
    /// Inputs that are taken before any other, and how far.
    first: Vec<(usize, Offset)>,
}

impl Inputs {
    pub(super) fn new(log: Arc<dyn Log>, inputs: Vec<Input>, patience: Duration) -> Self {
        Self { log, inputs, patience, asked: Instant::now(), first: Vec::new() }
    }

    pub(super) fn partition(&self, source: usize) -> &TopicPartition {
        &self.inputs[source].partition
    }

    /// Has the records of an input before an offset taken before any of another.
    pub(super) fn take_first(&mut self, source: usize, until: Offset) {
        self.first.push((source, until));
    }

    /// The partition of the first source: by it a shard is called in messages.
    pub(super) fn first(&self) -> &TopicPartition {
        self.partition(0)
    }

    /// Where the inputs stand: everything before was taken.
    pub(super) fn offsets(&self) -> Vec<Offset> {
        self.inputs.iter().map(Input::position).collect()
    }

    /// Where the inputs ended when they were last asked.
    pub(super) fn ends(&self) -> Vec<Offset> {
        self.inputs.iter().map(|input| input.end).collect()
    }

    /// These offsets, each of the input of its index, as a position.
    pub(super) fn position(&self, offsets: &[Offset]) -> Position {
        self.inputs.iter().zip(offsets).map(|(input, next)| (input.partition.clone(), *next)).collect()
    }

    /// Records that were not taken, of all inputs.
    pub(super) fn behind(&self) -> u64 {
        self.inputs.iter().map(|input| input.end.0.saturating_sub(input.position().0)).sum()
    }

    /// The records that come next, in order; none while more has to be read first.
    pub(super) fn take(&mut self) -> Vec<Sourced> {
        let mut taken = Vec::new();
        let now = Instant::now();
        self.asked = now;
        while taken.len() < BATCH_RECORDS {
            let Some(source) = self.source_to_take(now) else { break };
            taken.extend(self.inputs[source].next_command().map(|record| (source, record)));
        }
        taken
    }

    /// The source of the record that comes next, if it is there.
    fn source_to_take(&mut self, now: Instant) -> Option<usize> {
        let inputs = &self.inputs;
        self.first.retain(|(source, until)| inputs[*source].position() < *until);
        if let Some((source, _)) = self.first.first() {
            return Some(*source).filter(|source| !self.inputs[*source].queue.is_empty());
        }
        if self.inputs.iter().any(Input::is_awaited) {
            return None;
        }
        self.earliest().filter(|_| !self.is_patient(now))
    }

    fn earliest(&self) -> Option<usize> {
        let front = |(source, input): (usize, &Input)| {
            Some((!input.comes_first, input.queue.front()?.record.timestamp, source))
        };
        self.inputs.iter().enumerate().filter_map(front).min().map(|(.., source)| source)
    }

    /// Whether those that have something, as one has, wait for those that have nothing.
    fn is_patient(&mut self, now: Instant) -> bool {
        if self.patience.is_zero() {
            return false;
        }
        let patience = self.patience;
        let empty = self.inputs.iter_mut().filter(|input| input.queue.is_empty() && !input.comes_first);
        // Each begins to be waited for now, and not one after the other.
        empty.fold(false, |waits, input| waits | (now < *input.idle_until.get_or_insert(now + patience)))
    }

    /// Waits until there is more to take, or no reason to wait any longer. To be dropped at any time.
    ///
    /// # Errors
    ///
    /// What the log answers, with the source that was read.
    pub(super) async fn more(&mut self) -> Result<(), (usize, LogError)> {
        // Whatever has passed since then was still waited for when nothing was taken.
        let asked = self.asked;
        let impatient_at =
            self.inputs.iter().filter_map(|input| input.idle_until).filter(|at| *at > asked).min();
        let impatient = async {
            match impatient_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            (source, read) = self.read() => {
                self.inputs[source].take_in(read.map_err(|error| (source, error))?);
                Ok(())
            }
            () = impatient => Ok(()),
        }
    }

    /// What the first read that ends answers; the others go on.
    async fn read(&mut self) -> (usize, Result<ReadBatch, LogError>) {
        for input in &mut self.inputs {
            input.begin_read(&self.log);
        }
        poll_fn(|context| {
            for (source, input) in self.inputs.iter_mut().enumerate() {
                let Some(read) = &mut input.read else { continue };
                if let Poll::Ready(answer) = read.as_mut().poll(context) {
                    input.read = None;
                    return Poll::Ready((source, answer));
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
#[path = "inputs_tests.rs"]
mod tests;
