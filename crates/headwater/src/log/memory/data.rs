//! What a log keeps: topics with their records, and the heads of shards.
//!
//! Nothing here waits, rolls dice or knows who may write; a write is checked first and then cannot fail.

use std::collections::{BTreeMap, BTreeSet};

use headwater_core::clock::Timestamp;
use headwater_core::log::{
    Cleanup, Head, LogError, LogErrorKind, RecordTimes, TopicDescription, TopicSettings, Transaction,
};
use headwater_core::position::Position;
use headwater_core::record::Append;
use headwater_core::topic::{Offset, Partition, TopicId, TopicName, TopicPartition};

use super::partition::PartitionLog;
use crate::log::groups::ShardId;
use crate::log::other_partitions;

#[derive(Debug, Clone, Default)]
pub(super) struct Data {
    topics: BTreeMap<TopicName, Topic>,
    heads: BTreeMap<ShardId, Head>,
    /// Whether a transaction uses up an offset of every partition that it touches, as Kafka's markers do.
    markers: bool,
}

#[derive(Debug, Clone)]
struct Topic {
    id: TopicId,
    settings: TopicSettings,
    partitions: Vec<PartitionLog>,
}

impl Topic {
    fn describe(&self, name: &TopicName) -> TopicDescription {
        TopicDescription { name: name.clone(), id: self.id, settings: self.settings, replicas: None }
    }

    fn wake_all(&self) {
        self.partitions.iter().for_each(|partition| partition.tail().notify_waiters());
    }
}

impl Data {
    pub(super) fn new(markers: bool) -> Self {
        Self { markers, ..Self::default() }
    }

    pub(super) fn describe(&self, name: &TopicName) -> Option<TopicDescription> {
        self.topics.get(name).map(|topic| topic.describe(name))
    }

    pub(super) fn topics(&self) -> Vec<TopicDescription> {
        self.topics.iter().map(|(name, topic)| topic.describe(name)).collect()
    }

    pub(super) fn create(
        &mut self,
        name: &TopicName,
        id: TopicId,
        settings: TopicSettings,
    ) -> Result<TopicDescription, LogError> {
        if self.topics.contains_key(name) {
            return Err(LogError::new(LogErrorKind::TopicExists, format!("topic {name} exists")));
        }
        if settings.partitions == 0 {
            let message = format!("topic {name} needs at least one partition");
            return Err(LogError::new(LogErrorKind::Invalid, message));
        }
        let partitions = (0..settings.partitions).map(|_| PartitionLog::new()).collect();
        let topic = Topic { id, settings, partitions };
        let description = topic.describe(name);
        self.topics.insert(name.clone(), topic);
        Ok(description)
    }

    pub(super) fn alter(
        &mut self,
        name: &TopicName,
        settings: TopicSettings,
    ) -> Result<TopicDescription, LogError> {
        let topic = self.topics.get_mut(name).ok_or_else(|| no_topic(name))?;
        if settings.partitions != topic.settings.partitions {
            return Err(other_partitions(name, topic.settings.partitions));
        }
        topic.settings = settings;
        Ok(topic.describe(name))
    }

    pub(super) fn delete(&mut self, name: &TopicName) -> Result<(), LogError> {
        let topic = self.topics.remove(name).ok_or_else(|| no_topic(name))?;
        for head in self.heads.values_mut() {
            let others = head.positions.iter().filter(|(partition, _)| partition.topic != *name);
            head.positions = others.map(|(partition, next)| (partition.clone(), next)).collect();
        }
        topic.wake_all();
        Ok(())
    }

    pub(super) fn partition(&self, at: &TopicPartition) -> Result<&PartitionLog, LogError> {
        let topic = self.topics.get(&at.topic).ok_or_else(|| no_topic(&at.topic))?;
        topic.partitions.get(index(at.partition)).ok_or_else(|| no_partition(at))
    }

    pub(super) fn partition_mut(&mut self, at: &TopicPartition) -> Result<&mut PartitionLog, LogError> {
        let topic = self.topics.get_mut(&at.topic).ok_or_else(|| no_topic(&at.topic))?;
        topic.partitions.get_mut(index(at.partition)).ok_or_else(|| no_partition(at))
    }

    /// Drops what has expired in one partition, before anybody looks at it.
    pub(super) fn tidy(&mut self, at: &TopicPartition, now: Timestamp) {
        let Some(topic) = self.topics.get_mut(&at.topic) else { return };
        if let Some(partition) = topic.partitions.get_mut(index(at.partition)) {
            partition.tidy(topic.settings.cleanup, now);
        }
    }

