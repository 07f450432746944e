//! Fetching for one cursor: asked at once, answered at once, tried again in bounded time.
//!
//! A fetch is a task of its own that brings its answer, or why there is none, to the cursor. It finds out where the
//! partition is served, and finds out anew when a broker says that it is not the one; what cannot be had is tried again
//! until the connection's patience is over, and then told as unavailable.

use std::sync::Arc;
use std::time::Duration;

use headwater_core::log::{LogError, LogErrorKind};
use headwater_core::topic::TopicPartition;
use tokio::time::Instant;

use super::Shared;
use super::chunk::Chunk;
use super::partition::{Cursor, Partition};
use super::wire::{Answer, Ask, Batches, Lane, Lookup, Place, Unreachable};

/// The largest answer asked for, beyond which only a single larger batch goes.
const BYTES_MAX: usize = 1 << 20;
/// The smallest answer asked for.
const BYTES_MIN: usize = 32 << 10;
/// What a record is taken to have, where a reader limits records and not bytes.
const RECORD_BYTES: usize = 1 << 10;

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// How often a broker must say that there is nothing where something should be, before that is believed.
const BLANKS: u32 = 2;

/// How often it is asked again about a partition that is said not to be there: brokers hear of a new topic one by one.
const UNKNOWN: u32 = 2;

/// Starts a fetch for a cursor, unless one is under way.
///
/// `records` and `bytes` bound what its reader wants: a reader that looks at one place gets little, one that goes on
/// gets what the budget allows.
pub(super) fn start(shared: &Arc<Shared>, partition: &Arc<Partition>, id: u64, records: usize, bytes: usize) {
    let mut state = partition.lock();
    let Some(cursor) = state.cursor(id).filter(|cursor| !cursor.fetching) else { return };
    cursor.fetching = true;
    cursor.fetches += 1;
    let wanted = match cursor.reads {
        0 => bytes.min(records.saturating_mul(RECORD_BYTES)),
        _ => BYTES_MAX,
    };
    let scan = Scan {
        shared: Arc::clone(shared),
        partition: Arc::clone(partition),
        cursor: id,
        lives: cursor.lives,
        number: cursor.fetches,
        from: cursor.reach,
        epoch: cursor.epoch,
        bytes_max: wanted.min(shared.budget.left() / 4).clamp(BYTES_MIN, BYTES_MAX),
    };
    drop(state);
    tokio::spawn(scan.run());
}

/// One fetch.
struct Scan {
    shared: Arc<Shared>,
    partition: Arc<Partition>,
    cursor: u64,
    /// Which life of the cursor the fetch is for.
    lives: u64,
    /// Which of the cursor's fetches this is.
    number: u64,
    from: i64,
    epoch: i32,
    bytes_max: usize,
}

/// Why a fetch brought nothing.
enum Failure {
    /// Trying again may help, after a look at the metadata.
    Again(LogError),
    /// It will not.
    Fault(LogError),
    /// The broker that was asked knows no such partition, of which it may not have heard yet.
    Unknown,
}

impl Scan {
    async fn run(self) {
        let outcome = self.fetch_patiently().await;
        if let Some(cursor) = self.partition.lock().cursor(self.cursor) {
            cursor.fetching = false;
            self.settle(cursor, outcome);
        }
        self.partition.changed.notify_waiters();
    }

    /// Tells the cursor how the fetch ended, unless the cursor let go meanwhile of what the fetch was about.
    fn settle(&self, cursor: &mut Cursor, outcome: Result<(), LogError>) {
        let current = cursor.lives == self.lives;
        if current {
            cursor.answered = self.number;
        }
        if let Err(error) = outcome
            && (current || error.kind() == LogErrorKind::UnknownTopic)
        {
            cursor.fault = Some((error, Instant::now()));
        }
    }

    async fn fetch_patiently(&self) -> Result<(), LogError> {
        let deadline = Instant::now() + self.shared.wire.patience();
        let (mut pause, mut anew, mut unknown) = (PAUSE_MIN, false, 0);
        loop {
            let fetched = tokio::time::timeout_at(deadline, self.fetch(anew)).await;
            match fetched.unwrap_or_else(|_| Err(self.again("no answer comes"))) {
                Ok(()) => return Ok(()),
                Err(Failure::Fault(error)) => return Err(error),
                Err(Failure::Again(error)) if Instant::now() + pause > deadline => return Err(error),
                Err(Failure::Again(_)) => {}
                Err(Failure::Unknown) if unknown >= UNKNOWN => {
                    self.partition.forget();
                    return Err(unknown_partition(&self.partition.name));
                }
                Err(Failure::Unknown) => unknown += 1,
            }
            tokio::time::sleep(pause).await;
            (pause, anew) = ((pause * 2).min(PAUSE_MAX), true);
        }
    }

