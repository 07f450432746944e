//! Copying records, in transactions that hold records and progress together.
//!
//! The offsets of what a transaction copies are known only by its answer, so the next transaction puts them on the map.
//! Where that one never came, they are found again: nobody else writes to the new partitions, so the records there that
//! the map does not know are, in order, the old ones that it does not know.

use std::collections::BTreeMap;

use bytes::Bytes;
use headwater_core::log::{
    Cleanup, CommitError, Group, Log, LogError, LogErrorKind, RecordTimes, TopicDescription, TopicSettings,
    Transaction, Wait, Writer,
};
use headwater_core::position::Position;
use headwater_core::record::{Append, StoredRecord};
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use serde::{Deserialize, Serialize};

use super::error::{MigrateError, Of};
use super::map::{
    Begin, MigratedTopic, OffsetMap, Range, Run, begin_record, copied_record, push, runs_record,
};
use super::records::{Records, same};
use super::{Migration, OnProgress, Progress, RESUMING, Reached, map_topic};
use crate::topics::own::{Owned, own};

/// How a topic is kept while it is copied to: everything, with the times that it came with.
pub(super) fn while_copying(settings: TopicSettings) -> TopicSettings {
    TopicSettings { times: RecordTimes::Producer, ..settings.cleanup(Cleanup::Keep) }
}

/// Refuses a topic that has records.
pub(super) async fn refuse_records(log: &dyn Log, topic: &TopicDescription) -> Result<(), MigrateError> {
    for partition in 0..topic.settings.partitions {
        let at = topic.name.partition(partition);
        let bounds = log.bounds(&at).await.of_new()?;
        if let Some(first) = Records::between(log, &at, bounds.start, bounds.end).next().await.of_new()? {
            let what = format!("records (the first at offset {} of partition {partition})", first.offset);
            return Err(MigrateError::occupied(&topic.name, &what));
        }
    }
    Ok(())
}

/// How far the copy has come: the head's note of the migration's one shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// The partition, by its place in the list.
    index: usize,
    /// The next old offset to copy.
    next: Offset,
    /// Old records from here up to `next` are copied, and not on the map.
    unmapped: Offset,
    /// The new partition has those from here on.
    target: Offset,
}

/// A copy under way.
pub(super) struct Copying<'a> {
    migration: &'a Migration<'a>,
    partitions: Vec<(TopicPartition, Range)>,
    map_at: TopicPartition,
    map: OffsetMap,
    note: Note,
    /// Whether an earlier run had begun it.
    is_resumed: bool,
    writer: Box<dyn Writer>,
    _owned: Owned,
}

impl<'a> Copying<'a> {
    /// Takes the migration over from whoever had it, and finds out how far that came.
    pub(super) async fn open(
        migration: &'a Migration<'a>,
        source: &BTreeMap<TopicName, TopicDescription>,
    ) -> Result<Self, MigrateError> {
        let topic = map_topic(migration.app);
        match migration.to.create(&topic, TopicSettings::kept(1)).await {
            Err(error) if error.kind() != LogErrorKind::TopicExists => return Err(error).of_new(),
            _ => {}
        }
        let group = Group { name: topic.to_string(), shards: 1, topic: topic.clone() };
        let owned = own(migration.to, &group).await.of_new()?;
        let opened = owned.claims[0].open().await.of_new()?;
        let map = OffsetMap::load(migration.to, &topic).await.of_new()?;
        let note = opened.head.and_then(|head| serde_json::from_slice(&head.note).ok()).unwrap_or_default();
        let map_at = topic.partition(0);
        let mut copying = Self {
            migration,
            partitions: Vec::new(),
            map_at,
            is_resumed: map.begin.is_some(),
            map,
            note,
            writer: opened.writer,
            _owned: owned,
        };
        copying.begin(source).await?;
        copying.find_unmapped().await?;
        Ok(copying)
    }

