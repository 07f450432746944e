//! Counting what comes to an operator that has a name.
//!
//! A record costs one addition. What was counted goes to the flow when the batch ends, and is forgotten where the batch is
//! given up: what is told of it is what the batch did.

use super::Sink;
use crate::engine::flow::{Flow, Keyed, OperatorId, ProcessError};

/// An operator, and how many records of this batch came to it.
pub(crate) struct Counted<T> {
    id: OperatorId,
    records: u64,
    operator: T,
}

impl<T> Counted<T> {
    pub(crate) fn new(id: OperatorId, operator: T) -> Self {
        Self { id, records: 0, operator }
    }
}

impl<K, V, T: Sink<K, V>> Sink<K, V> for Counted<T> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.records += 1;
        self.operator.push(item, flow)
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        flow.took(self.id, std::mem::take(&mut self.records));
        self.operator.close(flow)
    }

    fn abort(&mut self) {
        self.records = 0;
        self.operator.abort();
    }
}
