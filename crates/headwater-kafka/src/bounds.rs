//! Where a partition begins and ends, and where a time lies in it.
//!
//! The end is the high watermark, asked of the partition's leader after the call: it covers all that was acknowledged
//! before, committed or not. Readers move up to it over what was never committed.

use std::sync::Arc;

use headwater_core::clock::Timestamp;
use headwater_core::log::{Bounds, LogError, LogErrorKind};
use headwater_core::topic::{Offset, TopicPartition};
use krafka::KrafkaError;
use krafka::admin::{self, ListOffsetsOptions, OffsetForLeaderEpochOptions, OffsetSpec};

use crate::connection::Connection;
use crate::errors::failed_to;
use crate::operation::Operation;
use crate::topics::Topics;

/// Asks partitions' leaders for offsets.
pub(crate) struct Places {
    connection: Arc<Connection>,
    topics: Arc<Topics>,
}

impl Places {
    pub(crate) fn new(connection: Arc<Connection>, topics: Arc<Topics>) -> Self {
        Self { connection, topics }
    }

    /// As [`Log::bounds`](headwater_core::log::Log::bounds).
    pub(crate) async fn bounds(&self, at: &TopicPartition) -> Result<Bounds, LogError> {
        self.topics.partition(at).await?;
        let (start, end) = tokio::join!(self.ask(at, OffsetSpec::Earliest), self.ask(at, OffsetSpec::Latest));
        Ok(Bounds { start: start?, end: end? })
    }

    /// As [`Log::offset_at`](headwater_core::log::Log::offset_at).
    pub(crate) async fn offset_at(&self, at: &TopicPartition, time: Timestamp) -> Result<Offset, LogError> {
        self.topics.partition(at).await?;
        let what = Operation::FindTime(at);
        let consumer = self.connection.kafka().consumer_without_group().metrics_push(false).build().await;
        let consumer = consumer.map_err(|error| failed_to(what, error))?;
        let place = (at.topic.as_str(), partition_id(at));
        let patience = self.connection.settings().patience;
        let found = tokio::time::timeout(patience, consumer.offsets_for_times(&[place], time.0)).await;
        let found = found.map(|mut found| found.remove(&(place.0.to_owned(), place.1)));
        match found {
            Ok(Some(Ok(offset))) => match u64::try_from(offset) {
                Ok(offset) => Ok(Offset(offset)),
                Err(_) => self.ask(at, OffsetSpec::Latest).await,
            },
            Ok(Some(Err(error))) => Err(self.failed(at, what, error)),
            Ok(None) | Err(_) => Err(self.failed(at, what, KrafkaError::timeout("looking for a time"))),
        }
    }

    /// Where the partition's log parts from the one that a leader of `epoch` had up to `next`; `None` if it does not.
    ///
    /// A log that lost records, and got others in their place, tells by the epochs of its leaders (KIP-320).
    pub(crate) async fn parting(
        &self,
        at: &TopicPartition,
        next: Offset,
        epoch: u32,
    ) -> Result<Option<Offset>, LogError> {
        let what = Operation::FindEpochEnd { epoch, at };
        let place = admin::TopicPartition::new(at.topic.as_str(), partition_id(at));
        let asked = [(place, i32::try_from(epoch).unwrap_or(i32::MAX))];
        let options = OffsetForLeaderEpochOptions::default();
        let ends = self.connection.admin().offset_for_leader_epoch(asked, options).await;
        match ends.map(|ends| ends.into_values().next()) {
            // An epoch that the leader cannot place says nothing.
            Ok(Some(Ok(end))) => Ok(u64::try_from(end.end_offset).ok().map(Offset).filter(|end| *end < next)),
            Ok(Some(Err(error))) | Err(error) => Err(self.failed(at, what, error)),
            Ok(None) => Err(self.failed(at, what, KrafkaError::timeout("asking for an epoch's end"))),
        }
    }

    async fn ask(&self, at: &TopicPartition, spec: OffsetSpec) -> Result<Offset, LogError> {
        let what = Operation::FindBounds(at);
        let place = admin::TopicPartition::new(at.topic.as_str(), partition_id(at));
        let listed =
            self.connection.admin().list_offsets([(place, spec)], ListOffsetsOptions::default()).await;
        let listed = listed.map(|found| found.into_values().next());
        match listed {
            Ok(Some(Ok(listed))) => {
                Ok(Offset(u64::try_from(listed.offset).expect("the client answers no negative offset")))
            }
            Ok(Some(Err(error))) | Err(error) => Err(self.failed(at, what, error)),
            Ok(None) => Err(self.failed(at, what, KrafkaError::timeout("listing offsets"))),
        }
    }

    fn failed(&self, at: &TopicPartition, what: Operation<'_>, error: KrafkaError) -> LogError {
        let error = failed_to(what, error);
        if error.kind() == LogErrorKind::UnknownTopic {
            self.topics.forget(&at.topic);
        }
        error
    }
}

/// A partition's index as the protocol has it.
pub(crate) fn partition_id(at: &TopicPartition) -> i32 {
    i32::try_from(at.partition.0).expect("a partition that the cluster has is below two billion")
}
