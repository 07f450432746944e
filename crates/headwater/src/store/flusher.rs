//! Brings the changes of all shards of a process to their stores, off the shards' own tasks.
//!
//! One thread flushes what is due: the shards of a store together, in one atomic apply with one sync. A store is due when one of
//! its shards has changes of a certain age, when a quarter of the memory budget is used, or when somebody asks. Unless
//! somebody waits, or half of the budget is used, it takes its time: few changes at once, and a rest after each, since
//! the log's commits share the disk with it. What fails is tried again, after a while that doubles, and each try is
//! reported; meanwhile commits run into the budget and wait there, and reads go on.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headwater_core::clock::{Clock, Timestamp};
use headwater_core::store::{StateBatch, StateStore, StoreError, StoreErrorKind};
use headwater_core::topic::Partition;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::budget::MemoryBudget;
use super::overlay::{self, Flush, ShardState};

/// How a [`Flusher`] works.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct FlusherOptions {
    /// Bytes that unflushed changes of all stores may take together.
    pub budget_bytes: usize,
    /// The age at which changes are flushed.
    pub age_ms: i64,
    /// The pause after a flush that failed; it doubles up to `retry_ms_max`.
    pub retry_ms: i64,
    /// The longest pause after a flush that failed.
    pub retry_ms_max: i64,
}

impl Default for FlusherOptions {
    fn default() -> Self {
        Self { budget_bytes: 48 << 20, age_ms: 5_000, retry_ms: 100, retry_ms_max: 10_000 }
    }
}

/// What a flush of one store did.
#[derive(Debug)]
pub struct FlushReport<'a> {
    /// The store's name.
    pub store: &'a str,
    /// How many shards had changes.
    pub shards: usize,
    /// How many keys changed.
    pub changes: usize,
    /// How long the store took, by the clock.
    pub took_ms: i64,
    /// Why it failed, if it did; it will be tried again.
    pub error: Option<&'a StoreError>,
}

/// Hears of every flush: where health and metrics come from.
pub type OnFlush = dyn Fn(&FlushReport<'_>) + Send + Sync;

/// Flushes the shards that it has opened. Dropping it flushes once more and waits for that.
pub struct Flusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// What the thread would run, where there is none.
    by_hand: Option<Mutex<Run>>,
}

impl fmt::Debug for Flusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flusher").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

struct Shared {
    options: FlusherOptions,
    clock: Arc<dyn Clock>,
    on_flush: Box<OnFlush>,
    budget: Arc<MemoryBudget>,
    inbox: Mutex<Inbox>,
    /// Who has which shard of which store open, the store by the address of its handle.
    open: Mutex<HashMap<(usize, Partition), Weak<ShardState>>>,
}

impl Shared {
    fn new(options: FlusherOptions, clock: Arc<dyn Clock>, on_flush: Box<OnFlush>) -> Arc<Self> {
        let budget = Arc::new(MemoryBudget::new(options.budget_bytes));
        let (inbox, open) = (Mutex::default(), Mutex::default());
        Arc::new(Self { options, clock, on_flush, budget, inbox, open })
    }
}

/// What the thread is told.
#[derive(Default)]
struct Inbox {
    opened: Vec<Opened>,
    asked: Vec<oneshot::Sender<Result<(), StoreError>>>,
    stop: bool,
}

struct Opened {
    store: Arc<str>,
    state: Weak<ShardState>,
}

impl Flusher {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If the operating system gives no thread.
    pub fn start(options: FlusherOptions, clock: Arc<dyn Clock>, on_flush: Box<OnFlush>) -> io::Result<Self> {
        let shared = Shared::new(options, clock, on_flush);
        let run = Run { shared: shared.clone(), stores: BTreeMap::new(), rests: true };
        let thread =
            std::thread::Builder::new().name("headwater-flush".to_owned()).spawn(move || run.run())?;
        Ok(Self { shared, thread: Some(thread), by_hand: None })
    }

    /// One without a thread, that flushes when it is asked and at no other time, on the thread that asks: for
    /// simulations, which have to repeat.
    #[cfg(feature = "testing")]
    pub fn by_hand(options: FlusherOptions, clock: Arc<dyn Clock>, on_flush: Box<OnFlush>) -> Self {
        let shared = Shared::new(options, clock, on_flush);
        let run = Run { shared: shared.clone(), stores: BTreeMap::new(), rests: false };
        Self { shared, thread: None, by_hand: Some(Mutex::new(run)) }
    }

