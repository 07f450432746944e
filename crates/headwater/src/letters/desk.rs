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
use super::{Decision, Letter, LetterReason, Parked, Raw, RecordId, Verdict};
use crate::app::App;
use crate::migrate::map::OffsetMap;
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
    /// Where it sets aside what it cannot process, if it does; the topic need not be there.
    pub(crate) letters: Option<TopicName>,
}

impl Facts {
    pub(crate) fn of(app: &App) -> Self {
        let resolve = |topic: &TopicRef| topic.resolve(app.name()).ok();
        let reads = |definition: &Arc<crate::topology::Definition>| {
            let folds = !matches!(definition.kind, Kind::Emitter { .. });
            // Every version of a fold goes by the same decisions; those of an emitter have nothing in common.
            let name = if folds { definition.name.clone() } else { definition.versioned_name() };
            let sources = definition.sources.iter().filter_map(resolve).collect();
            let letters = if folds { None } else { resolve(&definition.letters()) };
            (name, Reads { folds, sources, letters })
        };
        Self {
            decisions: decisions(app.name(), &app.options).name,
            partitions: app.options.partitions,
            topologies: app.definitions.values().map(reads).collect(),
        }
    }

    fn no_topology(&self, name: &str) -> LetterError {
        let known: Vec<_> = self.topologies.keys().map(String::as_str).collect();
        LetterError::NoSuch(format!("there is no topology \"{name}\": there are {}", known.join(", ")))
    }

