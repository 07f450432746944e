//! Upkeep: what topics may drop is dropped, and what deleted topics left is removed.
//!
//! Nothing is dropped around damage: a partition in which a scan finds some is left as it is. Every change is a bounded
//! transaction of the committer, so commands wait for none of it long.
//!
//! - **Expire**: records are dropped from the front, up to the first that is young enough.
//! - **Compact**: as in Kafka, the keys of what was appended since the last pass are gathered, and earlier records of
//!   those keys are superseded; a run of superseded records becomes one stub. A pass waits until what is new amounts to
//!   half of what was kept, or a tombstone is due.
//! - **Keep**: untouched.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use headwater_core::clock::Timestamp;
use headwater_core::log::{Cleanup, LogError};

use super::catalogue::Topic;
use super::error::closed;
use super::format::birth_key;
use super::queue::{Admin, Done, Work};
use super::reader::{Fault, Scanned, corrupt_at, scan};
use super::{Shared, page::Damage};

/// How many entries one transaction drops.
const STEP_ENTRIES: u64 = 5_000;

/// How many keys one pass of compaction gathers.
const PASS_KEYS_MAX: usize = 200_000;

/// What a round of upkeep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Records dropped since they were too old.
    pub expired: u64,
    /// Records replaced by stubs, since a later one has their key.
    pub superseded: u64,
    /// Topics whose last records were removed after they were deleted.
    pub purged: u64,
}

/// Where compaction stands, per partition.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    compacted: HashMap<(u32, u32), Pass>,
}

/// What the last pass over a partition left.
#[derive(Debug, Clone, Copy)]
struct Pass {
    to: u64,
    kept: u64,
    /// When the next tombstone is due.
    due: Option<Timestamp>,
}

