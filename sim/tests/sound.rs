//! The simulation without planted bugs: no promise is broken, whatever strikes.

use headwater_sim::{Plan, Seeds};

/// Seeds of one run in the gate.
const SEEDS: u64 = 2_000;
/// The same with several instances.
const SEEDS_OF_FLEETS: u64 = 1_000;

#[test]
fn no_seed_breaks_a_promise_and_every_fault_strikes() {
    sound(Seeds::from_env(SEEDS), Plan::default());
}

#[test]
fn no_seed_breaks_a_promise_where_instances_come_and_go() {
    sound(Seeds::from_env(SEEDS_OF_FLEETS), Plan { fleet: true, ..Plan::default() });
}

fn sound(seeds: Seeds, plan: Plan) {
    let hits = match seeds.run(plan) {
        Ok(hits) => hits,
        Err((seed, report)) => panic!(
            "seed {seed} of {plan:?} breaks promises; see it again with HEADWATER_SIM_SEED={seed} cargo test -p headwater-sim\n{}",
            report.violations.join("\n")
        ),
    };
    for (kind, hits) in &hits {
        println!("{hits:>8}  {kind}");
    }
    let none: Vec<_> = hits.iter().filter(|(_, hits)| **hits == 0).map(|(kind, _)| kind).collect();
    assert!(seeds.is_one() || none.is_empty(), "these never struck: {none:?}");
}
