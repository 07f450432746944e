//! The memory log keeps the contract of the log, and the suite that says so rejects logs that do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headwater::log::memory::{FaultKind, Faults, MemoryLog, MemoryOptions, Op};
use headwater_core::BoxFuture;
use headwater_core::clock::Timestamp;
use headwater_core::conformance::log::broken::{BrokenHarness, Defect};
use headwater_core::conformance::log::{Fault, Harness, run_all};
use headwater_core::log::{Log, ReadLimit, TopicSettings, Wait};
use headwater_core::record::{Append, Record};
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use parking_lot::Mutex;

use crate::drive::{block_on, turns};

/// Memory logs, without a runtime and without time: patience is a number of turns.
struct Memory {
    options: MemoryOptions,
    current: Mutex<Option<MemoryLog>>,
    injected: AtomicUsize,
}

impl Memory {
    fn new(options: MemoryOptions) -> Self {
        Self { options, current: Mutex::default(), injected: AtomicUsize::new(0) }
    }

    fn current(&self) -> MemoryLog {
        self.current.lock().clone().expect("a log was opened")
    }

    fn hand_out(&self, log: MemoryLog) -> Arc<dyn Log> {
        *self.current.lock() = Some(log.clone());
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

    fn inject(&self, _: &Arc<dyn Log>, fault: Fault) -> bool {
        let (op, kind) = fault_of(fault, self.injected.fetch_add(1, Ordering::Relaxed));
        self.current().inject(op, kind);
        true
    }
}

fn fault_of(fault: Fault, turn: usize) -> (Op, FaultKind) {
    use FaultKind::{Full, Refused, RefusedForGood, UnknownLate, UnknownNotWritten, UnknownWritten};
    let refused = [Refused, RefusedForGood, Full];
    match fault {
        Fault::CommitNotWritten => (Op::Commit, refused[turn % 3]),
        Fault::CommitUnknown => (Op::Commit, [UnknownWritten, UnknownNotWritten, UnknownLate][turn % 3]),
        Fault::AppendNotWritten => (Op::Append, refused[turn % 3]),
        Fault::AppendUnknown => (Op::Append, [UnknownWritten, UnknownNotWritten][turn % 2]),
    }
}

#[test]
fn the_memory_log_keeps_every_rule() {
    for markers in [false, true] {
        let report = block_on(run_all(&Memory::new(MemoryOptions { markers, ..MemoryOptions::default() })));
        report.assert_kept(&[]);
    }
}

/// Delays and short reads are within the contract, so that no rule may fall over them.
#[test]
fn the_memory_log_keeps_every_rule_however_slow_it_is() {
    for seed in 0..32 {
        let faults = Faults::none().rate(FaultKind::Delayed, 500).rate(FaultKind::ShortRead, 500);
        let memory =
            Memory::new(MemoryOptions { seed, faults, markers: seed % 2 == 0, ..Default::default() });
        let report = block_on(run_all(&memory));
        println!("seed {seed}:\n{report}");
        report.assert_kept(&[]);
        memory.current().assert_all_hit(&[FaultKind::Delayed]);
    }
}

#[test]
fn the_suite_finds_a_log_that_acknowledges_without_a_sync() {
    let memory =
        Memory::new(MemoryOptions { faults: Faults::none().commit_without_sync(), ..Default::default() });
    let report = block_on(run_all(&memory));
    assert_eq!(
        report.broken(),
        ["what_was_acknowledged_survives_a_crash", "a_crash_leaves_whole_transactions"]
    );
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

/// The same logs with the time and the threads of a runtime.
struct OnTokio(Memory);

impl Harness for OnTokio {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Log>> {
        self.0.open()
    }

    fn patience(&self) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_secs(120)))
    }

    fn moment(&self) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(2)))
    }

    fn crash(&self, log: Arc<dyn Log>) -> BoxFuture<'_, Option<Arc<dyn Log>>> {
        self.0.crash(log)
    }

    fn clean<'a>(&'a self, log: &'a Arc<dyn Log>) -> BoxFuture<'a, bool> {
        self.0.clean(log)
    }

    fn inject(&self, log: &Arc<dyn Log>, fault: Fault) -> bool {
        self.0.inject(log, fault)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_log_keeps_every_rule_on_a_runtime() {
    let faults = Faults::none().rate(FaultKind::Delayed, 300);
    let memory = Memory::new(MemoryOptions { faults, ..MemoryOptions::default() });
    run_all(&OnTokio(memory)).await.assert_kept(&[]);
}

/// Readers on several threads follow a partition that several threads write; each must wake to the last record.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_between_threads() {
    const WRITERS: u64 = 4;
    const EACH: u64 = 500;
    let log = MemoryLog::new(MemoryOptions::default());
    let topic = TopicName::new("records").expect("the name is legal");
    log.create(&topic, TopicSettings::kept(1)).await.expect("the topic is new");
    let readers = (0..4).map(|_| tokio::spawn(follow(log.clone(), topic.partition(0), WRITERS * EACH)));
    let readers: Vec<_> = readers.collect();
    for _ in 0..WRITERS {
        let (log, to) = (log.clone(), topic.partition(0));
        tokio::spawn(async move {
            for _ in 0..EACH {
                let record = Record::new("key", "value", Timestamp(0));
                log.append(vec![Append { to: to.clone(), record }]).await.expect("there are no faults");
                tokio::task::yield_now().await;
            }
        });
    }
    for reader in readers {
        let read = tokio::time::timeout(Duration::from_secs(120), reader).await.expect("a wake-up was lost");
        assert_eq!(read.expect("the reader does not panic"), WRITERS * EACH);
    }
}

async fn follow(log: MemoryLog, at: TopicPartition, to: u64) -> u64 {
    let (mut next, mut read) = (Offset::ZERO, 0);
    while next.0 < to {
        let batch = log.read(&at, next, ReadLimit::default(), Wait::UntilMore).await.expect("it may be read");
        next = batch.next;
        read += batch.records.len() as u64;
    }
    read
}
