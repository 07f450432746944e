//! How the rows of a table are written.
//!
//! ```text
//! plain   = json                 what a view shows; times are not kept
//! timed   = i64 big-endian, json the time of the row's last update, in milliseconds, before its value
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use headwater_core::clock::Timestamp;
use headwater_core::codec::{Codec, Json};
use headwater_core::store::TableId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::flow::{Flow, ProcessError};

const TIME_BYTES: usize = 8;

/// Which of the two forms a table's rows have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum RowFormat {
    #[default]
    Plain,
    Timed,
}

/// A row, there or not, and the time of its last update.
#[derive(Debug, Clone)]
pub(crate) struct Row<S> {
    pub(crate) value: Option<S>,
    /// `i64::MIN` of a row that was never there, and where times are not kept.
    pub(crate) time: Timestamp,
}

impl<S> Row<S> {
    pub(crate) const NONE: Self = Self { value: None, time: Timestamp(i64::MIN) };

    /// The same row of another value, or none.
    pub(crate) fn and_then<T>(&self, of: impl FnOnce(&S) -> Option<T>) -> Row<T> {
        self.value
            .as_ref()
            .and_then(of)
            .map_or(Row::NONE, |value| Row { value: Some(value), time: self.time })
    }
}

impl RowFormat {
    /// The format that a row has, where another program wrote it: JSON never begins with the first byte of a time.
    ///
    /// (Of a time within two million years of the epoch, that is 0 or 255.)
    pub(crate) fn of(row: &[u8]) -> Self {
        if matches!(row.first(), Some(0 | 0xff)) { Self::Timed } else { Self::Plain }
    }

    /// The part of a row that is its value.
    pub(crate) fn value_in(self, row: &[u8]) -> &[u8] {
        match self {
            Self::Plain => row,
            Self::Timed => &row[TIME_BYTES.min(row.len())..],
        }
    }

    /// The part of a row that is its value.
    pub(crate) fn value_of(self, row: &Bytes) -> Bytes {
        match self {
            Self::Plain => row.clone(),
            Self::Timed => row.slice(TIME_BYTES.min(row.len())..),
        }
    }

    /// The row of a value that is JSON, of a time.
    pub(crate) fn row(self, time: Timestamp, json: Bytes) -> Bytes {
        if self == Self::Plain {
            return json;
        }
        let mut row = BytesMut::with_capacity(TIME_BYTES + json.len());
        row.put_i64(time.0);
        row.put(json);
        row.freeze()
    }

    fn time_of(self, row: &[u8]) -> Timestamp {
        match (self, row.first_chunk()) {
            (Self::Timed, Some(time)) => Timestamp(i64::from_be_bytes(*time)),
            _ => Timestamp(i64::MIN),
        }
    }
}

impl<S: Serialize + DeserializeOwned> Row<S> {
    /// The row under a key.
    pub(crate) fn load(
        format: RowFormat,
        table: TableId,
        key: &[u8],
        flow: &Flow<'_>,
    ) -> Result<Self, ProcessError> {
        flow.get(table, key)?.map_or(Ok(Self::NONE), |row| Self::decode(format, &row))
    }

    /// The row in `bytes`.
    pub(crate) fn decode(format: RowFormat, bytes: &Bytes) -> Result<Self, ProcessError> {
        let value = Json.decode(&format.value_of(bytes)).map_err(|error| {
            let advice = "give the topology another version if its shape has changed";
            ProcessError::Record(format!("a kept value: {error}; {advice}"))
        })?;
        Ok(Self { value: Some(value), time: format.time_of(bytes) })
    }

    /// The row's bytes; `None` of one that is not there.
    pub(crate) fn encode(&self, format: RowFormat) -> Result<Option<Bytes>, ProcessError> {
        let Some(value) = &self.value else { return Ok(None) };
        let json = Json.encode(value).map_err(ProcessError::record)?;
        Ok(Some(format.row(self.time, json)))
    }
}
