//! Kafka Streams' test driver is what the comparison takes it for: it answers as its documentation says, random inputs
//! tell its cases from each other, and a system that answers otherwise is found.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod ours;
mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use streams_oracle::{Answer, Case, Input, Options, Oracle, compare, golden, random_inputs, seeds};

fn oracle() -> &'static Oracle {
    static ORACLE: OnceLock<Oracle> = OnceLock::new();
    ORACLE.get_or_init(|| Oracle::start().unwrap())
}

#[test]
fn kafka_streams_answers_as_its_documentation_says() {
    let examples = golden::examples().unwrap();
    assert!(examples.len() >= 10, "only {} examples are left", examples.len());
    for example in &examples {
        for case in &example.cases {
            let answer = oracle().run(case, &example.inputs()).unwrap();
            example.check(case, &answer).unwrap_or_else(|wrong| panic!("{}: {wrong}", example.about));
        }
    }
}

#[test]
fn an_example_refuses_every_other_answer() {
    for example in golden::examples().unwrap() {
        for case in &example.cases {
            let answer = oracle().run(case, &example.inputs()).unwrap();
            assert!(!answer.outputs.is_empty(), "{case} writes nothing in {}", example.about);
            for wrong in wrong_in_one_output(&answer) {
                assert!(example.check(case, &wrong).is_err(), "{} takes {wrong:?}", example.about);
            }
        }
    }
}

/// The answer with one output missing, twice, late, or of another value; for each of its outputs.
fn wrong_in_one_output(answer: &Answer) -> Vec<Answer> {
    let changes: [fn(&mut Answer, usize); 4] = [
        |wrong, index| drop(wrong.outputs.remove(index)),
        |wrong, index| wrong.outputs.insert(index, wrong.outputs[index].clone()),
        |wrong, index| wrong.outputs[index].after += 1,
        |wrong, index| wrong.outputs[index].value = Some("another".into()),
    ];
    let wrong = |(index, change): (usize, fn(&mut Answer, usize))| {
        let mut wrong = answer.clone();
        change(&mut wrong, index);
        wrong
    };
    let outputs = 0..answer.outputs.len();
    outputs.flat_map(|index| changes.map(|change| (index, change))).map(wrong).collect()
}

/// Runs every case that reads the same as `like` on the same inputs, and says which pairs no seed told apart.
fn alike(like: &[&Case], seeds: u64) -> Vec<(String, String)> {
    let mut pairs: Vec<(&Case, &Case)> = like
        .iter()
        .enumerate()
        .flat_map(|(at, one)| like[..at].iter().map(move |other| (*other, *one)))
        .collect();
    for seed in 0..seeds {
        let inputs = random_inputs(like[0], seed, Options::default());
        let answers: BTreeMap<&str, Answer> = like
            .iter()
            .map(|case| (case.name.as_str(), oracle().run(&case.name, &inputs).unwrap()))
            .collect();
        pairs.retain(|(one, other)| answers[one.name.as_str()] == answers[other.name.as_str()]);
    }
    pairs.iter().map(|(one, other)| (one.name.clone(), other.name.clone())).collect()
}

/// What comes to the same where records are processed one by one as they come.
const SAME: [(&str, &str); 2] =
    [("to_stream-kept", "to_table"), ("stream_table-left", "stream_global-left-by_key")];

#[test]
fn random_inputs_tell_every_case_from_every_other() {
    const SEEDS: u64 = 12;
    let cases = oracle().cases().unwrap();
    assert!(cases.len() > 100, "only {} cases are left", cases.len());
    let mut groups: BTreeMap<String, Vec<&Case>> = BTreeMap::new();
    for case in &cases {
        groups.entry(format!("{:?}", case.sources)).or_default().push(case);
    }
    let alike: Vec<_> = groups.values().flat_map(|like| alike(like, SEEDS)).collect();
    let alike: Vec<_> = alike.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect();
    assert_eq!(alike, SAME, "no seed tells these apart");
}

