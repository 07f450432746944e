//! The one thread that writes.
//!
//! It takes all work that waits, puts it into one transaction of the engine, commits and syncs once, and then answers
//! all of it (group commit). While it syncs, more work gathers.
//!
//! Invariants: nothing is answered, shown to readers or kept in memory before it is durable. A transaction that cannot
//! be written whole is not written at all, and then nothing in the batch is. Once it is unknown what was written, the
//! committer answers nothing but that the log must be opened again. A writer's epoch is given out and compared here
//! and nowhere else, in the order of the queue, so that no commit of a fenced writer follows the opening of another.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater_core::clock::Clock;
use headwater_core::log::{
    CommitError, Head, LogError, LogErrorKind, RecordTimes, TopicDescription, TopicSettings,
};
use headwater_core::topic::{Offset, TopicId, TopicName};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::batch::{Encoded, Place};
use super::catalogue::{Catalogue, Topic, partition_digest, unknown_topic};
use super::engine::{Engine, WriteError, Writing};
use super::error::invalid;
use super::format::{
    Commit, PART_BYTES, STUB, TopicRow, birth_key, cell, partition_content, partition_key, record_key,
    row_digest, stub_content, topic_key,
};
use super::options::FsyncHook;
use super::queue::{Admin, Batch, Open, Queue, Statement, Work, Write};
use super::rows::{put_births, put_head, put_partition, put_record, put_row, put_topic};
use crate::log::groups::{Groups, ShardId};
use crate::log::other_partitions;

/// The most partitions of a topic: their rows are made in one transaction.
const PARTITIONS_MAX: u32 = 10_000;

/// What has been done, for [`Stats`](super::Stats).
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) records: AtomicU64,
    pub(super) record_bytes: AtomicU64,
    pub(super) fsyncs: AtomicU64,
    pub(super) fsync_us: AtomicU64,
    pub(super) acknowledged: AtomicU64,
}

/// The committer's own.
pub(super) struct Committer {
    pub(super) engine: Arc<Engine>,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) counts: Arc<Counts>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) on_fsync: Option<FsyncHook>,
    pub(super) commit: Commit,
    pub(super) groups: Arc<Mutex<Groups>>,
    pub(super) epochs: HashMap<ShardId, u64>,
    /// Why nothing can be written any more.
    pub(super) broken: Option<String>,
}

/// What a batch will have changed once it is durable.
#[derive(Default)]
struct Staged {
    written: Vec<(oneshot::Sender<Result<Vec<Offset>, CommitError>>, Vec<Offset>)>,
    opened: Vec<(Open, u64, Option<Head>)>,
    ends: Vec<StagedEnd>,
    end_of: ahash::HashMap<(u32, u32), usize>,
    heads: HashMap<ShardId, Head>,
    records: u64,
    bytes: u64,
    now: i64,
}

struct StagedEnd {
    topic: Arc<Topic>,
    partition: u32,
    end: u64,
    /// Whether its records carry the log's time.
    log_time: bool,
}

impl Committer {
    /// Works until the queue is closed and empty; answers whether the log was left in order.
    pub(super) fn run(mut self, queue: &Queue) -> bool {
        while let Some(batch) = queue.take() {
            match batch {
                Batch::Shared(work) => self.write_all(work),
                Batch::Alone(admin) => self.administer(admin),
            }
            while self.broken.is_none() && self.engine.wants_ahead() && queue.is_idle() {
                self.engine.write_ahead();
            }
        }
        self.broken.is_none()
    }

    /// Commits a batch, then answers all of it.
    fn write_all(&mut self, mut work: VecDeque<Work>) {
        if let Some(why) = &self.broken {
            return work.into_iter().for_each(|work| refuse(work, why));
        }
        let mut staged = Staged { now: self.clock.now().0, ..Staged::default() };
        match self.try_write(&mut work, &mut staged) {
            Ok(took) => self.publish(staged, took),
            Err(error) => self.give_up(staged, work, error),
        }
    }

