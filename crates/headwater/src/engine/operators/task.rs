//! One shard of a topology, as the engine runs it: what takes the records of its sources.

use std::sync::Arc;

use headwater_core::clock::Timestamp;
use headwater_core::record::StoredRecord;

use super::RecordSink;
use crate::engine::flow::{Flow, ProcessError};

/// An operator that acts when the clock on the wall moves on.
pub(crate) trait TickSink: Send {
    /// The time is now this.
    fn tick(&mut self, now: Timestamp, flow: &mut Flow<'_>) -> Result<(), ProcessError>;
}

/// The heads of the chains of each source, by the source's index; and the names of the operators that have one, by their
/// ids.
#[derive(Default)]
pub(crate) struct Task {
    heads: Vec<Vec<Box<dyn RecordSink>>>,
    ticks: Vec<Box<dyn TickSink>>,
    operators: Vec<Arc<str>>,
}

impl Task {
    pub(crate) fn new(
        heads: Vec<Vec<Box<dyn RecordSink>>>,
        ticks: Vec<Box<dyn TickSink>>,
        operators: Vec<Arc<str>>,
    ) -> Self {
        Self { heads, ticks, operators }
    }

    /// The names of its operators, by their ids: the same whenever it is put together.
    pub(crate) fn operators(&self) -> &[Arc<str>] {
        &self.operators
    }

    /// Takes a record of the source of this index; one from before the epoch has no time that means anything.
    pub(crate) fn push(
        &mut self,
        source: usize,
        record: &StoredRecord,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        flow.next_input(record);
        let time = record.record.timestamp;
        // As Kafka Streams' `FailOnInvalidTimestamp`: windows, grace and stream time mean nothing before the epoch.
        if time.0 < 0 {
            return Err(ProcessError::BadTime(format!("its time, {} ms, lies before 1970", time.0)));
        }
        self.heads[source].iter_mut().try_for_each(|head| head.push(record, flow))
    }

    /// Whether anything waits for the clock on the wall.
    pub(crate) fn has_ticks(&self) -> bool {
        !self.ticks.is_empty()
    }

    /// Tells the time to those that wait for it.
    pub(crate) fn tick(&mut self, now: Timestamp, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.ticks.iter_mut().try_for_each(|tick| tick.tick(now, flow))
    }

    /// The batch ends: everything that is pending goes to the flow.
    pub(crate) fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.heads.iter_mut().flatten().try_for_each(|head| head.close(flow))
    }

    /// The batch is given up.
    pub(crate) fn abort(&mut self) {
        self.heads.iter_mut().flatten().for_each(|head| head.abort());
    }
}
