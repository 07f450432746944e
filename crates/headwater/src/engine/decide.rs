//! Deciding commands: the engine of one shard of an aggregate.
//!
//! Commands come in with the time; records, a delta of state and verdicts come out. A batch is decided on top of the
//! one in flight, so that two commands of one key in one commit see each other's effects.
//!
//! Invariants:
//! - versions of one aggregate rise by one per event, in the order of the records;
//! - a command id that has an outcome is never decided again while the outcome is kept;
//! - a state changes only when its command succeeded whole, with its records and its outcome in the same batch.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::header::Headers;
use headwater_core::key::{decode_text, ordered, text};
use headwater_core::record::{Append, Record, StoredRecord};
use headwater_core::store::TableId;
use headwater_core::topic::{Offset, TopicPartition};
use serde::{Deserialize, Serialize};

use super::flow::ProcessError;
use super::outcome::{Kept, OutcomeRow, Verdict, rejection_text};
use super::state::{Delta, Layered};
use crate::aggregate::{Aggregate, Context};
use crate::command::{CommandId, Origin, SendError, Version};
use crate::digest::{digest, hex};
use crate::event::{Envelope, header_number, is_ours, name, read, rfc3339};

mod cache;

use cache::StateCache;

/// States of aggregates, by id.
pub(crate) const STATES: TableId = TableId(0);
/// Outcomes, by id and command id.
pub(crate) const OUTCOMES: TableId = TableId(1);
/// On a snapshot: every aggregate changed before this offset of the events has a snapshot in earlier records.
const SNAPSHOT_TAIL: &str = "hw_tail";
/// The tables of an aggregate's store, as [`STATES`] and [`OUTCOMES`] number them.
pub(crate) const TABLES: [&str; 2] = ["states", "outcomes"];

/// The settings of one shard.
#[derive(Debug, Clone)]
pub(crate) struct DeciderSettings {
    /// The CloudEvents source: `/<app>/<aggregate>`.
    pub source: String,
    /// Where events go.
    pub events: TopicPartition,
    /// Where outcomes go.
    pub outcomes: TopicPartition,
    /// Where snapshots go.
    pub snapshots: TopicPartition,
    /// How long outcomes are kept.
    pub outcomes_kept_ms: i64,
    /// Bytes that one command's records may have.
    pub command_bytes_max: usize,
    /// States kept decoded in memory.
    pub cached_states: usize,
}

/// A command as it arrives.
pub(crate) struct Incoming<A: Aggregate> {
    /// The aggregate.
    pub id: A::Id,
    /// The command's JSON: its content, for the digest and for deciding again.
    pub payload: Bytes,
    /// The command itself, where the caller is in this process; read from the payload otherwise.
    pub command: Option<A::Command>,
    /// The idempotency key.
    pub command_id: CommandId,
    /// The version that the caller expects.
    pub expected: Option<Version>,
    /// Where the command came from.
    pub origin: Origin,
    /// When a command of the topic was appended, by the log's clock; `None` for a direct one.
    pub appended: Option<Timestamp>,
}

/// The batch that is being decided.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    /// Records, events first within each command.
    pub appends: Vec<Append>,
    /// Changes of state.
    pub delta: Delta,
}

/// The row of one aggregate, and the value of its snapshot.
#[derive(Serialize, Deserialize)]
pub(crate) struct StateRow<S> {
    pub version: Version,
    /// The version of the last snapshot on the topic.
    #[serde(default)]
    pub snapshot: Version,
    /// The version of the state's shape.
    pub shape: u32,
    pub state: S,
}

/// An aggregate's state in memory.
struct Live<A> {
    version: Version,
    snapshot: Version,
    state: Arc<A>,
}

impl<A> Clone for Live<A> {
    fn clone(&self) -> Self {
        Self { version: self.version, snapshot: self.snapshot, state: self.state.clone() }
    }
}

impl<A: Aggregate> Default for Live<A> {
    fn default() -> Self {
        Self { version: Version(0), snapshot: Version(0), state: Arc::default() }
    }
}

/// Decides the commands of one shard.
pub(crate) struct Decider<A: Aggregate> {
    settings: DeciderSettings,
    live: StateCache<Live<A>>,
    /// The time of the last decision as text: commands of one batch usually share it.
    time_text: (Timestamp, String),
    aggregate: PhantomData<fn() -> A>,
}

