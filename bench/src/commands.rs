//! Commands per second, each durable, with version check and outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::fixture::{Bank, Kafka, runtime};
use crate::report::{Mark, Report, percentile};

const ACCOUNTS: u64 = 100_000;
const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(8);

/// 256 callers over 100,000 accounts, each expecting the version that it knows.
pub(crate) fn many_callers(report: &mut Report) {
    let figures =
        runtime().block_on(async { load(Bank::open(false).await, 256, Spread::Accounts(ACCOUNTS)).await });
    report.add("commands, 256 callers, 100 k aggregates", figures.per_second, "/s", Mark::AtLeast(100_000.0));
    report.add("  p50", figures.p50_ms, "ms", Mark::Told);
    report.add("  p99", figures.p99_ms, "ms", Mark::Told);
}

/// One caller, one command after another.
pub(crate) fn one_caller(report: &mut Report) {
    let figures =
        runtime().block_on(async { load(Bank::open(false).await, 1, Spread::Accounts(1_000)).await });
    report.add("commands, one caller", figures.per_second, "/s", Mark::Told);
    report.add("  p50", figures.p50_ms, "ms", Mark::AtMost(0.6));
    report.add("  p99", figures.p99_ms, "ms", Mark::Told);
}

/// 64 callers on one account.
pub(crate) fn hot_aggregate(report: &mut Report) {
    let figures = runtime().block_on(async { load(Bank::open(false).await, 64, Spread::One).await });
    report.add("commands to one aggregate, 64 callers", figures.per_second, "/s", Mark::AtLeast(20_000.0));
    report.add("  p99", figures.p99_ms, "ms", Mark::Told);
}

/// 1,000 callers over 100,000 accounts on a Kafka cluster, and then one caller.
pub(crate) fn on_kafka(report: &mut Report) {
    let kafka = Kafka::find();
    let many = runtime().block_on(async {
        let bank = Bank::open_on_kafka(&kafka, "many").await;
        load(bank, 1_000, Spread::Accounts(ACCOUNTS)).await
    });
    report.add(
        "commands on Kafka, 1,000 callers, 100 k aggregates",
        many.per_second,
        "/s",
        Mark::AtLeast(10_000.0),
    );
    report.add("  p50", many.p50_ms, "ms", Mark::Told);
    report.add("  p99", many.p99_ms, "ms", Mark::AtMost(80.0));
    report.add("  processor time of this process a command", many.cpu_us, "µs", Mark::Told);
    let one = runtime()
        .block_on(async { load(Bank::open_on_kafka(&kafka, "one").await, 1, Spread::Accounts(1_000)).await });
    report.add("commands on Kafka, one caller", one.per_second, "/s", Mark::Told);
    report.add("  p50", one.p50_ms, "ms", Mark::Told);
    report.add("  p99", one.p99_ms, "ms", Mark::Told);
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
    /// Of this whole process, callers included.
    cpu_us: f64,
}

async fn load(bank: Bank, callers: u64, spread: Spread) -> Figures {
    let bank = Arc::new(bank);
    let counted = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let cpu = tokio::spawn(async {
        tokio::time::sleep(WARM_UP).await;
        let before = cpu_time();
        tokio::time::sleep(MEASURED).await;
        cpu_time() - before
    });
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
    let counted = counted.load(Ordering::Relaxed) as f64;
    Figures {
        per_second: counted / MEASURED.as_secs_f64(),
        cpu_us: cpu.await.expect("the time is taken") * 1e6 / counted.max(1.0),
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

/// Seconds of processor time that this process has used.
fn cpu_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    ticks / 100.0
}
