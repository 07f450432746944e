//! The table of suites: what the gate runs, in this order.
//!
//! Every suite builds with the same profile and the same `RUSTFLAGS`, so that nothing is compiled twice: warnings become
//! errors through arguments of clippy and rustdoc, never through `RUSTFLAGS`. Cheap suites come first.

use crate::absence;
use crate::guarantees;
use crate::tools::{Need, Tools};

/// One line of the gate: a name, what it shows, what it needs, and how it runs.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Met before the suite runs; one that cannot be met fails the suite.
    pub(crate) needs: &'static [Need],
    pub(crate) check: Check,
}

/// How a suite runs.
pub(crate) enum Check {
    /// `cargo` with these arguments, at the root.
    Cargo(&'static [&'static str]),
    /// A script of `package.json` in a folder, after its packages are installed from the lock file.
    Npm { folder: &'static str, script: &'static str },
    /// A check of the source tree; an error lists what it found.
    Tree(fn(&Tools) -> Result<(), String>),
}

/// Warnings of rustdoc are errors, by an argument that no other unit's fingerprint contains.
const RUSTDOC_WARNINGS: &str = "build.rustdocflags=['-D', 'warnings']";

pub(crate) const SUITES: &[Suite] = &[
    cargo("fmt", "the code is formatted by rustfmt", &["fmt", "--all", "--check"]),
    tree("absence", "the invariants of absence in ARCHITECTURE.md hold", absence::check),
    tree("guarantees", "every test that docs/guarantees.md names exists", guarantees::check),
    cargo(
        "deny",
        "dependencies: licences, sources, bans",
        &["deny", "--locked", "check", "bans", "licenses", "sources"],
    )
    .needs(&[Need::CargoDeny]),
    cargo(
        "clippy",
        "no warnings",
        &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"],
    ),
    cargo(
        "features",
        "no warnings with the features that users have",
        &[
            "clippy",
            "--locked",
            "-p",
            "headwater",
            "-p",
            "headwater-http",
            "-p",
            "ordering",
            "-p",
            "shortener",
            "-p",
            "showcase",
            "--",
            "-D",
            "warnings",
        ],
    ),
    cargo(
        "compare",
        "no warnings in the comparison with Kafka Streams, which is a workspace of its own",
        &[
            "clippy",
            "--locked",
            "--manifest-path",
            "bench-compare/Cargo.toml",
            "--no-default-features",
            "--target-dir",
            "target",
            "--",
            "-D",
            "warnings",
        ],
    ),
    cargo(
        "rustdoc",
        "the documentation builds",
        &["doc", "--locked", "--workspace", "--no-deps", "--config", RUSTDOC_WARNINGS],
    ),
    cargo(
        "test",
        "unit and integration tests",
        &[
            "test",
            "--locked",
            "--workspace",
            "--exclude",
            "streams-oracle",
            // One run tells all that fails.
            "--no-fail-fast",
            "--lib",
            "--bins",
            "--tests",
            "--examples",
        ],
    )
    .needs(&[Need::Kafka]),
    cargo(
        "streams",
        "topologies answer as in Kafka Streams' own test driver, and that as its documentation says",
        &["test", "--locked", "--workspace", "--test", "streams", "--", "--skip", "running::"],
    )
    .needs(&[Need::Kafka]),
    cargo(
        "streams-running",
        "topologies that run, over kills and on Kafka, come to what the test driver says",
        &["test", "--locked", "--workspace", "--test", "streams", "--", "running::"],
    )
    .needs(&[Need::Kafka]),
    cargo("doctest", "the code in the documentation", &["test", "--locked", "--workspace", "--doc"]),
    npm("browser", "the page of ordering in a headless browser", "ordering")
        .needs(&[Need::Chromium, Need::Release("ordering")]),
    npm("browser-shortener", "the page of the shortener in a headless browser", "shortener")
        .needs(&[Need::Chromium, Need::Release("shortener")]),
    Suite { check: Check::Cargo(CHAOS_OF_THE_GATE), ..CHAOS },
];

/// Faults on instances and a broker, at the length that the gate has time for.
pub(crate) const CHAOS: Suite = cargo(
    "chaos",
    "instances and a broker are killed, held and cut off under load; then the log is judged",
    &["run", "--locked", "-p", "headwater-chaos", "--"],
)
.needs(&[Need::Kafka, Need::Debug("ordering")]);

/// The same faults each time, so that a run that fails is one that can be run again.
const CHAOS_OF_THE_GATE: &[&str] =
    &["run", "--locked", "-p", "headwater-chaos", "--", "--seed=1", "--minutes=1"];

const fn cargo(name: &'static str, about: &'static str, args: &'static [&'static str]) -> Suite {
    Suite { name, about, needs: &[], check: Check::Cargo(args) }
}

const fn tree(name: &'static str, about: &'static str, check: fn(&Tools) -> Result<(), String>) -> Suite {
    Suite { name, about, needs: &[], check: Check::Tree(check) }
}

/// Tests of a page, which have a script named after their app.
const fn npm(name: &'static str, about: &'static str, script: &'static str) -> Suite {
    Suite { name, about, needs: &[], check: Check::Npm { folder: "apps/browser-tests", script } }
}

impl Suite {
    const fn needs(mut self, needs: &'static [Need]) -> Suite {
        self.needs = needs;
        self
    }
}
