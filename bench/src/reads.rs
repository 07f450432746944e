//! Point reads of a view: idle, and while writes saturate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::fixture::{Bank, account_id, runtime};
use crate::report::{Mark, Report, percentile};

const ACCOUNTS: u64 = 100_000;
const MEASURED: Duration = Duration::from_secs(5);

/// Reads of random keys from two tasks on two threads.
pub(crate) fn point_reads(report: &mut Report) {
    let runtime = runtime();
    let bank = Arc::new(runtime.block_on(filled()));
    let start = Instant::now();
    let readers: Vec<_> =
        (0..2).map(|seed| runtime.spawn(read(bank.clone(), seed, start, 1 << 14))).collect();
    let reads: usize =
        readers.into_iter().map(|reader| runtime.block_on(reader).expect("a reader ends").0).sum();
    let per_second = reads as f64 / MEASURED.as_secs_f64();
    report.add("point reads of a view, two threads", per_second, "/s", Mark::AtLeast(1_000_000.0));
    runtime.block_on(Arc::into_inner(bank).expect("the readers are gone").close());
}

/// The 99th percentile of a read while 64 callers write, against an idle one.
pub(crate) fn under_writes(report: &mut Report) {
    let runtime = runtime();
    let bank = Arc::new(runtime.block_on(filled()));
    let idle =
        runtime.block_on(runtime.spawn(read(bank.clone(), 1, Instant::now(), 1))).expect("a reader ends").1;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..64).map(|writer| runtime.spawn(write(bank.clone(), writer, stop.clone()))).collect();
    let busy =
        runtime.block_on(runtime.spawn(read(bank.clone(), 2, Instant::now(), 1))).expect("a reader ends").1;
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| runtime.block_on(writer).expect("a writer ends"));
    report.add("read p99, idle", idle as f64 / 1_000.0, "µs", Mark::Told);
    report.add("read p99, under writes", busy as f64 / 1_000.0, "µs", Mark::Told);
    report.add("read p99, under writes against idle", busy as f64 / idle as f64, "×", Mark::AtMost(3.0));
    runtime.block_on(Arc::into_inner(bank).expect("everybody is gone").close());
}

async fn filled() -> Bank {
    let bank = Arc::new(Bank::open(true).await);
    let writers: Vec<_> = (0..256)
        .map(|writer| {
            let bank = bank.clone();
            tokio::spawn(async move {
                for account in (writer..ACCOUNTS).step_by(256) {
                    bank.book(account, 0, None).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer ends well");
    }
    Arc::into_inner(bank).expect("the writers are gone")
}

/// Reads until the time is over: how many reads, and the 99th percentile in nanoseconds. Gives way every `burst`.
async fn read(bank: Arc<Bank>, seed: u64, start: Instant, burst: usize) -> (usize, u64) {
    let view = bank.running.view(bank.entries.as_ref().expect("a bank with a view")).expect("the view runs");
    let keys: Vec<String> = (0..ACCOUNTS).map(account_id).collect();
    let (mut reads, mut random) = (0, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut times = Vec::with_capacity(1 << 20);
    while start.elapsed() < MEASURED {
        for _ in 0..64 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let asked = Instant::now();
            let answer = view.get(&keys[(random % ACCOUNTS) as usize]).await.expect("the view answers");
            assert!(answer.value.is_some(), "every account has an entry");
            times.push(asked.elapsed().as_nanos() as u64);
            reads += 1;
            if reads % burst == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
    times.sort_unstable();
    (reads, percentile(&times, 0.99))
}

async fn write(bank: Arc<Bank>, writer: u64, stop: Arc<AtomicBool>) {
    let mut n = writer;
    while !stop.load(Ordering::Relaxed) {
        bank.book(n % ACCOUNTS, n, None).await;
        n += 64;
    }
}
