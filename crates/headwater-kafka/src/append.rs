//! Appends outside any shard's transaction: by anyone, all or none.
//!
//! One record is a batch of its own, which an idempotent producer writes once or not at all. Several records may become
//! several batches, so they go through a transaction of this process's own; all calls that wait at the same time share
//! one, and are tried again one by one if the cluster refuses it, so that none fails for another's sake.
//!
//! The transactional id is `headwater-append.<instance>`: a restarted instance ends at once what its life before left
//! open, for which readers would otherwise wait until the cluster ends it.

use std::collections::BTreeSet;
use std::sync::Arc;

use headwater_core::log::{AppendError, LogError, LogErrorKind};
use headwater_core::record::Append;
use headwater_core::topic::{Offset, TopicName};
use krafka::KrafkaError;
use krafka::error::ErrorCode;
use krafka::producer::{Producer, TransactionalProducer};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use crate::connection::Connection;
use crate::errors::{code_of, failed_to, kind_of};
use crate::names::OwnName;
use crate::operation::Operation;
use crate::record::outgoing;
use crate::topics::{Topics, unknown};
use crate::transaction::{self, Failure, offset_of};

/// Calls that share a transaction at most.
const CALLS_MAX: usize = 256;

type Answer = Result<Vec<Offset>, AppendError>;

/// Writes for whoever asks.
pub(crate) struct Appender {
    connection: Arc<Connection>,
    topics: Arc<Topics>,
    /// Writes single records; of which client.
    producer: Mutex<Option<(Arc<Producer>, u64)>>,
    queue: mpsc::UnboundedSender<Call>,
}

/// Several records of one caller.
struct Call {
    appends: Vec<Append>,
    answer: oneshot::Sender<Answer>,
}

impl Appender {
    /// Starts the task that commits appends of several records; it ends when this is dropped.
    pub(crate) fn start(connection: Arc<Connection>, topics: Arc<Topics>) -> Self {
        let (queue, calls) = mpsc::unbounded_channel();
        tokio::spawn(Committer { connection: connection.clone(), producer: None, name: None }.run(calls));
        Self { connection, topics, producer: Mutex::default(), queue }
    }

    /// As [`Log::append`](headwater_core::log::Log::append).
    pub(crate) async fn append(&self, appends: Vec<Append>) -> Answer {
        if let Some(cut_off) = self.connection.cut_off() {
            return Err(AppendError::NotWritten(cut_off));
        }
        let answer = self.connection.watched(self.write(appends)).await;
        match &answer {
            Ok(_) => self.connection.heard(),
            Err(AppendError::NotWritten(error) | AppendError::Unknown(error)) => {
                if error.kind() == LogErrorKind::Unavailable {
                    self.connection.doubt();
                }
            }
        }
        answer
    }

    async fn write(&self, appends: Vec<Append>) -> Answer {
        for append in &appends {
            self.topics.partition(&append.to).await.map_err(AppendError::NotWritten)?;
        }
        let topics = appends.iter().map(|append| append.to.topic.clone()).collect::<BTreeSet<_>>();
        let answer = match appends.len() {
            0 => return Ok(Vec::new()),
            1 => self.one(&appends[0]).await.map(|offset| vec![offset]),
            _ => self.several(appends).await,
        };
        match answer {
            Err(error) if self.connection.cut_off().is_none() => Err(self.explained(topics, error).await),
            answer => answer,
        }
    }

    async fn one(&self, append: &Append) -> Result<Offset, AppendError> {
        let what = Operation::Append(&append.to);
        let producer = self.producer(what).await.map_err(AppendError::NotWritten)?;
        let queued = producer.enqueue(outgoing(append)).await;
        let queued = queued.map_err(|error| AppendError::NotWritten(failed_to(what, error)))?;
        let written = queued.await.and_then(|written| offset_of(written.offset));
        match written {
            Ok(offset) => Ok(offset),
            Err(error) => {
                if code_of(&error).is_none() {
                    // Its client may not find the cluster again: the next append begins with another.
                    self.producer.lock().await.take();
                }
                Err(if is_surely_lost(&error) {
                    AppendError::NotWritten(failed_to(what, error))
                } else {
                    AppendError::Unknown(failed_to(what, error))
                })
            }
        }
    }

    async fn producer(&self, what: Operation<'_>) -> Result<Arc<Producer>, LogError> {
        let (kafka, age) = self.connection.current();
        let mut current = self.producer.lock().await;
        match &*current {
            Some((producer, of)) if *of == age => Ok(producer.clone()),
            _ => {
                let made = self.connection.producer(&kafka).linger(std::time::Duration::ZERO).build().await;
                let made = Arc::new(made.map_err(|error| failed_to(what, error))?);
                *current = Some((made.clone(), age));
                Ok(made)
            }
        }
    }

    async fn several(&self, appends: Vec<Append>) -> Answer {
        let (answer, answered) = oneshot::channel();
        let ended = || LogError::new(LogErrorKind::Closed, "the log is closed");
        let sent = self.queue.send(Call { appends, answer });
        sent.map_err(|_| AppendError::NotWritten(ended()))?;
        answered.await.unwrap_or_else(|_| Err(AppendError::Unknown(ended())))
    }

