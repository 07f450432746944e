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
    let input = [('a', 1, 8), ('a', 2, 3), ('b', 1, 14), ('a', 4, 9), ('b', 1, 15), ('a', 8, 9), ('a', 1, 2)];
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
    let input = [('a', 1, 0), ('a', 2, 9), ('a', 4, 10), ('a', 8, year_2099), ('a', 16, i64::MAX - 20)];
    let starts: Vec<_> =
        driven(table, &input, &[]).kept.into_iter().map(|(_, start, _, sum)| (start, sum)).collect();
    assert_eq!(starts, [(0, 3), (10, 4), (year_2099, 8), (i64::MAX - 27, 16)]);
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
    let input = prop::collection::vec((prop::char::range('a', 'c'), 1_u64..100, 0_i64..120), 0..40);
    (input, prop::collection::vec(0_usize..40, 0..6))
}

#[test]
fn values_that_follow_each_other_within_the_gap_are_one_session() {
    let table = |grouped: Grouped<String, u64>| {
        let sessions = grouped.window(Session::gap(ms(5)).grace(ms(10)));
        sessions.fold(Store::named("sum"), add, |_, one, other| one + other)
    };
    let input =
        [('a', 1, 10), ('a', 2, 20), ('a', 4, 15), ('a', 8, 18), ('a', 16, 28), ('a', 32, 28), ('b', 1, 44)];
    let told = vec![
        ('a', 10, 10, Some(1), 10),
        ('a', 20, 20, Some(2), 20),
        // Brings both together: each is told to be gone, the earlier first.
        ('a', 10, 10, None, 10),
        ('a', 20, 20, None, 20),
        ('a', 10, 20, Some(7), 20),
        // Lies within: it is told to be gone, too.
        ('a', 10, 20, None, 20),
        ('a', 10, 20, Some(15), 20),
        ('a', 28, 28, Some(16), 28),
        // At the very moment of a session of one moment.
        ('a', 28, 28, Some(48), 28),
        ('b', 44, 44, Some(1), 44),
    ];
    let kept = vec![('a', 10, 20, 15), ('a', 28, 28, 48), ('b', 44, 44, 1)];
    assert_eq!(driven(table, &input, &[1, 3, 5]), Seen { kept: kept.clone(), told: told.clone(), late: 0 });
    let mut late = input.to_vec();
    late.extend([('b', 2, 28), ('a', 64, 28), ('b', 1, 45), ('a', 64, 28)]);
    let seen = driven(table, &late, &[7, 8]);
    assert_eq!(seen.late, 3, "44 - 10 - 5 is later than 28");
    assert_eq!(seen.told, [&told[..], &[('b', 44, 44, None, 44), ('b', 44, 45, Some(2), 45)]].concat());
}

#[test]
fn a_session_is_told_once_when_no_value_can_prolong_it() {
    let table = |grouped: Grouped<String, u64>| {
        let sessions = grouped.window(Session::gap(ms(5)).grace(ms(2))).emit_on_close();
        sessions.fold(Store::named("sum").retain(ms(50)), add, |_, one, other| one + other)
    };
    let input =
        [('a', 1, 10), ('b', 1, 11), ('a', 2, 17), ('a', 4, 14), ('b', 2, 24), ('b', 4, 25), ('c', 1, 90)];
    let told = vec![('b', 11, 11, Some(1), 11), ('a', 10, 17, Some(7), 17), ('b', 24, 25, Some(6), 25)];
    for restarts in [&[][..], &[1, 2, 3, 4, 5, 6]] {
        let seen = driven(table, &input, restarts);
        assert_eq!(seen.told, told);
        assert_eq!(seen.kept, [('c', 90, 90, 1)]);
    }
}

