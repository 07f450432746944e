//! The one driver that all peers run under: callers in closed loops, a warm-up, a measured window, an audit.
//!
//! A caller has one command at a time, and repeats it at once after a conflict. Its latency runs from the first
//! attempt to the acknowledgement. After the run the peer must hold exactly one event for each acknowledged command.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::peer::{Accounts, Deposit, ExecuteError};

/// How many callers work on how many accounts.
pub(crate) struct Workload {
    /// Its name in the report.
    pub name: &'static str,
    /// Tasks that each keep one command going.
    pub callers: u64,
    /// Accounts that the commands are spread over, evenly at random.
    pub accounts: u32,
}

/// What every peer is asked to do.
pub(crate) const WORKLOADS: [Workload; 3] = [
    Workload { name: "256 callers, 100 k aggregates", callers: 256, accounts: 100_000 },
    Workload { name: "1 caller, 100 k aggregates", callers: 1, accounts: 100_000 },
    Workload { name: "64 callers, 1 hot aggregate", callers: 64, accounts: 1 },
];

/// How long a run takes.
#[derive(Clone, Copy)]
pub(crate) struct Schedule {
    /// Time before the measured window.
    pub warm_up: Duration,
    /// Length of the measured window.
    pub measured: Duration,
}

/// What one run measured.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// Commands acknowledged within the window, per second.
    pub commands_per_second: f64,
    /// Median latency of those; absent when there was none.
    pub p50_ms: Option<f64>,
    /// 99th percentile of their latency.
    pub p99_ms: Option<f64>,
    /// Attempts within the window that met a conflict and were repeated.
    pub conflicts: u64,
    /// Commands still in conflict when the window closed, and given up.
    pub abandoned: u64,
    /// Events stored in the whole run, one for each acknowledged command.
    pub events: u64,
    /// Events that the peer's view never got; absent without a view.
    pub view_updates_lost: Option<u64>,
}

/// Runs a workload, and audits what it left.
///
/// # Errors
///
/// The first failure of a command that is not a conflict, or events that do not match the acknowledgements.
pub(crate) async fn run(
    accounts: Arc<dyn Accounts>,
    workload: &Workload,
    schedule: Schedule,
) -> anyhow::Result<Figures> {
    let window = Window::opening_after(schedule);
    let mut callers = JoinSet::new();
    for seed in 0..workload.callers {
        callers.spawn(call(Arc::clone(&accounts), workload.accounts, window, seed));
    }
    let mut tally = Tally::default();
    while let Some(caller) = callers.join_next().await {
        tally.add(caller??);
    }
    let audit = accounts.audit().await?;
    ensure!(
        audit.events == tally.acknowledged,
        "{} events are stored for {} acknowledged commands",
        audit.events,
        tally.acknowledged
    );
    let view_updates_lost = audit.viewed.map(|viewed| audit.events.saturating_sub(viewed));
    Ok(tally.figures(schedule.measured, view_updates_lost))
}

async fn call(accounts: Arc<dyn Accounts>, count: u32, window: Window, seed: u64) -> anyhow::Result<Tally> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut tally = Tally::default();
    while Instant::now() < window.closes {
        let account = format!("account-{}", rng.u32(..count));
        let deposit = Deposit::random(&mut rng);
        insist(&*accounts, &account, deposit, window, &mut tally).await?;
    }
    Ok(tally)
}

/// Repeats one command until it is acknowledged or the window has closed.
async fn insist(
    accounts: &dyn Accounts,
    account: &str,
    deposit: Deposit,
    window: Window,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let answer = accounts.execute(account, deposit.clone()).await;
        let now = Instant::now();
        match answer {
            Ok(()) => {
                tally.acknowledge(now.duration_since(began), window.holds(now));
                return Ok(());
            }
            Err(ExecuteError::Conflict) if now < window.closes => {
                tally.conflicts += u64::from(window.holds(now))
            }
            Err(ExecuteError::Conflict) => {
                tally.abandoned += 1;
                return Ok(());
            }
            Err(ExecuteError::Failed(error)) => return Err(error),
        }
    }
}

