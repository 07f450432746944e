//! Killed and started again at random points: what a case writes and keeps is what it writes and keeps uncut.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use headwater::core::store::StateStores;
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::log::memory::{FaultKind, Faults};
use headwater::prelude::*;
use headwater::store::lmdb::{LmdbOptions, LmdbStores};
use headwater::store::memory::MemoryStores;
use streams_oracle::seeds;
use tokio::runtime::Builder;

use super::lives::{Dice, live, memory_log, runtime};
use super::{Scenario, Shared, scenarios, told};

const SEEDS: u64 = 2;
const KILLS: u64 = 4;
const EMBEDDED_KILLS: u64 = 2;
const PLAYERS: usize = 4;
const WITHIN: Duration = Duration::from_secs(30);

impl Scenario {
    /// One life, which is cut; answers whether that was amid its work.
    fn live_and_die(
        &self,
        log: Shared,
        stores: Arc<dyn StateStores>,
        dice: &mut Dice,
        faults: impl Fn(bool),
    ) -> bool {
        runtime().block_on(async {
            let _running = live(log.clone(), stores, self.plan().into_app(), dice, faults).await;
            let mut count = 0;
            for topic in self.plan().outputs() {
                count += told(&*log, topic).await.len();
            }
            count > 0 && count < self.expected.outputs.len()
        })
    }

    /// The last life, which nothing disturbs.
    fn live_to_the_end(&self, log: Shared, stores: Arc<dyn StateStores>) {
        // Not paused: another thread may answer, which the runtime does not know of.
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let headwater = Headwater::on(log.clone(), stores);
            let running = headwater.start(self.plan().into_app()).await.unwrap();
            self.outcome(&*log, &running, WITHIN).await;
            assert!(running.stop(WITHIN).await);
        });
    }
}

/// Plays scenarios, several at a time; each answers of how many of its lives it was cut amid its work.
fn play(scenarios: &[Scenario], one: impl Fn(&Scenario) -> u64 + Sync) -> u64 {
    let next = AtomicUsize::new(0);
    let player = || {
        let mut cut = 0;
        while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::SeqCst)) {
            cut += one(scenario);
        }
        cut
    };
    thread::scope(|scope| {
        let players: Vec<_> = (0..PLAYERS).map(|_| scope.spawn(player)).collect();
        players.into_iter().map(|player| player.join().expect("the scenario that failed is told")).sum()
    })
}

fn on_the_memory_log(scenario: &Scenario, seed: u64) -> u64 {
    let (mut log, stores) = (memory_log(seed), Arc::new(MemoryStores::new()));
    runtime().block_on(scenario.fill(&log));
    let (mut dice, mut cut) = (Dice(seed), 0);
    for _ in 0..KILLS {
        let faulty = log.clone();
        // What is refused for good stops a shard, and an operator starts it again: no kill does.
        let faults = Faults::every(40).rate(FaultKind::RefusedForGood, 0);
        let amid = scenario.live_and_die(Arc::new(log.clone()), stores.clone(), &mut dice, |on| {
            faulty.set_faults(if on { faults.clone() } else { Faults::none() });
        });
        cut += u64::from(amid);
        log = log.crash();
    }
    scenario.live_to_the_end(Arc::new(log), stores);
    cut
}

fn on_the_embedded_log(scenario: &Scenario, seed: u64) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let options = Options { maintenance_every: None, check_after_crash: false, ..Options::default() };
        let log: Shared = EmbeddedLog::open(dir.path(), options).unwrap();
        let stores = LmdbStores::new(dir.path(), LmdbOptions::default()).unwrap();
        (log, Arc::new(stores) as Arc<dyn StateStores>)
    };
    runtime().block_on(scenario.fill(&*open().0));
    let (mut dice, mut cut) = (Dice(seed), 0);
    for _ in 0..EMBEDDED_KILLS {
        let (log, stores) = open();
        cut += u64::from(scenario.live_and_die(log, stores, &mut dice, |_| {}));
    }
    let (log, stores) = open();
    scenario.live_to_the_end(log, stores);
    cut
}

#[test]
fn every_operator_on_the_memory_log_is_the_same_over_kills_and_faults() {
    let (mut cases, mut cut) = (0, 0);
    for seed in seeds(SEEDS) {
        println!("seed {seed}");
        let scenarios = scenarios(seed);
        cases = scenarios.len() as u64;
        cut += play(&scenarios, |scenario| on_the_memory_log(scenario, seed));
    }
    println!("{cut} lives of {cases} cases were cut amid their work");
    assert!(cut * 8 > cases, "{cut} lives of {cases} cases were cut amid their work");
}

#[test]
fn every_operator_on_the_embedded_log_is_the_same_over_kills() {
    let seed = 100;
    let scenarios = scenarios(seed);
    let cut = play(&scenarios, |scenario| on_the_embedded_log(scenario, seed));
    println!("{cut} of {} lives were cut amid their work", scenarios.len() as u64 * EMBEDDED_KILLS);
    assert!(cut > 0, "no life was cut amid its work");
}
