//! Windows, driven in a test: what is counted where, what comes too late, and when it is told.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::collections::BTreeMap;
use std::time::Duration;

use headwater::core::clock::Timestamp;
use headwater::core::codec::{Json, Nullable, Text};
use headwater::prelude::*;
use headwater::testing::{Driver, at, day};
use headwater::{Grouped, Keyed, Windowed};
use proptest::prelude::*;

/// A key, a value and a time.
type Input = (char, u64, i64);
/// A key, a window, and what was told of it: at which time.
type Told = (char, i64, i64, Option<u64>, i64);
/// A key, a window, and its value.
type Kept = (char, i64, i64, u64);

/// What came of the windows of a test.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    kept: Vec<Kept>,
    told: Vec<Told>,
    late: u64,
}

fn s(text: &str) -> String {
    text.to_owned()
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Pipes the values to windows, which sum them up; what holds the state starts anew before the inputs of these indices.
fn driven(
    sum: impl Fn(Grouped<String, u64>) -> Table<Windowed<String>, u64>,
    input: &[Input],
    restarts: &[usize],
) -> Seen {
    let mut app = App::new("test");
    let table = sum(app.stream::<String, u64>("in").group_by_key());
    let out = || Topic::<Windowed<String>, Option<u64>>::with("out", Text, Nullable(Json));
    app.emitter(table.to_stream().to(out()));
    let view = app.view(table);
    let mut driver = Driver::new(&app);
    for (index, (key, value, time)) in input.iter().enumerate() {
        if restarts.contains(&index) {
            driver.restart();
        }
        driver.pipe("in", key.to_string(), *value, Timestamp(*time));
    }
    let letter = |key: String| key.chars().next().unwrap();
    let kept = driver.view(&view).all().into_iter();
    let kept = kept.map(|(w, value)| (letter(w.key), w.start.0, w.end.0, value)).collect();
    let told = driver.read(out()).into_iter();
    let told = told.map(|(w, value, time)| (letter(w.key), w.start.0, w.end.0, value, time.0)).collect();
    // The view and the emitter each have their own operator.
    let dropped = driver.dropped("sum");
    assert_eq!(dropped % 2, 0, "the view and the emitter dropped the same");
    Seen { kept, told, late: dropped / 2 }
}

fn add(sum: &mut u64, item: Keyed<'_, String, u64>) {
    *sum += item.value;
}

#[test]
fn a_late_visit_counts_on_its_own_day() {
    let mut app = App::new("shortener");
    let visits = app.stream::<String, String>("visits");
    let per_day = visits.group_by_key().window(Tumbling::days(1).grace(hours(1)));
    let daily = app.view(per_day.count(Store::named("visits-per-day")));
    let mut driver = Driver::new(&app);
    driver.pipe("visits", s("a"), s(""), at("2026-03-01T23:59:59Z"));
    driver.pipe("visits", s("a"), s(""), at("2026-03-02T00:00:01Z"));
    driver.restart();
    driver.pipe("visits", s("a"), s(""), at("2026-03-01T23:59:58Z"));
    driver.pipe("visits", s("b"), s(""), at("2026-03-02T01:00:00Z"));
    driver.restart();
    driver.pipe("visits", s("a"), s(""), at("2026-03-01T23:59:58Z"));
    assert_eq!(driver.view(&daily).windows(&s("a")), [(day("2026-03-01"), 2), (day("2026-03-02"), 1)]);
    assert_eq!(driver.dropped("visits-per-day"), 1);
}

#[test]
fn every_update_of_a_window_is_told_at_the_latest_of_its_times() {
    let table = |grouped: Grouped<String, u64>| {
        grouped.window(Tumbling::of(ms(10)).grace(ms(5))).fold(Store::named("sum"), add)
    };
    let input =
        [('a', 1, 8), ('a', 2, 3), ('b', 1, 14), ('a', 4, 9), ('b', 1, 15), ('a', 8, 9), ('a', 1, -3)];
    let told = vec![
        ('a', 0, 10, Some(1), 8),
        ('a', 0, 10, Some(3), 8),
        ('b', 10, 20, Some(1), 14),
        ('a', 0, 10, Some(7), 9),
        ('b', 10, 20, Some(2), 15),
    ];
    let kept = vec![('a', 0, 10, 7), ('b', 10, 20, 2)];
    assert_eq!(driven(table, &input, &[2, 4]), Seen { kept, told, late: 2 });
}

#[test]
fn a_time_lies_in_every_hopping_window_that_overlaps_it() {
    let table = |grouped: Grouped<String, u64>| {
        grouped.window(Hopping::of(ms(10), ms(4))).fold(Store::named("sum"), add)
    };
    let told = vec![
        ('a', 4, 14, Some(1), 12),
        ('a', 8, 18, Some(1), 12),
        ('a', 12, 22, Some(1), 12),
        ('a', 8, 18, Some(3), 17),
        ('a', 12, 22, Some(3), 17),
        ('a', 16, 26, Some(2), 17),
    ];
    let seen = driven(table, &[('a', 1, 12), ('a', 2, 17), ('a', 4, 5)], &[1]);
    assert_eq!(seen.told, told);
    assert_eq!(seen.late, 3, "windows from -4, 0 and 4 ended at 6, 10 and 14");
}

#[test]
fn windows_that_cannot_be_are_found_before_anything_runs() {
    let cases: [(&str, fn(Grouped<String, u64>) -> Table<Windowed<String>, u64>); 5] = [
        ("size of tumbling windows is 0ns", |g| g.window(Tumbling::days(0)).count(Store::named("w"))),
        ("size of hopping windows is 1ns", |g| {
            g.window(Hopping::of(Duration::from_nanos(1), ms(1))).count(Store::named("w"))
        }),
        ("advance of hopping windows is 0ns", |g| {
            g.window(Hopping::of(ms(5), ms(0))).count(Store::named("w"))
        }),
        ("5ms that advance by 6ms leave gaps", |g| {
            g.window(Hopping::of(ms(5), ms(6))).count(Store::named("w"))
        }),
        ("longer than time is counted", |g| {
            g.window(Tumbling::days(1).grace(days(u64::MAX))).count(Store::named("w"))
        }),
    ];
    for (mistake, count) in cases {
        let mut app = App::new("test");
        let table = count(app.stream::<String, u64>("in").group_by_key());
        app.emitter(table.updates().to(Topic::<Windowed<String>, u64>::from("out")));
        app.view(table);
        let error = app.check().unwrap_err().to_string();
        assert_eq!(error.matches(mistake).count(), 1, "{error}");
    }
}

#[test]
fn times_far_from_now_are_times_like_others() {
    let table =
        |grouped: Grouped<String, u64>| grouped.window(Tumbling::of(ms(10))).fold(Store::named("sum"), add);
    let year_2099 = at("2099-01-01T00:00:00Z").0;
    let input =
        [('a', 1, i64::MIN), ('a', 2, -1), ('a', 4, 0), ('a', 8, year_2099), ('a', 16, i64::MAX - 20)];
    let starts: Vec<_> =
        driven(table, &input, &[]).kept.into_iter().map(|(_, start, _, sum)| (start, sum)).collect();
    assert_eq!(starts, [(i64::MIN, 1), (-10, 2), (0, 4), (year_2099, 8), (i64::MAX - 27, 16)]);
}

#[test]
fn a_window_is_told_once_when_it_closes() {
    let table = |grouped: Grouped<String, u64>| {
        let windows = grouped.window(Hopping::of(ms(10), ms(5)).grace(ms(2)));
        windows.emit_on_close().fold(Store::named("sum"), add)
    };
    let input = [('b', 1, 21), ('a', 2, 22), ('b', 4, 31), ('a', 8, 26), ('c', 1, 32), ('c', 1, 60)];
    let told = vec![
        ('a', 15, 25, Some(2), 22),
        ('b', 15, 25, Some(1), 21),
        ('a', 20, 30, Some(10), 26),
        ('b', 20, 30, Some(1), 21),
        ('a', 25, 35, Some(8), 26),
        ('b', 25, 35, Some(4), 31),
        ('c', 25, 35, Some(1), 32),
        ('b', 30, 40, Some(4), 31),
        ('c', 30, 40, Some(1), 32),
    ];
    for restarts in [&[][..], &[1, 2, 3, 4, 5]] {
        let seen = driven(table, &input, restarts);
        assert_eq!(seen.told, told);
        assert_eq!(seen.kept.len(), 11, "the view shows those that are open, too");
    }
}

#[test]
fn windows_go_once_they_have_expired_where_that_is_declared() {
    let table = |grouped: Grouped<String, u64>| {
        grouped.window(Tumbling::of(ms(10)).grace(ms(1))).fold(Store::named("sum").retain(ms(20)), add)
    };
    let mut input: Vec<Input> = ('a'..='z').map(|key| (key, 1, 5)).collect();
    input.extend([('a', 1, 29), ('b', 1, 30), ('c', 1, 31)]);
    let kept = |count: usize| driven(table, &input[..count], &[3, 27, 28]).kept;
    assert_eq!(kept(27).len(), 27);
    assert_eq!(kept(28).len(), 28 - 18, "sixteen go with a record, and two for the window that it begins");
    assert_eq!(kept(29), [('a', 20, 30, 1), ('b', 30, 40, 1), ('c', 30, 40, 1)]);
}

/// What windows of a size, every `advance`, should come to: a fold that keeps everything.
fn reference(size: i64, advance: i64, grace: i64, input: &[Input]) -> Seen {
    let (mut rows, mut now) = (BTreeMap::new(), i64::MIN);
    let mut seen = Seen::default();
    for &(key, value, time) in input {
        now = now.max(time);
        let aligned = (time - size..=time).filter(|start| start.rem_euclid(advance) == 0);
        for start in aligned.filter(|start| start + size > time) {
            if start + size + grace <= now {
                seen.late += 1;
                continue;
            }
            let (sum, latest) = rows.entry((key, start)).or_insert((0, i64::MIN));
            *sum += value;
            *latest = time.max(*latest);
            seen.told.push((key, start, start + size, Some(*sum), *latest));
        }
    }
    seen.kept = rows.into_iter().map(|((key, start), (sum, _))| (key, start, start + size, sum)).collect();
    seen
}

/// Of what was told, the last of each window that has closed, in the order of their ends.
fn closed(seen: &Seen, grace: i64, now: i64) -> Vec<Told> {
    let last: BTreeMap<_, _> = seen.told.iter().map(|told| ((told.2, told.0), *told)).collect();
    last.into_values().filter(|told| told.2 + grace <= now).collect()
}

fn inputs() -> impl Strategy<Value = (Vec<Input>, Vec<usize>)> {
    let input = prop::collection::vec((prop::char::range('a', 'c'), 1_u64..100, -30_i64..90), 0..40);
    (input, prop::collection::vec(0_usize..40, 0..6))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn windows_of_a_fixed_size_equal_their_reference(
        (input, restarts) in inputs(),
        size in 1_i64..25,
        hops in 1_i64..5,
        grace in 0_i64..30,
    ) {
        let advance = (size / hops).max(1);
        let windows = Hopping::of(ms(size as u64), ms(advance as u64)).grace(ms(grace as u64));
        let expected = reference(size, advance, grace, &input);
        let on_update = driven(|g| g.window(windows).fold(Store::named("sum"), add), &input, &restarts);
        prop_assert_eq!(&on_update, &expected);
        let on_close =
            driven(|g| g.window(windows).emit_on_close().fold(Store::named("sum"), add), &input, &restarts);
        let now = input.iter().map(|(_, _, time)| *time).max().unwrap_or(i64::MIN);
        let in_order: Vec<_> = on_close.told.clone();
        let mut by_end = in_order.clone();
        by_end.sort_by_key(|told| (told.2, told.0));
        prop_assert_eq!(&in_order, &by_end);
        prop_assert_eq!(in_order, closed(&expected, grace, now));
        prop_assert_eq!((on_close.kept, on_close.late), (expected.kept, expected.late));
    }
}
