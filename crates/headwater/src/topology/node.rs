//! The graph of a topology, apart from the types that flow through it: what is described, planned and compared.

use std::sync::Arc;

use super::definition::Definition;
use super::store::Store;
use super::topic::{Codecs, Reads, TopicRef};

/// One operator, and those that feed it.
///
/// Its address is its identity: a node that is reached twice is one operator with two followers.
pub(crate) struct Node {
    /// What the operator is called in the language of topologies.
    pub(crate) label: &'static str,
    pub(crate) kind: NodeKind,
    pub(crate) inputs: Vec<Arc<Self>>,
    /// What is wrong with how it was declared.
    pub(crate) mistakes: Vec<String>,
    /// Of windows: from a window's end to the stream time at which it closes.
    pub(crate) closes_ms: Option<i64>,
    /// Of windows: which ones they are, in words.
    pub(crate) shape: Option<String>,
}

pub(crate) enum NodeKind {
    /// Reads a topic, which another topology may feed; it was declared by `app`, unless it is a part of an operator.
    Source { topic: TopicRef, fed_by: Option<Arc<Definition>>, reads: Option<Reads>, app: Option<Arc<str>> },
    /// Keeps nothing.
    Stateless,
    /// Keeps a store.
    Stateful(StoreSpec),
    /// The user's own operator, with its stores.
    Process {
        stores: Vec<StoreSpec>,
        /// Whether the same input gives the same output again.
        is_repeatable: bool,
    },
}

/// A store of a topology: its name, and its tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreSpec {
    pub(crate) name: String,
    /// The names of its tables within the store; the first is `""`, and holds the rows that queries see.
    pub(crate) tables: &'static [&'static str],
    /// Whether it is kept in memory alone.
    pub(crate) in_memory: bool,
    /// Whether its options ask to drop windows, and whether it has any.
    pub(crate) expires: bool,
    pub(crate) has_windows: bool,
    /// Whether its options ask to keep versions, and whether it does.
    pub(crate) remembers: bool,
    pub(crate) has_versions: bool,
}

impl StoreSpec {
    /// A store of these tables.
    pub(crate) fn of(store: &Store, tables: &'static [&'static str]) -> Self {
        Self {
            name: store.name.clone(),
            tables,
            in_memory: store.in_memory,
            expires: store.retain.is_some(),
            has_windows: false,
            remembers: store.history.is_some(),
            has_versions: false,
        }
    }

    /// The options of which it makes nothing, in words.
    fn idle_options(&self) -> impl Iterator<Item = String> + use<> {
        let name = &self.name;
        let retain = (self.expires && !self.has_windows).then(|| {
            format!(
                "store \"{name}\" has `.retain(...)`, by which windows expire, and holds none: leave it out, or keep windows \
                 there, behind `.window(...)`"
            )
        });
        let versioned = (self.remembers && !self.has_versions).then(|| {
            format!(
                "store \"{name}\" has `.versioned(...)`, by which a table of a stream or a topic keeps versions, and holds no \
                 such table: leave it out, or keep what is made here once more, with `.stored(...)`"
            )
        });
        retain.into_iter().chain(versioned)
    }

    /// A store of one table.
    pub(crate) fn rows(store: &Store) -> Self {
        Self::of(store, &[""])
    }

    /// The names of its tables in the state store.
    pub(crate) fn table_names(&self) -> impl Iterator<Item = String> + '_ {
        self.tables.iter().map(|table| table_name(&self.name, table))
    }
}

/// The name of a store's table in the state store.
pub(crate) fn table_name(store: &str, table: &str) -> String {
    if table.is_empty() { store.to_owned() } else { format!("{store}.{table}") }
}

impl Node {
    pub(crate) fn source(
        topic: TopicRef,
        fed_by: Option<Arc<Definition>>,
        reads: Option<Reads>,
        app: Option<&str>,
    ) -> Arc<Self> {
        let app = app.map(Arc::from);
        Self::new("topic", NodeKind::Source { topic, fed_by, reads, app }, Vec::new())
    }

    pub(crate) fn stateless(label: &'static str, inputs: Vec<Arc<Self>>) -> Arc<Self> {
        Self::new(label, NodeKind::Stateless, inputs)
    }

    /// Where a stream is cut into windows.
    pub(crate) fn windows(
        label: &'static str,
        input: Arc<Self>,
        closes_ms: i64,
        shape: String,
        mistakes: Vec<String>,
    ) -> Arc<Self> {
        let (kind, closes_ms, shape) = (NodeKind::Stateless, Some(closes_ms), Some(shape));
        Arc::new(Self { label, kind, inputs: vec![input], mistakes, closes_ms, shape })
    }

    pub(crate) fn stateful(label: &'static str, store: StoreSpec, inputs: Vec<Arc<Self>>) -> Arc<Self> {
        Self::new(label, NodeKind::Stateful(store), inputs)
    }

    /// The same, declared with mistakes.
    pub(crate) fn stateful_with(
        label: &'static str,
        store: StoreSpec,
        inputs: Vec<Arc<Self>>,
        mistakes: Vec<String>,
    ) -> Arc<Self> {
        Self::mistaken(Self::stateful(label, store, inputs), mistakes)
    }

    /// From the end of its windows to the stream time at which they close, if there are any on the way to it.
    ///
    /// As Kafka's `GraphGraceSearchUtil`: the nearest decide, and of several the longest.
    pub(crate) fn closing_ms(&self) -> Option<i64> {
        self.closes_ms.or_else(|| self.inputs.iter().filter_map(|input| input.closing_ms()).max())
    }

