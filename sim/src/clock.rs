//! The simulation's clock: the runtime's paused time, which moves only when every task waits.

use std::sync::atomic::{AtomicI64, Ordering};

use headwater::core::clock::{Clock, Timestamp};
use tokio::runtime::Handle;
use tokio::time::Instant;

/// When every simulation begins: 2026-01-01T00:00:00Z.
const EPOCH_MS: i64 = 1_767_225_600_000;

/// Tells the paused time of the runtime it was made in; to another thread, the time that was told last.
pub(crate) struct SimClock {
    began: Instant,
    told_ms: AtomicI64,
}

impl SimClock {
    /// A clock that begins now. To be made within the simulation's runtime.
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), told_ms: AtomicI64::new(EPOCH_MS) }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        if Handle::try_current().is_ok() {
            let elapsed_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX / 2);
            self.told_ms.store(EPOCH_MS + elapsed_ms, Ordering::Relaxed);
        }
        Timestamp(self.told_ms.load(Ordering::Relaxed))
    }
}
