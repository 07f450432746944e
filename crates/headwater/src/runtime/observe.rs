//! What the runtime tells an operator: metrics, by the names of [`crate::metric_names`].
//!
//! Counters and histograms are recorded where things happen, through handles made once per topology. Gauges are
//! sampled once a second by a task of the app, so that nothing is asked of a store on the way of a record.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_core::clock::Timestamp;
use headwater_core::log::{CommitError, Log, ReadLimit, Transaction, Wait};
use headwater_core::store::{StateChange, TableId};
use headwater_core::topic::{Offset, Partition, TopicName};
use metrics::{Counter, Histogram, counter, gauge, histogram};
use tokio_util::sync::CancellationToken;

use super::cell::{Phase, ShardCell};
use super::peers::question::Reply;
use super::peers::{PeerError, PeerErrorKind};
use super::start::TopologyStatus;
use crate::aggregate::Aggregate;
use crate::command::{Outcome, SendError};
use crate::engine::flow::Drops;
use crate::engine::operators::Task;
use crate::letters::LetterReason;
use crate::metric_names::{
    COMMAND_DURATION, COMMANDS, DECIDED_RECORDS, DROPPED_RECORDS, FORWARD_DURATION, FORWARDED, LETTERS,
    LETTERS_BYTES, LETTERS_DECIDED, LETTERS_PARKED, LOG_BYTES_APPENDED, LOG_COMMIT_DURATION, LOG_FREE,
    LOG_FSYNC_DURATION, LOG_RECORDS_APPENDED, LOG_SIZE, LOG_TRANSACTIONS, OPERATOR_RECORDS, PEER_QUESTIONS,
    RESTORE_LEFT_RECORDS, RESTORE_LEFT_SECONDS, SHARDS_GAINED, SHARDS_REFUSED, SHARDS_STOPPED, STATE_CHANGES,
    STATE_FLUSH_DURATION, STATE_ROWS, STATE_SIZE, STATES_QUARANTINED, STATES_TAKEN, TOPOLOGY_LATENCY,
    TOPOLOGY_RECORDS, USER_CODE_PANICS, VIEW_LAG_RECORDS, VIEW_LAG_SECONDS, VIEW_READS, VIEW_RECORDS,
};
use crate::store::FlushReport;
use crate::topology::Definition;

/// How often gauges are sampled.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// How many samples are taken for each one of the rows, which are asked for shard by shard.
const SAMPLES_PER_COUNT: u64 = 10;

/// Measures a log that tells its size and the bytes of it that are free.
pub(crate) type LogSize = Arc<dyn Fn() -> (u64, u64) + Send + Sync>;

/// Asks a log which of its records it has found damaged: one line for each place.
pub(crate) type LogDamage = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// A store was flushed, or could not be.
pub(crate) fn flushed(report: &FlushReport<'_>) {
    match report.error {
        None => histogram!(STATE_FLUSH_DURATION.name, "store" => report.store.to_owned())
            .record(report.took_ms as f64 / 1_000.0),
        Some(error) => {
            tracing::warn!(store = report.store, %error, "a flush of state failed and will be tried again");
        }
    }
}

/// The log synced.
pub(crate) fn synced(took: Duration) {
    histogram!(LOG_FSYNC_DURATION.name, "log" => "embedded").record(took.as_secs_f64());
}

/// The application's code panicked and was contained.
fn panicked(topology: &str) {
    counter!(USER_CODE_PANICS.name, "topology" => topology.to_owned()).increment(1);
}

/// What is told of a kind of aggregate's commands.
pub(crate) struct CommandMetrics {
    accepted: Counter,
    rejected: Counter,
    unknown: Counter,
    aggregate: &'static str,
    duration: Histogram,
}

impl CommandMetrics {
    pub(crate) fn new(aggregate: &'static str) -> Self {
        let outcome =
            |outcome: &'static str| counter!(COMMANDS.name, "aggregate" => aggregate, "outcome" => outcome);
        Self {
            accepted: outcome("accepted"),
            rejected: outcome("rejected"),
            unknown: outcome("unknown"),
            aggregate,
            duration: histogram!(COMMAND_DURATION.name, "aggregate" => aggregate),
        }
    }

