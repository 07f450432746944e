//! Killed and started again at random points, while the log refuses, delays, forgets what was not synced and leaves
//! commits unanswered: the outcome is that of an app which nothing disturbed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater::core::store::StateStores;
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::log::memory::{FaultKind, Faults};
use headwater::prelude::*;
use headwater::store::lmdb::{LmdbOptions, LmdbStores};
use headwater::store::memory::MemoryStores;
use tokio::runtime::Builder;

use super::lives::{Dice, begin, live, memory_log, runtime};
use super::{Outcome, Visits, Written, dyn_log, make, produce, told, visits, visits_among, written};

const SEEDS: u64 = 12;
const EMBEDDED_SEEDS: u64 = 3;
const KILLS: u64 = 6;

/// A life of the app that ends by a kill; answers how much it has told of all that there is to count.
fn live_and_die(
    log: dyn_log::Shared,
    stores: Arc<dyn StateStores>,
    dice: &mut Dice,
    faults: impl Fn(bool),
) -> usize {
    runtime().block_on(async {
        let _running = live(log.clone(), stores, visits().app, dice, faults).await;
        told(&*log, "counts").await.concat().len()
    })
}

/// A life that is killed as soon as it has told something, however slow the disk is.
fn live_until_something_is_told(log: dyn_log::Shared, stores: Arc<dyn StateStores>) -> usize {
    runtime().block_on(async {
        let _running = begin(log.clone(), stores, visits().app).await;
        let begun = Instant::now();
        loop {
            let told = told(&*log, "counts").await.concat().len();
            if told > 0 || begun.elapsed() > super::WITHIN {
                return told;
            }
            // The clock of this runtime runs ahead, and a disk does not.
            std::thread::sleep(Duration::from_micros(200));
            tokio::task::yield_now().await;
        }
    })
}

/// The last life, which nothing disturbs.
fn outcome(log: dyn_log::Shared, stores: Arc<dyn StateStores>, records: &[Written]) -> Outcome {
    // Not paused: another thread may answer, which the runtime does not know of.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let Visits { app, total } = visits();
        let running = Headwater::on(log.clone(), stores).start(app).await.unwrap();
        let outcome = Outcome::of(&*log, &running, &total, records).await;
        assert!(running.stop(super::WITHIN).await);
        outcome
    })
}

#[test]
fn a_memory_log_that_fails_in_every_way_changes_nothing() {
    let written = written(240);
    let expected = Outcome::expected(&written);
    let mut hits: BTreeMap<FaultKind, u64> = BTreeMap::new();
    let mut cut_off = 0;
    for seed in 0..SEEDS {
        let (mut log, stores) = (memory_log(seed), MemoryStores::new());
        runtime().block_on(async {
            make(&log, &["visits", "clicks"]).await;
            produce(&log, &written).await;
        });
        let mut dice = Dice(seed);
        for _ in 0..KILLS {
            let faulty = log.clone();
            // What is refused for good stops a shard, and an operator starts it again: no kill does.
            let faults = Faults::every(40).rate(FaultKind::RefusedForGood, 0);
            let told = live_and_die(Arc::new(log.clone()), Arc::new(stores.clone()), &mut dice, |on| {
                faulty.set_faults(if on { faults.clone() } else { Faults::none() });
            });
            cut_off += usize::from(told > 0 && told < visits_among(&written));
            for (kind, count) in log.fault_hits() {
                *hits.entry(kind).or_default() += count;
            }
            log = log.crash();
        }
        let outcome = outcome(Arc::new(log), Arc::new(stores), &written);
        assert_eq!(outcome, expected, "seed {seed}");
    }
    println!("{cut_off} lives cut off amid counting; hits over {SEEDS} seeds: {hits:?}");
    assert!(cut_off >= SEEDS as usize, "{cut_off} lives were cut off amid counting");
    for kind in [FaultKind::Refused, FaultKind::UnknownWritten, FaultKind::UnknownLate, FaultKind::Fenced] {
        assert!(hits.get(&kind).is_some_and(|count| *count > 0), "no hit of {kind}: {hits:?}");
    }
}

#[test]
fn an_embedded_log_goes_on_where_it_was() {
    let written = written(240);
    let expected = Outcome::expected(&written);
    let mut cut_off = 0;
    for seed in 0..EMBEDDED_SEEDS {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let options = Options { maintenance_every: None, check_after_crash: false, ..Options::default() };
            let log = EmbeddedLog::open(dir.path(), options).unwrap();
            let stores = LmdbStores::new(dir.path(), LmdbOptions::default()).unwrap();
            (log as dyn_log::Shared, Arc::new(stores) as Arc<dyn StateStores>)
        };
        let (log, stores) = open();
        runtime().block_on(async {
            make(&*log, &["visits", "clicks"]).await;
            produce(&*log, &written).await;
        });
        drop((log, stores));
        let (log, stores) = open();
        let told = live_until_something_is_told(log, stores);
        cut_off += usize::from(told > 0 && told < visits_among(&written));
        let mut dice = Dice(seed + 100);
        for _ in 0..KILLS {
            let (log, stores) = open();
            let told = live_and_die(log, stores, &mut dice, |_| {});
            cut_off += usize::from(told > 0 && told < visits_among(&written));
        }
        let (log, stores) = open();
        assert_eq!(outcome(log, stores, &written), expected, "seed {seed}");
    }
    println!("{cut_off} lives cut off amid counting");
    assert!(cut_off >= EMBEDDED_SEEDS as usize, "{cut_off} lives were cut off amid counting");
}
