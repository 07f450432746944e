//! Records that a shard of an emitter could not process, set aside in order.
//!
//! Letters are kept in memory and in the compacted topic `<app>.<topology>.letters`, in the shard's own partition and in the
//! transaction of whatever else came of their batch; a shard reads them back before it begins. How many there may be, and how
//! many bytes they may hold, is bounded: one more stops the shard, since what fails all the time is no matter of records.
//!
//! Where a batch meets a bad record, a key that is set aside, or a decision, it is processed record by record: each that
//! fails leaves state and outputs as they were before it, and the others go on. Decisions are an input of the shard like any
//! other, with its own position.

use std::sync::Arc;

use headwater_core::clock::Timestamp;
use headwater_core::log::{ReadLimit, Wait};
use headwater_core::record::{Append, Record, StoredRecord};
use headwater_core::topic::{Partition, TopicName, TopicPartition};
use tokio_util::sync::CancellationToken;

use super::{Batch, Emitter};
use crate::engine::flow::{Flow, ProcessError};
use crate::engine::operators::{Failure, InputRecord, Task, run_alone};
use crate::letters::{Decision, Letter, LetterReason, LettersMax, Parked, RecordId, Verdict};
use crate::runtime::cell::ShardCell;
use crate::runtime::shell::{Stop, pause_after};

/// Where an emitter sets aside what it cannot process.
#[derive(Debug, Clone)]
pub(crate) struct Parks {
    pub(crate) letters: TopicName,
    pub(crate) decisions: TopicName,
    /// How many partitions that topic has: the app's count, which need not be that of the emitter's shards.
    pub(crate) decision_partitions: u32,
    /// What a shard may set aside; nothing where the emitter parks no more.
    pub(crate) max: Option<LettersMax>,
}

/// What one shard has set aside.
pub(super) struct Parking {
    topology: String,
    sources: Vec<TopicPartition>,
    letters: TopicPartition,
    max: LettersMax,
    parked: Parked,
    /// What the log said of a transaction that held one record alone.
    refused: Option<Refused>,
}

/// A transaction of one record was refused, and how often.
struct Refused {
    why: String,
    times: u32,
}

/// How often a record that failed is tried after the log refused what came of it: once, as its letter.
const AS_LETTER: u32 = 1;
/// The same for a decision: it asks for less each time, and in the end for nothing.
const OF_DECISION: u32 = 3;

/// What became of letters in a batch.
#[derive(Default)]
pub(super) struct Changed {
    parked: Parked,
    changes: Vec<(RecordId, Option<Arc<Letter>>)>,
    reasons: Vec<LetterReason>,
    outcomes: Vec<&'static str>,
}

impl Emitter {
    /// What the shard has set aside; `None` if it sets nothing aside, or was told to stop.
    pub(super) async fn parking(
        &self,
        cell: &ShardCell,
        stop: &CancellationToken,
    ) -> Result<Option<Parking>, Stop> {
        let Some(parks) = &self.parks else { return Ok(None) };
        let letters = parks.letters.partition(cell.shard.0);
        let parked = self.parked(&letters, cell, stop).await?;
        cell.set_letters(parked.len(), parked.bytes());
        let Some(max) = parks.max else {
            return if parked.is_empty() { Ok(None) } else { Err(self.left_behind(&letters, parked.len())) };
        };
        let sources = self.sources.iter().map(|source| source.partition(cell.shard.0)).collect();
        let topology = self.definition.versioned_name();
        Ok(Some(Parking { topology, sources, letters, max, parked, refused: None }))
    }

    async fn parked(
        &self,
        letters: &TopicPartition,
        cell: &ShardCell,
        stop: &CancellationToken,
    ) -> Result<Parked, Stop> {
        let bounds = self.shell.bounds(cell, letters).await?;
        let (mut parked, mut next) = (Parked::default(), bounds.start);
        while next < bounds.end && !stop.is_cancelled() {
            match self.shell.log.read(letters, next, ReadLimit::default(), Wait::No).await {
                Ok(batch) => {
                    for stored in &batch.records {
                        let failed = |why| Stop(format!("{letters} offset {}: {why}", stored.offset));
                        parked.replay(&stored.record).map_err(failed)?;
                    }
                    next = batch.next;
                }
                Err(error) => pause_after(error, letters, stop).await?,
            }
        }
        Ok(parked)
    }

    fn left_behind(&self, letters: &TopicPartition, count: usize) -> Stop {
        Stop(format!(
            "\"{}\" sets nothing aside any more, but {count} dead letters wait in {letters}, and records of their keys \
             belong behind them: let it park again, and retry or discard them",
            self.definition.versioned_name()
        ))
    }
}

impl Parking {
    /// The index by which decisions are told from records of the sources.
    fn decisions(&self) -> usize {
        self.sources.len()
    }

    /// Whether a batch has to be taken record by record.
    pub(super) fn concerns(&self, batch: &Batch) -> bool {
        self.refused.is_some()
            || batch.records.iter().any(|(source, stored)| {
                *source == self.decisions() || self.parked.holds(stored.record.key.as_ref())
            })
    }

