//! One world: a cluster, processes that come and go, and the judgement in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use headwater_core::log::{AppendError, Group, Log, LogErrorKind, LogId, ReadLimit, ShardChange, Wait};
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use krafka::testing::FakeBroker;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::faults::{Hits, strike};
use super::history::{History, Piece, Told};
use super::owner::{live, pieces, position, read_all};
use super::planted::{Bug, plant};
use super::simulate_on;
use crate::connection::Connection;
use crate::{KafkaLog, KafkaSettings};

/// How long one call of the log may try.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// After so long the cluster aborts what is left open.
const TRANSACTION_TIME_MAX: Duration = Duration::from_secs(5);
/// A world that has not come to its end by then never does.
const WORLD_TIME_MAX: Duration = Duration::from_secs(1_800);
/// How long the end of a world takes at most: nothing fails any more.
const END_TIME_MAX: Duration = Duration::from_secs(120);
const BROKERS: i32 = 3;
pub(super) const OUT_PARTITIONS: u32 = 2;

/// How often somebody looks whether the clock stands, and by how much it is moved then.
const LOOK: Duration = Duration::from_millis(250);
const MOVE: Duration = Duration::from_millis(500);

/// How many worlds there were.
static WORLDS: AtomicU64 = AtomicU64::new(0);

/// What came of a world.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) violations: Vec<String>,
    pub(super) hits: Hits,
}

/// What everybody shares.
pub(super) struct World {
    pub(super) history: History,
    cluster: Arc<FakeBroker>,
    number: u64,
}

pub(super) fn input() -> TopicPartition {
    TopicName::new("in").expect("a legal name").partition(0)
}

pub(super) fn out() -> TopicName {
    TopicName::new("out").expect("a legal name")
}

pub(super) fn group() -> Group {
    Group { name: "app.shard".to_owned(), shards: 1, topic: input().topic }
}

/// Runs the world of one seed.
pub(super) fn run(seed: u64, bug: Option<Bug>) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O can be built");
    plant(bug);
    krafka::testing::seed_rng(seed);
    let report = runtime.block_on(simulate(seed));
    // Whatever still runs ends with its runtime, before another world begins on this thread.
    drop(runtime);
    simulate_on(None);
    plant(None);
    report
}

async fn simulate(seed: u64) -> Report {
    let cluster = Arc::new(FakeBroker::start_in_memory(BROKERS as usize));
    cluster.set_transaction_version(2);
    cluster.create_topic("in", 1);
    cluster.create_topic("out", OUT_PARTITIONS as i32);
    simulate_on(Some(cluster.clone()));
    let world = Arc::new(World {
        history: History::default(),
        cluster,
        number: WORLDS.fetch_add(1, Ordering::Relaxed),
    });
    let hits = Arc::new(Mutex::new(Hits::new()));
    let mut rng = Rng::with_seed(seed);
    tokio::spawn(keep_time(hits.clone()));
    if timeout(WORLD_TIME_MAX, world.clone().go_through(&mut rng, &hits)).await.is_err() {
        world.history.violation("the world did not come to its end".to_owned());
    }
    let mut hits = hits.lock().clone();
    hits.extend(world.history.counts().into_iter().map(|(name, count)| (name.to_owned(), count)));
    Report { violations: world.history.violations(), hits }
}

/// Moves the clock on when it stands: a paused clock moves only while everybody waits, and a producer of the client that
/// did not know a partition's leader for a moment never waits again (krafka 0.28.1, `Engine::next_wake`).
async fn keep_time(hits: Arc<Mutex<Hits>>) {
    let (look, mut looks) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while look.send(()).is_ok() {
            std::thread::sleep(LOOK);
        }
    });
    let mut seen = Instant::now();
    while looks.recv().await.is_some() {
        if Instant::now() == seen {
            *hits.lock().entry("the clock was moved on".to_owned()).or_default() += 1;
            advance(MOVE).await;
        }
        seen = Instant::now();
    }
}

impl World {
    async fn go_through(self: Arc<Self>, rng: &mut Rng, hits: &Arc<Mutex<Hits>>) {
        let over = CancellationToken::new();
        let upkeep = tokio::spawn(self.clone().upkeep(over.clone()));
        strike(&self.cluster, rng, hits);
        let readers: Vec<_> = (0..OUT_PARTITIONS)
            .map(|partition| tokio::spawn(self.clone().follow(partition, rng.fork(), over.clone())))
            .collect();
        let appender = tokio::spawn(self.clone().append(rng.fork()));
        self.lives(rng, hits).await;
        let _ = appender.await;
        self.heal();
        if timeout(END_TIME_MAX, self.judge()).await.is_err() {
            self.history.violation("the log does not come to rest".to_owned());
        }
        over.cancel();
        for reader in readers {
            let _ = reader.await;
        }
        let _ = upkeep.await;
    }

