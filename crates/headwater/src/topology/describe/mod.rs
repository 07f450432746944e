//! An app's topologies in words, as data and as a picture.

mod picture;
mod svg;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use self::picture::Picture;
use super::definition::{Definition, Kind};
use super::node::{Node, NodeKind};
use super::topic::TopicRef;

/// The graph of an app: its topologies, what they read, and what they keep or feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The app's name.
    pub app: String,
    /// Its aggregates.
    pub aggregates: Vec<String>,
    /// Its topologies, sources first.
    pub topologies: Vec<TopologyDescription>,
}

/// One topology of a [`Description`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TopologyDescription {
    /// Its name, with its version from the second on.
    pub name: String,
    /// `fold`, `observer` or `emitter`.
    pub kind: &'static str,
    /// The topics that it reads.
    pub sources: Vec<String>,
    /// Its operators, sources first.
    pub operators: Vec<OperatorDescription>,
    /// The topics that it feeds; none of a fold and an observer.
    pub targets: Vec<String>,
    /// Whether every instance holds all of it.
    pub replicated: bool,
}

/// One operator of a [`TopologyDescription`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OperatorDescription {
    /// What it is called in the language of topologies; `topic` of a source.
    pub operator: &'static str,
    /// The topic that a source reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The store that it keeps; of a processor with several, all their names with commas between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// Those that feed it, by their index in the topology.
    pub inputs: Vec<usize>,
}

impl TopologyDescription {
    pub(crate) fn of(app: &str, definition: &Definition) -> Self {
        let (kind, replicated) = match &definition.kind {
            Kind::Fold { replicated, .. } => ("fold", *replicated),
            Kind::Observer => ("observer", false),
            Kind::Emitter { .. } => ("emitter", false),
        };
        let nodes = definition.end.all();
        Self {
            name: definition.versioned_name(),
            kind,
            sources: shown(app, &definition.sources),
            operators: nodes.iter().map(|node| OperatorDescription::of(app, node, &nodes)).collect(),
            targets: shown(app, definition.targets()),
            replicated,
        }
    }

    /// What it makes, in words.
    fn target(&self) -> String {
        let replicated = if self.replicated { "replicated " } else { "" };
        match self.kind {
            "fold" => format!("{replicated}view {}", self.name),
            "observer" => "nothing".to_owned(),
            _ => format!("topic {}", self.targets.join(" or ")),
        }
    }

    /// The operators on the way, sources left out, in words.
    fn steps(&self) -> Vec<String> {
        self.operators.iter().filter(|operator| operator.topic.is_none()).map(ToString::to_string).collect()
    }
}

impl OperatorDescription {
    fn of(app: &str, node: &Arc<Node>, nodes: &[Arc<Node>]) -> Self {
        let index = |input: &Arc<Node>| nodes.iter().position(|node| Arc::ptr_eq(node, input));
        let topic = match &node.kind {
            NodeKind::Source { topic, .. } => Some(topic.shown(app)),
            _ => None,
        };
        let stores: Vec<_> = node.own_stores().iter().map(|store| store.name.as_str()).collect();
        let store = Some(stores.join(", ")).filter(|stores| !stores.is_empty());
        Self { operator: node.label, topic, store, inputs: node.inputs.iter().filter_map(index).collect() }
    }
}

impl fmt::Display for OperatorDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operator)?;
        match &self.store {
            Some(store) => write!(f, " \"{store}\""),
            None => Ok(()),
        }
    }
}

fn shown(app: &str, topics: &[TopicRef]) -> Vec<String> {
    topics.iter().map(|topic| topic.shown(app)).collect()
}

impl Description {
    /// The graph as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("a description is plain data")
    }

    /// The graph as a Mermaid flow chart.
    pub fn mermaid(&self) -> String {
        Picture::of(self).mermaid()
    }

    /// The graph as a picture of its own: an SVG document that needs nothing from elsewhere.
    ///
    /// It follows the colours of the page that it is put into (`currentColor`), and can stand alone as a file. Every
    /// name in it is escaped.
    pub fn svg(&self) -> String {
        svg::drawn(&Picture::of(self))
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "app {}", self.app)?;
        for aggregate in &self.aggregates {
            writeln!(f, "  aggregate {aggregate} -> topic {}.{aggregate}.events", self.app)?;
        }
        for topology in &self.topologies {
            let TopologyDescription { name, kind, sources, .. } = topology;
            let steps: String = topology.steps().iter().map(|step| format!("{step} -> ")).collect();
            writeln!(f, "  {kind} {name}: topic {} -> {steps}{}", sources.join(", "), topology.target())?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