    /// Stages what it takes from `work` and commits it; `None` if there was nothing to write.
    fn try_write(
        &mut self,
        work: &mut VecDeque<Work>,
        staged: &mut Staged,
    ) -> Result<Option<Duration>, WriteError> {
        let bytes: usize = work.iter().map(Work::bytes).sum();
        let writes = work.iter().filter(|work| matches!(work, Work::Write(_))).count();
        let engine = self.engine.clone();
        let mut writing =
            if writes == 0 { None } else { Some(engine.write(bytes as u64, 2 * writes as u64)?) };
        while let Some(next) = work.pop_front() {
            match (next, &mut writing) {
                (Work::Open(open), _) => self.stage_open(open, staged),
                (Work::Write(write), Some(writing)) => self.stage_write(write, writing, staged)?,
                _ => unreachable!("a batch with writes has begun, and holds nothing else"),
            }
        }
        match writing.filter(|_| !staged.written.is_empty()) {
            Some(writing) => self.commit_staged(writing, staged).map(Some),
            None => Ok(None),
        }
    }

    fn stage_open(&mut self, open: Open, staged: &mut Staged) {
        let held = self.groups.lock().holds(&open.shard, open.term);
        let epoch = self.epochs.entry(open.shard.clone()).or_default();
        if held {
            *epoch += 1;
            let head = staged.heads.get(&open.shard).cloned();
            let head = head.or_else(|| self.catalogue.heads.read().get(&open.shard).cloned());
            let epoch = *epoch;
            staged.opened.push((open, epoch, head));
        } else {
            let _ = open.answer.send(Ok(None));
        }
    }

    /// Puts the records of one write; one that is refused leaves nothing behind.
    fn stage_write(
        &mut self,
        mut write: Write,
        writing: &mut Writing<'_>,
        staged: &mut Staged,
    ) -> Result<(), WriteError> {
        if let Err(error) = self.admit(&write) {
            let _ = write.answer.send(Err(error));
            return Ok(());
        }
        let mut offsets = Vec::with_capacity(write.batch.records.len());
        let put = put_records(&mut write.batch, writing, staged, &mut offsets);
        if let Some(by) = write.by.take() {
            self.stage_head(by, staged);
        }
        staged.written.push((write.answer, offsets));
        put
    }

    /// Whether a write may go into the log.
    fn admit(&self, write: &Write) -> Result<(), CommitError> {
        if let Some(by) = &write.by
            && self.epochs.get(&by.shard) != Some(&by.epoch)
        {
            return Err(CommitError::Fenced);
        }
        for place in &write.batch.places {
            let error = if !place.topic.is_live() {
                unknown_topic(&place.topic.name)
            } else if place.topic.partitions[place.partition as usize].is_damaged() {
                let at = place.topic.place(place.partition);
                let message =
                    format!("the end of {at} is damaged, so nothing is appended: restore it from a copy");
                LogError::new(LogErrorKind::Corrupt, message)
            } else {
                continue;
            };
            return Err(CommitError::NotWritten { retry: false, error });
        }
        Ok(())
    }

    /// The head that a writer's statement leads to: what it does not mention, stays.
    fn stage_head(&self, by: Statement, staged: &mut Staged) {
        let catalogue = &self.catalogue;
        let head = staged
            .heads
            .entry(by.shard)
            .or_insert_with_key(|shard| catalogue.heads.read().get(shard).cloned().unwrap_or_default());
        for (partition, next) in by.positions.iter() {
            head.positions.set(partition.clone(), next);
        }
        head.note = by.note;
    }

    /// Puts the rows that the staged records and heads change, and commits.
    fn commit_staged(&mut self, mut writing: Writing<'_>, staged: &Staged) -> Result<Duration, WriteError> {
        let mut commit = self.commit;
        for StagedEnd { topic, partition, end, .. } in &staged.ends {
            let bounds = topic.partitions[*partition as usize].bounds();
            put_partition(&mut writing, &mut commit, (topic, *partition), (bounds.start.0, *end))?;
        }
        for (shard, head) in &staged.heads {
            let old = self.catalogue.heads.read().get(shard).cloned();
            put_head(&mut writing, &mut commit, shard, old.as_ref(), head)?;
        }
        let took = writing.commit(commit)?;
        self.commit = commit;
        Ok(took)
    }

