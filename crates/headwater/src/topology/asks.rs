//! What the topologies of an app ask of the records of a topic that they read by its own name: whoever publishes one is
//! told what no reader could process, before it stops them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::definition::Definition;
use super::node::{Node, NodeKind};
use super::topic::{Codecs, Reads, TopicRef};

/// Operators that put values under other keys than they have.
const NEW_KEYS: [&str; 6] = ["map", "flat_map", "select_key", "extend_key", "group_by", "process"];

/// Keys so short fit into every store, whatever their types: their ordered form has nine times their bytes at most.
const SHORT_KEY_BYTES: usize = 200;

/// What those ask who read one topic.
pub(crate) struct Asks {
    /// How the topic is read and written.
    codecs: Vec<Codecs>,
    reads: Vec<Reads>,
    /// A store that keeps rows under the topic's keys, if one does.
    rows: Option<String>,
}

impl Asks {
    pub(crate) fn of(definitions: &BTreeMap<String, Arc<Definition>>, topic: &TopicRef) -> Self {
        let codecs = definitions.values().flat_map(|definition| &definition.codecs);
        let codecs = codecs.filter(|(of, _)| of == topic).map(|(_, codecs)| codecs.clone()).collect();
        let reads = definitions.values().flat_map(|definition| definition.end.reads());
        let reads = reads.filter(|(read, _)| read == topic).map(|(_, reads)| reads).collect();
        let stores = definitions.values().flat_map(|definition| definition.end.all());
        let rows =
            stores.filter(|node| matches!(node.kind, NodeKind::Stateful(_)) && has_keys_of(node, topic));
        let rows = rows.filter_map(|node| Some(node.own_stores().first()?.name.clone())).next();
        Self { codecs, reads, rows }
    }

    /// How the app has the topic, if it is otherwise than these codecs.
    pub(crate) fn other_codecs(&self, given: &Codecs) -> Option<&Codecs> {
        self.codecs.iter().find(|codecs| !codecs.agree(given))
    }

    /// Whether a reader has no value for a null.
    pub(crate) fn refuses_nulls(&self) -> bool {
        self.reads.iter().any(|reads| !reads.takes_nulls)
    }

    /// The store that could keep no row under a key, and why.
    pub(crate) fn refuses_key(&self, key: &Bytes) -> Option<(&str, String)> {
        let store = self.rows.as_deref().filter(|_| key.len() > SHORT_KEY_BYTES)?;
        let refusal = self.reads.iter().find_map(|reads| (reads.row_key)(key).err())?;
        Some((store, refusal))
    }
}

/// The topics by their own names that topologies have with different codecs or types, in words.
pub(crate) fn declared_otherwise(definitions: &BTreeMap<String, Arc<Definition>>) -> Vec<String> {
    let mut first: BTreeMap<&str, (&str, &Codecs)> = BTreeMap::new();
    let mut mistakes = BTreeMap::new();
    for definition in definitions.values() {
        for (topic, codecs) in &definition.codecs {
            let (name, here) = (topic.name(), definition.name.as_str());
            let (there, known) = *first.entry(name).or_insert((here, codecs));
            if !known.agree(codecs) {
                mistakes.entry(name).or_insert_with(|| {
                    format!(
                        "topic \"{name}\" has {known} in \"{there}\", and {codecs} in \"{here}\": a topic has one type of keys \
                         and one of values, so declare it once, as a `Topic`, and use that everywhere"
                    )
                });
            }
        }
    }
    mistakes.into_values().collect()
}

/// Whether the keys of what comes to an operator are those of a topic's records.
fn has_keys_of(node: &Arc<Node>, topic: &TopicRef) -> bool {
    let mut seen: Vec<Arc<Node>> = Vec::new();
    let mut left = vec![node.clone()];
    while let Some(node) = left.pop() {
        if seen.iter().any(|seen| Arc::ptr_eq(seen, &node)) {
            continue;
        }
        match &node.kind {
            NodeKind::Source { topic: read, .. } if read == topic => return true,
            NodeKind::Source { fed_by: Some(feeds), .. } => left.push(feeds.end.clone()),
            _ if NEW_KEYS.contains(&node.label) => {}
            _ => left.extend(node.inputs.iter().cloned()),
        }
        seen.push(node);
    }
    false
}
