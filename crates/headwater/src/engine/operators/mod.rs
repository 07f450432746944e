//! The operators of topologies: typed links from the records of sources to tables and topics.
//!
//! Each operator is a [`Sink`] that hands on to the next one by reference, so that a record costs one virtual call per
//! operator and no copy. A stream hands on values, a table [`Change`]s. Every operator has the same anatomy: its struct,
//! and its `Sink`.

mod aggregate;
mod append;
mod change;
mod counted;
mod deduplicate;
mod fan;
mod for_each;
pub(crate) mod join;
mod process;
mod regroup;
mod repeats;
mod source;
mod stateless;
mod suppress;
mod table;
mod task;
mod versioned;
pub(crate) mod window;

use std::panic::{AssertUnwindSafe, catch_unwind};

use headwater_core::clock::Timestamp;
use headwater_core::record::StoredRecord;
use headwater_core::store::KEY_BYTES_MAX;

use super::decide::panic_message;
use super::flow::{Flow, Keyed, ProcessError};

pub(crate) use aggregate::{Aggregate, Step};
pub(crate) use append::{AppendTo, Encoded, Target, WriteRecord};
pub use change::Change;
pub(crate) use counted::Counted;
pub(crate) use deduplicate::{Deduplicate, DeduplicateTables, IdOf};
pub(crate) use fan::{Fan, Shared};
pub(crate) use for_each::ForEach;
pub(crate) use process::{Process, Schedule};
pub use process::{Processing, Processor, StoreRows, Timer};
pub(crate) use regroup::{Add, AggregateChanges, Subtract, regrouped};
pub(crate) use repeats::{RepeatTables, Repeats};
pub(crate) use source::{Read, Source};
pub(crate) use stateless::{Filter, FlatMap, FlatMapValues, MapValues, Peek, Present, SelectKey};
pub(crate) use suppress::{Held, Limit, Suppress, SuppressRules, SuppressTables};
pub(crate) use table::{Materialise, TableFilter, TableMapValues, Updates};
pub(crate) use task::{Task, TickSink};
pub(crate) use versioned::{MaterialiseVersions, VERSIONED_TABLES, VersionedTables};
pub use window::Windowed;

/// Takes keyed values, one after another, in batches.
pub(crate) trait Sink<K, V>: Send {
    /// Takes one.
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError>;

    /// The batch ends: leave everything that is pending in the flow.
    ///
    /// An operator that several feed is told by each of them, and may be handed more between.
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

impl<K, V> Sink<K, V> for Next<K, V> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        (**self).push(item, flow)
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        (**self).close(flow)
    }

    fn abort(&mut self) {
        (**self).abort();
    }
}

/// Why a batch was given up, and at which of its records.
pub(crate) struct Failure {
    pub(crate) at: usize,
    pub(crate) error: ProcessError,
}

/// One record of a batch, and which of the topology's sources it is of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InputRecord<'a> {
    pub(crate) source: usize,
    pub(crate) record: &'a StoredRecord,
}

impl<'a> InputRecord<'a> {
    /// Records of a topology that has one source.
    pub(crate) fn of_one(records: &'a [StoredRecord]) -> impl Iterator<Item = Self> {
        records.iter().map(|record| Self { source: 0, record })
    }
}

/// Runs a batch through a task; one that fails or panics is given up whole.
pub(crate) fn run_batch<'a>(
    task: &mut Task,
    records: impl Iterator<Item = InputRecord<'a>>,
    flow: &mut Flow<'_>,
) -> Result<(), Failure> {
    let mut at = 0;
    let run = contained(task, |task| {
        for (index, InputRecord { source, record }) in records.enumerate() {
            at = index;
            task.push(source, record, flow)?;
        }
        task.close(flow)
    });
    run.map_err(|error| Failure { at, error })
}

/// Runs one record through a task, closed by itself; the state and the flow are left as they were where it fails.
///
/// A task that failed is put together anew before it is used again.
pub(crate) fn run_alone(
    task: &mut Task,
    InputRecord { source, record }: InputRecord<'_>,
    flow: &mut Flow<'_>,
) -> Result<(), ProcessError> {
    let savepoint = flow.begin();
    let run = contained(task, |task| {
        task.push(source, record, flow)?;
        task.close(flow)
    });
    let run = run.and_then(|()| match flow.longest_key() {
        bytes if bytes > KEY_BYTES_MAX => Err(ProcessError::KeyTooLong(format!(
            "a key of its state has {bytes} bytes, and a store takes {KEY_BYTES_MAX} at most"
        ))),
        _ => Ok(()),
    });
    if run.is_err() {
        flow.take_back(savepoint);
    }
    run
}

/// Tells a task the time on the wall; what fails or panics then is given up whole.
pub(crate) fn run_tick(task: &mut Task, now: Timestamp, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
    contained(task, |task| {
        task.tick(now, flow)?;
        task.close(flow)
    })
}

fn contained(
    task: &mut Task,
    run: impl FnOnce(&mut Task) -> Result<(), ProcessError>,
) -> Result<(), ProcessError> {
    let ended = catch_unwind(AssertUnwindSafe(|| run(task)))
        .unwrap_or_else(|panic| Err(ProcessError::Panicked(panic_message(&*panic))));
    if ended.is_err() {
        task.abort();
    }
    ended
}
