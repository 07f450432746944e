//! When stores are flushed, what together, and what happens when they cannot be.

use std::sync::atomic::{AtomicI64, Ordering};

use headwater_core::store::TableId;

use super::*;
use crate::store::testing::{Fate, Scripted, at, change};

/// A clock that stands until it is moved.
#[derive(Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

struct Bench {
    clock: Arc<Hand>,
    errors: Arc<Mutex<Vec<StoreErrorKind>>>,
    flusher: Flusher,
    store: Arc<Scripted>,
}

impl Bench {
    fn new(options: FlusherOptions) -> Self {
        let (clock, errors) = (Arc::new(Hand::default()), Arc::new(Mutex::default()));
        let heard = Arc::clone(&errors);
        let on_flush = move |report: &FlushReport<'_>| {
            assert_eq!(report.store, "orders");
            let errors: &Mutex<Vec<_>> = &heard;
            errors.lock().extend(report.error.map(StoreError::kind));
        };
        let flusher = Flusher::start(options, clock.clone(), Box::new(on_flush)).unwrap();
        Self { clock, errors, flusher, store: Scripted::new() }
    }

    fn shard(&self, shard: u32) -> Arc<ShardState> {
        self.flusher.open("orders", self.store.clone(), Partition(shard)).unwrap()
    }

    fn later(&self, ms: i64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }
}

/// Waits until `done`, for a bounded time.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{what} did not happen");
}

fn commit(state: &ShardState, number: u64) {
    state.commit(vec![change(0, "k", Some(&number.to_string()))], at(number));
}

#[test]
fn shards_of_one_store_are_flushed_in_one_apply() {
    let bench = Bench::new(FlusherOptions::default());
    let states = [0, 1, 2].map(|shard| bench.shard(shard));
    states.iter().for_each(|state| commit(state, 1));
    bench.flusher.flush_now_blocking().unwrap();
    assert_eq!(*bench.store.tried.lock(), [3]);
    commit(&states[1], 2);
    bench.flusher.flush_now_blocking().unwrap();
    assert_eq!(*bench.store.tried.lock(), [3, 1]);
    assert_eq!(bench.store.checkpoint(Partition(1)).unwrap(), Some(at(2)));
    bench.flusher.flush_now_blocking().unwrap();
    assert_eq!(bench.store.applied(), 2, "nothing to flush is no flush");
}

#[test]
fn shards_with_many_changes_are_applied_apart() {
    let bench = Bench::new(FlusherOptions { budget_bytes: usize::MAX, ..FlusherOptions::default() });
    let states = [0, 1, 2].map(|shard| bench.shard(shard));
    for (state, rows) in states.iter().zip([10, APPLY_CHANGES, 10]) {
        state.commit((0..rows).map(|row| change(0, row.to_be_bytes(), Some(""))).collect(), at(1));
    }
    bench.flusher.flush_now_blocking().unwrap();
    assert_eq!(*bench.store.tried.lock(), [2, 1]);
    assert_eq!(bench.store.count(Partition(1), TableId(0)).unwrap(), APPLY_CHANGES as u64);
}

#[test]
fn changes_are_flushed_when_they_are_old() {
    let bench = Bench::new(FlusherOptions::default());
    let state = bench.shard(0);
    commit(&state, 1);
    // Seen by the thread before the clock moves: their age counts from there.
    eventually("a look", || {
        bench.flusher.look();
        bench.later(1);
        bench.clock.now().0 >= 100
    });
    assert_eq!(bench.store.applied(), 0, "young changes stay");
    bench.later(FlusherOptions::default().age_ms);
    eventually("the flush", || {
        bench.flusher.look();
        bench.store.applied() == 1
    });
    assert_eq!(state.get(TableId(0), b"k").unwrap().unwrap(), "1");
}

