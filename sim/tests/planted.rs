//! Each planted bug is found by the simulation, which finds nothing where none is planted.

use headwater::planted::Bug;
use headwater_sim::{Plan, Seeds};

/// Seeds within which a planted bug has to be found.
const SEEDS: u64 = 300;

/// Runs seeds until one finds the bug; what it reports names it in one of these words.
fn finds(plan: Plan, words: &[&str]) {
    let Err((seed, report)) = Seeds::up_to(SEEDS).run(plan) else {
        panic!("{SEEDS} seeds do not find {plan:?}");
    };
    let told = report.violations.join("\n");
    println!("seed {seed} finds {plan:?}:\n{told}");
    assert!(words.iter().any(|word| told.contains(word)), "seed {seed} finds something else:\n{told}");
}

#[test]
fn a_position_outside_its_batch_is_found() {
    let plan = Plan { bug: Some(Bug::PositionOutsideBatch), ..Plan::default() };
    finds(
        plan,
        &[
            "not the fold of the log",
            "events are missing",
            "was read at version",
            "answered after a receipt",
            "half a command was seen",
            "and the view has",
        ],
    );
}

#[test]
fn commands_of_one_batch_that_do_not_see_each_other_are_found() {
    let plan = Plan { bug: Some(Bug::BlindBatch), ..Plan::default() };
    finds(plan, &["has version"]);
}

#[test]
fn a_batch_that_ends_within_a_command_is_found() {
    let plan = Plan { bug: Some(Bug::SplitCommands), ..Plan::default() };
    finds(plan, &["half a command was seen"]);
}

#[test]
fn an_acknowledgement_without_a_sync_is_found() {
    let plan = Plan { unsynced: true, ..Plan::default() };
    finds(
        plan,
        &[
            "it was told",
            "was never decided",
            "was read at version",
            "answered after a receipt",
            "events are missing",
            "the rebuilt views are not the fold of the log",
        ],
    );
}

#[test]
fn a_takeover_that_forgets_outcomes_is_found() {
    let plan = Plan { bug: Some(Bug::BlindTakeover), fleet: true, ..Plan::default() };
    finds(plan, &["outcomes", "it was told", "its outcome was answered"]);
}

#[test]
fn filters_that_miss_a_command_are_found() {
    for fleet in [false, true] {
        let plan = Plan { bug: Some(Bug::LeakyFilters), fleet, ..Plan::default() };
        finds(plan, &["outcomes", "it was told", "its outcome was answered"]);
    }
}
