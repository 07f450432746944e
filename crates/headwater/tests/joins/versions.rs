//! Tables that keep versions, and streams that are joined with them.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater::core::clock::Timestamp;
use headwater::prelude::*;
use headwater::testing::Driver;
use proptest::prelude::*;

use crate::{Driven, Input, Told, nulls, pair, s, stream, table};

const HISTORY: i64 = 20;

fn versioned(app: &App, topic: &str) -> Table<String, String> {
    let store = Store::named(format!("{topic}-versions")).versioned(ms(HISTORY));
    app.table_in(store, Topic::with(topic, headwater::core::codec::Text, headwater::core::codec::Text))
}

fn ms(length: i64) -> Duration {
    Duration::from_millis(length.cast_unsigned())
}

fn join(app: &mut App, grace: Option<i64>) {
    let options = grace.map_or_else(Join::default, |grace| Join::grace(Store::named("waiting"), ms(grace)));
    let joined =
        stream(app, "left").left_join(&versioned(app, "right"), |l, r| pair(Some(l.value), r), options);
    app.emitter(joined.map_values(|value| Some(value.value.clone())).to(nulls("out")));
}

fn right(value: Option<&str>, time: i64) -> Input {
    ("right", "k", value.map(s), time)
}

fn left(value: &str, time: i64) -> Input {
    ("left", "k", Some(s(value)), time)
}

fn values(told: Told) -> Vec<(String, i64)> {
    told.into_iter().map(|(_, value, time)| (value.unwrap(), time)).collect()
}

#[test]
fn a_value_is_joined_with_the_row_as_of_its_time() {
    let rows = [right(Some("a"), 10), right(Some("c"), 30), right(Some("b"), 20), right(None, 25)];
    for restart in [false, true] {
        let mut driven = Driven::new(|app| join(app, None));
        driven.all(&rows, &[restart; 4]);
        for (time, row) in
            [(5, "-"), (10, "a"), (19, "a"), (20, "b"), (24, "b"), (25, "-"), (30, "c"), (99, "c")]
        {
            let told = values(driven.all(&[left("x", time)], &[restart]));
            assert_eq!(told, [(format!("x,{row}"), time)]);
        }
    }
}

#[test]
fn versions_older_than_the_history_are_gone_and_late_ones_are_counted() {
    let mut driven = Driven::new(|app| join(app, None));
    driven.all(&[right(Some("a"), 10), right(Some("b"), 20), right(Some("c"), 40)], &[]);
    assert_eq!(values(driven.all(&[left("x", 19), left("x", 20)], &[])), [(s("x,-"), 19), (s("x,b"), 20)]);
    driven.all(&[right(Some("late"), 19)], &[]);
    assert_eq!(driven.driver.dropped("right-versions"), 1);
    driven.all(&[("right", "other", Some(s("o")), 100)], &[]);
    // The last value of a key is kept however old it is.
    assert_eq!(values(driven.all(&[left("x", 41), left("x", 39)], &[])), [(s("x,c"), 41), (s("x,-"), 39)]);
}

#[test]
fn values_wait_for_the_versions_of_their_times() {
    for restart in [false, true] {
        let mut driven = Driven::new(|app| join(app, Some(5)));
        let inputs = [
            left("x", 10),
            left("w", 8),
            right(Some("a"), 9),
            left("y", 14),
            left("z", 15),
            // Too late to wait.
            left("v", 9),
            left("u", 60),
        ];
        let told: Vec<_> =
            inputs.iter().map(|input| values(driven.all(std::slice::from_ref(input), &[restart]))).collect();
        let line = |value: &str, time| (s(value), time);
        let expected = [
            vec![],
            vec![],
            vec![],
            vec![line("w,-", 8)],
            vec![line("x,a", 10)],
            vec![line("v,a", 9)],
            vec![line("y,a", 14), line("z,a", 15)],
        ];
        assert_eq!(told, expected);
    }
}

#[test]
fn waiting_for_a_table_without_versions_is_a_mistake() {
    let grace = |length| Join::grace(Store::named("waiting"), ms(length));
    let mistake = |rows: fn(&App) -> Table<String, String>, options: Join| {
        let mut app = App::new("test");
        let joined = stream(&app, "left").join(&rows(&app), |l, _| Some(l.value.clone()), options);
        app.emitter(joined.to(nulls("out")));
        app.check().unwrap_err().to_string()
    };
    let plain = mistake(|app| table(app, "right"), grace(5));
    assert!(plain.contains("keep it in a store with `.versioned(history)`"), "{plain}");
    let short = mistake(|app| versioned(app, "right").filter(|_, _| true), grace(21));
    assert!(short.contains("longer than the 20ms for which its table keeps versions"), "{short}");
    let mut app = App::new("test");
    let never = Store::named("never").versioned(Duration::ZERO);
    let _ = app.view(stream(&app, "left").to_table(never));
    let none = app.check().unwrap_err().to_string();
    assert!(none.contains("the history of the table \"never\""), "{none}");
}

proptest! {
    #[test]
    fn versions_are_those_of_a_plain_history(
        steps in prop::collection::vec((prop::option::weighted(0.8, "[a-z]"), -25_i64..12, any::<bool>()), 0..40),
        asked in prop::collection::vec(0_i64..60, 40),
    ) {
        let mut driven = Driven::new(|app| join(app, None));
        let mut history: BTreeMap<i64, Option<String>> = BTreeMap::new();
        let (mut now, mut seen) = (2_000, i64::MIN);
        for ((value, step, restart), back) in steps.into_iter().zip(asked) {
            now += step;
            seen = seen.max(now);
            driven.all(&[("right", "k", value.clone(), now)], &[restart]);
            if now >= seen - HISTORY {
                history.insert(now, value);
            }
            let time = seen + 5 - back;
            let row = history.range(..=time).next_back();
            let is_last = row.is_some_and(|(at, _)| history.range(at + 1..).next().is_none());
            let row = row.filter(|_| is_last || time >= seen - HISTORY).and_then(|(_, value)| value.as_ref());
            let told = values(driven.all(&[left("x", time)], &[restart]));
            prop_assert_eq!(told, [(pair(Some(&s("x")), row), time)]);
        }
    }

    #[test]
    fn the_last_version_is_the_row_that_a_view_shows(
        steps in prop::collection::vec((prop::option::weighted(0.8, "[a-z]"), -25_i64..12, any::<bool>()), 0..40),
    ) {
        let mut app = App::new("test");
        let shown = app.view(versioned(&app, "right"));
        let mut driver = Driver::new(&app);
        let (mut now, mut seen, mut last) = (2_000, i64::MIN, None);
        let mut last_at = i64::MIN;
        for (value, step, restart) in steps {
            now += step;
            seen = seen.max(now);
            if restart {
                driver.restart();
            }
            driver.pipe(nulls("right"), s("k"), value.clone(), Timestamp(now));
            if now >= last_at && now >= seen - HISTORY {
                (last, last_at) = (value, now);
            }
            prop_assert_eq!(driver.view(&shown).get(&s("k")), last.clone());
        }
    }
}