#[test]
fn old_changes_are_applied_few_at_once_unless_somebody_waits_for_them() {
    let bench = Bench::new(FlusherOptions { budget_bytes: usize::MAX, ..FlusherOptions::default() });
    let states = [0, 1, 2].map(|shard| bench.shard(shard));
    let fill = |number| {
        for state in &states {
            let row = |row: usize| change(0, row.to_be_bytes(), Some(""));
            state.commit((0..GENTLE_CHANGES).map(row).collect(), at(number));
        }
    };
    fill(1);
    eventually("the flush", || {
        bench.flusher.look();
        bench.later(FlusherOptions::default().age_ms);
        bench.store.applied() > 0
    });
    assert_eq!(bench.store.tried.lock()[0], 1, "one shard has enough changes");
    eventually("the others'", || bench.store.tried.lock().iter().sum::<usize>() == 3);
    bench.store.tried.lock().clear();
    fill(2);
    bench.flusher.flush_now_blocking().unwrap();
    assert_eq!(*bench.store.tried.lock(), [3], "together where somebody waits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_beyond_the_budget_wait_for_a_flush() {
    let bench = Bench::new(FlusherOptions { budget_bytes: 20_000, ..FlusherOptions::default() });
    let state = bench.shard(0);
    let budget = bench.flusher.budget().clone();
    for number in 1..500u64 {
        tokio::time::timeout(Duration::from_secs(30), budget.room()).await.expect("room is made");
        let changes = (0..8).map(|key| change(0, format!("{number}/{key}"), Some("value")));
        state.commit(changes.collect(), at(number));
        assert!(budget.used() < 20_000 + 8 * 1_000);
    }
    assert!(bench.store.applied() > 10);
    bench.flusher.flush_now().await.unwrap();
    assert_eq!(budget.used(), 0);
    assert_eq!(state.count_at(TableId(0)).unwrap().0, 499 * 8);
}

#[test]
fn a_failed_flush_is_reported_retried_later_and_loses_nothing() {
    let options = FlusherOptions::default();
    let bench = Bench::new(options);
    let state = bench.shard(0);
    bench.store.will(Fate::Full);
    commit(&state, 1);
    let error = bench.flusher.flush_now_blocking().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full);
    for pause in [options.retry_ms, options.retry_ms * 2, options.retry_ms * 4] {
        let tried = bench.store.tried.lock().len();
        bench.later(pause - 1);
        bench.flusher.look();
        std::thread::yield_now();
        bench.later(1);
        eventually("another try", || {
            bench.flusher.look();
            bench.store.tried.lock().len() > tried
        });
        assert_eq!(bench.store.tried.lock().len(), tried + 1, "one try each pause");
    }
    assert_eq!(*bench.errors.lock(), [StoreErrorKind::Full; 4]);
    commit(&state, 2);
    assert_eq!(state.get(TableId(0), b"k").unwrap().unwrap(), "2");
    bench.store.will(Fate::Applied);
    bench.flusher.flush_now_blocking().unwrap();
    assert_eq!(bench.store.checkpoint(Partition(0)).unwrap(), Some(at(2)));
    assert_eq!(bench.flusher.budget().used(), 0);
}

#[test]
fn a_store_that_panics_does_not_end_the_flushing() {
    let bench = Bench::new(FlusherOptions::default());
    let state = bench.shard(0);
    commit(&state, 1);
    bench.store.will(Fate::Panics);
    assert_eq!(bench.flusher.flush_now_blocking().unwrap_err().kind(), StoreErrorKind::Unavailable);
    bench.store.will(Fate::Applied);
    bench.flusher.flush_now_blocking().unwrap();
    assert_eq!(bench.store.checkpoint(Partition(0)).unwrap(), Some(at(1)));
}

#[test]
fn dropping_the_flusher_flushes() {
    let bench = Bench::new(FlusherOptions::default());
    let state = bench.shard(0);
    commit(&state, 1);
    drop(bench.flusher);
    assert_eq!(bench.store.checkpoint(Partition(0)).unwrap(), Some(at(1)));
}

#[test]
fn a_shard_that_is_gone_gives_its_memory_back() {
    let bench = Bench::new(FlusherOptions::default());
    let state = bench.shard(0);
    commit(&state, 1);
    drop(state);
    eventually("the release", || bench.flusher.budget().used() == 0);
    bench.flusher.flush_now_blocking().unwrap();
    assert_eq!(bench.store.applied(), 0);
}

#[test]
fn opening_a_shard_again_starts_from_what_is_durable() {
    let bench = Bench::new(FlusherOptions::default());
    let former = bench.shard(0);
    commit(&former, 1);
    bench.flusher.flush_now_blocking().unwrap();
    commit(&former, 2);
    let state = bench.shard(0);
    assert_eq!(state.checkpoint(), Some(at(1)));
    bench.flusher.flush_now_blocking().unwrap();
    assert_eq!(
        bench.store.checkpoint(Partition(0)).unwrap(),
        Some(at(1)),
        "the former state is not flushed any more"
    );
    assert_eq!(former.get(TableId(0), b"k").unwrap().unwrap(), "2", "and still readable");
}
