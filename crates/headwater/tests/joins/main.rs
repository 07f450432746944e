//! Joins, driven in a test: the tables of Kafka Streams' documentation, and random inputs beside plain references.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod foreign;
mod global;
mod streams;
mod tables;
mod versions;

use headwater::core::clock::Timestamp;
use headwater::core::codec::{Nullable, Text};
use headwater::prelude::*;
use headwater::testing::Driver;

type Told = Vec<(String, Option<String>, i64)>;

/// One record of an input: its topic, key, value and time.
type Input = (&'static str, &'static str, Option<String>, i64);

fn s(text: impl Into<String>) -> String {
    text.into()
}

fn nulls(topic: &str) -> Topic<String, Option<String>> {
    Topic::with(topic, Text, Nullable(Text))
}

/// The values of a topic that are there, in their order.
fn stream(app: &App, topic: &str) -> Stream<String, String> {
    let topic: Topic<Option<String>, Option<String>> = Topic::with(topic, Nullable(Text), Nullable(Text));
    app.stream(topic).present("nulls")
}

fn table(app: &App, topic: &str) -> Table<String, String> {
    app.table(Topic::with(topic, Text, Text))
}

/// Two sides as text, of which one may be missing.
fn pair(left: Option<&String>, right: Option<&String>) -> String {
    let text = |side: Option<&String>| side.map_or("-", |side| side).to_owned();
    format!("{},{}", text(left), text(right))
}

/// A topology in a driver, fed from its topics by name and read at `out`.
struct Driven {
    driver: Driver,
}

impl Driven {
    fn new(define: impl Fn(&mut App)) -> Self {
        let mut app = App::new("test");
        define(&mut app);
        Self { driver: Driver::new(&app) }
    }

    /// What one record makes.
    fn pipe(&mut self, (topic, key, value, time): &Input) -> Told {
        self.driver.pipe(nulls(topic), s(*key), value.clone(), Timestamp(*time));
        let told = self.driver.read(nulls("out"));
        told.into_iter().map(|(key, value, time)| (key, value, time.0)).collect()
    }

    /// What many make, with a restart before each of those that `restarts` tells.
    fn all(&mut self, inputs: &[Input], restarts: &[bool]) -> Told {
        let one = |(input, restart): (&Input, &bool)| {
            if *restart {
                self.driver.restart();
            }
            self.pipe(input)
        };
        inputs.iter().zip(restarts.iter().chain(std::iter::repeat(&false))).flat_map(one).collect()
    }
}

/// The left and the right side of the join tables of Kafka Streams' documentation, a millisecond apart from 1 on.
const SIDES: [(&str, Option<&str>); 15] = [
    ("left", None),
    ("right", None),
    ("left", Some("A")),
    ("right", Some("a")),
    ("left", Some("B")),
    ("right", Some("b")),
    ("left", None),
    ("right", None),
    ("left", Some("C")),
    ("right", Some("c")),
    ("right", None),
    ("left", None),
    ("right", None),
    ("right", Some("d")),
    ("left", Some("D")),
];

/// Checks a column of the documentation's table: what each of its rows makes, `null` for a row that is gone.
fn check_column(define: impl Fn(&mut App), expected: [&[&str]; 15]) {
    for restarts in [[false; 15], [true; 15]] {
        let mut driven = Driven::new(&define);
        for (index, ((topic, value), expected)) in SIDES.iter().zip(expected).enumerate() {
            let input = (*topic, "k", value.map(s), index as i64 + 1);
            let told = driven.all(&[input], &restarts[..1]);
            let values: Vec<_> =
                told.iter().map(|(_, value, _)| value.as_deref().unwrap_or("null")).collect();
            assert_eq!(values, expected, "row {}", index + 1);
            assert!(told.iter().all(|(key, _, time)| key == "k" && *time == index as i64 + 1), "{told:?}");
        }
    }
}
