//! Loading what a shard has of global tables before it begins.
//!
//! As Kafka Streams' `GlobalStreamThread.initialize` brings every global store to the end that its topic has, before any
//! task starts: here a shard waits until the topology that copies the table's topic has come as far as that topic's end
//! was when the shard began, and then takes its own copy of those records before anything else, whatever their times.
//! What comes later is taken in the order of times, like every other record.

use std::time::Duration;

use headwater_core::log::{LogError, LogErrorKind};
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use tokio_util::sync::CancellationToken;

use super::Emitter;
use super::inputs::Inputs;
use crate::runtime::cell::ShardCell;
use crate::runtime::shell::{Stop, pause_for};

/// How often it is looked how far a table has come.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A global table that an emitter reads a copy of.
pub(crate) struct Global {
    /// Which of the emitter's sources the copy is.
    pub(crate) source: usize,
    /// The group of the topology that makes the copies.
    pub(crate) group: String,
    /// What it copies, and how many partitions that has.
    pub(crate) of: TopicName,
    pub(crate) partitions: u32,
}

impl Emitter {
    /// Has the inputs take first what global tables hold now; answers whether it was not told to stop meanwhile.
    pub(super) async fn load_globals(
        &self,
        inputs: &mut Inputs,
        cell: &ShardCell,
        stop: &CancellationToken,
    ) -> Result<bool, Stop> {
        for global in &self.globals {
            if !self.is_copied(global, cell, stop).await? {
                return Ok(false);
            }
            let copy = inputs.partition(global.source).clone();
            let until = self.shell.bounds(cell, &copy).await?.end;
            inputs.take_first(global.source, until);
        }
        Ok(true)
    }

    /// Waits until everything that a table's topic holds now was copied.
    async fn is_copied(
        &self,
        global: &Global,
        cell: &ShardCell,
        stop: &CancellationToken,
    ) -> Result<bool, Stop> {
        let mut goals: Vec<(TopicPartition, Offset)> = Vec::new();
        for partition in 0..global.partitions {
            let partition = global.of.partition(partition);
            let bounds = self.shell.bounds(cell, &partition).await?;
            if bounds.start < bounds.end {
                goals.push((partition, bounds.end));
            }
        }
        loop {
            let committed = self.shell.committed(cell, &global.group).await?;
            goals.retain(|(partition, end)| committed.get(partition).is_none_or(|next| next < *end));
            let Some((partition, end)) = goals.first() else {
                cell.let_on();
                return Ok(true);
            };
            let message =
                format!("the global table of {} is loaded up to {partition} offset {end} first", global.of);
            cell.hinder(&LogError::new(LogErrorKind::Unavailable, message));
            if pause_for(LOOK_EVERY, stop).await {
                return Ok(false);
            }
        }
    }
}
