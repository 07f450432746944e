//! One simulation: a bank in several lives, its callers and readers, and what goes wrong meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use headwater::core::log::LogErrorKind;
use headwater::core::topic::Partition;
use headwater::log::memory::{FaultKind, Faults, MemoryLog, MemoryOptions, Op};
use headwater::planted::{Bug, plant};
use headwater::{Headwater, Phase, Running, StartError};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::bank::{APP, BY_OWNER, Bank, BankOptions, Handles, PARTITIONS, bank, owners};
use crate::clock::SimClock;
use crate::history::History;
use crate::stores::SimStores;
use crate::{client, oracle, reader};

/// What is done in a simulation besides what its seed decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plan {
    /// A bug of the runtime to plant.
    pub bug: Option<Bug>,
    /// Whether the log acknowledges without a sync.
    pub unsynced: bool,
}

/// What came of a simulation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Promises that were broken; empty if all were kept.
    pub violations: Vec<String>,
    /// How often each kind of fault struck.
    pub hits: BTreeMap<String, u64>,
}

/// Runs the simulation of one seed.
pub fn run(seed: u64, plan: Plan) -> Report {
    plant(plan.bug);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let report = runtime.expect("a runtime without I/O can be built").block_on(simulate(seed, plan));
    plant(None);
    report
}

/// One life of the process: from a start to a crash or a stop.
pub(crate) struct Life {
    pub(crate) number: u32,
    pub(crate) running: Running,
    pub(crate) handles: Handles,
    pub(crate) log: MemoryLog,
    pub(crate) stores: SimStores,
    pub(crate) ended: CancellationToken,
}

/// What everybody in a simulation shares.
pub(crate) struct World {
    pub(crate) history: History,
    pub(crate) done: CancellationToken,
    life: Mutex<Arc<Life>>,
    clock: Arc<SimClock>,
    options: BankOptions,
    events: Mutex<BTreeMap<&'static str, u64>>,
}

impl World {
    pub(crate) fn life(&self) -> Arc<Life> {
        self.life.lock().clone()
    }

    fn count(&self, event: &'static str) {
        *self.events.lock().entry(event).or_default() += 1;
    }
}

/// Lets others run for a while, or time pass.
pub(crate) async fn idle(rng: &mut Rng) {
    if rng.u8(..3) == 0 {
        tokio::time::sleep(Duration::from_millis(rng.u64(..60))).await;
    } else {
        for _ in 0..rng.u8(..12) {
            tokio::task::yield_now().await;
        }
    }
}

async fn simulate(seed: u64, plan: Plan) -> Report {
    let mut rng = Rng::with_seed(seed);
    let clock = Arc::new(SimClock::new());
    let log = MemoryLog::new(MemoryOptions {
        seed: rng.u64(..),
        faults: Faults::none(),
        clock: clock.clone(),
        markers: rng.bool(),
    });
    let options = BankOptions {
        snapshot_distance: [4, 12, 1_000][rng.usize(..3)],
        cached_states: rng.usize(1..8),
        mailbox: rng.usize(1..6),
    };
    let first = match start(&log, SimStores::default(), 0, &clock, options).await {
        Ok(life) => life,
        Err(error) => return Report { violations: vec![error], ..Report::default() },
    };
    log.set_faults(faults(&mut rng, plan));
    let world = Arc::new(World {
        history: History::default(),
        done: CancellationToken::new(),
        life: Mutex::new(Arc::new(first)),
        clock,
        options,
        events: Mutex::default(),
    });
    let an_hour = Duration::from_secs(3_600);
    if tokio::time::timeout(an_hour, go_through(&world, &mut rng)).await.is_err() {
        world.history.violation("the simulation did not come to its end".to_owned());
    }
    let life = world.life();
    let mut hits = BTreeMap::from_iter(world.events.lock().iter().map(|(name, n)| ((*name).to_owned(), *n)));
    hits.extend(log_hits(&life.log));
    Report { violations: world.history.violations(), hits }
}

fn log_hits(log: &MemoryLog) -> impl Iterator<Item = (String, u64)> {
    log.fault_hits().into_iter().map(|(kind, hits)| (format!("log: {kind}"), hits))
}

fn faults(rng: &mut Rng, plan: Plan) -> Faults {
    let faults = Faults::every([0, 8, 20, 50][rng.usize(..4)])
        .rate(FaultKind::RefusedForGood, [0, 0, 4][rng.usize(..3)])
        .rate(FaultKind::ShortRead, [0, 200, 600][rng.usize(..3)])
        .rate(FaultKind::Delayed, [0, 100, 400][rng.usize(..3)])
        .delay_turns_max(rng.u32(1..20));
    if plan.unsynced { faults.commit_without_sync() } else { faults }
}