    async fn fetch(&self, anew: bool) -> Result<(), Failure> {
        let place = self.place(anew).await?;
        let ask = Ask {
            partition: self.partition.name.clone(),
            place,
            from: self.from,
            last_epoch: self.epoch,
            bytes_max: self.bytes_max as i32,
        };
        let again = |cause: Unreachable| Failure::Again(cause.reading(&self.partition.name));
        let wire = &self.shared.wire;
        let fetched =
            wire.fetch(Lane::Scan, place.broker, &[ask], Duration::ZERO, self.bytes_max as i32).await;
        match fetched.map_err(again)?.pop() {
            Some((_, Answer::Batches(batches))) => self.accept(place, &batches),
            Some((_, Answer::OutOfRange)) => Err(self.out_of_range(place).await),
            Some((_, Answer::Corrupt)) => Err(Failure::Fault(self.corrupt())),
            Some((_, Answer::Denied)) => Err(Failure::Fault(denied(&self.partition.name))),
            Some((_, Answer::Elsewhere(code) | Answer::Failed(code))) => {
                Err(self.again(&format!("{code:?}")))
            }
            // An answer that names no partition is that of a broker that holds this process back (KIP-219).
            None => Err(self.again("the broker's quota for this process is used up")),
        }
    }

    async fn place(&self, anew: bool) -> Result<Place, Failure> {
        match self.shared.wire.place(&self.partition.name, anew).await.map_err(Failure::Again)? {
            Lookup::Found(place) => {
                self.partition.lock().found(place);
                Ok(place)
            }
            Lookup::Unknown => Err(Failure::Unknown),
            Lookup::Denied => Err(Failure::Fault(denied(&self.partition.name))),
            Lookup::Leaderless => Err(self.again("it has no leader")),
        }
    }

    /// Brings an answer to the cursor, if it is still where the fetch was made from.
    fn accept(&self, place: Place, batches: &Batches) -> Result<(), Failure> {
        let chunk = Chunk::of(self.from, batches, &self.shared.budget);
        if chunk.is_none() && Chunk::is_garbage(batches) {
            return Err(Failure::Fault(self.corrupt()));
        }
        let mut state = self.partition.lock();
        if state.place.is_none_or(|now| now.topic_id != place.topic_id) {
            return Ok(());
        }
        state.learn(batches);
        let cursor = state.cursor(self.cursor).filter(|cursor| cursor.lives == self.lives);
        let Some(cursor) = cursor else { return Ok(()) };
        let blank = chunk.is_none() && self.from < batches.stable;
        cursor.blanks = if blank { cursor.blanks + 1 } else { 0 };
        match chunk {
            Some(chunk) => cursor.accept(&Arc::new(chunk), Some(place.topic_id)),
            // All records from here on were compacted away, the last of the log among them.
            None if cursor.blanks >= BLANKS => {
                let hole = Chunk::hole(self.from, batches.stable, &self.shared.budget);
                cursor.accept(&Arc::new(hole), Some(place.topic_id))
            }
            None if blank => return Err(self.again("the broker answers nothing")),
            None => true,
        };
        Ok(())
    }

    async fn out_of_range(&self, place: Place) -> Failure {
        let bounds = match self.shared.wire.bounds(&self.partition.name, place).await {
            Ok(bounds) => bounds,
            Err(cause) => return Failure::Again(cause.reading(&self.partition.name)),
        };
        let message = format!(
            "offset {} of {} lies outside the log, which has {} to {}",
            self.from, self.partition.name, bounds.start, bounds.end
        );
        Failure::Fault(LogError::new(LogErrorKind::OutOfRange(bounds), message))
    }

    fn again(&self, why: &str) -> Failure {
        let message = format!(
            "{} cannot be read now: {why}; check the brokers at {}",
            self.partition.name,
            self.shared.wire.servers()
        );
        Failure::Again(LogError::new(LogErrorKind::Unavailable, message))
    }

    fn corrupt(&self) -> LogError {
        let (from, partition) = (self.from, &self.partition.name);
        let message = format!(
            "what the broker has at offset {from} of {partition} is damaged; restore it from another replica"
        );
        LogError::new(LogErrorKind::Corrupt, message)
    }
}

/// There is no such partition.
fn unknown_partition(partition: &TopicPartition) -> LogError {
    LogError::new(LogErrorKind::UnknownTopic, format!("there is no partition {partition}"))
}

/// This process may not read the partition.
fn denied(partition: &TopicPartition) -> LogError {
    let message =
        format!("this process may not read {partition}: grant it Read on topic {}", partition.topic);
    LogError::new(LogErrorKind::Denied, message)
}