/// The keys of one command, in the forms that are needed.
struct Keys {
    state: Bytes,
    outcome: Bytes,
    record: Bytes,
    outcome_record: Bytes,
    subject: String,
}

impl Keys {
    fn of<A: Aggregate>(incoming: &Incoming<A>) -> Result<Self, SendError> {
        let invalid = |e: headwater_core::key::KeyError| SendError::Invalid(e.to_string());
        let record = text(&incoming.id).map_err(invalid)?;
        Ok(Self {
            state: ordered(&incoming.id).map_err(invalid)?,
            outcome: ordered(&(&incoming.id, &incoming.command_id)).map_err(invalid)?,
            outcome_record: text(&(&incoming.id, &incoming.command_id)).map_err(invalid)?,
            subject: String::from_utf8_lossy(&record).into_owned(),
            record,
        })
    }
}

/// What a successful decision leads to.
struct Effects<A> {
    records: Vec<Record>,
    live: Live<A>,
}

impl<A: Aggregate> Decider<A> {
    pub(crate) fn new(settings: DeciderSettings) -> Self {
        let live = StateCache::new(settings.cached_states);
        Self {
            settings,
            live,
            time_text: (Timestamp::default(), rfc3339(Timestamp::default())),
            aggregate: PhantomData,
        }
    }

    /// Forgets what was decided but not committed: states are read from what is committed again.
    pub(crate) fn forget_undecided(&mut self) {
        self.live.clear();
    }

    /// Decides one command, adding its effects to the batch.
    ///
    /// # Errors
    ///
    /// [`ProcessError`] if the shard's own state cannot be read: nothing was added, and the shard must stop.
    pub(crate) fn decide(
        &mut self,
        incoming: &mut Incoming<A>,
        now: Timestamp,
        batch: &mut Decided,
        base: &Base<'_>,
    ) -> Result<Verdict<A>, ProcessError> {
        let keys = match Keys::of(incoming) {
            Ok(keys) => keys,
            Err(refusal) => return Ok(Verdict::Refused(refusal)),
        };
        let digest = hex(digest([&incoming.payload[..]]));
        if let Some(row) = self.kept_outcome(&keys, now, batch, base)? {
            return Ok(repeated(row, &digest, &incoming.command_id));
        }
        let verdict = self.first_verdict(incoming, &keys, now, batch, base)?;
        self.keep(incoming, &keys, digest, now, verdict, batch)
    }

    /// Whether a command may have an outcome among those that are not loaded yet: it cannot be decided before they are.
    ///
    /// `may_be_left` is asked by the key of the outcome's record.
    ///
    /// # Errors
    ///
    /// As [`decide`](Self::decide).
    pub(crate) fn awaits_outcomes(
        &self,
        incoming: &Incoming<A>,
        may_be_left: impl FnOnce(&[u8]) -> bool,
        batch: &mut Decided,
        base: &Base<'_>,
    ) -> Result<bool, ProcessError> {
        // Keys that cannot be made are refused by deciding.
        let Ok(keys) = Keys::of(incoming) else { return Ok(false) };
        Ok(may_be_left(&keys.outcome_record)
            && base.over(&mut batch.delta).get(OUTCOMES, &keys.outcome)?.is_none())
    }

    fn kept_outcome(
        &self,
        keys: &Keys,
        now: Timestamp,
        batch: &mut Decided,
        base: &Base<'_>,
    ) -> Result<Option<OutcomeRow>, ProcessError> {
        let Some(bytes) = base.over(&mut batch.delta).get(OUTCOMES, &keys.outcome)? else { return Ok(None) };
        let row = OutcomeRow::decode(&bytes).map_err(|e| {
            ProcessError::Record(format!("a kept outcome of \"{}\" cannot be read: {e}", keys.subject))
        })?;
        let fresh = now.ms_since(row.at) <= self.settings.outcomes_kept_ms;
        Ok(fresh.then_some(row))
    }

