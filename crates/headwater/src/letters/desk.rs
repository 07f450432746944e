//! Where decisions are made and read: over a log, from any process that knows the app.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_core::BoxFuture;
use headwater_core::clock::{Clock, Timestamp};
use headwater_core::log::{AppendError, Log, LogError, LogErrorKind, ReadLimit, Wait};
use headwater_core::record::{Append, Record, StoredRecord};
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use serde::Serialize;
use tokio::time::Instant;

use super::decision::Made;
use super::{Decision, Raw, RecordId, Verdict};
use crate::app::App;
use crate::topics::decisions;
use crate::topology::{Kind, TopicRef};

/// How long a log that takes nothing is asked again.
const WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
/// One record, however large.
const ONE: ReadLimit = ReadLimit { records: 1, bytes: 1 };

/// Why a decision was not made, or letters could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LetterError {
    /// There is no such record, or no topology that could meet it.
    #[error("{0}")]
    NoSuch(String),
    /// The decision makes no sense for this record.
    #[error("{0}")]
    Invalid(String),
    /// The decision is in the log or not: make it again, twice does no harm.
    #[error("whether the decision was written is not known: {0}")]
    Unknown(#[source] LogError),
    /// The log refused.
    #[error("the log: {0}")]
    Log(#[from] LogError),
}

/// What of an app decisions are about.
pub(crate) struct Facts {
    /// The topic of decisions, and how many partitions each topic has.
    pub(crate) decisions: TopicName,
    pub(crate) partitions: u32,
    /// The topologies, by the names under which their records are decided about.
    pub(crate) topologies: BTreeMap<String, Reads>,
}

/// What one topology reads.
pub(crate) struct Reads {
    pub(crate) folds: bool,
    pub(crate) sources: Vec<TopicName>,
}

impl Facts {
    pub(crate) fn of(app: &App) -> Self {
        let resolve = |topic: &TopicRef| topic.resolve(app.name()).ok();
        let reads = |definition: &Arc<crate::topology::Definition>| {
            let folds = !matches!(definition.kind, Kind::Emitter { .. });
            // Every version of a fold goes by the same decisions; those of an emitter have nothing in common.
            let name = if folds { definition.name.clone() } else { definition.versioned_name() };
            (name, Reads { folds, sources: definition.sources.iter().filter_map(resolve).collect() })
        };
        Self {
            decisions: decisions(app.name(), &app.options).name,
            partitions: app.options.partitions,
            topologies: app.definitions.values().map(reads).collect(),
        }
    }

    fn reads(&self, id: &RecordId) -> Result<&Reads, LetterError> {
        let reads = self.topologies.get(&id.topology).ok_or_else(|| {
            let known: Vec<_> = self.topologies.keys().map(String::as_str).collect();
            LetterError::NoSuch(format!(
                "there is no topology \"{}\": there are {}",
                id.topology,
                known.join(", ")
            ))
        })?;
        if !reads.sources.contains(&id.at.topic) || id.at.partition.0 >= self.partitions {
            let sources: Vec<_> = reads.sources.iter().map(TopicName::as_str).collect();
            let (topology, at, count) = (&id.topology, &id.at, self.partitions);
            return Err(LetterError::NoSuch(format!(
                "\"{topology}\" does not read {at}: it reads {}, of {count} partitions each",
                sources.join(", ")
            )));
        }
        Ok(reads)
    }
}

/// The records of an app that could not be processed, and the decisions about them.
///
/// Works wherever the log can be reached: decisions are records, which whoever owns the shard finds.
#[derive(Clone)]
pub struct DeadLetters {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    facts: Arc<Facts>,
}

/// A record that a topology met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MetRecord {
    /// What it is called.
    pub id: RecordId,
    /// Its time.
    pub timestamp: Timestamp,
    /// Its key.
    #[serde(serialize_with = "raw")]
    pub key: Option<Bytes>,
    /// Its value.
    #[serde(serialize_with = "raw")]
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<String>)>,
}

