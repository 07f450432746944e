//! A table with a table that its rows name.

use std::collections::BTreeMap;

use headwater::core::clock::Timestamp;
use headwater::prelude::*;
use headwater::testing::Driver;
use proptest::prelude::*;

use crate::{Driven, Input, nulls, pair, s, table};

/// What a row names: what stands before its colon, if anything does.
fn named(value: &str) -> Option<String> {
    value.split(':').next().filter(|name| !name.is_empty()).map(s)
}

fn joined(app: &App, left: bool) -> Table<String, String> {
    let (mine, other) = (table(app, "left"), table(app, "right"));
    let store = Store::named("joined");
    if left {
        mine.left_join_on(store, &other, |_, value| named(value), |l, r| pair(Some(l), r))
    } else {
        mine.join_on(store, &other, |_, value| named(value), |l, r| pair(Some(l), Some(r)))
    }
}

/// Keys, values and times of what is told.
type Lines<'a> = &'a [(&'a str, &'a str, i64)];

/// Checks what each input makes, in an inner and in a left join; `null` for a row that is gone.
fn check(rows: &[(&'static str, &'static str, Option<&str>, i64, Lines<'_>, Lines<'_>)]) {
    for (left, restart) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut driven = Driven::new(|app| app.emitter(joined(app, left).to_stream().to(nulls("out"))));
        for (topic, key, value, time, inner, outer) in rows {
            let told = driven.all(&[(topic, key, value.map(s), *time)], &[restart]);
            let told: Vec<_> = told
                .iter()
                .map(|(key, value, time)| (key.as_str(), value.as_deref().unwrap_or("null"), *time))
                .collect();
            assert_eq!(told, if left { *outer } else { *inner }, "{topic} {key} {value:?}, left: {left}");
        }
    }
}

#[test]
fn rows_are_joined_with_those_that_they_name_as_the_documentation_of_kafka_streams_tells() {
    check(&[
        ("left", "k", Some("1"), 1, &[], &[("k", "1,-", 1)]),
        ("right", "1", Some("foo"), 2, &[("k", "1,foo", 2)], &[("k", "1,foo", 2)]),
        ("left", "k", Some("2"), 3, &[("k", "null", 3)], &[("k", "2,-", 3)]),
        ("left", "k", Some("3"), 4, &[("k", "null", 4)], &[("k", "3,-", 4)]),
        ("right", "3", Some("bar"), 5, &[("k", "3,bar", 5)], &[("k", "3,bar", 5)]),
        ("left", "k", None, 6, &[("k", "null", 6)], &[("k", "null", 6)]),
        ("left", "k", Some("1"), 7, &[("k", "1,foo", 7)], &[("k", "1,foo", 7)]),
        ("left", "q", Some("10"), 8, &[], &[("q", "10,-", 8)]),
        ("right", "10", Some("baz"), 9, &[("q", "10,baz", 9)], &[("q", "10,baz", 9)]),
    ]);
}

#[test]
fn a_result_is_as_late_as_the_later_of_both_where_the_left_row_comes_last() {
    check(&[
        ("right", "1", Some("foo"), 20, &[], &[]),
        ("left", "k", Some("1:a"), 3, &[("k", "1:a,foo", 20)], &[("k", "1:a,foo", 20)]),
        ("left", "l", Some("1:b"), 4, &[("l", "1:b,foo", 20)], &[("l", "1:b,foo", 20)]),
        // As Kafka tells it: an answer to a change of the right row is of that change's time.
        (
            "right",
            "1",
            Some("bar"),
            2,
            &[("k", "1:a,bar", 2), ("l", "1:b,bar", 2)],
            &[("k", "1:a,bar", 2), ("l", "1:b,bar", 2)],
        ),
        (
            "right",
            "1",
            None,
            30,
            &[("k", "null", 30), ("l", "null", 30)],
            &[("k", "1:a,-", 30), ("l", "1:b,-", 30)],
        ),
        ("left", "k", None, 31, &[("k", "null", 31)], &[("k", "null", 31)]),
        ("left", "k", None, 32, &[], &[]),
    ]);
}

#[test]
fn a_row_that_names_none_is_counted_in_an_inner_join() {
    check(&[
        ("left", "k", Some(":a"), 1, &[], &[("k", ":a,-", 1)]),
        ("right", "1", Some("foo"), 2, &[], &[]),
        ("left", "k", Some("1:a"), 3, &[("k", "1:a,foo", 3)], &[("k", "1:a,foo", 3)]),
        ("left", "k", Some(":b"), 4, &[("k", "null", 4)], &[("k", ":b,-", 4)]),
    ]);
    let mut driven = Driven::new(|app| app.emitter(joined(app, false).to_stream().to(nulls("out"))));
    driven.pipe(&("left", "k", Some(s(":a")), 1));
    assert_eq!(driven.driver.dropped("joined"), 1);
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let key = || prop::sample::select(vec!["1", "2", "3"]);
    let left = (Just("left"), key(), prop::option::weighted(0.8, "[123]?:[ab]"));
    let right = (Just("right"), key(), prop::option::weighted(0.7, "[xyz]"));
    prop::collection::vec((prop_oneof![left, right], 0_i64..50), 0..30).prop_map(|inputs| {
        inputs.into_iter().map(|((topic, key, value), time)| (topic, key, value, time)).collect()
    })
}

proptest! {
    #[test]
    fn the_join_is_that_of_the_rows_that_are_there(
        inputs in inputs(),
        restarts in prop::collection::vec(any::<bool>(), 30),
        left in any::<bool>(),
    ) {
        let mut app = App::new("test");
        let shown = joined(&app, left);
        let shown = app.view(shown);
        let mut driver = Driver::new(&app);
        let mut tables = [BTreeMap::new(), BTreeMap::new()];
        for ((topic, key, value, time), restart) in inputs.into_iter().zip(restarts) {
            if restart {
                driver.restart();
            }
            driver.pipe(nulls(topic), s(key), value.clone(), Timestamp(time));
            let rows = &mut tables[usize::from(topic == "right")];
            match value {
                Some(value) => drop(rows.insert(s(key), value)),
                None => drop(rows.remove(key)),
            }
            let row = |(key, value): (&String, &String)| {
                let other = named(value).and_then(|name| tables[1].get(&name));
                (left || other.is_some()).then(|| (key.clone(), pair(Some(value), other)))
            };
            let expected: Vec<_> = tables[0].iter().filter_map(row).collect();
            prop_assert_eq!(driver.view(&shown).all(), expected);
        }
    }
}