#[test]
fn another_system_s_answers_are_found_and_shown_on_few_inputs() {
    // What a system would do that has one rule wrong.
    let mistaken = [
        ("tumbling-count-grace", "tumbling-count"),
        ("hopping-reduce-grace-close", "hopping-reduce-close"),
        ("session-aggregate-grace", "session-aggregate"),
        ("stream_stream-left-grace", "stream_stream-inner-grace"),
        ("table_table-outer", "table_table-left"),
        ("foreign_key-left", "foreign_key-inner"),
    ];
    for (right, wrong) in mistaken {
        let case = oracle().case(right).unwrap();
        let as_wrong = |inputs: &[Input]| oracle().run(wrong, inputs);
        let found =
            (0..10).find_map(|seed| compare(oracle(), &case, seed, Options::default(), as_wrong).err());
        let text = found.unwrap_or_else(|| panic!("{wrong} passes for {right}")).to_string();
        assert!(text.lines().any(|line| line.starts_with("  - ") || line.starts_with("  + ")), "{text}");
        assert!(text.lines().count() < 20, "{text}");
    }
}

#[test]
fn the_same_inputs_have_the_same_answer_and_the_same_seed_the_same_inputs() {
    for name in ["cogroup-sliding", "foreign_key-left", "punctuate-wall_clock", "suppress-records"] {
        let case = oracle().case(name).unwrap();
        let same = |inputs: &[Input]| {
            assert_eq!(inputs, random_inputs(&case, 7, Options::default()));
            oracle().run(name, inputs)
        };
        compare(oracle(), &case, 7, Options::default(), same).unwrap();
    }
}

#[test]
fn what_kafka_streams_throws_is_an_error() {
    let unknown = oracle().run("no such case", &[]).unwrap_err();
    assert!(unknown.contains("no such case"), "{unknown}");
    let case = oracle().case("count").unwrap();
    let mut inputs = random_inputs(&case, 1, Options::default());
    let Some(Input::Record(record)) = inputs.first_mut() else { panic!("{inputs:?}") };
    record.topic = "nowhere".into();
    let thrown = oracle().run("count", &inputs).unwrap_err();
    assert!(thrown.contains("nowhere"), "{thrown}");
    let again = oracle().run("count", &random_inputs(&case, 1, Options::default()));
    assert!(again.is_ok_and(|answer| !answer.outputs.is_empty()), "it goes on after an error");
}

#[test]
fn every_case_of_the_reference_is_compared() {
    let theirs: BTreeSet<String> = oracle().cases().unwrap().into_iter().map(|case| case.name).collect();
    let ours: BTreeSet<String> = ours::all().into_iter().map(|ours| ours.case).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn headwater_answers_random_inputs_as_kafka_streams_does() {
    const SEEDS: u64 = 12;
    let mut differences = Vec::new();
    for ours in ours::all() {
        let case = oracle().case(&ours.case).unwrap();
        let compared = |seed| compare(oracle(), &case, seed, ours.options, |inputs| ours.run(inputs));
        differences.extend(seeds(SEEDS).find_map(|seed| compared(seed).err()));
    }
    let texts: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert!(texts.is_empty(), "{}", texts.join("\n"));
}

#[test]
fn headwater_answers_as_kafka_streams_documentation_says() {
    let all = ours::all();
    for example in golden::examples().unwrap() {
        for ours in all.iter().filter(|ours| example.cases.contains(&ours.case)) {
            let example = example.with(ours.options);
            let answer = ours.run(&example.inputs()).unwrap();
            example.check(&ours.case, &answer).unwrap_or_else(|wrong| panic!("{}: {wrong}", example.about));
        }
    }
}

#[test]
fn restarts_change_nothing_that_headwater_answers() {
    const SEEDS: u64 = 6;
    let cases = oracle().cases().unwrap();
    for ours in ours::all() {
        let case = cases.iter().find(|case| case.name == ours.case).unwrap();
        for seed in seeds(SEEDS) {
            let inputs = random_inputs(case, seed, ours.options);
            let uncut = ours.run(&inputs).unwrap();
            for (every, first) in [(1, 1), (3, seed as usize % 3), (7, seed as usize % 7)] {
                let cut = ours.run_with_restarts(&inputs, |index| index % every == first % every).unwrap();
                assert_eq!(
                    cut, uncut,
                    "{} with seed {seed}, restarted at {first} and every {every}",
                    ours.case
                );
            }
        }
    }
}