    /// What it makes of its inputs, as far as rows that it has made before depend on it: itself, and the nearest windows on
    /// the way to it.
    pub(crate) fn told(&self) -> String {
        match self.windows_before() {
            Some(windows) => format!("{} in {windows}", self.label),
            None => self.label.to_owned(),
        }
    }

    fn windows_before(&self) -> Option<&str> {
        self.shape.as_deref().or_else(|| self.inputs.iter().find_map(|input| input.windows_before()))
    }

    fn new(label: &'static str, kind: NodeKind, inputs: Vec<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self { label, kind, inputs, mistakes: Vec::new(), closes_ms: None, shape: None })
    }

    /// A node that was just made, with what is wrong with how it was declared.
    pub(crate) fn mistaken(node: Arc<Self>, mistakes: Vec<String>) -> Arc<Self> {
        let mut node = Arc::into_inner(node).expect("a node that was just made is nobody else's");
        node.mistakes.extend(mistakes);
        Arc::new(node)
    }

    /// What is wrong with it and with those that feed it.
    pub(crate) fn mistakes(self: &Arc<Self>) -> Vec<String> {
        let own = |node: &Arc<Self>| {
            let idle = node.own_stores().iter().flat_map(|store| store.idle_options());
            node.mistakes.iter().cloned().chain(idle).collect::<Vec<_>>()
        };
        self.all().iter().flat_map(own).collect()
    }

    /// A topic by which it begins that was declared by another app than this one, and that app.
    pub(crate) fn declared_elsewhere(self: &Arc<Self>, here: &str) -> Option<(TopicRef, Arc<str>)> {
        self.all().iter().find_map(|node| match &node.kind {
            NodeKind::Source { topic, app: Some(app), .. } if **app != *here => {
                Some((topic.clone(), app.clone()))
            }
            _ => None,
        })
    }

    pub(crate) fn process(stores: Vec<StoreSpec>, input: Arc<Self>, is_repeatable: bool) -> Arc<Self> {
        let kind = NodeKind::Process { stores, is_repeatable };
        Self::new("process", kind, vec![input])
    }

    /// Whether the same records of one partition give the same again, so that what is kept can be folded anew: not where
    /// several topics are read, whose order a replay would not repeat, nor where the clock on the wall has a say.
    pub(crate) fn is_repeatable(self: &Arc<Self>) -> bool {
        let repeats = |node: &Arc<Self>| !matches!(node.kind, NodeKind::Process { is_repeatable: false, .. });
        self.sources().len() <= 1 && self.all().iter().all(repeats)
    }

    /// The stores that it keeps.
    pub(crate) fn own_stores(&self) -> &[StoreSpec] {
        match &self.kind {
            NodeKind::Stateful(store) => std::slice::from_ref(store),
            NodeKind::Process { stores, .. } => stores,
            NodeKind::Source { .. } | NodeKind::Stateless => &[],
        }
    }

    /// Every node from the sources to this one, each once, inputs before those that they feed.
    pub(crate) fn all(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut all = Vec::new();
        self.collect(&mut all);
        all
    }

    fn collect(self: &Arc<Self>, all: &mut Vec<Arc<Self>>) {
        if all.iter().any(|known| Arc::ptr_eq(known, self)) {
            return;
        }
        for input in &self.inputs {
            input.collect(all);
        }
        all.push(self.clone());
    }

    /// The topics that feed it, each once, in the order in which they were named.
    pub(crate) fn sources(self: &Arc<Self>) -> Vec<TopicRef> {
        let mut topics = Vec::new();
        for node in self.all() {
            if let NodeKind::Source { topic, .. } = &node.kind
                && !topics.contains(topic)
            {
                topics.push(topic.clone());
            }
        }
        topics
    }

    /// The codecs with which topics are read, of those that somebody chose them for.
    pub(crate) fn codecs(self: &Arc<Self>) -> Vec<(TopicRef, Codecs)> {
        self.reads().into_iter().map(|(topic, reads)| (topic, reads.codecs)).collect()
    }

    /// How topics are read, of those that somebody chose codecs for.
    pub(crate) fn reads(self: &Arc<Self>) -> Vec<(TopicRef, Reads)> {
        let reads = |node: &Arc<Self>| match &node.kind {
            NodeKind::Source { topic, reads: Some(reads), .. } => Some((topic.clone(), reads.clone())),
            _ => None,
        };
        self.all().iter().filter_map(reads).collect()
    }

    /// The topologies that feed its topics, each once, and those that feed them, sources first.
    pub(crate) fn upstream(self: &Arc<Self>) -> Vec<Arc<Definition>> {
        let mut upstream: Vec<Arc<Definition>> = Vec::new();
        for node in self.all() {
            let NodeKind::Source { fed_by: Some(definition), .. } = &node.kind else { continue };
            let further = definition.end.upstream();
            for definition in further.into_iter().chain([definition.clone()]) {
                if !upstream.iter().any(|known| Arc::ptr_eq(known, &definition)) {
                    upstream.push(definition);
                }
            }
        }
        upstream
    }

    /// The stores on the way, in order.
    pub(crate) fn stores(self: &Arc<Self>) -> Vec<StoreSpec> {
        self.all().iter().flat_map(|node| node.own_stores().to_vec()).collect()
    }
}
