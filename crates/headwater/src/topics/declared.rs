//! The topics that an app needs, each with its settings and the reason why it exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use headwater_core::log::{Cleanup, Group, RecordTimes, TopicSettings};
use headwater_core::topic::TopicName;
use serde::Serialize;
use serde_json::{Value, json};

use super::counts::Counts;
use crate::app::{App, AppOptions, Folded};
use crate::topology::{Definition, Kind, TopicRef};

/// How long a tombstone is kept in a compacted topic.
pub(crate) const TOMBSTONES_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

/// The topic of what an app's definitions were, within the app.
pub(crate) const DEFINITIONS: &str = "definitions";

/// The topic of an app's instances, within the app.
pub(crate) const INSTANCES: &str = "instances";

/// The topic of decisions about records that could not be processed, within the app.
pub(crate) const DECISIONS: &str = "decisions";

/// One topic that an app needs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicDeclaration {
    /// Its name.
    pub name: TopicName,
    /// How it is kept.
    pub settings: TopicSettings,
    /// Why it exists.
    pub purpose: Purpose,
}

/// Why a topic of an app exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "purpose", content = "of")]
#[non_exhaustive]
pub enum Purpose {
    /// Events of a kind of aggregate: the truth that everything else is made of.
    Events(String),
    /// Commands for a kind of aggregate.
    Commands(String),
    /// Outcomes of the commands of a kind of aggregate, for as long as they are kept.
    Outcomes(String),
    /// Snapshots of the aggregates of a kind.
    Snapshots(String),
    /// Values under another key, on their way from one topology to others.
    Repartition(String),
    /// Changes of the state that a topology keeps: the last of each key is the state.
    Changelog(String),
    /// A topic that other programs may share, and that is folded: it must keep its records.
    Folded(String),
    /// A topic that other programs may share.
    Shared(String),
    /// What the topologies are, and which topics they were started on.
    Definitions,
    /// Records that a topology could not process, until somebody decides about them.
    Letters(String),
    /// What was decided about records that could not be processed.
    Decisions,
    /// Which instances there are, and which shards each has.
    Instances,
    /// How far the shards of a group have come, where the log keeps that in a topic.
    Heads(String),
}

impl Purpose {
    /// Whether the topic's records move with the app; the others are made anew on every log.
    pub(crate) fn is_migrated(&self) -> bool {
        !matches!(self, Self::Definitions | Self::Instances | Self::Heads(_))
    }

    /// Whether other programs may have made the topic.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Folded(_) | Self::Shared(_))
    }

    /// What it means to go on without the topic's records.
    pub(crate) fn loss(&self) -> &'static str {
        match self {
            Self::Events(_) => "its aggregates begin anew, without their history and their outcomes",
            Self::Commands(_) => "commands that wait on it are lost",
            Self::Outcomes(_) => "commands that are sent again are executed again",
            Self::Snapshots(_) => "they are made again from the events, and nothing is lost",
            Self::Repartition(_) => "it is made again from its source, and nothing is lost",
            Self::Changelog(_) => {
                "the state is made again from its sources, and what was made of it on the way is appended again"
            }
            Self::Folded(_) | Self::Shared(_) => "what was made of them stays",
            Self::Letters(_) => "what was set aside is lost",
            Self::Decisions => {
                "folds stop again at what was decided about, whenever they are built anew, and letters wait until \
                 somebody decides again"
            }
            Self::Heads(_) => "the shards go on from what their group has committed",
            Self::Definitions | Self::Instances => "it is made anew, and nothing is lost",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events(aggregate) => write!(f, "events of aggregate {aggregate}"),
            Self::Commands(aggregate) => write!(f, "commands for aggregate {aggregate}"),
            Self::Outcomes(aggregate) => write!(f, "outcomes of commands for aggregate {aggregate}"),
            Self::Snapshots(aggregate) => write!(f, "snapshots of aggregate {aggregate}"),
            Self::Repartition(topology) => write!(f, "repartition \"{topology}\""),
            Self::Changelog(topology) => write!(f, "changes of the state of \"{topology}\""),
            Self::Folded(topic) => write!(f, "shared topic \"{topic}\", which is folded"),
            Self::Shared(topic) => write!(f, "shared topic \"{topic}\""),
            Self::Definitions => f.write_str("definitions of the app's topologies and topics"),
            Self::Heads(group) => write!(f, "heads of the shards of {group}"),
            Self::Letters(topology) => write!(f, "dead letters of \"{topology}\""),
            Self::Decisions => f.write_str("decisions about records that could not be processed"),
            Self::Instances => f.write_str("instances, with the shards that each has"),
        }
    }
}

