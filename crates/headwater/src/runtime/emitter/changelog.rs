//! The state that a shard of an emitter keeps, and its changelog.
//!
//! Every change of the state is a record of the compacted topic `<app>.<topology>.changelog` (`changelog-2` of version
//! 2), in the shard's own partition, and in the transaction of the outputs and positions that belong to it:
//!
//! ```text
//! key   = u8 table, bytes key   the table's index among the topology's, and the key that the row has there
//! value = bytes row             null: the row is gone
//! time  = on the wall, when the transaction was made: tombstones are kept for seven days from then on
//! ```
//!
//! The local store is a copy of it that is behind: its checkpoint says up to which offset of the changelog, and when that
//! was. From there the rest is replayed, up to the end that the changelog has once the shard's writer was opened: so the
//! state is what it was at the head, whatever became of the last transaction. A store that is older than half of the time
//! that tombstones are kept could miss some of them: it is built again from the changelog's start. The time of a state
//! that does not change moves on with the log's word that nothing was written since.
//!
//! A store remembers the last record that it includes, and the head the last that was written with it ([`super::tie`]):
//! so a changelog that lost its end, or went on with other records, is found out and never served.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use headwater_core::clock::Timestamp;
use headwater_core::log::{LogErrorKind, ReadLimit, Wait};
use headwater_core::position::Position;
use headwater_core::record::{Append, Record, StoredRecord};
use headwater_core::store::{Checkpoint, KEY_BYTES_MAX, StateChange, TableId};
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use tokio_util::sync::CancellationToken;

use super::tie::Tie;
use super::{Emitter, TOUCH_EVERY};
use crate::engine::state::Delta;
use crate::runtime::cell::{Phase, ShardCell};
use crate::runtime::landmarks::{Landmarks, Mark};
use crate::runtime::shell::{NamedStore, Shell, Stop, pause_after};
use crate::runtime::trust::{Input, Provenance, as_of, landmarks};
use crate::store::overlay::ShardState;
use crate::topics::TOMBSTONES_MS;

const CHUNK: ReadLimit = ReadLimit { records: 10_000, bytes: 8 << 20 };
/// What a standby reads at once.
const LIVE: ReadLimit = ReadLimit { records: 2_000, bytes: 1 << 20 };
/// What is read where nothing is expected.
const ONE: ReadLimit = ReadLimit { records: 1, bytes: 1 };

/// What an emitter keeps: its store, and the topic of its changes.
pub(crate) struct EmitterStore {
    pub(crate) named: NamedStore,
    pub(crate) changelog: TopicName,
}

/// A shard's state, and how much of its changelog it has.
pub(super) struct Kept {
    pub(super) state: Arc<ShardState>,
    changelog: TopicPartition,
    next: Offset,
    provenance: Provenance,
    landmarks: Landmarks,
    /// What the head says of the changelog.
    tie: Option<Tie>,
    /// Everything that was written before is in it.
    as_of: Timestamp,
    /// What the tables are called.
    tables: Arc<[String]>,
}

impl Kept {
    /// The records of changes: the tombstones first, since a log drops them in time, and the head tells of the last record.
    pub(super) fn appends(&self, changes: &[StateChange], now: Timestamp) -> impl Iterator<Item = Append> {
        let (values, tombstones): (Vec<_>, Vec<_>) =
            changes.iter().partition(|change| change.value.is_some());
        tombstones.into_iter().chain(values).map(move |change| self.append(change, now))
    }

    fn append(&self, change: &StateChange, now: Timestamp) -> Append {
        let mut key = BytesMut::with_capacity(1 + change.key.len());
        key.put_u8(change.table.0);
        key.put_slice(&change.key);
        let record = Record {
            key: Some(key.freeze()),
            value: change.value.clone(),
            timestamp: now,
            ..Record::default()
        };
        Append { to: self.changelog.clone(), record }
    }

