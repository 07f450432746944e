//! How values become bytes and come back.

mod plain;

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use plain::{BigEndian, Integer, Nullable, Raw, Text};

use crate::key::KeyError;

/// A value that could not be written or read, with the type and the cause.
#[derive(Debug, thiserror::Error)]
#[error("{what} of type {type_name}: {cause}")]
pub struct CodecError {
    what: &'static str,
    type_name: &'static str,
    cause: String,
}

impl CodecError {
    /// A value of type `T` that could not be written.
    pub fn encode<T: ?Sized>(cause: impl ToString) -> Self {
        Self {
            what: "cannot encode a value",
            type_name: std::any::type_name::<T>(),
            cause: cause.to_string(),
        }
    }

    /// Bytes that are no value of type `T`.
    pub fn decode<T: ?Sized>(cause: impl ToString) -> Self {
        Self {
            what: "cannot decode a value",
            type_name: std::any::type_name::<T>(),
            cause: cause.to_string(),
        }
    }
}

/// Writes and reads values of one type.
///
/// Implementations must be self-describing or versioned, deterministic (equal values give equal bytes), and
/// `decode(encode(v))` must give a value equal to `v`.
pub trait Codec<T>: Send + Sync + 'static {
    /// Names the format, for ever: what is written under another name is not read.
    ///
    /// It is part of the definition of each topology that reads or writes a topic with this codec: with a codec of
    /// another name the topology is another one, and needs another name or version.
    fn name(&self) -> String;

    /// The bytes of `value`.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if the format cannot hold the value.
    fn encode(&self, value: &T) -> Result<Bytes, CodecError>;

    /// The value in `bytes`.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if the bytes are no such value.
    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError>;

    /// The same, for a value that may share the bytes instead of copying them.
    ///
    /// # Errors
    ///
    /// As [`decode`](Codec::decode).
    fn decode_shared(&self, bytes: &Bytes) -> Result<T, CodecError> {
        self.decode(bytes)
    }

    /// The same as [`encode`](Codec::encode), where `None` stands for a record's null: every value has bytes unless
    /// said otherwise.
    ///
    /// # Errors
    ///
    /// As [`encode`](Codec::encode).
    fn encode_nullable(&self, value: &T) -> Result<Option<Bytes>, CodecError> {
        self.encode(value).map(Some)
    }

    /// The value that a record's null stands for.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if there is none, as unless said otherwise.
    fn decode_null(&self) -> Result<T, CodecError> {
        Err(CodecError::decode::<T>("it is null; an `Option` takes nulls, in JSON or through `Nullable`"))
    }
}

impl<T: 'static> Codec<T> for Arc<dyn Codec<T>> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn encode(&self, value: &T) -> Result<Bytes, CodecError> {
        (**self).encode(value)
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        (**self).decode(bytes)
    }

    fn decode_shared(&self, bytes: &Bytes) -> Result<T, CodecError> {
        (**self).decode_shared(bytes)
    }

    fn encode_nullable(&self, value: &T) -> Result<Option<Bytes>, CodecError> {
        (**self).encode_nullable(value)
    }

    fn decode_null(&self) -> Result<T, CodecError> {
        (**self).decode_null()
    }
}

/// JSON by serde: the format of payloads and state unless another is chosen.
///
/// JSON's `null` is written as a record's null, and a record's null is read as one: so the absent value of an `Option` is
/// a tombstone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

const JSON_NULL: &[u8] = b"null";

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    fn name(&self) -> String {
        "json".to_owned()
    }

    fn encode(&self, value: &T) -> Result<Bytes, CodecError> {
        let mut json = serde_json::to_vec(value).map_err(CodecError::encode::<T>)?;
        // States are many, small and kept for long: none of them may hold the 128 bytes that it was written to.
        json.shrink_to_fit();
        Ok(json.into())
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(bytes).map_err(CodecError::decode::<T>)
    }

    fn encode_nullable(&self, value: &T) -> Result<Option<Bytes>, CodecError> {
        let json = self.encode(value)?;
        Ok((json != JSON_NULL).then_some(json))
    }

    fn decode_null(&self) -> Result<T, CodecError> {
        self.decode(JSON_NULL)
    }
}

/// Writes and reads the keys of a topic, and says what decides the partition.
///
/// Of a tuple the text form of its first component decides, so that views can be asked for all keys that share it.
pub trait KeyCodec<K>: Codec<K> {
    /// The bytes whose hash is the partition of `key`, which `encoded` is the encoding of: all of it unless said
    /// otherwise, as Kafka's own clients do it.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the key has no such part.
    fn partition_part(&self, key: &K, encoded: &Bytes) -> Result<Bytes, KeyError> {
        let _ = key;
        Ok(encoded.clone())
    }
}