/// A decision that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DecisionReport {
    /// The record that it is about.
    pub about: RecordId,
    /// What was decided, in a word: `skip`, `replace`, `retry`, `retry_all`, `edit`, `discard`, `discard_all`.
    pub verdict: String,
    /// The value that takes the place of the record's.
    #[serde(serialize_with = "raw")]
    pub value: Option<Bytes>,
    /// When.
    pub at: Timestamp,
    /// Who, as far as that was said.
    pub by: Option<String>,
    /// Why, as far as that was said.
    pub note: Option<String>,
    /// The decision's own id.
    pub id: String,
}

pub(super) fn raw<S: serde::Serializer>(bytes: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.clone().map(Raw).serialize(serializer)
}

/// A decision of a topic of decisions.
///
/// # Errors
///
/// If it cannot be read: to go on without would forget it.
pub(crate) fn decision_of(at: &TopicPartition, stored: &StoredRecord) -> Result<Decision, LogError> {
    Decision::read(&stored.record).map_err(|why| {
        LogError::new(LogErrorKind::Corrupt, format!("{at} offset {} is no decision: {why}", stored.offset))
    })
}

impl DeadLetters {
    /// Those of an app on this log.
    pub fn on(log: Arc<dyn Log>, clock: Arc<dyn Clock>, app: &App) -> Self {
        Self::of(log, clock, Arc::new(Facts::of(app)))
    }

    pub(crate) fn of(log: Arc<dyn Log>, clock: Arc<dyn Clock>, facts: Arc<Facts>) -> Self {
        Self { log, clock, facts }
    }

    /// Lets a fold go on without a record, on every replay alike.
    pub fn skip(&self, id: &RecordId) -> Decide {
        Decide::new(self, id, Verdict::Skip)
    }

    /// Lets a fold take another value in a record's place, under the same key, on every replay alike.
    ///
    /// `None` is a null.
    pub fn replace(&self, id: &RecordId, value: Option<Bytes>) -> Decide {
        Decide::new(self, id, Verdict::Replace(value.map(Raw)))
    }

    /// A record that a topology reads, as it lies on the log.
    ///
    /// # Errors
    ///
    /// [`LetterError::NoSuch`], [`LetterError::Log`].
    pub async fn record(&self, id: &RecordId) -> Result<MetRecord, LetterError> {
        self.facts.reads(id)?;
        let bounds = self.log.bounds(&id.at).await?;
        let gone = || LetterError::NoSuch(format!("{} holds no record at offset {}", id.at, id.offset));
        if id.offset < bounds.start || id.offset >= bounds.end {
            return Err(gone());
        }
        let batch = self.log.read(&id.at, id.offset, ONE, Wait::No).await?;
        let found = batch.records.into_iter().next().filter(|found| found.offset == id.offset);
        Ok(MetRecord::of(id, found.ok_or_else(gone)?.record))
    }

    /// Every decision that was made, the earliest first.
    ///
    /// # Errors
    ///
    /// [`LetterError::Log`].
    pub async fn decisions(&self) -> Result<Vec<DecisionReport>, LetterError> {
        let mut made: Vec<DecisionReport> = Vec::new();
        for partition in 0..self.facts.partitions {
            let at = self.facts.decisions.partition(partition);
            for stored in self.all(&at).await? {
                let report = DecisionReport::of(decision_of(&at, &stored)?, stored.record.timestamp);
                if !made.iter().any(|known| known.id == report.id) {
                    made.push(report);
                }
            }
        }
        made.sort_by_key(|decision| decision.at);
        Ok(made)
    }

