//! A log that answers few records at once, so that what is made of many takes many transactions.

use std::sync::Arc;

use headwater::core::BoxFuture;
use headwater::core::clock::Timestamp;
use headwater::core::log::{
    AppendError, Bounds, Group, Log, LogError, LogId, Membership, ReadBatch, ReadLimit, TopicDescription,
    TopicSettings, Wait,
};
use headwater::core::position::Position;
use headwater::core::record::Append;
use headwater::core::topic::{Offset, TopicName, TopicPartition};

/// Records that one read answers at most.
const RECORDS: usize = 3;

/// Another log, sip by sip.
pub(crate) struct SippingLog(pub(crate) Arc<dyn Log>);

impl Log for SippingLog {
    fn id(&self) -> LogId {
        self.0.id()
    }

    fn describe<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<TopicDescription>, LogError>> {
        self.0.describe(topic)
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicDescription>, LogError>> {
        self.0.topics()
    }

    fn create<'a>(
        &'a self,
        topic: &'a TopicName,
        settings: TopicSettings,
    ) -> BoxFuture<'a, Result<TopicDescription, LogError>> {
        self.0.create(topic, settings)
    }

    fn delete<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), LogError>> {
        self.0.delete(topic)
    }

    fn read<'a>(
        &'a self,
        partition: &'a TopicPartition,
        from: Offset,
        limit: ReadLimit,
        wait: Wait,
    ) -> BoxFuture<'a, Result<ReadBatch, LogError>> {
        let limit = ReadLimit { records: limit.records.min(RECORDS), ..limit };
        self.0.read(partition, from, limit, wait)
    }

    fn bounds<'a>(&'a self, partition: &'a TopicPartition) -> BoxFuture<'a, Result<Bounds, LogError>> {
        self.0.bounds(partition)
    }

    fn offset_at<'a>(
        &'a self,
        partition: &'a TopicPartition,
        time: Timestamp,
    ) -> BoxFuture<'a, Result<Offset, LogError>> {
        self.0.offset_at(partition, time)
    }

    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Result<Vec<Offset>, AppendError>> {
        self.0.append(appends)
    }

    fn join<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<Box<dyn Membership>, LogError>> {
        self.0.join(group)
    }

    fn committed<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Position, LogError>> {
        self.0.committed(group)
    }
}