    /// A topic that was deleted meanwhile is told as such: of what was written to it, nothing is left.
    /// A cluster that does not answer in time is not asked for longer.
    async fn explained(&self, topics: BTreeSet<TopicName>, error: AppendError) -> AppendError {
        let gone = async {
            for topic in topics {
                self.topics.forget(&topic);
                match self.topics.describe(&topic).await {
                    Ok(None) => return Some(topic),
                    Ok(Some(_)) => {}
                    Err(_) => break,
                }
            }
            None
        };
        match timeout(self.connection.settings().patience, gone).await {
            Ok(Some(topic)) => AppendError::NotWritten(unknown(topic.as_str())),
            Ok(None) | Err(_) => error,
        }
    }
}

/// Whether a record that failed is surely in no replica.
fn is_surely_lost(error: &KrafkaError) -> bool {
    match error {
        KrafkaError::DeliveryTimeout { possibly_written, .. } => !possibly_written,
        KrafkaError::Broker { code, .. } => !matches!(
            code,
            ErrorCode::RequestTimedOut
                | ErrorCode::NotEnoughReplicasAfterAppend
                | ErrorCode::NetworkException
                | ErrorCode::UnknownServerError
        ),
        KrafkaError::Config { .. } | KrafkaError::Compression { .. } | KrafkaError::Serialization { .. } => {
            true
        }
        _ => false,
    }
}

/// Commits appends of several records, one transaction after another.
struct Committer {
    connection: Arc<Connection>,
    producer: Option<TransactionalProducer>,
    name: Option<OwnName>,
}

impl Committer {
    async fn run(mut self, mut calls: mpsc::UnboundedReceiver<Call>) {
        let mut waiting = Vec::new();
        while calls.recv_many(&mut waiting, CALLS_MAX).await > 0 {
            self.commit_together(std::mem::take(&mut waiting)).await;
        }
    }

    async fn commit_together(&mut self, calls: Vec<Call>) {
        let appends = calls.iter().flat_map(|call| call.appends.iter().cloned()).collect();
        match self.commit(appends).await {
            Ok(offsets) => {
                let mut offsets = offsets.into_iter();
                for Call { appends, answer } in calls {
                    // Nobody may be waiting for it any more.
                    let _ = answer.send(Ok(offsets.by_ref().take(appends.len()).collect()));
                }
            }
            Err(AppendError::NotWritten(_)) if calls.len() > 1 => {
                for Call { appends, answer } in calls {
                    let _ = answer.send(self.commit(appends).await);
                }
            }
            Err(error) => self.tell_all(calls, &error),
        }
    }

    /// Tells each of the calls that shared a transaction what became of it.
    fn tell_all(&self, calls: Vec<Call>, error: &AppendError) {
        let told = |cause: &LogError| LogError::new(cause.kind(), cause.to_string());
        for Call { answer, .. } in calls {
            let _ = answer.send(Err(match error {
                AppendError::NotWritten(cause) => AppendError::NotWritten(told(cause)),
                AppendError::Unknown(cause) => AppendError::Unknown(told(cause)),
            }));
        }
    }

    /// Tried once more where it was another life of this instance, or the cluster, that ended the transaction.
    async fn commit(&mut self, appends: Vec<Append>) -> Answer {
        let what = match appends.first() {
            Some(first) => Operation::AppendTogether { records: appends.len(), first: &first.to },
            None => return Ok(Vec::new()),
        };
        match self.try_commit(what, &appends).await {
            Err(Failure::Fenced) => {}
            other => return other.map_err(|failure| told(what, failure)),
        }
        self.try_commit(what, &appends).await.map_err(|failure| told(what, failure))
    }

    async fn try_commit(&mut self, what: Operation<'_>, appends: &[Append]) -> Result<Vec<Offset>, Failure> {
        if self.producer.is_none() {
            self.producer = Some(self.open().await.map_err(Failure::Refused)?);
        }
        let producer = self.producer.as_ref().expect("it was just opened");
        let records = appends.iter().map(outgoing).collect();
        let committed = transaction::run(producer, records, None, |_| Ok(())).await;
        if let Err(failure) = &committed
            && !matches!(failure, Failure::Refused(_) | Failure::Withdrawn(_))
        {
            tracing::debug!(?failure, %what, "the producer of appends is made anew");
            self.producer = None;
        }
        committed
    }

    async fn open(&mut self) -> Result<TransactionalProducer, KrafkaError> {
        let settings = self.connection.settings();
        let instance = &settings.instance;
        let name = self
            .name
            .get_or_insert_with(|| OwnName::take(format!("append at {}", settings.servers), instance));
        let id = format!("headwater-append.{}", name.as_str());
        let kafka = self.connection.dedicated().await;
        let kafka = kafka.map_err(|error| KrafkaError::network(std::io::Error::other(error)))?;
        let producer = self.connection.producer(&kafka).transaction_timeout(settings.transaction_timeout);
        producer.build_transactional(id).await
    }
}

fn told(what: Operation<'_>, failure: Failure) -> AppendError {
    match failure {
        Failure::Refused(error) | Failure::Abandoned(error) => {
            debug_assert!(kind_of(&error) != LogErrorKind::Fenced, "a fenced producer is told as such");
            AppendError::NotWritten(failed_to(what, error))
        }
        Failure::Withdrawn(error) => AppendError::NotWritten(error),
        Failure::Fenced => {
            let message =
                format!("could not {what}: another process bears this instance's name; give each its own");
            AppendError::NotWritten(LogError::new(LogErrorKind::Unavailable, message))
        }
        Failure::Unknown(error) => AppendError::Unknown(failed_to(what, error)),
    }
}
