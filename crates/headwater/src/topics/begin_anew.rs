//! Going on without a topic that was lost: what stood on it begins anew, too.
//!
//! ```text
//! lost         so
//! events       the aggregates begin at version 0; their snapshots and outcomes are given up with them
//! snapshots    the aggregates are folded from their events again: nothing else is lost
//! repartition  its source is read again from the beginning: nothing is lost that the source still has
//! changelog    its sources are read again from the beginning; a repartition of it is given up with it, and made again
//! heads        shards go on from what their group has committed; the notes are made again
//! ```
//!
//! Every shard that is told so must be nobody's: the app runs nowhere. What is done twice says the same, so whoever was
//! interrupted gives the same word again.

use std::collections::BTreeSet;

use bytes::Bytes;
use headwater_core::log::{Group, Head, Log, LogError, LogErrorKind};
use headwater_core::position::Position;
use headwater_core::topic::{Partition, TopicName, TopicPartition};

use super::declared::Purpose;
use super::declared::WritingGroup;
use super::own::{own, put};
use super::plan::Step;
use crate::app::App;

/// What was lost.
#[derive(Debug, Default)]
pub(super) struct Lost(BTreeSet<TopicName>);

impl Lost {
    /// Of all steps, those that give records up.
    pub(super) fn of(steps: &[Step]) -> Self {
        Self(steps.iter().filter(|step| step.given_up).map(|step| step.topic.clone()).collect())
    }

    /// Those whose records mean nothing without what was lost.
    pub(super) fn along(&self, steps: &[Step]) -> Vec<TopicName> {
        let is_lost = |aggregate: &str| {
            let events = |step: &&Step| step.purpose == Purpose::Events(aggregate.to_owned());
            steps.iter().find(events).is_some_and(|step| step.given_up)
        };
        let gone = |purpose: &Purpose| steps.iter().any(|step| step.given_up && step.purpose == *purpose);
        let along = |step: &&Step| match &step.purpose {
            // What was made of a state is made again together with it.
            Purpose::Changelog(topology) => gone(&Purpose::Repartition(topology.clone())) && !step.given_up,
            Purpose::Repartition(topology) => gone(&Purpose::Changelog(topology.clone())) && !step.given_up,

            Purpose::Snapshots(aggregate) | Purpose::Outcomes(aggregate) => {
                is_lost(aggregate) && !step.given_up
            }
            _ => false,
        };
        steps.iter().filter(along).map(|step| step.topic.clone()).collect()
    }

    /// Tells the shards of the app where they begin.
    pub(super) async fn begin_anew(&self, log: &dyn Log, app: &App) -> Result<(), LogError> {
        for writing in app.writing_groups() {
            if let Some(begin) = self.begin(log, &writing) {
                tell(log, &writing, begin).await?;
            }
        }
        Ok(())
    }

    fn begin(&self, log: &dyn Log, writing: &WritingGroup) -> Option<Begin> {
        let WritingGroup { group, events, snapshots, targets, changelog, .. } = writing;
        let is_lost = |topic: &TopicName| self.0.contains(topic);
        if targets.iter().chain(changelog).any(is_lost) {
            Some(Begin::Source)
        } else if [events, snapshots].into_iter().flatten().any(is_lost) {
            Some(Begin::Events)
        } else {
            let heads = log.topics_of(group);
            heads
                .iter()
                .any(|(name, _)| is_lost(name))
                .then_some(Begin::Committed { or_anew: events.is_some() })
        }
    }
}

/// Where the shards of a group begin.
#[derive(Debug, Clone, Copy)]
enum Begin {
    /// Where they are in their source, with an empty state.
    Events,
    /// At the beginning of their source.
    Source,
    /// At what their group has committed; whoever keeps outcomes may meet commands again where it has committed nothing.
    Committed { or_anew: bool },
}

async fn tell(log: &dyn Log, writing: &WritingGroup, begin: Begin) -> Result<(), LogError> {
    let WritingGroup { group, sources, .. } = writing;
    let committed = log.committed(&group.name).await?;
    let owned = own(log, group).await?;
    for (shard, claim) in (0..).map(Partition).zip(&owned.claims) {
        let opened = claim.open().await?;
        let mut positions = Position::new();
        for source in sources.iter().map(|source| source.partition(shard.0)) {
            let bounds = log.bounds(&source).await?;
            let was = match begin {
                Begin::Events => opened.head.as_ref().and_then(|head| head.positions.get(&source)),
                Begin::Source => None,
                Begin::Committed { .. } => committed.get(&source),
            };
            let is_unknown = was.is_none() && matches!(begin, Begin::Committed { or_anew: false });
            if is_unknown && bounds.start < bounds.end {
                return Err(unknown(group, &source));
            }
            let next = was.unwrap_or(bounds.start).clamp(bounds.start, bounds.end);
            positions.set(source, next);
        }
        // Without a note the state is made of all that there is.
        put(opened, Head { positions, note: Bytes::new() }).await?;
    }
    Ok(())
}

fn unknown(group: &Group, source: &TopicPartition) -> LogError {
    let message = format!(
        "how far {source} was read is lost with the heads of {}, and its group's offsets have expired, too: to read it \
         again would write everything twice; give up what it writes to as well, with --accept-loss",
        group.name
    );
    LogError::new(LogErrorKind::Invalid, message)
}
