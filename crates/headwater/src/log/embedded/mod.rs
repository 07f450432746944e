//! The embedded log: durable, in the same process.
//!
//! One LMDB environment in `DIR/log` keeps everything in one sorted table (`format`): records by topic, partition and
//! offset, the heads of shards, the catalogue of topics. One thread writes, with one sync for all that waits
//! (`committer`). Reads do not trust the engine's pages: they are parsed and verified here (`page`, `tree`, `reader`).
//!
//! **Durability.** An acknowledgement follows an `fdatasync` that began after the records were written, and LMDB's own
//! before its meta page. A full disk is noticed before anything is written: the answer is *not written*, reading goes
//! on, and so does writing when there is space again. A failing sync makes the answer *unknown*, and the log takes no
//! more writes until it is opened again, which settles what is there.
//!
//! **Damage.** Opening checks the meta pages (each sealed with a checksum), every branch, the free list, the rows of
//! topics and heads (a digest of all of them is in the last commit) and the last record of every partition. Every record
//! that is answered has its checksum verified, which covers its place, and offsets have no gap but where a verified stub
//! says so. After an unclean stop everything is read in the background (`check`); meanwhile everything is served.
//!
//! **Groups.** All members live in this process; they share the shards of their group round robin, as on the memory log.
//!
//! A data directory is opened once, by one process, and every app of that process shares the log. A program calls
//! [`check_if_asked`] first in its `main`.

mod ahead;
mod batch;
mod catalogue;
mod check;
mod committer;
pub(crate) mod directory;
mod engine;
mod error;
mod format;
mod maintenance;
mod member;
mod options;
mod page;
mod queue;
mod reader;
mod rows;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod tree;
mod upkeep;

use std::collections::HashMap;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use headwater_core::BoxFuture;
use headwater_core::clock::Timestamp;
use headwater_core::log::{
    AppendError, Bounds, CommitError, Group, Log, LogError, LogId, Membership, ReadBatch, ReadLimit,
    TopicDescription, TopicSettings, Wait,
};
use headwater_core::position::Position;
use headwater_core::record::Append;
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

pub use check::{CheckReport, DamagedRange, check, check_if_asked};
pub use error::{OpenError, OpenErrorKind};
pub use maintenance::Maintained;
pub use options::{FsyncHook, Options, Stats};

use batch::{Encoded, Limits};
use catalogue::{Catalogue, Topic, unknown_topic};
use committer::{Committer, Counts};
use directory::Directory;
use engine::Engine;
use error::closed;
use maintenance::Upkeep;
use member::{Access, Member, outcome, submit};
use queue::{Admin, Answer, Queue, Work};
use reader::{Fault, Request, check_end, corrupt_at, is_short, out_of_range, scan};
use upkeep::Stop;

use super::groups::Groups;

/// A log in a directory of this machine.
///
/// Dropping it closes it, and waits for the writes that were handed over.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<bool>>>,
    upkeep: Mutex<Option<JoinHandle<()>>>,
}

/// What the threads and reads of a log share; the directory is released with the last of them.
struct Shared {
    engine: Arc<Engine>,
    catalogue: Arc<Catalogue>,
    queue: Arc<Queue>,
    groups: Arc<Mutex<Groups>>,
    counts: Arc<Counts>,
    upkeep: Mutex<Upkeep>,
    damage: RwLock<Vec<DamagedRange>>,
    /// Whether the log needs a check: it was not closed in order, and none has finished since.
    unchecked: AtomicBool,
    stop: Stop,
    id: LogId,
    options: Options,
    directory: Directory,
}

