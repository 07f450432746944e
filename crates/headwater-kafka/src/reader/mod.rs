//! Reading records: committed ones only, from any offset, bounded, and waiting where asked.
//!
//! ```text
//! read ──lease──▶ cursor ◀──chunk── scan   a fetch for one cursor, answered at once, one ahead of its reader
//!   └──decode──────┘  ▲
//!                     └────chunk── tail    a fetch for all cursors at their partitions' ends, which waits
//! ```
//!
//! Callers name an offset each time and keep nothing, but nearly always go on where they were. So what lies ahead is
//! fetched before they ask, held by **cursors** (`partition.rs`), found again by the offset at which they continue, and
//! decoded when it is taken. At the end of a partition all its cursors wait for one request (`tail.rs`), so that a new
//! record comes to each of them without a round trip. `wire.rs` speaks to the brokers.
//!
//! Rules that hold throughout:
//! - only what is decided is asked for (read-committed), and aborted records are left out by what the answer says;
//! - no offset is ever reset: one outside the log is answered as such;
//! - a topic is asked for by its id, so that another of its name is never taken for it: whoever was reading is told;
//! - a read's future holds nothing that its caller's next read would miss.

mod chunk;
mod cursor;
mod decode;
mod partition;
mod scan;
mod tail;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use headwater_core::log::{LogError, LogErrorKind, ReadBatch, ReadLimit, Wait};
use headwater_core::record::StoredRecord;
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::outage::Outage;
use chunk::Budget;
use cursor::Lease;
use partition::{Partition, Tailing};
use tail::Tail;
use wire::{Wire, to_offset};

/// What all cursors together may hold ahead of their readers, but for what keeps each of them going.
const BUDGET_BYTES: usize = 32 << 20;

/// How long a read that does not wait still waits where records are written but not decided.
///
/// The end covers them, and whoever waits for the end comes back until it is reached.
const UNDECIDED: Duration = Duration::from_secs(1);

/// How long what another read met is still news to this one.
const FRESH: Duration = Duration::from_secs(1);

/// How often what nobody reads is looked for.
const SWEEP: Duration = Duration::from_secs(10);

/// Reads partitions of the cluster.
pub(crate) struct Reader {
    shared: Arc<Shared>,
}

/// What reads and the tasks behind them share.
struct Shared {
    wire: Wire,
    budget: Arc<Budget>,
    partitions: Mutex<Partitions>,
    tails: Mutex<HashMap<i32, Arc<Tail>>>,
    /// The tasks of the tails, which end with the reader.
    tasks: Mutex<JoinSet<()>>,
    outage: Outage,
}

#[derive(Default)]
struct Partitions {
    known: HashMap<TopicPartition, Arc<Partition>>,
    swept: Option<Instant>,
}

/// What a read that found nothing does next.
enum Step {
    /// Ask for more.
    Fetch,
    /// Wait for what is asked for already.
    Pending,
    /// Wait for the partition's end to move.
    Watch,
    /// Wait for what is written to be decided, for a while.
    Settle,
    /// Answer that there is nothing.
    Answer,
}

impl Reader {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self {
            shared: Arc::new(Shared {
                wire: Wire::new(connection),
                budget: Budget::new(BUDGET_BYTES),
                partitions: Mutex::default(),
                tails: Mutex::default(),
                tasks: Mutex::default(),
                outage: Outage::default(),
            }),
        }
    }

    /// As [`Log::read`](headwater_core::log::Log::read).
    pub(crate) async fn read(
        &self,
        partition: &TopicPartition,
        from: Offset,
        limit: ReadLimit,
        wait: Wait,
    ) -> Result<ReadBatch, LogError> {
        let known = self.shared.partition(partition);
        let from = i64::try_from(from.0).unwrap_or(i64::MAX);
        let mut read = Read::new(Arc::clone(&self.shared), known, from, limit, wait);
        let answer = read.answer().await;
        self.shared.outage.note(partition, &answer);
        if matches!(&answer, Err(error) if error.kind() == LogErrorKind::Unavailable) {
            self.shared.wire.connection().doubt();
        }
        answer
    }

    /// The leader epoch in which a partition is read now, if it is: its leader has all that was read.
    pub(crate) fn epoch(&self, partition: &TopicPartition) -> Option<u32> {
        let known = self.shared.partitions.lock().known.get(partition).cloned()?;
        let state = known.lock();
        let place = state.place.filter(|_| state.known)?;
        u32::try_from(place.epoch).ok()
    }

    /// Lets go of a topic that was just deleted: reads that wait for it are told, and nothing of it is answered.
    pub(crate) fn forget(&self, topic: &TopicName) {
        let known: Vec<_> = self.shared.partitions.lock().known.values().cloned().collect();
        for partition in known.iter().filter(|partition| partition.name.topic == *topic) {
            partition.forget();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.tasks.lock().abort_all();
    }
}

impl Shared {
    fn partition(&self, name: &TopicPartition) -> Arc<Partition> {
        let mut partitions = self.partitions.lock();
        if partitions.swept.is_none_or(|swept| swept.elapsed() > SWEEP) {
            partitions.swept = Some(Instant::now());
            partitions.known.retain(|_, partition| partition.sweep() || Arc::strong_count(partition) > 1);
        }
        if let Some(known) = partitions.known.get(name) {
            return Arc::clone(known);
        }
        let partition = Arc::new(Partition::new(name.clone()));
        partitions.known.insert(name.clone(), Arc::clone(&partition));
        partition
    }

