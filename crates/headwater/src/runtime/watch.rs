//! Live changes of a view.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use headwater_core::codec::{Codec, Json};
use headwater_core::key::KeyError;
use headwater_core::position::Position;
use headwater_core::store::KeyRange;
use headwater_core::topic::{Offset, Partition, TopicPartition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::changes::Batch;
use super::view::state::Fresh;
use super::view::{QueryError, ViewState};

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Update<R, S> {
    /// Forget what you know: these are all rows, as of the position.
    Reset {
        /// All rows.
        rows: Vec<(R, S)>,
        /// Where they stand; resume from it.
        position: Position,
    },
    /// One row changed; `None` if it is gone.
    Change {
        /// The row's key: of a view of pairs the rest beside the partition part, of a view of windows the window.
        key: R,
        /// Its value now.
        value: Option<S>,
        /// Where it stands; resume from it. The last change of a batch alone carries one.
        position: Option<Position>,
    },
}

/// The changes of one part of a view, as they are committed: of all rows of a partition part, or of a key's windows.
///
/// Holds nothing open while it waits; one that falls too far behind is told to begin anew.
pub struct Changes<R, S> {
    view: Arc<ViewState>,
    shard: Partition,
    keys: KeyRange,
    source: TopicPartition,
    /// `None` until the first reset.
    at: Option<Offset>,
    pending: VecDeque<Update<R, S>>,
    read: ReadKey<R>,
}

/// Reads a row's key as it is told.
pub(crate) type ReadKey<R> = fn(&[u8]) -> Result<R, KeyError>;

impl<R, S: Serialize + DeserializeOwned> Changes<R, S> {
    pub(crate) fn new(
        view: Arc<ViewState>,
        shard: Partition,
        keys: KeyRange,
        since: Option<&Position>,
        read: ReadKey<R>,
    ) -> Self {
        let source = view.source.partition(shard.0);
        let at = since.and_then(|since| since.get(&source));
        Self { view, shard, keys, source, at, pending: VecDeque::new(), read }
    }

    /// The next update; waits for one, wherever the shard is, and while it moves. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`QueryError::Stopped`] or [`QueryError::State`] if the view cannot be read.
    pub async fn next(&mut self) -> Result<Update<R, S>, QueryError> {
        loop {
            if let Some(update) = self.pending.pop_front() {
                return Ok(update);
            }
            match self.view.changes(self.shard, &self.keys, self.at).await? {
                Fresh::Reset(rows, at) => self.reset(&rows, at)?,
                Fresh::Batches(batches) => self.take(&batches)?,
            }
        }
    }

    fn take(&mut self, batches: &[Batch]) -> Result<(), QueryError> {
        for batch in batches {
            for (key, value) in batch.changes.iter() {
                let update = self.change(key, value.as_ref())?;
                self.pending.push_back(update);
            }
            if let Some(Update::Change { position, .. }) = self.pending.back_mut() {
                position.get_or_insert_with(|| Position::from_iter([(self.source.clone(), batch.next)]));
            }
            self.at = Some(batch.next);
        }
        Ok(())
    }

    fn change(&self, key: &[u8], value: Option<&Bytes>) -> Result<Update<R, S>, QueryError> {
        let key = (self.read)(key).map_err(|error| self.unreadable(error))?;
        let value = value.map(|value| self.value(value)).transpose()?;
        Ok(Update::Change { key, value, position: None })
    }

    fn value(&self, row: &[u8]) -> Result<S, QueryError> {
        Json.decode(self.view.rows.value_in(row)).map_err(|error| self.unreadable(error))
    }

    fn reset(&mut self, rows: &[(Bytes, Bytes)], at: Offset) -> Result<(), QueryError> {
        let row = |(key, value): &(Bytes, Bytes)| {
            let key = (self.read)(key).map_err(|error| self.unreadable(error))?;
            Ok((key, self.value(value)?))
        };
        let rows = rows.iter().map(row).collect::<Result<_, QueryError>>()?;
        let position = Position::from_iter([(self.source.clone(), at)]);
        self.at = Some(at);
        self.pending.push_back(Update::Reset { rows, position });
        Ok(())
    }

    fn unreadable(&self, reason: impl std::fmt::Display) -> QueryError {
        QueryError::State { view: self.view.name.clone(), reason: reason.to_string() }
    }
}