/// The topics of one kind of aggregate.
pub(crate) struct AggregateTopics {
    pub(crate) events: TopicDeclaration,
    pub(crate) commands: TopicDeclaration,
    pub(crate) outcomes: TopicDeclaration,
    pub(crate) snapshots: TopicDeclaration,
}

impl AggregateTopics {
    pub(crate) fn of(app: &str, aggregate: &str, options: &AppOptions) -> Self {
        let kept = TopicSettings::kept(options.partitions);
        let outcomes_ms = u64::try_from(options.outcomes_kept.as_millis()).unwrap_or(u64::MAX);
        let for_a_time = kept.cleanup(Cleanup::Expire { after_ms: outcomes_ms.saturating_mul(2) });
        let by_log = TopicSettings { times: RecordTimes::Log, ..for_a_time };
        let compacted = kept.cleanup(Cleanup::Compact { tombstones_ms: TOMBSTONES_MS });
        let topic = |last: &str, settings, purpose: fn(String) -> Purpose| TopicDeclaration {
            name: checked(app, &format!("{aggregate}.{last}")),
            settings,
            purpose: purpose(aggregate.to_owned()),
        };
        Self {
            events: topic("events", kept, Purpose::Events),
            commands: topic("commands", by_log, Purpose::Commands),
            outcomes: topic("outcomes", for_a_time, Purpose::Outcomes),
            snapshots: topic("snapshots", compacted, Purpose::Snapshots),
        }
    }
}

/// A group whose shards commit to the log, and what they write.
pub(crate) struct WritingGroup {
    pub(crate) group: Group,
    /// Of an aggregate: what its states are folded from, and what its notes speak of.
    pub(crate) events: Option<TopicName>,
    pub(crate) snapshots: Option<TopicName>,
    /// Of an emitter: where it appends, to topics of the app's own and to others.
    pub(crate) own_targets: Vec<TopicName>,
    pub(crate) shared_targets: Vec<TopicName>,
    /// Of an emitter that keeps state: its changelog.
    pub(crate) changelog: Option<TopicName>,
    /// Of an emitter that sets aside what it cannot process: where.
    pub(crate) letters: Option<TopicName>,
    /// What it reads, the group's topic first.
    pub(crate) sources: Vec<TopicName>,
    /// What it reads besides, if it sets aside what it cannot process: decisions, and in how many partitions they lie.
    pub(crate) decisions: Option<(TopicName, u32)>,
}

impl App {
    /// The topics that the app needs, with what each is for.
    ///
    /// A start makes those that are missing, and refuses those that are kept otherwise.
    ///
    /// # Panics
    ///
    /// If [`check`](App::check) finds a name that makes no topic.
    pub fn topics(&self) -> Vec<TopicDeclaration> {
        self.topics_beside(&Counts::default())
    }

