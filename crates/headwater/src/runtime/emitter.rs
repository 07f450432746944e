//! Running an emitter: reads one partition, appends to a topic, commits records and position together.

use std::sync::Arc;

use headwater_core::BoxFuture;
use headwater_core::log::{Claim, CommitError, Opened, ReadLimit, Transaction, Wait, Writer};
use headwater_core::position::Position;
use headwater_core::record::{Append, StoredRecord};
use headwater_core::topic::{Offset, Partition, TopicName, TopicPartition};
use tokio_util::sync::CancellationToken;

use super::cell::{Phase, ShardCell};
use super::membership::RunShard;
use super::shell::{Regained, Shell, Stop, pause_after};
use crate::engine::command_batch::whole_commands;
use crate::engine::flow::Flow;
use crate::engine::operators::{Failure, RecordSink, run_batch};
use crate::topology::{Definition, ShardPlace};

/// An emitter topology, ready to run its shards.
pub(crate) struct Emitter {
    pub(crate) shell: Shell,
    pub(crate) definition: Arc<Definition>,
    pub(crate) source: TopicName,
    pub(crate) to: Arc<[TopicPartition]>,
    pub(crate) cells: Arc<[Arc<ShardCell>]>,
}

impl RunShard for Emitter {
    fn run(
        self: Arc<Self>,
        shard: Partition,
        claim: Box<dyn Claim>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let cell = self.cells[shard.0 as usize].clone();
            let source = self.source.partition(shard.0);
            match self.emit(&cell, &source, &*claim, &stop).await {
                Ok(()) => cell.set_phase(Phase::Waiting),
                Err(Stop(reason)) => cell.set_phase(Phase::Stopped { reason }),
            }
        })
    }

    fn cell(&self, shard: Partition) -> &ShardCell {
        &self.cells[shard.0 as usize]
    }
}

impl Emitter {
    /// Opens the writer, and opens it again whenever it died while the shard is still ours.
    async fn emit(
        &self,
        cell: &ShardCell,
        source: &TopicPartition,
        claim: &dyn Claim,
        stop: &CancellationToken,
    ) -> Result<(), Stop> {
        while let Regained::Ours(opened) = self.shell.regain(claim, stop).await {
            if self.emit_with(opened, cell, source, stop).await? == WriterEnd::Stopped {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn emit_with(
        &self,
        opened: Opened,
        cell: &ShardCell,
        source: &TopicPartition,
        stop: &CancellationToken,
    ) -> Result<WriterEnd, Stop> {
        let Opened { mut writer, head } = opened;
        let bounds = self.shell.bounds(source).await?;
        let mut next = match head {
            Some(head) => head.positions.get(source).unwrap_or(bounds.start),
            None => bounds.start,
        };
        let place = ShardPlace { shard: source.partition, to: self.to.clone() };
        let mut chain = (self.definition.chain)(&place);
        let mut limit = ReadLimit::default();
        cell.set_committed(next);
        cell.set_end_seen(bounds.end);
        cell.set_phase(Phase::Running);
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(WriterEnd::Stopped),
                batch = self.shell.log.read(source, next, limit, Wait::UntilMore) => batch,
            };
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    pause_after(error, source, stop).await?;
                    continue;
                }
            };
            let records = &batch.records;
            let whole =
                if crate::planted::split_commands() { records.len() } else { whole_commands(records) };
            if whole == 0 && !batch.records.is_empty() {
                limit = ReadLimit { records: limit.records * 2, bytes: limit.bytes * 2 };
                continue;
            }
            let to = batch.records.get(whole).map_or(batch.next, |record| record.offset);
            let appends = self.process(&mut *chain, &batch.records[..whole], source)?;
            match self.commit(&mut *writer, appends, source, to, stop).await? {
                Committed::Yes => next = to,
                Committed::WriterDied => return Ok(WriterEnd::Died),
                Committed::Stopped => return Ok(WriterEnd::Stopped),
            }
            cell.set_end_seen(batch.end);
            cell.set_committed(next);
        }
    }

    fn process(
        &self,
        chain: &mut dyn RecordSink,
        records: &[StoredRecord],
        source: &TopicPartition,
    ) -> Result<Vec<Append>, Stop> {
        let mut flow = Flow::new(None);
        let Err(Failure { at, error }) = run_batch(chain, records, &mut flow) else {
            return Ok(flow.into_appends());
        };
        let offset = records.get(at).map_or(Offset::ZERO, |record| record.offset);
        Err(Stop(format!("\"{}\" stopped at {source} offset {offset}: {error}", self.definition.name)))
    }

    async fn commit(
        &self,
        writer: &mut dyn Writer,
        appends: Vec<Append>,
        source: &TopicPartition,
        next: Offset,
        stop: &CancellationToken,
    ) -> Result<Committed, Stop> {
        let positions = Position::from_iter([(source.clone(), next)]);
        let transaction = Transaction { appends, positions, note: bytes::Bytes::new() };
        loop {
            match self.shell.commit(writer, transaction.clone()).await {
                Ok(_) => return Ok(Committed::Yes),
                Err(CommitError::NotWritten { retry: true, error }) => {
                    tracing::warn!(%source, %error, "a commit was refused; trying again");
                    if self.shell.pause(stop).await {
                        return Ok(Committed::Stopped);
                    }
                }
                Err(CommitError::NotWritten { retry: false, error }) => return Err(Stop::new(error)),
                Err(CommitError::Fenced | CommitError::Unknown(_)) => return Ok(Committed::WriterDied),
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum WriterEnd {
    Stopped,
    Died,
}

enum Committed {
    Yes,
    WriterDied,
    Stopped,
}
