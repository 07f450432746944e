//! What a topology is, apart from the types that flow through it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_core::topic::TopicName;

use super::building::{Building, ShardPlace};
use super::global::TO_ALL;
use super::node::{Node, NodeKind};
use super::topic::{Codecs, TopicRef};
use crate::engine::history::History;
use crate::engine::operators::Task;
use crate::engine::row::RowFormat;

/// Whether a topology only keeps state or also appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Keeps one table that is asked for, appends nothing.
    Fold {
        /// Whether every instance holds all shards.
        replicated: bool,
        /// How the rows are written.
        rows: RowFormat,
        /// For how long its versions are kept, if they are.
        history: Option<Duration>,
    },
    /// A fold that keeps its position alone, and calls the user's code.
    Observer,
    /// Appends to topics.
    Emitter {
        /// The topics.
        to: Vec<TopicRef>,
    },
}

/// One topology of an app: a graph from topics to a table or other topics.
pub(crate) struct Definition {
    /// Its name within the app; decides its group and stores.
    pub(crate) name: String,
    /// From 1; another version is another topology, built beside.
    pub(crate) version: u32,
    pub(crate) kind: Kind,
    /// The last of its operators.
    pub(crate) end: Arc<Node>,
    /// The topics that it reads.
    pub(crate) sources: Vec<TopicRef>,
    /// The names of its tables, by their ids; of a fold, the first is the one that is asked for.
    pub(crate) tables: Vec<String>,
    /// The codecs with which it reads and writes topics, of those that somebody chose them for.
    pub(crate) codecs: Vec<(TopicRef, Codecs)>,
    /// Whether what it keeps is kept in memory alone.
    pub(crate) in_memory: bool,
    build: Build,
}

/// Puts a shard's operators together.
pub(crate) type Build = Arc<dyn Fn(&mut Building<'_>) + Send + Sync>;

impl Definition {
    pub(crate) fn new(name: String, kind: Kind, end: Arc<Node>, build: Build) -> Self {
        let mut stores = end.stores();
        // What is asked for comes first, wherever it stands in the graph.
        stores.sort_by_key(|store| store.name != name);
        let tables = stores.iter().flat_map(|store| store.table_names().collect::<Vec<_>>()).collect();
        let in_memory = stores.iter().any(|store| store.in_memory);
        let (sources, codecs) = (end.sources(), end.codecs());
        Self { name, version: 1, kind, end, sources, tables, codecs, in_memory, build }
    }

    /// The same, where it appends to its topics with these codecs.
    pub(crate) fn writing(mut self, codecs: impl IntoIterator<Item = (TopicRef, Codecs)>) -> Self {
        self.codecs.extend(codecs);
        self
    }

    /// The operators of one shard.
    pub(crate) fn task(&self, place: &ShardPlace) -> Task {
        let mut building = Building::new(place, &self.sources, &self.tables);
        (self.build)(&mut building);
        building.finish()
    }

    /// What its stores are made by, by their names.
    pub(crate) fn operators(&self) -> BTreeMap<String, String> {
        let nodes = self.end.all().into_iter();
        let told = |node: Arc<Node>| {
            let told = node.told();
            node.own_stores().iter().map(|store| (store.name.clone(), told.clone())).collect::<Vec<_>>()
        };
        nodes.flat_map(told).collect()
    }

    /// Its tables in the order of their ids, each with what the store that has it is made by.
    pub(crate) fn made_tables(&self) -> Vec<(&str, String)> {
        let nodes = self.end.all();
        let made_by = |table: &String| {
            let has = |node: &&Arc<Node>| {
                node.own_stores().iter().any(|store| store.table_names().any(|name| name == *table))
            };
            nodes.iter().find(has).map(|node| node.told()).unwrap_or_default()
        };
        self.tables.iter().map(|table| (table.as_str(), made_by(table))).collect()
    }

    /// Where the table that is asked for keeps its versions, if it does.
    pub(crate) fn history(&self) -> Option<History> {
        let Kind::Fold { history: Some(history), .. } = self.kind else { return None };
        History::of(&self.name, &self.tables, i64::try_from(history.as_millis()).unwrap_or(i64::MAX))
    }

    /// A table that two operators would write, if there is one.
    pub(crate) fn table_named_twice(&self) -> Option<&str> {
        let mut tables = self.tables.iter().enumerate();
        tables.find(|(index, table)| self.tables[..*index].contains(table)).map(|(_, table)| table.as_str())
    }

    /// A store in memory and one that is not, if there are both. A copy of a global table goes with the others.
    pub(crate) fn kept_apart(&self) -> Option<(String, String)> {
        let copies = |input: &Arc<Node>| matches!(&input.kind, NodeKind::Source { fed_by: Some(fed_by), .. } if fed_by.is_global());
        let nodes = self.end.all().into_iter().filter(|node| !node.inputs.iter().any(copies));
        let stores = nodes.flat_map(|node| node.own_stores().to_vec());
        let (memory, disk) = stores.partition::<Vec<_>, _>(|store| store.in_memory);
        Some((memory.into_iter().next()?.name, disk.into_iter().next()?.name))
    }

    /// Whether it copies a global table to every shard.
    pub(crate) fn is_global(&self) -> bool {
        self.end.label == TO_ALL
    }

    /// Of its sources those that are copies of global tables, and the topologies that make them.
    pub(crate) fn globals(&self) -> Vec<(usize, Arc<Self>)> {
        let copies = |node: Arc<Node>| match &node.kind {
            NodeKind::Source { topic, fed_by: Some(fed_by), .. } if fed_by.is_global() => {
                Some((self.sources.iter().position(|source| source == topic)?, fed_by.clone()))
            }
            _ => None,
        };
        self.end.all().into_iter().filter_map(copies).collect()
    }

    /// The topics that it appends to.
    pub(crate) fn targets(&self) -> &[TopicRef] {
        match &self.kind {
            Kind::Emitter { to } => to,
            Kind::Fold { .. } | Kind::Observer => &[],
        }
    }

    /// The topic of the changes of what it keeps; `None` of a fold, which is read again, and of what keeps nothing.
    pub(crate) fn changelog(&self) -> Option<TopicRef> {
        let keeps = matches!(self.kind, Kind::Emitter { .. }) && !self.tables.is_empty();
        let version = if self.version == 1 { String::new() } else { format!("-{}", self.version) };
        keeps.then(|| TopicRef::Own(format!("{}.changelog{version}", self.name)))
    }

    /// The topic of what it could not process and set aside.
    pub(crate) fn letters(&self) -> TopicRef {
        let version = if self.version == 1 { String::new() } else { format!("-{}", self.version) };
        TopicRef::Own(format!("{}.letters{version}", self.name))
    }

    /// `name`, and `name@version` from the second version on.
    pub(crate) fn versioned_name(&self) -> String {
        versioned(&self.name, self.version)
    }
}

/// A name with its version, from the second on.
pub(crate) fn versioned(name: &str, version: u32) -> String {
    if version == 1 { name.to_owned() } else { format!("{name}@{version}") }
}

/// A topic of an app.
///
/// # Errors
///
/// If the two names make none.
pub(crate) fn topic_of(app: &str, name: &str) -> Result<TopicName, headwater_core::topic::InvalidTopicName> {
    TopicName::new(format!("{app}.{name}"))
}
