//! The decisions by which one shard of a fold goes on where it would stop.
//!
//! They are read before anything is folded, and again whenever the shard stops: so every instance and every rebuild folds
//! the same. Decisions about one record count in the order in which they were made: the first under which the record can be
//! folded is the one that is in the state. So a replacement that fails, too, waits for the next decision.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use headwater_core::log::{Log, ReadLimit, Wait};
use headwater_core::record::StoredRecord;
use headwater_core::topic::{Offset, TopicPartition};
use tokio_util::sync::CancellationToken;

use super::cell::ShardCell;
use super::shell::{Shell, Stop, pause_after};
use crate::letters::{Decision, Raw, Verdict, decision_of, moved_offset};
use crate::migrate::map::OffsetMap;

/// Decisions about the records of one shard of one fold.
pub(super) struct Decided {
    log: Arc<dyn Log>,
    moved: Option<Arc<OffsetMap>>,
    topology: String,
    source: TopicPartition,
    /// Where they lie, and how far they were read.
    at: TopicPartition,
    next: Offset,
    verdicts: BTreeMap<Offset, Vec<Verdict>>,
    ids: HashSet<String>,
    /// How many of the verdicts on a record did not help.
    failed: BTreeMap<Offset, usize>,
}

/// Records as they are to be folded, each with its index among those that were read.
pub(super) struct AsDecided<'a> {
    pub(super) records: Cow<'a, [StoredRecord]>,
    indices: Option<Vec<usize>>,
    /// How many were left out, and how many were replaced.
    pub(super) skipped: u64,
    pub(super) replaced: u64,
}

impl AsDecided<'_> {
    /// The index among all records of the one that has this index here.
    pub(super) fn index(&self, at: usize) -> usize {
        self.indices.as_ref().map_or(at, |indices| indices.get(at).copied().unwrap_or(at))
    }
}

impl Decided {
    /// Reads every decision that there is.
    pub(super) async fn read(
        shell: &Shell,
        cell: &ShardCell,
        (topology, source): (&str, &TopicPartition),
        at: TopicPartition,
        moved: Option<Arc<OffsetMap>>,
        stop: &CancellationToken,
    ) -> Result<Self, Stop> {
        let next = shell.bounds(cell, &at).await?.start;
        let mut decided = Self {
            log: shell.log.clone(),
            moved,
            topology: topology.to_owned(),
            source: source.clone(),
            at,
            next,
            verdicts: BTreeMap::new(),
            ids: HashSet::new(),
            failed: BTreeMap::new(),
        };
        decided.catch_up(shell, cell, stop).await?;
        Ok(decided)
    }

    /// Reads on up to the end that there is now.
    pub(super) async fn catch_up(
        &mut self,
        shell: &Shell,
        cell: &ShardCell,
        stop: &CancellationToken,
    ) -> Result<(), Stop> {
        let end = shell.bounds(cell, &self.at).await?.end;
        while self.next < end && !stop.is_cancelled() {
            self.read_on(Wait::No, stop).await?;
        }
        Ok(())
    }

    /// Waits until there is a further decision about anything.
    pub(super) async fn more(&mut self, stop: &CancellationToken) -> Result<(), Stop> {
        self.read_on(Wait::UntilMore, stop).await
    }

    async fn read_on(&mut self, wait: Wait, stop: &CancellationToken) -> Result<(), Stop> {
        let read = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            read = self.log.read(&self.at, self.next, ReadLimit::default(), wait) => read,
        };
        let batch = match read {
            Ok(batch) => batch,
            Err(error) => return pause_after(error, &self.at, stop).await,
        };
        for stored in &batch.records {
            self.take(decision_of(&self.at, stored).map_err(Stop::new)?);
        }
        self.next = batch.next;
        Ok(())
    }

    fn take(&mut self, decision: Decision) {
        let about = &decision.about;
        let is_ours = about.topology == self.topology && about.at == self.source;
        if !is_ours || !decision.made.verdict.is_of_fold() || !self.ids.insert(decision.made.id.clone()) {
            return;
        }
        let here = decision.is_of_log(self.log.id()).then_some(about.offset);
        let offset = here.or_else(|| moved_offset(self.moved.as_deref(), &decision));
        match offset {
            Some(offset) => self.verdicts.entry(offset).or_default().push(decision.made.verdict),
            None => tracing::warn!(about = %about, "a decision is about a record of another log"),
        }
    }

    /// The verdict that counts for a record now.
    fn verdict(&self, offset: Offset) -> Option<&Verdict> {
        let failed = self.failed.get(&offset).copied().unwrap_or_default();
        self.verdicts.get(&offset)?.get(failed)
    }

    /// Tells that a record could not be folded as it is to be now; answers whether there is another verdict to go by.
    pub(super) fn fails(&mut self, offset: Offset) -> bool {
        if self.has(offset) {
            *self.failed.entry(offset).or_default() += 1;
        }
        self.has(offset)
    }

    /// Whether there is a verdict that counts for a record.
    pub(super) fn has(&self, offset: Offset) -> bool {
        self.verdict(offset).is_some()
    }

    /// Records as they are to be folded.
    pub(super) fn apply<'a>(&self, records: &'a [StoredRecord]) -> AsDecided<'a> {
        let mut decided =
            AsDecided { records: Cow::Borrowed(records), indices: None, skipped: 0, replaced: 0 };
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return decided };
        if self.verdicts.range(first.offset..=last.offset).next().is_none() {
            return decided;
        }
        let (mut kept, mut indices) = (Vec::with_capacity(records.len()), Vec::new());
        for (index, stored) in records.iter().enumerate() {
            let mut stored = stored.clone();
            match self.verdict(stored.offset) {
                Some(Verdict::Skip) => {
                    decided.skipped += 1;
                    continue;
                }
                Some(Verdict::Replace(value)) => {
                    decided.replaced += 1;
                    stored.record.value = value.clone().map(|Raw(bytes)| bytes);
                }
                _ => {}
            }
            kept.push(stored);
            indices.push(index);
        }
        AsDecided { records: Cow::Owned(kept), indices: Some(indices), ..decided }
    }
}