    /// Decides a command that has no outcome yet.
    fn first_verdict(
        &mut self,
        incoming: &mut Incoming<A>,
        keys: &Keys,
        now: Timestamp,
        batch: &mut Decided,
        base: &Base<'_>,
    ) -> Result<Ruling<A>, ProcessError> {
        if incoming.appended.is_some_and(|at| now.ms_since(at) > self.settings.outcomes_kept_ms) {
            return Ok(Ruling::Expired);
        }
        if self.time_text.0 != now {
            self.time_text = (now, rfc3339(now));
        }
        let live = self.live(&keys.state, batch, base)?;
        if let Some(expected) = incoming.expected.filter(|expected| *expected != live.version) {
            return Ok(Ruling::VersionConflict { expected, actual: live.version });
        }
        let command = match take_command(incoming) {
            Ok(command) => command,
            Err(reason) => return Ok(Ruling::Failed(SendError::Invalid(reason))),
        };
        let context = Context::new(&keys.state, incoming.command_id.clone(), now);
        let decided = contained::<A, _>(|| live.state.decide(command, &context));
        match decided {
            Err(panicked) => Ok(Ruling::Failed(panicked)),
            Ok(Err(rejection)) => Ok(Ruling::Rejected(rejection)),
            Ok(Ok(events)) => Ok(match self.effects(incoming, keys, now, &live, &events) {
                Ok(effects) => Ruling::Accepted { from: live.version, effects },
                Err(refusal) => Ruling::Failed(refusal),
            }),
        }
    }

    /// Evolves a copy of the state and writes the events' records.
    fn effects(
        &self,
        incoming: &Incoming<A>,
        keys: &Keys,
        now: Timestamp,
        live: &Live<A>,
        events: &[A::Event],
    ) -> Result<Effects<A>, SendError> {
        if events.is_empty() {
            return Ok(Effects { records: Vec::new(), live: live.clone() });
        }
        let state = contained::<A, _>(|| {
            let mut copy = A::clone(&live.state);
            events.iter().for_each(|event| copy.evolve(event));
            copy
        })?;
        let records = self.records(incoming, keys, now, live.version, events)?;
        let version = Version(live.version.0 + events.len() as u64);
        Ok(Effects { records, live: Live { version, snapshot: live.snapshot, state: Arc::new(state) } })
    }

    fn records(
        &self,
        incoming: &Incoming<A>,
        keys: &Keys,
        now: Timestamp,
        from: Version,
        events: &[A::Event],
    ) -> Result<Vec<Record>, SendError> {
        let envelope = Envelope {
            source: &self.settings.source,
            aggregate: A::NAME,
            subject: &keys.subject,
            time: now,
            time_text: &self.time_text.1,
            data_version: A::EVENT_VERSION,
            command_id: &incoming.command_id,
            origin: &incoming.origin,
            count: events.len(),
        };
        let record = |(index, event): (usize, &A::Event)| {
            let version = Version(from.0 + index as u64 + 1);
            envelope.record(event, keys.record.clone(), index, version)
        };
        let records: Result<Vec<_>, _> = events.iter().enumerate().map(record).collect();
        let records = records.map_err(|e| SendError::Invalid(e.to_string()))?;
        let bytes: usize = records.iter().map(Record::size).sum();
        if bytes > self.settings.command_bytes_max {
            return Err(SendError::Invalid(format!(
                "its events have {bytes} bytes; a command may lead to {} at most",
                self.settings.command_bytes_max
            )));
        }
        Ok(records)
    }

    /// Adds a ruling's effects and its outcome to the batch.
    fn keep(
        &mut self,
        incoming: &Incoming<A>,
        keys: &Keys,
        digest: String,
        now: Timestamp,
        ruling: Ruling<A>,
        batch: &mut Decided,
    ) -> Result<Verdict<A>, ProcessError> {
        let kept = match ruling.kept(incoming.appended.is_some()) {
            Ok(Some(kept)) => kept,
            Ok(None) => return Ok(ruling.verdict()),
            Err(refusal) => return Ok(Verdict::Refused(refusal)),
        };
        let row = OutcomeRow { digest, at: now, kept, origin: incoming.origin.clone() };
        let encoded = row.encode().map_err(|e| e.to_string());
        let staged = encoded.and_then(|outcome| self.staged_state(&ruling).map(|state| (outcome, state)));
        let (outcome, state) = match staged {
            Ok(staged) => staged,
            Err(reason) => return Ok(Verdict::Refused(SendError::Invalid(reason))),
        };
        if let Ruling::Accepted { effects, .. } = &ruling {
            self.add_effects(effects, keys, state, batch);
        }
        let record = Record::new(keys.outcome_record.clone(), outcome.clone(), now);
        batch.appends.push(Append { to: self.settings.outcomes.clone(), record });
        batch.delta.put(OUTCOMES, keys.outcome.clone(), Some(outcome));
        Ok(ruling.verdict())
    }