    /// Drops everything that any topic's rule allows to drop.
    pub(super) fn clean(&mut self, now: Timestamp) {
        for topic in self.topics.values_mut() {
            topic.partitions.iter_mut().for_each(|partition| partition.clean(topic.settings.cleanup, now));
        }
    }

    /// Whether records could be written: every partition exists, and compacted ones are given keys, as Kafka demands.
    pub(super) fn check_appends(&self, appends: &[Append]) -> Result<(), LogError> {
        appends.iter().try_for_each(|append| {
            self.partition(&append.to)?;
            let compacted = self
                .topics
                .get(&append.to.topic)
                .is_some_and(|topic| matches!(topic.settings.cleanup, Cleanup::Compact { .. }));
            if compacted && append.record.key.is_none() {
                let message = format!("{} is compacted: every record needs a key", append.to.topic);
                return Err(LogError::new(LogErrorKind::Invalid, message));
            }
            Ok(())
        })
    }

    /// Whether a transaction could be written.
    pub(super) fn check(&self, transaction: &Transaction) -> Result<(), LogError> {
        if transaction.positions.is_empty() {
            let message = "a transaction needs at least one position";
            return Err(LogError::new(LogErrorKind::Invalid, message));
        }
        transaction.positions.iter().try_for_each(|(at, _)| self.partition(at).map(|_| ()))?;
        self.check_appends(&transaction.appends)
    }

    /// Writes records that were checked.
    pub(super) fn append(&mut self, appends: Vec<Append>, now: Timestamp) -> Vec<Offset> {
        appends.into_iter().map(|append| self.append_one(append, now)).collect()
    }

    fn append_one(&mut self, append: Append, now: Timestamp) -> Offset {
        let Append { to, mut record } = append;
        let topic = self.topics.get_mut(&to.topic).expect("appends are checked before they are written");
        if topic.settings.times == RecordTimes::Log {
            record.timestamp = now;
        }
        let partition = topic
            .partitions
            .get_mut(index(to.partition))
            .expect("appends are checked before they are written");
        let offset = partition.append(record);
        partition.tidy(topic.settings.cleanup, now);
        offset
    }

    /// Writes a transaction that was checked.
    pub(super) fn commit(&mut self, of: &ShardId, transaction: Transaction, now: Timestamp) -> Vec<Offset> {
        let Transaction { appends, positions, note } = transaction;
        let touched = touched(&appends);
        let offsets = self.append(appends, now);
        self.mark(&touched);
        let head = self.heads.entry(of.clone()).or_default();
        head.note = note;
        positions.iter().for_each(|(at, next)| head.positions.set(at.clone(), next));
        offsets
    }

    /// Leaves of a transaction what Kafka leaves of an aborted one: gaps.
    pub(super) fn abort(&mut self, transaction: &Transaction) {
        if !self.markers || self.check_appends(&transaction.appends).is_err() {
            return;
        }
        for append in &transaction.appends {
            self.partition_mut(&append.to).expect("appends were checked").skip(1);
        }
        self.mark(&touched(&transaction.appends));
    }

    fn mark(&mut self, touched: &BTreeSet<TopicPartition>) {
        for at in touched.iter().filter(|_| self.markers).cloned().collect::<Vec<_>>() {
            self.partition_mut(&at).expect("a transaction's partitions were checked").skip(1);
        }
    }

    pub(super) fn head(&self, of: &ShardId) -> Option<&Head> {
        self.heads.get(of)
    }

    pub(super) fn committed(&self, group: &str) -> Position {
        let mut all = Position::new();
        self.heads
            .iter()
            .filter(|(of, _)| &*of.group == group)
            .for_each(|(_, head)| all.advance(&head.positions));
        all
    }

    /// Wakes every reader, since the log has changed under them.
    pub(super) fn wake_all(&self) {
        self.topics.values().for_each(Topic::wake_all);
    }
}

fn touched(appends: &[Append]) -> BTreeSet<TopicPartition> {
    appends.iter().map(|append| append.to.clone()).collect()
}

fn index(partition: Partition) -> usize {
    partition.0 as usize
}

fn no_topic(name: &TopicName) -> LogError {
    LogError::new(LogErrorKind::UnknownTopic, format!("there is no topic {name}"))
}

fn no_partition(at: &TopicPartition) -> LogError {
    LogError::new(LogErrorKind::UnknownTopic, format!("topic {} has no partition {}", at.topic, at.partition))
}