    /// The same where topics that other programs may have made have these counts of partitions.
    pub(crate) fn topics_beside(&self, counts: &Counts) -> Vec<TopicDeclaration> {
        let aggregates = self.aggregates.iter().flat_map(|aggregate| {
            let AggregateTopics { events, commands, outcomes, snapshots } =
                AggregateTopics::of(&self.name, aggregate.name(), &self.options);
            [events, commands, outcomes, snapshots]
        });
        let own = |definition: &Arc<Definition>| {
            let purpose = Purpose::Repartition(definition.name.clone());
            let own = definition.targets().iter().filter(|to| matches!(to, TopicRef::Own(_)));
            own.map(|to| TopicDeclaration {
                name: self.resolve(to),
                settings: TopicSettings::kept(self.options.partitions),
                purpose: purpose.clone(),
            })
            .collect::<Vec<_>>()
        };
        let repartitions = self.definitions.values().flat_map(own);
        let changelog = |definition: &Arc<Definition>| {
            Some(TopicDeclaration {
                name: self.resolve(&definition.changelog()?),
                settings: TopicSettings::kept(self.shards_of(definition, counts))
                    .cleanup(Cleanup::Compact { tombstones_ms: TOMBSTONES_MS }),
                purpose: Purpose::Changelog(definition.name.clone()),
            })
        };
        let changelogs = self.definitions.values().filter_map(changelog);
        let letters = self.parking().map(|definition| TopicDeclaration {
            name: self.resolve(&definition.letters()),
            settings: TopicSettings::kept(self.shards_of(definition, counts))
                .cleanup(Cleanup::Compact { tombstones_ms: TOMBSTONES_MS }),
            purpose: Purpose::Letters(definition.name.clone()),
        });
        let shared = self.shared_topics().into_iter().map(|(name, Folded(folded))| {
            let topic = TopicRef::Shared(name.clone());
            // A view is asked by the app's count.
            let count = if folded { self.options.partitions } else { self.count_of(&topic, counts) };
            TopicDeclaration {
                name: self.resolve(&topic),
                settings: TopicSettings::kept(count),
                purpose: if folded { Purpose::Folded(name) } else { Purpose::Shared(name) },
            }
        });
        aggregates
            .chain(repartitions)
            .chain(changelogs)
            .chain(letters)
            .chain(shared)
            .chain([decisions(&self.name, &self.options), definitions(&self.name), instances(&self.name)])
            .collect()
    }

    /// The topologies that set aside what they cannot process.
    fn parking(&self) -> impl Iterator<Item = &Arc<Definition>> {
        self.definitions.values().filter(|definition| {
            let appends = matches!(definition.kind, Kind::Emitter { .. });
            appends && self.options.parks(&definition.name).is_some()
        })
    }

    /// The groups whose shards commit to the log.
    pub(crate) fn writing_groups(&self, counts: &Counts) -> Vec<WritingGroup> {
        let group =
            |name: String, shards, topic| Group { name: format!("{}.{name}", self.name), shards, topic };
        let aggregates = self.aggregates.iter().map(|aggregate| {
            let AggregateTopics { events, commands, snapshots, .. } =
                AggregateTopics::of(&self.name, aggregate.name(), &self.options);
            WritingGroup {
                sources: vec![commands.name.clone()],
                group: group(aggregate.name().to_owned(), self.options.partitions, commands.name),
                events: Some(events.name),
                snapshots: Some(snapshots.name),
                own_targets: Vec::new(),
                shared_targets: Vec::new(),
                changelog: None,
                letters: None,
                decisions: None,
            }
        });
        let emitters = self.definitions.values().filter_map(|definition| match &definition.kind {
            Kind::Emitter { to } => {
                let (own, shared): (Vec<_>, Vec<_>) =
                    to.iter().partition(|to| matches!(to, TopicRef::Own(_)));
                let shards = self.shards_of(definition, counts);
                let parks = self.options.parks(&definition.name);
                Some(WritingGroup {
                    group: group(definition.versioned_name(), shards, self.resolve(&definition.sources[0])),
                    events: None,
                    snapshots: None,
                    own_targets: own.into_iter().map(|to| self.resolve(to)).collect(),
                    shared_targets: shared.into_iter().map(|to| self.resolve(to)).collect(),
                    changelog: definition.changelog().map(|changelog| self.resolve(&changelog)),
                    letters: parks.map(|_| self.resolve(&definition.letters())),
                    decisions: parks
                        .map(|_| (decisions(&self.name, &self.options).name, self.options.partitions)),
                    sources: definition.sources.iter().map(|source| self.resolve(source)).collect(),
                })
            }
            _ => None,
        });
        aggregates.chain(emitters).collect()
    }