    /// Says what is copied, or checks that it is what was said.
    async fn begin(&mut self, source: &BTreeMap<TopicName, TopicDescription>) -> Result<(), MigrateError> {
        let Migration { from, to, clock, .. } = *self.migration;
        let mut topics = Vec::new();
        for old in source.values() {
            let new = to.describe(&old.name).await.of_new()?;
            let Some(new) = new else {
                return Err(MigrateError::occupied(&old.name, "lost what was copied"));
            };
            let mut partitions = Vec::new();
            for partition in 0..old.settings.partitions {
                let bounds = from.bounds(&old.name.partition(partition)).await.of_old()?;
                partitions.push(Range { start: bounds.start, end: bounds.end });
            }
            topics.push(MigratedTopic { name: old.name.clone(), from_id: old.id, to_id: new.id, partitions });
        }
        let begin = Begin { from: from.id(), topics };
        match &self.map.begin {
            None => {
                let record = begin_record(&self.map_at, &begin, clock.now());
                self.partitions = begin.partitions();
                self.note = self.start_of(0).await?;
                self.commit(vec![record], self.note).await?;
                self.map.begin = Some(begin);
            }
            Some(begun) => {
                begun.refuse_other(&begin)?;
                self.partitions = begun.partitions();
            }
        }
        Ok(())
    }

    /// The note of a copy that begins with a partition.
    async fn start_of(&self, index: usize) -> Result<Note, MigrateError> {
        let Some((at, range)) = self.partitions.get(index) else {
            return Ok(Note { index, ..Note::default() });
        };
        let target = self.migration.to.bounds(at).await.of_new()?.end;
        Ok(Note { index, next: range.start, unmapped: range.start, target })
    }

    /// Puts on the map, in memory, what the last transaction copied.
    async fn find_unmapped(&mut self) -> Result<(), MigrateError> {
        let Note { index, next, unmapped, target } = self.note;
        let Some((at, _)) = self.partitions.get(index).cloned() else { return Ok(()) };
        let Migration { from, to, .. } = *self.migration;
        let end = to.bounds(&at).await.of_new()?.end;
        let mut old = Records::between(from, &at, unmapped, next);
        let mut new = Records::between(to, &at, target, end);
        let mut runs = Vec::new();
        loop {
            match (old.next().await.of_old()?, new.next().await.of_new()?) {
                (Some(old), Some(new)) if same(&old.record, &new.record) => {
                    push(&mut runs, old.offset, new.offset)
                }
                (None, None) => break,
                (old, new) => return Err(foreign(&at, old, new)),
            }
        }
        self.pending(&at, runs).await
    }

    /// Puts what was found on the map at once, so that the next transaction has one batch behind it at most.
    async fn pending(&mut self, at: &TopicPartition, runs: Vec<Run>) -> Result<(), MigrateError> {
        if runs.is_empty() {
            return Ok(());
        }
        let note = self.mapped(&runs);
        let record = runs_record(&self.map_at, at, runs.clone(), self.migration.clock.now());
        self.commit(vec![record], note).await?;
        self.map.add(at, &runs);
        self.note = note;
        Ok(())
    }

    /// The note once runs that were missing are on the map.
    fn mapped(&self, runs: &[Run]) -> Note {
        let target = runs.last().map_or(self.note.target, |Run(_, to, count)| Offset(to + count));
        Note { unmapped: self.note.next, target, ..self.note }
    }