    /// Refuses what no store would take.
    pub(super) fn check(&self, changes: &[StateChange]) -> Result<(), Stop> {
        let Some(change) = changes.iter().find(|change| change.key.len() > KEY_BYTES_MAX) else {
            return Ok(());
        };
        let table = &self.tables[usize::from(change.table.0)];
        let bytes = change.key.len();
        Err(Stop(format!(
            "a key of \"{table}\" has {bytes} bytes, and a store takes {KEY_BYTES_MAX} at most"
        )))
    }

    /// What the head of a transaction says of the changelog, in which these are the records of changes.
    pub(super) fn tie(&self, changes: &[Append]) -> Option<Tie> {
        Tie::of(changes, self.next).or_else(|| self.tie.clone())
    }

    /// Changes the state as a transaction has that is written now; its records of changes have these offsets.
    pub(super) fn commit(
        &mut self,
        changes: Vec<StateChange>,
        (offsets, tie): (&[Offset], Option<Tie>),
        sources: Position,
        now: Timestamp,
    ) {
        if let (Some(last), Some(tie)) = (offsets.iter().max(), &tie) {
            self.next = last.next();
            self.landmarks.set(&self.changelog.topic, *last, tie.last().clone());
        }
        (self.tie, self.as_of) = (tie, now);
        self.apply(changes, sources);
    }

    /// Tells a state that has all of its changelog to be as new as the log is.
    pub(super) async fn renew(&mut self, shell: &Shell) {
        let now = shell.clock.now();
        match shell.log.read(&self.changelog, self.next, ONE, Wait::No).await {
            Ok(batch) if batch.records.is_empty() && batch.next >= batch.end => {
                (self.next, self.as_of) = (batch.next, now);
                self.apply(Vec::new(), self.sources());
            }
            // There is more than it knows of, or nobody can say: it is as old as it was.
            Ok(_) | Err(_) => {}
        }
    }

    /// How far the inputs are processed in it.
    fn sources(&self) -> Position {
        self.state.checkpoint().map(|checkpoint| checkpoint.position).unwrap_or_default()
    }

    fn apply(&self, changes: Vec<StateChange>, sources: Position) {
        let position = sources.iter().map(|(at, next)| (at.clone(), next));
        let position = position.chain([(self.changelog.clone(), self.next)]).collect();
        self.state.commit(
            changes,
            Checkpoint { position, note: self.provenance.note_as_of(self.as_of, &self.landmarks) },
        );
    }

    /// Takes records of the changelog into the state, and moves to behind them.
    ///
    /// The state is as old as the last of them: those that follow are no older.
    fn replay(&mut self, records: &[StoredRecord], next: Offset) -> Result<(), Stop> {
        let mut delta = Delta::default();
        for stored in records {
            let failed = |why| Stop(format!("{} offset {}: {why}", self.changelog, stored.offset));
            let key = stored.record.key.as_ref().ok_or_else(|| failed("it has no key"))?;
            let (table, _) = key.split_first().ok_or_else(|| failed("its key is empty"))?;
            if usize::from(*table) >= self.tables.len() {
                return Err(failed("there is no such table"));
            }
            delta.put(TableId(*table), key.slice(1..), stored.record.value.clone());
        }
        self.next = next;
        if let Some(last) = records.last() {
            self.as_of = self.as_of.max(last.record.timestamp);
            self.landmarks.set(&self.changelog.topic, last.offset, Mark::of(&last.record));
        }
        self.apply(delta.into_changes(), self.sources());
        Ok(())
    }
}

