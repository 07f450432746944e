//! Tables grouped by another key, driven in a test.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::collections::BTreeMap;

use headwater::core::clock::Timestamp;
use headwater::core::codec::{Nullable, Text};
use headwater::prelude::*;
use headwater::testing::Driver;
use proptest::prelude::*;

fn s(text: &str) -> String {
    text.to_owned()
}

fn rows() -> Topic<String, Option<String>> {
    Topic::with("rows", Text, Nullable(Text))
}

/// Rows of a table, each a key, and a town and a number as its value.
fn grouped(app: &App) -> headwater::Regrouped<String, i64> {
    let table = app.table::<String, String>(Topic::with("rows", Text, Text));
    table.group_by("by-town", |_, value| {
        let (town, number) = value.split_at(1);
        (town.to_owned(), number.parse().unwrap())
    })
}

/// Every change that a table tells, as text.
fn told(define: impl Fn(&App) -> Table<String, String>, input: &[(&str, Option<&str>, i64)]) -> Vec<String> {
    let mut app = App::new("test");
    let table = define(&app);
    app.emitter(table.to_stream().to(Topic::with("out", Text, Nullable(Text))));
    let mut driver = Driver::new(&app);
    for (key, value, time) in input {
        driver.pipe(rows(), s(key), value.map(s), Timestamp(*time));
        driver.restart();
    }
    let line = |(key, value, time): (String, Option<String>, Timestamp)| {
        format!("{key} {} @{}", value.unwrap_or(s("null")), time.0)
    };
    driver
        .read(Topic::<String, Option<String>>::with("out", Text, Nullable(Text)))
        .into_iter()
        .map(line)
        .collect()
}

const MOVES: [(&str, Option<&str>, i64); 6] = [
    ("k", Some("a1"), 10),
    ("l", Some("a2"), 5),
    // It stays in its town: both values go in one record.
    ("k", Some("a4"), 12),
    // It moves: it is taken from one town before it is added to the other.
    ("k", Some("b4"), 20),
    ("l", None, 3),
    ("m", None, 30),
];

#[test]
fn a_row_that_moves_is_taken_from_one_group_and_added_to_the_other() {
    let sum = |app: &App| {
        grouped(app)
            .reduce(Store::named("sum"), |sum, n| sum + n.value, |sum, n| sum - n.value)
            .map_values(|_, sum| sum.to_string())
    };
    let expected = ["a 1 @10", "a 3 @10", "a 6 @12", "a 2 @20", "b 4 @20", "a 0 @20"];
    assert_eq!(told(sum, &MOVES), expected);
    let count =
        |app: &App| grouped(app).count(Store::named("count")).map_values(|_, count| count.to_string());
    let expected = ["a 1 @10", "a 2 @10", "a 2 @12", "a 1 @20", "b 1 @20", "a 0 @20"];
    assert_eq!(told(count, &MOVES), expected);
    let folded = |app: &App| {
        let add = |text: &mut String, n: headwater::Keyed<'_, String, i64>| *text += &format!("+{}", n.value);
        let subtract =
            |text: &mut String, n: headwater::Keyed<'_, String, i64>| *text += &format!("-{}", n.value);
        grouped(app).fold(Store::named("fold"), add, subtract)
    };
    let expected =
        ["a +1 @10", "a +1+2 @10", "a +1+2-1+4 @12", "a +1+2-1+4-4 @20", "b +4 @20", "a +1+2-1+4-4-2 @20"];
    assert_eq!(told(folded, &MOVES), expected);
    let there = |app: &App| {
        let add = |sum: Option<i64>, n: headwater::Keyed<'_, String, i64>| Some(sum.unwrap_or(0) + n.value);
        let subtract =
            |sum: i64, n: headwater::Keyed<'_, String, i64>| Some(sum - n.value).filter(|sum| *sum != 0);
        grouped(app).aggregate(Store::named("there"), add, subtract).map_values(|_, sum| sum.to_string())
    };
    let expected = ["a 1 @10", "a 3 @10", "a 6 @12", "a 2 @20", "b 4 @20", "a null @20"];
    assert_eq!(told(there, &MOVES), expected);
}

proptest! {
    #[test]
    fn a_sum_of_groups_is_that_of_the_rows_that_are_there(
        changes in prop::collection::vec(("[klm]", prop::option::of(("[abc]", 0_i64..9)), 0_i64..50), 0..40),
        restarts in prop::collection::vec(any::<bool>(), 40),
    ) {
        let mut app = App::new("test");
        let sum = grouped(&app).reduce(Store::named("sum"), |sum, n| sum + n.value, |sum, n| sum - n.value);
        let shown = app.view(sum);
        let mut driver = Driver::new(&app);
        let mut plain = BTreeMap::new();
        let mut expected: BTreeMap<String, i64> = BTreeMap::new();
        for ((key, value, time), restart) in changes.into_iter().zip(restarts) {
            if restart {
                driver.restart();
            }
            let text = value.as_ref().map(|(town, number)| format!("{town}{number}"));
            driver.pipe(rows(), key.clone(), text, Timestamp(time));
            plain.insert(key, value);
            // A town that had rows keeps its sum when the last of them goes.
            expected.values_mut().for_each(|sum| *sum = 0);
            for (town, number) in plain.values().flatten() {
                *expected.entry(town.clone()).or_default() += number;
            }
            prop_assert_eq!(driver.view(&shown).all(), expected.clone().into_iter().collect::<Vec<_>>());
        }
    }
}
