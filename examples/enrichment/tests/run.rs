//! The program, as a user runs it.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::process::Command;

#[test]
fn orders_follow_their_customers() {
    let program = Command::new(env!("CARGO_BIN_EXE_enrichment")).args(["--log", "memory"]).output().unwrap();
    assert!(program.status.success(), "{program:?}");
    let told = String::from_utf8(program.stdout).unwrap();
    assert_eq!(told, "o1: kettle for Ann\no2: piano for Ann\no1: kettle for Anna\no2: piano for Anna\n");
}
