//! Where a shard of an emitter goes on: at its head; without one, only a first start may begin.

use headwater_core::log::{Head, ReadLimit, Wait};
use headwater_core::position::Position;
use headwater_core::record::StoredRecord;
use headwater_core::topic::{Offset, TopicPartition};
use tokio_util::sync::CancellationToken;

use super::Emitter;
use super::inputs::{Input, Inputs};
use super::parking::decisions_of;
use crate::engine::flow::writer_of;
use crate::runtime::cell::ShardCell;
use crate::runtime::shell::{Stop, pause_after};

/// Where a shard without a head looks for records of its own: so many from each end.
const SEARCHED: ReadLimit = ReadLimit { records: 2_000, bytes: 4 << 20 };

impl Emitter {
    /// A shard's inputs, where its head says that they stand; at their beginnings without one.
    ///
    /// # Errors
    ///
    /// If the log has lost what the head speaks of.
    pub(super) async fn inputs_at(&self, head: Option<&Head>, cell: &ShardCell) -> Result<Inputs, Stop> {
        let mut inputs = Vec::new();
        for source in &self.sources {
            let partition = source.partition(cell.shard.0);
            let bounds = self.shell.bounds(cell, &partition).await?;
            let next = head.and_then(|head| head.positions.get(&partition)).unwrap_or(bounds.start);
            if next > bounds.end {
                return Err(self.lost(&partition, next, bounds.end));
            }
            inputs.push(Input::new(partition, next, bounds.end));
        }
        if let Some(partition) = self.parks.as_ref().and_then(|parks| decisions_of(parks, cell.shard)) {
            let bounds = self.shell.bounds(cell, &partition).await?;
            let next = head.and_then(|head| head.positions.get(&partition)).unwrap_or(bounds.start);
            if next > bounds.end {
                return Err(self.lost(&partition, next, bounds.end));
            }
            inputs.push(Input::first(partition, next, bounds.end));
        }
        Ok(Inputs::new(self.shell.log.clone(), inputs, self.patience))
    }

    fn lost(&self, partition: &TopicPartition, next: Offset, end: Offset) -> Stop {
        Stop(format!(
            "the head of \"{}\" stands at {partition} offset {next}, and the log ends at {end}: the log has lost records, \
             or the topic was made again; restore it, or give the topology another version",
            self.definition.name
        ))
    }

    /// Without a head nothing else of the shard may be there: it would be processed a second time.
    pub(super) async fn check_first_start(
        &self,
        begins: &Position,
        cell: &ShardCell,
        stop: &CancellationToken,
    ) -> Result<(), Stop> {
        let Some(found) = self.found(begins, cell, stop).await? else { return Ok(()) };
        Err(Stop(format!(
            "shard {} of \"{}\" has no head, but {found}: its head is lost; restore it, or give the topology another \
             version, which begins anew with topics of its own",
            cell.shard, self.definition.name
        )))
    }

    /// What there is of the shard beside its head, in words.
    async fn found(
        &self,
        begins: &Position,
        cell: &ShardCell,
        stop: &CancellationToken,
    ) -> Result<Option<String>, Stop> {
        let committed = self.shell.committed(cell, &self.group).await?;
        let position = begins.iter().find_map(|(source, _)| Some((source, committed.get(source)?)));
        if let Some((source, next)) = position {
            return Ok(Some(format!("the group {} has committed {source} offset {next}", self.group)));
        }
        if let Some(store) = &self.store {
            let changelog = store.changelog.partition(cell.shard.0);
            let bounds = self.shell.bounds(cell, &changelog).await?;
            if !self.read_at(&changelog, bounds.start, stop).await?.is_empty() {
                return Ok(Some(format!("{changelog} has records")));
            }
        }
        self.own_output(cell, stop).await
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
}
