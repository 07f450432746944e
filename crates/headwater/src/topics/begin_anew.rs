//! Going on without a topic that was lost: what stood on it begins anew, too.
//!
//! ```text
//! lost         so
//! events       the aggregates begin at version 0; their snapshots and outcomes are given up with them
//! snapshots    the aggregates are folded from their events again: nothing else is lost
//! repartition  whoever makes it begins anew
//! changelog    whoever keeps it begins anew
//! shared       nothing: what was made of its records stays, and what comes next is appended to it
//! heads        shards go on from what their group has committed; the notes are made again
//! ```
//!
//! An emitter that begins anew reads all its sources from their beginnings, with an empty state: its changelog, its letters
//! and the topics of the app that it makes are given up with whatever was lost, and whoever reads those begins anew, too, and so
//! on. Decisions that were about its letters are passed by. No record is counted a second time over a state that has it. What it appended to a shared topic cannot be taken
//! back, and would come a second time: unless the operator gave up its state itself, or names that topic, too, it is
//! refused.
//!
//! Every shard that is told so must be nobody's: the app runs nowhere. What is done twice says the same, so whoever was
//! interrupted gives the same word again.

use std::collections::BTreeSet;

use bytes::Bytes;
use headwater_core::log::{Group, Head, Log, LogError, LogErrorKind};
use headwater_core::position::Position;
use headwater_core::topic::{Partition, TopicName, TopicPartition};

use super::counts::Counts;
use super::declared::Purpose;
use super::declared::WritingGroup;
use super::own::{own, put};
use super::plan::{Action, Difference, Place, Step};
use super::prepare::Word;
use crate::app::App;

/// What was lost, and what begins anew because of it.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// The topics that an operator gave up, and those of emitters that begin anew.
    topics: BTreeSet<TopicName>,
    /// The groups of the emitters that begin anew.
    anew: BTreeSet<String>,
    /// Topics that are filled again from their beginnings.
    refilled: BTreeSet<TopicName>,
}

impl Lost {
    /// Of all steps, those that give records up, and what follows from them.
    pub(super) fn of(steps: &[Step], app: &App, counts: &Counts) -> Self {
        let topics = steps.iter().filter(|step| step.given_up).map(|step| step.topic.clone()).collect();
        let mut lost = Self { topics, ..Self::default() };
        let groups = app.writing_groups(counts);
        while let Some(writing) = groups.iter().find(|writing| lost.draws_in(writing)) {
            lost.anew.insert(writing.group.name.clone());
            let kept = writing.changelog.iter().chain(&writing.letters);
            lost.topics.extend(writing.own_targets.iter().chain(kept).cloned());
            lost.refilled.extend(writing.own_targets.iter().cloned());
        }
        lost
    }

    /// Whether an emitter has to begin anew, and is not known to.
    fn draws_in(&self, writing: &WritingGroup) -> bool {
        let WritingGroup { group, own_targets, changelog, sources, .. } = writing;
        let mut own = own_targets.iter().chain(changelog);
        let is_drawn_in = own.any(|topic| self.topics.contains(topic))
            || sources.iter().any(|topic| self.refilled.contains(topic));
        is_drawn_in && !self.anew.contains(&group.name)
    }

    /// Refuses steps to which records would be appended a second time that nobody has given up.
    pub(super) fn refuse_repeats(&self, steps: &mut [Step], app: &App, place: &Place, word: &Word) {
        for writing in
            app.writing_groups(&Counts::default()).iter().filter(|writing| self.begins_anew(writing))
        {
            let is_named = |topic: &TopicName| word.accept_loss.contains(topic.as_str());
            if writing.changelog.as_ref().is_some_and(is_named) {
                continue;
            }
            for sink in writing.shared_targets.iter().filter(|sink| !is_named(sink)) {
                let Some(step) = steps.iter_mut().find(|step| step.topic == *sink) else { continue };
                step.action = Action::Refuse(vec![self.repeats(app.name(), place, writing, sink, word)]);
            }
        }
    }

