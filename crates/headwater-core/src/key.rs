//! Keys as bytes, in two forms.
//!
//! **Ordered** is the form in stores: bytes that compare as the values do, each component self-delimiting, so that
//! `"c1"` is no prefix of `"c10"`. **Text** is the form on topics: what other consumers and Kafka's own tools read, and
//! what decides the partition.

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

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
