//! Topics that an app reads or feeds by their own names, and how their records are written.

use std::any::type_name;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use headwater_core::codec::{Codec, Json, KeyCodec, Nullable, Text};
use headwater_core::key::{Key, ordered};
use headwater_core::record::{Record, StoredRecord};
use headwater_core::store::KEY_BYTES_MAX;
use headwater_core::topic::{InvalidTopicName, TopicName};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::definition::topic_of;
use super::route::Route;
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

/// The names of a topic's codecs, and of the types of its keys and values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Codecs {
    keys: String,
    values: String,
    key_type: &'static str,
    value_type: &'static str,
}

impl Codecs {
    /// Both codecs in words; `None` of those that every topic has which says nothing of them.
    pub(crate) fn unusual(&self) -> Option<String> {
        let usual = [Codec::<String>::name(&Text), Codec::<String>::name(&Json)];
        let is_usual = [&self.keys, &self.values] == [&usual[0], &usual[1]];
        (!is_usual).then(|| format!("{} keys, {} values", self.keys, self.values))
    }

    /// Whether what is written as the one is read as the other, but for nulls.
    pub(crate) fn agree(&self, other: &Self) -> bool {
        self.without_nulls() == other.without_nulls()
    }

    fn without_nulls(&self) -> [&str; 4] {
        [
            present(&self.keys),
            present(&self.values),
            present_type(self.key_type),
            present_type(self.value_type),
        ]
    }
}

/// The codec that a nullable one is made of.
fn present(codec: &str) -> &str {
    codec.strip_prefix("nullable ").unwrap_or(codec)
}

/// The type that an `Option` is made of.
fn present_type(name: &str) -> &str {
    let inner = name.strip_prefix("core::option::Option<").and_then(|rest| rest.strip_suffix('>'));
    inner.unwrap_or(name)
}

impl fmt::Display for Codecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, values, key_type, value_type } = self;
        write!(f, "{keys} keys of type {} and {values} values of type {}", short(key_type), short(value_type))
    }
}

/// A type's name, without the paths of those that everybody knows.
fn short(type_name: &str) -> String {
    ["alloc::string::", "alloc::vec::", "core::option::"]
        .iter()
        .fold(type_name.to_owned(), |name, path| name.replace(path, ""))
}

/// How a stream of an app reads a topic by its own name, apart from its types.
#[derive(Clone)]
pub(crate) struct Reads {
    pub(crate) codecs: Codecs,
    /// Whether it has a value for a record's null.
    pub(crate) takes_nulls: bool,
    pub(crate) row_key: RowKey,
}

/// Says why no store could keep a row under the key in these bytes, if so.
pub(crate) type RowKey = Arc<dyn Fn(&Bytes) -> Result<(), String> + Send + Sync>;

/// The longest key of a record that is published to be kept in a store, in its ordered form: what windows and joins put
/// beside it has a place as well.
const ROW_KEY_BYTES_MAX: usize = KEY_BYTES_MAX - 100;

/// Whether a store can keep a row under a key.
fn fits<K: Key>(key: &K) -> Result<(), String> {
    let row = ordered(key).map_err(|e| e.to_string())?.len();
    let told = || format!("{row} bytes long there, and {ROW_KEY_BYTES_MAX} are the most");
    if row > ROW_KEY_BYTES_MAX { Err(told()) } else { Ok(()) }
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
        let (key_type, value_type) = (type_name::<K>(), type_name::<V>());
        let codecs = Arc::new(Codecs { keys: keys.name(), values: values.name(), key_type, value_type });
        Self { name: name.into().into(), keys: Arc::new(keys), values: Arc::new(values), codecs }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn codecs(&self) -> &Codecs {
        &self.codecs
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

    /// What of it is known apart from its types.
    pub(crate) fn reads(&self) -> Reads
    where
        K: Key,
    {
        let keys = self.keys.clone();
        let row_key: RowKey =
            Arc::new(move |bytes: &Bytes| fits(&keys.decode_shared(bytes).map_err(|e| e.to_string())?));
        Reads { codecs: (*self.codecs).clone(), takes_nulls: self.values.decode_null().is_ok(), row_key }
    }

    /// How its records are written.
    pub(crate) fn writes(&self) -> Arc<dyn WriteRecord<K, V>> {
        Arc::new(self.clone())
    }

    /// What decides the partition of its keys.
    pub(crate) fn route(&self) -> Route<K> {
        let keys = self.keys.clone();
        Route::new(move |key| {
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
