//! Killed at random points, while records are set aside, decided about and processed again on a log that fails in every way:
//! each key's records are processed in order, none is lost and none twice.

use std::collections::BTreeMap;

use bytes::Bytes;
use headwater::OnFailure;
use headwater::core::store::StateStores;
use headwater::letters::{DeadLetter, DeadLetters};
use headwater::log::memory::{FaultKind, Faults};
use tokio::runtime::{Builder, Runtime};

use super::emitters::{counts, told};
use super::*;

const SEEDS: u64 = 10;
const KILLS: u64 = 6;
const VISITS: u64 = 160;

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A runtime whose end is a kill: every task ends wherever it waits.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

fn key(n: u64) -> String {
    format!("k{}", n * n % 7)
}

fn is_poison(n: u64) -> bool {
    n % 11 == 4
}

/// Whether a poison is given up; the others are edited into what they should have been.
fn is_given_up(n: u64) -> bool {
    n.is_multiple_of(3)
}

/// What everybody has seen in the end.
fn expected() -> BTreeMap<String, Vec<String>> {
    let mut seen = BTreeMap::<String, Vec<u64>>::new();
    let mut told = BTreeMap::<String, Vec<String>>::new();
    for n in (0..VISITS).filter(|n| !is_poison(*n) || !is_given_up(*n)) {
        let seen = seen.entry(key(n)).or_default();
        seen.push(100 + n);
        let numbers: Vec<_> = seen.iter().map(u64::to_string).collect();
        told.entry(key(n)).or_default().push(format!("[{}]", numbers.join(",")));
    }
    told
}

/// Decides about a letter as it must be decided about, whenever that is.
async fn decide(letters: &DeadLetters, letter: &DeadLetter) {
    let value = letter.record.value.clone().unwrap();
    let poison = value.strip_prefix(b"x").map(Bytes::copy_from_slice);
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().parse::<u64>().unwrap() - 100;
    let id = &letter.record.id;
    // What another decision has removed meanwhile is refused.
    let _ = match poison {
        Some(bytes) if is_given_up(number(&bytes)) => letters.discard(id).await,
        Some(bytes) => letters.edit(id, Some(bytes)).await,
        None => letters.retry_all(id).await,
    };
}

fn live_and_die(log: SharedLog, stores: MemoryStores, dice: &mut Dice, faults: impl Fn(bool)) -> usize {
    runtime().block_on(async {
        let clock = Arc::new(SystemClock);
        let stores: Arc<dyn StateStores> = Arc::new(stores);
        let headwater = Headwater::by_hand(log.clone(), stores, clock.clone());
        let app = counts(OnFailure::park());
        let letters = DeadLetters::on(log, clock, &app);
        let running = headwater.start(app).await.unwrap();
        faults(true);
        let mut decided = 0;
        for _ in 0..1 + dice.below(5) {
            for _ in 0..dice.below(150) {
                tokio::task::yield_now().await;
            }
            if dice.below(2) == 0 {
                running.flush_states();
            }
            if dice.below(3) == 0 {
                tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
            }
            let Ok(page) = letters.list(None, 1_000, None).await else { continue };
            if let Some(some) = page.letters.get(dice.below(40) as usize) {
                let Ok(line) = letters.line_of(&some.record.id).await else { continue };
                decide(&letters, &line[0]).await;
                decided += 1;
            }
        }
        faults(false);
        decided
    })
}

async fn settle(log: &SharedLog, stores: &MemoryStores) -> BTreeMap<String, Vec<String>> {
    let running = start(log, stores, counts(OnFailure::park())).await;
    running.ready(WITHIN).await.unwrap();
    let expected = expected();
    let told = until("everything is settled", async || {
        let letters = running.dead_letters();
        let page = letters.list(None, 1_000, None).await.unwrap();
        let told = told(&**log, "seen").await;
        if page.letters.is_empty()
            && told.values().map(Vec::len).sum::<usize>() >= expected.values().map(Vec::len).sum()
        {
            return Some(told);
        }
        for letter in &page.letters {
            let line = letters.line_of(&letter.record.id).await;
            if line.is_ok_and(|line| line[0].record.id == letter.record.id) {
                decide(&letters, letter).await;
            }
        }
        None
    })
    .await;
    assert!(running.stop(WITHIN).await);
    told
}

#[test]
fn kills_among_letters_and_decisions_lose_nothing_double_nothing_and_keep_each_keys_order() {
    let expected = expected();
    let (mut decided, mut hits) = (0, BTreeMap::<FaultKind, u64>::new());
    for seed in 0..SEEDS {
        let options = MemoryOptions {
            seed,
            clock: Arc::new(SystemClock),
            markers: seed % 2 == 1,
            ..MemoryOptions::default()
        };
        let (mut log, stores) = (MemoryLog::new(options), MemoryStores::new());
        runtime().block_on(async {
            make(&log, "visits").await;
            for n in 0..VISITS {
                let value = format!("{}{}", if is_poison(n) { "x" } else { "" }, 100 + n);
                produce(&log, "visits", &[(&key(n), &value)]).await;
            }
        });
        let mut dice = Dice(seed);
        for _ in 0..KILLS {
            let faulty = log.clone();
            let faults = Faults::every(40).rate(FaultKind::RefusedForGood, 0);
            decided += live_and_die(Arc::new(log.clone()), stores.clone(), &mut dice, |on| {
                faulty.set_faults(if on { faults.clone() } else { Faults::none() });
            });
            for (kind, count) in log.fault_hits() {
                *hits.entry(kind).or_default() += count;
            }
            log = log.crash();
        }
        let shared: SharedLog = Arc::new(log);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(runtime.block_on(settle(&shared, &stores)), expected, "seed {seed}");
    }
    println!("{decided} decisions among kills; hits over {SEEDS} seeds: {hits:?}");
    assert!(decided > SEEDS as usize, "{decided} decisions were made among kills");
    for kind in [FaultKind::Refused, FaultKind::UnknownWritten, FaultKind::UnknownLate, FaultKind::Fenced] {
        assert!(hits.get(&kind).is_some_and(|count| *count > 0), "no hit of {kind}: {hits:?}");
    }
}
