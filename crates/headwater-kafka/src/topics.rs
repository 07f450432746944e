//! Topics: how the cluster keeps them, in the contract's words, and which of them are known to be there.
//!
//! What is dropped is told by four settings of a topic, read back as follows; what says less than it seems to is told as
//! the weaker promise, so that whoever declared the stronger one sees that they differ:
//!
//! ```text
//! cleanup.policy  retention.ms  retention.bytes
//! delete          -1            -1               Keep
//! delete          n             -1               Expire { after n }
//! delete          any           n                Expire { after 0 }: how long depends on how much is written
//! compact         any           any              Compact { tombstones after delete.retention.ms }
//! compact,delete  as delete, but never Keep: as if it expired
//! ```
//!
//! A topic that was seen is remembered with its id and partitions, so that a write to one that is not there is refused
//! before anything is sent. A cluster never takes partitions from a topic; one that was deleted is forgotten when the
//! cluster says so. The first life of a name that this process saw is remembered beside, so that a shard never goes on
//! writing to another one as if nothing had happened.

use std::collections::HashMap;
use std::sync::Arc;

use headwater_core::log::{
    Cleanup, LogError, LogErrorKind, RecordTimes, Replicas, TopicDescription, TopicSettings,
};
use headwater_core::topic::{Offset, TopicId, TopicName, TopicPartition};
use krafka::KrafkaError;
use krafka::admin::{
    self, AdminClient, ConfigEntry, ConfigOp, ConfigResource, CreateTopicsOptions, DeleteTopicsOptions,
    DescribeConfigsOptions, DescribeTopicsOptions, IncrementalAlterConfigsOptions, ListTopicsOptions,
    NewTopic,
};
use krafka::error::ErrorCode;
use parking_lot::Mutex;
use tokio::time::{Duration, Instant, sleep};

use crate::connection::Connection;
use crate::errors::{code_of, failed_to};
use crate::heads::Place;
use crate::operation::Operation;
use crate::reader::Reader;
use crate::replicas::{Assignment, assignment_of, raise};
use crate::settings::KafkaSettings;

const CLEANUP: &str = "cleanup.policy";
const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const TOMBSTONES_MS: &str = "delete.retention.ms";
const TIMES: &str = "message.timestamp.type";
const MIN_IN_SYNC: &str = "min.insync.replicas";
const SEGMENT_MS: &str = "segment.ms";
const SEGMENT_BYTES: &str = "segment.bytes";

/// A file is compacted only once it is full, and whoever starts reads those that are not.
const COMPACTED_SEGMENT_BYTES: u32 = 16 << 20;

/// Between two looks at whether the brokers have heard of a topic that the controller made or deleted.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Longest that making a topic may take, which nobody waits for but a start: a cluster with much else to do takes longer
/// than one call may.
const MAKING_TIME_MAX: Duration = Duration::from_secs(30);

/// The cluster's topics.
pub(crate) struct Topics {
    connection: Arc<Connection>,
    reader: Arc<Reader>,
    seen: Mutex<HashMap<TopicName, Seen>>,
    /// The lives that topics had when this process first saw them, or made them.
    lives: Mutex<HashMap<TopicName, TopicId>>,
}

/// A topic that was there when it was looked at.
#[derive(Debug, Clone, Copy)]
struct Seen {
    id: TopicId,
    partitions: u32,
}

/// What a cluster tells of how topics are kept.
type Entries = HashMap<ConfigResource, Result<Vec<ConfigEntry>, KrafkaError>>;

/// A topic that was looked at.
struct Found {
    topic: TopicDescription,
    /// Whether each of its partitions can be written to.
    led: bool,
    assignment: Assignment,
}

impl Topics {
    pub(crate) fn new(connection: Arc<Connection>, reader: Arc<Reader>) -> Self {
        Self { connection, reader, seen: Mutex::default(), lives: Mutex::default() }
    }

    /// As [`Log::describe`](headwater_core::log::Log::describe).
    pub(crate) async fn describe(&self, name: &TopicName) -> Result<Option<TopicDescription>, LogError> {
        Ok(self.look(name).await?.map(|found| found.topic))
    }

    async fn look(&self, name: &TopicName) -> Result<Option<Found>, LogError> {
        let found = self.look_at_all(vec![name.as_str().to_owned()]).await?.into_iter().next();
        if found.is_none() {
            self.forget(name);
        }
        Ok(found)
    }

