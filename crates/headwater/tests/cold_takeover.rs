//! A command shard that is gained without any state of it: it decides from filters of the ids of old outcomes, and
//! reads few of those, however many are kept.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Command, Order, Shop, shop};
use headwater::Parts;
use headwater::core::clock::SystemClock;
use headwater::core::conformance::log::wrapper::{Answer, LogWrapper, Read};
use headwater::core::log::{Log, ReadBatch};
use headwater::core::topic::{Offset, TopicName, TopicPartition};
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use tokio::sync::{Semaphore, watch};

const PATIENCE: Duration = Duration::from_secs(30);
const OUTCOMES: &str = "shop.order.outcomes";
const SNAPSHOTS: &str = "shop.order.snapshots";
/// Outcomes of one filter; filters are written at every fifth of it.
const PER_FILTER: u64 = 50;
/// Of the outcomes, those so far before the end are read back only where the test lets them.
const OLD: u64 = 3 * PER_FILTER;

/// A log that counts the outcomes which are read, and holds reads of old ones.
struct GatedLog {
    log: Arc<dyn Log>,
    outcomes_read: AtomicUsize,
    old_reads: Semaphore,
    /// From where the last read of old ones was held.
    held: watch::Sender<Offset>,
}

impl GatedLog {
    fn on(log: &Arc<dyn Log>) -> Arc<Self> {
        Arc::new(Self {
            log: log.clone(),
            outcomes_read: AtomicUsize::new(0),
            old_reads: Semaphore::new(0),
            held: watch::Sender::new(Offset::ZERO),
        })
    }

    async fn until_held(&self, from: Range<u64>) {
        let mut held = self.held.subscribe();
        let held = held.wait_for(|held| from.contains(&held.0));
        tokio::time::timeout(PATIENCE, held).await.expect("these outcomes are asked for").unwrap();
    }

    fn let_all_be_read(&self) {
        self.old_reads.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    fn outcomes_read(&self) -> usize {
        self.outcomes_read.load(Ordering::SeqCst)
    }
}

impl LogWrapper for GatedLog {
    fn inner(&self) -> &dyn Log {
        &*self.log
    }

    fn read<'a>(&'a self, read: Read<'a>) -> Answer<'a, ReadBatch> {
        Box::pin(async move {
            if read.at.topic.as_str() != OUTCOMES {
                return read.of(self.inner()).await;
            }
            if read.from.0 + OLD < self.log.bounds(read.at).await?.end.0 {
                self.held.send_replace(read.from);
                self.old_reads.acquire().await.unwrap().forget();
            }
            let read = read.of(self.inner()).await?;
            self.outcomes_read.fetch_add(read.records.len(), Ordering::SeqCst);
            Ok(read)
        })
    }
}

/// An instance of one shard that begins without any state.
#[derive(Clone)]
struct Instance {
    running: Running,
    orders: Aggregates<Order>,
}

impl Instance {
    async fn cold(log: Arc<dyn Log>, outcomes_per_filter: u64) -> Self {
        let Shop { app, orders, .. } = shop(1);
        let app = app.with(|options| {
            options.partitions = 1;
            options.outcomes_at_once = 0;
            options.outcomes_per_filter = outcomes_per_filter;
        });
        let headwater = Headwater::on(log, Arc::new(MemoryStores::new()));
        Self { running: headwater.start_parts(app, Parts::COMMANDS).await.unwrap(), orders }
    }

    /// Places an order under a command id of the same name; answers its version.
    async fn place(&self, order: &str, pence: u64) -> Result<Version, SendError> {
        let send =
            self.running.send(&self.orders, &order.to_owned(), Command::place("alice", "kettle", pence));
        let outcome = send.command_id(CommandId::new(order).unwrap()).await?;
        Ok(outcome.accepted().unwrap().version)
    }

    async fn fill(&self, orders: Range<u64>) {
        for n in orders {
            assert_eq!(self.place(&format!("o{n}"), n).await.unwrap(), Version(1));
        }
    }

