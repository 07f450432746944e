//! A stream with a table, and a table with a table.

use std::collections::BTreeMap;

use headwater::prelude::*;
use proptest::prelude::*;

use crate::{Driven, Input, Told, check_column, nulls, pair, s, stream, table};

const NONE: &[&str] = &[];

fn optional(text: &str) -> Option<String> {
    Some(s(text))
}

#[test]
fn a_stream_is_joined_with_the_rows_of_a_table_as_the_documentation_of_kafka_streams_tells() {
    let inner = |app: &mut App| {
        let joined = stream(app, "left").join(
            &table(app, "right"),
            |l, r| pair(Some(l.value), Some(r)),
            Join::default(),
        );
        app.emitter(joined.map_values(|value| optional(&value)).to(nulls("out")));
    };
    let left = |app: &mut App| {
        let joined = stream(app, "left").left_join(
            &table(app, "right"),
            |l, r| pair(Some(l.value), r),
            Join::default(),
        );
        app.emitter(joined.map_values(|value| optional(&value)).to(nulls("out")));
    };
    let n = NONE;
    check_column(inner, [n, n, n, n, &["B,a"], n, n, n, n, n, n, n, n, n, &["D,d"]]);
    check_column(left, [n, n, &["A,-"], n, &["B,a"], n, n, n, &["C,-"], n, n, n, n, n, &["D,d"]]);
}

#[test]
fn tables_are_joined_as_the_documentation_of_kafka_streams_tells() {
    let (n, null) = (NONE, &["null"]);
    check_column(
        |app| told(app, |left, right| left.join(right, |l, r| pair(Some(l), Some(r)))),
        [n, n, n, &["A,a"], &["B,a"], &["B,b"], null, n, n, &["C,c"], null, n, n, n, &["D,d"]],
    );
    check_column(
        |app| told(app, |left, right| left.left_join(right, |l, r| pair(Some(l), r))),
        [
            n,
            n,
            &["A,-"],
            &["A,a"],
            &["B,a"],
            &["B,b"],
            null,
            n,
            &["C,-"],
            &["C,c"],
            &["C,-"],
            null,
            n,
            n,
            &["D,d"],
        ],
    );
    check_column(
        |app| told(app, |left, right| left.outer_join(right, pair)),
        [
            n,
            n,
            &["A,-"],
            &["A,a"],
            &["B,a"],
            &["B,b"],
            &["-,b"],
            null,
            &["C,-"],
            &["C,c"],
            &["C,-"],
            null,
            n,
            &["-,d"],
            &["D,d"],
        ],
    );
}

fn told(
    app: &mut App,
    join: impl Fn(&Table<String, String>, &Table<String, String>) -> Table<String, String>,
) {
    let joined = join(&table(app, "left"), &table(app, "right"));
    app.emitter(joined.to_stream().to(nulls("out")));
}

#[test]
fn a_join_of_tables_that_are_made_of_others_asks_for_their_rows() {
    let define = |app: &mut App| {
        let left = table(app, "left").filter(|_, value| value.len() > 1);
        let right =
            stream(app, "right").group_by_key().reduce(Store::named("sum"), |sum, next| sum + next.value);
        let joined = left.join(&right, |l, r| pair(Some(l), Some(r)));
        // A join of a join: neither is kept.
        let twice = joined.left_join(&table(app, "third"), |l, r| pair(Some(l), r));
        app.emitter(twice.to_stream().to(nulls("out")));
    };
    let mut driven = Driven::new(define);
    let input = |topic: &'static str, value: &str, time: i64| -> Input { (topic, "k", Some(s(value)), time) };
    let one = |value: &str, time: i64| -> Told { vec![(s("k"), Some(s(value)), time)] };
    assert_eq!(driven.pipe(&input("left", "x", 1)), []);
    assert_eq!(driven.pipe(&input("right", "a", 20)), []);
    assert_eq!(driven.pipe(&input("left", "xx", 3)), one("xx,a,-", 20));
    assert_eq!(driven.pipe(&input("right", "b", 10)), one("xx,ab,-", 20));
    assert_eq!(driven.pipe(&input("third", "t", 30)), one("xx,ab,t", 30));
    assert_eq!(driven.pipe(&input("left", "x", 4)), vec![(s("k"), None, 30)]);
    assert_eq!(driven.pipe(&input("third", "u", 31)), []);
}