    fn tail(self: &Arc<Self>, broker: i32) -> Arc<Tail> {
        let mut tails = self.tails.lock();
        let tail = tails.entry(broker).or_insert_with(|| {
            let tail = Tail::new(broker);
            let mut tasks = self.tasks.lock();
            tasks.spawn(Arc::clone(&tail).run_long(Arc::clone(self)));
            tasks.spawn(Arc::clone(&tail).run_short(Arc::clone(self)));
            tail
        });
        Arc::clone(tail)
    }
}

/// One read.
struct Read {
    shared: Arc<Shared>,
    lease: Lease,
    from: i64,
    limit: ReadLimit,
    wait: Wait,
    /// The first fetch that was asked for after the read began, and so knows all that was committed before.
    first_fetch: u64,
    /// Until when to wait for what is undecided.
    undecided_until: Option<Instant>,
}

impl Read {
    fn new(shared: Arc<Shared>, partition: Arc<Partition>, from: i64, limit: ReadLimit, wait: Wait) -> Self {
        let lease = Lease::new(partition, from);
        let fetches = lease.partition.lock().cursor(lease.id).map_or(0, |cursor| cursor.fetches);
        Self { shared, lease, from, limit, wait, first_fetch: fetches + 1, undecided_until: None }
    }

    async fn answer(&mut self) -> Result<ReadBatch, LogError> {
        let partition = Arc::clone(&self.lease.partition);
        loop {
            let mut changed = pin!(partition.changed.notified());
            changed.as_mut().enable();
            let records = self.lease.take(self.limit)?;
            if self.lease.at > self.from {
                self.fetch_ahead();
                return Ok(self.batch(records));
            }
            match self.step()? {
                Step::Fetch => {
                    let limit = self.limit;
                    scan::start(&self.shared, &partition, self.lease.id, limit.records, limit.bytes);
                }
                Step::Pending => {}
                Step::Watch => self.watch(),
                Step::Settle => {
                    self.watch();
                    let until = *self.undecided_until.get_or_insert_with(|| Instant::now() + UNDECIDED);
                    if tokio::time::timeout_at(until, changed).await.is_err() {
                        return Ok(self.batch(records));
                    }
                    continue;
                }
                Step::Answer => return Ok(self.batch(records)),
            }
            changed.await;
        }
    }

    fn step(&mut self) -> Result<Step, LogError> {
        let partition = Arc::clone(&self.lease.partition);
        let mut state = partition.lock();
        let (known, stable, end) = (state.known, state.stable, state.end);
        let Some(cursor) = state.cursor(self.lease.id) else { return Ok(Step::Answer) };
        if let Some((error, told)) = cursor.fault.take()
            && told.elapsed() < FRESH
        {
            drop(state);
            self.lease.start_over();
            return Err(error);
        }
        Ok(match self.wait {
            // What came meanwhile is looked at first.
            _ if !cursor.queue.is_empty() => Step::Pending,
            _ if cursor.fetching => Step::Pending,
            Wait::UntilMore if known && cursor.reach >= stable => Step::Watch,
            Wait::No if cursor.answered >= self.first_fetch && known && end <= self.from => Step::Answer,
            Wait::No if cursor.answered >= self.first_fetch && known && cursor.reach >= stable => {
                Step::Settle
            }
            _ => Step::Fetch,
        })
    }

    /// Has the partition's end watched for this read.
    fn watch(&self) {
        let partition = &self.lease.partition;
        let mut state = partition.lock();
        let Some(broker) = state.place.map(|place| place.broker) else { return };
        let Some(cursor) = state.cursor(self.lease.id) else { return };
        cursor.waiting = true;
        let reach = cursor.reach;
        let watched = state.tail.filter(|tail| tail.broker == broker);
        let covered = watched.is_some_and(|tail| tail.asked.is_none_or(|asked| asked <= reach));
        if watched.is_none() {
            state.tail = Some(Tailing { broker, position: reach, asked: None });
        }
        drop(state);
        if !covered {
            self.shared.tail(broker).join(partition);
        }
    }

    /// Has the next chunk fetched for a reader that goes on, while it works on this one.
    fn fetch_ahead(&self) {
        let partition = &self.lease.partition;
        let mut state = partition.lock();
        let (known, stable) = (state.known, state.stable);
        let Some(cursor) = state.cursor(self.lease.id) else { return };
        cursor.reads += 1;
        let wanted = cursor.reads > 1 && cursor.queue.is_empty() && known && cursor.reach < stable;
        drop(state);
        if wanted && self.shared.budget.left() > 0 {
            scan::start(&self.shared, partition, self.lease.id, usize::MAX, usize::MAX);
        }
    }

    fn batch(&self, records: Vec<StoredRecord>) -> ReadBatch {
        let end = self.lease.partition.lock().end.max(self.lease.at);
        ReadBatch { records, next: to_offset(self.lease.at), end: to_offset(end) }
    }
}
