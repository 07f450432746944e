//! Building a view from the log: a count per key of five million events over a million keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::fixture::{Bank, runtime};
use crate::report::{Mark, Report};

const KEYS: u64 = 1_000_000;
const EVENTS: u64 = 5_000_000;

/// Fills a log with commands, then starts a program that has a view more, and waits until it has caught up.
pub(crate) fn rebuild(report: &mut Report) {
    let runtime = runtime();
    let dir = runtime.block_on(async {
        let bank = Arc::new(Bank::open(false).await);
        let writers: Vec<_> = (0..2_048)
            .map(|writer| {
                let bank = bank.clone();
                tokio::spawn(async move {
                    for n in (writer..EVENTS).step_by(2_048) {
                        bank.book(n % KEYS, n, None).await;
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.expect("a writer ends well");
        }
        let bank = Arc::into_inner(bank).expect("the writers are gone");
        let dir = bank.dir.clone();
        bank.close().await;
        dir
    });
    let start = Instant::now();
    let bank = runtime.block_on(Bank::open_in(dir, false));
    report.add("ready again, 1 M aggregates on disk", start.elapsed().as_secs_f64(), "s", Mark::AtMost(0.3));
    let dir = bank.dir.clone();
    runtime.block_on(bank.close());
    // The log is closed when its last handle is dropped, which the runtime's tasks may still hold for a moment.
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    let bank = runtime.block_on(Bank::open_in(dir, true));
    let seconds = start.elapsed().as_secs_f64();
    report.add("view of 1 M keys built from 5 M events", seconds, "s", Mark::AtMost(5.0));
    runtime.block_on(bank.close());
}
