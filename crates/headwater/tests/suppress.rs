//! Tables whose updates are held back, driven in a test.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::collections::BTreeMap;
use std::time::Duration;

use headwater::Windowed;
use headwater::core::clock::Timestamp;
use headwater::core::codec::{Json, Nullable, Text};
use headwater::prelude::*;
use headwater::testing::Driver;
use proptest::prelude::*;

/// A key, a value (none deletes), and a time.
type Input = (char, Option<u64>, i64);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What is told of a table of these values that is held back so; restarted before the inputs of these indices.
fn held(hold: HoldBack, input: &[Input], restarts: &[usize]) -> Vec<Input> {
    let mut app = App::new("test");
    let table = app.table::<String, u64>("in").suppress(Store::named("held"), hold);
    let out = || Topic::<String, Option<u64>>::with("out", Text, Nullable(Json));
    app.emitter(table.to_stream().to(out()));
    let mut driver = Driver::new(&app);
    for (index, (key, value, time)) in input.iter().enumerate() {
        if restarts.contains(&index) {
            driver.restart();
        }
        driver.pipe(Topic::with("in", Text, Nullable(Json)), key.to_string(), *value, Timestamp(*time));
    }
    let told = driver.read(out()).into_iter();
    told.map(|(key, value, time)| (key.chars().next().unwrap(), value, time.0)).collect()
}

const INPUT: [Input; 7] = [
    ('b', Some(1), 10),
    ('a', Some(1), 10),
    ('b', Some(2), 12),
    ('c', Some(1), 5),
    ('b', Some(3), 19),
    ('d', Some(1), 20),
    ('d', None, 31),
];

#[test]
fn of_a_row_the_last_update_is_told_once_its_first_is_old_enough() {
    let told = [('c', Some(1), 5), ('a', Some(1), 10), ('b', Some(3), 19), ('d', None, 31)];
    for restarts in [&[][..], &[1, 2, 3, 4, 5, 6]] {
        assert_eq!(held(HoldBack::for_time(ms(10)), &INPUT, restarts), told);
    }
}

#[test]
fn rows_beyond_the_limit_are_told_early() {
    let told = [('c', Some(1), 5), ('a', Some(1), 10), ('b', Some(3), 19), ('d', None, 31)];
    for restarts in [&[][..], &[1, 2, 3, 4, 5, 6]] {
        assert_eq!(held(HoldBack::for_time(ms(10)).rows_max(2), &INPUT, restarts), told);
    }
    let told = [('b', Some(1), 10), ('a', Some(1), 10), ('b', Some(2), 12), ('c', Some(1), 5)];
    assert_eq!(held(HoldBack::for_time(ms(1_000)).rows_max(0), &INPUT[..4], &[]), told);
}

#[test]
#[should_panic(expected = "\"held\" holds 3 rows back of at most 2: raise the limit, or shorten the wait")]
fn a_shard_stops_beyond_the_limit_where_that_is_asked_for() {
    held(HoldBack::for_time(ms(10)).stop_beyond(2), &INPUT, &[3]);
}

#[test]
fn a_window_of_a_table_that_was_made_of_others_is_told_once_it_closes() {
    let told = |restarts: &[usize]| {
        let mut app = App::new("test");
        let windows =
            app.stream::<String, u64>("in").group_by_key().window(Tumbling::of(ms(10)).grace(ms(3)));
        let busy = windows.count(Store::named("count")).filter(|_, count| *count > 1);
        let last = busy.suppress_until_close(Store::named("last"));
        app.emitter(last.to_stream().to(Topic::<Windowed<String>, Option<u64>>::with(
            "out",
            Text,
            Nullable(Json),
        )));
        let closed = app.view(last.stored(Store::named("closed")));
        let mut driver = Driver::new(&app);
        for (index, (key, time)) in
            [("a", 1), ("b", 2), ("a", 11), ("a", 12), ("a", 3), ("a", 13), ("b", 25)].into_iter().enumerate()
        {
            if restarts.contains(&index) {
                driver.restart();
            }
            driver.pipe("in", key.to_owned(), 1, Timestamp(time));
        }
        let out = driver.read(Topic::<Windowed<String>, Option<u64>>::with("out", Text, Nullable(Json)));
        let out: Vec<_> = out.into_iter().map(|(w, count, time)| (w.key, w.start.0, count, time.0)).collect();
        (out, driver.view(&closed).windows(&"a".to_owned()))
    };
    let expected = (vec![("a".to_owned(), 0, Some(2), 3)], vec![(Timestamp(0), 2)]);
    assert_eq!(told(&[]), expected);
    assert_eq!(told(&[1, 2, 3, 4, 5, 6]), expected);
}

#[test]
fn windows_that_were_read_from_a_topic_close_nobody_knows_when() {
    let mut app = App::new("test");
    let read = app.table::<Windowed<String>, u64>("in").suppress_until_close(Store::named("last"));
    app.emitter(read.updates().to("out"));
    let error = app.check().unwrap_err().to_string();
    assert!(error.contains("\"last\" cannot tell when windows close that were read from a topic"), "{error}");
}

#[test]
fn two_pieces_of_state_have_two_names() {
    let mut app = App::new("test");
    let count = app.stream::<String, u64>("in").group_by_key().count(Store::named("count"));
    app.emitter(count.suppress(Store::named("count"), HoldBack::for_time(ms(1))).updates().to("out"));
    let error = app.check().unwrap_err().to_string();
    assert!(error.contains("\"count\" is the name of two pieces of state in \"out\""), "{error}");
}

/// What should be told: a list that is searched for what is due.
fn reference(wait: i64, rows_max: usize, input: &[Input]) -> Vec<Input> {
    let (mut held, mut now, mut told) =
        (BTreeMap::<(i64, char), (Option<u64>, i64)>::new(), i64::MIN, Vec::new());
    for &(key, value, time) in input {
        now = now.max(time);
        let place = held.keys().find(|(_, other)| *other == key).copied();
        held.insert(place.unwrap_or((time + wait, key)), (value, time));
        while let Some(((due, key), (value, time))) = held.first_key_value().map(|(k, v)| (*k, *v))
            && (due <= now || held.len() > rows_max)
        {
            held.remove(&(due, key));
            told.push((key, value, time));
        }
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_held_back_equals_its_reference(
        input in prop::collection::vec((prop::char::range('a', 'e'), prop::option::of(0_u64..100), 0_i64..120), 0..40),
        restarts in prop::collection::vec(0_usize..40, 0..6),
        wait in 0_i64..40,
        rows_max in 0_usize..6,
    ) {
        let hold = HoldBack::for_time(ms(wait as u64)).rows_max(rows_max as u64);
        prop_assert_eq!(held(hold, &input, &restarts), reference(wait, rows_max, &input));
    }
}
