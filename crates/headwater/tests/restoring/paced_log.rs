//! A log whose readers are let on one read at a time, and whose writers are refused, as a test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use headwater::core::conformance::log::wrapper::{Answer, LogWrapper, Read, wrap_claims};
use headwater::core::log::{
    Bounds, Claim, Group, Log, LogError, LogErrorKind, Membership, Opened, ReadBatch, ReadLimit, Wait,
};
use headwater::core::topic::{TopicName, TopicPartition};
use headwater::log::memory::MemoryLog;
use tokio::sync::Semaphore;

/// A memory log with a pace.
#[derive(Clone)]
pub(crate) struct PacedLog {
    pub(crate) log: MemoryLog,
    /// The topic whose waiting readers are held.
    paced: TopicName,
    pace: Arc<Pace>,
}

struct Pace {
    /// Reads that may still be answered, each with so many records.
    reads: Semaphore,
    records: usize,
    /// Whether those are held, too, who read what is there and wait for nothing.
    holds_all: AtomicBool,
    is_silent: AtomicBool,
    refuses_writers: AtomicBool,
    openings: AtomicUsize,
}

impl PacedLog {
    pub(crate) fn new(log: MemoryLog, paced: &str, records: usize) -> Self {
        let pace = Pace {
            reads: Semaphore::new(0),
            records,
            holds_all: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
            refuses_writers: AtomicBool::new(false),
            openings: AtomicUsize::new(0),
        };
        Self { log, paced: TopicName::new(paced).unwrap(), pace: Arc::new(pace) }
    }

    /// Holds those, too, who read what is there and wait for nothing.
    pub(crate) fn hold_all(self) -> Self {
        self.pace.holds_all.store(true, Ordering::SeqCst);
        self
    }

    /// Lets so many reads be answered.
    pub(crate) fn let_read(&self, reads: usize) {
        self.pace.reads.add_permits(reads);
    }

    /// Whether nobody is told where the paced topic's partitions end.
    pub(crate) fn be_silent(&self, silent: bool) {
        self.pace.is_silent.store(silent, Ordering::SeqCst);
    }

    /// Whether no writer is opened.
    pub(crate) fn refuse_writers(&self, refuse: bool) {
        self.pace.refuses_writers.store(refuse, Ordering::SeqCst);
    }

    /// How often a writer was refused since this was last asked.
    pub(crate) fn refused(&self) -> usize {
        self.pace.openings.swap(0, Ordering::SeqCst)
    }
}

impl LogWrapper for PacedLog {
    fn inner(&self) -> &dyn Log {
        &self.log
    }

    fn read<'a>(&'a self, read: Read<'a>) -> Answer<'a, ReadBatch> {
        Box::pin(async move {
            let has_more = read.from < self.log.bounds(read.at).await?.end;
            let is_held = read.wait != Wait::No || self.pace.holds_all.load(Ordering::SeqCst);
            if read.at.topic != self.paced || !is_held || !has_more {
                return read.of(&self.log).await;
            }
            self.pace.reads.acquire().await.unwrap().forget();
            let limit = ReadLimit { records: self.pace.records, ..read.limit };
            Read { limit, ..read }.of(&self.log).await
        })
    }

    fn bounds<'a>(&'a self, at: &'a TopicPartition) -> Answer<'a, Bounds> {
        Box::pin(async move {
            if at.topic == self.paced && self.pace.is_silent.load(Ordering::SeqCst) {
                return Err(LogError::new(LogErrorKind::Unavailable, "the log is silent"));
            }
            self.log.bounds(at).await
        })
    }

    fn join<'a>(&'a self, group: &'a Group) -> Answer<'a, Box<dyn Membership>> {
        let pace = self.pace.clone();
        wrap_claims(self.log.join(group), move |_, claim| Box::new(PacedClaim { claim, pace: pace.clone() }))
    }
}

struct PacedClaim {
    claim: Box<dyn Claim>,
    pace: Arc<Pace>,
}

impl Claim for PacedClaim {
    fn open(&self) -> Answer<'_, Opened> {
        Box::pin(async move {
            if self.pace.refuses_writers.load(Ordering::SeqCst) {
                self.pace.openings.fetch_add(1, Ordering::SeqCst);
                return Err(LogError::new(LogErrorKind::Denied, "grant it Write"));
            }
            self.claim.open().await
        })
    }
}
