//! How busy a process is with small batches, and when its shards gather records for a moment before they take them.
//!
//! Taking a record costs little; waking its shard, reading the log and committing cost several times as much, and a shard
//! that is woken for each record pays them for each. Where records come now and then, they are taken at once. Where a
//! process takes thousands of small batches a second, its shards rest between two, so that several records share what a
//! batch costs, and requests find the processor free.
//!
//! Invariants: a shard with more to read than it took does not rest; one that somebody waits for does not, and is woken
//! where it does. A rest is never longer than [`GATHER`].

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cell::ShardCell;

/// For how long records are gathered.
const GATHER: Duration = Duration::from_millis(10);
/// Batches within that time from which on a process is busy: two thousand a second.
const BUSY: u32 = 20;
/// Records from which on a batch is large enough to pay for itself.
const SMALL: usize = 256;

/// The pace of all shards of a process.
pub(crate) struct Pace {
    since: Instant,
    taken: Mutex<Taken>,
}

/// Batches taken in the current window of time and in the one before.
#[derive(Debug, Default)]
struct Taken {
    window: u128,
    now: u32,
    before: u32,
}

/// Until when a shard rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// For a while of its own: shards that only keep state spread over time.
    Own,
    /// Until the next moment that all share: what they append then goes into one commit of the log.
    Shared,
}

impl Default for Pace {
    fn default() -> Self {
        Self { since: Instant::now(), taken: Mutex::default() }
    }
}

impl Taken {
    /// Counts a batch taken in this window; answers whether there are many.
    fn is_busy_in(&mut self, window: u128) -> bool {
        if window != self.window {
            let follows = window == self.window + 1;
            self.before = if follows { self.now } else { 0 };
            (self.window, self.now) = (window, 0);
        }
        self.now = self.now.saturating_add(1);
        self.now.max(self.before) >= BUSY
    }
}

impl Pace {
    /// Lets a shard rest that took a small batch while the process is busy with such, until `stop` or somebody waits for
    /// it.
    pub(crate) async fn rest(&self, rest: Rest, records: usize, cell: &ShardCell, stop: &CancellationToken) {
        if let Some(until) = self.until(rest, records, Instant::now())
            && !cell.is_awaited()
        {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = cell.hurried() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    fn until(&self, rest: Rest, records: usize, now: Instant) -> Option<Instant> {
        if records == 0 || records >= SMALL {
            return None;
        }
        let window = now.duration_since(self.since).as_nanos() / GATHER.as_nanos();
        let is_busy = self.taken.lock().is_busy_in(window);
        let windows = u32::try_from(window).unwrap_or(u32::MAX).saturating_add(1);
        is_busy.then(|| match rest {
            Rest::Own => now + GATHER,
            Rest::Shared => (self.since + GATHER.saturating_mul(windows)).min(now + GATHER),
        })
    }
}

#[cfg(test)]
mod tests {
    use headwater_core::topic::Partition;
    use tokio::time::{advance, timeout};

    use super::super::cell::Bell;
    use super::*;

    /// Whether a shard rests after each of `batches` that are taken so far apart.
    async fn rests(apart: Duration, batches: &[usize]) -> Vec<bool> {
        let pace = Pace::default();
        let mut rests = Vec::new();
        for records in batches {
            rests.push(pace.until(Rest::Own, *records, Instant::now()).is_some());
            advance(apart).await;
        }
        rests
    }

    #[tokio::test(start_paused = true)]
    async fn shards_rest_after_small_batches_while_many_are_taken() {
        let seldom = rests(Duration::from_millis(1), &[1; 100]).await;
        assert!(!seldom.contains(&true), "a thousand a second are taken at once");
        let often = rests(Duration::from_micros(100), &[1; 300]).await;
        assert_eq!(often.iter().position(|rests| *rests), Some(BUSY as usize - 1));
        assert!(!often[BUSY as usize..].contains(&false), "also at the beginning of a window");
        let large = rests(Duration::from_micros(100), &[SMALL; 300]).await;
        assert!(!large.contains(&true), "large ones pay for themselves");
        let nothing = rests(Duration::from_micros(100), &[0; 300]).await;
        assert!(!nothing.contains(&true), "and what holds no records costs nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_append_rest_until_a_moment_of_all_and_never_longer_than_the_others() {
        let pace = Pace::default();
        let since = pace.since;
        for step in 0..100 {
            let now = Instant::now();
            if let Some(until) = pace.until(Rest::Shared, 1, now) {
                assert_eq!(until.duration_since(since).as_micros() % GATHER.as_micros(), 0, "step {step}");
                assert!(now < until && until <= now + GATHER, "step {step}");
            }
            advance(Duration::from_micros(170)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_ends_once_somebody_waits_for_the_shard_or_it_is_to_stop() {
        let busy = || {
            let pace = Pace::default();
            for _ in 0..BUSY {
                pace.until(Rest::Own, 1, Instant::now());
            }
            pace
        };
        let cell = ShardCell::new(Partition(0), Bell::default());
        let stop = CancellationToken::new();
        let long = GATHER - Duration::from_millis(1);
        let (pace, begun) = (busy(), Instant::now());
        pace.rest(Rest::Own, 1, &cell, &stop).await;
        assert!(begun.elapsed() >= GATHER, "nobody waits");

        let waits = async {
            tokio::task::yield_now().await;
            cell.watch_committed()
        };
        let rest = async { timeout(long, pace.rest(Rest::Own, 1, &cell, &stop)).await.expect("it is woken") };
        let ((), waiting) = tokio::join!(rest, waits);
        timeout(long, pace.rest(Rest::Own, 1, &cell, &stop)).await.expect("it does not rest while one waits");
        drop(waiting);

        stop.cancel();
        timeout(long, pace.rest(Rest::Own, 1, &cell, &stop)).await.expect("it is to stop");
    }
}
