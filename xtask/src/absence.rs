//! The invariants of absence of ARCHITECTURE.md, checked on the source and on cargo's own dependency graph.
//!
//! A rule names a place that must exist, so that a renamed folder fails its rule instead of emptying it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process;
use crate::source;
use crate::tools::Tools;

/// Paths that the code of a place does not name.
struct Unnamed {
    place: &'static str,
    paths: &'static [&'static str],
    because: &'static str,
}

/// Packages that a crate does not depend on, at any depth, with these features.
struct Independent {
    package: &'static str,
    features: &'static [&'static str],
    of: &'static [&'static str],
    because: &'static str,
}

const UNNAMED: &[Unnamed] = &[
    Unnamed {
        place: "crates/headwater-core/src",
        paths: &["std::fs", "std::net", "std::os", "std::process", "tokio"],
        because: "headwater-core knows no file, socket, process or async runtime",
    },
    Unnamed {
        place: "crates/headwater/src/engine",
        paths: &[
            "SystemTime",
            "Instant",
            "Clock",
            "SystemClock",
            "Timestamp::now",
            "Zoned::now",
            "std::fs",
            "std::net",
            "std::process",
            "std::thread",
            "tokio",
        ],
        because: "the engine is pure: it is handed the time, and knows no clock, runtime, file or socket",
    },
    Unnamed {
        place: "crates/headwater/src",
        paths: KAFKA_CLIENTS,
        because: "headwater reaches Kafka only through the log contract",
    },
];

const KAFKA_CLIENTS: &[&str] = &["krafka", "rdkafka", "samsa", "rskafka"];
/// The one crate whose manifest names a Kafka client.
const KAFKA_CRATE: &str = "crates/headwater-kafka";
const ALL_FEATURES: &[&str] = &["--all-features"];

const INDEPENDENT: &[Independent] = &[
    Independent {
        package: "headwater-core",
        features: ALL_FEATURES,
        of: &[
            "async-io",
            "async-std",
            "axum",
            "heed",
            "hyper",
            "krafka",
            "memmap2",
            "mio",
            "polling",
            "rdkafka",
            "redb",
            "reqwest",
            "smol",
            "socket2",
            "sqlx",
            "tokio",
            "tokio-util",
        ],
        because: "headwater-core knows no file, socket or async runtime",
    },
    Independent {
        package: "headwater",
        features: &["--no-default-features"],
        of: &["headwater-kafka", "krafka", "rdkafka", "rskafka", "samsa"],
        because: "who does not want Kafka builds headwater without it",
    },
    Independent {
        package: "headwater-kafka",
        features: ALL_FEATURES,
        of: &["axum", "headwater", "headwater-http", "heed", "rdkafka"],
        because: "headwater-kafka is one log behind the contract, without state, HTTP or a second client",
    },
];

/// Each crate, from the lowest up, and the words by which it would name a higher one, in code, docs or manifest.
/// Underscores count as hyphens. The product's name alone names no crate.
const HIGHER: &[(&str, &[&str])] = &[
    (
        "headwater-core",
        &[
            "headwater::",
            "headwater.workspace",
            "headwater-cli",
            "headwater-http",
            "headwater-kafka",
            "headwater-sql",
        ],
    ),
    (
        "headwater-kafka",
        &["headwater::", "headwater.workspace", "headwater-cli", "headwater-http", "headwater-sql"],
    ),
    ("headwater", &["headwater-cli", "headwater-http", "headwater-sql"]),
    ("headwater-http", &["headwater-cli", "headwater-kafka", "headwater-sql"]),
];

/// Checks every rule.
///
/// # Errors
/// Lists what breaks a rule, a line each.
pub(crate) fn check(tools: &Tools) -> Result<(), String> {
    let root = &tools.root;
    let mut findings = Vec::new();
    for rule in UNNAMED {
        findings.extend(names(root, rule)?);
    }
    for rule in INDEPENDENT {
        findings.extend(depends(tools, rule)?);
    }
    for (package, higher) in HIGHER {
        findings.extend(names_higher(root, package, higher)?);
    }
    findings.extend(foreign_clients(root)?);
    findings.extend(public_clients(root)?);
    findings.extend(unlayered(root)?);
    findings.extend(unsafe_places(root)?);
    if findings.is_empty() { Ok(()) } else { Err(findings.join("\n")) }
}

fn names(root: &Path, rule: &Unnamed) -> Result<Vec<String>, String> {
    let mut findings = Vec::new();
    let place = root.join(rule.place);
    let is_program = |file: &&PathBuf| !file.strip_prefix(&place).is_ok_and(source::is_tests);
    for file in source::files(&place, "rs")?.iter().filter(is_program) {
        for path in rule.paths {
            let lines = lines_that_name(file, path)?;
            findings.extend(
                lines.iter().map(|line| at(root, file, *line, &format!("names {path}; {}", rule.because))),
            );
        }
    }
    Ok(findings)
}