impl EmbeddedLog {
    /// Opens the log of the data directory `dir`, making both if there are none.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what is in the way and what to do: another process, another program's files, a newer
    /// format, no permission, no space, damage.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Arc<Self>, OpenError> {
        let directory = Directory::hold(dir.as_ref())?;
        let is_new = !directory.log().exists();
        if is_new {
            create(&directory, &options)?;
        }
        let was_clean = directory.take_clean()? || is_new;
        let (engine, commit) = Engine::open(&directory.log(), &options)?;
        let catalogue = load(&engine, &commit, &directory)?;
        let shared = Arc::new(Shared {
            engine: Arc::new(engine),
            catalogue: Arc::new(catalogue),
            queue: Arc::default(),
            groups: Arc::default(),
            counts: Arc::default(),
            upkeep: Mutex::default(),
            damage: RwLock::default(),
            unchecked: AtomicBool::new(!was_clean),
            stop: Stop::default(),
            id: commit.log,
            options,
            directory,
        });
        shared.check_ends();
        let committer = shared.clone().start_committer(commit)?;
        let upkeep = shared.clone().start_upkeep()?;
        Ok(Arc::new(Self { shared, committer: Mutex::new(Some(committer)), upkeep: Mutex::new(upkeep) }))
    }

    /// Copies the log of a closed data directory without its free pages, and puts the copy in its place.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn compact(dir: impl AsRef<Path>) -> Result<(), OpenError> {
        let directory = Directory::hold(dir.as_ref())?;
        let scratch = directory.scratch()?;
        engine::compact(&directory.log(), &scratch, &Options::default())?;
        directory.drop_scratch(&scratch)
    }

    /// Drops what topics may drop by now, and what deleted topics left. Blocks.
    ///
    /// # Errors
    ///
    /// The first of what went wrong; the other partitions are done nevertheless.
    pub fn maintain(&self, now: Timestamp) -> Result<Maintained, LogError> {
        self.shared.upkeep.lock().round(&self.shared, now)
    }

    /// What the log has done, and how large it is.
    pub fn stats(&self) -> Stats {
        let counts = &self.shared.counts;
        let sizes = self.shared.engine.sizes();
        Stats {
            file_bytes: sizes.file_bytes,
            used_bytes: sizes.used_bytes,
            leaf_bytes: sizes.leaf_bytes,
            free_pages: sizes.free_pages,
            records: counts.records.load(Ordering::Relaxed),
            record_bytes: counts.record_bytes.load(Ordering::Relaxed),
            fsyncs: counts.fsyncs.load(Ordering::Relaxed),
            fsync_us: counts.fsync_us.load(Ordering::Relaxed),
            acknowledged: counts.acknowledged.load(Ordering::Relaxed),
            damaged_ranges: self.shared.damage.read().len() as u64,
        }
    }

    /// The records that a check found damaged; reads answer them as corrupt.
    pub fn damage(&self) -> Vec<DamagedRange> {
        self.shared.damage.read().clone()
    }

    /// Writes what was handed over, refuses everything from now on, and marks the directory as left in order.
    ///
    /// Blocks for as long as that takes. The directory is released when the last handle is dropped.
    pub fn close(&self) {
        self.shared.stop.stop();
        self.shared.queue.close();
        let upkeep = self.upkeep.lock().take().map(JoinHandle::join);
        let committer = self.committer.lock().take().map(JoinHandle::join);
        self.shared.groups.lock().clear();
        self.shared.catalogue.topics.read().values().for_each(|topic| topic.wake());
        if matches!(upkeep, Some(Err(_))) {
            tracing::error!("the log's upkeep had panicked");
        }
        if let Some(in_order) = committer {
            self.shared.mark_clean(matches!(in_order, Ok(true)));
        }
    }

    async fn ask<T>(&self, admin: impl FnOnce(Answer<T>) -> Admin) -> Result<T, LogError> {
        let (answer, answered) = oneshot::channel();
        self.shared.queue.push(Work::Admin(admin(answer))).map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn read_or_wait(
        &self,
        at: &TopicPartition,
        from: Offset,
        limit: ReadLimit,
        wait: Wait,
    ) -> Result<ReadBatch, LogError> {
        let topic = self.shared.catalogue.partition(at)?;
        let partition = &topic.partitions[at.partition.0 as usize];
        loop {
            let mut moved = pin!(partition.moved.notified());
            // Listen before looking, so that no append in between is missed.
            moved.as_mut().enable();
            self.shared.check_open()?;
            if !topic.is_live() {
                return Err(unknown_topic(&at.topic));
            }
            let bounds = partition.bounds();
            if from < bounds.start || from > bounds.end {
                return Err(out_of_range(&topic, at.partition.0, from.0, bounds));
            }
            if from < bounds.end {
                return self.read_now(&topic, at.partition.0, from, bounds, limit).await;
            }
            if wait == Wait::No {
                return Ok(ReadBatch { records: Vec::new(), next: from, end: bounds.end });
            }
            moved.await;
        }
    }

    async fn read_now(
        &self,
        topic: &Arc<Topic>,
        partition: u32,
        from: Offset,
        bounds: Bounds,
        limit: ReadLimit,
    ) -> Result<ReadBatch, LogError> {
        let (shared, topic) = (self.shared.clone(), topic.clone());
        let read = move || {
            let request = Request { topic: &topic, partition, from: from.0, end: bounds.end.0, limit };
            reader::read(&shared.engine, &request)
        };
        if is_short(from, limit, bounds) { read() } else { blocking(read).await }
    }

    async fn find_time(&self, at: &TopicPartition, time: Timestamp) -> Result<Offset, LogError> {
        self.shared.check_open()?;
        let topic = self.shared.catalogue.partition(at)?;
        let (shared, partition) = (self.shared.clone(), at.partition.0);
        blocking(move || find_time(&shared.engine, &topic, partition, time)).await
    }

    async fn append_all(&self, appends: Vec<Append>) -> Result<Vec<Offset>, AppendError> {
        self.shared.check_open().map_err(AppendError::NotWritten)?;
        let access = self.shared.access();
        let encoded = Encoded::new(&access.catalogue, access.limits, &appends);
        let encoded = encoded.map_err(AppendError::NotWritten)?;
        drop(appends);
        if encoded.records.is_empty() {
            return Ok(Vec::new());
        }
        let outcome = match submit(&access.queue, encoded, None) {
            Ok(answered) => outcome(answered).await,
            Err(error) => Err(error),
        };
        outcome.map_err(|error| match error {
            CommitError::NotWritten { error, .. } | CommitError::Abandoned(error) => {
                AppendError::NotWritten(error)
            }
            CommitError::Unknown(error) => AppendError::Unknown(error),
            CommitError::Fenced => AppendError::NotWritten(closed()),
        })
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl Log for EmbeddedLog {
    fn id(&self) -> LogId {
        self.shared.id
    }

    fn describe<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<TopicDescription>, LogError>> {
        let topics = self.shared.catalogue.topics.read();
        let described = topics.get(topic).map(|topic| topic.describe());
        Box::pin(std::future::ready(self.shared.check_open().map(|()| described)))
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicDescription>, LogError>> {
        let topics = self.shared.catalogue.topics.read().values().map(|topic| topic.describe()).collect();
        Box::pin(std::future::ready(self.shared.check_open().map(|()| topics)))
    }

    fn create<'a>(
        &'a self,
        topic: &'a TopicName,
        settings: TopicSettings,
    ) -> BoxFuture<'a, Result<TopicDescription, LogError>> {
        let name = topic.clone();
        Box::pin(self.ask(move |answer| Admin::Create { name, settings, answer }))
    }

    fn alter<'a>(
        &'a self,
        topic: &'a TopicName,
        settings: TopicSettings,
    ) -> BoxFuture<'a, Result<TopicDescription, LogError>> {
        let name = topic.clone();
        Box::pin(self.ask(move |answer| Admin::Alter { name, settings, answer }))
    }

    fn delete<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), LogError>> {
        let name = topic.clone();
        Box::pin(self.ask(move |answer| Admin::Delete { name, answer }))
    }

    fn read<'a>(
        &'a self,
        partition: &'a TopicPartition,
        from: Offset,
        limit: ReadLimit,
        wait: Wait,
    ) -> BoxFuture<'a, Result<ReadBatch, LogError>> {
        Box::pin(self.read_or_wait(partition, from, limit, wait))
    }

    fn bounds<'a>(&'a self, partition: &'a TopicPartition) -> BoxFuture<'a, Result<Bounds, LogError>> {
        let bounds = self.shared.check_open().and_then(|()| {
            let topic = self.shared.catalogue.partition(partition)?;
            Ok(topic.partitions[partition.partition.0 as usize].bounds())
        });
        Box::pin(std::future::ready(bounds))
    }

    fn offset_at<'a>(
        &'a self,
        partition: &'a TopicPartition,
        time: Timestamp,
    ) -> BoxFuture<'a, Result<Offset, LogError>> {
        Box::pin(self.find_time(partition, time))
    }

    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Result<Vec<Offset>, AppendError>> {
        Box::pin(self.append_all(appends))
    }

    fn join<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<Box<dyn Membership>, LogError>> {
        let joined = self.shared.check_open();
        let joined = joined.and_then(|()| Member::join(self.shared.access(), group));
        Box::pin(std::future::ready(joined.map(|member| Box::new(member) as Box<dyn Membership>)))
    }

    fn committed<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Position, LogError>> {
        let heads = self.shared.catalogue.heads.read();
        let mut position = Position::new();
        for (_, head) in heads.iter().filter(|(shard, _)| *shard.group == *group) {
            position.advance(&head.positions);
        }
        Box::pin(std::future::ready(self.shared.check_open().map(|()| position)))
    }
}

