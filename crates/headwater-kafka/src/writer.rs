//! The one writer of a shard: each transaction carries its records, its positions and the shard's new head.
//!
//! It is fenced twice. Opening the next writer of the shard takes its transactional ids over, so that nothing of this one
//! is committed any more; and the positions go with this member's place in its group, so that an owner that was paused
//! for too long is refused even before the next one has opened its writer.
//!
//! A member whose group just shared its shards anew does not know its new place at once, and is refused for the old one
//! although the shard is still its own: then the same transaction is tried again, for as long as the shard is.
//!
//! Before a transaction commits, it is looked at where its records went: to the topics that this process began with, and
//! behind all that the writer wrote before. Otherwise somebody has deleted a topic and made it again, or the cluster has
//! lost records, and nothing more is written.
//!
//! A commit runs in a task of its own: whoever drops its future has lost the answer, and nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_core::BoxFuture;
use headwater_core::log::{CommitError, LogError, LogErrorKind, Transaction, Writer};
use headwater_core::record::Append;
use headwater_core::topic::{Offset, TopicPartition};
use krafka::KrafkaError;
use krafka::error::ErrorCode;
use krafka::producer::TopicPartitionOffset;
use tokio::sync::Mutex;
use tokio::time::{Duration, Instant, sleep};

use crate::bounds::partition_id;
use crate::claim::Hold;
use crate::errors::{code_of, failed_to};
use crate::heads::{self, StoredHead};
use crate::operation::Operation;
use crate::record::{outgoing, plain};
use crate::topics::Topics;
use crate::transaction::{self, Failure};
use crate::turns::Turns;

/// Before a transaction is tried again that was refused for the member's old place in its group.
const PAUSE: Duration = Duration::from_millis(20);

/// The writer of a shard, while nobody opens another.
pub(crate) struct KafkaWriter(Arc<Shard>);

struct Shard {
    hold: Arc<Hold>,
    topics: Arc<Topics>,
    producers: Turns,
    /// Where the shard's heads go.
    heads: TopicPartition,
    /// What the last transaction left; held while one is under way.
    last: Mutex<Last>,
    dead: AtomicBool,
    patience: Duration,
}

/// What the last transaction left.
struct Last {
    head: StoredHead,
    /// Where the writer wrote last, in each partition.
    written: HashMap<TopicPartition, Offset>,
}

impl KafkaWriter {
    pub(crate) fn new(
        hold: Arc<Hold>,
        topics: Arc<Topics>,
        producers: Turns,
        heads: TopicPartition,
        last: StoredHead,
        patience: Duration,
    ) -> Self {
        let last = Mutex::new(Last { head: last, written: HashMap::new() });
        Self(Arc::new(Shard { hold, topics, producers, heads, last, dead: AtomicBool::new(false), patience }))
    }
}

impl Writer for KafkaWriter {
    fn commit(&mut self, transaction: Transaction) -> BoxFuture<'static, Result<Vec<Offset>, CommitError>> {
        let shard = self.0.clone();
        let what = shard.what().to_string();
        let committing = tokio::spawn(async move { shard.commit(transaction).await });
        Box::pin(async move {
            committing.await.unwrap_or_else(|ended| {
                let message = format!("could not {what}: the process is stopping");
                let error = LogError::new(LogErrorKind::Closed, message).with_source(ended);
                Err(CommitError::Unknown(error))
            })
        })
    }
}

