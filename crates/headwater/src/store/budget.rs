//! One bound on the memory of all unflushed changes of a process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// Bytes that unflushed changes may take together.
///
/// The bound is kept by whoever commits: it waits for [room](MemoryBudget::room) first, and may then go over by one
/// commit.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: usize,
    used: AtomicUsize,
    room: Notify,
    /// Rung when half of the budget is used, so that a flush begins before it is all used.
    pub(super) bell: Bell,
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0), room: Notify::new(), bell: Bell::default() }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
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
}
