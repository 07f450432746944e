//! Commands per second, each durable, with version check and outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::fixture::{Bank, runtime};
use crate::report::{Mark, Report, percentile};

const ACCOUNTS: u64 = 100_000;
const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(8);

/// 256 callers over 100,000 accounts, each expecting the version that it knows.
pub(crate) fn many_callers(report: &mut Report) {
    let figures = runtime().block_on(load(256, Spread::Accounts(ACCOUNTS)));
    report.add("commands, 256 callers, 100 k aggregates", figures.per_second, "/s", Mark::AtLeast(100_000.0));
    report.add("  p50", figures.p50_ms, "ms", Mark::Told);
    report.add("  p99", figures.p99_ms, "ms", Mark::Told);
}

/// One caller, one command after another.
pub(crate) fn one_caller(report: &mut Report) {
    let figures = runtime().block_on(load(1, Spread::Accounts(1_000)));
    report.add("commands, one caller", figures.per_second, "/s", Mark::Told);
    report.add("  p50", figures.p50_ms, "ms", Mark::AtMost(0.6));
    report.add("  p99", figures.p99_ms, "ms", Mark::Told);
}

/// 64 callers on one account.
pub(crate) fn hot_aggregate(report: &mut Report) {
    let figures = runtime().block_on(load(64, Spread::One));
    report.add("commands to one aggregate, 64 callers", figures.per_second, "/s", Mark::AtLeast(20_000.0));
    report.add("  p99", figures.p99_ms, "ms", Mark::Told);
}

#[derive(Clone, Copy)]
enum Spread {
    /// Each caller has accounts of its own, and knows their versions.
    Accounts(u64),
    One,
}

struct Figures {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

async fn load(callers: u64, spread: Spread) -> Figures {
    let bank = Arc::new(Bank::open(false).await);
    let counted = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| tokio::spawn(call(bank.clone(), caller, callers, spread, start, counted.clone())))
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("a caller ends well"));
    }
    latencies.sort_unstable();
    Arc::into_inner(bank).expect("the callers are gone").close().await;
    let ms = |part| percentile(&latencies, part) as f64 / 1_000.0;
    Figures {
        per_second: counted.load(Ordering::Relaxed) as f64 / MEASURED.as_secs_f64(),
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
    }
}

/// One caller: latencies in microseconds of what it sent in the measured time.
async fn call(
    bank: Arc<Bank>,
    caller: u64,
    callers: u64,
    spread: Spread,
    start: Instant,
    counted: Arc<AtomicU64>,
) -> Vec<u64> {
    let mut latencies = Vec::new();
    let mut n = 0;
    loop {
        let (account, expect) = match spread {
            Spread::One => (0, None),
            Spread::Accounts(accounts) => {
                let own = (accounts / callers).max(1);
                (caller + (n % own) * callers, Some(n / own))
            }
        };
        let sent = Instant::now();
        bank.book(account, n, expect).await;
        let since_start = start.elapsed();
        if since_start > WARM_UP + MEASURED {
            return latencies;
        }
        if since_start > WARM_UP {
            counted.fetch_add(1, Ordering::Relaxed);
            latencies.push(sent.elapsed().as_micros() as u64);
        }
        n += 1;
    }
}