    pub(crate) fn answered<A: Aggregate>(&self, since: Instant, answer: &Result<Outcome<A>, SendError>) {
        self.duration.record(since.elapsed().as_secs_f64());
        match answer {
            Ok(Outcome::Accepted(_)) => self.accepted.increment(1),
            Ok(Outcome::Rejected(_)) => self.rejected.increment(1),
            Ok(Outcome::Unknown(_)) => self.unknown.increment(1),
            Err(refusal) => {
                if matches!(refusal, SendError::Panicked { .. }) {
                    panicked(self.aggregate);
                }
                counter!(
                    COMMANDS.name, "aggregate" => self.aggregate, "outcome" => refusal_name(refusal)
                )
                .increment(1);
            }
        }
    }
}

fn refusal_name(refusal: &SendError) -> &'static str {
    match refusal {
        SendError::IdConflict { .. } => "id_conflict",
        SendError::VersionConflict { .. } => "version_conflict",
        SendError::Overloaded { .. } => "overloaded",
        SendError::Panicked { .. } => "panicked",
        SendError::Invalid(_) => "invalid",
        SendError::Expired => "expired",
        SendError::Unavailable(_) => "unavailable",
        SendError::Full(_) => "full",
        SendError::Moving { .. } => "moving",
        SendError::NotRunning { .. } => "not_running",
    }
}

/// What is told of transactions.
#[derive(Clone)]
pub(crate) struct LogMetrics {
    records: Counter,
    bytes: Counter,
    written: Counter,
    not_written: Counter,
    fenced: Counter,
    unknown: Counter,
    duration: Histogram,
}

impl LogMetrics {
    pub(crate) fn new(log: &'static str) -> Self {
        let outcome =
            |outcome: &'static str| counter!(LOG_TRANSACTIONS.name, "log" => log, "outcome" => outcome);
        Self {
            records: counter!(LOG_RECORDS_APPENDED.name, "log" => log),
            bytes: counter!(LOG_BYTES_APPENDED.name, "log" => log),
            written: outcome("written"),
            not_written: outcome("not_written"),
            fenced: outcome("fenced"),
            unknown: outcome("unknown"),
            duration: histogram!(LOG_COMMIT_DURATION.name, "log" => log),
        }
    }

    /// Records were appended outside any transaction.
    pub(crate) fn appended(&self, records: u64, bytes: usize) {
        self.records.increment(records);
        self.bytes.increment(bytes as u64);
    }

    /// A transaction is handed to the log; call the answer when it has answered.
    pub(crate) fn committing(
        &self,
        transaction: &Transaction,
    ) -> impl FnOnce(&Result<Vec<Offset>, CommitError>) + Send + use<> {
        let records = transaction.appends.len() as u64;
        let bytes: usize = transaction.appends.iter().map(|append| append.record.size()).sum();
        let (since, metrics) = (Instant::now(), self.clone());
        move |answer| {
            metrics.duration.record(since.elapsed().as_secs_f64());
            match answer {
                Ok(_) => {
                    metrics.records.increment(records);
                    metrics.bytes.increment(bytes as u64);
                    metrics.written.increment(1);
                }
                Err(CommitError::NotWritten { .. } | CommitError::Abandoned(_)) => {
                    metrics.not_written.increment(1)
                }
                Err(CommitError::Fenced) => metrics.fenced.increment(1),
                Err(CommitError::Unknown(_)) => metrics.unknown.increment(1),
            }
        }
    }
}

/// Records that a view has folded.
pub(crate) fn view_records(view: &str) -> Counter {
    counter!(VIEW_RECORDS.name, "view" => view.to_owned())
}

/// Records that operators of a topology went on without.
pub(crate) fn dropped(topology: &str, drops: Drops) {
    for ((operator, reason), count) in drops {
        let labels = [
            ("topology", topology.to_owned()),
            ("operator", operator.to_string()),
            ("reason", reason.name().to_owned()),
        ];
        counter!(DROPPED_RECORDS.name, &labels).increment(count);
    }
}