    /// Every record of a partition; none where there is no such topic.
    async fn all(&self, at: &TopicPartition) -> Result<Vec<StoredRecord>, LogError> {
        let bounds = match self.log.bounds(at).await {
            Err(error) if error.kind() == LogErrorKind::UnknownTopic => return Ok(Vec::new()),
            bounds => bounds?,
        };
        let (mut next, mut records) = (bounds.start, Vec::new());
        while next < bounds.end {
            let batch = self.log.read(at, next, ReadLimit::default(), Wait::No).await?;
            next = batch.next;
            records.extend(batch.records);
        }
        Ok(records)
    }

    async fn make(&self, decision: Decision) -> Result<DecisionReport, LetterError> {
        let reads = self.facts.reads(&decision.about)?;
        let about = &decision.about;
        if reads.folds != decision.made.verdict.is_of_fold() {
            let why = if reads.folds { "folds, and never parks" } else { "appends: only a fold skips" };
            return Err(LetterError::Invalid(format!("\"{}\" {why}", about.topology)));
        }
        if reads.folds {
            self.record(about).await?;
        }
        let now = self.clock.now();
        let to = self.facts.decisions.partition(about.at.partition.0);
        self.append(Append { to, record: decision.record(now) }).await?;
        tracing::info!(about = %about, verdict = decision.made.verdict.name(), by = decision.made.by, "decided");
        Ok(DecisionReport::of(decision, now))
    }

    async fn append(&self, append: Append) -> Result<(), LetterError> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let error = match self.log.append(vec![append.clone()]).await {
                Ok(_) => return Ok(()),
                Err(AppendError::NotWritten(error)) if error.kind() != LogErrorKind::Unavailable => {
                    return Err(error.into());
                }
                Err(error) => error,
            };
            // Under the same id, so that twice is once.
            if Instant::now() >= deadline {
                return Err(match error {
                    AppendError::NotWritten(error) => error.into(),
                    AppendError::Unknown(error) => LetterError::Unknown(error),
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl MetRecord {
    fn of(id: &RecordId, record: Record) -> Self {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = record.headers.iter().map(|(name, value)| (name.to_owned(), value.map(text))).collect();
        Self { id: id.clone(), timestamp: record.timestamp, key: record.key, value: record.value, headers }
    }
}

impl DecisionReport {
    fn of(Decision { about, made }: Decision, at: Timestamp) -> Self {
        let Made { id, verdict, by, note, .. } = made;
        let value = match &verdict {
            Verdict::Replace(value) | Verdict::Edit(value) => value.clone().map(|Raw(bytes)| bytes),
            _ => None,
        };
        Self { about, verdict: verdict.name().to_owned(), value, at, by, note, id }
    }
}

/// A decision about to be made; awaiting it makes it: durable once it is answered.
#[must_use = "a decision is made when this is awaited"]
pub struct Decide {
    letters: DeadLetters,
    decision: Decision,
}

impl Decide {
    pub(super) fn new(letters: &DeadLetters, about: &RecordId, verdict: Verdict) -> Self {
        let (id, log) = (uuid::Uuid::now_v7().to_string(), letters.log.id().to_string());
        let made = Made { id, verdict, log, by: None, note: None };
        Self { letters: letters.clone(), decision: Decision { about: about.clone(), made } }
    }

    /// Says who decides.
    pub fn by(mut self, who: impl Into<String>) -> Self {
        self.decision.made.by = Some(who.into());
        self
    }

    /// Says why.
    pub fn note(mut self, why: impl Into<String>) -> Self {
        self.decision.made.note = Some(why.into());
        self
    }
}

impl IntoFuture for Decide {
    type Output = Result<DecisionReport, LetterError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.letters.make(self.decision).await })
    }
}

/// The offset of a record of a log that the app has moved from, in this log.
pub(crate) fn moved_offset(
    moved: Option<&crate::migrate::map::OffsetMap>,
    at: &TopicPartition,
    offset: Offset,
) -> Option<Offset> {
    let next = moved?.position(at, offset.next())?;
    next.0.checked_sub(1).map(Offset)
}