    /// The log refused a transaction that held one record alone: it is set aside with what the log said, or, if it is a
    /// decision, done without what is too large.
    ///
    /// Answers whether there is anything left to try.
    pub(super) fn refuse(&mut self, batch: &Batch, why: &str) -> bool {
        let Some((source, _)) = batch.records.first() else { return false };
        let times = self.refused.as_ref().map_or(0, |refused| refused.times);
        let most = if *source == self.decisions() { OF_DECISION } else { AS_LETTER };
        self.refused = Some(Refused { why: why.to_owned(), times: times + 1 });
        times < most
    }

    /// What the log said, if it refused that many times.
    fn refused(&self, times: u32) -> Option<String> {
        self.refused.as_ref().filter(|refused| refused.times >= times).map(|refused| refused.why.clone())
    }

    /// The records of what became of letters.
    pub(super) fn appends<'a>(
        &'a self,
        changed: &'a Changed,
        now: Timestamp,
    ) -> impl Iterator<Item = Append> + 'a {
        changed.changes.iter().map(move |(id, letter)| {
            let value = letter.as_ref().map(|letter| letter.written());
            let record = Record { value, ..Record::new(id.to_string(), "", now) };
            Append { to: self.letters.clone(), record }
        })
    }

    /// What became of letters is written now.
    pub(super) fn commit(&mut self, changed: Changed, cell: &ShardCell) {
        for (id, letter) in &changed.changes {
            if let Some(letter) = letter {
                tracing::warn!(letter = %id, reason = letter.reason.name(), error = letter.error, "set aside");
            }
        }
        crate::runtime::observe::parked(&self.topology, &changed.reasons, &changed.outcomes);
        self.refused = None;
        self.parked = changed.parked;
        cell.set_letters(self.parked.len(), self.parked.bytes());
    }

    /// Takes a batch record by record.
    ///
    /// # Errors
    ///
    /// Where state cannot be read, or no letter may be added: the record at which that was.
    pub(super) fn process(
        &self,
        (batch, now): (&Batch, Timestamp),
        (task, new_task): (&mut Task, &dyn Fn() -> Task),
        bad_time: &dyn Fn(&StoredRecord) -> Option<ProcessError>,
        flow: &mut Flow<'_>,
    ) -> Result<Changed, Failure> {
        let changed = Changed { parked: self.parked.clone(), ..Changed::default() };
        let mut taking = Taking { parking: self, task, new_task, bad_time, now, changed };
        for (at, (source, stored)) in batch.records.iter().enumerate() {
            let taken = match *source == self.decisions() {
                true => taking.decide(stored, flow),
                false => taking.take(*source, stored, flow),
            };
            taken.map_err(|error| Failure { at, error })?;
        }
        Ok(taking.changed)
    }

    fn id(&self, source: usize, stored: &StoredRecord) -> RecordId {
        RecordId { topology: self.topology.clone(), at: self.sources[source].clone(), offset: stored.offset }
    }
}

/// A batch that is taken record by record.
struct Taking<'a> {
    parking: &'a Parking,
    task: &'a mut Task,
    new_task: &'a dyn Fn() -> Task,
    bad_time: &'a dyn Fn(&StoredRecord) -> Option<ProcessError>,
    now: Timestamp,
    changed: Changed,
}

