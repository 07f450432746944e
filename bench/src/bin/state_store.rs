//! The state store alone: LMDB, and the overlay over it.
//!
//! `cargo run --release -p headwater-bench --bin state_store`. The store lies in a temporary directory under the current
//! one, so that syncs are a disk's.

#[path = "../report.rs"]
mod report;

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater::core::clock::SystemClock;
use headwater::core::store::{
    Checkpoint, KeyRange, StateBatch, StateChange, StateStore, StateStores, TableId,
};
use headwater::core::topic::Partition;
use headwater::store::lmdb::{LmdbOptions, LmdbStores};
use headwater::store::overlay::ShardState;
use headwater::store::{FlushReport, Flusher, FlusherOptions};
use report::{Mark, Report, percentile};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: u64 = 1_000_000;
const BATCH: u64 = 100_000;
const COMMIT: u64 = 10_000;
/// A count, and a small document.
const VALUES_BYTES: [usize; 2] = [16, 100];
const MEASURED: Duration = Duration::from_secs(4);
const SHARDS: u64 = 12;
const TABLE: TableId = TableId(0);

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let dir = tempfile::tempdir_in(".").expect("the current directory takes a temporary one");
    let open = || LmdbStores::new(dir.path(), LmdbOptions::default()).expect("the directory is ours");
    let mut report = Report::default();
    fill(&*open().open("rows", &["rows"]).expect("the store opens"), VALUES_BYTES[1]);
    if is_wanted("writes") {
        writes(&mut report, &open());
    }
    if is_wanted("open") {
        opening(&mut report, dir.path());
    }
    let store = open().open("rows", &["rows"]).expect("the store opens");
    if is_wanted("reads") {
        store_reads(&mut report, &store);
    }
    if is_wanted("overlay") {
        overlay(&mut report, &store);
    }
    println!("{report}");
}

/// Random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

fn key(number: u64) -> Bytes {
    Bytes::from(format!("customer-{number:012}"))
}

fn shard(number: u64) -> Partition {
    Partition((number % SHARDS) as u32)
}

/// Changes of some keys, sorted, at most one for each.
fn changes(mut numbers: Vec<u64>, value_bytes: usize) -> Vec<StateChange> {
    numbers.sort_unstable();
    numbers.dedup();
    let value = |number| Some(vec![number as u8; value_bytes].into());
    numbers
        .into_iter()
        .map(|number| StateChange { table: TABLE, key: key(number), value: value(number) })
        .collect()
}

/// The batches of one apply: one for each shard.
fn batches(numbers: impl Iterator<Item = u64>, value_bytes: usize) -> Vec<StateBatch> {
    let mut of_shards = vec![Vec::new(); SHARDS as usize];
    numbers.for_each(|number| of_shards[(number % SHARDS) as usize].push(number));
    let batch = |(numbers, shard)| StateBatch {
        shard: Partition(shard),
        changes: changes(numbers, value_bytes),
        checkpoint: Checkpoint::default(),
    };
    of_shards.into_iter().zip(0..).map(batch).collect()
}

/// Applies batches made before; upserts in a second, each apply synced.
fn apply_all(store: &dyn StateStore, applies: &[Vec<StateBatch>]) -> f64 {
    let started = Instant::now();
    applies.iter().for_each(|batches| store.apply(batches).expect("the store takes it"));
    let changes: usize = applies.iter().flatten().map(|batch| batch.changes.len()).sum();
    changes as f64 / started.elapsed().as_secs_f64()
}

/// One million rows, shard by shard, in the order of their keys.
fn fill(store: &dyn StateStore, value_bytes: usize) -> f64 {
    let of_shard = |shard| (shard..KEYS).step_by(SHARDS as usize);
    let applies: Vec<_> = (0..SHARDS).map(|shard| batches(of_shard(shard), value_bytes)).collect();
    let applies: Vec<_> = applies
        .into_iter()
        .map(|batches| batches.into_iter().filter(|batch| !batch.changes.is_empty()).collect())
        .collect();
    apply_all(store, &applies)
}

