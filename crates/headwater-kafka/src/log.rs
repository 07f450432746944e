//! The log itself: one connection, and the contract's calls handed to the module that knows about each.

use std::fmt;
use std::sync::Arc;

use headwater_core::BoxFuture;
use headwater_core::clock::Timestamp;
use headwater_core::log::{
    AppendError, Bounds, Group, Log, LogError, LogId, Membership, ReadBatch, ReadLimit, Replicas,
    TopicDescription, TopicSettings, Wait,
};
use headwater_core::position::Position;
use headwater_core::record::Append;
use headwater_core::topic::{Offset, TopicName, TopicPartition};

use crate::append::Appender;
use crate::bounds::Places;
use crate::claim::Means;
use crate::cluster;
use crate::connection::Connection;
use crate::errors::KafkaError;
use crate::heads::{self, Heads};
use crate::membership::Member;
use crate::reader::Reader;
use crate::settings::KafkaSettings;
use crate::topics::Topics;

/// A log on a Kafka cluster.
pub struct KafkaLog {
    id: LogId,
    /// How many brokers the cluster had when it was connected.
    brokers: Option<u32>,
    connection: Arc<Connection>,
    topics: Arc<Topics>,
    places: Arc<Places>,
    heads: Arc<Heads>,
    reader: Arc<Reader>,
    appender: Appender,
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = &self.connection.settings().servers;
        f.debug_struct("KafkaLog").field("id", &self.id).field("servers", servers).finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// Connects to a cluster, and checks that it has what the log needs.
    ///
    /// Nothing is made on the cluster yet. From now on brokers may come and go: calls answer that the log is unavailable,
    /// and are served again when it is back.
    ///
    /// # Errors
    ///
    /// [`KafkaError`] says in one line why the cluster cannot be used, and what to do: within about twice the settings'
    /// [`patience`](KafkaSettings::patience) for each address.
    pub async fn connect(settings: KafkaSettings) -> Result<Arc<Self>, KafkaError> {
        let connection = Connection::open(settings).await?;
        let (id, brokers) = cluster::check(&connection).await?;
        Ok(Arc::new(Self { brokers: Some(brokers), ..Self::new(connection, id) }))
    }

    pub(crate) fn new(connection: Arc<Connection>, id: LogId) -> Self {
        let reader = Arc::new(Reader::new(connection.clone()));
        let topics = Arc::new(Topics::new(connection.clone(), reader.clone()));
        let places = Arc::new(Places::new(connection.clone(), topics.clone()));
        let heads = Arc::new(Heads::new(topics.clone(), places.clone(), reader.clone()));
        let appender = Appender::start(connection.clone(), topics.clone());
        Self { id, brokers: None, connection, topics, places, heads, reader, appender }
    }
}

impl Log for KafkaLog {
    fn id(&self) -> LogId {
        self.id
    }

    fn replicas_wanted(&self) -> Option<Replicas> {
        let settings = self.connection.settings();
        let count = |count: i16| u32::try_from(count).unwrap_or(1);
        let (factor, min_in_sync) = (settings.replication_factor, settings.min_in_sync_replicas);
        Some(Replicas { factor: count(factor), min_in_sync: count(min_in_sync) })
    }

    fn machines(&self) -> Option<u32> {
        self.brokers
    }

    fn topics_of(&self, group: &Group) -> Vec<(TopicName, TopicSettings)> {
        // A group that cannot have one says so when it is joined.
        heads::topic_of(&group.name).map(|name| (name, heads::settings_of(group))).into_iter().collect()
    }

    fn describe<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<TopicDescription>, LogError>> {
        Box::pin(self.topics.describe(topic))
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicDescription>, LogError>> {
        Box::pin(self.topics.all())
    }

    fn create<'a>(
        &'a self,
        topic: &'a TopicName,
        settings: TopicSettings,
    ) -> BoxFuture<'a, Result<TopicDescription, LogError>> {
        Box::pin(self.topics.create(topic, settings))
    }

    fn alter<'a>(
        &'a self,
        topic: &'a TopicName,
        settings: TopicSettings,
    ) -> BoxFuture<'a, Result<TopicDescription, LogError>> {
        Box::pin(self.topics.alter(topic, settings))
    }

    fn delete<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(async move {
            self.topics.delete(topic).await?;
            self.reader.forget(topic);
            Ok(())
        })
    }

    fn read<'a>(
        &'a self,
        partition: &'a TopicPartition,
        from: Offset,
        limit: ReadLimit,
        wait: Wait,
    ) -> BoxFuture<'a, Result<ReadBatch, LogError>> {
        Box::pin(self.reader.read(partition, from, bounded(limit), wait))
    }

    fn bounds<'a>(&'a self, partition: &'a TopicPartition) -> BoxFuture<'a, Result<Bounds, LogError>> {
        Box::pin(self.places.bounds(partition))
    }

    fn offset_at<'a>(
        &'a self,
        partition: &'a TopicPartition,
        time: Timestamp,
    ) -> BoxFuture<'a, Result<Offset, LogError>> {
        Box::pin(self.places.offset_at(partition, time))
    }

    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Result<Vec<Offset>, AppendError>> {
        Box::pin(self.appender.append(appends))
    }

    fn join<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<Box<dyn Membership>, LogError>> {
        Box::pin(Member::join(Means {
            connection: self.connection.clone(),
            topics: self.topics.clone(),
            heads: self.heads.clone(),
            group: group.clone(),
        }))
    }

    fn committed<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Position, LogError>> {
        Box::pin(cluster::committed(&self.connection, &self.topics, group))
    }
}

/// The limit of a read. A debug build can be told to read few records at a time, or one, as a chaos run does.
fn bounded(limit: ReadLimit) -> ReadLimit {
    #[cfg(debug_assertions)]
    {
        use std::sync::LazyLock;
        static RECORDS_MAX: LazyLock<Option<usize>> =
            LazyLock::new(|| std::env::var("HEADWATER_BIN_READ_RECORDS_MAX").ok()?.parse().ok());
        if let Some(records) = *RECORDS_MAX {
            return ReadLimit { records, ..limit };
        }
    }
    limit
}