    /// Opens a shard's state, to be flushed from now on for as long as it lives.
    ///
    /// `name` is the store's, for reports. Shards of one store are flushed together if they are opened with clones of
    /// one handle. A state that was opened before for the same shard, with the same handle, is
    /// [closed](ShardState::close): what it had not flushed is not part of the new one. Who clears a shard's rows, or
    /// opens it with another handle, closes it first.
    ///
    /// # Errors
    ///
    /// As [`StateStore::checkpoint`].
    pub fn open(
        &self,
        name: &str,
        store: Arc<dyn StateStore>,
        shard: Partition,
    ) -> Result<Arc<ShardState>, StoreError> {
        let mut open = self.shared.open.lock();
        let place = (address(&store), shard);
        if let Some(former) = open.get(&place).and_then(Weak::upgrade) {
            former.close();
        }
        let state = ShardState::open_within(store, shard, self.shared.budget.clone())?;
        open.insert(place, Arc::downgrade(&state));
        let opened = Opened { store: name.into(), state: Arc::downgrade(&state) };
        self.shared.inbox.lock().opened.push(opened);
        Ok(state)
    }

    /// The memory of all unflushed changes; whoever commits waits for [room](MemoryBudget::room) first.
    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.shared.budget
    }

    /// Flushes what was committed before the call; durable when it is ready.
    ///
    /// # Errors
    ///
    /// The first failure; what failed is tried again later.
    pub async fn flush_now(&self) -> Result<(), StoreError> {
        self.ask().await.unwrap_or_else(|_| Err(stopped()))
    }

    /// The same, for a thread that may block.
    ///
    /// # Errors
    ///
    /// As [`flush_now`](Self::flush_now).
    ///
    /// # Panics
    ///
    /// If called by a task of an async runtime.
    pub fn flush_now_blocking(&self) -> Result<(), StoreError> {
        self.ask().blocking_recv().unwrap_or_else(|_| Err(stopped()))
    }

    fn ask(&self) -> oneshot::Receiver<Result<(), StoreError>> {
        let (answer, answered) = oneshot::channel();
        self.shared.inbox.lock().asked.push(answer);
        self.wake();
        answered
    }

    fn wake(&self) {
        match &self.by_hand {
            Some(run) => {
                run.lock().look();
            }
            None => self.shared.budget.bell.ring(),
        }
    }

    /// Makes the thread look at what is due, which it otherwise does a few times a second.
    #[cfg(test)]
    fn look(&self) {
        self.shared.budget.bell.ring();
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.shared.inbox.lock().stop = true;
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing to wait for.
            let _ = thread.join();
        }
    }
}

/// The address of a store's handle.
fn address(store: &Arc<dyn StateStore>) -> usize {
    Arc::as_ptr(store).cast::<()>() as usize
}

fn stopped() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the flusher has stopped: nothing is flushed any more")
}

/// How often the thread looks at what has grown old.
const LOOK: Duration = Duration::from_millis(250);

/// From this many changes on, shards of one store are applied apart: a sync costs little beside so many, and the pages
/// that an apply touches are in memory together, and stay with the engine.
const APPLY_CHANGES: usize = 50_000;
/// The same where there is time: an apply of so many takes a few milliseconds.
const GENTLE_CHANGES: usize = 2_000;
/// The longest rest after such an apply, which is twice as long as it took.
const REST_MAX: Duration = Duration::from_millis(50);

/// The thread.
struct Run {
    shared: Arc<Shared>,
    /// By name, and the address of the handle that shards were opened with, which lives as long as they do.
    stores: BTreeMap<(Arc<str>, usize), Store>,
    /// Whether it may take its time.
    rests: bool,
}

/// How changes are brought to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Haste {
    /// Few at once, with rests between.
    Gentle,
    /// As many at once as is best for them.
    Full,
}

impl Haste {
    /// Changes from which on an apply takes no further shard.
    fn changes(self) -> usize {
        match self {
            Self::Gentle => GENTLE_CHANGES,
            Self::Full => APPLY_CHANGES,
        }
    }
}

/// A store with its open shards.
struct Store {
    name: Arc<str>,
    states: Vec<Weak<ShardState>>,
    /// When changes were first seen that are not flushed.
    dirty_since: Option<Timestamp>,
    retry: Option<Retry>,
}

#[derive(Clone, Copy)]
struct Retry {
    not_before: Timestamp,
    pause_ms: i64,
}

impl Run {
    fn run(mut self) {
        loop {
            self.shared.budget.bell.wait(LOOK);
            if self.look() {
                return;
            }
        }
    }

    /// Does what is due and what was asked for; answers whether it was told to stop.
    fn look(&mut self) -> bool {
        let inbox = std::mem::take(&mut *self.shared.inbox.lock());
        inbox.opened.into_iter().for_each(|opened| self.opened(opened));
        let all = inbox.stop || !inbox.asked.is_empty();
        let result = self.flush_due(all);
        for answer in inbox.asked {
            // Whoever asked may have gone.
            let _ = answer.send(result.as_ref().copied().map_err(again));
        }
        inbox.stop
    }

