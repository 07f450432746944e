//! Topics that an app reads or feeds by their own names, and how their records are written.

use std::sync::Arc;

use bytes::Bytes;
use headwater_core::codec::{Codec, Json, KeyCodec, Nullable, Text};
use headwater_core::key::{Key, KeyError};
use headwater_core::record::{Record, StoredRecord};
use headwater_core::topic::{InvalidTopicName, TopicName};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::definition::topic_of;
use crate::engine::operators::{Encoded, Read, WriteRecord};

/// A topic by its own name, which other programs may share, with the codecs of its keys and values.
///
/// A name alone will do wherever a topic is asked for: keys are text then, and values JSON.
///
/// ```
/// use headwater::Topic;
/// use headwater::core::codec::{BigEndian, Json};
///
/// let visits: Topic<String, u64> = "visits".into();
/// let sensors: Topic<i64, f64> = Topic::with("sensors", BigEndian, Json);
/// ```
pub struct Topic<K, V> {
    name: Arc<str>,
    keys: Arc<dyn KeyCodec<K>>,
    values: Arc<dyn Codec<V>>,
    codecs: Arc<Codecs>,
}

/// The names of a topic's codecs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Codecs {
    keys: String,
    values: String,
}

impl Codecs {
    /// Those of a topic that says nothing of them.
    fn usual() -> Self {
        Self { keys: Codec::<String>::name(&Text), values: Codec::<String>::name(&Json) }
    }

    /// Both in words; `None` of those that every topic has which says nothing of them.
    pub(crate) fn unusual(&self) -> Option<String> {
        (*self != Self::usual()).then(|| format!("{} keys, {} values", self.keys, self.values))
    }
}

impl<K, V> Clone for Topic<K, V> {
    fn clone(&self) -> Self {
        let Self { name, keys, values, codecs } = self;
        Self { name: name.clone(), keys: keys.clone(), values: values.clone(), codecs: codecs.clone() }
    }
}

impl<K, V> Topic<K, V> {
    /// A topic with these codecs.
    pub fn with(name: impl Into<String>, keys: impl KeyCodec<K>, values: impl Codec<V>) -> Self {
        let codecs = Arc::new(Codecs { keys: keys.name(), values: values.name() });
        Self { name: name.into().into(), keys: Arc::new(keys), values: Arc::new(values), codecs }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn codecs(&self) -> Codecs {
        (*self.codecs).clone()
    }
}

impl<K: 'static, V: 'static> Topic<K, V> {
    /// How its records are read. A record whose key or value is null stops its shard, unless their codecs take nulls.
    pub(crate) fn read(&self) -> Read<K, V> {
        let Self { keys, values, .. } = self.clone();
        Arc::new(move |record: &StoredRecord| {
            let Record { key, value, .. } = &record.record;
            let key = decoded(&*keys, key, "key")?;
            let value = decoded(&*values, value, "value")?;
            Ok(Some((key, value)))
        })
    }

    /// How its records are written.
    pub(crate) fn writes(&self) -> Arc<dyn WriteRecord<K, V>> {
        Arc::new(self.clone())
    }

    /// What decides the partition of its keys.
    pub(crate) fn route(&self) -> Route<K> {
        let keys = self.keys.clone();
        Arc::new(move |key: &K| {
            let encoded = keys.encode(key).map_err(|e| e.to_string())?;
            keys.partition_part(key, &encoded).map_err(|e| e.to_string())
        })
    }

    /// The same topic, where a null value is an absent one.
    pub(crate) fn with_nulls(&self) -> Topic<K, Option<V>> {
        let Self { name, keys, values, codecs } = self.clone();
        Topic { name, keys, values: Arc::new(Nullable(values)), codecs }
    }
}

fn decoded<T>(codec: &(impl Codec<T> + ?Sized), bytes: &Option<Bytes>, part: &str) -> Result<T, String> {
    match bytes {
        Some(bytes) => codec.decode_shared(bytes).map_err(|e| format!("its {part}: {e}")),
        None => codec.decode_null().map_err(|e| format!("it has no {part}, which is needed here: {e}")),
    }
}

impl<K: 'static, V: 'static> WriteRecord<K, V> for Topic<K, V> {
    fn key(&self, key: &K) -> Result<Option<(Bytes, Bytes)>, String> {
        let Some(encoded) = self.keys.encode_nullable(key).map_err(|e| e.to_string())? else {
            return Ok(None);
        };
        let part = self.keys.partition_part(key, &encoded).map_err(|e| e.to_string())?;
        Ok(Some((encoded, part)))
    }

    fn value(&self, value: &V) -> Encoded {
        self.values.encode_nullable(value).map_err(|e| e.to_string())
    }
}

impl<K: Key, V: Serialize + DeserializeOwned> From<&str> for Topic<K, V> {
    fn from(name: &str) -> Self {
        Self::with(name, Text, Json)
    }
}

impl<K: Key, V: Serialize + DeserializeOwned> From<String> for Topic<K, V> {
    fn from(name: String) -> Self {
        Self::with(name, Text, Json)
    }
}

/// The bytes whose hash is a key's partition.
pub(crate) type Route<K> = Arc<dyn Fn(&K) -> Result<Bytes, String> + Send + Sync>;

/// That of keys in their text form.
pub(crate) fn text_route<K: Key>() -> Route<K> {
    Arc::new(|key: &K| headwater_core::key::partition_text(key).map_err(|e: KeyError| e.to_string()))
}

/// A topic as a definition names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TopicRef {
    /// `<app>.<name>`: the app's own, which it makes and alone writes.
    Own(String),
    /// A name that other programs may share.
    Shared(String),
}

impl TopicRef {
    /// The name by which it was given.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Own(name) | Self::Shared(name) => name,
        }
    }

    /// What metrics call the operator that appends to these topics: a store may have the name of a topic.
    pub(crate) fn appender(topics: &[Self]) -> String {
        let names: Vec<&str> = topics.iter().map(Self::name).collect();
        format!("to {}", names.join(", "))
    }

    /// The topic's name in the log.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub(crate) fn resolve(&self, app: &str) -> Result<TopicName, InvalidTopicName> {
        match self {
            Self::Own(name) => topic_of(app, name),
            Self::Shared(name) => TopicName::new(name.clone()),
        }
    }

    /// The same in words, also where it is no name.
    pub(crate) fn shown(&self, app: &str) -> String {
        match self {
            Self::Own(name) => format!("{app}.{name}"),
            Self::Shared(name) => name.clone(),
        }
    }
}
