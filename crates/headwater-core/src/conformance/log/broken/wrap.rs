//! A log around a log, with a place for one flaw.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::wrapper::{Answer, LogWrapper, Read, wrap_claims};
use crate::log::{
    AppendError, Bounds, Claim, CommitError, Group, Log, Membership, Opened, ReadBatch, TopicDescription,
    TopicSettings, Transaction, Writer,
};
use crate::record::Append;
use crate::topic::{Offset, Partition, TopicName, TopicPartition};

/// What a broken log does in another way than the sound one under it: nothing, unless told.
pub(super) trait Flaw: Send + Sync + 'static {
    fn read<'a>(&'a self, log: &'a dyn Log, read: Read<'a>) -> Answer<'a, ReadBatch> {
        read.of(log)
    }

    fn bounds<'a>(&'a self, log: &'a dyn Log, at: &'a TopicPartition) -> Answer<'a, Bounds> {
        log.bounds(at)
    }

    fn append<'a>(&'a self, log: &'a dyn Log, appends: Vec<Append>) -> Answer<'a, Vec<Offset>, AppendError> {
        log.append(appends)
    }

    fn commit(
        self: Arc<Self>,
        to: Target,
        transaction: Transaction,
    ) -> Answer<'static, Vec<Offset>, CommitError> {
        to.commit(transaction)
    }

    /// Looks at a writer that was just opened.
    fn opened(&self, _shard: &Shard, _opened: &mut Opened) {}

    fn alter<'a>(
        &'a self,
        log: &'a dyn Log,
        topic: &'a TopicName,
        settings: TopicSettings,
    ) -> Answer<'a, TopicDescription> {
        log.alter(topic, settings)
    }

    /// Looks at a topic that was just created or described.
    fn described(&self, _topic: &mut TopicDescription) {}
}

/// A shard of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shard {
    group: String,
    shard: Partition,
}

/// Where a transaction goes: the sound log, the sound writer, the shard.
pub(super) struct Target {
    pub(super) log: Arc<dyn Log>,
    pub(super) shard: Shard,
    writer: Arc<Mutex<Box<dyn Writer>>>,
}

impl Target {
    pub(super) fn commit(&self, transaction: Transaction) -> Answer<'static, Vec<Offset>, CommitError> {
        lock(&self.writer).commit(transaction)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct BrokenLog {
    pub(super) sound: Arc<dyn Log>,
    pub(super) flaw: Arc<dyn Flaw>,
}

impl BrokenLog {
    fn described(&self, mut topic: TopicDescription) -> TopicDescription {
        self.flaw.described(&mut topic);
        topic
    }
}

impl LogWrapper for BrokenLog {
    fn inner(&self) -> &dyn Log {
        &*self.sound
    }

    fn describe<'a>(&'a self, topic: &'a TopicName) -> Answer<'a, Option<TopicDescription>> {
        Box::pin(async move { Ok(self.sound.describe(topic).await?.map(|topic| self.described(topic))) })
    }

    fn topics(&self) -> Answer<'_, Vec<TopicDescription>> {
        Box::pin(async {
            let topics = self.sound.topics().await?;
            Ok(topics.into_iter().map(|topic| self.described(topic)).collect())
        })
    }

    fn create<'a>(&'a self, topic: &'a TopicName, settings: TopicSettings) -> Answer<'a, TopicDescription> {
        Box::pin(async move { Ok(self.described(self.sound.create(topic, settings).await?)) })
    }

    fn alter<'a>(&'a self, topic: &'a TopicName, settings: TopicSettings) -> Answer<'a, TopicDescription> {
        Box::pin(async move { Ok(self.described(self.flaw.alter(&*self.sound, topic, settings).await?)) })
    }

    fn read<'a>(&'a self, read: Read<'a>) -> Answer<'a, ReadBatch> {
        self.flaw.read(&*self.sound, read)
    }

    fn bounds<'a>(&'a self, at: &'a TopicPartition) -> Answer<'a, Bounds> {
        self.flaw.bounds(&*self.sound, at)
    }

    fn append(&self, appends: Vec<Append>) -> Answer<'_, Vec<Offset>, AppendError> {
        self.flaw.append(&*self.sound, appends)
    }

    fn join<'a>(&'a self, group: &'a Group) -> Answer<'a, Box<dyn Membership>> {
        let (log, flaw, name) = (self.sound.clone(), self.flaw.clone(), group.name.clone());
        wrap_claims(self.sound.join(group), move |shard, sound| {
            let of = Shard { group: name.clone(), shard };
            Box::new(BrokenClaim { sound, log: log.clone(), flaw: flaw.clone(), of })
        })
    }
}

struct BrokenClaim {
    sound: Box<dyn Claim>,
    log: Arc<dyn Log>,
    flaw: Arc<dyn Flaw>,
    of: Shard,
}

impl Claim for BrokenClaim {
    fn open(&self) -> Answer<'_, Opened> {
        Box::pin(async {
            let mut opened = self.sound.open().await?;
            self.flaw.opened(&self.of, &mut opened);
            let sound = Arc::new(Mutex::new(opened.writer));
            let (log, flaw, of) = (self.log.clone(), self.flaw.clone(), self.of.clone());
            Ok(Opened { writer: Box::new(BrokenWriter { sound, log, flaw, of }), head: opened.head })
        })
    }
}

struct BrokenWriter {
    sound: Arc<Mutex<Box<dyn Writer>>>,
    log: Arc<dyn Log>,
    flaw: Arc<dyn Flaw>,
    of: Shard,
}

impl Writer for BrokenWriter {
    fn commit(&mut self, transaction: Transaction) -> Answer<'static, Vec<Offset>, CommitError> {
        let target = Target { log: self.log.clone(), shard: self.of.clone(), writer: self.sound.clone() };
        self.flaw.clone().commit(target, transaction)
    }
}
