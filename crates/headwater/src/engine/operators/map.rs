//! Operators without state: filter, and change of the value.

use std::sync::Arc;

use super::{Next, Sink};
use crate::engine::flow::{Flow, Keyed, ProcessError};

type Test<K, V> = Arc<dyn Fn(Keyed<'_, K, V>) -> bool + Send + Sync>;
type Change<K, V, W> = Arc<dyn Fn(Keyed<'_, K, V>) -> W + Send + Sync>;

/// Hands on what passes a test.
pub(crate) struct Filter<K, V> {
    pub(crate) test: Test<K, V>,
    pub(crate) next: Next<K, V>,
}

impl<K, V> Sink<K, V> for Filter<K, V> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        if (self.test)(item) { self.next.push(item, flow) } else { Ok(()) }
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.next.close(flow)
    }

    fn abort(&mut self) {
        self.next.abort();
    }
}

/// Hands on another value under the same key.
pub(crate) struct MapValues<K, V, W> {
    pub(crate) change: Change<K, V, W>,
    pub(crate) next: Next<K, W>,
}

impl<K, V, W> Sink<K, V> for MapValues<K, V, W> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let value = (self.change)(item);
        self.next.push(Keyed { key: item.key, value: &value, meta: item.meta }, flow)
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.next.close(flow)
    }

    fn abort(&mut self) {
        self.next.abort();
    }
}

/// Hands on any number of values under the same key.
pub(crate) struct FlatMapValues<K, V, W> {
    pub(crate) change: Change<K, V, Vec<W>>,
    pub(crate) next: Next<K, W>,
}

impl<K, V, W> Sink<K, V> for FlatMapValues<K, V, W> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        for value in (self.change)(item) {
            self.next.push(Keyed { key: item.key, value: &value, meta: item.meta }, flow)?;
        }
        Ok(())
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.next.close(flow)
    }

    fn abort(&mut self) {
        self.next.abort();
    }
}