    fn repeats(
        &self,
        app: &str,
        place: &Place,
        writing: &WritingGroup,
        sink: &TopicName,
        word: &Word,
    ) -> Difference {
        let again: Vec<_> = writing.sources.iter().filter(|topic| self.refilled.contains(*topic)).collect();
        let again = again.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        let name = &writing.group.name;
        let accepted = word.accept_loss.iter().map(String::as_str).chain([sink.as_str()]);
        let accepted: Vec<_> = accepted.map(|topic| format!("--accept-loss {topic}")).collect();
        let command = place.own(app, &format!("apply {}", accepted.join(" ")));
        Difference {
            setting: "records",
            has: format!("those that {name} appended"),
            needs: "each of them once".to_owned(),
            blocks: true,
            mend: format!(
                "{name} reads {again}, which is made again, from its beginning, and would append all of them a second \
                 time: put back what was lost from a copy; or, where repeats do no harm, run `{command}`"
            ),
        }
    }

    fn begins_anew(&self, writing: &WritingGroup) -> bool {
        self.anew.contains(&writing.group.name)
    }

    /// Those whose records mean nothing without what was lost.
    pub(super) fn along(&self, steps: &[Step]) -> Vec<TopicName> {
        let is_lost = |aggregate: &str| {
            let events = |step: &&Step| step.purpose == Purpose::Events(aggregate.to_owned());
            steps.iter().find(events).is_some_and(|step| step.given_up)
        };
        let along = |step: &&Step| match &step.purpose {
            _ if step.given_up => false,
            Purpose::Snapshots(aggregate) | Purpose::Outcomes(aggregate) => is_lost(aggregate),
            _ => self.topics.contains(&step.topic),
        };
        steps.iter().filter(along).map(|step| step.topic.clone()).collect()
    }

    /// Tells the shards of the app where they begin.
    pub(super) async fn begin_anew(&self, log: &dyn Log, app: &App, counts: &Counts) -> Result<(), LogError> {
        for writing in app.writing_groups(counts) {
            if let Some(begin) = self.begin(log, &writing) {
                tell(log, &writing, begin).await?;
            }
        }
        Ok(())
    }

