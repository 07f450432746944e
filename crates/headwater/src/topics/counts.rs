//! How many partitions topics have that other programs may have made, and which of them can be read together.
//!
//! The topics of an app have one count of partitions, and equal keys of two of them lie in partitions of one number. A
//! topic by its own name may have another count:
//!
//! - who appends to it sends each key to the partition that this count tells;
//! - an emitter that reads it, and nothing of yet another count, has a shard for each of *its* partitions: so a named
//!   repartition, or a global table, brings its records to the app's own count;
//! - what reads it together with topics of another count would find equal keys apart (Kafka Streams:
//!   `CopartitionedTopicsEnforcer`), and a view is asked by the app's count: both are refused.

use std::collections::BTreeMap;

use headwater_core::log::{Log, LogError};
use headwater_core::topic::TopicName;

use super::plan::{Action, Difference, Step};
use crate::app::App;
use crate::topology::{Definition, Kind, TopicRef};

/// The counts of the topics that an app does not have for itself, as far as they are there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts(BTreeMap<TopicName, u32>);

impl Counts {
    /// Asks the log for those that the app reads or feeds by their own names.
    pub(crate) async fn of(log: &dyn Log, app: &App) -> Result<Self, LogError> {
        let names: Vec<_> =
            app.shared_topics().into_keys().filter_map(|name| TopicName::new(name).ok()).collect();
        let asked = names.iter().map(|name| log.describe(name));
        let there = futures_util::future::join_all(asked).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let count = |topic: headwater_core::log::TopicDescription| (topic.name, topic.settings.partitions);
        Ok(Self(there.into_iter().flatten().map(count).collect()))
    }
}

impl App {
    /// The partitions that a topic has, or will be made with.
    pub(super) fn count_of(&self, topic: &TopicRef, counts: &Counts) -> u32 {
        let shared = match topic {
            TopicRef::Own(_) => None,
            TopicRef::Shared(name) => TopicName::new(name.clone()).ok(),
        };
        shared.and_then(|name| counts.0.get(&name).copied()).unwrap_or(self.options.partitions)
    }

    /// The shards of a topology: of an emitter as many as its first source has partitions.
    pub(super) fn shards_of(&self, definition: &Definition, counts: &Counts) -> u32 {
        match definition.kind {
            Kind::Emitter { .. } => self.count_of(&definition.sources[0], counts),
            Kind::Fold { .. } | Kind::Observer => self.options.partitions,
        }
    }

    /// Refuses topics that are read together with others of another count.
    pub(super) fn refuse_uneven(&self, steps: &mut [Step], counts: &Counts) {
        for definition in self.definitions.values() {
            let Some((topic, other)) = self.uneven(definition, counts) else { continue };
            let name = topic.shown(&self.name);
            let Some(step) = steps.iter_mut().find(|step| step.topic.as_str() == name) else { continue };
            let (has, needs) = (self.count_of(topic, counts), self.count_of(other, counts));
            let (reader, other) = (&definition.name, other.shown(&self.name));
            step.action = Action::Refuse(vec![Difference {
                setting: "partitions",
                has: has.to_string(),
                needs: needs.to_string(),
                blocks: true,
                mend: format!(
                    "\"{reader}\" reads it together with \"{other}\", which has {needs}, and equal keys must lie in \
                     partitions of one number: bring its records there first, with \
                     `.repartition(\"{name}-for-{reader}\")` behind its stream"
                ),
            }]);
        }
    }

    /// Of an emitter's sources one whose count is not the app's, and one whose count is another.
    fn uneven<'a>(
        &self,
        definition: &'a Definition,
        counts: &Counts,
    ) -> Option<(&'a TopicRef, &'a TopicRef)> {
        let count = |topic: &TopicRef| self.count_of(topic, counts);
        let [first, others @ ..] = &definition.sources[..] else { return None };
        let other = others.iter().find(|other| count(other) != count(first))?;
        if count(first) == self.options.partitions { Some((other, first)) } else { Some((first, other)) }
    }
}