    async fn stop(self) {
        assert!(self.running.stop(PATIENCE).await, "it stops in bounded time");
    }
}

fn memory_log() -> Arc<dyn Log> {
    let options = MemoryOptions { seed: 1, clock: Arc::new(SystemClock), ..MemoryOptions::default() };
    Arc::new(MemoryLog::new(options))
}

/// A log with so many outcomes, left by an instance that ended.
async fn filled(log: Arc<dyn Log>, kept: u64, outcomes_per_filter: u64) -> Arc<dyn Log> {
    let first = Instance::cold(log.clone(), outcomes_per_filter).await;
    first.fill(0..kept).await;
    first.stop().await;
    log
}

fn at(topic: &str) -> TopicPartition {
    TopicName::new(topic).unwrap().partition(0)
}

async fn end(log: &Arc<dyn Log>, topic: &str) -> u64 {
    log.bounds(&at(topic)).await.unwrap().end.0
}

/// How many outcomes an instance without state reads before it decides a fresh command, while old ones cannot be read.
async fn read_before_deciding(log: &Arc<dyn Log>) -> usize {
    let gated = GatedLog::on(log);
    let cold = Instance::cold(gated.clone(), PER_FILTER).await;
    let fresh = format!("fresh-{}", end(log, OUTCOMES).await);
    assert_eq!(cold.place(&fresh, 1).await.unwrap(), Version(1));
    let read = gated.outcomes_read();
    cold.stop().await;
    read
}

#[tokio::test]
async fn a_cold_start_reads_few_outcomes_however_many_are_kept() {
    for kept in [300, 3_000] {
        let log = filled(memory_log(), kept, PER_FILTER).await;
        let read = read_before_deciding(&log).await;
        assert!(read <= OLD as usize, "{read} of {kept} outcomes were read before the first command");
    }
}

#[tokio::test]
async fn a_log_without_filters_is_read_as_it_is_and_has_them_from_then_on() {
    const KEPT: u64 = 600;
    let log = filled(memory_log(), KEPT, u64::MAX).await;
    assert_eq!(end(&log, SNAPSHOTS).await, 0, "there is no filter");
    let gated = GatedLog::on(&log);
    gated.let_all_be_read();
    let cold = Instance::cold(gated.clone(), PER_FILTER).await;
    assert_eq!(cold.place("o7", 8).await, Err(id_conflict("o7")));
    let written = async {
        while end(&log, SNAPSHOTS).await < KEPT / PER_FILTER {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("filters are written of what was there before");
    cold.stop().await;
    let read = read_before_deciding(&log).await;
    assert!(read <= OLD as usize, "{read} outcomes were read before the first command");
}

fn id_conflict(command: &str) -> SendError {
    SendError::IdConflict { command_id: CommandId::new(command).unwrap() }
}

/// Fresh commands are decided while no old outcome can be read; one that was decided long ago has its outcome as soon
/// as those of its own time can be read, before the older ones are.
async fn decides_before_old_outcomes_are_loaded(log: Arc<dyn Log>) {
    const KEPT: u64 = 600;
    let log = filled(log, KEPT, PER_FILTER).await;
    let gated = GatedLog::on(&log);
    let cold = Instance::cold(gated.clone(), PER_FILTER).await;
    cold.fill(KEPT..KEPT + 5).await;
    let before = end(&log, OUTCOMES).await;

    let (again, asking) = (cold.clone(), "o317");
    let repeated = tokio::spawn(async move { again.place(asking, 317).await });
    gated.until_held(300..350).await;
    cold.fill(KEPT + 5..KEPT + 10).await;
    assert!(!repeated.is_finished(), "its outcome is not loaded yet");
    gated.old_reads.add_permits(1);
    assert_eq!(repeated.await.unwrap(), Ok(Version(1)));

    gated.let_all_be_read();
    for n in 0..KEPT + 10 {
        let order = format!("o{n}");
        assert_eq!(cold.place(&order, n).await, Ok(Version(1)), "{order}");
        assert_eq!(cold.place(&order, n + 1).await, Err(id_conflict(&order)), "another content");
    }
    assert_eq!(end(&log, OUTCOMES).await, before + 5, "nothing was decided twice");
    cold.stop().await;
}

#[tokio::test]
async fn a_cold_start_decides_before_old_outcomes_are_loaded() {
    decides_before_old_outcomes_are_loaded(memory_log()).await;
}

#[tokio::test]
async fn a_cold_start_on_the_embedded_log_decides_before_old_outcomes_are_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { maintenance_every: None, ..Options::default() };
    decides_before_old_outcomes_are_loaded(EmbeddedLog::open(dir.path(), options).unwrap()).await;
}
