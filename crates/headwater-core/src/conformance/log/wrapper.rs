//! A log around a log, for tests: it passes every call on, but for those that a test is about.
//!
//! ```
//! use std::sync::Arc;
//!
//! use headwater_core::conformance::log::wrapper::{Answer, LogWrapper, Read};
//! use headwater_core::log::{Log, ReadBatch, ReadLimit};
//!
//! /// Another log, one record at a time.
//! struct Sipping(Arc<dyn Log>);
//!
//! impl LogWrapper for Sipping {
//!     fn inner(&self) -> &dyn Log {
//!         &*self.0
//!     }
//!
//!     fn read<'a>(&'a self, read: Read<'a>) -> Answer<'a, ReadBatch> {
//!         Read { limit: ReadLimit { records: 1, ..read.limit }, ..read }.of(self.inner())
//!     }
//! }
//!
//! fn sipping(log: Arc<dyn Log>) -> Arc<dyn Log> {
//!     Arc::new(Sipping(log))
//! }
//! ```

use crate::BoxFuture;
use crate::clock::Timestamp;
use crate::log::{
    AppendError, Bounds, Claim, Group, Log, LogError, LogId, Membership, ReadBatch, ReadLimit, Replicas,
    ShardChange, TopicDescription, TopicSettings, Wait,
};
use crate::position::Position;
use crate::record::Append;
use crate::topic::{Offset, Partition, TopicName, TopicPartition};

/// What a call answers, or why not.
pub type Answer<'a, T, E = LogError> = BoxFuture<'a, Result<T, E>>;

/// A [`Log`] that does what another one does, but for what is overridden.
///
/// Each method stands for the one of [`Log`] that has its name. What stays as it is here goes through
/// [`call`](Self::call) to the log inside.
pub trait LogWrapper: Send + Sync + 'static {
    /// The log inside.
    fn inner(&self) -> &dyn Log;

    /// Makes a call on the log inside; overridden by what befalls all calls alike.
    ///
    /// No [`append`](Self::append) comes here, whose error is another one, and nothing that is asked of a membership,
    /// a claim or a writer.
    fn call<'a, T: Send + 'a>(&'a self, call: Answer<'a, T>) -> Answer<'a, T> {
        call
    }

    /// Describes a topic.
    fn describe<'a>(&'a self, topic: &'a TopicName) -> Answer<'a, Option<TopicDescription>> {
        self.call(self.inner().describe(topic))
    }

    /// Describes all topics.
    fn topics(&self) -> Answer<'_, Vec<TopicDescription>> {
        self.call(self.inner().topics())
    }

    /// Creates a topic.
    fn create<'a>(&'a self, topic: &'a TopicName, settings: TopicSettings) -> Answer<'a, TopicDescription> {
        self.call(self.inner().create(topic, settings))
    }

    /// Changes how a topic is kept.
    fn alter<'a>(&'a self, topic: &'a TopicName, settings: TopicSettings) -> Answer<'a, TopicDescription> {
        self.call(self.inner().alter(topic, settings))
    }

    /// Deletes a topic.
    fn delete<'a>(&'a self, topic: &'a TopicName) -> Answer<'a, ()> {
        self.call(self.inner().delete(topic))
    }

    /// Reads a partition.
    fn read<'a>(&'a self, read: Read<'a>) -> Answer<'a, ReadBatch> {
        self.call(read.of(self.inner()))
    }

    /// Tells where a partition begins and ends.
    fn bounds<'a>(&'a self, at: &'a TopicPartition) -> Answer<'a, Bounds> {
        self.call(self.inner().bounds(at))
    }

    /// Finds an offset by its time.
    fn offset_at<'a>(&'a self, at: &'a TopicPartition, time: Timestamp) -> Answer<'a, Offset> {
        self.call(self.inner().offset_at(at, time))
    }

    /// Appends records outside any transaction.
    fn append(&self, appends: Vec<Append>) -> Answer<'_, Vec<Offset>, AppendError> {
        self.inner().append(appends)
    }

    /// Joins a group; [`wrap_claims`] leads on to its writers.
    fn join<'a>(&'a self, group: &'a Group) -> Answer<'a, Box<dyn Membership>> {
        self.call(self.inner().join(group))
    }

    /// Tells the positions that a group has committed.
    fn committed<'a>(&'a self, group: &'a str) -> Answer<'a, Position> {
        self.call(self.inner().committed(group))
    }
}