    /// The row that a ruling leads to, where it changes the state.
    fn staged_state(&self, ruling: &Ruling<A>) -> Result<Option<Bytes>, String> {
        match ruling {
            Ruling::Accepted { effects, .. } if !effects.records.is_empty() => {
                encode_row(&effects.live).map(Some).map_err(|e| format!("its state cannot be encoded: {e}"))
            }
            _ => Ok(None),
        }
    }

    fn add_effects(&mut self, effects: &Effects<A>, keys: &Keys, state: Option<Bytes>, batch: &mut Decided) {
        let Some(row) = state else { return };
        batch.delta.put(STATES, keys.state.clone(), Some(row));
        let append = |record: &Record| Append { to: self.settings.events.clone(), record: record.clone() };
        batch.appends.extend(effects.records.iter().map(append));
        self.live.put(keys.state.clone(), effects.live.clone());
    }

    fn live(&mut self, key: &Bytes, batch: &mut Decided, base: &Base<'_>) -> Result<Live<A>, ProcessError> {
        if crate::planted::blind_batch() {
            let committed = base.committed.get(STATES, key)?;
            return committed.map_or_else(|| Ok(Live::default()), |row| decode_row::<A>(&row));
        }
        if let Some(live) = self.live.get(key) {
            return Ok(live.clone());
        }
        let live = match base.over(&mut batch.delta).get(STATES, key)? {
            Some(row) => decode_row::<A>(&row)?,
            None => Live::default(),
        };
        self.live.put(key.clone(), live.clone());
        Ok(live)
    }

    /// Adds snapshots of the aggregates whose events are in this piece of the tail, where they have none that
    /// includes those events.
    pub(crate) fn snapshot(
        &mut self,
        tail: &[StoredRecord],
        now: Timestamp,
        batch: &mut Decided,
        base: &Base<'_>,
    ) -> Result<(), ProcessError> {
        let Some(from) = tail.first().map(|stored| stored.offset) else { return Ok(()) };
        let headers = Headers::builder().push(SNAPSHOT_TAIL, from.to_string()).build();
        for stored in tail {
            let Some((id, key)) = aggregate_of::<A>(&stored.record)? else { continue };
            let live = self.live(&key, batch, base)?;
            let version = header_number(&stored.record.headers, name::SEQUENCE).unwrap_or(0);
            if live.snapshot.0 >= version {
                continue;
            }
            let live = Live { snapshot: live.version, ..live };
            let row = encode_row(&live).map_err(|e| ProcessError::Record(e.to_string()))?;
            let record = Record { headers: headers.clone(), ..Record::new(id, row.clone(), now) };
            batch.appends.push(Append { to: self.settings.snapshots.clone(), record });
            batch.delta.put(STATES, key.clone(), Some(row));
            self.live.put(key, live);
        }
        Ok(())
    }

    /// Removes an outcome that has been kept long enough, unless the batch has just decided it anew.
    pub(crate) fn expire(&self, key: &Bytes, row: &[u8], now: Timestamp, batch: &mut Decided) {
        let Some(at) = outcome_time(row) else { return };
        let is_old = now.ms_since(at) > self.settings.outcomes_kept_ms;
        if is_old && batch.delta.get(OUTCOMES, key).is_none() {
            batch.delta.put(OUTCOMES, key.clone(), None);
        }
    }

    /// Folds an event of the tail into the state: what a restart does with events that its store has not.
    pub(crate) fn replay(
        &mut self,
        stored: &StoredRecord,
        batch: &mut Decided,
        base: &Base<'_>,
    ) -> Result<(), ProcessError> {
        let Some((_, key)) = aggregate_of::<A>(&stored.record)? else { return Ok(()) };
        let live = self.live(&key, batch, base)?;
        let version = Version(header_number(&stored.record.headers, name::SEQUENCE).unwrap_or(0));
        if version <= live.version {
            return Ok(());
        }
        if version.0 != live.version.0 + 1 {
            return Err(ProcessError::Record(format!(
                "aggregate \"{}\" has version {} and the next event has version {version}: events are missing",
                String::from_utf8_lossy(&key),
                live.version
            )));
        }
        let event = read::<A>(&stored.record).map_err(|e| ProcessError::Record(e.to_string()))?;
        let state = contained::<A, _>(|| {
            let mut copy = A::clone(&live.state);
            copy.evolve(&event);
            copy
        });
        let state = Arc::new(state.map_err(|e| ProcessError::Record(e.to_string()))?);
        let live = Live { version, snapshot: live.snapshot, state };
        let row = encode_row(&live).map_err(|e| ProcessError::Record(e.to_string()))?;
        batch.delta.put(STATES, key.clone(), Some(row));
        self.live.put(key, live);
        Ok(())
    }