fn writes(report: &mut Report, stores: &LmdbStores) {
    for bytes in VALUES_BYTES {
        let store = stores.open(&format!("ascending-{bytes}"), &["rows"]).expect("the store opens");
        let mark = || Mark::AtLeast(1_000_000.0);
        report.add(format!("appends of {bytes} B"), fill(&*store, bytes), "/s", mark());
        let mut random = Random(7);
        let mut scattered = |rows: u64| -> Vec<_> {
            (0..rows / BATCH).map(|_| batches((0..BATCH).map(|_| random.below(KEYS)), bytes)).collect()
        };
        let (fill, again) = (scattered(KEYS), scattered(KEYS));
        let store = stores.open(&format!("random-{bytes}"), &["rows"]).expect("the store opens");
        report.add(
            format!("random upserts of {bytes} B, from empty"),
            apply_all(&*store, &fill),
            "/s",
            mark(),
        );
        report.add(format!("random upserts of {bytes} B, again"), apply_all(&*store, &again), "/s", mark());
        report.add("bytes of the store", store.size_bytes() as f64 / 1e6, "MB", Mark::Told);
        let one = batches([1].into_iter(), bytes);
        let started = Instant::now();
        (0..200).for_each(|_| store.apply(&one).expect("the store takes it"));
        report.add(
            "12 shards of a row at most, synced",
            started.elapsed().as_secs_f64() * 1e3 / 200.0,
            "ms",
            Mark::Told,
        );
    }
}

fn opening(report: &mut Report, dir: &std::path::Path) {
    for (name, check_first_bytes_max) in [("checked beside", 0), ("checked first", u64::MAX)] {
        let mut options = LmdbOptions::default();
        options.check_first_bytes_max = check_first_bytes_max;
        let started = Instant::now();
        let stores = LmdbStores::new(dir, options).expect("the directory is ours");
        let store = stores.open("rows", &["rows"]).expect("the store opens");
        let count = |shard| store.count(Partition(shard), TABLE).expect("it counts");
        assert_eq!((0..SHARDS as u32).map(count).sum::<u64>(), KEYS);
        let ms = started.elapsed().as_secs_f64() * 1e3;
        report.add(format!("open with 1 M rows, {name}"), ms, "ms", Mark::Told);
    }
}

/// Reads with `read` from some threads; reads in a second, all together.
fn reads(threads: u64, read: impl Fn(Partition, &[u8]) -> bool + Sync) -> f64 {
    let keys: Vec<_> = (0..KEYS).map(key).collect();
    let done = AtomicU64::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 1..=threads {
            let (keys, done, read) = (&keys, &done, &read);
            scope.spawn(move || {
                let (mut random, mut count) = (Random(thread), 0);
                while started.elapsed() < MEASURED {
                    for _ in 0..100 {
                        let number = random.below(KEYS);
                        assert!(read(shard(number), &keys[number as usize]), "every key is there");
                    }
                    count += 100;
                }
                done.fetch_add(count, Ordering::Relaxed);
            });
        }
    });
    done.into_inner() as f64 / started.elapsed().as_secs_f64()
}

fn store_reads(report: &mut Report, store: &Arc<dyn StateStore>) {
    let get = |shard, key: &[u8]| store.get(shard, TABLE, key).expect("it reads").is_some();
    report.add("point reads of the store, one thread", reads(1, get), "/s", Mark::Told);
    report.add("point reads of the store, two threads", reads(2, get), "/s", Mark::AtLeast(1_000_000.0));
    let (mut rows, started) = (0u64, Instant::now());
    for shard in 0..SHARDS as u32 {
        let visit = &mut |_: &[u8], _: &[u8]| {
            rows += 1;
            ControlFlow::Continue(())
        };
        store.scan(Partition(shard), TABLE, &KeyRange::all(), visit).expect("it scans");
    }
    report.add("rows scanned", rows as f64 / started.elapsed().as_secs_f64(), "/s", Mark::Told);
}

type States = Vec<Arc<ShardState>>;