impl<W: LogWrapper> Log for W {
    fn id(&self) -> LogId {
        self.inner().id()
    }

    fn replicas_wanted(&self) -> Option<Replicas> {
        self.inner().replicas_wanted()
    }

    fn machines(&self) -> Option<u32> {
        self.inner().machines()
    }

    fn topics_of(&self, group: &Group) -> Vec<(TopicName, TopicSettings)> {
        self.inner().topics_of(group)
    }

    fn describe<'a>(&'a self, topic: &'a TopicName) -> Answer<'a, Option<TopicDescription>> {
        LogWrapper::describe(self, topic)
    }

    fn topics(&self) -> Answer<'_, Vec<TopicDescription>> {
        LogWrapper::topics(self)
    }

    fn create<'a>(&'a self, topic: &'a TopicName, settings: TopicSettings) -> Answer<'a, TopicDescription> {
        LogWrapper::create(self, topic, settings)
    }

    fn alter<'a>(&'a self, topic: &'a TopicName, settings: TopicSettings) -> Answer<'a, TopicDescription> {
        LogWrapper::alter(self, topic, settings)
    }

    fn delete<'a>(&'a self, topic: &'a TopicName) -> Answer<'a, ()> {
        LogWrapper::delete(self, topic)
    }

    fn read<'a>(
        &'a self,
        at: &'a TopicPartition,
        from: Offset,
        limit: ReadLimit,
        wait: Wait,
    ) -> Answer<'a, ReadBatch> {
        LogWrapper::read(self, Read { at, from, limit, wait })
    }

    fn bounds<'a>(&'a self, at: &'a TopicPartition) -> Answer<'a, Bounds> {
        LogWrapper::bounds(self, at)
    }

    fn offset_at<'a>(&'a self, at: &'a TopicPartition, time: Timestamp) -> Answer<'a, Offset> {
        LogWrapper::offset_at(self, at, time)
    }

    fn append(&self, appends: Vec<Append>) -> Answer<'_, Vec<Offset>, AppendError> {
        LogWrapper::append(self, appends)
    }

    fn join<'a>(&'a self, group: &'a Group) -> Answer<'a, Box<dyn Membership>> {
        LogWrapper::join(self, group)
    }

    fn committed<'a>(&'a self, group: &'a str) -> Answer<'a, Position> {
        LogWrapper::committed(self, group)
    }
}

/// The arguments of a read.
#[derive(Debug, Clone, Copy)]
pub struct Read<'a> {
    /// The partition.
    pub at: &'a TopicPartition,
    /// The first offset asked for.
    pub from: Offset,
    /// How much to answer.
    pub limit: ReadLimit,
    /// Whether to wait where there is nothing.
    pub wait: Wait,
}

impl<'a> Read<'a> {
    /// Reads from a log.
    pub fn of(self, log: &'a dyn Log) -> Answer<'a, ReadBatch> {
        log.read(self.at, self.from, self.limit, self.wait)
    }
}

/// Joins, and wraps the claim of each shard that is gained.
pub fn wrap_claims<'a, W>(
    joining: Answer<'a, Box<dyn Membership>>,
    wrap: W,
) -> Answer<'a, Box<dyn Membership>>
where
    W: Fn(Partition, Box<dyn Claim>) -> Box<dyn Claim> + Send + Sync + 'static,
{
    Box::pin(async move {
        let member: Box<dyn Membership> = Box::new(WrappedMember { inner: joining.await?, wrap });
        Ok(member)
    })
}

struct WrappedMember<W> {
    inner: Box<dyn Membership>,
    wrap: W,
}

impl<W> Membership for WrappedMember<W>
where
    W: Fn(Partition, Box<dyn Claim>) -> Box<dyn Claim> + Send + Sync,
{
    fn next(&mut self) -> Answer<'_, ShardChange> {
        Box::pin(async {
            Ok(match self.inner.next().await? {
                ShardChange::Gained(shard, claim) => ShardChange::Gained(shard, (self.wrap)(shard, claim)),
                other => other,
            })
        })
    }

    fn leave(self: Box<Self>) -> Answer<'static, ()> {
        self.inner.leave()
    }

    fn processed(&self, positions: Position) -> Answer<'_, ()> {
        self.inner.processed(positions)
    }
}