    /// A process: a log of its own.
    async fn process(&self, instance: &str) -> Arc<KafkaLog> {
        let settings = KafkaSettings {
            replication_factor: 1,
            min_in_sync_replicas: 1,
            patience: PATIENCE,
            transaction_timeout: TRANSACTION_TIME_MAX,
            // Names are taken for the whole process, of which this world is one part.
            ..KafkaSettings::new(format!("world-{}", self.number), instance)
        };
        loop {
            match Connection::open(settings.clone()).await {
                Ok(connection) => return Arc::new(KafkaLog::new(connection, LogId(7))),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Processes come, and end in order, by a crash, or not at all until much later.
    async fn lives(self: &Arc<Self>, rng: &mut Rng, hits: &Arc<Mutex<Hits>>) {
        let mut zombies = Vec::new();
        for _ in 0..rng.u32(2..4) {
            let end = CancellationToken::new();
            let log = self.process(["one", "two"][rng.usize(..2)]).await;
            let life = tokio::spawn(live(self.clone(), log, rng.fork(), end.clone()));
            for _ in 0..rng.u32(1..4) {
                sleep(Duration::from_millis(rng.u64(50..3_000))).await;
                self.disturb(rng, hits).await;
            }
            let count = |name: &str| *hits.lock().entry(name.to_owned()).or_default() += 1;
            match rng.u8(..3) {
                0 => {
                    end.cancel();
                    let _ = life.await;
                    count("a process stopped");
                }
                1 => {
                    life.abort();
                    self.forget_members();
                    count("a process crashed");
                }
                _ => {
                    // Its session is over, and it does not know.
                    self.forget_members();
                    zombies.push((end, life));
                    count("a process was taken for dead");
                }
            }
        }
        for (end, life) in zombies {
            end.cancel();
            let _ = life.await;
        }
    }

    /// Something happens to the cluster, or nothing.
    async fn disturb(&self, rng: &mut Rng, hits: &Arc<Mutex<Hits>>) {
        let node = rng.i32(0..BROKERS);
        let name = match rng.u8(..6) {
            0 => {
                self.cluster.crash(node);
                sleep(Duration::from_millis(rng.u64(100..3_000))).await;
                self.cluster.restart(node);
                "a broker crashed"
            }
            1 => {
                self.cluster.set_leader("out", rng.i32(0..OUT_PARTITIONS as i32), node);
                "a leader moved"
            }
            2 => {
                self.cluster.set_group_coordinator(&group().name, node);
                "the group's coordinator moved"
            }
            3 => {
                self.cluster.set_txn_coordinator(&format!("{}.0", group().name), node);
                "the transaction's coordinator moved"
            }
            _ => return,
        };
        *hits.lock().entry(name.to_owned()).or_default() += 1;
    }

    /// The group forgets its members, as it does after their sessions.
    fn forget_members(&self) {
        self.cluster.with_state(|cluster| {
            if let Some(group) = cluster.groups.get_mut(&group().name) {
                group.members.clear();
                group.assignments.clear();
                group.generation_id += 1;
            }
        });
    }

    /// What a cluster does by the clock: it ends transactions that are left open.
    async fn upkeep(self: Arc<Self>, over: CancellationToken) {
        let mut seen: BTreeMap<String, (i16, Instant)> = BTreeMap::new();
        while !over.is_cancelled() {
            sleep(TRANSACTION_TIME_MAX / 10).await;
            let open: Vec<(String, i16)> = self.cluster.with_state(|cluster| {
                let open = cluster.transactions.iter().filter(|(_, transaction)| transaction.is_open());
                open.map(|(id, transaction)| (id.clone(), transaction.producer_epoch)).collect()
            });
            seen.retain(|id, (epoch, _)| open.contains(&(id.clone(), *epoch)));
            for (id, epoch) in open {
                let (_, since) = seen.entry(id.clone()).or_insert((epoch, Instant::now()));
                if since.elapsed() > TRANSACTION_TIME_MAX {
                    self.cluster.abort_transaction(&id);
                }
            }
            // The cluster counts a request by going through all it has seen.
            self.cluster.clear_requests();
        }
    }

    /// Appends outside of any shard, and notes what it is told.
    async fn append(self: Arc<Self>, mut rng: Rng) {
        let log = self.process("appender").await;
        for _ in 0..rng.u32(5..20) {
            sleep(Duration::from_millis(rng.u64(1..800))).await;
            let partitions: Vec<u32> =
                (0..[1, 1, 2, 4][rng.usize(..4)]).map(|_| rng.u32(..OUT_PARTITIONS)).collect();
            let id = self.history.tries(None, &partitions);
            let told = match log.append(pieces(id, &partitions)).await {
                Ok(offsets) => Told::Written(offsets),
                Err(AppendError::NotWritten(_)) => Told::NotWritten,
                Err(AppendError::Unknown(_)) => Told::Unknown,
            };
            self.history.told(id, told);
        }
    }

    /// Reads a partition as it grows, and compares what it was shown with what is there in the end.
    async fn follow(self: Arc<Self>, partition: u32, mut rng: Rng, over: CancellationToken) {
        let log = self.process(&format!("reader-{partition}")).await;
        let at = out().partition(partition);
        let (mut next, mut shown) = (Offset::ZERO, Vec::new());
        loop {
            let limit = ReadLimit { records: rng.usize(1..6), ..ReadLimit::default() };
            let batch = tokio::select! {
                batch = log.read(&at, next, limit, Wait::UntilMore) => batch,
                () = over.cancelled() => break,
            };
            match batch {
                Ok(batch) => {
                    shown.extend(
                        batch.records.iter().map(|stored| (stored.offset, stored.record.value.clone())),
                    );
                    next = batch.next;
                }
                Err(error) if error.kind() == LogErrorKind::Unavailable => {
                    sleep(Duration::from_millis(50)).await;
                }
                Err(error) => {
                    return self.history.violation(format!("a read of {at} from {next} failed: {error}"));
                }
            }
        }
        let there = self.cluster.committed_records("out").expect("the cluster's log decodes");
        let there: Vec<_> = there
            .into_iter()
            .filter(|record| record.partition == partition as i32)
            .map(|record| (Offset(record.offset as u64), record.value))
            .collect();
        if shown != there {
            self.history.violation(format!("a reader of {at} was shown {shown:?}, where {there:?} is"));
        }
    }

    /// From now on nothing fails.
    fn heal(&self) {
        self.cluster.clear_hooks();
        (0..BROKERS).for_each(|node| self.cluster.restart(node));
    }

    /// A last process takes the shard over, which settles everything; then all is compared.
    async fn judge(&self) {
        let over = CancellationToken::new();
        let log = self.process("judge").await;
        // Opened, its writer has fenced and settled what was before; kept until everything is compared.
        let (_member, opened) = loop {
            let joined = log.join(&group()).await;
            if let Ok(mut member) = joined
                && let Ok(ShardChange::Gained(_, claim)) = member.next().await
                && let Ok(opened) = claim.open().await
            {
                break (member, opened);
            }
            sleep(Duration::from_millis(100)).await;
        };
        // What appenders left open is ended by the cluster.
        sleep(TRANSACTION_TIME_MAX * 2).await;
        let mut found: BTreeMap<Piece, Vec<(u32, u64)>> = BTreeMap::new();
        for partition in 0..OUT_PARTITIONS {
            let pieces = read_all(&log, partition, &over).await.expect("nobody says that it is over");
            for (piece, offset) in pieces {
                found.entry(piece).or_default().push((partition, offset));
            }
        }
        let there = self.cluster.committed_records("out").expect("the cluster's log decodes");
        let read: usize = found.values().map(Vec::len).sum();
        if read != there.len() {
            self.history.violation(format!("{read} records were read where {} are", there.len()));
        }
        let head = opened.head.as_ref().map(|head| {
            let attempt = std::str::from_utf8(&head.note).ok().and_then(|note| note.parse().ok());
            (position(Some(head)), attempt.unwrap_or(u64::MAX))
        });
        self.history.judge(&found, head);
        match log.committed(&group().name).await {
            Ok(positions) => {
                let committed = positions.get(&input()).map(|next| next.0);
                if committed != head.map(|(position, _)| position) {
                    self.history.violation(format!("the group says {committed:?}, the head {head:?}"));
                }
            }
            Err(error) => self.history.violation(format!("the group's positions cannot be had: {error}")),
        }
    }
}
