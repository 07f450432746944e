//! One operator with several that follow it, and several that feed one.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Next, Sink};
use crate::engine::flow::{Flow, Keyed, ProcessError};

/// Hands on to every follower, in the order in which they were added.
pub(crate) struct Fan<K, V> {
    nexts: Arc<Mutex<Vec<Next<K, V>>>>,
}

impl<K, V> Clone for Fan<K, V> {
    fn clone(&self) -> Self {
        Self { nexts: self.nexts.clone() }
    }
}

impl<K, V> Fan<K, V> {
    pub(crate) fn new(first: Next<K, V>) -> Self {
        Self { nexts: Arc::new(Mutex::new(vec![first])) }
    }

    pub(crate) fn add(&self, next: Next<K, V>) {
        self.nexts.lock().push(next);
    }
}

impl<K, V> Sink<K, V> for Fan<K, V> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.nexts.lock().iter_mut().try_for_each(|next| next.push(item, flow))
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.nexts.lock().iter_mut().try_for_each(|next| next.close(flow))
    }

    fn abort(&mut self) {
        self.nexts.lock().iter_mut().for_each(|next| next.abort());
    }
}

/// One operator that several feed: a merge, or a join of which each side is one of these.
///
/// What is shared is locked while a value passes. Operators form no cycle, so nobody waits for itself.
pub(crate) struct Shared<T: ?Sized>(Arc<Mutex<T>>);

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Shared<T> {
    pub(crate) fn new(operator: T) -> Self {
        Self(Arc::new(Mutex::new(operator)))
    }
}

impl<T: ?Sized> Shared<T> {
    pub(crate) fn with<R>(&self, with: impl FnOnce(&mut T) -> R) -> R {
        with(&mut self.0.lock())
    }
}

impl<K, V, T: Sink<K, V> + ?Sized> Sink<K, V> for Shared<T> {
    fn push(&mut self, item: Keyed<'_, K, V>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.0.lock().push(item, flow)
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.0.lock().close(flow)
    }

    fn abort(&mut self) {
        self.0.lock().abort();
    }
}