impl Upkeep {
    /// One round over all topics.
    pub(super) fn round(&mut self, log: &Shared, now: Timestamp) -> Result<Maintained, LogError> {
        let mut done = Maintained::default();
        let dropped = log.catalogue.dropped.read().clone();
        for topic in dropped {
            purge(log, &topic)?;
            self.compacted.retain(|(number, _), _| *number != topic.number);
            done.purged += 1;
        }
        let topics: Vec<_> = log.catalogue.topics.read().values().cloned().collect();
        let mut failed = None;
        for topic in topics {
            for partition in 0..topic.partition_count() {
                if let Err(error) = self.partition(log, (&topic, partition), now, &mut done) {
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(done), Err)
    }

    fn partition(
        &mut self,
        log: &Shared,
        place: (&Arc<Topic>, u32),
        now: Timestamp,
        done: &mut Maintained,
    ) -> Result<(), LogError> {
        if log.is_stopping() {
            return Err(closed());
        }
        match place.0.settings().cleanup {
            Cleanup::Keep => {}
            Cleanup::Expire { after_ms } => done.expired += expire(log, place, now, after_ms)?,
            Cleanup::Compact { tombstones_ms } => {
                done.superseded += self.compact(log, place, now, tombstones_ms)?;
            }
        }
        Ok(())
    }

    fn compact(
        &mut self,
        log: &Shared,
        (topic, partition): (&Arc<Topic>, u32),
        now: Timestamp,
        tombstones_ms: u64,
    ) -> Result<u64, LogError> {
        let bounds = topic.partitions[partition as usize].bounds();
        let id = (topic.number, partition);
        let last = self.compacted.get(&id).copied();
        let from = last.map_or(bounds.start.0, |last| last.to);
        if !last.is_none_or(|last| last.is_due(bounds.end.0, now)) {
            return Ok(0);
        }
        let (latest, to) = latest_offsets(log, (topic, partition), from..bounds.end.0)?;
        let rule = Rule { latest, now, tombstones_ms };
        let found = find_runs(log, (topic, partition), bounds.start.0..to, &rule)?;
        for runs in found.batches() {
            wait(log, |answer| Admin::Supersede { topic: topic.clone(), partition, runs, answer })?;
        }
        self.compacted.insert(id, Pass { to, kept: found.kept, due: found.due });
        Ok(found.superseded)
    }
}

impl Pass {
    fn is_due(&self, end: u64, now: Timestamp) -> bool {
        let fresh = end - self.to;
        fresh > 0 && fresh * 2 >= self.kept || self.due.is_some_and(|due| due <= now)
    }
}

/// Whether something of `time` is older than `ms`.
fn is_older(time: i64, ms: u64, now: Timestamp) -> bool {
    u64::try_from(now.ms_since(Timestamp(time))).is_ok_and(|age| age > ms)
}

/// Drops records from the front while they are too old.
fn expire(
    log: &Shared,
    (topic, partition): (&Arc<Topic>, u32),
    now: Timestamp,
    after_ms: u64,
) -> Result<u64, LogError> {
    let mut expired = 0;
    loop {
        let bounds = topic.partitions[partition as usize].bounds();
        let (mut to, mut seen) = (bounds.start.0, 0);
        visit(log, (topic, partition), to..bounds.end.0, &mut |scanned| {
            let old = scanned.record.is_none() || is_older(scanned.time, after_ms, now);
            if old {
                to = scanned.last + 1;
                seen += 1;
            }
            old && seen < STEP_ENTRIES
        })?;
        if to == bounds.start.0 {
            return Ok(expired);
        }
        wait(log, |answer| Admin::Trim { topic: topic.clone(), partition, to, answer })?;
        expired += to - bounds.start.0;
    }
}

/// The last offset of each key in a section, and where the section ends.
fn latest_offsets(
    log: &Shared,
    place: (&Arc<Topic>, u32),
    range: Range<u64>,
) -> Result<(HashMap<Vec<u8>, u64>, u64), LogError> {
    let mut latest = HashMap::new();
    let mut to = range.start;
    visit(log, place, range, &mut |scanned| {
        if let Some((Some(key), _)) = scanned.record {
            latest.insert(key.to_vec(), scanned.offset);
        }
        to = scanned.last + 1;
        latest.len() < PASS_KEYS_MAX
    })?;
    Ok((latest, to))
}

/// What a pass drops.
struct Rule {
    latest: HashMap<Vec<u8>, u64>,
    now: Timestamp,
    tombstones_ms: u64,
}

impl Rule {
    fn drops(&self, scanned: &Scanned<'_>) -> bool {
        let Some((key, has_value)) = scanned.record else { return true };
        let Some(key) = key else { return false };
        let later = self.latest.get(key).is_some_and(|latest| scanned.offset < *latest);
        later || (!has_value && is_older(scanned.time, self.tombstones_ms, self.now))
    }

    /// When a tombstone that is kept is due.
    fn due(&self, scanned: &Scanned<'_>) -> Option<Timestamp> {
        let is_tombstone = matches!(scanned.record, Some((Some(_), false)));
        let after = i64::try_from(self.tombstones_ms).unwrap_or(i64::MAX);
        is_tombstone.then(|| Timestamp(scanned.time).plus_ms(after).plus_ms(1))
    }
}

/// Runs of offsets to drop, each with how many entries it replaces.
#[derive(Default)]
struct Runs {
    runs: Vec<(u64, u64, u64)>,
    /// Entries and records of the run that may still grow.
    open: Option<(u64, u64, u64, u64)>,
    kept: u64,
    superseded: u64,
    due: Option<Timestamp>,
}

fn find_runs(
    log: &Shared,
    place: (&Arc<Topic>, u32),
    range: Range<u64>,
    rule: &Rule,
) -> Result<Runs, LogError> {
    let mut found = Runs::default();
    visit(log, place, range, &mut |scanned| {
        if rule.drops(&scanned) {
            found.drop(&scanned);
        } else {
            found.close();
            found.kept += 1;
            found.due = found.due.into_iter().chain(rule.due(&scanned)).min();
        }
        true
    })?;
    found.close();
    Ok(found)
}

impl Runs {
    fn drop(&mut self, scanned: &Scanned<'_>) {
        let is_record = u64::from(scanned.record.is_some());
        if self.open.is_some_and(|(.., entries, _)| entries >= STEP_ENTRIES) {
            self.close();
        }
        let run = self.open.get_or_insert((scanned.offset, scanned.last, 0, 0));
        run.1 = scanned.last;
        run.2 += 1;
        run.3 += is_record;
    }

    /// Ends a run; one that is a single stub already stays as it is.
    fn close(&mut self) {
        if let Some((first, last, entries, records)) = self.open.take()
            && (records > 0 || entries > 1)
        {
            self.runs.push((first, last, entries));
            self.superseded += records;
        }
    }

    /// The runs, cut into transactions.
    fn batches(&self) -> Vec<Vec<(u64, u64)>> {
        let mut batches: Vec<Vec<(u64, u64)>> = Vec::new();
        let mut room = 0;
        for (first, last, entries) in &self.runs {
            if room < *entries {
                batches.push(Vec::new());
                room = STEP_ENTRIES.max(*entries);
            }
            room -= entries;
            batches.last_mut().expect("the first run finds no room").push((*first, *last));
        }
        batches
    }
}

/// Visits the records of a partition; damage is an error.
fn visit(
    log: &Shared,
    (topic, partition): (&Arc<Topic>, u32),
    range: Range<u64>,
    visit: &mut dyn FnMut(Scanned<'_>) -> bool,
) -> Result<(), LogError> {
    let damaged = &mut |range: Range<u64>, fault: &Fault| -> Result<(), LogError> {
        if topic.is_live() { Err(corrupt_at(topic, partition, range.start, fault)) } else { Err(closed()) }
    };
    scan(&log.engine, (topic, partition), range, damaged, visit)
}

/// Removes what a deleted topic left, and its row at last.
fn purge(log: &Shared, topic: &Arc<Topic>) -> Result<(), LogError> {
    loop {
        let to = purge_step(log, topic).map_err(|damage| {
            corrupt_at(topic, 0, 0, &format!("what it left cannot be removed: {damage}"))
        })?;
        let last = to.is_none();
        wait(log, |answer| Admin::Purge { topic: topic.clone(), to, answer })?;
        if last {
            return Ok(());
        }
    }
}

/// A key up to which a bounded number of the topic's entries lies; `None` if it has none.
fn purge_step(log: &Shared, topic: &Topic) -> Result<Option<Vec<u8>>, Damage> {
    let (from, end) = (birth_key(topic.number, 0), birth_key(topic.number + 1, 0));
    let snapshot = log.engine.snapshot().map_err(|error| Damage::Io(std::io::Error::other(error)))?;
    let mut cursor = snapshot.cursor();
    let mut found = cursor.seek(&from)?;
    let mut seen = 0;
    while found && cursor.key()?.is_some_and(|key| key < &end[..]) {
        seen += 1;
        if seen > STEP_ENTRIES {
            return Ok(cursor.key()?.map(<[u8]>::to_vec));
        }
        found = cursor.next()?;
    }
    Ok((seen > 0).then(|| end.to_vec()))
}

fn wait(log: &Shared, admin: impl FnOnce(Done) -> Admin) -> Result<(), LogError> {
    let (answer, answered) = sync_channel(1);
    log.queue.push(Work::Admin(admin(answer))).map_err(|_| closed())?;
    answered.recv().unwrap_or_else(|_| Err(closed()))
}
