//! The memory log keeps the contract of the log, and the suite that says so rejects logs that do not.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater_core::BoxFuture;
use headwater_core::conformance::log::broken::{BrokenHarness, Defect};
use headwater_core::conformance::log::{Harness, run_all};
use headwater_core::log::Log;

/// Memory logs, without a runtime and without time: patience is a number of turns.
struct Memory {
    options: MemoryOptions,
    current: Mutex<Option<MemoryLog>>,
}

impl Memory {
    fn new(options: MemoryOptions) -> Self {
        Self { options, current: Mutex::default() }
    }

    fn current(&self) -> MemoryLog {
        self.current.lock().unwrap().clone().expect("a log was opened")
    }

    fn hand_out(&self, log: MemoryLog) -> Arc<dyn Log> {
        *self.current.lock().unwrap() = Some(log.clone());
        Arc::new(log)
    }
}

impl Harness for Memory {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Log>> {
        Box::pin(async { self.hand_out(MemoryLog::new(self.options.clone())) })
    }

    fn patience(&self) -> BoxFuture<'static, ()> {
        turns(50_000)
    }

    fn moment(&self) -> BoxFuture<'static, ()> {
        turns(50)
    }

    fn crash(&self, _: Arc<dyn Log>) -> BoxFuture<'_, Option<Arc<dyn Log>>> {
        Box::pin(async { Some(self.hand_out(self.current().crash())) })
    }

    fn clean<'a>(&'a self, _: &'a Arc<dyn Log>) -> BoxFuture<'a, bool> {
        self.current().clean();
        Box::pin(async { true })
    }
}

fn turns(count: usize) -> BoxFuture<'static, ()> {
    let mut left = count;
    Box::pin(poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }))
}

/// Drives a future on this thread; the suite itself polls nothing that did not ask for it.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return answer;
        }
    }
}

#[test]
fn the_memory_log_keeps_every_rule() {
    for markers in [false, true] {
        let report = block_on(run_all(&Memory::new(MemoryOptions { markers, ..MemoryOptions::default() })));
        report.assert_kept(&["an_unknown_commit_ends_its_writer"]);
    }
}

#[test]
fn the_suite_rejects_every_broken_log_by_the_rule_aimed_at_it() {
    // With markers, since one of the defects shows only where a log leaves gaps.
    let memory = Memory::new(MemoryOptions { markers: true, ..MemoryOptions::default() });
    for defect in Defect::ALL {
        let report = block_on(run_all(&BrokenHarness::new(&memory, defect)));
        println!("{defect:?} is rejected by {:?}", report.broken());
        assert!(
            report.broken().contains(&defect.rule()),
            "{defect:?} is not rejected by {}:\n{report}",
            defect.rule()
        );
    }
}