/// The lives with their faults, and then the judgement.
async fn go_through(world: &Arc<World>, rng: &mut Rng) {
    let commands = rng.u32(5..16);
    let clients: Vec<_> =
        (0..4).map(|_| tokio::spawn(client::run(world.clone(), rng.fork(), commands))).collect();
    let readers: Vec<_> = (0..2).map(|_| tokio::spawn(reader::poll(world.clone(), rng.fork()))).collect();
    let watchers: Vec<_> =
        owners().map(|owner| (owner.clone(), tokio::spawn(reader::watch(world.clone(), owner)))).collect();
    for _ in 0..rng.u32(6..20) {
        for _ in 0..rng.u8(1..4) {
            idle(rng).await;
        }
        strike(world, rng).await;
    }
    for client in clients {
        ended(world, client.await);
    }
    world.life().log.set_faults(Faults::none());
    let survived = world.life().stores.surviving();
    next_life(world, true, survived).await;
    let settled = oracle::settle(world).await;
    world.done.cancel();
    for reader in readers {
        ended(world, reader.await);
    }
    for (owner, watcher) in watchers {
        let Some(mut watched) = ended(world, watcher.await) else { continue };
        oracle::watched(world, &owner, &mut watched).await;
    }
    if settled {
        oracle::judge(world).await;
    }
}

fn ended<T>(world: &World, task: Result<T, tokio::task::JoinError>) -> Option<T> {
    task.map_err(|error| world.history.violation(format!("a task of the simulation ended badly: {error}")))
        .ok()
}

/// Something goes wrong, or is done at an odd moment.
async fn strike(world: &Arc<World>, rng: &mut Rng) {
    let life = world.life();
    // Now and then the log is slow, so that a crash finds commits and appends under way.
    let held = (rng.u8(..4) == 0).then(|| life.log.hold([Op::Commit, Op::Append][rng.usize(..2)]));
    if held.is_some() {
        idle(rng).await;
    }
    let shard = Partition(rng.u32(..PARTITIONS));
    let group = format!("{APP}.{}", ["account", BY_OWNER, "ledger", "pockets"][rng.usize(..4)]);
    match rng.u8(..12) {
        0..=4 => {
            life.running.flush_states();
            world.count("flush");
        }
        5 => {
            world.count("crash, state kept");
            next_life(world, true, life.stores.surviving()).await;
        }
        6 | 7 => {
            world.count("crash, state of an earlier flush");
            next_life(world, true, life.stores.earlier(rng.usize(1..8))).await;
        }
        8 => {
            world.count("crash, state lost");
            next_life(world, true, SimStores::default()).await;
        }
        9 => {
            world.count("stop and start");
            next_life(world, false, life.stores.clone()).await;
        }
        10 => drop(life.log.lose(&group, shard)),
        _ => life.log.fence(&group, shard),
    }
}

/// Ends the life there is, by a crash or in good order, and starts the next one.
pub(crate) async fn next_life(world: &Arc<World>, crash: bool, stores: SimStores) {
    let life = world.life();
    check_stopped(world, &life);
    let (log, stores) = if crash {
        let log = life.log.crash();
        life.ended.cancel();
        let running = life.running.clone();
        tokio::spawn(async move { running.stop(Duration::from_secs(60)).await });
        (log, stores)
    } else {
        life.ended.cancel();
        life.running.stop(Duration::from_secs(60)).await;
        // A process that could not stop in time ends all the same: what it still does reaches no disk.
        (life.log.reopen(), stores.surviving())
    };
    match start(&log, stores, life.number + 1, &world.clock, world.options).await {
        Ok(next) => *world.life.lock() = Arc::new(next),
        Err(error) => world.history.violation(error),
    }
}

/// A shard stops by itself only where the log told it that trying again is no use.
fn check_stopped(world: &World, life: &Life) {
    for topology in life.running.report() {
        for shard in topology.shards {
            if let Phase::Stopped { reason } = shard.phase
                && !reason.contains("told to fail: refused for good")
            {
                world.history.violation(format!("life {}: {} stopped: {reason}", life.number, topology.name));
            }
        }
    }
}

async fn start(
    log: &MemoryLog,
    stores: SimStores,
    number: u32,
    clock: &Arc<SimClock>,
    options: BankOptions,
) -> Result<Life, String> {
    for _ in 0..1_000 {
        let headwater = Headwater::by_hand(Arc::new(log.clone()), Arc::new(stores.clone()), clock.clone());
        let Bank { app, handles } = bank(options);
        match headwater.start(app).await {
            Ok(running) => {
                let (log, ended) = (log.clone(), CancellationToken::new());
                return Ok(Life { number, running, handles, log, stores, ended });
            }
            Err(StartError::Log(error)) if error.kind() == LogErrorKind::Unavailable => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(format!("life {number} did not start: {error}")),
        }
    }
    Err(format!("life {number} did not start"))
}
