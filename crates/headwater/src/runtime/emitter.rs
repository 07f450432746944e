//! Running an emitter: reads one partition, appends to a topic, commits records and position together.

use std::sync::Arc;

use headwater_core::BoxFuture;
use headwater_core::log::{Bounds, Claim, Head, Opened, ReadLimit, Transaction, Wait};
use headwater_core::position::Position;
use headwater_core::record::{Append, StoredRecord};
use headwater_core::topic::{Offset, Partition, TopicName, TopicPartition};
use tokio_util::sync::CancellationToken;

use super::cell::{Phase, ShardCell};
use super::membership::RunShard;
use super::shell::{Committed, Refusals, Regained, Shell, Stop, pause_after, regain};
use crate::engine::command_batch::whole_commands;
use crate::engine::flow::{Flow, writer_of};
use crate::engine::operators::{Failure, InputRecord, Task, run_batch};
use crate::topology::{Definition, ShardPlace};

/// Where a shard without a head looks for records of its own: so many from each end.
const SEARCHED: ReadLimit = ReadLimit { records: 2_000, bytes: 4 << 20 };

/// An emitter topology, ready to run its shards.
pub(crate) struct Emitter {
    pub(crate) shell: Shell,
    pub(crate) definition: Arc<Definition>,
    pub(crate) source: TopicName,
    /// The partitions of each topic that it appends to.
    pub(crate) targets: Arc<[Arc<[TopicPartition]>]>,
    pub(crate) cells: Arc<[Arc<ShardCell>]>,
    /// The name of its group.
    pub(crate) group: String,
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
            let ended = self.emit(&cell, &source, &*claim, &stop).await;
            cell.set_left(0);
            match ended {
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
        while let Regained::Ours(opened) = regain(claim, cell, stop).await? {
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
        let bounds = self.shell.bounds(cell, source).await?;
        let next = match head {
            Some(head) => self.next_after(&head, source, bounds)?,
            None => {
                self.check_first_start(cell, source, stop).await?;
                let first = transaction(source, bounds.start, Vec::new());
                match self.shell.commit_until(&mut *writer, first, source, stop).await? {
                    Committed::Yes => bounds.start,
                    Committed::WriterDied => return Ok(WriterEnd::Died),
                    Committed::Stopped => return Ok(WriterEnd::Stopped),
                }
            }
        };
        let mut next = next;
        let place = ShardPlace { shard: source.partition, targets: self.targets.clone() };
        let mut task = self.definition.task(&place);
        let (mut limit, mut refusals) = (ReadLimit::default(), Refusals::default());
        cell.set_committed(next);
        cell.set_end_seen(bounds.end);
        // What views read of this topology is older than the log until it has come as far as the log was.
        cell.set_left(bounds.end.0.saturating_sub(next.0));
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
                    cell.hinder(&error);
                    pause_after(error, source, stop).await?;
                    continue;
                }
            };
            cell.let_on();
            let records = &batch.records;
            let whole =
                if crate::planted::split_commands() { records.len() } else { whole_commands(records) };
            if whole == 0 && !batch.records.is_empty() {
                limit = ReadLimit { records: limit.records * 2, bytes: limit.bytes * 2 };
                continue;
            }
            let to = batch.records.get(whole).map_or(batch.next, |record| record.offset);
            let appends = self.process(&mut task, &batch.records[..whole], source)?;
            let transaction = transaction(source, to, appends);
            match self.shell.commit_once(&mut *writer, transaction, source, &mut refusals, stop).await? {
                Some(Committed::Yes) => (next, refusals) = (to, Refusals::default()),
                Some(Committed::WriterDied) => return Ok(WriterEnd::Died),
                Some(Committed::Stopped) => return Ok(WriterEnd::Stopped),
                // Read and processed again, which costs less than keeping a copy of every transaction until its answer.
                None => continue,
            }
            cell.set_end_seen(batch.end);
            cell.set_committed(next);
            cell.set_left(bounds.end.0.saturating_sub(next.0));
        }
    }

    /// Where the shard goes on; an error if the log has lost what the head speaks of.
    fn next_after(&self, head: &Head, source: &TopicPartition, bounds: Bounds) -> Result<Offset, Stop> {
        let next = head.positions.get(source).unwrap_or(bounds.start);
        if next <= bounds.end {
            return Ok(next);
        }
        Err(Stop(format!(
            "the head of \"{}\" stands at {source} offset {next}, and the log ends at {}: the log has lost records, or \
             the topic was made again; restore it, or give the topology another version",
            self.definition.name, bounds.end
        )))
    }

    /// Without a head nothing else of the shard may be there: it would be processed a second time.
    async fn check_first_start(
        &self,
        cell: &ShardCell,
        source: &TopicPartition,
        stop: &CancellationToken,
    ) -> Result<(), Stop> {
        let found = match self.shell.committed(cell, &self.group).await?.get(source) {
            Some(next) => Some(format!("the group {} has committed {source} offset {next}", self.group)),
            None => self.own_output(cell, stop).await?,
        };
        let Some(found) = found else { return Ok(()) };
        Err(Stop(format!(
            "shard {} of \"{}\" has no head, but {found}: its head is lost; restore it, or give the topology another \
             version, which begins anew with topics of its own",
            source.partition, self.definition.name
        )))
    }

    /// A record that a shard has written, in words, if there is one near an end of a target partition: the shards of a
    /// topology write there in turns, so that whoever has written much is found in a little.
    async fn own_output(&self, cell: &ShardCell, stop: &CancellationToken) -> Result<Option<String>, Stop> {
        for to in self.targets.iter().flat_map(|partitions| partitions.iter()) {
            let bounds = self.shell.bounds(cell, to).await?;
            let last = Offset(bounds.end.0.saturating_sub(SEARCHED.records as u64)).max(bounds.start);
            for from in [bounds.start, last] {
                let records = self.read_at(to, from, stop).await?;
                let own = records.iter().find(|stored| writer_of(&stored.record.headers) == Some(cell.shard));
                if let Some(own) = own {
                    return Ok(Some(format!("it wrote {to} offset {}", own.offset)));
                }
            }
        }
        Ok(None)
    }

    async fn read_at(
        &self,
        at: &TopicPartition,
        from: Offset,
        stop: &CancellationToken,
    ) -> Result<Vec<StoredRecord>, Stop> {
        while !stop.is_cancelled() {
            match self.shell.log.read(at, from, SEARCHED, Wait::No).await {
                Ok(batch) => return Ok(batch.records),
                Err(error) => pause_after(error, at, stop).await?,
            }
        }
        Ok(Vec::new())
    }

    fn process(
        &self,
        task: &mut Task,
        records: &[StoredRecord],
        source: &TopicPartition,
    ) -> Result<Vec<Append>, Stop> {
        let mut flow = Flow::new(None);
        let Err(Failure { at, error }) = run_batch(task, InputRecord::of_one(records), &mut flow) else {
            super::observe::dropped(&self.definition.name, flow.take_drops());
            return Ok(flow.into_appends(source.partition));
        };
        let offset = records.get(at).map_or(Offset::ZERO, |record| record.offset);
        Err(Stop(format!("\"{}\" stopped at {source} offset {offset}: {error}", self.definition.name)))
    }
}

fn transaction(source: &TopicPartition, next: Offset, appends: Vec<Append>) -> Transaction {
    let positions = Position::from_iter([(source.clone(), next)]);
    Transaction { appends, positions, note: bytes::Bytes::new() }
}

#[derive(PartialEq, Eq)]
enum WriterEnd {
    Stopped,
    Died,
}