    /// Copies what is left; answers the whole map.
    pub(super) async fn run(
        mut self,
        last: &mut Reached,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<OffsetMap, MigrateError> {
        if self.is_resumed
            && let Some((at, _)) = self.partitions.get(self.note.index)
        {
            on_progress(self.progress(RESUMING, at));
        }
        while self.note.index < self.partitions.len() {
            self.copy_partition(last, on_progress).await?;
            self.note = self.start_of(self.note.index + 1).await?;
        }
        if !self.map.copied {
            let record = copied_record(&self.map_at, self.migration.clock.now());
            self.commit(vec![record], self.note).await?;
            self.map.copied = true;
        }
        Ok(self.map)
    }

    async fn copy_partition(
        &mut self,
        last: &mut Reached,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<(), MigrateError> {
        let (at, range) = self.partitions[self.note.index].clone();
        let mut unmapped: Vec<Run> = Vec::new();
        while self.note.next < range.end {
            let batch = self
                .migration
                .from
                .read(&at, self.note.next, self.migration.batch, Wait::No)
                .await
                .of_old()?;
            let mut appends = Vec::with_capacity(batch.records.len() + 1);
            let mut note = Note { next: batch.next, ..self.note };
            if !unmapped.is_empty() {
                let runs = std::mem::take(&mut unmapped);
                note = Note { next: batch.next, ..self.mapped(&runs) };
                self.map.add(&at, &runs);
                appends.push(runs_record(&self.map_at, &at, runs, self.migration.clock.now()));
            }
            let before = appends.len();
            let append = |stored: &StoredRecord| Append { to: at.clone(), record: stored.record.clone() };
            appends.extend(batch.records.iter().map(append));
            let offsets = self.commit(appends, note).await?;
            for (old, new) in batch.records.iter().zip(&offsets[before..]) {
                push(&mut unmapped, old.offset, *new);
            }
            self.note = note;
            *last = (note.index, note.next.0);
            on_progress(self.progress("copying", &at));
        }
        self.pending(&at, unmapped).await
    }

    async fn commit(&mut self, appends: Vec<Append>, note: Note) -> Result<Vec<Offset>, MigrateError> {
        // The position fences on Kafka; what tells the progress is the note.
        let positions = Position::from_iter([(self.map_at.clone(), Offset::ZERO)]);
        let note = Bytes::from(serde_json::to_vec(&note).expect("numbers are JSON"));
        self.writer.commit(Transaction { appends, positions, note }).await.map_err(|error| {
            let error = match error {
                CommitError::NotWritten { retry: false, error } => error,
                CommitError::NotWritten { error, .. }
                | CommitError::Abandoned(error)
                | CommitError::Unknown(error) => {
                    let message = format!("a transaction of the migration was not answered: {error}");
                    LogError::new(LogErrorKind::Unavailable, message)
                }
                CommitError::Fenced => {
                    LogError::new(LogErrorKind::Fenced, "another run of the migration has taken over")
                }
            };
            MigrateError::Log { which: "new", error }
        })
    }

    fn progress(&self, doing: &'static str, at: &TopicPartition) -> Progress {
        let len = |range: &Range| range.end.0 - range.start.0;
        let total = self.partitions.iter().map(|(_, range)| len(range)).sum();
        let before: u64 = self.partitions[..self.note.index].iter().map(|(_, range)| len(range)).sum();
        let here = self.note.next.0 - self.partitions[self.note.index].1.start.0;
        Progress { doing, at: at.clone(), done: before + here, total }
    }
}

fn foreign(at: &TopicPartition, old: Option<StoredRecord>, new: Option<StoredRecord>) -> MigrateError {
    let how = match (old, new) {
        (Some(old), Some(new)) => {
            format!("offset {} of the old log is not offset {} of the new", old.offset, new.offset)
        }
        (Some(old), None) => format!("offset {} of the old log is not in the new one", old.offset),
        (None, Some(new)) => format!("offset {} of the new log is none of the old one's", new.offset),
        (None, None) => "nothing".to_owned(),
    };
    MigrateError::Differs { partition: at.clone(), how }
}

impl Begin {
    pub(super) fn partitions(&self) -> Vec<(TopicPartition, Range)> {
        let of = |topic: &MigratedTopic| {
            let name = topic.name.clone();
            let ranges = topic.partitions.clone();
            (0..).zip(ranges).map(move |(partition, range)| (name.partition(partition), range))
        };
        self.topics.iter().flat_map(of).collect()
    }

    /// Refuses to go on where what was begun is something else.
    fn refuse_other(&self, now: &Self) -> Result<(), MigrateError> {
        if self.from != now.from {
            let mend = "give an empty cluster, or the old log of that migration".to_owned();
            return Err(MigrateError::Occupied { what: format!("a migration from log {}", self.from), mend });
        }
        for (begun, found) in self.topics.iter().zip(&now.topics) {
            if begun.to_id != found.to_id {
                return Err(MigrateError::occupied(
                    &begun.name,
                    "been made again since the migration began; something",
                ));
            }
            if begun != found {
                let what =
                    format!("topic {} has changed since the migration began: it was written to", begun.name);
                return Err(MigrateError::Source(what));
            }
        }
        if self.topics.len() != now.topics.len() {
            return Err(MigrateError::Source("its topics have changed since the migration began".to_owned()));
        }
        Ok(())
    }
}
