//! Keeping a warm copy of a shard that another instance owns.
//!
//! A standby reads what the owner writes, events and outcomes, into the same kind of store; it decides nothing and
//! answers nobody. When its instance gains the shard, the owner's restore finds the copy and replays the rest.

use std::time::Duration;

use headwater_core::log::{LogErrorKind, ReadBatch, ReadLimit, Wait};
use headwater_core::topic::{Offset, Partition};
use tokio_util::sync::CancellationToken;

use super::restore::{CHUNK, Replay, Restoring};
use super::shard::{AggregateShards, Sweep};
use crate::aggregate::Aggregate;
use crate::engine::decide::Decided;
use crate::runtime::membership::RunShard;
use crate::runtime::shell::{Stop, pause_after};

/// What a standby reads at once when it has caught up.
const LIVE: ReadLimit = ReadLimit { records: 2_000, bytes: 1 << 20 };
/// How long a standby waits that fell behind what the log keeps.
const BEGIN_AGAIN: Duration = Duration::from_secs(1);

impl<A: Aggregate> AggregateShards<A> {
    /// Keeps the copy until `stop`.
    pub(super) async fn keep_copy(&self, shard: Partition, stop: &CancellationToken) -> Result<(), Stop> {
        self.cell(shard).set_standby(Some(0));
        while !stop.is_cancelled() {
            self.copy(shard, stop).await?;
            // It ended by itself only because the outcomes that it needs have expired.
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = tokio::time::sleep(BEGIN_AGAIN) => {}
            }
        }
        Ok(())
    }

    async fn copy(&self, shard: Partition, stop: &CancellationToken) -> Result<(), Stop> {
        let partitions = self.partitions(shard);
        let ground = self.ground(shard, &partitions).await?;
        let state = self.state(shard, &partitions, &ground, stop).await?;
        let mut restoring = Restoring::new(self, shard, partitions, &ground, state, stop);
        if !restoring.has_state() {
            match restoring.replay_snapshots().await {
                Ok(true) => restoring.begin_behind_snapshots(),
                ended => {
                    restoring.give_up();
                    return ended.map(|_| ());
                }
            }
        }
        restoring.stand();
        Copy { shards: self, shard, restoring, stop, sweep: Sweep::default(), ends: [Offset::ZERO; 2] }
            .run()
            .await
    }
}

struct Copy<'a, A: Aggregate> {
    shards: &'a AggregateShards<A>,
    shard: Partition,
    restoring: Restoring<'a, A>,
    stop: &'a CancellationToken,
    sweep: Sweep,
    /// The ends of events and of outcomes when they were last read.
    ends: [Offset; 2],
}

impl<A: Aggregate> Copy<'_, A> {
    async fn run(mut self) -> Result<(), Stop> {
        let log = self.shards.shell.log.clone();
        let at = self.restoring.partitions.clone();
        loop {
            let limit = if self.behind() > LIVE.records as u64 { CHUNK } else { LIVE };
            let events = log.read(&at.events, self.restoring.events_next, limit, Wait::UntilMore);
            let outcomes = log.read(&at.outcomes, self.restoring.outcomes_next, limit, Wait::UntilMore);
            let (what, read) = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                read = events => (Replay::Events, read),
                read = outcomes => (Replay::Outcomes, read),
            };
            match read {
                Ok(batch) => self.take(what, &batch)?,
                Err(error) if matches!(error.kind(), LogErrorKind::OutOfRange(_)) => return Ok(()),
                Err(error) => pause_after(error, self.restoring.partition(what), self.stop).await?,
            }
            self.shards.shell.room().await;
        }
    }

    fn behind(&self) -> u64 {
        let events = self.ends[0].0.saturating_sub(self.restoring.events_next.0);
        events + self.ends[1].0.saturating_sub(self.restoring.outcomes_next.0)
    }

    fn take(&mut self, what: Replay, batch: &ReadBatch) -> Result<(), Stop> {
        self.restoring.take(what, &batch.records, batch.next)?;
        self.ends[usize::from(what == Replay::Outcomes)] = batch.end;
        self.sweep()?;
        let cell = self.shards.cell(self.shard);
        cell.set_committed(self.restoring.events_next);
        cell.set_end_seen(self.ends[0].max(self.restoring.events_next));
        cell.set_standby(Some(self.behind()));
        Ok(())
    }

    /// Removes outcomes that have been kept long enough, as the owner does.
    fn sweep(&mut self) -> Result<(), Stop> {
        let now = self.shards.shell.clock.now();
        let Some(rows) = self.sweep.page(self.restoring.state(), now, &self.shards.options)? else {
            return Ok(());
        };
        let mut batch = Decided::default();
        self.restoring.expire(&rows, now, &mut batch);
        if !batch.delta.is_empty() {
            self.restoring.add(batch);
        }
        Ok(())
    }
}
