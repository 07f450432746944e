//! Each kind of rule finds a planted breach, and passes what only looks like one.

use super::*;

/// A tree of files, checked by one rule.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let file = root.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    root
}

#[test]
fn a_forbidden_path_is_found_outside_tests() {
    let rule = Unnamed { place: "crates/low/src", paths: &["std::fs", "Instant"], because: "it is pure" };
    let root = tree(&[
        ("crates/low/src/lib.rs", "//! Not std::fs.\nmod deep;\nuse std::{io, time::Instant};\n"),
        ("crates/low/src/deep/file.rs", "fn f() {\n    std::fs::read(\"x\");\n}\n"),
        ("crates/low/src/deep/tests.rs", "use std::fs;\n"),
        ("crates/high/src/lib.rs", "use std::fs;\n"),
    ]);
    assert_eq!(
        names(root.path(), &rule).unwrap(),
        [
            "crates/low/src/deep/file.rs:2: names std::fs; it is pure",
            "crates/low/src/lib.rs:3: names Instant; it is pure"
        ]
    );
}

#[test]
fn a_rule_whose_place_is_gone_fails() {
    let rule = Unnamed { place: "crates/gone/src", paths: &["std::fs"], because: "it is pure" };
    assert!(names(tree(&[]).path(), &rule).unwrap_err().contains("crates/gone/src cannot be read"));
}

#[test]
fn a_higher_crate_is_named_in_code_docs_or_manifest() {
    let higher = ["headwater::", "headwater.workspace", "headwater-http"];
    let found = |line: &str| higher.iter().any(|word| mentions(line, word));
    for line in [
        "use headwater::App;",
        "//! See `headwater::App`.",
        "use headwater_http::Server;",
        "/// Served by headwater-http.",
        "headwater.workspace = true",
        "headwater-http = { path = \"../headwater-http\" }",
    ] {
        assert!(found(line), "{line}");
    }
    for line in [
        "//! Headwater's words.",
        "use headwater_core::Log;",
        "my_headwater::x",
        "headwater-https",
        "headwater_httpd",
    ] {
        assert!(!found(line), "{line}");
    }
    let root =
        tree(&[("crates/low/src/lib.rs", "\n/// See headwater-http.\n"), ("crates/low/Cargo.toml", "")]);
    assert_eq!(
        names_higher(root.path(), "low", &higher).unwrap(),
        ["crates/low/src/lib.rs:2: names headwater-http, which stands above low"]
    );
}

#[test]
fn a_kafka_client_is_named_by_one_manifest() {
    let root = tree(&[
        ("crates/headwater-kafka/Cargo.toml", "krafka.workspace = true\n"),
        ("crates/headwater/Cargo.toml", "headwater-kafka.workspace = true\n"),
        ("apps/app/Cargo.toml", "[dev-dependencies]\nkrafka = { workspace = true }\n"),
    ]);
    assert_eq!(
        foreign_clients(root.path()).unwrap(),
        ["apps/app/Cargo.toml:2: names krafka, which is crates/headwater-kafka's alone"]
    );
}

#[test]
fn a_crate_without_a_place_among_the_layers_is_found() {
    let root = tree(&[("crates/headwater-core/Cargo.toml", ""), ("crates/new/Cargo.toml", "")]);
    assert_eq!(unlayered(root.path()).unwrap(), ["crates/new has no line in xtask's table of layers"]);
}

#[test]
fn unsafe_code_is_allowed_in_the_files_that_are_named_alone() {
    let lift = "#![allow(unsafe_code)]\n";
    let named = [(UNSAFE[0], lift), (UNSAFE[1], lift), ("apps/app/src/main.rs", "// unsafe_code\n")];
    assert_eq!(unsafe_places(tree(&named).path()).unwrap(), [""; 0]);
    let other = [(UNSAFE[0], lift), ("apps/app/src/main.rs", lift)];
    assert_eq!(
        unsafe_places(tree(&other).path()).unwrap(),
        ["apps/app/src/main.rs:1: lifts the lint on unsafe code"]
    );
}

#[test]
fn a_type_of_the_client_is_found_where_it_is_public() {
    let root = tree(&[
        (
            "crates/headwater-kafka/src/lib.rs",
            "use krafka::{Kafka, error::ErrorCode};\npub fn f(code: ErrorCode) {}\npub(crate) fn g(kafka: Kafka) {}\n",
        ),
        (
            "crates/headwater-kafka/src/log.rs",
            "pub struct Log {\n    kafka: Kafka,\n}\npub type K = krafka::Kafka;\n",
        ),
    ]);
    assert_eq!(
        public_clients(root.path()).unwrap(),
        [
            "crates/headwater-kafka/src/lib.rs:2: shows ErrorCode, a type of the client, in public",
            "crates/headwater-kafka/src/log.rs:4: shows krafka::Kafka, a type of the client, in public",
        ]
    );
}