impl Taking<'_> {
    /// Processes a record, or sets it aside.
    fn take(
        &mut self,
        source: usize,
        stored: &StoredRecord,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let why = if self.changed.parked.holds(stored.record.key.as_ref()) {
            flow.next_input(stored);
            (LetterReason::Behind, "it waits behind a dead letter of its key".to_owned())
        } else {
            match self.run(source, stored, self.parking.refused(AS_LETTER), flow)? {
                None => return Ok(()),
                Some(why) => why,
            }
        };
        let id = self.parking.id(source, stored);
        if let Some(there) = self.changed.parked.get(&id) {
            // Read again, where a head was lost and somebody accepted that.
            return if there.is_of(&stored.record) { Ok(()) } else { Err(name_is_taken(&why.1, &id)) };
        }
        let letter = Letter::new(&stored.record, why, self.now);
        if let Some(full) = self.parking.max.refuses(&self.changed.parked, &letter) {
            return Err(ProcessError::Record(format!("{}; and {full}", letter.error)));
        }
        let reason = letter.reason;
        let letter = self.changed.parked.append(id.clone(), letter);
        self.changed.changes.push((id, Some(letter)));
        self.changed.reasons.push(reason);
        Ok(())
    }

    /// Runs a record; answers why it cannot be processed, if that is so.
    fn run(
        &mut self,
        source: usize,
        record: &StoredRecord,
        refused: Option<String>,
        flow: &mut Flow<'_>,
    ) -> Result<Option<(LetterReason, String)>, ProcessError> {
        let run = match refused.map(ProcessError::TooLarge).or_else(|| (self.bad_time)(record)) {
            Some(error) => {
                flow.next_input(record);
                Err(error)
            }
            None => run_alone(self.task, InputRecord { source, record }, flow),
        };
        let Err(error) = run else { return Ok(None) };
        *self.task = (self.new_task)();
        match LetterReason::of(&error) {
            Some(reason) => Ok(Some((reason, error.to_string()))),
            None => Err(error),
        }
    }

    /// Does what somebody decided, if it is about a letter of this shard.
    ///
    /// Where the log refuses what comes of that, no letter can be written for the decision: it asks for less each time
    /// instead, so that the shard always comes past it. First what is retried counts as refused, and of a line only the
    /// first is retried; then that one counts as refused, too, and an edit is not kept; then letters stay as they are.
    fn decide(&mut self, stored: &StoredRecord, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let Decision { about, made } = Decision::read(&stored.record)
            .map_err(|why| ProcessError::Undecodable(format!("it is no decision: {why}")))?;
        let Some(letter) = self.changed.parked.get(&about).cloned() else { return Ok(()) };
        // An append whose answer was lost is made again.
        if about.topology != self.parking.topology || letter.decided.as_ref() == Some(&made.id) {
            return Ok(());
        }
        let line = self.changed.parked.line_of(&about);
        let behind = line.iter().position(|id| *id == about).unwrap_or_default();
        if let Some(why) = self.parking.refused(OF_DECISION) {
            tracing::warn!(letter = %about, why, "not done what was decided: the log takes nothing that would come of it");
            return Ok(());
        }
        let parking = self.parking;
        let refused = |times| parking.refused(times);
        match made.verdict {
            Verdict::Skip | Verdict::Replace(_) => {}
            Verdict::Discard => self.discard(&about),
            Verdict::DiscardAll => line[behind..].iter().for_each(|id| self.discard(id)),
            Verdict::Edit(value) => match refused(2) {
                Some(why) => {
                    let (error, decided) = (format!("its edit was refused: {why}"), Some(made.id));
                    self.keep(&about, Letter { error, decided, ..(*letter).clone() });
                    self.changed.outcomes.push("failed");
                }
                None => {
                    self.keep(&about, Letter { edited: Some(vec![value]), ..(*letter).clone() });
                    if behind == 0 {
                        self.retry(&about, &made.id, refused(1), flow)?;
                    }
                }
            },
            Verdict::Retry if behind > 0 => {
                tracing::warn!(letter = %about, first = %line[0], "not retried: others of its key wait before it");
            }
            Verdict::Retry => drop(self.retry(&about, &made.id, refused(1), flow)?),
            Verdict::RetryAll => {
                let at_once = if refused(1).is_some() { 1 } else { line.len() };
                for id in line.iter().take(at_once) {
                    if !self.retry(id, &made.id, refused(2), flow)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn discard(&mut self, id: &RecordId) {
        self.changed.parked.remove(id);
        self.changed.changes.push((id.clone(), None));
        self.changed.outcomes.push("discarded");
    }

    fn keep(&mut self, id: &RecordId, letter: Letter) {
        let letter = self.changed.parked.put(id.clone(), letter);
        self.changed.changes.push((id.clone(), Some(letter)));
    }

    /// Processes a letter; one that fails again stays where it is. Answers whether it was processed.
    fn retry(
        &mut self,
        id: &RecordId,
        decision: &str,
        refused: Option<String>,
        flow: &mut Flow<'_>,
    ) -> Result<bool, ProcessError> {
        let Some(letter) = self.changed.parked.get(id).cloned() else { return Ok(true) };
        let Some(source) = self.parking.sources.iter().position(|source| *source == id.at) else {
            tracing::warn!(letter = %id, "not retried: its topology reads that topic no more");
            return Ok(false);
        };
        flow.next_command();
        let why = self.run(source, &letter.record(id), refused, flow)?;
        // What the next record belongs to is another command.
        flow.next_command();
        match why {
            None => {
                self.changed.parked.remove(id);
                self.changed.changes.push((id.clone(), None));
                self.changed.outcomes.push("processed");
                Ok(true)
            }
            Some((reason, error)) => {
                let (attempts, decided) = (letter.attempts + 1, Some(decision.to_owned()));
                let letter = (*letter).clone();
                self.keep(id, Letter { reason, error, attempts, last: self.now, decided, ..letter });
                self.changed.outcomes.push("failed");
                Ok(false)
            }
        }
    }
}

/// A letter has the name that a record at another place of an earlier log had: none of them may be lost.
fn name_is_taken(why: &str, id: &RecordId) -> ProcessError {
    ProcessError::Record(format!(
        "{why}; and another dead letter is named {id}, by its place in the log that the app moved here from: retry, edit or \
         discard that one, and start again"
    ))
}

/// The place of a shard's decisions.
pub(super) fn decisions_of(parks: &Parks, shard: Partition) -> Option<TopicPartition> {
    parks.max.map(|_| parks.decisions.partition(shard.0 % parks.decision_partitions))
}
