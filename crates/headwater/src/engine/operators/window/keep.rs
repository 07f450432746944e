//! Windows that another topology has made, kept as it tells of them, until they expire.

use headwater_core::key::{Key, ordered};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{WindowRows, Windowed};
use crate::engine::flow::{Flow, Keyed, ProcessError};
use crate::engine::operators::{Change, Sink};
use crate::engine::row::Row;

/// Keeps the last value of each window. Nothing is too late: whoever made a window has judged that.
pub(crate) struct KeepWindows<K, S> {
    rows: WindowRows<K, S>,
}

impl<K, S> KeepWindows<K, S> {
    pub(crate) fn new(rows: WindowRows<K, S>) -> Self {
        Self { rows }
    }
}

impl<K, S> Sink<Windowed<K>, Option<S>> for KeepWindows<K, S>
where
    K: Key,
    S: Clone + Serialize + DeserializeOwned + Send + Sync,
{
    fn push(
        &mut self,
        item: Keyed<'_, Windowed<K>, Option<S>>,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let (window, time) = (item.key, item.meta.timestamp);
        let now = self.rows.observe(time, flow)?;
        let key = ordered(window).map_err(ProcessError::key)?;
        let old = self.rows.load(&key, flow)?.value;
        let row = Row { value: item.value.clone(), time };
        if row.value.is_none() {
            self.rows.ended(window.end, &key, flow);
        } else {
            if old.is_none() {
                self.rows.begun(window.end, &key, flow)?;
            }
            self.rows.store(&key, &row, flow)?;
        }
        self.rows.tell(window, &Change { old, new: row.value }, item.meta, flow)?;
        if self.rows.is_due(now, flow)? {
            self.rows.settle(now, item.meta, flow)?;
        }
        Ok(())
    }

    fn close(&mut self, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        self.rows.close(flow)
    }

    fn abort(&mut self) {
        self.rows.abort();
    }
}