    fn resolve(&self, topic: &TopicRef) -> TopicName {
        topic.resolve(&self.name).expect("an app is checked before its topics are asked for")
    }

    /// What each topology is, by its name: what may not change under that name.
    ///
    /// Names, sources, partition counts, codecs where a topic has others than text and JSON, and what keeps state with the
    /// windows before it; operators without state, functions, and for how long something is kept are no part of it.
    pub(crate) fn fixed_definitions(&self) -> BTreeMap<String, Value> {
        let partitions = self.options.partitions;
        let aggregates = self.aggregates.iter().map(|aggregate| {
            let events = AggregateTopics::of(&self.name, aggregate.name(), &self.options).events.name;
            let fixed = json!({"kind": "aggregate", "events": events, "partitions": partitions});
            (aggregate.name().to_owned(), fixed)
        });
        let topologies = self.definitions.values().map(|definition| {
            let names =
                |topics: &[TopicRef]| topics.iter().map(|topic| self.resolve(topic)).collect::<Vec<_>>();
            let sources = names(&definition.sources);
            let mut fixed = json!({"kind": kind_name(&definition.kind), "partitions": partitions});
            match &sources[..] {
                [source] => fixed["source"] = json!(source),
                sources => fixed["sources"] = json!(sources),
            }
            match &names(definition.targets())[..] {
                [] => {}
                [target] => fixed["target"] = json!(target),
                targets => fixed["targets"] = json!(targets),
            }
            match (definition.tables.is_empty(), definition.targets().is_empty()) {
                (true, _) => {}
                (false, true) => fixed["operators"] = json!(definition.operators()),
                // A changelog tells tables by their order.
                (false, false) => fixed["tables"] = json!(definition.made_tables()),
            }
            let codecs = definition.codecs.iter();
            let codecs = codecs
                .filter_map(|(topic, codecs)| Some((self.resolve(topic).to_string(), codecs.unusual()?)));
            let mut told = BTreeMap::<_, BTreeSet<String>>::new();
            codecs.for_each(|(topic, codecs)| told.entry(topic).or_default().extend([codecs]));
            if !told.is_empty() {
                fixed["codecs"] = json!(told);
            }
            (definition.versioned_name(), fixed)
        });
        aggregates.chain(topologies).collect()
    }
}

fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Fold { .. } => "fold",
        Kind::Observer => "observer",
        Kind::Emitter { .. } => "emitter",
    }
}

/// A topic of an app beside the declared ones.
pub(crate) fn topic_in(app: &App, name: &str) -> TopicName {
    checked(&app.name, name)
}

/// The topic of an app's definitions: every record of it is kept, and there are few.
pub(crate) fn definitions(app: &str) -> TopicDeclaration {
    TopicDeclaration {
        name: checked(app, DEFINITIONS),
        settings: TopicSettings::kept(1),
        purpose: Purpose::Definitions,
    }
}

/// The topic of decisions: every one is kept, and lies in the partition of the record that it is about.
pub(crate) fn decisions(app: &str, options: &AppOptions) -> TopicDeclaration {
    TopicDeclaration {
        name: checked(app, DECISIONS),
        settings: TopicSettings::kept(options.partitions),
        purpose: Purpose::Decisions,
    }
}

/// The topic of an app's instances: the last record of each.
pub(crate) fn instances(app: &str) -> TopicDeclaration {
    TopicDeclaration {
        name: checked(app, INSTANCES),
        settings: TopicSettings::kept(1).cleanup(Cleanup::Compact { tombstones_ms: TOMBSTONES_MS }),
        purpose: Purpose::Instances,
    }
}

fn checked(app: &str, name: &str) -> TopicName {
    TopicRef::Own(name.to_owned()).resolve(app).expect("an app is checked before its topics are asked for")
}
