//! One simulation: a bank in several lives, its callers and readers, and what goes wrong meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use headwater::core::log::LogErrorKind;
use headwater::core::topic::Partition;
use headwater::log::memory::{FaultKind, Faults, Held, MemoryLog, MemoryOptions, Op};
use headwater::planted::{Bug, plant};
use headwater::{Headwater, Phase, Running, StartError};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::bank::{APP, BY_OWNER, Bank, BankOptions, Handles, PARTITIONS, bank, owners};
use crate::clock::SimClock;
use crate::history::History;
use crate::instance_log::InstanceLog;
use crate::stores::SimStores;
use crate::{client, oracle, reader};

/// What is done in a simulation besides what its seed decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plan {
    /// A bug of the runtime to plant.
    pub bug: Option<Bug>,
    /// Whether the log acknowledges without a sync.
    pub unsynced: bool,
    /// Whether several instances share the log, coming, going and being killed.
    pub fleet: bool,
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

/// Instances at a time.
const INSTANCES_MAX: usize = 3;

/// One life of one instance's process: from a start to a crash or a stop.
pub(crate) struct Life {
    pub(crate) number: u32,
    pub(crate) running: Running,
    pub(crate) handles: Handles,
    pub(crate) log: MemoryLog,
    pub(crate) stores: SimStores,
    pub(crate) ended: CancellationToken,
    killed: CancellationToken,
}

/// What everybody in a simulation shares.
pub(crate) struct World {
    pub(crate) history: History,
    pub(crate) done: CancellationToken,
    lives: Mutex<Lives>,
    clock: Arc<SimClock>,
    options: BankOptions,
    events: Mutex<BTreeMap<&'static str, u64>>,
    fleet: bool,
}

/// The instances that run, and the disks of those that ended.
struct Lives {
    running: Vec<Arc<Life>>,
    disks: Vec<SimStores>,
    begun: u32,
    turn: usize,
}

impl World {
    /// One of the instances that run: another one each time.
    pub(crate) fn life(&self) -> Arc<Life> {
        let mut lives = self.lives.lock();
        lives.turn += 1;
        lives.running[lives.turn % lives.running.len()].clone()
    }

    /// The version of an account that a reader of an instance must see, since it was acknowledged before.
    ///
    /// Among several instances one that has just lost a shard may not know it yet: it is held to its own word alone.
    pub(crate) fn acknowledged(&self, life: &Life, account: &str) -> u64 {
        if self.fleet {
            self.history.acknowledged_in(life.number, account)
        } else {
            self.history.acknowledged(life.number, account)
        }
    }

    fn next_number(&self) -> u32 {
        let mut lives = self.lives.lock();
        lives.begun += 1;
        lives.begun
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
        outcomes_at_once: [0, 3, 10_000][rng.usize(..3)],
        outcomes_per_filter: [5, 10, 50, 50_000][rng.usize(..4)],
    };
    let first = match start(&log, SimStores::default(), 0, &clock, options).await {
        Ok(life) => life,
        Err(error) => return Report { violations: vec![error], ..Report::default() },
    };
    log.set_faults(faults(&mut rng, plan));
    let world = Arc::new(World {
        history: History::default(),
        done: CancellationToken::new(),
        lives: Mutex::new(Lives { running: vec![Arc::new(first)], disks: Vec::new(), begun: 0, turn: 0 }),
        clock,
        options,
        events: Mutex::default(),
        fleet: plan.fleet,
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
        if world.fleet && rng.u8(..3) > 0 {
            change_fleet(world, rng).await;
        } else {
            strike(world, rng).await;
        }
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
            end_and_start(world, true, life.stores.surviving(), held).await;
        }
        6 | 7 => {
            world.count("crash, state of an earlier flush");
            end_and_start(world, true, life.stores.earlier(rng.usize(1..8)), held).await;
        }
        8 => {
            world.count("crash, state lost");
            end_and_start(world, true, SimStores::default(), held).await;
        }
        9 => {
            world.count("stop and start");
            end_and_start(world, false, life.stores.clone(), held).await;
        }
        10 => drop(life.log.lose(&group, shard)),
        _ => life.log.fence(&group, shard),
    }
}