/// Records that an emitter set aside, and what became of those that were decided about.
pub(crate) fn parked(topology: &str, reasons: &[LetterReason], outcomes: &[&'static str]) {
    let topology = || topology.to_owned();
    for reason in reasons {
        counter!(LETTERS_PARKED.name, "topology" => topology(), "reason" => reason.name()).increment(1);
    }
    for outcome in outcomes {
        counter!(LETTERS_DECIDED.name, "topology" => topology(), "outcome" => *outcome).increment(1);
    }
}

/// What a topology has processed of each of its sources, what came to each of its operators, and what it changed in each
/// of its tables: told once per batch.
pub(crate) struct Throughput {
    records: Vec<Counter>,
    operators: Vec<Counter>,
    changes: Vec<Counter>,
}

impl Throughput {
    /// Of a topology with these sources, and the operators of one of its shards.
    pub(crate) fn new(definition: &Definition, sources: &[TopicName], task: &Task) -> Self {
        let topology = || definition.name.clone();
        let of = |topic: &TopicName| counter!(TOPOLOGY_RECORDS.name, "topology" => topology(), "source" => topic.to_string());
        let at = |operator: &Arc<str>| counter!(OPERATOR_RECORDS.name, "topology" => topology(), "operator" => operator.to_string());
        let to =
            |table: &String| counter!(STATE_CHANGES.name, "topology" => topology(), "table" => table.clone());
        Self {
            records: sources.iter().map(of).collect(),
            operators: task.operators().iter().map(at).collect(),
            changes: definition.tables.iter().map(to).collect(),
        }
    }

    /// So many records of the source of this index were processed.
    pub(crate) fn processed(&self, source: usize, records: usize) {
        self.records[source].increment(records as u64);
    }

    /// So many records came to each operator, by its id.
    pub(crate) fn taken(&self, taken: &[u64]) {
        for (counter, records) in self.operators.iter().zip(taken).filter(|(_, records)| **records > 0) {
            counter.increment(*records);
        }
    }

    pub(crate) fn changed(&self, changes: &[StateChange]) {
        for (table, counter) in self.changes.iter().enumerate() {
            let count = match self.changes.len() {
                1 => changes.len(),
                _ => changes.iter().filter(|change| usize::from(change.table.0) == table).count(),
            };
            if count > 0 {
                counter.increment(count as u64);
            }
        }
    }
}

/// Records that a fold skipped or replaced, as was decided.
pub(crate) fn decided(topology: &str, skipped: u64, replaced: u64) {
    for (decision, count) in [("skip", skipped), ("replace", replaced)].into_iter().filter(|(_, n)| *n > 0) {
        let labels = [("topology", topology.to_owned()), ("decision", decision.to_owned())];
        counter!(DECIDED_RECORDS.name, &labels).increment(count);
    }
}

/// How long records take from their own time to the commit of what was made of them.
pub(crate) fn topology_latency(topology: &str) -> Histogram {
    histogram!(TOPOLOGY_LATENCY.name, "topology" => topology.to_owned())
}

/// A batch was committed whose earliest and latest record are of these times.
pub(crate) fn took(latency: &Histogram, now: Timestamp, times: [Timestamp; 2]) {
    for time in times {
        latency.record(now.ms_since(time).max(0) as f64 / 1_000.0);
    }
}

/// Queries that a view has answered.
pub(crate) fn view_reads(view: &str) -> Counter {
    counter!(VIEW_READS.name, "view" => view.to_owned())
}

/// A shard's state was taken from another instance, or could not be.
pub(crate) fn state_taken(store: &str, taken: bool) {
    let outcome = if taken { "taken" } else { "not_taken" };
    counter!(STATES_TAKEN.name, "store" => store.to_owned(), "outcome" => outcome).increment(1);
}

/// A shard's state was of another log, and is kept aside.
pub(crate) fn quarantined(store: &str) {
    counter!(STATES_QUARANTINED.name, "store" => store.to_owned()).increment(1);
}

/// A question to another instance, from its sending to its answer.
pub(crate) struct Forwarding {
    kind: &'static str,
    since: Instant,
}

impl Forwarding {
    pub(crate) fn begin(kind: &'static str) -> Self {
        Self { kind, since: Instant::now() }
    }

    pub(crate) fn end<T>(self, answer: &Result<Reply<T>, PeerError>) {
        let outcome = match answer {
            Ok(Reply::Done(_)) => "answered",
            Ok(Reply::Moved) => "moved",
            Ok(Reply::Late) => "lost",
            Err(error) if error.kind() == PeerErrorKind::NotSent => "not_sent",
            Err(_) => "lost",
        };
        counter!(FORWARDED.name, "question" => self.kind, "outcome" => outcome).increment(1);
        histogram!(FORWARD_DURATION.name, "question" => self.kind).record(self.since.elapsed().as_secs_f64());
    }
}

/// Another instance asks.
pub(crate) fn peer_question(kind: &'static str) {
    counter!(PEER_QUESTIONS.name, "question" => kind).increment(1);
}

/// A shard came to this instance.
pub(crate) fn shard_gained(group: &str) {
    counter!(SHARDS_GAINED.name, "group" => group.to_owned()).increment(1);
}

/// Samples gauges until `stop`.
pub(crate) async fn sample(
    log: Arc<dyn Log>,
    clock: Arc<dyn headwater_core::clock::Clock>,
    size: Option<LogSize>,
    topologies: Vec<TopologyStatus>,
    stop: CancellationToken,
) {
    let mut every = tokio::time::interval(SAMPLE_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut paces = Paces::default();
    for sampled in 0_u64.. {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        if let Some(size) = &size {
            let (bytes, free) = size();
            gauge!(LOG_SIZE.name, "log" => "embedded").set(bytes as f64);
            gauge!(LOG_FREE.name, "log" => "embedded").set(free as f64);
        }
        for topology in &topologies {
            sample_topology(&*log, &*clock, topology, &mut paces).await;
            if sampled.is_multiple_of(SAMPLES_PER_COUNT) {
                sample_rows(topology).await;
            }
        }
    }
}

async fn sample_topology(
    log: &dyn Log,
    clock: &dyn headwater_core::clock::Clock,
    topology: &TopologyStatus,
    paces: &mut Paces,
) {
    if let Some(store) = &topology.store {
        gauge!(STATE_SIZE.name, "store" => store.name.clone()).set(store.size_bytes() as f64);
    }
    let count =
        |of: fn(&Phase) -> bool| topology.cells.iter().filter(|cell| of(&cell.reported_phase())).count();
    let stopped = count(|phase| matches!(phase, Phase::Stopped { .. }));
    gauge!(SHARDS_STOPPED.name, "topology" => topology.name.clone()).set(stopped as f64);
    let refused = count(|phase| matches!(phase, Phase::Refused { .. }));
    if topology.parks {
        let sum = |of: fn(&ShardCell) -> u64| topology.cells.iter().map(|cell| of(cell)).sum::<u64>() as f64;
        gauge!(LETTERS.name, "topology" => topology.name.clone()).set(sum(ShardCell::letters));
        gauge!(LETTERS_BYTES.name, "topology" => topology.name.clone()).set(sum(ShardCell::letters_bytes));
    }
    gauge!(SHARDS_REFUSED.name, "topology" => topology.name.clone()).set(refused as f64);
    for cell in topology.cells.iter() {
        let phase = cell.phase();
        let lag = lag_records(&phase, cell.committed(), cell.end_seen());
        let labels = [("topology", topology.name.clone()), ("shard", cell.shard.to_string())];
        gauge!(VIEW_LAG_RECORDS.name, &labels).set(lag as f64);
        let seconds = if lag == 0 { 0.0 } else { lag_seconds(log, clock, topology, cell).await };
        gauge!(VIEW_LAG_SECONDS.name, &labels).set(seconds);
        let left = left_to_restore(cell);
        gauge!(RESTORE_LEFT_RECORDS.name, &labels).set(left as f64);
        let seconds = paces.seconds_left(&topology.name, cell.shard, left);
        gauge!(RESTORE_LEFT_SECONDS.name, &labels).set(seconds);
    }
}

/// How many rows a topology's store has in each table: it knows without looking at them.
async fn sample_rows(topology: &TopologyStatus) {
    let Some(store) = &topology.store else { return };
    let mut rows = vec![Some(0_u64); store.tables.len()];
    for cell in topology.cells.iter() {
        for (table, rows) in (0..=u8::MAX).zip(&mut rows) {
            // A store that cannot be read says so where its rows are needed.
            *rows = rows.and_then(|rows| Some(rows + store.count(cell.shard, TableId(table)).ok()?));
        }
        tokio::task::yield_now().await;
    }
    for (table, rows) in store.tables.iter().zip(rows) {
        let Some(rows) = rows else { continue };
        let labels = [("store", store.name.clone()), ("table", table.clone())];
        gauge!(STATE_ROWS.name, &labels).set(rows as f64);
    }
}

/// Records that a shard of this instance has not processed; one that is another's lags there, not here.
fn lag_records(phase: &Phase, committed: Offset, end: Offset) -> u64 {
    match phase {
        Phase::Waiting | Phase::Refused { .. } => 0,
        Phase::Standby { behind } => *behind,
        Phase::Restoring { .. } | Phase::Running | Phase::Stopped { .. } => end.0.saturating_sub(committed.0),
    }
}

/// Records that a shard has still to read before it is ready: it is being built, or is older than the log.
pub(crate) fn left_to_restore(cell: &ShardCell) -> u64 {
    match cell.phase() {
        Phase::Restoring { done, total } => total.saturating_sub(done),
        _ => cell.left(),
    }
}

/// When each shard that restores was first seen to, and what was left then.
#[derive(Default)]
struct Paces(HashMap<(String, Partition), (tokio::time::Instant, u64)>);

impl Paces {
    fn seconds_left(&mut self, topology: &str, shard: Partition, left: u64) -> f64 {
        let shard = (topology.to_owned(), shard);
        if left == 0 {
            self.0.remove(&shard);
            return 0.0;
        }
        let now = tokio::time::Instant::now();
        let (since, begun) = self.0.entry(shard).or_insert((now, left));
        // More is left than there was: it began anew.
        if left > *begun {
            (*since, *begun) = (now, left);
        }
        estimate(now.duration_since(*since), *begun - left, left)
    }
}

/// The seconds that it takes to read what is left if so many records were read in this time; NaN if none were.
fn estimate(took: Duration, read: u64, left: u64) -> f64 {
    if read == 0 { f64::NAN } else { took.as_secs_f64() * left as f64 / read as f64 }
}

/// The age of the oldest record that a shard has not processed, of all its sources.
async fn lag_seconds(
    log: &dyn Log,
    clock: &dyn headwater_core::clock::Clock,
    topology: &TopologyStatus,
    cell: &ShardCell,
) -> f64 {
    let first = ReadLimit { records: 1, bytes: 1 };
    let mut oldest = 0.0_f64;
    for (index, source) in topology.sources.iter().enumerate() {
        let source = source.partition(cell.shard.0);
        let read = log.read(&source, cell.committed_of(index), first, Wait::No).await;
        let Some(stored) = read.ok().and_then(|batch| batch.records.into_iter().next()) else { continue };
        oldest = oldest.max(clock.now().ms_since(stored.record.timestamp) as f64 / 1_000.0);
    }
    oldest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_as_long_as_what_was_read_did() {
        let second = Duration::from_secs(1);
        for (took, read, left, seconds) in [(2 * second, 20, 10, 1.0), (second, 1, 60, 60.0)] {
            assert!((estimate(took, read, left) - seconds).abs() < 1e-9, "{read} in {took:?}, {left} left");
        }
        assert!(estimate(second, 0, 5).is_nan());
    }

    #[test]
    fn gauges_tell_of_the_shards_that_are_here() {
        let restoring = Phase::Restoring { done: 30, total: 100 };
        let stopped = Phase::Stopped { reason: "a poison record".to_owned() };
        let refused = Phase::Refused { reason: "no right to write".to_owned() };
        let told = [
            (Phase::Waiting, 0),
            (refused, 0),
            (Phase::Standby { behind: 5 }, 5),
            (restoring, 60),
            (Phase::Running, 60),
            (stopped, 60),
        ];
        for (phase, lag) in told {
            assert_eq!(lag_records(&phase, Offset(40), Offset(100)), lag, "{phase:?}");
        }
    }
}
