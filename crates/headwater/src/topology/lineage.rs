//! Which topologies of an app feed another one, over however many topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::definition::Definition;

/// The names of the topologies that feed one, each once, those first that feed others. One that feeds itself is told
/// once.
pub(crate) fn lineage(definitions: &BTreeMap<String, Arc<Definition>>, name: &str) -> Vec<String> {
    let mut fed_by = Vec::new();
    let mut seen = vec![name.to_owned()];
    if let Some(definition) = definitions.get(name) {
        collect(definitions, definition, &mut seen, &mut fed_by);
    }
    fed_by
}

fn collect(
    definitions: &BTreeMap<String, Arc<Definition>>,
    fed: &Definition,
    seen: &mut Vec<String>,
    fed_by: &mut Vec<String>,
) {
    let feeds = |definition: &Definition| definition.targets().iter().any(|to| fed.sources.contains(to));
    for (name, definition) in definitions.iter().filter(|(_, definition)| feeds(definition)) {
        if seen.contains(name) {
            continue;
        }
        seen.push(name.clone());
        collect(definitions, definition, seen, fed_by);
        fed_by.push(name.clone());
    }
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    #[test]
    fn whoever_feeds_comes_before_whom_it_feeds() {
        let mut app = App::new("test");
        let input = app.stream::<String, u64>("in");
        app.emitter(input.filter(|n| *n.value > 1).to("large"));
        let counted = app.stream::<String, u64>("large").group_by("by-value", |n| n.value.to_string());
        let merged = counted.count(Store::named("counts")).updates().merge(&input).repartition("both");
        let view = app.view(merged.to_table(Store::named("last")));
        let fed_by = super::lineage(&app.definitions, view.name());
        assert_eq!(fed_by, ["large", "by-value", "both"]);
        assert_eq!(super::lineage(&app.definitions, "large"), [""; 0]);
    }
}
