//! An app's topologies in words and as a diagram.

use std::fmt::{self, Write};
use std::sync::Arc;

use serde::Serialize;

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
    pub operators: Vec<String>,
    /// The view that it keeps, or the topics that it feeds; `nothing` of an observer.
    pub target: String,
}

impl TopologyDescription {
    pub(crate) fn of(app: &str, definition: &Definition) -> Self {
        let (kind, target) = match &definition.kind {
            Kind::Fold { replicated: false, .. } => ("fold", format!("view {}", definition.name)),
            Kind::Fold { replicated: true, .. } => ("fold", format!("replicated view {}", definition.name)),
            Kind::Observer => ("observer", "nothing".to_owned()),
            Kind::Emitter { to } => ("emitter", format!("topic {}", shown(app, to).join(" or "))),
        };
        let operator = |node: Arc<Node>| match &node.kind {
            NodeKind::Source { .. } => None,
            NodeKind::Stateless => Some(node.label.to_owned()),
            NodeKind::Stateful(store) => Some(format!("{} \"{}\"", node.label, store.name)),
        };
        Self {
            name: definition.versioned_name(),
            kind,
            sources: shown(app, &definition.sources),
            operators: definition.end.all().into_iter().filter_map(operator).collect(),
            target,
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
        let mut text = String::from("flowchart LR\n");
        for aggregate in &self.aggregates {
            let _ =
                writeln!(text, "  {aggregate}([aggregate {aggregate}]) --> {}.{aggregate}.events", self.app);
        }
        for topology in &self.topologies {
            let TopologyDescription { name, sources, target, .. } = topology;
            for source in sources {
                let _ = writeln!(text, "  {source} --> {name}[{name}]");
            }
            let _ = writeln!(text, "  {name} --> {}", target.replace(' ', "_"));
        }
        text
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "app {}", self.app)?;
        for aggregate in &self.aggregates {
            writeln!(f, "  aggregate {aggregate} -> topic {}.{aggregate}.events", self.app)?;
        }
        for TopologyDescription { name, kind, sources, operators, target } in &self.topologies {
            let operators: String = operators.iter().map(|operator| format!("{operator} -> ")).collect();
            writeln!(f, "  {kind} {name}: topic {} -> {operators}{target}", sources.join(", "))?;
        }
        Ok(())
    }
}