impl Shard {
    fn what(&self) -> Operation<'_> {
        Operation::Commit(self.hold.shard())
    }

    async fn commit(&self, transaction: Transaction) -> Result<Vec<Offset>, CommitError> {
        let mut last = self.last.lock().await;
        if self.is_dead() {
            return Err(CommitError::Fenced);
        }
        if let Some(cut_off) = self.hold.connection().cut_off() {
            return Err(refused(cut_off));
        }
        let head = self.next_head(&last.head, &transaction).await?;
        let mut offsets = self.commit_with(&transaction, &head, &last.written).await?;
        for Span { to, last: offset, .. } in self.spans(&transaction.appends, &offsets) {
            last.written.insert(to.clone(), offset);
        }
        last.head = head;
        offsets.pop();
        Ok(offsets)
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire) || !self.hold.is_held()
    }

    fn die(&self) {
        self.dead.store(true, Ordering::Release);
    }

    /// The head that the transaction makes; refuses one that the log has no place for.
    async fn next_head(
        &self,
        last: &StoredHead,
        transaction: &Transaction,
    ) -> Result<StoredHead, CommitError> {
        if transaction.positions.is_empty() {
            let message = format!("could not {}: a transaction needs a position", self.what());
            return Err(refused(LogError::new(LogErrorKind::Invalid, message)));
        }
        for to in targets(&transaction.appends) {
            self.topics.same_life(to).await.map_err(refused)?;
        }
        let mut places = last.places.clone();
        for (at, next) in transaction.positions.iter() {
            places.insert(at.clone(), self.topics.place(at, next).await.map_err(refused)?);
        }
        Ok(StoredHead { places, note: transaction.note.clone() })
    }

    /// Answers the offsets of the records, and of the head behind them.
    async fn commit_with(
        &self,
        transaction: &Transaction,
        head: &StoredHead,
        written: &HashMap<TopicPartition, Offset>,
    ) -> Result<Vec<Offset>, CommitError> {
        let offset = |(at, next): (&TopicPartition, Offset)| {
            TopicPartitionOffset::new(at.topic.as_str(), partition_id(at), next.0 as i64)
        };
        let positions: Vec<_> = transaction.positions.iter().map(offset).collect();
        let head = head.encode();
        let deadline = Instant::now() + self.patience;
        loop {
            let Some(place) = self.hold.place() else {
                self.die();
                return Err(CommitError::Fenced);
            };
            let connection = self.hold.connection();
            let mut records: Vec<_> = transaction.appends.iter().map(outgoing).collect();
            records.push(plain(&self.heads, heads::KEY.into(), head.clone()));
            let positions = Some((&positions[..], &place));
            let confirm = |offsets: &[Offset]| self.confirm(&transaction.appends, offsets, written);
            let run = transaction::run(self.producers.next(), records, positions, confirm);
            match connection.watched(run).await {
                Ok(offsets) => {
                    connection.heard();
                    return Ok(offsets);
                }
                Err(Failure::Refused(error)) if is_of_an_old_place(&error) => {
                    if !self.hold.is_held() || Instant::now() >= deadline {
                        self.die();
                        return Err(CommitError::Fenced);
                    }
                    sleep(PAUSE).await;
                }
                Err(failure) => return Err(self.told(transaction, failure)),
            }
        }
    }

    /// Whether records went where they should, and behind what is there.
    fn confirm(
        &self,
        appends: &[Append],
        offsets: &[Offset],
        written: &HashMap<TopicPartition, Offset>,
    ) -> Result<(), LogError> {
        for Span { to, first, .. } in self.spans(appends, offsets) {
            if let Some(id) = self.producers.topic_id(&to.topic) {
                self.topics.check_life(&to.topic, id)?;
            }
            if let Some(before) = written.get(to).filter(|before| **before >= first) {
                let message = format!(
                    "could not {}: {to} gives offset {first} to a record, and has given offset {before} before: the \
                     cluster has lost records, or somebody made the topic again",
                    self.what()
                );
                return Err(LogError::new(LogErrorKind::Corrupt, message));
            }
        }
        Ok(())
    }

    /// Where a transaction's records went, the head behind them among them.
    fn spans<'a>(&'a self, appends: &'a [Append], offsets: &[Offset]) -> Vec<Span<'a>> {
        let mut spans: Vec<Span<'a>> = Vec::new();
        let targets = appends.iter().map(|append| &append.to).chain([&self.heads]);
        for (to, offset) in targets.zip(offsets.iter().copied()) {
            match spans.iter_mut().find(|span| is_same(span.to, to)) {
                Some(span) => span.last = offset,
                None => spans.push(Span { to, first: offset, last: offset }),
            }
        }
        spans
    }

    fn told(&self, transaction: &Transaction, failure: Failure) -> CommitError {
        let what = self.what();
        match failure {
            Failure::Fenced => {
                self.die();
                CommitError::Fenced
            }
            Failure::Refused(error) if is_of_no_place(&error) => {
                self.die();
                CommitError::Fenced
            }
            Failure::Refused(error) => {
                let error = failed_to(what, error);
                if error.kind() == LogErrorKind::UnknownTopic {
                    transaction.appends.iter().for_each(|append| self.topics.forget(&append.to.topic));
                    transaction.positions.iter().for_each(|(at, _)| self.topics.forget(&at.topic));
                }
                refused(error)
            }
            Failure::Withdrawn(error) => refused(error),
            Failure::Abandoned(error) => {
                self.die();
                self.hold.connection().doubt();
                CommitError::Abandoned(failed_to(what, error))
            }
            Failure::Unknown(error) => {
                self.die();
                self.hold.connection().doubt();
                CommitError::Unknown(failed_to(what, error))
            }
        }
    }
}

/// The records of a transaction in one partition.
struct Span<'a> {
    to: &'a TopicPartition,
    first: Offset,
    last: Offset,
}

/// Where records go, each partition once: a transaction has thousands of records and few of them.
fn targets(appends: &[Append]) -> Vec<&TopicPartition> {
    let mut targets: Vec<&TopicPartition> = Vec::new();
    for Append { to, .. } in appends {
        if !targets.iter().any(|seen| is_same(seen, to)) {
            targets.push(to);
        }
    }
    targets
}

/// The partition first: it is the cheaper of the two to compare.
fn is_same(one: &TopicPartition, other: &TopicPartition) -> bool {
    one.partition == other.partition && one.topic == other.topic
}

fn refused(error: LogError) -> CommitError {
    let retry = matches!(error.kind(), LogErrorKind::Unavailable | LogErrorKind::Full);
    CommitError::NotWritten { retry, error }
}

/// Whether the group has moved on since the member last heard of it.
fn is_of_an_old_place(error: &KrafkaError) -> bool {
    matches!(code_of(error), Some(ErrorCode::IllegalGeneration | ErrorCode::RebalanceInProgress))
}

/// Whether the group does not know the member any more.
fn is_of_no_place(error: &KrafkaError) -> bool {
    matches!(code_of(error), Some(ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId))
}