impl Emitter {
    /// The shard's state as far as there is one that can be trusted, and the end of its changelog.
    async fn kept(
        &self,
        store: &EmitterStore,
        cell: &ShardCell,
        stop: &CancellationToken,
    ) -> Result<(Kept, Offset), Stop> {
        let changelog = store.changelog.partition(cell.shard.0);
        let oldest = self.shell.clock.now().plus_ms(-(TOMBSTONES_MS as i64) / 2);
        let provenance = self.shell.provenance(cell, &[&store.changelog]).await?.expiring(oldest);
        let bounds = self.shell.bounds(cell, &changelog).await?;
        let input = Input { partition: changelog.clone(), bounds, is_kept: true, is_compacted: true };
        let state = self.shell.shard_state(&store.named, cell, &provenance, &[input], stop).await?;
        cell.set_state(Some(state.clone()));
        let checkpoint = state.checkpoint();
        let next = checkpoint.as_ref().and_then(|checkpoint| checkpoint.position.get(&changelog));
        let next = next.unwrap_or(bounds.start);
        let landmarks = landmarks(checkpoint.as_ref());
        let as_of = checkpoint.and_then(|checkpoint| as_of(&checkpoint.note)).unwrap_or(oldest);
        let tables = store.named.tables.clone();
        let kept = Kept { state, changelog, next, provenance, landmarks, tie: None, as_of, tables };
        Ok((kept, bounds.end))
    }

    /// The shard's state at its head; `None` if it was told to stop. To be called once its writer was opened.
    ///
    /// # Errors
    ///
    /// If the changelog does not have what the head speaks of.
    pub(super) async fn restore(
        &self,
        store: &EmitterStore,
        (head, tie): (Position, Option<Tie>),
        cell: &ShardCell,
        stop: &CancellationToken,
    ) -> Result<Option<Kept>, Stop> {
        let (mut kept, end) = self.kept(store, cell, stop).await?;
        let from = kept.next;
        while kept.next < end {
            if stop.is_cancelled() {
                return Ok(None);
            }
            let (done, total) = (kept.next.0 - from.0, end.0 - from.0);
            cell.set_phase(Phase::Restoring { done, total });
            match self.shell.log.read(&kept.changelog, kept.next, CHUNK, Wait::No).await {
                Ok(batch) => {
                    cell.let_on();
                    self.shell.may_grow(&self.definition, &store.named).map_err(|reason| {
                        let (name, at, next) = (&self.definition.name, &kept.changelog, kept.next);
                        Stop(format!("\"{name}\" stopped at {at} offset {next}: {reason}"))
                    })?;
                    kept.replay(&batch.records, batch.next)?;
                }
                Err(error) => {
                    cell.hinder(&error);
                    pause_after(error, &kept.changelog, stop).await?;
                }
            }
            self.shell.room().await;
        }
        if let Some(tie) = &tie {
            tie.check(&kept.changelog, end, &kept.landmarks)
                .map_err(|Stop(why)| Stop(format!("\"{}\": {why}", self.definition.name)))?;
        }
        let now = self.shell.clock.now();
        kept.commit(Vec::new(), (&[], tie), head, now);
        Ok(Some(kept))
    }

    /// Keeps a copy of another instance's shard until `stop`.
    pub(super) async fn keep_copy(
        &self,
        store: &EmitterStore,
        cell: &ShardCell,
        stop: &CancellationToken,
    ) -> Result<(), Stop> {
        cell.set_standby(Some(0));
        while !stop.is_cancelled() {
            let (kept, end) = self.kept(store, cell, stop).await?;
            cell.set_standby(Some(end.0.saturating_sub(kept.next.0)));
            // It ends by itself only where the log has dropped what it stands at: it begins again.
            self.follow_changelog(kept, cell, stop).await?;
        }
        Ok(())
    }

    async fn follow_changelog(
        &self,
        mut kept: Kept,
        cell: &ShardCell,
        stop: &CancellationToken,
    ) -> Result<(), Stop> {
        loop {
            let read = self.shell.log.read(&kept.changelog, kept.next, LIVE, Wait::UntilMore);
            let read = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                read = read => Some(read),
                () = tokio::time::sleep(TOUCH_EVERY) => None,
            };
            let Some(read) = read else {
                kept.renew(&self.shell).await;
                continue;
            };
            match read {
                Ok(batch) => {
                    kept.replay(&batch.records, batch.next)?;
                    cell.set_standby(Some(batch.end.0.saturating_sub(batch.next.0)));
                }
                Err(error) if matches!(error.kind(), LogErrorKind::OutOfRange(_)) => return Ok(()),
                Err(error) => pause_after(error, &kept.changelog, stop).await?,
            }
            self.shell.room().await;
        }
    }
}
