//! One budget for the memory of all stores of a process: of changes that are not flushed yet, and of rows kept in memory
//! alone.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// Bytes that stores in memory take together at most, unless set.
const KEPT_BYTES: usize = 512 << 20;

/// Bytes that unflushed changes, and stores in memory, may take together.
///
/// The bound is kept by whoever commits: it waits for [room](MemoryBudget::room) first, and may then go over by one
/// commit. That of stores in memory is kept by whoever brings them more, too: it stops, since
/// waiting would free nothing, and may go over by what was not flushed yet.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: usize,
    used: AtomicUsize,
    room: Notify,
    kept_limit: AtomicUsize,
    kept: AtomicUsize,
    spares: Spares,
    /// Rung when half of the budget is used, so that a flush begins before it is all used.
    pub(super) bell: Bell,
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
            room: Notify::new(),
            kept_limit: AtomicUsize::new(KEPT_BYTES),
            kept: AtomicUsize::new(0),
            spares: Spares::default(),
            bell: Bell::default(),
        }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Lets stores in memory take so many bytes together.
    pub fn keep_at_most(&self, bytes: usize) {
        self.kept_limit.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that stores in memory take.
    pub fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// A store in memory has grown, or shrunk.
    pub(super) fn keep(&self, bytes: isize) {
        self.kept.fetch_add(bytes as usize, Ordering::Relaxed);
    }

    /// Has this called before a store in memory is refused more: it frees what can be spared.
    ///
    /// What it captures must not own the budget, nor a store that does.
    pub(crate) fn spare(&self, free: impl Fn() + Send + Sync + 'static) {
        self.spares.0.lock().push(Box::new(free));
    }

    /// Why a store in memory that takes so many bytes itself may take no more; `None` while it may.
    pub(crate) fn refusal(&self, store: &str, bytes: u64) -> Option<String> {
        let limit = self.kept_limit.load(Ordering::Relaxed);
        if self.kept() >= limit {
            self.spares.0.lock().iter().for_each(|free| free());
        }
        let kept = self.kept();
        (kept >= limit).then(|| {
            format!(
                "the store \"{store}\" takes {bytes} bytes of memory, and all that are kept there {kept} of {limit}: keep \
                 it on disk, or let them take more with `Headwater::store_memory`"
            )
        })
    }

    /// Waits until less than the budget is used.
    ///
    /// While the stores cannot be written this waits on: who must not wait for ever brings a timeout.
    pub async fn room(&self) {
        loop {
            let freed = self.room.notified();
            if self.used() < self.limit {
                return;
            }
            freed.await;
        }
    }

    /// Whether a flush should begin.
    pub(crate) fn is_pressed(&self) -> bool {
        self.used() >= self.limit / 2
    }

    /// Whether a flush should begin that takes its time.
    pub(super) fn is_filling(&self) -> bool {
        self.used() >= self.limit / 4
    }

    /// Takes bytes, or gives them back.
    pub(super) fn take(&self, bytes: isize) {
        let before = self.used.fetch_add(bytes as usize, Ordering::Relaxed);
        let after = before.wrapping_add_signed(bytes);
        if bytes < 0 && after < self.limit {
            self.room.notify_waiters();
        }
        if before < self.limit / 2 && after >= self.limit / 2 {
            self.bell.ring();
        }
    }
}

/// What frees memory where it runs short.
#[derive(Default)]
struct Spares(Mutex<Vec<Box<dyn Fn() + Send + Sync>>>);

impl fmt::Debug for Spares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spares").finish_non_exhaustive()
    }
}

/// Wakes one thread; a ring that nobody waits for is heard by the next wait.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        *self.rung.lock() = true;
        self.heard.notify_one();
    }

    /// Waits for a ring, at most this long.
    pub(super) fn wait(&self, at_most: Duration) {
        let mut rung = self.rung.lock();
        if !*rung {
            self.heard.wait_for(&mut rung, at_most);
        }
        *rung = false;
    }

    /// Waits for a ring, at most this long, and leaves it for the next wait; answers whether there was one.
    pub(super) fn would_wake(&self, at_most: Duration) -> bool {
        let mut rung = self.rung.lock();
        if !*rung {
            self.heard.wait_for(&mut rung, at_most);
        }
        *rung
    }
}
