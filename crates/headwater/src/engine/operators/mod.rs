//! The operators of topologies: typed links of a chain from a source's records to a table or a topic.
//!
//! Each operator is a [`Sink`] that hands on to the next one by reference, so that a record costs one virtual call per
//! operator and no copy. Every operator is a file of the same anatomy: its struct, and its `Sink`.

mod append;
mod fold;
mod for_each;
mod map;
mod repartition;
mod source;

use std::panic::{AssertUnwindSafe, catch_unwind};

use headwater_core::record::StoredRecord;

use super::decide::panic_message;
use super::flow::{Flow, Keyed, ProcessError};

pub(crate) use append::AppendTo;
pub(crate) use fold::FoldInto;
pub(crate) use for_each::ForEach;
pub(crate) use map::{Filter, FlatMapValues, MapValues};
pub(crate) use repartition::Repartition;
pub(crate) use source::{Read, Source};

/// Takes keyed values, one after another, in batches.
pub(crate) trait Sink<K, V>: Send {
    /// Takes one.
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError>;

    /// The batch ends: leave everything that is pending in the flow.
    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError>;

    /// The batch is given up: forget what is pending.
    fn abort(&mut self);
}

/// The head of a chain: takes a topic's records.
pub(crate) trait RecordSink: Send {
    /// Takes a record.
    fn push(&mut self, record: &StoredRecord, flow: &mut Flow<'_>) -> Result<(), ProcessError>;

    /// The batch ends.
    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError>;

    /// The batch is given up.
    fn abort(&mut self);
}

/// The next link of a chain.
pub(crate) type Next<K, V> = Box<dyn Sink<K, V>>;

/// Why a batch was given up, and at which of its records.
pub(crate) struct Failure {
    pub(crate) at: usize,
    pub(crate) error: ProcessError,
}

/// Runs a batch through a chain; one that fails or panics is given up whole.
pub(crate) fn run_batch(
    chain: &mut dyn RecordSink,
    records: &[StoredRecord],
    flow: &mut Flow<'_>,
) -> Result<(), Failure> {
    let mut at = 0;
    let run = catch_unwind(AssertUnwindSafe(|| {
        for (index, record) in records.iter().enumerate() {
            at = index;
            chain.push(record, flow)?;
        }
        chain.close(flow)
    }));
    let error = match run {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error,
        Err(panic) => ProcessError::Record(format!("its code panicked: {}", panic_message(&*panic))),
    };
    chain.abort();
    Err(Failure { at, error })
}
