//! A log around a log that ends the process that uses it after so many calls, and may alter what it is given.
//!
//! A kill is a call that is never answered, made or not made; whoever drives the caller then drops it.

#![allow(unreachable_pub)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headwater::core::BoxFuture;
use headwater::core::clock::Timestamp;
use headwater::core::log::{
    AppendError, Bounds, Claim, CommitError, Group, Log, LogError, LogId, Membership, Opened, ReadBatch,
    ReadLimit, ShardChange, TopicDescription, TopicSettings, Transaction, Wait, Writer,
};
use headwater::core::position::Position;
use headwater::core::record::Append;
use headwater::core::topic::{Offset, TopicName, TopicPartition};
use tokio::sync::Notify;

/// Alters what is copied to the events.
pub type Plant = fn(&mut Vec<Append>);

/// Differences that a verification must find.
pub const PLANTS: [(&str, Plant); 4] = [
    ("a value is another", |events| events[0].record.value = Some("{}".into())),
    ("a time is another", |events| events[0].record.timestamp = Timestamp(1)),
    ("a header is gone", |events| events[0].record.headers = Default::default()),
    ("two records are in another order", |events| {
        let last = events.len() - 1;
        let (first, second) = (events[0].record.clone(), events[last].record.clone());
        (events[0].record, events[last].record) = (second, first);
    }),
];

#[derive(Clone)]
pub struct Killing {
    log: Arc<dyn Log>,
    left: Arc<AtomicU64>,
    /// Whether the last call is made.
    made: bool,
    killed: Arc<Notify>,
    plant: Option<Plant>,
}

impl Killing {
    pub fn new(log: Arc<dyn Log>, calls: u64, made: bool) -> Self {
        Self { log, left: Arc::new(AtomicU64::new(calls)), made, killed: Arc::default(), plant: None }
    }

    pub fn planting(self, plant: Plant) -> Self {
        Self { plant: Some(plant), ..self }
    }

    pub async fn killed(&self) {
        self.killed.notified().await;
    }

    /// Makes a call, unless the process ends before or after it.
    async fn live<T>(self, call: impl Future<Output = T>) -> T {
        let left = self.left.load(Ordering::SeqCst);
        if left > 0 {
            self.left.store(left.saturating_sub(1), Ordering::SeqCst);
            return call.await;
        }
        if self.made {
            drop(call.await);
        }
        self.killed.notify_one();
        std::future::pending().await
    }
}

type Answer<'a, T, E = LogError> = BoxFuture<'a, Result<T, E>>;

impl Log for Killing {
    fn id(&self) -> LogId {
        self.log.id()
    }

    fn describe<'a>(&'a self, topic: &'a TopicName) -> Answer<'a, Option<TopicDescription>> {
        Box::pin(self.clone().live(self.log.describe(topic)))
    }

    fn topics(&self) -> Answer<'_, Vec<TopicDescription>> {
        Box::pin(self.clone().live(self.log.topics()))
    }

    fn create<'a>(&'a self, topic: &'a TopicName, settings: TopicSettings) -> Answer<'a, TopicDescription> {
        Box::pin(self.clone().live(self.log.create(topic, settings)))
    }

    fn alter<'a>(&'a self, topic: &'a TopicName, settings: TopicSettings) -> Answer<'a, TopicDescription> {
        Box::pin(self.clone().live(self.log.alter(topic, settings)))
    }

    fn delete<'a>(&'a self, topic: &'a TopicName) -> Answer<'a, ()> {
        Box::pin(self.clone().live(self.log.delete(topic)))
    }

    fn read<'a>(
        &'a self,
        partition: &'a TopicPartition,
        from: Offset,
        limit: ReadLimit,
        wait: Wait,
    ) -> Answer<'a, ReadBatch> {
        Box::pin(self.clone().live(self.log.read(partition, from, limit, wait)))
    }

    fn bounds<'a>(&'a self, partition: &'a TopicPartition) -> Answer<'a, Bounds> {
        Box::pin(self.clone().live(self.log.bounds(partition)))
    }

    fn offset_at<'a>(&'a self, partition: &'a TopicPartition, time: Timestamp) -> Answer<'a, Offset> {
        Box::pin(self.clone().live(self.log.offset_at(partition, time)))
    }

    fn append(&self, appends: Vec<Append>) -> Answer<'_, Vec<Offset>, AppendError> {
        Box::pin(self.clone().live(self.log.append(appends)))
    }

    fn join<'a>(&'a self, group: &'a Group) -> Answer<'a, Box<dyn Membership>> {
        let joined = async move {
            let member = self.log.join(group).await?;
            Ok(Box::new(Member { member, log: self.clone() }) as Box<dyn Membership>)
        };
        Box::pin(self.clone().live(joined))
    }

    fn committed<'a>(&'a self, group: &'a str) -> Answer<'a, Position> {
        Box::pin(self.clone().live(self.log.committed(group)))
    }
}

struct Member {
    member: Box<dyn Membership>,
    log: Killing,
}

impl Membership for Member {
    fn next(&mut self) -> Answer<'_, ShardChange> {
        Box::pin(async {
            Ok(match self.member.next().await? {
                ShardChange::Gained(shard, claim) => {
                    ShardChange::Gained(shard, Box::new(Claimed { claim, log: self.log.clone() }))
                }
                other => other,
            })
        })
    }

    fn leave(self: Box<Self>) -> Answer<'static, ()> {
        self.member.leave()
    }
}

struct Claimed {
    claim: Box<dyn Claim>,
    log: Killing,
}

impl Claim for Claimed {
    fn open(&self) -> Answer<'_, Opened> {
        let opened = async {
            let Opened { writer, head } = self.claim.open().await?;
            Ok(Opened { writer: Box::new(Writing { writer, log: self.log.clone() }), head })
        };
        Box::pin(self.log.clone().live(opened))
    }
}

struct Writing {
    writer: Box<dyn Writer>,
    log: Killing,
}

impl Writer for Writing {
    fn commit(&mut self, mut transaction: Transaction) -> Answer<'static, Vec<Offset>, CommitError> {
        let is_event = |append: &Append| append.to.topic.as_str() == "shop.order.events";
        if let Some(plant) = self.log.plant
            && transaction.appends.iter().any(is_event)
        {
            let (mut events, others): (Vec<_>, Vec<_>) = transaction.appends.into_iter().partition(is_event);
            plant(&mut events);
            transaction.appends = others.into_iter().chain(events).collect();
        }
        Box::pin(self.log.clone().live(self.writer.commit(transaction)))
    }
}