#[test]
fn a_join_that_is_stored_is_a_view() {
    let mut app = App::new("test");
    let joined = table(&app, "left").outer_join(&table(&app, "right"), pair);
    let shown = app.view(joined.stored(Store::named("joined")));
    let mut driver = headwater::testing::Driver::new(&app);
    let at = headwater::core::clock::Timestamp;
    driver.pipe(nulls("left"), s("a"), Some(s("A")), at(1));
    driver.pipe(nulls("right"), s("b"), Some(s("b")), at(2));
    driver.pipe(nulls("right"), s("a"), Some(s("a")), at(3));
    driver.pipe(nulls("right"), s("b"), None, at(4));
    assert_eq!(driver.view(&shown).all(), [(s("a"), s("A,a"))]);
}

/// A table as a plain map, with the times of its rows.
type Plain = BTreeMap<&'static str, (String, i64)>;

/// What an outer join tells of one change, or a lesser one, as its definition says: the other side's row as it is now.
fn reference(inputs: &[Input], left_alone: bool, right_alone: bool) -> Told {
    let (mut left, mut right) = (Plain::new(), Plain::new());
    let mut told = Told::new();
    for (topic, key, value, time) in inputs {
        let is_left = *topic == "left";
        let (mine, other) = if is_left { (&mut left, &right) } else { (&mut right, &left) };
        let old = mine.remove(key);
        if let Some(value) = value {
            mine.insert(*key, (value.clone(), *time));
        }
        let other = other.get(key);
        let (alone, other_alone) =
            if is_left { (left_alone, right_alone) } else { (right_alone, left_alone) };
        let quiet = if alone { value.is_none() && old.is_none() } else { true };
        if other.is_none() && quiet {
            continue;
        }
        let is_row = value.is_some() && (other.is_some() || alone) || other.is_some() && other_alone;
        let (mine, others) = (value.as_ref(), other.map(|(value, _)| value));
        let row = if is_left { pair(mine, others) } else { pair(others, mine) };
        told.push((s(*key), is_row.then_some(row), other.map_or(*time, |(_, at)| *at.max(time))));
    }
    told
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let topic = prop::sample::select(vec!["left", "right"]);
    let key = prop::sample::select(vec!["a", "b"]);
    let value = prop::option::weighted(0.7, "[a-z]{1,2}");
    prop::collection::vec((topic, key, value, 0_i64..50), 0..40)
}

proptest! {
    #[test]
    fn tables_are_joined_as_a_plain_reference_does(
        inputs in inputs(),
        restarts in prop::collection::vec(any::<bool>(), 40),
        (left_alone, right_alone) in prop::sample::select(vec![(false, false), (true, false), (true, true)]),
    ) {
        let define = |app: &mut App| told(app, |left, right| match (left_alone, right_alone) {
            (false, _) => left.join(right, |l, r| pair(Some(l), Some(r))),
            (true, false) => left.left_join(right, |l, r| pair(Some(l), r)),
            (true, true) => left.outer_join(right, pair),
        });
        prop_assert_eq!(Driven::new(define).all(&inputs, &restarts), reference(&inputs, left_alone, right_alone));
    }

    #[test]
    fn a_stream_sees_the_row_that_is_there_when_its_value_comes(
        inputs in inputs(),
        restarts in prop::collection::vec(any::<bool>(), 40),
    ) {
        let define = |app: &mut App| {
            let rows = table(app, "right");
            let joined = stream(app, "left").left_join(&rows, |l, r| pair(Some(l.value), r), Join::default());
            app.emitter(joined.map_values(|value| optional(&value)).to(nulls("out")));
        };
        let mut rows = BTreeMap::new();
        let mut expected = Told::new();
        for (topic, key, value, time) in &inputs {
            match (*topic, value) {
                ("left", None) => {}
                ("left", Some(value)) => expected.push((s(*key), Some(pair(Some(value), rows.get(key))), *time)),
                (_, None) => drop(rows.remove(key)),
                (_, Some(value)) => drop(rows.insert(*key, value.clone())),
            }
        }
        prop_assert_eq!(Driven::new(define).all(&inputs, &restarts), expected);
    }
}
