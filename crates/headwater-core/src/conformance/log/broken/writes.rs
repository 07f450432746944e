//! Flaws in writing.

use std::collections::BTreeMap;
use std::mem::take;
use std::sync::{Arc, Mutex};

use super::super::future::yield_now;
use super::super::wrapper::{Answer, Read};
use super::wrap::{Flaw, Shard, Target, lock};
use crate::log::{AppendError, Bounds, CommitError, Log, LogError, Opened, ReadBatch, Transaction};
use crate::position::Position;
use crate::record::Append;
use crate::topic::{Offset, TopicPartition};

type Commit = Answer<'static, Vec<Offset>, CommitError>;

/// Writes the first record, then the others.
pub(super) struct TornTransaction;

impl Flaw for TornTransaction {
    fn commit(self: Arc<Self>, to: Target, mut transaction: Transaction) -> Commit {
        Box::pin(async move {
            if transaction.appends.is_empty() {
                return to.commit(transaction).await;
            }
            let first = transaction.appends.remove(0);
            let mut offsets = to.log.append(vec![first]).await.map_err(as_commit)?;
            yield_now().await;
            offsets.extend(to.commit(transaction).await?);
            Ok(offsets)
        })
    }
}

/// Writes a transaction's records from the last to the first.
pub(super) struct Reordered;

impl Flaw for Reordered {
    fn commit(self: Arc<Self>, to: Target, mut transaction: Transaction) -> Commit {
        Box::pin(async move {
            transaction.appends.reverse();
            let mut offsets = to.commit(transaction).await?;
            offsets.reverse();
            Ok(offsets)
        })
    }
}

/// Keeps positions in a table of its own, written before the transaction.
#[derive(Default)]
pub(super) struct PositionsOutside(Mutex<BTreeMap<Shard, Position>>);

impl Flaw for PositionsOutside {
    fn commit(self: Arc<Self>, to: Target, transaction: Transaction) -> Commit {
        lock(&self.0).entry(to.shard.clone()).or_default().advance(&transaction.positions);
        to.commit(transaction)
    }

    fn opened(&self, shard: &Shard, opened: &mut Opened) {
        if let (Some(head), Some(positions)) = (&mut opened.head, lock(&self.0).get(shard)) {
            head.positions.advance(positions);
        }
    }
}

/// Remembers of each shard the positions of its last transaction.
#[derive(Default)]
pub(super) struct ForgottenPositions(Mutex<BTreeMap<Shard, Position>>);

impl Flaw for ForgottenPositions {
    fn commit(self: Arc<Self>, to: Target, transaction: Transaction) -> Commit {
        Box::pin(async move {
            let positions = transaction.positions.clone();
            let offsets = to.commit(transaction).await?;
            lock(&self.0).insert(to.shard.clone(), positions);
            Ok(offsets)
        })
    }

    fn opened(&self, shard: &Shard, opened: &mut Opened) {
        if let (Some(head), Some(positions)) = (&mut opened.head, lock(&self.0).get(shard)) {
            head.positions = positions.clone();
        }
    }
}

/// Finds out that a writer is fenced, and has its records written already.
pub(super) struct LateZombie;

impl Flaw for LateZombie {
    fn commit(self: Arc<Self>, to: Target, transaction: Transaction) -> Commit {
        Box::pin(async move {
            yield_now().await;
            let records = transaction.appends.clone();
            let answer = to.commit(transaction).await;
            if matches!(answer, Err(CommitError::Fenced)) {
                to.log.append(records).await.map_err(as_commit)?;
            }
            answer
        })
    }
}

/// Writes a commit that nobody waits for any more after the shard's next writer was told that it is not there.
#[derive(Default)]
pub(super) struct SettledBothWays(Mutex<Late>);

#[derive(Default)]
struct Late {
    in_flight: Vec<Append>,
    after_opening: Vec<Append>,
}

impl SettledBothWays {
    async fn arrive(&self, log: &dyn Log) -> Result<(), LogError> {
        let records = take(&mut lock(&self.0).after_opening);
        match log.append(records).await {
            Ok(_) => Ok(()),
            Err(AppendError::NotWritten(error) | AppendError::Unknown(error)) => Err(error),
        }
    }
}

impl Flaw for SettledBothWays {
    fn commit(self: Arc<Self>, to: Target, transaction: Transaction) -> Commit {
        Box::pin(async move {
            lock(&self.0).in_flight.clone_from(&transaction.appends);
            yield_now().await;
            lock(&self.0).in_flight.clear();
            to.commit(transaction).await
        })
    }

    fn opened(&self, _: &Shard, _: &mut Opened) {
        let late = &mut *lock(&self.0);
        late.after_opening.append(&mut late.in_flight);
    }

    fn bounds<'a>(&'a self, log: &'a dyn Log, at: &'a TopicPartition) -> Answer<'a, Bounds> {
        Box::pin(async move {
            self.arrive(log).await?;
            log.bounds(at).await
        })
    }
}

/// Writes one record after another.
pub(super) struct AppendInPart;

impl Flaw for AppendInPart {
    fn append<'a>(&'a self, log: &'a dyn Log, appends: Vec<Append>) -> Answer<'a, Vec<Offset>, AppendError> {
        Box::pin(async move {
            let mut offsets = Vec::new();
            for append in appends {
                offsets.extend(log.append(vec![append]).await?);
            }
            Ok(offsets)
        })
    }
}

/// Writes appends when somebody looks, and tells beforehand where they will be.
#[derive(Default)]
pub(super) struct EarlyAcknowledgement(Mutex<Vec<Append>>);

impl EarlyAcknowledgement {
    async fn write(&self, log: &dyn Log) -> Result<(), LogError> {
        let waiting = take(&mut *lock(&self.0));
        match log.append(waiting).await {
            Ok(_) => Ok(()),
            Err(AppendError::NotWritten(error) | AppendError::Unknown(error)) => Err(error),
        }
    }
}

impl Flaw for EarlyAcknowledgement {
    fn append<'a>(&'a self, log: &'a dyn Log, appends: Vec<Append>) -> Answer<'a, Vec<Offset>, AppendError> {
        Box::pin(async move {
            let mut ends = Vec::new();
            for append in &appends {
                ends.push(log.bounds(&append.to).await.map_err(AppendError::NotWritten)?.end);
            }
            let acknowledge = |(append, end): (Append, Offset)| {
                let mut waiting = lock(&self.0);
                let before = waiting.iter().filter(|other| other.to == append.to).count();
                waiting.push(append);
                Offset(end.0 + before as u64)
            };
            Ok(appends.into_iter().zip(ends).map(acknowledge).collect())
        })
    }

    fn read<'a>(&'a self, log: &'a dyn Log, read: Read<'a>) -> Answer<'a, ReadBatch> {
        Box::pin(async move {
            self.write(log).await?;
            read.of(log).await
        })
    }

    fn bounds<'a>(&'a self, log: &'a dyn Log, at: &'a TopicPartition) -> Answer<'a, Bounds> {
        Box::pin(async move {
            self.write(log).await?;
            log.bounds(at).await
        })
    }

    fn commit(self: Arc<Self>, to: Target, transaction: Transaction) -> Commit {
        Box::pin(async move {
            let refused = |error| CommitError::NotWritten { retry: true, error };
            self.write(&*to.log).await.map_err(refused)?;
            to.commit(transaction).await
        })
    }
}

fn as_commit(error: AppendError) -> CommitError {
    match error {
        AppendError::NotWritten(error) => CommitError::NotWritten { retry: false, error },
        AppendError::Unknown(error) => CommitError::Unknown(error),
    }
}
