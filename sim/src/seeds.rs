//! Running many seeds, on as many threads as there are cores.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::world::{Plan, Report, run};

/// How often a seed that is to be seen again is run, since the order in which tokio wakes the receivers of one watch
/// channel follows from no seed.
const REPEATS: u64 = 200;

/// How often each kind of fault struck, over many seeds.
pub type Hits = BTreeMap<String, u64>;

/// Which seeds to run.
#[derive(Debug, Clone, Copy)]
pub struct Seeds {
    first: u64,
    count: u64,
    repeats: u64,
}

impl Seeds {
    /// The seed that `HEADWATER_SIM_SEED` names alone; so many from the first one on otherwise, where
    /// `HEADWATER_SIM_SEEDS` does not say how many.
    ///
    /// # Panics
    ///
    /// If one of them is no number.
    pub fn from_env(count: u64) -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            Some(text.parse().unwrap_or_else(|_| panic!("{name} is \"{text}\", which is no number")))
        };
        match number("HEADWATER_SIM_SEED") {
            Some(seed) => Self { first: seed, count: 1, repeats: REPEATS },
            None => Self::up_to(number("HEADWATER_SIM_SEEDS").unwrap_or(count)),
        }
    }

    /// Seeds 0 to `count`.
    pub fn up_to(count: u64) -> Self {
        Self { first: 0, count, repeats: 1 }
    }

    /// Whether this is one seed that somebody wants to see again.
    pub fn is_one(&self) -> bool {
        self.count == 1
    }

    /// Runs the seeds until one breaks a promise, and answers how often what struck.
    ///
    /// # Errors
    ///
    /// The lowest seed that was found to break a promise, and what it broke.
    pub fn run(&self, plan: Plan) -> Result<Hits, (u64, Report)> {
        let (next, found) = (AtomicU64::new(0), AtomicBool::new(false));
        let (hits, failed) = (Mutex::new(Hits::new()), Mutex::new(None::<(u64, Report)>));
        let work = || {
            while !found.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= self.count * self.repeats {
                    break;
                }
                let seed = self.first + index / self.repeats;
                let report = run(seed, plan);
                for (kind, count) in &report.hits {
                    *hits.lock().entry(kind.clone()).or_default() += count;
                }
                if !report.violations.is_empty() {
                    found.store(true, Ordering::Relaxed);
                    let mut failed = failed.lock();
                    if failed.as_ref().is_none_or(|(lowest, _)| seed < *lowest) {
                        *failed = Some((seed, report));
                    }
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        match failed.into_inner() {
            Some(failed) => Err(failed),
            None => Ok(hits.into_inner()),
        }
    }
}