    /// Takes an outcome of the tail into the state.
    pub(crate) fn replay_outcome(stored: &StoredRecord, batch: &mut Decided) -> Result<(), ProcessError> {
        let (Some(key), Some(value)) = (&stored.record.key, &stored.record.value) else { return Ok(()) };
        batch.delta.put(OUTCOMES, outcome_key::<A>(key)?, Some(value.clone()));
        Ok(())
    }

    /// Takes an outcome into a state that may have a later one of the same command; one that is too old is left out.
    pub(crate) fn load_outcome(
        &self,
        stored: &StoredRecord,
        now: Timestamp,
        batch: &mut Decided,
        base: &Base<'_>,
    ) -> Result<(), ProcessError> {
        let (Some(key), Some(value)) = (&stored.record.key, &stored.record.value) else { return Ok(()) };
        let Some(at) = outcome_time(value) else { return Ok(()) };
        if now.ms_since(at) > self.settings.outcomes_kept_ms {
            return Ok(());
        }
        let key = outcome_key::<A>(key)?;
        let known = base.over(&mut batch.delta).get(OUTCOMES, &key)?;
        if known.as_deref().and_then(outcome_time).is_none_or(|known| known <= at) {
            batch.delta.put(OUTCOMES, key, Some(value.clone()));
        }
        Ok(())
    }

    /// Takes a snapshot into the state, unless it has another version's shape.
    ///
    /// Answers from where its writer's snapshots needed a tail: everybody changed before has one in the records before.
    pub(crate) fn restore_snapshot(
        stored: &StoredRecord,
        batch: &mut Decided,
    ) -> Result<Option<Offset>, ProcessError> {
        #[derive(Deserialize)]
        struct Shape {
            shape: u32,
        }
        let (Some(key), Some(row)) = (&stored.record.key, &stored.record.value) else { return Ok(None) };
        let shape: Shape = serde_json::from_slice(row).map_err(|e| ProcessError::Record(e.to_string()))?;
        if shape.shape != A::STATE_VERSION {
            return Ok(None);
        }
        let id: A::Id = decode_text(key).map_err(|e| ProcessError::Record(e.to_string()))?;
        let key = ordered(&id).map_err(|e| ProcessError::Record(e.to_string()))?;
        batch.delta.put(STATES, key, Some(row.clone()));
        let tail = stored.record.headers.get_str(SNAPSHOT_TAIL).and_then(|tail| tail.parse().ok());
        Ok(tail.map(Offset))
    }
}

/// What the batch being decided stands on.
pub(crate) struct Base<'a> {
    pub in_flight: Option<&'a Delta>,
    pub committed: &'a dyn super::state::StateRead,
}

impl<'a> Base<'a> {
    fn over<'b>(&'b self, delta: &'b mut Delta) -> Layered<'b> {
        Layered { delta, in_flight: self.in_flight, committed: self.committed }
    }
}

/// How a command without an outcome was ruled.
enum Ruling<A: Aggregate> {
    Accepted { from: Version, effects: Effects<A> },
    Rejected(A::Rejection),
    VersionConflict { expected: Version, actual: Version },
    Failed(SendError),
    Expired,
}

impl<A: Aggregate> Ruling<A> {
    /// What is kept of it; nothing of a direct command that failed, so that it can be sent again.
    fn kept(&self, from_topic: bool) -> Result<Option<Kept>, SendError> {
        Ok(Some(match self {
            Self::Accepted { from, effects } => Kept::Accepted { from: *from, to: effects.live.version },
            Self::Rejected(rejection) => Kept::Rejected {
                rejection: rejection_text(rejection)
                    .map_err(|e| SendError::Invalid(format!("its rejection cannot be encoded: {e}")))?,
            },
            Self::VersionConflict { expected, actual } => {
                Kept::VersionConflict { expected: *expected, actual: *actual }
            }
            Self::Failed(reason) if from_topic => Kept::Failed { reason: reason.to_string() },
            Self::Failed(_) => return Ok(None),
            Self::Expired => Kept::Expired,
        }))
    }

