//! Operators without state: they hand on some, other, or more records, each as it comes.

use std::sync::Arc;

use super::{Next, Sink};
use crate::engine::flow::{DropReason, Flow, Keyed, ProcessError};

/// The end of a batch concerns only those that follow.
macro_rules! pass_on {
    () => {
        fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
            self.next.close(flow)
        }

        fn abort(&mut self) {
            self.next.abort();
        }
    };
}
pub(crate) use pass_on;

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

    pass_on!();
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

    pass_on!();
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

    pass_on!();
}

/// Hands on other keys and values, any number for each.
pub(crate) struct FlatMap<K, V, L, W> {
    pub(crate) change: Change<K, V, Vec<(L, W)>>,
    pub(crate) next: Next<L, W>,
}

impl<K, V, L, W> Sink<K, V> for FlatMap<K, V, L, W> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        for (key, value) in (self.change)(item) {
            self.next.push(Keyed { key: &key, value: &value, meta: item.meta }, flow)?;
        }
        Ok(())
    }

    pass_on!();
}

/// Hands on the value under another key.
pub(crate) struct SelectKey<K, V, L> {
    pub(crate) key_of: Change<K, V, L>,
    pub(crate) next: Next<L, V>,
}

impl<K, V, L> Sink<K, V> for SelectKey<K, V, L> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let key = (self.key_of)(item);
        self.next.push(Keyed { key: &key, value: item.value, meta: item.meta }, flow)
    }

    pass_on!();
}

/// Shows each value to the user's code and hands it on.
pub(crate) struct Peek<K, V> {
    pub(crate) look: Change<K, V, ()>,
    pub(crate) next: Next<K, V>,
}

impl<K, V> Sink<K, V> for Peek<K, V> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        (self.look)(item);
        self.next.push(item, flow)
    }

    pass_on!();
}

/// Hands on what is there, and counts what is null: the declared way to go on without it.
pub(crate) struct Present<K, V> {
    /// What it counts under; `None` where another, which sees the same, counts.
    pub(crate) counts: Option<Arc<str>>,
    pub(crate) next: Next<K, V>,
}

impl<K, V> Sink<Option<K>, Option<V>> for Present<K, V> {
    fn push(
        &mut self,
        item: Keyed<'_, Option<K>, Option<V>>,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let reason = match (item.key, item.value) {
            (Some(key), Some(value)) => return self.next.push(Keyed { key, value, meta: item.meta }, flow),
            (None, _) => DropReason::NullKey,
            (Some(_), None) => DropReason::NullValue,
        };
        if let Some(operator) = &self.counts {
            flow.drop_record(operator, reason);
        }
        Ok(())
    }

    pass_on!();
}