#[derive(Clone, Copy)]
struct Window {
    opens: Instant,
    closes: Instant,
}

impl Window {
    fn opening_after(schedule: Schedule) -> Self {
        let opens = Instant::now() + schedule.warm_up;
        Self { opens, closes: opens + schedule.measured }
    }

    fn holds(&self, instant: Instant) -> bool {
        (self.opens..self.closes).contains(&instant)
    }
}

#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    acknowledged: u64,
    conflicts: u64,
    abandoned: u64,
}

impl Tally {
    fn acknowledge(&mut self, latency: Duration, measured: bool) {
        self.acknowledged += 1;
        if measured {
            self.latencies.push(latency);
        }
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.acknowledged += other.acknowledged;
        self.conflicts += other.conflicts;
        self.abandoned += other.abandoned;
    }

    fn figures(mut self, measured: Duration, view_updates_lost: Option<u64>) -> Figures {
        self.latencies.sort_unstable();
        Figures {
            commands_per_second: self.latencies.len() as f64 / measured.as_secs_f64(),
            p50_ms: quantile_ms(&self.latencies, 0.50),
            p99_ms: quantile_ms(&self.latencies, 0.99),
            conflicts: self.conflicts,
            abandoned: self.abandoned,
            events: self.acknowledged,
            view_updates_lost,
        }
    }
}

/// The smallest latency that a share `q` of all does not exceed.
fn quantile_ms(sorted: &[Duration], q: f64) -> Option<f64> {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map(|latency| latency.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use std::mem;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::peer::Audit;

    /// Stores in memory, 1 ms an attempt: the first attempt of each command is a conflict.
    #[derive(Default)]
    struct Toy {
        tried: Mutex<String>,
        events: AtomicU64,
        loses_events: bool,
    }

    #[async_trait]
    impl Accounts for Toy {
        async fn execute(&self, _account: &str, deposit: Deposit) -> Result<(), ExecuteError> {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let before = mem::replace(&mut *self.tried.lock().unwrap(), deposit.memo.clone());
            if before != deposit.memo {
                return Err(ExecuteError::Conflict);
            }
            self.events.fetch_add(u64::from(!self.loses_events), Ordering::Relaxed);
            Ok(())
        }

        async fn audit(&self) -> anyhow::Result<Audit> {
            let events = self.events.load(Ordering::Relaxed);
            Ok(Audit { events, viewed: Some(events.saturating_sub(1)) })
        }
    }

    async fn drive(toy: Toy, measured_ms: u64) -> anyhow::Result<Figures> {
        let workload = Workload { name: "", callers: 1, accounts: 1 };
        let schedule =
            Schedule { warm_up: Duration::from_millis(10), measured: Duration::from_millis(measured_ms) };
        run(Arc::new(toy), &workload, schedule).await
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_falls_into_the_window_is_measured() {
        let figures = drive(Toy::default(), 101).await.unwrap();
        // 111 ms of 2 ms a command. Instants of the window: 10 (acknowledged) to 110 (acknowledged).
        let expected = Figures {
            commands_per_second: 51.0 / 0.101,
            p50_ms: Some(2.0),
            p99_ms: Some(2.0),
            conflicts: 50,
            abandoned: 1,
            events: 55,
            view_updates_lost: Some(1),
        };
        assert_eq!(figures, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn an_acknowledged_command_without_its_event_fails_the_run() {
        let toy = Toy { loses_events: true, ..Toy::default() };
        let error = drive(toy, 10).await.unwrap_err().to_string();
        assert_eq!(error, "0 events are stored for 10 acknowledged commands");
    }

    #[test]
    fn quantiles_are_ranks() {
        let latencies: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(quantile_ms(&latencies, 0.50), Some(100.0));
        assert_eq!(quantile_ms(&latencies, 0.99), Some(198.0));
        assert_eq!(quantile_ms(&latencies[..1], 0.99), Some(1.0));
        assert_eq!(quantile_ms(&[], 0.50), None);
    }
}