#[test]
fn a_sliding_window_is_made_for_every_set_of_values_near_each_other() {
    let table = |grouped: Grouped<String, u64>| {
        grouped.window(Sliding::of(ms(10)).grace(ms(5))).fold(Store::named("sum"), add)
    };
    let input = [
        ('a', 1, 20),
        ('a', 2, 25),
        ('a', 4, 22),
        ('a', 8, 25),
        ('a', 16, 42),
        ('a', 32, 27),
        ('a', 64, 26),
        ('a', 64, 33),
    ];
    let told = vec![
        ('a', 10, 20, Some(1), 20),
        // The window after 20 has its first value, then that which ends at 25.
        ('a', 21, 31, Some(2), 25),
        ('a', 15, 25, Some(3), 25),
        // The latest first; then that which ends at 22, and that which begins after it.
        ('a', 21, 31, Some(6), 25),
        ('a', 15, 25, Some(7), 25),
        ('a', 12, 22, Some(5), 22),
        ('a', 23, 33, Some(2), 25),
        ('a', 23, 33, Some(10), 25),
        ('a', 21, 31, Some(14), 25),
        ('a', 15, 25, Some(15), 25),
        ('a', 32, 42, Some(16), 42),
        // Those that end before 37 are closed; 33 still lies in the last, and is followed by 42.
        ('a', 32, 42, Some(80), 42),
        ('a', 34, 44, Some(16), 42),
    ];
    let seen = driven(table, &input, &[1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(seen.told, told);
    assert_eq!(seen.late, 4 + 1 + 2, "windows that 27 and 33 fall into, and 26 as a whole");
}

/// What sessions should come to: a fold that keeps everything; and what is told of each at its close.
///
/// As in Kafka Streams, a value may still prolong a session of which that was told: what it becomes is told anew.
fn reference_sessions(gap: i64, grace: i64, input: &[Input]) -> (Seen, Vec<Told>) {
    let (mut rows, mut now) = (BTreeMap::<(char, i64, i64), u64>::new(), i64::MIN);
    let (mut seen, mut closed) = (Seen::default(), Vec::<Told>::new());
    for &(key, value, time) in input {
        now = now.max(time);
        let near = |row: &(char, i64, i64)| row.0 == key && row.1 <= time + gap && row.2 >= time - gap;
        let merged: Vec<_> =
            rows.iter().filter(|(row, _)| near(row)).map(|(row, sum)| (*row, *sum)).collect();
        let start = merged.iter().map(|(row, _)| row.1).min().unwrap_or(time).min(time);
        let end = merged.iter().map(|(row, _)| row.2).max().unwrap_or(time).max(time);
        if end < now - grace - gap {
            seen.late += 1;
        } else {
            let mut sum = value;
            for (row, of_row) in merged {
                sum += of_row;
                rows.remove(&row);
                if (start, end) != (time, time) {
                    seen.told.push((key, row.1, row.2, None, row.2));
                }
            }
            rows.insert((key, start, end), sum);
            seen.told.push((key, start, end, Some(sum), end));
        }
        let told = |row: &(char, i64, i64)| closed.iter().any(|told| (told.0, told.1, told.2) == *row);
        let closes = |row: &(char, i64, i64)| row.2 < now - grace - gap && !told(row);
        let mut fresh: Vec<_> = rows.iter().filter(|(row, _)| closes(row)).collect();
        fresh.sort_by_key(|((key, start, end), _)| (*end, *key, *start));
        let fresh: Vec<_> =
            fresh.into_iter().map(|(row, sum)| (row.0, row.1, row.2, Some(*sum), row.2)).collect();
        closed.extend(fresh);
    }
    seen.kept = rows.into_iter().map(|((key, start, end), sum)| (key, start, end, sum)).collect();
    (seen, closed)
}

/// What sliding windows come to that never close, by what they are: one for every distinct set of values.
fn reference_sliding(difference: i64, input: &[Input]) -> Vec<Kept> {
    let sum = |key: char, start: i64| -> u64 {
        let within = |(other, _, time): &&Input| *other == key && (start..=start + difference).contains(time);
        input.iter().filter(within).map(|(_, value, _)| value).sum()
    };
    let starts = input.iter().flat_map(|(key, _, time)| [(*key, time - difference), (*key, time + 1)]);
    let starts: std::collections::BTreeSet<_> = starts.collect();
    let row = |(key, start): (char, i64)| (key, start, start + difference, sum(key, start));
    starts.into_iter().map(row).filter(|(_, _, _, sum)| *sum > 0).collect()
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

    #[test]
    fn sessions_equal_their_reference((input, restarts) in inputs(), gap in 1_i64..15, grace in 0_i64..30) {
        let sessions = Session::gap(ms(gap as u64)).grace(ms(grace as u64));
        let merge = |_: &String, one: u64, other: u64| one + other;
        let (expected, closed) = reference_sessions(gap, grace, &input);
        let on_update = driven(|g| g.window(sessions).fold(Store::named("sum"), add, merge), &input, &restarts);
        prop_assert_eq!(&on_update, &expected);
        let on_close = |g: Grouped<String, u64>| g.window(sessions).emit_on_close().fold(Store::named("sum"), add, merge);
        let on_close = driven(on_close, &input, &restarts);
        prop_assert_eq!(on_close.told, closed);
        prop_assert_eq!((on_close.kept, on_close.late), (expected.kept, expected.late));
    }

    #[test]
    fn sliding_windows_equal_their_reference((input, restarts) in inputs(), difference in 0_i64..25) {
        let windows = Sliding::of(ms(difference as u64)).grace(ms(1_000));
        let seen = driven(|g| g.window(windows).fold(Store::named("sum"), add), &input, &restarts);
        prop_assert_eq!(seen.kept, reference_sliding(difference, &input));
        prop_assert_eq!(seen.late, 0);
    }
}
