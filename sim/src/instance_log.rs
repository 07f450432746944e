//! One instance's way to the log that several share: it can be cut for good, as a kill of the process does.
//!
//! Whatever was under way when the instance is killed has the outcome that the log gives it; the instance hears of
//! none, and nothing that it does afterwards reaches the log. Its memberships end, as those of a dead process do.

use headwater::core::BoxFuture;
use headwater::core::clock::Timestamp;
use headwater::core::log::{
    AppendError, Bounds, Claim, CommitError, Group, Log, LogError, LogErrorKind, LogId, Membership, Opened,
    ReadBatch, ReadLimit, ShardChange, TopicDescription, TopicSettings, Transaction, Wait, Writer,
};
use headwater::core::position::Position;
use headwater::core::record::Append;
use headwater::core::topic::{Offset, TopicName, TopicPartition};
use headwater::log::memory::MemoryLog;
use tokio_util::sync::CancellationToken;

/// The log as one instance has it.
#[derive(Clone)]
pub(crate) struct InstanceLog {
    pub(crate) log: MemoryLog,
    pub(crate) killed: CancellationToken,
}

fn dead() -> LogError {
    LogError::new(LogErrorKind::Closed, "the instance was killed")
}

/// What the call answers, unless the instance is killed before.
async fn alive<T, E>(
    killed: &CancellationToken,
    gone: impl FnOnce(LogError) -> E,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::select! {
        biased;
        () = killed.cancelled() => Err(gone(dead())),
        answer = call => answer,
    }
}

impl InstanceLog {
    fn alive<'a, T: 'a>(
        &'a self,
        call: BoxFuture<'a, Result<T, LogError>>,
    ) -> BoxFuture<'a, Result<T, LogError>> {
        Box::pin(alive(&self.killed, |error| error, call))
    }
}

impl Log for InstanceLog {
    fn id(&self) -> LogId {
        self.log.id()
    }

    fn describe<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<TopicDescription>, LogError>> {
        self.alive(self.log.describe(topic))
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicDescription>, LogError>> {
        self.alive(self.log.topics())
    }

    fn create<'a>(
        &'a self,
        topic: &'a TopicName,
        settings: TopicSettings,
    ) -> BoxFuture<'a, Result<TopicDescription, LogError>> {
        self.alive(self.log.create(topic, settings))
    }

    fn delete<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), LogError>> {
        self.alive(self.log.delete(topic))
    }

    fn read<'a>(
        &'a self,
        partition: &'a TopicPartition,
        from: Offset,
        limit: ReadLimit,
        wait: Wait,
    ) -> BoxFuture<'a, Result<ReadBatch, LogError>> {
        self.alive(self.log.read(partition, from, limit, wait))
    }

    fn bounds<'a>(&'a self, partition: &'a TopicPartition) -> BoxFuture<'a, Result<Bounds, LogError>> {
        self.alive(self.log.bounds(partition))
    }

    fn offset_at<'a>(
        &'a self,
        partition: &'a TopicPartition,
        time: Timestamp,
    ) -> BoxFuture<'a, Result<Offset, LogError>> {
        self.alive(self.log.offset_at(partition, time))
    }

    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Result<Vec<Offset>, AppendError>> {
        Box::pin(alive(&self.killed, AppendError::Unknown, self.log.append(appends)))
    }

    fn join<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<Box<dyn Membership>, LogError>> {
        Box::pin(async move {
            let member = self.alive(self.log.join(group)).await?;
            let member: Box<dyn Membership> =
                Box::new(InstanceMember { member: Some(member), killed: self.killed.clone() });
            Ok(member)
        })
    }

    fn committed<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Position, LogError>> {
        self.alive(self.log.committed(group))
    }
}

struct InstanceMember {
    /// `None` once the instance is killed.
    member: Option<Box<dyn Membership>>,
    killed: CancellationToken,
}

impl Membership for InstanceMember {
    fn next(&mut self) -> BoxFuture<'_, Result<ShardChange, LogError>> {
        Box::pin(async move {
            let Some(member) = &mut self.member else { return Err(dead()) };
            let change = alive(&self.killed, |error| error, member.next()).await;
            if self.killed.is_cancelled() {
                self.member = None;
                return Err(dead());
            }
            change.map(|change| match change {
                ShardChange::Gained(shard, claim) => {
                    ShardChange::Gained(shard, Box::new(InstanceClaim { claim, killed: self.killed.clone() }))
                }
                other => other,
            })
        })
    }

    fn leave(self: Box<Self>) -> BoxFuture<'static, Result<(), LogError>> {
        match self.member {
            Some(member) => member.leave(),
            None => Box::pin(std::future::ready(Err(dead()))),
        }
    }
}

struct InstanceClaim {
    claim: Box<dyn Claim>,
    killed: CancellationToken,
}

impl Claim for InstanceClaim {
    fn open(&self) -> BoxFuture<'_, Result<Opened, LogError>> {
        Box::pin(async move {
            let Opened { writer, head } = alive(&self.killed, |error| error, self.claim.open()).await?;
            let writer = Box::new(InstanceWriter { writer, killed: self.killed.clone() });
            Ok(Opened { writer, head })
        })
    }
}

struct InstanceWriter {
    writer: Box<dyn Writer>,
    killed: CancellationToken,
}

impl Writer for InstanceWriter {
    fn commit(&mut self, transaction: Transaction) -> BoxFuture<'static, Result<Vec<Offset>, CommitError>> {
        if self.killed.is_cancelled() {
            return Box::pin(std::future::ready(Err(CommitError::Fenced)));
        }
        let (killed, answer) = (self.killed.clone(), self.writer.commit(transaction));
        Box::pin(async move { alive(&killed, CommitError::Unknown, answer).await })
    }
}
