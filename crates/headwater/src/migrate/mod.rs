//! Moving an app from one log to another: its topics, its shards' heads, its outcomes.
//!
//! - `map`: where each old record lies in the new log, kept there in a topic of its own.
//! - `copy`: records, in transactions that carry how far the copy has come.
//! - `verify`: whether what was copied is equal, by count and digest.
//! - `heads`: the shards' positions, rewritten by the map.
//!
//! A migration may end at any point and is run again by the same command: its one writer is fenced like a shard's, and
//! each of its transactions holds records and progress together, so nothing is copied twice or left out. While it lasts
//! the new topics keep everything with the times it came with, and no app starts on them; what they are to be is made
//! of them at the end. Nothing is written to the old log.

mod copy;
mod error;
mod heads;
pub(crate) mod map;
mod records;
mod verify;

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_core::clock::{Clock, SystemClock};
use headwater_core::log::{Log, LogErrorKind, LogId, ReadLimit, TopicDescription};
use headwater_core::topic::{TopicName, TopicPartition};
use serde::Serialize;
use serde_json::json;

use self::copy::Copying;
pub use self::error::MigrateError;
use self::error::Of;
use self::map::OffsetMap;
use self::verify::{Extent, verify};
use crate::app::App;
use crate::topics::Place;
use crate::topics::prepare::{MIGRATION, Prepared, Reach, Survey, Word, prepare};
use crate::topics::{Purpose, registry::Facts};

/// How often a migration goes on after the new log refused it, as long as it came no further.
const ATTEMPTS: u32 = 20;
/// How many records one transaction copies.
const RECORDS_AT_ONCE: usize = 5_000;
/// How long it waits before.
const PAUSE: Duration = Duration::from_millis(500);

/// Moves one app from one log to another.
pub struct Migration<'a> {
    app: &'a App,
    from: &'a dyn Log,
    to: &'a dyn Log,
    clock: &'a dyn Clock,
    verify: bool,
    batch: ReadLimit,
}

impl<'a> Migration<'a> {
    /// Moves this app, whose code runs nowhere, from a log that nobody writes to any more to another.
    pub fn new(app: &'a App, from: &'a dyn Log, to: &'a dyn Log) -> Self {
        let batch = ReadLimit { records: RECORDS_AT_ONCE, bytes: 4 << 20 };
        Self { app, from, to, clock: &SystemClock, verify: false, batch }
    }

    /// Whether everything is read again in both logs and compared.
    #[must_use]
    pub fn verify(self, verify: bool) -> Self {
        Self { verify, ..self }
    }

    /// How many records one transaction copies; 5,000 unless set.
    #[must_use]
    pub fn records_at_once(mut self, records: usize) -> Self {
        self.batch.records = records.max(1);
        self
    }
}

/// How far a migration has come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is being done: copying or verifying; or [`RESUMING`], once, where an earlier run had begun.
    pub doing: &'static str,
    /// The partition that it is at.
    pub at: TopicPartition,
    /// Offsets behind it, in all partitions.
    pub done: u64,
    /// Offsets there are.
    pub total: u64,
}

/// What a migration does when it goes on where an earlier run ended: its progress is what that run had copied.
pub const RESUMING: &str = "resuming";

/// What a migration has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The log that was moved from.
    pub from: LogId,
    /// The log that was moved to.
    pub to: LogId,
    /// Whether an earlier run had done all of it.
    pub was_finished: bool,
    /// What was compared, if that was asked for.
    pub verified: Vec<VerifiedPartition>,
}

/// A partition whose copy is equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifiedPartition {
    /// The partition.
    pub partition: String,
    /// Records in it.
    pub records: u64,
    /// The digest of all of them, in both logs.
    pub digest: String,
}

/// Hears how far a migration has come.
pub type OnProgress<'a> = dyn FnMut(Progress) + Send + 'a;

