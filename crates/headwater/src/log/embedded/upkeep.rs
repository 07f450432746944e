//! The thread that keeps a log in order: a check after an unclean stop, then rounds of maintenance.

use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::check::{CheckReport, ask_child, walk};
use super::error::OpenError;
use super::{Shared, no_thread};

/// How often a running check is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(50);

/// Says once that it is time to stop.
#[derive(Debug, Default)]
pub(super) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(super) fn stop(&self) {
        *self.stopped.lock() = true;
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stopped.lock()
    }

    /// Sleeps; answers whether to stop.
    fn wait(&self, time: Duration) -> bool {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            self.changed.wait_for(&mut stopped, time);
        }
        *stopped
    }
}

impl Shared {
    /// Starts the thread, if it has anything to do.
    pub(super) fn start_upkeep(self: Arc<Self>) -> Result<Option<JoinHandle<()>>, OpenError> {
        let check = self.options.check_after_crash && self.unchecked.load(Ordering::Relaxed);
        let every = self.options.maintenance_every;
        if !check && every.is_none() {
            return Ok(None);
        }
        let run = move || {
            if check {
                self.check();
            }
            if let Some(every) = every {
                self.maintain_every(every);
            }
        };
        let thread = std::thread::Builder::new().name("log-upkeep".into()).spawn(run);
        thread.map(Some).map_err(no_thread)
    }

    /// Reads everything, and quarantines what does not verify.
    fn check(&self) {
        let child = ask_child(self.directory.path(), |child| self.watch(child));
        self.engine.clear_stale_readers();
        let report = match child {
            Some(Ok(report)) => Some(report),
            _ if self.is_stopping() => return,
            Some(Err(error)) => {
                tracing::error!(%error, "the check did not finish in a process of its own; it goes on in this one");
                self.check_here()
            }
            None => self.check_here(),
        };
        let Some(report) = report.filter(|_| !self.is_stopping()) else { return };
        for damaged in &report.damaged {
            let (partition, first, last) = (&damaged.partition, damaged.first, damaged.last);
            tracing::error!(%partition, %first, %last, what = damaged.what, "records are damaged and not served");
        }
        tracing::info!(entries = report.entries, damaged = report.damaged.len(), "the log was checked");
        *self.damage.write() = report.damaged;
        self.unchecked.store(false, Ordering::Relaxed);
    }

    fn check_here(&self) -> Option<CheckReport> {
        let walked = walk(&self.engine, &self.catalogue, &|| self.is_stopping());
        walked.map_err(|error| tracing::error!(%error, "the log cannot be checked")).ok()
    }

    /// Waits for a check in a child process; ends it when the log closes.
    fn watch(&self, child: &mut Child) {
        while matches!(child.try_wait(), Ok(None)) {
            if self.stop.wait(WATCH_EVERY) {
                // It has either ended by itself or is ended now; the caller waits for it.
                let _ = child.kill();
                return;
            }
        }
    }

    fn maintain_every(&self, every: Duration) {
        while !self.stop.wait(every) {
            let now = self.options.clock.now();
            if let Err(error) = self.upkeep.lock().round(self, now)
                && !self.is_stopping()
            {
                tracing::warn!(%error, "the log's upkeep is not complete");
            }
        }
    }
}
