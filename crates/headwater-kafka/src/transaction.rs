//! One transaction of a producer: all of it enqueued, flushed and committed, or aborted, and what is known afterwards.
//!
//! Everything is sent at once: the records' batches and, beside them, the positions. Only when all of it was taken is
//! the commit asked for, so a failure before that is known not to be written: the only thing that can still happen to
//! the transaction is its abort, by this producer, by the next one of its name, or by the cluster when its time is
//! over. A failure of the commit itself is unknown, unless the coordinator answered each attempt with a refusal.
//!
//! Whoever asks for it may look at the offsets before the commit, and take everything back.

use headwater_core::log::LogError;
use headwater_core::topic::Offset;
use krafka::KrafkaError;
use krafka::consumer::ConsumerGroupMetadata;
use krafka::error::ErrorCode;
use krafka::producer::{DeliveryHandle, TopicPartitionOffset, TransactionState, TransactionalProducer};

use crate::errors::code_of;
#[cfg(test)]
use crate::simulated::{Bug, planted};

/// Why a transaction did not commit, and what is left of its producer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing of it is in the log; it is aborted, and the producer can go on.
    Refused(KrafkaError),
    /// Nothing of it is in the log, for this reason of whoever asked for it; it is aborted, and the producer can go on.
    Withdrawn(LogError),
    /// Nothing of it will be in the log, but its abort failed too: the producer cannot go on.
    Abandoned(KrafkaError),
    /// Nothing of it will be in the log: another producer has taken the name over.
    Fenced,
    /// Nobody knows; the next producer of the name settles it.
    Unknown(KrafkaError),
}

/// Commits records, and positions with whom they are of, if `confirm` agrees to the records' offsets; answers those, in the
/// order given.
pub(crate) async fn run(
    producer: &TransactionalProducer,
    records: Vec<krafka::Record>,
    positions: Option<(&[TopicPartitionOffset], &ConsumerGroupMetadata)>,
    confirm: impl FnOnce(&[Offset]) -> Result<(), LogError>,
) -> Result<Vec<Offset>, Failure> {
    producer.begin().map_err(Failure::Abandoned)?;
    let positions = async {
        match positions {
            Some((offsets, group)) => producer.send_offsets(offsets, group).await,
            None => Ok(()),
        }
    };
    match tokio::join!(send(producer, records), positions) {
        (Ok(offsets), Ok(())) => match confirm(&offsets) {
            Ok(()) => commit(producer).await.map(|()| offsets),
            Err(reason) => Err(withdraw(producer, reason).await),
        },
        (Err(error), Ok(())) | (Ok(_), Err(error)) => Err(abort(producer, error).await),
        (Err(one), Err(other)) => Err(abort(producer, first(one, other)).await),
    }
}

async fn send(
    producer: &TransactionalProducer,
    records: Vec<krafka::Record>,
) -> Result<Vec<Offset>, KrafkaError> {
    let mut handles = Vec::with_capacity(records.len());
    let mut failed = None;
    for record in records {
        match producer.enqueue(record).await {
            Ok(handle) => handles.push(handle),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    producer.flush().await?;
    // What a batch failed with says more than that the next record was refused for it.
    let offsets = offsets(handles).await?;
    failed.map_or(Ok(offsets), Err)
}

/// The offsets of records that were flushed, or why the first that failed has none.
async fn offsets(handles: Vec<DeliveryHandle>) -> Result<Vec<Offset>, KrafkaError> {
    let (mut offsets, mut failed) = (Vec::with_capacity(handles.len()), None);
    // One after another: the flush has answered them all, and to wait for thousands together costs more than they do.
    for handle in handles {
        match handle.await.and_then(|written| offset_of(written.offset)) {
            Ok(offset) => offsets.push(offset),
            Err(error) => failed = failed.into_iter().chain([error]).reduce(first),
        }
    }
    failed.map_or(Ok(offsets), Err)
}

/// Of two errors the one that was there first: once something of a transaction has failed, all else of it fails with no
/// more than the word that it must be aborted.
fn first(one: KrafkaError, other: KrafkaError) -> KrafkaError {
    if one.requires_abort() { other } else { one }
}

/// A broker that dropped a batch as a repeat may not know where it lies: then the batch is taken for lost.
pub(crate) fn offset_of(offset: i64) -> Result<Offset, KrafkaError> {
    let unknown = |_| KrafkaError::timeout("a record's offset is not known");
    u64::try_from(offset).map(Offset).map_err(unknown)
}

async fn commit(producer: &TransactionalProducer) -> Result<(), Failure> {
    match producer.commit().await {
        Ok(()) => Ok(()),
        Err(error) if producer.state() == TransactionState::Open => Err(abort(producer, error).await),
        #[cfg(test)]
        Err(error) if planted(Bug::UnknownIsNotWritten) => Err(Failure::Abandoned(error)),
        Err(error) => Err(Failure::Unknown(error)),
    }
}

async fn withdraw(producer: &TransactionalProducer, reason: LogError) -> Failure {
    match abort(producer, KrafkaError::config(reason.to_string())).await {
        Failure::Refused(_) => Failure::Withdrawn(reason),
        failure => failure,
    }
}

async fn abort(producer: &TransactionalProducer, error: KrafkaError) -> Failure {
    if is_fenced(&error) {
        return Failure::Fenced;
    }
    match producer.abort().await {
        Ok(()) => Failure::Refused(error),
        Err(abort) if is_fenced(&abort) => Failure::Fenced,
        Err(abort) => {
            tracing::warn!(%abort, "a transaction could not be aborted; the next writer settles it");
            Failure::Abandoned(error)
        }
    }
}

/// Whether another producer has taken over the name, or the cluster has ended the transaction in this one's absence.
fn is_fenced(error: &KrafkaError) -> bool {
    matches!(error, KrafkaError::Fenced { .. })
        || matches!(
            code_of(error),
            Some(
                ErrorCode::ProducerFenced
                    | ErrorCode::InvalidProducerEpoch
                    | ErrorCode::TransactionCoordinatorFenced
                    | ErrorCode::InvalidTxnState
                    | ErrorCode::InvalidProducerIdMapping
                    | ErrorCode::UnknownProducerId
            )
        )
}