fn lines_that_name(file: &Path, path: &str) -> Result<Vec<usize>, String> {
    let named = source::named(&read(file)?).map_err(|error| format!("{} {error}", file.display()))?;
    Ok(named.iter().filter(|named| named.contains(path)).map(|named| named.line).collect())
}

fn depends(tools: &Tools, rule: &Independent) -> Result<Vec<String>, String> {
    let tree = ["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--package", rule.package];
    let tree = process::output(tools.cargo().args(tree).args(rule.features))?;
    let mut packages: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    packages.sort_unstable();
    packages.dedup();
    packages.retain(|package| rule.of.contains(package));
    Ok(packages
        .iter()
        .map(|package| format!("{} depends on {package}; {}", rule.package, rule.because))
        .collect())
}

fn names_higher(root: &Path, package: &str, higher: &[&str]) -> Result<Vec<String>, String> {
    let folder = root.join("crates").join(package);
    let mut files = source::files(&folder, "rs")?;
    files.extend(source::files(&folder, "toml")?);
    let mut findings = Vec::new();
    for file in files {
        for (index, line) in read(&file)?.lines().enumerate() {
            let named = higher.iter().filter(|name| mentions(line, name));
            findings.extend(named.map(|name| {
                at(root, &file, index + 1, &format!("names {name}, which stands above {package}"))
            }));
        }
    }
    Ok(findings)
}

/// Whether a line has the word, not as a part of a longer one.
fn mentions(line: &str, word: &str) -> bool {
    let line = line.replace('_', "-");
    let joins = |char: char| char.is_ascii_alphanumeric() || char == '-';
    line.match_indices(word).any(|(start, _)| {
        let (before, after) = (&line[..start], &line[start + word.len()..]);
        !(before.ends_with(joins) || word.ends_with(joins) && after.starts_with(joins))
    })
}

/// A Kafka client is a dependency of one crate; even tests of the others reach Kafka through that one.
fn foreign_clients(root: &Path) -> Result<Vec<String>, String> {
    let own = root.join(KAFKA_CRATE);
    let mut findings = Vec::new();
    for folder in ["crates", "apps"] {
        let manifests = source::files(&root.join(folder), "toml")?;
        for file in manifests.iter().filter(|file| !file.starts_with(&own)) {
            for (index, line) in read(file)?.lines().enumerate() {
                let named = KAFKA_CLIENTS.iter().filter(|client| mentions(line, client));
                findings.extend(named.map(|client| {
                    at(root, file, index + 1, &format!("names {client}, which is {KAFKA_CRATE}'s alone"))
                }));
            }
        }
    }
    Ok(findings)
}

/// Whoever uses the crate with the client never meets the client: its public items show none of its types.
fn public_clients(root: &Path) -> Result<Vec<String>, String> {
    let own = root.join(KAFKA_CRATE).join("src");
    let mut findings = Vec::new();
    let is_program = |file: &&PathBuf| !file.strip_prefix(&own).is_ok_and(source::is_tests);
    for file in source::files(&own, "rs")?.iter().filter(is_program) {
        let (code, unread) = (read(file)?, |error| format!("{} {error}", file.display()));
        let named = source::named(&code).map_err(unread)?;
        let is_client = |path: &source::Named| KAFKA_CLIENTS.contains(&path.segments[0].as_str());
        let imported: Vec<&String> =
            named.iter().filter(|path| is_client(path)).filter_map(|path| path.segments.last()).collect();
        let shown = source::shown(&code).map_err(unread)?;
        let found = shown.iter().filter(|path| is_client(path) || imported.contains(&&path.segments[0]));
        findings.extend(found.map(|path| {
            let what = format!("shows {}, a type of the client, in public", path.segments.join("::"));
            at(root, file, path.line, &what)
        }));
    }
    Ok(findings)
}

/// A new crate says where it stands.
fn unlayered(root: &Path) -> Result<Vec<String>, String> {
    let manifests = source::files(&root.join("crates"), "toml")?;
    let folders = manifests
        .iter()
        .filter(|file| file.ends_with("Cargo.toml"))
        .filter_map(|file| file.parent()?.file_name());
    Ok(folders
        .filter(|folder| !HIGHER.iter().any(|(package, _)| folder == package))
        .map(|folder| format!("crates/{} has no line in xtask's table of layers", folder.display()))
        .collect())
}

/// `unsafe` is denied by a lint; these files alone may lift it.
const UNSAFE: [&str; 2] = ["crates/headwater/src/engine_file.rs", "crates/headwater/src/scheduling.rs"];

fn unsafe_places(root: &Path) -> Result<Vec<String>, String> {
    let mut places = Vec::new();
    for folder in ["crates", "apps"] {
        for file in source::files(&root.join(folder), "rs")? {
            if UNSAFE.iter().any(|known| file == root.join(known)) {
                continue;
            }
            if let Some(line) = lines_that_name(&file, "unsafe_code")?.first() {
                places.push(at(root, &file, *line, "lifts the lint on unsafe code"));
            }
        }
    }
    Ok(places)
}

fn at(root: &Path, file: &Path, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", file.strip_prefix(root).unwrap_or(file).display())
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))
}

#[cfg(test)]
mod tests;