    /// Shows and answers what is durable now.
    fn publish(&mut self, staged: Staged, took: Option<Duration>) {
        if let Some(took) = took {
            self.count_fsync(took);
            self.counts.records.fetch_add(staged.records, Ordering::Relaxed);
            self.counts.record_bytes.fetch_add(staged.bytes, Ordering::Relaxed);
            self.counts.acknowledged.fetch_add(staged.written.len() as u64, Ordering::Relaxed);
            self.catalogue.heads.write().extend(staged.heads);
        }
        for StagedEnd { topic, partition, end, .. } in staged.ends {
            topic.partitions[partition as usize].move_end(end);
        }
        for (answer, offsets) in staged.written {
            let _ = answer.send(Ok(offsets));
        }
        for (open, epoch, head) in staged.opened {
            let _ = open.answer.send(Ok(Some((epoch, head))));
        }
    }

    fn count_fsync(&self, took: Duration) {
        self.counts.fsyncs.fetch_add(1, Ordering::Relaxed);
        self.counts.fsync_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
        if let Some(hook) = &self.on_fsync {
            hook(took);
        }
    }

    /// Answers a batch that was not committed.
    fn give_up(&mut self, staged: Staged, rest: VecDeque<Work>, error: WriteError) {
        self.note_failure(&error);
        for (answer, _) in staged.written {
            let _ = answer.send(Err(commit_error(&error)));
        }
        for (open, ..) in staged.opened {
            let _ = open.answer.send(Err(open_error(&error)));
        }
        for work in rest {
            match work {
                Work::Write(write) => drop(write.answer.send(Err(not_begun(&error)))),
                Work::Open(open) => drop(open.answer.send(Err(open_error(&error)))),
                Work::Admin(_) => unreachable!("changes of the catalogue never share a batch"),
            }
        }
    }

    fn note_failure(&mut self, error: &WriteError) {
        match error {
            WriteError::Unknown(why) => {
                tracing::error!(%why, "the log takes no more writes until it is opened again");
                self.broken = Some(why.clone());
            }
            WriteError::Full(why) | WriteError::TooLarge(why) => {
                tracing::warn!(%why, "not written to the log")
            }
        }
    }

    fn administer(&mut self, admin: Admin) {
        match admin {
            Admin::Create { name, settings, answer } => drop(answer.send(self.create(name, settings))),
            Admin::Alter { name, settings, answer } => drop(answer.send(self.alter(&name, settings))),
            Admin::Delete { name, answer } => drop(answer.send(self.delete(&name))),
            Admin::Trim { topic, partition, to, answer } => {
                drop(answer.send(self.trim(&topic, partition, to)));
            }
            Admin::Supersede { topic, partition, runs, answer } => {
                drop(answer.send(self.supersede(&topic, partition, &runs)));
            }
            Admin::Purge { topic, to, answer } => drop(answer.send(self.purge(&topic, to.as_deref()))),
        }
    }