    fn opened(&mut self, opened: Opened) {
        let Some(state) = opened.state.upgrade() else { return };
        let address = address(state.store());
        // An address whose shards are all gone may be another handle's by now.
        self.stores.retain(|_, store| store.states.iter().any(|state| state.strong_count() > 0));
        let place = (opened.store.clone(), address);
        let fresh = || Store { name: opened.store, states: Vec::new(), dirty_since: None, retry: None };
        self.stores.entry(place).or_insert_with(fresh).states.push(opened.state);
    }

    /// Flushes the stores that are due, or all; answers the first failure.
    fn flush_due(&mut self, all: bool) -> Result<(), StoreError> {
        let now = self.shared.clock.now();
        let budget = &self.shared.budget;
        let haste = if all || budget.is_pressed() || !self.rests { Haste::Full } else { Haste::Gentle };
        let filling = budget.is_filling();
        let mut result = Ok(());
        self.stores.retain(|_, store| {
            store.states.retain(|state| state.strong_count() > 0);
            let states: Vec<_> = store.states.iter().filter_map(Weak::upgrade).collect();
            if all || store.is_due(&states, now, filling, self.shared.options.age_ms) {
                let passes = if all { 2 } else { 1 };
                let flushed = store.flush(&states, passes, haste, &self.shared);
                if result.is_ok() {
                    result = flushed;
                }
            }
            !store.states.is_empty()
        });
        result
    }
}

impl Store {
    fn is_due(&mut self, states: &[Arc<ShardState>], now: Timestamp, filling: bool, age_ms: i64) -> bool {
        if !states.iter().any(|state| state.is_dirty()) {
            (self.dirty_since, self.retry) = (None, None);
            return false;
        }
        let since = *self.dirty_since.get_or_insert(now);
        match self.retry {
            Some(retry) => now >= retry.not_before,
            None => filling || now.ms_since(since) >= age_ms,
        }
    }

    /// Flushes, each pass what is frozen from before or else what was committed; so two passes flush everything.
    fn flush(
        &mut self,
        states: &[Arc<ShardState>],
        passes: usize,
        mut haste: Haste,
        shared: &Shared,
    ) -> Result<(), StoreError> {
        for _ in 0..passes {
            let mut rest = states.iter();
            loop {
                let flushes = gather(&mut rest, haste.changes());
                if flushes.is_empty() {
                    break;
                }
                let began = Instant::now();
                self.apply(&**states[0].store(), flushes, shared)?;
                // A ring tells that somebody waits, or that the budget runs short.
                if haste == Haste::Gentle && shared.budget.bell.would_wake(REST_MAX.min(2 * began.elapsed()))
                {
                    haste = Haste::Full;
                }
            }
        }
        Ok(())
    }

    fn apply(
        &mut self,
        store: &dyn StateStore,
        flushes: Vec<Flush<'_>>,
        shared: &Shared,
    ) -> Result<(), StoreError> {
        let batches: Vec<_> = flushes.iter().map(Flush::batch).collect();
        let began = shared.clock.now();
        let result = apply(store, &batches);
        let ended = shared.clock.now();
        flushes.into_iter().for_each(|flush| flush.end(result.is_ok()));
        (shared.on_flush)(&FlushReport {
            store: &self.name,
            shards: batches.len(),
            changes: batches.iter().map(|batch| batch.changes.len()).sum(),
            took_ms: ended.ms_since(began),
            error: result.as_ref().err(),
        });
        match &result {
            Ok(()) => (self.dirty_since, self.retry) = (None, None),
            Err(_) => self.retry = Some(self.next_retry(ended, &shared.options)),
        }
        result
    }

    fn next_retry(&self, now: Timestamp, options: &FlusherOptions) -> Retry {
        let doubled = self.retry.map_or(options.retry_ms, |retry| retry.pause_ms.saturating_mul(2));
        let pause_ms = doubled.min(options.retry_ms_max);
        Retry { not_before: now.plus_ms(pause_ms), pause_ms }
    }
}

/// The next shards that have something to write, until they have so many changes.
fn gather<'a>(states: &mut impl Iterator<Item = &'a Arc<ShardState>>, enough: usize) -> Vec<Flush<'a>> {
    let (mut flushes, mut changes) = (Vec::new(), 0);
    for flush in states.filter_map(|state| state.begin_flush()) {
        changes += flush.changes();
        flushes.push(flush);
        if changes >= enough {
            break;
        }
    }
    flushes
}

/// Applies batches; a panic of the store is an error like another, so that one store does not end all flushing.
fn apply(store: &dyn StateStore, batches: &[StateBatch]) -> Result<(), StoreError> {
    catch_unwind(AssertUnwindSafe(|| overlay::apply(store, batches))).unwrap_or_else(|_| {
        Err(StoreError::new(StoreErrorKind::Unavailable, "the store panicked while it applied a flush"))
    })
}

/// The error once more, for another who asked.
fn again(error: &StoreError) -> StoreError {
    StoreError::new(error.kind(), error.to_string())
}

#[cfg(test)]
#[path = "flusher_tests.rs"]
mod tests;
