//! Inputs at random: few keys, times out of order, missing keys and values, deletes; the same for the same seed.
//!
//! `HEADWATER_STREAMS_SEEDS` asks for another number of seeds than a test has, `HEADWATER_STREAMS_SEED` for one alone.

use std::collections::BTreeMap;
use std::env;
use std::ops::Range;

use fastrand::Rng;

use crate::compare::Options;
use crate::oracle::{Case, Source};
use crate::records::{Datum, Input, InputRecord};

const INPUTS: Range<usize> = 10..60;
const KEYS: [&str; 4] = ["a", "b", "c", "d"];
const LETTERS: [&str; 4] = ["a", "b", "c", "d"];
/// So late that no window begins before 1970: Kafka Streams has none there.
const BEGIN_MS: i64 = 100;
/// Far enough behind everything for every window and grace to end.
const REST_MS: i64 = 1_000;

/// The seeds of a test: so many, unless the environment says otherwise.
///
/// # Panics
/// When the environment asks for seeds by something that is no number.
pub fn seeds(count: u64) -> Range<u64> {
    let asked =
        |name| env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")));
    match (asked("HEADWATER_STREAMS_SEED"), asked("HEADWATER_STREAMS_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, more) => 0..more.unwrap_or(count),
    }
}

/// Inputs for a case, from a few to some dozens.
///
/// Stream time moves by few milliseconds, now and then by many; one record in four is out of order, some of them later
/// than any grace. In the end each topic has a record long after all others, so that whatever waits for time to pass is
/// released.
pub fn random_inputs(case: &Case, seed: u64, options: Options) -> Vec<Input> {
    let mut rng = Rng::with_seed(seed ^ 0x9e37_79b9_7f4a_7c15);
    let length = rng.usize(INPUTS);
    let mut time = BEGIN_MS + rng.i64(0..10);
    let mut inputs: Vec<Input> = Vec::with_capacity(length + case.sources.len());
    for _ in 0..length {
        let source = &case.sources[rng.usize(..case.sources.len())];
        time += step(&mut rng);
        let at = time - lateness(&mut rng).min(options.lateness_ms_max);
        let at = if options.even_times { at - at % 2 } else { at };
        inputs.push(input(&mut rng, source, at, options));
    }
    for (number, source) in (1..).zip(&case.sources) {
        inputs.push(last(source, time + number * REST_MS));
    }
    inputs
}

/// Often nothing or one millisecond, so that times are equal, and ends of windows are met exactly.
fn step(rng: &mut Rng) -> i64 {
    match rng.u8(..12) {
        0..=2 => 0,
        3..=5 => 1,
        6..=10 => rng.i64(2..6),
        _ => rng.i64(6..40),
    }
}

/// None mostly; else about what a grace allows, or about what a join of streams looks back.
fn lateness(rng: &mut Rng) -> i64 {
    match rng.u8(..8) {
        0 => rng.i64(0..8),
        1 => rng.i64(8..45),
        _ => 0,
    }
}

fn input(rng: &mut Rng, source: &Source, time: i64, options: Options) -> Input {
    if source.values == "clock" {
        return Input::Clock { advance_wall_clock_ms: rng.u64(1..25) };
    }
    let without_key = rng.u8(..16) == 0 && source.null_keys && options.null_keys;
    let without_value = rng.u8(..if is_table(source) { 4 } else { 10 }) == 0 && options.null_values;
    let with_header = rng.u8(..8) == 0 && options.headers;
    Input::Record(InputRecord {
        topic: source.topic.clone(),
        key: (!without_key).then(|| one_of(rng, &KEYS).to_owned()),
        value: (!without_value).then(|| value(rng, source, time)),
        time,
        headers: with_header.then(|| ("h".to_owned(), rng.u8(..9).to_string())).into_iter().collect(),
    })
}

/// Where a record without a value is a delete.
fn is_table(source: &Source) -> bool {
    matches!(source.values.as_str(), "rows" | "references")
}

fn value(rng: &mut Rng, source: &Source, time: i64) -> Datum {
    match source.values.as_str() {
        "numbers" => Datum::Number(rng.i64(-5..100)),
        "times" => Datum::Number(time - rng.i64(-3..30)),
        "references" if rng.u8(..12) == 0 => Datum::Text(format!(":{}", word(rng))),
        "references" => Datum::Text(format!("{}:{}", one_of(rng, &KEYS), word(rng))),
        _ => Datum::Text(word(rng)),
    }
}

/// Up to three letters, seldom none.
fn word(rng: &mut Rng) -> String {
    let length = if rng.u8(..16) == 0 { 0 } else { rng.usize(1..4) };
    (0..length).map(|_| one_of(rng, &LETTERS)).collect()
}

fn one_of<'a>(rng: &mut Rng, all: &[&'a str]) -> &'a str {
    all[rng.usize(..all.len())]
}

fn last(source: &Source, time: i64) -> Input {
    if source.values == "clock" {
        return Input::Clock { advance_wall_clock_ms: 1_000 };
    }
    let value = match source.values.as_str() {
        "numbers" => Datum::Number(1),
        "times" => Datum::Number(time),
        _ => Datum::from("z"),
    };
    let (topic, key) = (source.topic.clone(), Some("z".to_owned()));
    Input::Record(InputRecord { topic, key, value: Some(value), time, headers: BTreeMap::new() })
}