impl Shared {
    fn access(&self) -> Access {
        let limits = Limits {
            record_bytes: self.options.record_bytes_max,
            transaction_bytes: self.options.transaction_bytes_max,
        };
        Access {
            queue: self.queue.clone(),
            groups: self.groups.clone(),
            catalogue: self.catalogue.clone(),
            limits,
        }
    }

    fn check_open(&self) -> Result<(), LogError> {
        if self.queue.is_closed() { Err(closed()) } else { Ok(()) }
    }

    fn is_stopping(&self) -> bool {
        self.stop.is_stopped()
    }

    fn start_committer(self: Arc<Self>, commit: format::Commit) -> Result<JoinHandle<bool>, OpenError> {
        let committer = Committer {
            engine: self.engine.clone(),
            catalogue: self.catalogue.clone(),
            counts: self.counts.clone(),
            clock: self.options.clock.clone(),
            on_fsync: self.options.on_fsync.clone(),
            commit,
            groups: self.groups.clone(),
            epochs: HashMap::new(),
            broken: None,
        };
        let queue = self.queue.clone();
        let run = move || {
            crate::scheduling::wake_promptly();
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| committer.run(&queue)));
            queue.abandon();
            done.unwrap_or_else(|_| {
                tracing::error!("the log's committer panicked; the log takes no more work");
                false
            })
        };
        std::thread::Builder::new().name("log-committer".into()).spawn(run).map_err(no_thread)
    }

    /// Reads the last record of every partition: the end that its row names must be there.
    ///
    /// A partition whose end is damaged takes no more records, since they would be written to the damaged page.
    fn check_ends(&self) {
        for topic in self.catalogue.topics.read().values() {
            for (partition, state) in (0..).zip(&topic.partitions) {
                let Err(error) = check_end(&self.engine, topic, partition) else { continue };
                tracing::error!(%error, "the end of a partition is damaged; it takes no more records");
                state.set_damaged();
                let last = Offset(state.bounds().end.0.saturating_sub(1));
                let what = "the end of its partition, which takes no more records".to_owned();
                let damaged = DamagedRange { partition: topic.place(partition), first: last, last, what };
                self.damage.write().push(damaged);
            }
        }
    }

    fn mark_clean(&self, in_order: bool) {
        let checked = !self.unchecked.load(Ordering::Relaxed) && self.damage.read().is_empty();
        if in_order
            && checked
            && let Err(error) = self.directory.put_clean()
        {
            tracing::warn!(%error, "cannot mark the log as closed in order; it will be checked when opened");
        }
    }
}

