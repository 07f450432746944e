//! Handing values to the user's code, which does with them what it likes.

use super::Sink;
use crate::engine::flow::{Flow, Keyed, ProcessError};

/// Calls `effect` with every value.
pub(crate) struct ForEach<F> {
    pub(crate) effect: F,
}

impl<K, V, F> Sink<K, V> for ForEach<F>
where
    F: Fn(Keyed<'_, K, V>) + Send,
{
    fn push(&mut self, item: Keyed<'_, K, V>, _: &mut Flow<'_>) -> Result<(), ProcessError> {
        (self.effect)(item);
        Ok(())
    }

    fn close(&mut self, _: &mut Flow<'_>) -> Result<(), ProcessError> {
        Ok(())
    }

    fn abort(&mut self) {}
}