impl Migration<'_> {
    /// Runs until everything is moved, or goes on where an earlier run ended.
    ///
    /// # Errors
    ///
    /// [`MigrateError`]; what was copied stays, and the next run goes on from there.
    pub async fn run(&self, on_progress: &mut OnProgress<'_>) -> Result<Report, MigrateError> {
        let mut furthest = Reached::default();
        let mut attempts = 0;
        loop {
            let mut reached = Reached::default();
            let error = match self.run_once(&mut reached, on_progress).await {
                Ok(report) => return Ok(report),
                Err(error) => error,
            };
            attempts = if reached > furthest { 1 } else { attempts + 1 };
            furthest = furthest.max(reached);
            if attempts == ATTEMPTS || !is_passing(&error) {
                return Err(error);
            }
            tracing::warn!(%error, "the migration was interrupted; it goes on from where it was");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn run_once(
        &self,
        reached: &mut Reached,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<Report, MigrateError> {
        let source = self.survey_source().await?;
        let state = self.state().await?;
        if state.as_deref() == Some(FINISHED) {
            self.refuse_more(&source).await?;
            self.finish().await?;
            let verified = self.verify_finished(on_progress).await?;
            return Ok(self.report(true, verified));
        }
        self.prepare_target(&source, state.is_some()).await?;
        let map = self.copy(&source, reached, on_progress).await?;
        let verified = if self.verify {
            verify(self.from, self.to, &map, Extent::Whole, on_progress).await?
        } else {
            Vec::new()
        };
        heads::rewrite(self, &map).await?;
        self.state_that(FINISHED).await?;
        self.finish().await?;
        Ok(self.report(false, verified))
    }

    fn report(&self, was_finished: bool, verified: Vec<VerifiedPartition>) -> Report {
        Report { from: self.from.id(), to: self.to.id(), was_finished, verified }
    }

    /// The app's topics on the old log, which must be what this program needs.
    async fn survey_source(&self) -> Result<BTreeMap<TopicName, TopicDescription>, MigrateError> {
        if self.from.id() == self.to.id() {
            return Err(MigrateError::Source("it is the new log, too".to_owned()));
        }
        let survey = Survey::of(self.from, self.app, &Place::default(), &Word::default()).await.of_old()?;
        if survey.plan.refuses() {
            return Err(MigrateError::Source(survey.plan.refusal()));
        }
        let records = |name: &TopicName| {
            let declared = self.app.topics().into_iter().find(|declared| declared.name == *name);
            declared.is_some_and(|declared| declared.purpose.is_migrated())
        };
        let topics: BTreeMap<_, _> = survey.topics.into_iter().filter(|(name, _)| records(name)).collect();
        if topics.is_empty() {
            return Err(MigrateError::Source(format!("it has no topic of app {}", self.app.name())));
        }
        Ok(topics)
    }

    /// What the new log remembers of this migration: nothing, begun or finished.
    async fn state(&self) -> Result<Option<String>, MigrateError> {
        let survey = Survey::of(self.to, self.app, &Place::default(), &Word::default()).await.of_new()?;
        let Some(fact) = survey.registry.get(MIGRATION) else { return Ok(None) };
        if fact["from"] != self.from.id().to_string() {
            let what = format!("a migration of app {} from log {}", self.app.name(), fact["from"]);
            let mend = "give an empty cluster, or the old log of that migration".to_owned();
            return Err(MigrateError::Occupied { what, mend });
        }
        Ok(fact["state"].as_str().map(str::to_owned))
    }

    /// Makes the new topics, empty and keeping everything, and says that a migration has begun.
    async fn prepare_target(
        &self,
        source: &BTreeMap<TopicName, TopicDescription>,
        begun: bool,
    ) -> Result<(), MigrateError> {
        for old in source.values() {
            let settings = copy::while_copying(old.settings);
            let there = match self.to.describe(&old.name).await.of_new()? {
                Some(there) if there.settings.partitions != old.settings.partitions => {
                    let what = format!("{} partitions", there.settings.partitions);
                    return Err(MigrateError::occupied(&old.name, &what));
                }
                Some(there) => there,
                None => self.to.create(&old.name, settings).await.of_new()?,
            };
            if !begun {
                copy::refuse_records(self.to, &there).await?;
            }
            if there.settings != settings {
                self.to.alter(&old.name, settings).await.of_new()?;
            }
        }
        if begun { Ok(()) } else { self.state_that(BEGUN).await }
    }

    async fn copy(
        &self,
        source: &BTreeMap<TopicName, TopicDescription>,
        reached: &mut Reached,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<OffsetMap, MigrateError> {
        Copying::open(self, source).await?.run(reached, on_progress).await
    }

    /// Makes the new topics what the app needs; what is not done of that when this ends, a start refuses.
    async fn finish(&self) -> Result<(), MigrateError> {
        let word = Word { migrating: true, ..Word::default() };
        let (place, reach) = (Place::default(), Reach::Alter);
        match prepare(self.to, self.clock, self.app, &place, (reach, &word)).await.of_new()? {
            Prepared::Ready(_) => Ok(()),
            Prepared::Refused(plan) => Err(MigrateError::Topics(plan.to_string())),
        }
    }

    async fn state_that(&self, state: &str) -> Result<(), MigrateError> {
        let word = Word { migrating: true, ..Word::default() };
        let definitions = self.app.topics().into_iter().find(|topic| topic.purpose == Purpose::Definitions);
        let definitions = definitions.expect("every app has a topic of definitions");
        match self.to.create(&definitions.name, definitions.settings).await {
            Err(error) if error.kind() != LogErrorKind::TopicExists => {
                return Err(MigrateError::Log { which: "new", error });
            }
            _ => {}
        }
        let mut survey = Survey::of(self.to, self.app, &Place::default(), &word).await.of_new()?;
        let fact = json!({"from": self.from.id().to_string(), "state": state});
        let facts = Facts::from([(MIGRATION.to_owned(), fact)]);
        survey.registry.state(self.to, self.clock, &facts).await.of_new()
    }

    /// Refuses an old log that has more than what was moved: it would be left behind in silence.
    async fn refuse_more(&self, source: &BTreeMap<TopicName, TopicDescription>) -> Result<(), MigrateError> {
        let map = OffsetMap::load(self.to, &map_topic(self.app)).await.of_new()?;
        for topic in source.values() {
            for at in (0..topic.settings.partitions).map(|partition| topic.name.partition(partition)) {
                let end = self.from.bounds(&at).await.of_old()?.end;
                if map.position(&at, end).is_none() {
                    let what = format!(
                        "{at} was written to since it was moved: what came after is in the old log alone, and cannot be \
                         moved behind what the app has written on the new one since"
                    );
                    return Err(MigrateError::Source(what));
                }
            }
        }
        Ok(())
    }

    /// Compares again what topics keep for ever; of others something may have been dropped since.
    async fn verify_finished(
        &self,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<Vec<VerifiedPartition>, MigrateError> {
        if !self.verify {
            return Ok(Vec::new());
        }
        let map = OffsetMap::load(self.to, &map_topic(self.app)).await.of_new()?;
        verify(self.from, self.to, &map, Extent::Kept, on_progress).await
    }
}

/// The furthest partition and offset that a run has copied.
type Reached = (usize, u64);

/// A migration of this app into a log has begun, or is finished.
pub(crate) const BEGUN: &str = "begun";
pub(crate) const FINISHED: &str = "finished";

/// Whether the same may succeed when it is tried again.
fn is_passing(error: &MigrateError) -> bool {
    matches!(error, MigrateError::Log { error, .. }
        if matches!(error.kind(), LogErrorKind::Unavailable | LogErrorKind::Fenced))
}

/// The topic of the map of an app's migration.
pub(crate) fn map_topic(app: &App) -> TopicName {
    crate::topics::topic_in(app, "migration")
}
