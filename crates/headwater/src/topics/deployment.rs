//! What a deployment would do to the topologies that run on a log: which it goes on with, which it builds anew, which it
//! leaves behind.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::plan::goes_on;

/// What a program would do to the topologies that a log knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Deployment {
    /// The app.
    pub app: String,
    /// One for each topology that the program has or the log knows, in the order of their names.
    pub topologies: Vec<Fate>,
}

/// What becomes of one topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Fate {
    /// Its name, with its version from the second on.
    pub topology: String,
    /// What becomes of it.
    #[serde(flatten)]
    pub kind: FateKind,
}

/// What becomes of a topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "fate")]
#[non_exhaustive]
pub enum FateKind {
    /// It goes on where it is.
    Keep,
    /// It is new, and begins at the beginning of its sources.
    Begin,
    /// It is another version of one that the log knows.
    Rebuild {
        /// The version that the log knows.
        from: String,
        /// Whether the old one answers until the new one has caught up: that of a view.
        serves_meanwhile: bool,
    },
    /// It is defined otherwise under the same name and version: the program will not start.
    Conflict,
    /// This program does not have it; what it keeps stays.
    Orphan {
        /// The version that this program has instead.
        replaced_by: Option<String>,
        /// The topics that it alone wrote, which may be deleted once no program has it.
        topics: Vec<String>,
    },
}

impl Deployment {
    /// Compares what a program defines with what a log knows, both by versioned names.
    pub(crate) fn of(
        app: &str,
        defined: &BTreeMap<String, Value>,
        recorded: &BTreeMap<String, Value>,
    ) -> Self {
        let here = defined
            .iter()
            .map(|(name, fixed)| Fate { topology: name.clone(), kind: fate(name, fixed, recorded) });
        let left = recorded.iter().filter(|(name, _)| !defined.contains_key(*name));
        let orphans = left.map(|(name, fixed)| Fate {
            topology: name.clone(),
            kind: FateKind::Orphan { replaced_by: sibling(name, defined), topics: own_topics(app, fixed) },
        });
        let mut topologies: Vec<_> = here.chain(orphans).collect();
        topologies.sort_by(|a, b| a.topology.cmp(&b.topology));
        Self { app: app.to_owned(), topologies }
    }
}

fn fate(name: &str, defined: &Value, recorded: &BTreeMap<String, Value>) -> FateKind {
    match recorded.get(name) {
        Some(recorded) if goes_on(recorded, defined) => return FateKind::Keep,
        Some(_) => return FateKind::Conflict,
        None => {}
    }
    match sibling(name, recorded) {
        Some(from) => FateKind::Rebuild { from, serves_meanwhile: defined["kind"] == "fold" },
        None => FateKind::Begin,
    }
}

/// Another version of a topology, the latest.
fn sibling(name: &str, among: &BTreeMap<String, Value>) -> Option<String> {
    let (base, version) = parted(name);
    let others = among.keys().filter(|other| parted(other).0 == base && parted(other).1 != version);
    others.max_by_key(|other| parted(other).1).cloned()
}

/// A versioned name's name and version.
fn parted(name: &str) -> (&str, u32) {
    let parted = name.rsplit_once('@').and_then(|(base, version)| Some((base, version.parse().ok()?)));
    parted.unwrap_or((name, 1))
}

/// The topics that a topology appends to and that nobody else may.
fn own_topics(app: &str, fixed: &Value) -> Vec<String> {
    let many = fixed["targets"].as_array().into_iter().flatten();
    let targets = many.chain([&fixed["target"]]).filter_map(Value::as_str);
    let prefix = format!("{app}.");
    targets.filter(|topic| topic.starts_with(&prefix)).map(ToOwned::to_owned).collect()
}

impl fmt::Display for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.topologies.is_empty() {
            return write!(f, "app {} has no topologies, and the log knows none", self.app);
        }
        for (index, fate) in self.topologies.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{fate}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.topology;
        match &self.kind {
            FateKind::Keep => write!(f, "keep      {name}: it goes on where it is"),
            FateKind::Begin => {
                write!(f, "begin     {name}: it is new, and reads its sources from their beginning")
            }
            FateKind::Rebuild { from, serves_meanwhile: true } => {
                write!(f, "rebuild   {name}: it is built beside {from}, which answers until it has caught up")
            }
            FateKind::Rebuild { from, serves_meanwhile: false } => {
                write!(f, "rebuild   {name}: it begins anew beside {from}")
            }
            FateKind::Conflict => write!(
                f,
                "conflict  {name}: the log knows another of this name and version, and the program will not start"
            ),
            FateKind::Orphan { replaced_by, topics } => {
                write!(f, "orphan    {name}: this program does not have it; ")?;
                if let Some(other) = replaced_by {
                    write!(f, "{other} comes in its place; ")?;
                }
                match &topics[..] {
                    [] => write!(f, "what it keeps stays until it is removed"),
                    topics => write!(f, "its topics stay until they are deleted: {}", topics.join(", ")),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fold(source: &str) -> Value {
        json!({"kind": "fold", "source": source})
    }

    fn emitter(target: &str) -> Value {
        json!({"kind": "emitter", "source": "in", "target": target})
    }

    fn known(topologies: &[(&str, Value)]) -> BTreeMap<String, Value> {
        topologies.iter().map(|(name, fixed)| ((*name).to_owned(), fixed.clone())).collect()
    }

    #[test]
    fn each_topology_is_kept_begun_rebuilt_refused_or_left_behind() {
        let defined = known(&[
            ("a", fold("x")),
            ("b@3", fold("x")),
            ("c", fold("y")),
            ("d", fold("x")),
            ("e@2", emitter("shop.e@2")),
        ]);
        let recorded = known(&[
            ("a", fold("x")),
            ("b", fold("x")),
            ("b@2", fold("x")),
            ("c", fold("x")),
            ("e", emitter("shop.e")),
            ("f", emitter("others")),
        ]);
        let told = Deployment::of("shop", &defined, &recorded).to_string();
        let expected = "\
keep      a: it goes on where it is
orphan    b: this program does not have it; b@3 comes in its place; what it keeps stays until it is removed
orphan    b@2: this program does not have it; b@3 comes in its place; what it keeps stays until it is removed
rebuild   b@3: it is built beside b@2, which answers until it has caught up
conflict  c: the log knows another of this name and version, and the program will not start
begin     d: it is new, and reads its sources from their beginning
orphan    e: this program does not have it; e@2 comes in its place; its topics stay until they are deleted: shop.e
rebuild   e@2: it begins anew beside e
orphan    f: this program does not have it; what it keeps stays until it is removed";
        assert_eq!(told, expected);
    }
}