    /// As [`Log::topics`](headwater_core::log::Log::topics): the cluster's own topics are not among them.
    pub(crate) async fn all(&self) -> Result<Vec<TopicDescription>, LogError> {
        let admin = self.connection.admin();
        let names = admin.list_topics(ListTopicsOptions::default()).await;
        let names = names.map_err(|error| failed_to(Operation::ListTopics, error))?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.look_at_all(names).await?.into_iter().map(|found| found.topic).collect())
    }

    /// Those that are there, in order of their names.
    async fn look_at_all(&self, names: Vec<String>) -> Result<Vec<Found>, LogError> {
        let what = Operation::DescribeTopics(&names);
        let admin = self.connection.admin();
        let resources: Vec<_> = names.iter().map(ConfigResource::topic).collect();
        let (described, configs) = tokio::join!(
            admin.describe_topics(&names, DescribeTopicsOptions::default()),
            self.configs(&admin, resources),
        );
        let described = described.map_err(|error| failed_to(what, error))?;
        let mut configs = configs.map_err(|error| failed_to(what, error))?;
        let mut found = Vec::with_capacity(described.len());
        for (name, description) in described {
            let what = Operation::DescribeTopics(std::slice::from_ref(&name));
            let Some(description) = there(description).map_err(|error| failed_to(what, error))? else {
                continue;
            };
            let entries = configs.remove(&ConfigResource::topic(&*name)).unwrap_or_else(|| Ok(Vec::new()));
            let Some(entries) = there(entries).map_err(|error| failed_to(what, error))? else {
                continue;
            };
            found.extend(self.told(&description, &entries));
        }
        found.sort_by(|a: &Found, b| a.topic.name.cmp(&b.topic.name));
        Ok(found)
    }

    /// How topics are kept, in the cluster's own words.
    async fn configs(
        &self,
        admin: &AdminClient,
        topics: Vec<ConfigResource>,
    ) -> Result<Entries, KrafkaError> {
        #[cfg(test)]
        if crate::simulated::client().is_some() {
            // A simulated cluster does not serve this request.
            return Ok(Entries::new());
        }
        admin.describe_configs(topics, DescribeConfigsOptions::default().config_names(config_names())).await
    }

    /// A topic as the cluster tells it; `None` if it is none that Headwater could name.
    fn told(&self, topic: &admin::TopicDescription, entries: &[ConfigEntry]) -> Option<Found> {
        let name = TopicName::new(&topic.name).ok()?;
        let partitions = u32::try_from(topic.partitions.len()).ok()?;
        let id = TopicId(u128::from_be_bytes(topic.topic_id));
        let configs = Configs(entries);
        let factor = topic.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or(0);
        self.seen.lock().insert(name.clone(), Seen { id, partitions });
        self.lives.lock().entry(name.clone()).or_insert(id);
        let settings = TopicSettings { partitions, cleanup: configs.cleanup(), times: configs.times() };
        let min_in_sync = configs.number(MIN_IN_SYNC).and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
        let replicas = Replicas { factor: u32::try_from(factor).unwrap_or(u32::MAX), min_in_sync };
        let led = topic.partitions.iter().all(|partition| partition.leader.is_some());
        let assignment = assignment_of(topic);
        Some(Found {
            topic: TopicDescription { name, id, settings, replicas: Some(replicas) },
            led,
            assignment,
        })
    }

    /// As [`Log::create`](headwater_core::log::Log::create); answers when the brokers have heard of it.
    pub(crate) async fn create(
        &self,
        name: &TopicName,
        settings: TopicSettings,
    ) -> Result<TopicDescription, LogError> {
        let what = Operation::CreateTopic(name);
        let topic = self.new_topic(name, settings).map_err(|error| failed_to(what, error))?;
        let deadline = Instant::now() + MAKING_TIME_MAX;
        loop {
            let topic = [topic.clone()];
            let made = self.connection.admin().create_topics(topic, CreateTopicsOptions::default()).await;
            match only(made).map_err(|error| failed_to(what, error)) {
                Ok(_) => break,
                Err(error) if error.kind() == LogErrorKind::Unavailable && Instant::now() < deadline => {
                    sleep(LOOK_EVERY).await;
                }
                Err(error) => return Err(error),
            }
        }
        let made = self.await_made(name).await?;
        self.lives.lock().insert(name.clone(), made.id);
        Ok(made)
    }

    /// Waits until the brokers have heard of a topic that somebody has made, and it can be written to.
    pub(crate) async fn await_made(&self, name: &TopicName) -> Result<TopicDescription, LogError> {
        let what = Operation::CreateTopic(name);
        self.forget(name);
        self.wait_for(what, name, |found| found.filter(|found| found.led).map(|found| found.topic)).await
    }

    fn new_topic(&self, name: &TopicName, settings: TopicSettings) -> Result<NewTopic, KrafkaError> {
        let partitions = i32::try_from(settings.partitions)
            .map_err(|_| KrafkaError::config("a topic has at most two billion partitions"))?;
        let replicas = self.connection.settings().replication_factor;
        let mut topic = NewTopic::new(name.as_str(), partitions, replicas)?;
        for (key, value) in configs_of(settings) {
            topic = topic.with_config(key, value);
        }
        let min_in_sync = self.connection.settings().min_in_sync_replicas;
        Ok(topic.with_config(MIN_IN_SYNC, min_in_sync.to_string()))
    }

    /// As [`Log::alter`](headwater_core::log::Log::alter).
    pub(crate) async fn alter(
        &self,
        name: &TopicName,
        settings: TopicSettings,
    ) -> Result<TopicDescription, LogError> {
        let what = Operation::AlterTopic(name);
        let Some(Found { topic: before, assignment, .. }) = self.look(name).await? else {
            return Err(unknown(name.as_str()));
        };
        if before.settings.partitions != settings.partitions {
            let message = format!(
                "the topic {name} has {} partitions for good, and cannot have {}",
                before.settings.partitions, settings.partitions
            );
            return Err(LogError::new(LogErrorKind::Invalid, message));
        }
        let mut changes: Vec<_> =
            configs_of(settings).into_iter().map(|(key, value)| ConfigOp::set(key, value)).collect();
        let KafkaSettings { replication_factor, min_in_sync_replicas, .. } = *self.connection.settings();
        changes.push(ConfigOp::set(MIN_IN_SYNC, min_in_sync_replicas.to_string()));
        let admin = self.connection.admin();
        let factor = usize::try_from(replication_factor).unwrap_or(1);
        // First: the cluster may have too few brokers, and then nothing is altered.
        raise(&admin, name.as_str(), &assignment, factor).await.map_err(|error| failed_to(what, error))?;
        let changed = admin
            .incremental_alter_configs(
                [(ConfigResource::topic(name.as_str()), changes)],
                IncrementalAlterConfigsOptions::default(),
            )
            .await;
        only(changed).map_err(|error| failed_to(what, error))?;
        let is_kept = |found: &Found| found.assignment.values().all(|replicas| replicas.len() >= factor);
        let altered = |found: Found| {
            let done = found.topic.settings == settings && is_kept(&found);
            done.then_some(found.topic)
        };
        self.wait_for(what, name, |found| found.and_then(altered)).await
    }

    /// As [`Log::delete`](headwater_core::log::Log::delete); answers when the brokers have heard of it.
    pub(crate) async fn delete(&self, name: &TopicName) -> Result<(), LogError> {
        let what = Operation::DeleteTopic(name);
        let gone =
            self.connection.admin().delete_topics([name.as_str()], DeleteTopicsOptions::default()).await;
        only(gone).map_err(|error| failed_to(what, error))?;
        self.wait_for(what, name, |found| found.is_none().then_some(())).await?;
        self.lives.lock().remove(name);
        // What the shared client remembers of the topic would be taken for another one of that name.
        Ok(self.connection.rebuild().await?)
    }

    /// The topic's id, if it has that partition.
    pub(crate) async fn partition(&self, at: &TopicPartition) -> Result<TopicId, LogError> {
        let seen = self.seen.lock().get(&at.topic).copied();
        let seen = match seen {
            Some(seen) if at.partition.0 < seen.partitions => seen,
            _ => {
                let topic = self.describe(&at.topic).await?.ok_or_else(|| unknown(at.topic.as_str()))?;
                Seen { id: topic.id, partitions: topic.settings.partitions }
            }
        };
        if at.partition.0 < seen.partitions { Ok(seen.id) } else { Err(unknown(&at.to_string())) }
    }

    /// A shard's place in a partition that it has processed up to `next`.
    pub(crate) async fn place(&self, at: &TopicPartition, next: Offset) -> Result<Place, LogError> {
        let id = self.same_life(at).await?;
        Ok(Place { next, id, epoch: self.reader.epoch(at) })
    }

    /// The topic's id, if it has that partition and is the one that this process began with.
    pub(crate) async fn same_life(&self, at: &TopicPartition) -> Result<TopicId, LogError> {
        let id = self.partition(at).await?;
        self.check_life(&at.topic, id).map(|()| id)
    }

    /// Refuses another life of a topic than the one that this process began with.
    pub(crate) fn check_life(&self, name: &TopicName, id: TopicId) -> Result<(), LogError> {
        if self.lives.lock().get(name).is_none_or(|first| *first == id) {
            return Ok(());
        }
        let message = format!(
            "somebody deleted the topic {name} and made it again while this process ran: its records are gone; stop every \
             instance and start again, which says what can be done"
        );
        Err(LogError::new(LogErrorKind::Corrupt, message))
    }

    /// Looks at the topic again before it is next used.
    pub(crate) fn forget(&self, name: &TopicName) {
        self.seen.lock().remove(name);
    }

    /// Looks at a topic until it is as it should be, for as long as making one may take.
    async fn wait_for<T>(
        &self,
        what: Operation<'_>,
        name: &TopicName,
        is_so: impl Fn(Option<Found>) -> Option<T> + Send,
    ) -> Result<T, LogError> {
        let deadline = Instant::now() + MAKING_TIME_MAX;
        loop {
            match self.look(name).await {
                Ok(found) => {
                    if let Some(answer) = is_so(found) {
                        return Ok(answer);
                    }
                }
                Err(error) if error.kind() == LogErrorKind::Unavailable && Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
            if Instant::now() >= deadline {
                let message = format!("could not {what}: the brokers have not heard of it yet; look again");
                return Err(LogError::new(LogErrorKind::Unavailable, message));
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// The error for a topic, or a partition, that is not there.
pub(crate) fn unknown(what: &str) -> LogError {
    LogError::new(LogErrorKind::UnknownTopic, format!("there is no {what} on the cluster"))
}

/// The answer, or `None` if what it is about does not exist.
fn there<T>(answer: Result<T, KrafkaError>) -> Result<Option<T>, KrafkaError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if is_unknown(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn is_unknown(error: &KrafkaError) -> bool {
    matches!(code_of(error), Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId))
}

/// The answer about the only thing that was asked about.
fn only<K, T>(answers: Result<HashMap<K, Result<T, KrafkaError>>, KrafkaError>) -> Result<T, KrafkaError> {
    let lost = || Err(KrafkaError::timeout("the broker answered nothing about what it was asked"));
    answers?.into_values().next().unwrap_or_else(lost)
}

fn config_names() -> Vec<String> {
    [CLEANUP, RETENTION_MS, RETENTION_BYTES, TOMBSTONES_MS, TIMES, MIN_IN_SYNC].map(str::to_owned).to_vec()
}

/// What the cluster is told about how a topic is kept.
fn configs_of(settings: TopicSettings) -> Vec<(&'static str, String)> {
    let times = match settings.times {
        RecordTimes::Producer => "CreateTime",
        RecordTimes::Log => "LogAppendTime",
    };
    let mut configs = vec![(TIMES, times.to_owned()), (RETENTION_BYTES, "-1".to_owned())];
    match settings.cleanup {
        Cleanup::Keep => configs.extend([(CLEANUP, "delete".to_owned()), (RETENTION_MS, "-1".to_owned())]),
        Cleanup::Expire { after_ms } => configs.extend([
            (CLEANUP, "delete".to_owned()),
            (RETENTION_MS, after_ms.min(i64::MAX as u64).to_string()),
            (SEGMENT_MS, segment_ms(after_ms).to_string()),
        ]),
        Cleanup::Compact { tombstones_ms } => configs.extend([
            (CLEANUP, "compact".to_owned()),
            (TOMBSTONES_MS, tombstones_ms.min(i64::MAX as u64).to_string()),
            (SEGMENT_BYTES, COMPACTED_SEGMENT_BYTES.to_string()),
        ]),
    }
    configs
}

/// How long one file is written to: what expires goes file by file, and the one being written to stays.
fn segment_ms(after_ms: u64) -> u64 {
    const MINUTE: u64 = 60_000;
    (after_ms / 4).clamp(10 * MINUTE, 7 * 24 * 60 * MINUTE)
}

/// What the cluster tells about how a topic is kept.
struct Configs<'a>(&'a [ConfigEntry]);

impl Configs<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|entry| entry.name == name)?.value.as_deref()
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    fn cleanup(&self) -> Cleanup {
        let policy = self.text(CLEANUP).unwrap_or("delete");
        let tombstones_ms = self.number(TOMBSTONES_MS).and_then(|ms| u64::try_from(ms).ok());
        if policy == "compact" {
            return Cleanup::Compact { tombstones_ms: tombstones_ms.unwrap_or(u64::MAX) };
        }
        let forever = |name| self.number(name).is_some_and(|limit| limit < 0);
        if !forever(RETENTION_BYTES) {
            return Cleanup::Expire { after_ms: 0 };
        }
        match self.number(RETENTION_MS).and_then(|ms| u64::try_from(ms).ok()) {
            Some(after_ms) => Cleanup::Expire { after_ms },
            None if policy == "delete" => Cleanup::Keep,
            None => Cleanup::Expire { after_ms: u64::MAX },
        }
    }

    fn times(&self) -> RecordTimes {
        match self.text(TIMES) {
            Some("LogAppendTime") => RecordTimes::Log,
            _ => RecordTimes::Producer,
        }
    }
}