fn overlay(report: &mut Report, store: &Arc<dyn StateStore>) {
    let on_flush = Box::new(|flush: &FlushReport<'_>| assert!(flush.error.is_none(), "{:?}", flush.error));
    let mut options = FlusherOptions::default();
    // Long enough for the measurement with unflushed rows.
    options.age_ms = 60_000;
    let flusher = Flusher::start(options, Arc::new(SystemClock), on_flush).expect("a thread can be made");
    let open = |shard| flusher.open("rows", store.clone(), Partition(shard)).expect("it opens");
    let states: States = (0..SHARDS as u32).map(open).collect();
    let get = |shard: Partition, key: &[u8]| {
        states[shard.0 as usize].get_at(TABLE, key).expect("it reads").0.is_some()
    };
    report.add("point reads of the state, two threads", reads(2, get), "/s", Mark::AtLeast(1_000_000.0));
    let mut random = Random(3);
    for batch in batches((0..BATCH / 2).map(|_| random.below(KEYS)), VALUES_BYTES[1]) {
        states[batch.shard.0 as usize].commit(batch.changes, batch.checkpoint);
    }
    report.add("the same with 50 k rows unflushed", reads(2, get), "/s", Mark::AtLeast(1_000_000.0));
    under_commits(report, &flusher, &states);
}

fn under_commits(report: &mut Report, flusher: &Flusher, states: &States) {
    let keys: Vec<_> = (0..KEYS).map(key).collect();
    let get = |number: u64| {
        states[shard(number).0 as usize].get_at(TABLE, &keys[number as usize]).expect("it reads");
    };
    let page = |number: u64| {
        let mut range = KeyRange::all();
        range.from = Bound::Included(keys[number as usize].clone());
        states[shard(number).0 as usize].page(TABLE, &range, 50).expect("it reads");
    };
    let reads: [(&str, &(dyn Fn(u64) + Sync)); 2] = [("read", &get), ("page of 50", &page)];
    for (name, read) in reads {
        flusher.flush_now_blocking().expect("it flushes");
        let idle = latency(read);
        let done = AtomicBool::new(false);
        let (busy, commits) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| commit_until(&done, flusher, states));
            let busy = latency(read);
            done.store(true, Ordering::Relaxed);
            (busy, writer.join().expect("the writer ends"))
        });
        report.add(format!("{name} p99, idle"), idle as f64 / 1e3, "µs", Mark::Told);
        report.add(format!("{name} p99, under commits of 10 k"), busy as f64 / 1e3, "µs", Mark::Told);
        report.add(
            format!("{name} p99, busy against idle"),
            busy as f64 / idle as f64,
            "×",
            Mark::AtMost(3.0),
        );
        report.add("rows committed and flushed meanwhile", commits, "/s", Mark::Told);
    }
}

/// The 99th percentile of a read, in nanoseconds.
fn latency(read: &dyn Fn(u64)) -> u64 {
    let mut random = Random(11);
    let mut samples = Vec::with_capacity(8 << 20);
    let started = Instant::now();
    while started.elapsed() < MEASURED {
        for _ in 0..100 {
            let number = random.below(KEYS);
            let began = Instant::now();
            read(number);
            samples.push(began.elapsed().as_nanos() as u64);
        }
    }
    samples.sort_unstable();
    percentile(&samples, 0.99)
}

/// Commits batches of random rows, made before, as fast as the flusher lets it; rows in a second.
fn commit_until(done: &AtomicBool, flusher: &Flusher, states: &States) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut random = Random(5);
    let commits: Vec<_> = (0..48)
        .map(|commit| {
            let numbers = (0..COMMIT).map(|_| random.below(KEYS / SHARDS - 1) * SHARDS + commit % SHARDS);
            ((commit % SHARDS) as usize, changes(numbers.collect(), VALUES_BYTES[1]))
        })
        .collect();
    let (mut rows, started) = (0, Instant::now());
    for (shard, changes) in commits.iter().cycle() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        runtime.block_on(flusher.budget().room());
        rows += changes.len();
        states[*shard].commit(changes.clone(), Checkpoint::default());
    }
    rows as f64 / started.elapsed().as_secs_f64()
}