fn no_thread(error: std::io::Error) -> OpenError {
    OpenError::new(OpenErrorKind::Unavailable, format!("cannot start a thread of the log: {error}"))
}

/// Makes an empty log, so that it appears whole or not at all.
fn create(directory: &Directory, options: &Options) -> Result<(), OpenError> {
    let scratch = directory.scratch()?;
    let id = LogId(uuid::Uuid::now_v7().as_u128());
    Engine::create(&scratch, id, options)?;
    directory.adopt(&scratch)
}

fn load(engine: &Engine, commit: &format::Commit, directory: &Directory) -> Result<Catalogue, OpenError> {
    let snapshot = engine.snapshot().map_err(|error| {
        OpenError::new(OpenErrorKind::Unavailable, "cannot read the log").with_source(error)
    })?;
    catalogue::load(&mut snapshot.cursor(), commit)
        .map_err(|damage| OpenError::damaged(&directory.log(), &damage))
}

/// Runs what may wait for the disk where that stops no other task.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await.unwrap_or_else(|_| Err(closed())),
        Err(_) => work(),
    }
}

/// Times need not rise with offsets, so every record is looked at until one is late enough.
fn find_time(engine: &Engine, topic: &Topic, partition: u32, time: Timestamp) -> Result<Offset, LogError> {
    let bounds = topic.partitions[partition as usize].bounds();
    let mut found = bounds.end;
    let damaged = &mut |range: std::ops::Range<u64>, fault: &Fault| -> Result<(), LogError> {
        Err(corrupt_at(topic, partition, range.start, fault))
    };
    scan(engine, (topic, partition), bounds.start.0..bounds.end.0, damaged, &mut |scanned| {
        let late = scanned.record.is_some() && scanned.time >= time.0;
        if late {
            found = Offset(scanned.offset);
        }
        !late
    })?;
    Ok(found)
}
