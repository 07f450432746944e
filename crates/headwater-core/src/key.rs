//! Keys as bytes, in two forms.
//!
//! [**Ordered**](ordered()) is the form in stores: bytes that compare as the values do, each component self-delimiting,
//! so that `"c1"` is no prefix of `"c10"`. [**Text**](text()) is the form on topics: what other consumers and Kafka's
//! own tools read, and what decides the partition.

mod ordered;
mod part;
mod text;

use std::fmt;
use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use ordered::{decode_ordered, encode_ordered, ordered};
pub use part::{BESIDE_FIRST, partition_text};
pub use text::{decode_text, text};

/// What can be a key: plain data that serde can write and read, without floats and maps.
///
/// Implemented for every type that qualifies.
pub trait Key:
    Serialize + DeserializeOwned + Clone + Eq + Ord + Hash + std::fmt::Debug + Send + Sync + 'static
{
}

impl<T> Key for T where
    T: Serialize + DeserializeOwned + Clone + Eq + Ord + Hash + std::fmt::Debug + Send + Sync + 'static
{
}

/// A key that could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError {
    kind: KeyErrorKind,
    message: String,
}

/// What to do about a [`KeyError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyErrorKind {
    /// The key is longer than [`KEY_BYTES_MAX`](crate::store::KEY_BYTES_MAX): refuse what brings it.
    TooLong,
    /// The type holds what no key can (a float, a map): choose another key type.
    Unsupported,
    /// The bytes are no key of the type.
    Malformed,
}

impl KeyError {
    fn new<T: ?Sized>(kind: KeyErrorKind, cause: impl fmt::Display) -> Self {
        Self { kind, message: format!("key of type {}: {cause}", std::any::type_name::<T>()) }
    }

    /// The kind.
    pub fn kind(&self) -> KeyErrorKind {
        self.kind
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for KeyError {}

/// What a serializer or deserializer of this module says when it stops; serde wants one type of error for it.
#[derive(Debug)]
struct Cause(String);

impl Cause {
    fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

impl serde::ser::Error for Cause {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message)
    }
}

impl serde::de::Error for Cause {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message)
    }
}
