//! How busy a process is with small batches, and when its shards gather records for a moment before they take them.
//!
//! Taking a record costs little; waking its shard, reading the log and committing cost several times as much, and a shard
//! that is woken for each record pays them for each. Where records come now and then, or in a burst, they are taken at once.
//! Where a process has taken thousands of small batches a second for a while, its shards rest between two, so that several
//! records share what a batch costs, and requests find the processor free.
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
/// For so many of those times it is busy before shards rest: a tenth of a second, so that no burst is held up.
const BUSY_FOR: u64 = 10;
/// As many quiet ones end that, however long it has been busy.
const QUIET_FOR: u64 = 10;
/// Records from which on a batch is large enough to pay for itself.
const SMALL: usize = 256;

/// The pace of all shards of a process.
pub(crate) struct Pace {
    since: Instant,
    taken: Mutex<Taken>,
}

/// Batches taken in the current window of time, and how many more windows before it were busy than quiet.
#[derive(Debug, Default)]
struct Taken {
    window: u64,
    now: u32,
    busy: u64,
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
    /// Counts a batch taken in this window; answers whether there have been many for a while.
    ///
    /// A shard may come with a window that is over when another one came first.
    fn is_busy_in(&mut self, window: u64) -> bool {
        if window > self.window {
            let was_busy = u64::from(self.now >= BUSY);
            let quiet = window - self.window - was_busy;
            self.busy = (self.busy + was_busy).min(BUSY_FOR + QUIET_FOR).saturating_sub(quiet);
            (self.window, self.now) = (window, 0);
        }
        self.now = self.now.saturating_add(1);
        self.busy >= BUSY_FOR
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
        let window = now.duration_since(self.since).as_millis() as u64 / GATHER.as_millis() as u64;
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
    use tokio::time::advance;

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

    /// Whether a shard rests after batches that follow such a silence in a busy process.
    async fn rest_after(silence: Duration) -> [bool; 2] {
        let pace = busy().await;
        advance(silence).await;
        [(); 2].map(|()| pace.until(Rest::Own, 1, Instant::now()).is_some())
    }

    #[tokio::test(start_paused = true)]
    async fn shards_rest_after_small_batches_while_many_are_taken() {
        let seldom = rests(Duration::from_millis(1), &[1; 100]).await;
        assert!(!seldom.contains(&true), "a thousand a second are taken at once");
        let burst = rests(Duration::ZERO, &[1; 2_000]).await;
        assert!(!burst.contains(&true), "as is a burst");
        let often = rests(Duration::from_micros(100), &[1; 2_000]).await;
        let first = often.iter().position(|rests| *rests).expect("ten thousand a second are many");
        assert_eq!(first, 1_000, "after a tenth of a second");
        assert!(!often[first..].contains(&false), "also at the beginning of a window");
        assert_eq!(rest_after(2 * GATHER).await, [true, true], "a short silence ends nothing");
        assert_eq!(rest_after(20 * GATHER).await, [false, false], "a longer one does");
        let large = rests(Duration::from_micros(100), &[SMALL; 2_000]).await;
        assert!(!large.contains(&true), "large ones pay for themselves");
        let nothing = rests(Duration::from_micros(100), &[0; 2_000]).await;
        assert!(!nothing.contains(&true), "and what holds no records costs nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_append_rest_until_a_moment_of_all_and_never_longer_than_the_others() {
        let pace = Pace::default();
        let since = pace.since;
        let mut rests = 0;
        for step in 0..2_000 {
            let now = Instant::now();
            if let Some(until) = pace.until(Rest::Shared, 1, now) {
                assert_eq!(until.duration_since(since).as_micros() % GATHER.as_micros(), 0, "step {step}");
                assert!(now < until && until <= now + GATHER, "step {step}");
                rests += 1;
            }
            advance(Duration::from_micros(170)).await;
        }
        assert!(rests > 1_000, "{rests} rests");
    }

    #[test]
    fn a_batch_of_a_window_that_is_over_counts_in_the_one_that_is_not() {
        let mut taken = Taken::default();
        let mut batches = (0..2 * BUSY_FOR).flat_map(|window| [window; BUSY as usize + 1]);
        assert!(!batches.by_ref().take(BUSY as usize).any(|window| taken.is_busy_in(window)));
        for window in batches {
            taken.is_busy_in(window);
        }
        let last = taken.window;
        assert!(taken.is_busy_in(last - 1) && taken.is_busy_in(0) && taken.is_busy_in(last));
        assert_eq!(taken.window, last);
        assert!(taken.is_busy_in(last + 1));
    }

    /// A pace at which shards rest.
    async fn busy() -> Pace {
        let pace = Pace::default();
        for _ in 0..BUSY_FOR + QUIET_FOR {
            for _ in 0..BUSY {
                pace.until(Rest::Own, 1, Instant::now());
            }
            advance(GATHER).await;
        }
        pace
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_ends_once_somebody_waits_for_the_shard_or_it_is_to_stop() {
        let cell = ShardCell::new(Partition(0), Bell::default());
        let stop = CancellationToken::new();
        let took = async |pace: Pace| {
            let begun = Instant::now();
            pace.rest(Rest::Own, 1, &cell, &stop).await;
            begun.elapsed()
        };
        assert!(took(busy().await).await >= GATHER, "nobody waits");

        let waits = async {
            tokio::task::yield_now().await;
            cell.watch_committed()
        };
        let (woken, waiting) = tokio::join!(took(busy().await), waits);
        assert_eq!(woken, Duration::ZERO, "it is woken");
        assert_eq!(took(busy().await).await, Duration::ZERO, "it does not rest while somebody waits");
        drop(waiting);
        assert!(took(busy().await).await >= GATHER, "nobody waits any more");

        stop.cancel();
        assert_eq!(took(busy().await).await, Duration::ZERO, "it is to stop");
    }
}
