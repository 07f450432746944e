//! Lives of an app that end by a kill: the app is dropped, wherever it waits, and says good-bye to nobody.

use std::sync::Arc;
use std::time::Duration;

use headwater::core::clock::SystemClock;
use headwater::core::log::Log;
use headwater::core::store::StateStores;
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::prelude::*;
use tokio::runtime::{Builder, Runtime};

use super::sipping_log::SippingLog;

/// Numbers that follow from a seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A runtime whose end is a kill: every task ends wherever it waits.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// A memory log by a seed; every other one has markers between its records.
pub(crate) fn memory_log(seed: u64) -> MemoryLog {
    let markers = seed % 2 == 1;
    let options = MemoryOptions { seed, clock: Arc::new(SystemClock), markers, ..MemoryOptions::default() };
    MemoryLog::new(options)
}

/// Starts an app on a log that answers sip by sip, in one of [`runtime`]'s; it ends with that.
pub(crate) async fn begin(log: Arc<dyn Log>, stores: Arc<dyn StateStores>, app: App) -> Running {
    let headwater = Headwater::by_hand(Arc::new(SippingLog(log)), stores, Arc::new(SystemClock));
    headwater.start(app).await.unwrap()
}

/// Lets an app live for a while, as [`begin`] begins it.
pub(crate) async fn live(
    log: Arc<dyn Log>,
    stores: Arc<dyn StateStores>,
    app: App,
    dice: &mut Dice,
    faults: impl Fn(bool),
) -> Running {
    let running = begin(log, stores, app).await;
    faults(true);
    for _ in 0..1 + dice.below(4) {
        for _ in 0..dice.below(120) {
            tokio::task::yield_now().await;
        }
        if dice.below(2) == 0 {
            running.flush_states();
        }
        if dice.below(3) == 0 {
            // Whoever waits for a moment goes on.
            tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
        }
    }
    faults(false);
    running
}
