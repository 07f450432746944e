//! Topics that topologies feed from themselves: what is read there is written there again, and never comes to rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::definition::Definition;
use super::topic::TopicRef;

/// A topic by its own name that is fed by what is read from it, and the topologies on the way; `None` if there is none.
///
/// A join by a foreign key asks and answers itself over topics of the app's own, which ends: only ways that leave those
/// count.
pub(crate) fn cycle(definitions: &BTreeMap<String, Arc<Definition>>) -> Option<(String, Vec<String>)> {
    let sources = definitions.values().flat_map(|definition| &definition.sources);
    let shared = sources.filter_map(|topic| match topic {
        TopicRef::Shared(name) => Some((topic, name)),
        TopicRef::Own(_) => None,
    });
    let found = shared.filter_map(|(topic, name)| Some((name.clone(), way(definitions, topic)?)));
    // The shortest: the others go the same way round.
    found.min_by_key(|(_, way)| way.len())
}

/// The shortest way from a topic back to it.
fn way(definitions: &BTreeMap<String, Arc<Definition>>, from: &TopicRef) -> Option<Vec<String>> {
    let mut ways: Vec<(&TopicRef, Vec<String>)> = vec![(from, Vec::new())];
    let mut at = 0;
    while at < ways.len() {
        let (topic, way) = ways[at].clone();
        at += 1;
        for definition in definitions.values().filter(|definition| definition.sources.contains(topic)) {
            let further: Vec<_> = way.iter().chain([&definition.name]).cloned().collect();
            for target in definition.targets() {
                if target == from {
                    return Some(further);
                }
                if !ways.iter().any(|(known, _)| *known == target) {
                    ways.push((target, further.clone()));
                }
            }
        }
    }
    None
}
