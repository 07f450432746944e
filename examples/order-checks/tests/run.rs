//! The program, as a user runs it.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::process::Command;

#[test]
fn every_order_has_an_outcome_as_soon_as_it_is_asked_for() {
    let program =
        Command::new(env!("CARGO_BIN_EXE_order-checks")).args(["--log", "memory"]).output().unwrap();
    assert!(program.status.success(), "{program:?}");
    let told = String::from_utf8(program.stdout).unwrap();
    assert_eq!(told, "o1: validated\no2: failed [Details]\no3: validated\no4: failed [Stock, Limit]\n");
}
