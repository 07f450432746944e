//! The simulation finds nothing where nothing is wrong, and each planted bug.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::faults::Hits;
use super::planted::Bug;
use super::world::{Report, run};

/// Seeds of one run in the gate.
const SEEDS: u64 = 2_000;
/// Seeds within which a planted bug has to be found.
const SEEDS_FOR_A_BUG: u64 = 400;
/// How often a seed that is to be seen again is run: the order in which tokio wakes tasks follows from no seed.
const REPEATS: u64 = 50;

/// The lowest seed that broke something, and what.
type Failure = (u64, Report);

/// Runs seeds until one breaks something, on as many threads as there are cores.
fn run_all(seeds: std::ops::Range<u64>, repeats: u64, bug: Option<Bug>) -> Result<Hits, Failure> {
    let (next, stop) = (AtomicU64::new(seeds.start * repeats), AtomicBool::new(false));
    let (hits, failed) = (Mutex::new(Hits::new()), Mutex::new(None::<Failure>));
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed) / repeats;
            if seed >= seeds.end {
                break;
            }
            let report = run(seed, bug);
            for (kind, count) in &report.hits {
                *hits.lock().entry(kind.clone()).or_default() += count;
            }
            if !report.violations.is_empty() {
                stop.store(true, Ordering::Relaxed);
                let mut failed = failed.lock();
                if failed.as_ref().is_none_or(|(lowest, _)| seed < *lowest) {
                    *failed = Some((seed, report));
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    failed.into_inner().map_or(Ok(hits.into_inner()), Err)
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is \"{text}\", which is no number")))
}

#[test]
fn no_seed_breaks_the_log_on_a_simulated_cluster() {
    let one = number("HEADWATER_KAFKA_SIM_SEED");
    let result = match one {
        Some(seed) => run_all(seed..seed + 1, REPEATS, None),
        None => run_all(0..number("HEADWATER_KAFKA_SIM_SEEDS").unwrap_or(SEEDS), 1, None),
    };
    let hits = result.unwrap_or_else(|(seed, report)| {
        panic!(
            "seed {seed} breaks the log; see it again with HEADWATER_KAFKA_SIM_SEED={seed} cargo test -p \
             headwater-kafka simulated\n{}",
            report.violations.join("\n")
        )
    });
    for (kind, hits) in &hits {
        println!("{hits:>8}  {kind}");
    }
    let must = [
        "EndTxn: answer lost",
        "EndTxn: answered too late",
        "EndTxn: done too late",
        "EndTxn: refused",
        "Produce: answer lost",
        "Produce: refused",
        "TxnOffsetCommit: answer lost",
        "TxnOffsetCommit: refused",
        "InitProducerId: answer lost",
        "InitProducerId: refused",
        "Fetch: lost",
        "Fetch: refused",
        "Heartbeat: refused",
        "JoinGroup: lost",
        "a broker crashed",
        "a leader moved",
        "a process crashed",
        "a process was taken for dead",
        "the transaction's coordinator moved",
        "told: fenced",
        "told: not written",
        "told: unknown",
        "told: written",
    ];
    let none: Vec<_> = must.into_iter().filter(|kind| !hits.contains_key(*kind)).collect();
    assert!(one.is_some() || none.is_empty(), "these never struck: {none:?}");
}

/// Seeds find the bug, and tell it in these words.
fn finds(bug: Bug, words: &[&str]) {
    let Err((seed, report)) = run_all(0..SEEDS_FOR_A_BUG, 1, Some(bug)) else {
        panic!("{SEEDS_FOR_A_BUG} seeds do not find {bug:?}");
    };
    let told = report.violations.join("\n");
    println!("seed {seed} finds {bug:?}:\n{told}");
    assert!(words.iter().any(|word| told.contains(word)), "seed {seed} finds something else:\n{told}");
}

#[test]
fn a_lost_answer_that_is_told_as_not_written_is_found() {
    finds(Bug::UnknownIsNotWritten, &["NotWritten, and lies at", "told: NotWritten }, and lies at"]);
}

#[test]
fn records_of_aborted_transactions_that_are_read_are_found() {
    finds(Bug::AbortedIsRead, &["was shown", "records were read where"]);
}

#[test]
fn a_head_without_its_last_record_is_found() {
    finds(Bug::HeadBeforeLast, &["are written after position", "the head says"]);
}
