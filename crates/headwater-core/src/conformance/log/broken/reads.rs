//! Flaws in reading.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::super::future::yield_now;
use super::super::wrapper::{Answer, Read};
use super::wrap::{Flaw, Target, lock};
use crate::log::{Bounds, CommitError, Log, ReadBatch, Transaction, Wait};
use crate::record::{Append, StoredRecord};
use crate::topic::{Offset, TopicPartition};

/// Counts batches, not records.
pub(super) struct ReusedOffset;

impl Flaw for ReusedOffset {
    fn read<'a>(&'a self, log: &'a dyn Log, read: Read<'a>) -> Answer<'a, ReadBatch> {
        Box::pin(async move {
            let mut batch = read.of(log).await?;
            if let [first, second, ..] = &mut batch.records[..] {
                second.offset = first.offset;
            }
            Ok(batch)
        })
    }
}

/// Takes the place after the last record answered for the next position.
pub(super) struct StuckPosition;

impl Flaw for StuckPosition {
    fn read<'a>(&'a self, log: &'a dyn Log, read: Read<'a>) -> Answer<'a, ReadBatch> {
        Box::pin(async move {
            let mut batch = read.of(log).await?;
            batch.next = batch.records.last().map_or(read.from, |last| last.offset.next());
            Ok(batch)
        })
    }
}

/// Looks whether there is more and, a while later, begins to listen for what comes from then on.
pub(super) struct LostWakeUp;

impl Flaw for LostWakeUp {
    fn read<'a>(&'a self, log: &'a dyn Log, read: Read<'a>) -> Answer<'a, ReadBatch> {
        Box::pin(async move {
            let batch = Read { wait: Wait::No, ..read }.of(log).await?;
            if batch.next != read.from || read.wait == Wait::No {
                return Ok(batch);
            }
            yield_now().await;
            let from = log.bounds(read.at).await?.end;
            Read { from, ..read }.of(log).await?;
            read.of(log).await
        })
    }
}

/// Answers what it answered before, once.
#[derive(Default)]
pub(super) struct StaleEnd(Mutex<BTreeMap<TopicPartition, Bounds>>);

impl Flaw for StaleEnd {
    fn bounds<'a>(&'a self, log: &'a dyn Log, at: &'a TopicPartition) -> Answer<'a, Bounds> {
        Box::pin(async move {
            let now = log.bounds(at).await?;
            Ok(lock(&self.0).insert(at.clone(), now).unwrap_or(now))
        })
    }
}

/// Shows records of a transaction as soon as it is handed over.
#[derive(Default)]
pub(super) struct DirtyRead(Mutex<Vec<Append>>);

impl DirtyRead {
    fn show(&self, at: &TopicPartition, batch: &mut ReadBatch) {
        for append in lock(&self.0).iter().filter(|append| append.to == *at) {
            batch.records.push(StoredRecord { offset: batch.end, record: append.record.clone() });
            batch.end = batch.end.next();
            batch.next = batch.end;
        }
    }
}

impl Flaw for DirtyRead {
    fn read<'a>(&'a self, log: &'a dyn Log, read: Read<'a>) -> Answer<'a, ReadBatch> {
        Box::pin(async move {
            let mut batch = read.of(log).await?;
            if batch.next == batch.end {
                self.show(read.at, &mut batch);
            }
            Ok(batch)
        })
    }

    fn bounds<'a>(&'a self, log: &'a dyn Log, at: &'a TopicPartition) -> Answer<'a, Bounds> {
        Box::pin(async move {
            let bounds = log.bounds(at).await?;
            let shown = lock(&self.0).iter().filter(|append| append.to == *at).count();
            Ok(Bounds { end: Offset(bounds.end.0 + shown as u64), ..bounds })
        })
    }

    fn commit(
        self: Arc<Self>,
        to: Target,
        transaction: Transaction,
    ) -> Answer<'static, Vec<Offset>, CommitError> {
        Box::pin(async move {
            lock(&self.0).extend(transaction.appends.iter().cloned());
            yield_now().await;
            let answer = to.commit(transaction).await;
            lock(&self.0).clear();
            answer
        })
    }
}