    fn reads(&self, id: &RecordId) -> Result<&Reads, LetterError> {
        let reads = self.topologies.get(&id.topology).ok_or_else(|| self.no_topology(&id.topology))?;
        let is_beyond = reads.folds && id.at.partition.0 >= self.partitions;
        if !reads.sources.contains(&id.at.topic) || is_beyond {
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
    #[serde(serialize_with = "raw_headers")]
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// A record that an emitter could not process, and set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The record as it lay on the log, byte for byte.
    #[serde(flatten)]
    pub record: MetRecord,
    /// Why it was set aside.
    pub reason: LetterReason,
    /// The same in words, as of the last attempt.
    pub error: String,
    /// How often it was tried; not at all yet, if it waits behind another.
    pub attempts: u32,
    /// Since when it is set aside.
    pub since: Timestamp,
    /// When it was tried last.
    pub last: Timestamp,
    /// The value that it is tried with in place of its own, if somebody gave it one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited: Option<EditedValue>,
}

/// A value that somebody gave a dead letter; `None` is a null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct EditedValue(#[serde(serialize_with = "raw")] pub Option<Bytes>);

/// Some dead letters, and where the next ones begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LetterPage {
    /// The letters, in the order of their ids.
    pub letters: Vec<DeadLetter>,
    /// What to ask for the next page with; `None` behind the last letter.
    pub next: Option<RecordId>,
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

fn raw_headers<S: serde::Serializer>(
    headers: &[(String, Option<Bytes>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(headers.iter().map(|(name, value)| (name, value.clone().map(Raw))))
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

    /// Processes a dead letter again; it must be the first of its key. One that fails again stays set aside.
    pub fn retry(&self, id: &RecordId) -> Decide {
        Decide::new(self, id, Verdict::Retry)
    }

    /// Processes every dead letter of a letter's key again, in order, up to the first that fails.
    pub fn retry_all(&self, id: &RecordId) -> Decide {
        Decide::new(self, id, Verdict::RetryAll)
    }

    /// Gives a dead letter another value, and processes it if it is the first of its key.
    ///
    /// `None` is a null. The letter keeps its own value, too, and is tried with the new one from now on.
    pub fn edit(&self, id: &RecordId, value: Option<Bytes>) -> Decide {
        Decide::new(self, id, Verdict::Edit(value.map(Raw)))
    }

    /// Gives a dead letter up.
    pub fn discard(&self, id: &RecordId) -> Decide {
        Decide::new(self, id, Verdict::Discard)
    }

    /// Gives a dead letter up, and those that wait behind it.
    pub fn discard_all(&self, id: &RecordId) -> Decide {
        Decide::new(self, id, Verdict::DiscardAll)
    }

    /// Dead letters of a topology, or of all, in pages: those behind the id given.
    ///
    /// # Errors
    ///
    /// [`LetterError::NoSuch`] topology, [`LetterError::Log`].
    pub async fn list(
        &self,
        topology: Option<&str>,
        limit: usize,
        after: Option<&RecordId>,
    ) -> Result<LetterPage, LetterError> {
        if let Some(unknown) = topology.filter(|name| !self.facts.topologies.contains_key(*name)) {
            return Err(self.facts.no_topology(unknown));
        }
        let asked = self.facts.topologies.iter().filter(|(name, _)| topology.is_none_or(|t| t == *name));
        let mut found = BTreeMap::new();
        for letters in asked.filter_map(|(_, reads)| reads.letters.as_ref()) {
            let there = self.log.describe(letters).await?;
            for partition in 0..there.map_or(0, |topic| topic.settings.partitions) {
                found.extend(self.parked(&letters.partition(partition)).await?.into_letters());
            }
        }
        let behind = |id: &RecordId| after.is_none_or(|after| id > after);
        let mut letters: Vec<_> = found.into_iter().filter(|(id, _)| behind(id)).take(limit + 1).collect();
        let more = letters.len() > limit;
        letters.truncate(limit);
        let next = letters.last().filter(|_| more).map(|(id, _)| id.clone());
        Ok(LetterPage {
            letters: letters.iter().map(|(id, letter)| DeadLetter::of(id, letter)).collect(),
            next,
        })
    }

    /// A dead letter and all others of its key, in the order in which they wait.
    ///
    /// # Errors
    ///
    /// [`LetterError::NoSuch`], [`LetterError::Log`].
    pub async fn line_of(&self, id: &RecordId) -> Result<Vec<DeadLetter>, LetterError> {
        let parked = self.parked_with(id).await?;
        let letter = |id: &RecordId| Some(DeadLetter::of(id, parked.get(id)?));
        Ok(parked.line_of(id).iter().filter_map(letter).collect())
    }

    /// A dead letter.
    ///
    /// # Errors
    ///
    /// [`LetterError::NoSuch`], [`LetterError::Log`].
    pub async fn letter(&self, id: &RecordId) -> Result<DeadLetter, LetterError> {
        let parked = self.parked_with(id).await?;
        let letter = parked.get(id).expect("a shard without the letter was refused");
        Ok(DeadLetter::of(id, letter))
    }

    /// The letters of the shard that has this one.
    async fn parked_with(&self, id: &RecordId) -> Result<Parked, LetterError> {
        let reads = self.facts.reads(id)?;
        let parked = match &reads.letters {
            Some(letters) => self.parked(&letters.partition(id.at.partition.0)).await?,
            None => Parked::default(),
        };
        match parked.get(id) {
            Some(_) => Ok(parked),
            None => Err(LetterError::NoSuch(format!("there is no dead letter {id}"))),
        }
    }

    async fn parked(&self, at: &TopicPartition) -> Result<Parked, LetterError> {
        let mut parked = Parked::default();
        for stored in self.all(at).await? {
            parked.replay(&stored.record).map_err(|why| {
                LogError::new(LogErrorKind::Corrupt, format!("{at} offset {}: {why}", stored.offset))
            })?;
        }
        Ok(parked)
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
        } else {
            let line = self.parked_with(about).await?.line_of(about);
            if decision.made.verdict == Verdict::Retry && line.first() != Some(about) {
                return Err(LetterError::Invalid(format!(
                    "{about} waits behind others of its key: retry {} first, or all of them",
                    line[0]
                )));
            }
        }
        let now = self.clock.now();
        let to = self.facts.decisions.partition(about.at.partition.0 % self.facts.partitions);
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
        let bytes = |value: Option<&[u8]>| value.map(Bytes::copy_from_slice);
        let headers = record.headers.iter().map(|(name, value)| (name.to_owned(), bytes(value))).collect();
        Self { id: id.clone(), timestamp: record.timestamp, key: record.key, value: record.value, headers }
    }
}

impl DeadLetter {
    fn of(id: &RecordId, letter: &Letter) -> Self {
        let edited = letter.edited.as_ref().and_then(|edited| edited.first());
        let Letter { reason, ref error, attempts, since, last, .. } = *letter;
        let original = Letter { edited: None, ..letter.clone() };
        Self {
            record: MetRecord::of(id, original.record(id).record),
            reason,
            error: error.clone(),
            attempts,
            since,
            last,
            edited: edited.map(|value| EditedValue(value.clone().map(|Raw(bytes)| bytes))),
        }
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

/// The offset in this log of a record that is named by its offset in the one that the app moved here from.
///
/// `None` if it is named by that of yet another log: nobody knows any more where its records lie.
pub(crate) fn moved_offset(moved: Option<&OffsetMap>, Decision { about, made }: &Decision) -> Option<Offset> {
    let moved =
        moved.filter(|moved| moved.begin.as_ref().is_some_and(|it| it.from.to_string() == made.log))?;
    let next = moved.position(&about.at, about.offset.next())?;
    next.0.checked_sub(1).map(Offset)
}

#[cfg(test)]
mod tests {
    use headwater_core::log::LogId;
    use headwater_core::topic::TopicId;

    use super::*;
    use crate::migrate::map::{Begin, MigratedTopic, Range, Run};

    #[test]
    fn a_decision_is_told_in_this_log_only_if_it_is_of_the_one_before() {
        let about: RecordId = "total/visits-0@42".parse().unwrap();
        let partitions = vec![Range { start: Offset(40), end: Offset(50) }];
        let visits = MigratedTopic {
            name: about.at.topic.clone(),
            from_id: TopicId(1),
            to_id: TopicId(2),
            partitions,
        };
        let mut map = OffsetMap::default();
        map.begin = Some(Begin { from: LogId(7), topics: vec![visits] });
        map.add(&about.at, &[Run(40, 0, 10)]);
        for (log, expected) in [(7, Some(Offset(2))), (6, None)] {
            let (id, log) = ("u1".to_owned(), LogId(log).to_string());
            let made = Made { id, verdict: Verdict::Skip, log, by: None, note: None };
            let decision = Decision { about: about.clone(), made };
            assert_eq!(moved_offset(Some(&map), &decision), expected);
            assert_eq!(moved_offset(None, &decision), None);
        }
    }
}
