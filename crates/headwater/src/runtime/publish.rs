//! Records that an application appends itself, to a topic that its app reads.
//!
//! An answer means durable. Records that wait at the same time share a batch of the log, and with it an fsync or a
//! request, so that many small ones are cheap. Where the log may have written a record or not, the caller is told, and
//! may publish it again under its id: whoever must count it once drops repeats by that.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_core::BoxFuture;
use headwater_core::clock::Timestamp;
use headwater_core::header::{Headers, WellKnown};
use headwater_core::log::{AppendError, LogError, LogErrorKind, TopicDescription};
use headwater_core::partitioner::partition_of;
use headwater_core::record::{Append, Record};
use headwater_core::topic::Offset;
use tokio::time::Instant;

use super::start::{SharedTopic, StartedApp};
use crate::command::{Receipt, Version};
use crate::engine::operators::WriteRecord;
use crate::topology::{Asks, Topic};

/// The header that carries a published record's id.
const RECORD_ID: WellKnown = WellKnown::of("hw_record_id");
/// How long a log that takes nothing is asked again, unless the caller says otherwise.
const WITHIN: Duration = Duration::from_secs(5);
/// How long a log that took nothing is left alone.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a record was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It can never be written: its key or value cannot be encoded, or is too large.
    #[error("the record cannot be written: {0}")]
    Invalid(String),
    /// The app could not read it: it has the topic with other codecs or types, or reads it without nulls.
    #[error("the record would not be read: {0}")]
    Unreadable(String),
    /// The log took nothing in the time given; the record is not in it.
    #[error("the log did not take the record: {0}")]
    Unavailable(String),
    /// There is no space left; the record is not in the log.
    #[error("there is no space left for the record: {0}")]
    Full(String),
    /// The record is in the log or not: publish it again under the same id.
    #[error("whether record \"{id}\" was written is not known: {reason}")]
    Unknown {
        /// Its id.
        id: String,
        /// Why it is not known.
        reason: String,
    },
}

/// A record about to be published; awaiting it appends it.
#[must_use = "a record is published when this is awaited"]
pub struct Publish {
    app: Arc<StartedApp>,
    topic: TopicDescription,
    encoded: Result<Encoded, PublishError>,
    id: Option<String>,
    time: Option<Timestamp>,
    within: Duration,
}

/// A key and a value as they are written, and what decides the partition.
struct Encoded {
    key: Bytes,
    part: Bytes,
    value: Option<Bytes>,
}

impl Publish {
    /// # Panics
    ///
    /// If the app reads no topic of that name.
    pub(crate) fn new<K: 'static, V: 'static>(
        app: &Arc<StartedApp>,
        topic: &Topic<K, V>,
        key: &K,
        value: &V,
    ) -> Self {
        let name = topic.name();
        let SharedTopic { described, asks } = app.shared_topics.get(name).unwrap_or_else(|| {
            panic!(
                "no stream of the app reads the topic \"{name}\", and an app publishes to those that it reads"
            )
        });
        Self {
            app: app.clone(),
            topic: described.clone(),
            encoded: encode(topic, key, value).and_then(|encoded| readable(topic, asks, encoded)),
            id: None,
            time: None,
            within: WITHIN,
        }
    }

    /// Gives it this id; a random one unless set.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Says when what it tells happened; now unless set.
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// Tries for this long at most; five seconds unless set.
    pub fn within(mut self, wait: Duration) -> Self {
        self.within = wait;
        self
    }

    async fn append(self) -> Result<Receipt, PublishError> {
        let Encoded { key, part, value } = self.encoded?;
        let id = self.id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let shell = &self.app.shell;
        let mut headers = Headers::builder();
        headers.put(RECORD_ID, id.as_bytes());
        let timestamp = self.time.unwrap_or_else(|| shell.clock.now());
        if timestamp.0 < 0 {
            return Err(PublishError::Invalid(format!("its time, {} ms, lies before 1970", timestamp.0)));
        }
        let record = Record { key: Some(key), value, headers: headers.build(), timestamp };
        let partition = partition_of(&part, self.topic.settings.partitions);
        let append = Append { to: self.topic.name.partition(partition.0), record };
        let deadline = Instant::now() + self.within;
        loop {
            let unknown = |reason: String| PublishError::Unknown { id: id.clone(), reason };
            let error = match tokio::time::timeout_at(deadline, shell.append_one(append.clone())).await {
                Ok(Ok(offset)) => {
                    return Ok(Receipt {
                        version: Version(0),
                        log: shell.log.id(),
                        topic_id: self.topic.id,
                        topic: self.topic.name,
                        partition,
                        next: offset.next(),
                    });
                }
                Ok(Err(AppendError::NotWritten(error))) => error,
                Ok(Err(AppendError::Unknown(error))) => return Err(unknown(error.to_string())),
                Err(_) => return Err(unknown("the log has not answered in time".to_owned())),
            };
            let may_pass = error.kind() == LogErrorKind::Unavailable && shell.log.cut_off().is_none();
            if !may_pass || Instant::now() + PAUSE >= deadline {
                return Err(not_written(&error));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl IntoFuture for Publish {
    type Output = Result<Receipt, PublishError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.append())
    }
}

fn encode<K: 'static, V: 'static>(topic: &Topic<K, V>, key: &K, value: &V) -> Result<Encoded, PublishError> {
    let keyless =
        || PublishError::Invalid("a published record needs a key, which decides its partition".to_owned());
    let (key, part) = topic.key(key).map_err(PublishError::Invalid)?.ok_or_else(keyless)?;
    Ok(Encoded { key, part, value: topic.value(value).map_err(PublishError::Invalid)? })
}

/// What was encoded, if everyone in the app who reads the topic can process it: what cannot be would stop a shard.
fn readable<K, V>(topic: &Topic<K, V>, asks: &Asks, encoded: Encoded) -> Result<Encoded, PublishError> {
    let (name, given) = (topic.name(), topic.codecs());
    if let Some(expected) = asks.other_codecs(given) {
        let told = format!("the topic \"{name}\" has {expected} in this app, and this one has {given}");
        return Err(PublishError::Unreadable(told));
    }
    if encoded.value.is_none() && asks.refuses_nulls() {
        let told = format!("it has no value, and the app reads the topic \"{name}\" without nulls");
        return Err(PublishError::Unreadable(told));
    }
    if let Some((store, why)) = asks.refuses_key(&encoded.key) {
        let length = encoded.key.len();
        let told = format!(
            "the topic \"{name}\" is kept in \"{store}\", which takes no key of {length} bytes: {why}"
        );
        return Err(PublishError::Invalid(told));
    }
    Ok(encoded)
}

fn not_written(error: &LogError) -> PublishError {
    match error.kind() {
        LogErrorKind::Full => PublishError::Full(error.to_string()),
        LogErrorKind::Invalid => PublishError::Invalid(error.to_string()),
        _ => PublishError::Unavailable(error.to_string()),
    }
}

impl super::shell::Shell {
    /// Appends one record, counted among those of this log.
    async fn append_one(&self, append: Append) -> Result<Offset, AppendError> {
        let bytes = append.record.size();
        let offsets = self.log.append(vec![append]).await?;
        self.log_metrics.appended(1, bytes);
        Ok(*offsets.first().expect("a log answers an offset for each record"))
    }
}