    fn verdict(self) -> Verdict<A> {
        match self {
            Self::Accepted { effects, .. } => Verdict::Accepted(effects.live.version),
            Self::Rejected(rejection) => Verdict::Rejected(rejection),
            Self::VersionConflict { expected, actual } => {
                Verdict::Refused(SendError::VersionConflict { expected, actual })
            }
            Self::Failed(refusal) => Verdict::Refused(refusal),
            Self::Expired => Verdict::Refused(SendError::Expired),
        }
    }
}

fn repeated<A: Aggregate>(row: OutcomeRow, digest: &str, command_id: &CommandId) -> Verdict<A> {
    if row.digest == digest {
        row.kept.verdict(command_id)
    } else {
        Verdict::Refused(SendError::IdConflict { command_id: command_id.clone() })
    }
}

fn take_command<A: Aggregate>(incoming: &mut Incoming<A>) -> Result<A::Command, String> {
    match incoming.command.take() {
        Some(command) => Ok(command),
        None => {
            serde_json::from_slice(&incoming.payload).map_err(|e| format!("its payload cannot be read: {e}"))
        }
    }
}

/// Runs the user's code; a panic is the command's, not the shard's.
fn contained<A: Aggregate, T>(run: impl FnOnce() -> T) -> Result<T, SendError> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let message = panic_message(&*panic);
        tracing::error!(aggregate = A::NAME, %message, "the code of an aggregate panicked");
        SendError::Panicked { aggregate: A::NAME.to_owned(), message }
    })
}

pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// The key of an outcome's row, from that of its record.
fn outcome_key<A: Aggregate>(key: &[u8]) -> Result<Bytes, ProcessError> {
    let key: (A::Id, CommandId) = decode_text(key).map_err(|e| ProcessError::Record(e.to_string()))?;
    ordered(&key).map_err(|e| ProcessError::Record(e.to_string()))
}

/// When a command was decided, as its outcome's row says.
fn outcome_time(row: &[u8]) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Age {
        at: Timestamp,
    }
    serde_json::from_slice::<Age>(row).ok().map(|age| age.at)
}

/// The id of the aggregate that an event is of, as text and as the key of its row; `None` for a foreign record.
fn aggregate_of<A: Aggregate>(record: &Record) -> Result<Option<(Bytes, Bytes)>, ProcessError> {
    if !is_ours(record) {
        return Ok(None);
    }
    let Some(key) = &record.key else { return Ok(None) };
    let id: A::Id = decode_text(key).map_err(|e| ProcessError::Record(e.to_string()))?;
    let ordered = ordered(&id).map_err(|e| ProcessError::Record(e.to_string()))?;
    Ok(Some((key.clone(), ordered)))
}

fn encode_row<A: Aggregate>(live: &Live<A>) -> Result<Bytes, serde_json::Error> {
    let row = StateRow {
        version: live.version,
        snapshot: live.snapshot,
        shape: A::STATE_VERSION,
        state: &*live.state,
    };
    serde_json::to_vec(&row).map(Bytes::from)
}

fn decode_row<A: Aggregate>(row: &[u8]) -> Result<Live<A>, ProcessError> {
    let row: StateRow<A> = serde_json::from_slice(row).map_err(|e| {
        ProcessError::Record(format!(
            "a state of aggregate \"{}\" cannot be read: {e}; raise its STATE_VERSION if its shape has changed",
            A::NAME
        ))
    })?;
    Ok(Live { version: row.version, snapshot: row.snapshot, state: Arc::new(row.state) })
}

/// A state as a reader gets it: its version and itself.
pub(crate) fn read_state<A: Aggregate>(row: &[u8]) -> Result<(Version, A), ProcessError> {
    let row: StateRow<A> = serde_json::from_slice(row).map_err(|e| {
        ProcessError::Record(format!("a state of aggregate \"{}\" cannot be read: {e}", A::NAME))
    })?;
    Ok((row.version, row.state))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