    /// Runs one change in a transaction of its own.
    fn change(
        &mut self,
        bytes: u64,
        places: u64,
        stage: impl FnOnce(&mut Writing<'_>, &mut Commit) -> Result<(), WriteError>,
    ) -> Result<(), LogError> {
        if let Some(why) = &self.broken {
            return Err(must_reopen(why));
        }
        let mut commit = self.commit;
        let done = self.engine.write(bytes, places).and_then(|mut writing| {
            stage(&mut writing, &mut commit)?;
            writing.commit(commit)
        });
        match done {
            Ok(took) => {
                self.commit = commit;
                self.count_fsync(took);
                Ok(())
            }
            Err(error) => {
                self.note_failure(&error);
                Err(log_error(&error))
            }
        }
    }

    fn create(&mut self, name: TopicName, settings: TopicSettings) -> Result<TopicDescription, LogError> {
        if settings.partitions == 0 || settings.partitions > PARTITIONS_MAX {
            return Err(invalid(format!("topic {name}: a topic has 1 to {PARTITIONS_MAX} partitions")));
        }
        if self.catalogue.topics.read().contains_key(&name) {
            return Err(LogError::new(LogErrorKind::TopicExists, format!("topic {name} exists")));
        }
        let id = TopicId(uuid::Uuid::now_v7().as_u128());
        let topic = Topic::new(self.commit.next_topic, TopicRow { live: true, id, settings, name });
        let pages = u64::from(settings.partitions);
        self.change(2 * PART_BYTES as u64 * pages, pages, |writing, commit| {
            commit.next_topic += 1;
            put_births(writing, &topic)?;
            put_topic(writing, commit, &topic.row(), topic.number)?;
            for partition in 0..settings.partitions {
                let content = partition_content(0, 0);
                put_row(writing, &partition_key(topic.number, partition), &content)?;
                commit.digest = commit.digest.wrapping_add(partition_digest(topic.number, partition, 0, 0));
            }
            Ok(())
        })?;
        let description = topic.describe();
        self.catalogue.topics.write().insert(description.name.clone(), Arc::new(topic));
        Ok(description)
    }

    fn alter(&mut self, name: &TopicName, settings: TopicSettings) -> Result<TopicDescription, LogError> {
        let topic = self.catalogue.topic(name)?;
        let row = topic.row();
        if settings.partitions != row.settings.partitions {
            return Err(other_partitions(name, row.settings.partitions));
        }
        let old = row_digest(&topic_key(topic.number), &row.content());
        self.change(1 << 16, 1, |writing, commit| {
            commit.digest = commit.digest.wrapping_sub(old);
            put_topic(writing, commit, &TopicRow { settings, ..row }, topic.number)
        })?;
        topic.set_settings(settings);
        Ok(topic.describe())
    }

    fn delete(&mut self, name: &TopicName) -> Result<(), LogError> {
        let topic = self.catalogue.topic(name)?;
        let heads = self.heads_without(name);
        let catalogue = self.catalogue.clone();
        let row = topic.row();
        let old = row_digest(&topic_key(topic.number), &row.content());
        self.change(1 << 16, heads.len() as u64 + 8, |writing, commit| {
            commit.digest = commit.digest.wrapping_sub(old);
            put_topic(writing, commit, &TopicRow { live: false, ..row }, topic.number)?;
            for (shard, head) in &heads {
                let old = catalogue.heads.read().get(shard).cloned();
                put_head(writing, commit, shard, old.as_ref(), head)?;
            }
            Ok(())
        })?;
        self.catalogue.topics.write().remove(name);
        self.catalogue.dropped.write().push(topic.clone());
        self.catalogue.heads.write().extend(heads);
        topic.end_life();
        Ok(())
    }

    /// The heads that speak of a topic, as they are without it.
    fn heads_without(&self, name: &TopicName) -> Vec<(ShardId, Head)> {
        let heads = self.catalogue.heads.read();
        let speaks = heads.iter().filter(|(_, head)| head.positions.iter().any(|(at, _)| at.topic == *name));
        let without = |head: &Head| Head {
            positions: head
                .positions
                .iter()
                .filter(|(at, _)| at.topic != *name)
                .map(|(at, next)| (at.clone(), next))
                .collect(),
            note: head.note.clone(),
        };
        speaks.map(|(shard, head)| (shard.clone(), without(head))).collect()
    }

    fn trim(&mut self, topic: &Arc<Topic>, partition: u32, to: u64) -> Result<(), LogError> {
        let state = &topic.partitions[partition as usize];
        let bounds = state.bounds();
        if !topic.is_live() || to <= bounds.start.0 || to > bounds.end.0 {
            return Ok(());
        }
        self.change(1 << 16, 64, |writing, commit| {
            let key = |offset| record_key(topic.number, partition, offset);
            writing.delete_range(&key(bounds.start.0), &key(to))?;
            put_partition(writing, commit, (topic, partition), (to, bounds.end.0))
        })?;
        state.set_start(to);
        Ok(())
    }

    fn supersede(&mut self, topic: &Arc<Topic>, partition: u32, runs: &[(u64, u64)]) -> Result<(), LogError> {
        let bounds = topic.partitions[partition as usize].bounds();
        let kept = |run: &(u64, u64)| bounds.start.0 <= run.0 && run.0 <= run.1 && run.1 < bounds.end.0;
        if !topic.is_live() || runs.is_empty() || !runs.iter().all(kept) {
            return Ok(());
        }
        self.change(1 << 16, runs.len() as u64, |writing, _| {
            for (first, last) in runs {
                let key = record_key(topic.number, partition, *first);
                writing.delete_range(&key, &record_key(topic.number, partition, last + 1))?;
                for value in cell(STUB, &key, 0, &stub_content(*last)) {
                    writing.put(&key, &value)?;
                }
            }
            Ok(())
        })
    }

    fn purge(&mut self, topic: &Arc<Topic>, to: Option<&[u8]>) -> Result<(), LogError> {
        if let Some(to) = to {
            return self.change(1 << 16, 64, |writing, _| {
                writing.delete_range(&birth_key(topic.number, 0), to).map(|_| ())
            });
        }
        let row = TopicRow { live: false, ..topic.row() };
        self.change(1 << 16, 64, |writing, commit| {
            let key = topic_key(topic.number);
            commit.digest = commit.digest.wrapping_sub(row_digest(&key, &row.content()));
            for (partition, state) in (0..).zip(&topic.partitions) {
                let (start, end) = (state.bounds().start.0, state.bounds().end.0);
                let digest = partition_digest(topic.number, partition, start, end);
                commit.digest = commit.digest.wrapping_sub(digest);
                writing.delete(&partition_key(topic.number, partition))?;
            }
            writing.delete(&key)
        })?;
        self.catalogue.dropped.write().retain(|dropped| dropped.number != topic.number);
        Ok(())
    }
}

/// Puts the records of a write at the ends of their partitions.
fn put_records(
    batch: &mut Encoded,
    writing: &mut Writing<'_>,
    staged: &mut Staged,
    offsets: &mut Vec<Offset>,
) -> Result<(), WriteError> {
    let places: Vec<usize> = batch.places.iter().map(|place| staged.place(place)).collect();
    for record in &batch.records {
        let end = &mut staged.ends[places[record.place]];
        let key = record_key(end.topic.number, end.partition, end.end);
        let time = if end.log_time { staged.now } else { record.time };
        put_record(writing, &mut batch.bytes, record, &key, time)?;
        offsets.push(Offset(end.end));
        end.end += 1;
        staged.records += 1;
        staged.bytes += record.len as u64;
    }
    Ok(())
}

impl Staged {
    fn place(&mut self, place: &Place) -> usize {
        let ends = &mut self.ends;
        *self.end_of.entry((place.topic.number, place.partition)).or_insert_with(|| {
            let end = place.topic.partitions[place.partition as usize].bounds().end.0;
            let log_time = place.topic.settings().times == RecordTimes::Log;
            ends.push(StagedEnd { topic: place.topic.clone(), partition: place.partition, end, log_time });
            ends.len() - 1
        })
    }
}

/// What to answer where nothing was begun.
fn not_begun(error: &WriteError) -> CommitError {
    match error {
        WriteError::Unknown(why) => CommitError::NotWritten { retry: false, error: must_reopen(why) },
        _ => commit_error(error),
    }
}

fn commit_error(error: &WriteError) -> CommitError {
    match error {
        WriteError::Full(_) => CommitError::NotWritten { retry: true, error: log_error(error) },
        WriteError::TooLarge(_) => CommitError::NotWritten { retry: false, error: log_error(error) },
        WriteError::Unknown(_) => CommitError::Unknown(log_error(error)),
    }
}

fn open_error(error: &WriteError) -> LogError {
    match error {
        WriteError::Unknown(why) => must_reopen(why),
        WriteError::Full(why) | WriteError::TooLarge(why) => {
            LogError::new(LogErrorKind::Unavailable, format!("the head is not settled: {why}"))
        }
    }
}

fn log_error(error: &WriteError) -> LogError {
    match error {
        WriteError::Full(why) => LogError::new(LogErrorKind::Full, why.as_str()),
        WriteError::TooLarge(why) => invalid(why.as_str()),
        WriteError::Unknown(why) => must_reopen(why),
    }
}

fn must_reopen(why: &str) -> LogError {
    let message = format!("{why}; what was being written is unknown: open the log again, which settles it");
    LogError::new(LogErrorKind::Closed, message)
}

fn refuse(work: Work, why: &str) {
    let not_written = || CommitError::NotWritten { retry: false, error: must_reopen(why) };
    match work {
        Work::Write(write) => drop(write.answer.send(Err(not_written()))),
        Work::Open(open) => drop(open.answer.send(Err(must_reopen(why)))),
        Work::Admin(_) => unreachable!("changes of the catalogue never share a batch"),
    }
}