    fn begin(&self, log: &dyn Log, writing: &WritingGroup) -> Option<Begin> {
        let WritingGroup { group, events, snapshots, .. } = writing;
        let is_lost = |topic: &TopicName| self.topics.contains(topic);
        if self.begins_anew(writing) {
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
    /// At the beginnings of their sources, with an empty state.
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
        if let Some((decisions, partitions)) = &writing.decisions {
            let decisions = decisions.partition(shard.0 % partitions);
            let bounds = log.bounds(&decisions).await?;
            let next = match begin {
                // The letters that they were about are gone.
                Begin::Source => Some(bounds.end),
                Begin::Events => opened.head.as_ref().and_then(|head| head.positions.get(&decisions)),
                Begin::Committed { .. } => committed.get(&decisions),
            };
            // What nobody knows to be done is done again, rather than left out.
            let next = next.unwrap_or(bounds.start).clamp(bounds.start, bounds.end);
            positions.set(decisions, next);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use headwater_core::clock::{SystemClock, Timestamp};
    use headwater_core::log::{ReadLimit, TopicSettings, Wait};
    use headwater_core::record::{Append, Record};
    use headwater_core::topic::Offset;

    use super::super::prepare::{Prepared, Reach, prepare};
    use super::*;
    use crate::letters::DeadLetter;
    use crate::log::memory::{MemoryLog, MemoryOptions};
    use crate::prelude::*;
    use crate::store::memory::MemoryStores;

    const WITHIN: Duration = Duration::from_secs(30);
    const DECISIONS: &str = "shop.decisions";

    fn doubling() -> App {
        let mut app = App::new("shop").with(|options| {
            options.partitions = 1;
            options.on_failure = crate::OnFailure::park();
        });
        app.emitter(app.stream::<String, u64>("visits").map_values(|visit| *visit.value * 2).to("twice"));
        app
    }

    async fn start(log: &MemoryLog) -> Running {
        let headwater = Headwater::on(Arc::new(log.clone()), Arc::new(MemoryStores::new()));
        headwater.start(doubling()).await.unwrap()
    }

    async fn visit(log: &MemoryLog, key: &'static str, value: &'static str) {
        let to = TopicName::new("visits").unwrap().partition(0);
        log.append(vec![Append { to, record: Record::new(key, value, Timestamp(1)) }]).await.unwrap();
    }

    /// The letters, once there are so many.
    async fn letters(running: &Running, count: usize) -> Vec<DeadLetter> {
        let met = async {
            loop {
                let page = running.dead_letters().list(None, 10, None).await.unwrap();
                if page.letters.len() == count {
                    return page.letters;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(WITHIN, met).await.expect("in time")
    }

    async fn discard_the_only_letter(running: &Running) {
        let letter = letters(running, 1).await.remove(0).record.id;
        running.dead_letters().discard(&letter).await.unwrap();
        letters(running, 0).await;
    }

    /// A log on which a letter was set aside, and a decision about it done.
    async fn with_a_decision() -> MemoryLog {
        let log = MemoryLog::new(MemoryOptions {
            seed: 7,
            clock: Arc::new(SystemClock),
            ..MemoryOptions::default()
        });
        log.create(&TopicName::new("visits").unwrap(), TopicSettings::kept(1)).await.unwrap();
        visit(&log, "a", "x").await;
        let running = start(&log).await;
        discard_the_only_letter(&running).await;
        assert!(running.stop(WITHIN).await);
        log
    }

    #[tokio::test]
    async fn a_shard_that_is_told_where_to_begin_passes_by_decisions_that_are_done() {
        for (begin, visits, decisions) in [(Begin::Committed { or_anew: false }, 1, 1), (Begin::Source, 0, 2)]
        {
            let log = with_a_decision().await;
            let one_more = TopicName::new(DECISIONS).unwrap().partition(0);
            let record = Record::new("b", "{}", Timestamp(2));
            log.append(vec![Append { to: one_more, record }]).await.unwrap();
            let writing = doubling().writing_groups(&Counts::default()).remove(0);
            tell(&log, &writing, begin).await.unwrap();
            let owned = own(&log, &writing.group).await.unwrap();
            let head = owned.claims[0].open().await.unwrap().head.unwrap();
            let at = |topic: &str| head.positions.get(&TopicName::new(topic).unwrap().partition(0));
            assert_eq!(at("visits"), Some(Offset(visits)), "{begin:?}");
            assert_eq!(at(DECISIONS), Some(Offset(decisions)), "{begin:?}");
        }
    }

    #[tokio::test]
    async fn what_is_decided_after_decisions_were_lost_is_done_and_letters_wait_for_it() {
        for is_there_again in [false, true] {
            let log = with_a_decision().await;
            visit(&log, "b", "y").await;
            let running = start(&log).await;
            letters(&running, 1).await;
            assert!(running.stop(WITHIN).await);
            let decisions = log.describe(&TopicName::new(DECISIONS).unwrap()).await.unwrap().unwrap();
            log.delete(&decisions.name).await.unwrap();
            if is_there_again {
                log.create(&decisions.name, decisions.settings).await.unwrap();
            }
            let word = Word { accept_loss: [DECISIONS.to_owned()].into(), ..Word::default() };
            let reach = (Reach::Alter, &word);
            let applied = prepare(&log, &SystemClock, &doubling(), &Place::default(), reach).await.unwrap();
            assert!(matches!(applied, Prepared::Ready(_)));

            // Its decision has the place of the one before, in the topic that was lost.
            let running = start(&log).await;
            discard_the_only_letter(&running).await;
            visit(&log, "b", "2").await;
            let twice = TopicName::new("twice").unwrap().partition(0);
            let told = log.read(&twice, Offset::ZERO, ReadLimit::default(), Wait::UntilMore);
            let told = tokio::time::timeout(WITHIN, told).await.expect("in time").unwrap();
            let told: Vec<_> = told.records.into_iter().filter_map(|stored| stored.record.value).collect();
            assert_eq!(told, ["4"]);
            assert!(running.stop(WITHIN).await);
        }
    }
}