/// An instance joins, leaves, is killed, or is given other shards to keep copies of.
async fn change_fleet(world: &Arc<World>, rng: &mut Rng) {
    let running = world.lives.lock().running.len();
    match rng.u8(..6) {
        0 | 1 if running < INSTANCES_MAX => {
            world.count("instance joined");
            join_fleet(world, rng).await;
        }
        2 if running > 1 => {
            world.count("instance left");
            let life = take_life(world, rng);
            life.ended.cancel();
            life.running.stop(Duration::from_secs(60)).await;
            // A process that could not stop in time ends all the same.
            life.killed.cancel();
            world.lives.lock().disks.push(life.stores.surviving());
        }
        3 if running > 1 => {
            world.count("instance killed");
            let life = take_life(world, rng);
            world.lives.lock().disks.push(life.stores.surviving());
            life.killed.cancel();
            life.ended.cancel();
            let running = life.running.clone();
            tokio::spawn(async move { running.stop(Duration::from_secs(60)).await });
        }
        _ => {
            world.count("copies assigned");
            let life = world.life();
            for topology in ["account", "ledger", "pockets"] {
                let shards = (0..PARTITIONS).filter(|_| rng.bool()).map(Partition);
                life.running.keep_copies(&format!("{APP}.{topology}"), shards.collect::<Vec<_>>());
            }
        }
    }
}

fn take_life(world: &World, rng: &mut Rng) -> Arc<Life> {
    let mut lives = world.lives.lock();
    let index = rng.usize(..lives.running.len());
    let life = lives.running.remove(index);
    check_stopped(world, &life);
    life
}

/// Another instance, on a new disk or on one that an instance left behind.
async fn join_fleet(world: &Arc<World>, rng: &mut Rng) {
    let number = world.next_number();
    let (log, disk) = {
        let mut lives = world.lives.lock();
        let disk = if rng.bool() { lives.disks.pop() } else { None };
        (lives.running[0].log.clone(), disk.unwrap_or_default())
    };
    match start(&log, disk, number, &world.clock, world.options).await {
        Ok(life) => world.lives.lock().running.push(Arc::new(life)),
        Err(error) => world.history.violation(error),
    }
}

/// Ends the life there is, by a crash or in good order, and starts the next one.
pub(crate) async fn next_life(world: &Arc<World>, crash: bool, stores: SimStores) {
    end_and_start(world, crash, stores, None).await;
}

/// The same; what is held is let go between the two. Of several instances, all end and one starts.
async fn end_and_start(world: &Arc<World>, crash: bool, stores: SimStores, held: Option<Held>) {
    let mut all = world.lives.lock().running.clone();
    all.iter().for_each(|life| check_stopped(world, life));
    let life = all.remove(0);
    for other in all {
        world.lives.lock().disks.push(other.stores.surviving());
        other.killed.cancel();
        other.ended.cancel();
        tokio::spawn(async move { other.running.stop(Duration::from_secs(60)).await });
    }
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
    drop(held);
    match start(&log, stores, world.next_number(), &world.clock, world.options).await {
        Ok(next) => world.lives.lock().running = vec![Arc::new(next)],
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
        let killed = CancellationToken::new();
        let own = InstanceLog { log: log.clone(), killed: killed.clone() };
        let headwater = Headwater::by_hand(Arc::new(own), Arc::new(stores.clone()), clock.clone());
        let Bank { app, handles } = bank(options);
        match headwater.start(app).await {
            Ok(running) => {
                let (log, ended) = (log.clone(), CancellationToken::new());
                return Ok(Life { number, running, handles, log, stores, ended, killed });
            }
            Err(StartError::Log(error)) if error.kind() == LogErrorKind::Unavailable => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(format!("life {number} did not start: {error}")),
        }
    }
    Err(format!("life {number} did not start"))
}
