//! A stream with a stream.

use headwater::prelude::*;
use proptest::prelude::*;

use crate::{Driven, Input, Told, check_column, nulls, pair, s, stream};

/// Whether a value of the left side, and one of the right, makes a result alone.
type Alone = (bool, bool);

const INNER: Alone = (false, false);
const LEFT: Alone = (true, false);
const OUTER: Alone = (true, true);

fn join(app: &mut App, alone: Alone, window: JoinWindow) {
    let (left, right) = (stream(app, "left"), stream(app, "right"));
    let joined = match alone {
        OUTER => left.outer_join(&right, pair, window),
        LEFT => left.left_join(&right, |l, r| pair(Some(l.value), r), window),
        _ => left.join(&right, |l, r| pair(Some(l.value), Some(r)), window),
    };
    app.emitter(joined.map_values(|value| Some(value.value.clone())).to(nulls("out")));
}

fn window(before: u64, after: u64, grace: u64) -> JoinWindow {
    let ms = std::time::Duration::from_millis;
    JoinWindow::within(Store::named("joined"), ms(after)).before(ms(before)).grace(ms(grace))
}

#[test]
fn streams_are_joined_as_the_documentation_of_kafka_streams_tells() {
    let n: &[&str] = &[];
    let all: [&[&str]; 15] = [
        n,
        n,
        n,
        &["A,a"],
        &["B,a"],
        &["A,b", "B,b"],
        n,
        n,
        &["C,a", "C,b"],
        &["A,c", "B,c", "C,c"],
        n,
        n,
        n,
        &["A,d", "B,d", "C,d"],
        &["D,a", "D,b", "D,c", "D,d"],
    ];
    for alone in [INNER, LEFT, OUTER] {
        check_column(|app| join(app, alone, window(15, 15, 0)), all);
    }
}

/// What each of some inputs makes: values and times.
fn check(alone: Alone, window: JoinWindow, rows: &[(&'static str, &str, i64, &[(&str, i64)])]) {
    for restart in [false, true] {
        let mut driven = Driven::new(|app| join(app, alone, window.clone()));
        for (topic, value, time, expected) in rows {
            let told = driven.all(&[(*topic, "k", Some(s(*value)), *time)], &[restart]);
            let told: Vec<_> =
                told.iter().map(|(_, value, time)| (value.as_deref().unwrap(), *time)).collect();
            assert_eq!(told, *expected, "{topic} {value} at {time}");
        }
    }
}

#[test]
fn a_value_comes_alone_once_its_window_and_the_grace_have_passed() {
    check(
        OUTER,
        window(10, 10, 5),
        &[
            ("left", "A", 10, &[]),
            ("right", "a", 12, &[("A,a", 12)]),
            ("right", "b", 21, &[]),
            ("left", "B", 36, &[]),
            ("left", "C", 37, &[("-,b", 21)]),
            // Late, but what it belongs to is still there.
            ("right", "c", 26, &[("B,c", 36)]),
            ("left", "D", 20, &[("D,a", 20), ("D,b", 21), ("D,c", 26)]),
            ("right", "d", 90, &[("C,-", 37)]),
        ],
    );
}

#[test]
fn a_value_too_late_to_be_kept_is_counted_and_joined_with_what_is_there() {
    let mut driven = Driven::new(|app| join(app, LEFT, window(10, 10, 0)));
    let left = |value: &str, time| -> Input { ("left", "k", Some(s(value)), time) };
    assert_eq!(driven.all(&[left("A", 100), left("B", 80)], &[]), vec![(s("k"), Some(s("B,-")), 80)]);
    assert_eq!(driven.driver.dropped("joined"), 1);
    assert_eq!(driven.driver.dropped("nulls"), 0);
}

#[test]
fn a_window_that_is_longer_than_time_is_a_mistake() {
    let mut app = App::new("test");
    let window = JoinWindow::within(Store::named("joined"), std::time::Duration::MAX);
    join(&mut app, INNER, window);
    let error = app.check().unwrap_err().to_string();
    assert!(error.contains("the time before of the join \"joined\""), "{error}");
}

/// A value that was taken in.
#[derive(Clone)]
struct Seen {
    is_left: bool,
    key: &'static str,
    time: i64,
    value: String,
    waits: bool,
}

/// The join by its definition, with plain lists.
fn reference(inputs: &[Input], alone: Alone, (before, after, grace): (i64, i64, i64)) -> Told {
    let (mut seen, mut told, mut now) = (Vec::<Seen>::new(), Told::new(), i64::MIN);
    let mut sides = [i64::MIN; 2];
    let ahead = |is_left: bool| if is_left { after } else { before };
    let both = |is_left: bool, mine: &String, other: Option<&String>| {
        if is_left { pair(Some(mine), other) } else { pair(other, Some(mine)) }
    };
    for (topic, key, value, time) in inputs {
        let (Some(value), time, is_left) = (value, *time, *topic == "left") else { continue };
        now = now.max(time);
        let side = usize::from(is_left);
        sides[side] = sides[side].max(time);
        if time == now {
            let closed = |one: &Seen| one.waits && one.time + ahead(one.is_left) + grace < now;
            let mut alone: Vec<_> = seen.iter_mut().filter(|one| closed(one)).collect();
            alone.sort_by_key(|one| (one.time, one.is_left, one.key));
            for one in alone {
                one.waits = false;
                told.push((s(one.key), Some(both(one.is_left, &one.value, None)), one.time));
            }
        }
        let is_there =
            |one: &Seen| one.time > sides[usize::from(one.is_left)].saturating_sub(before + after + grace);
        let range = time - ahead(!is_left)..=time + ahead(is_left);
        let matches = |one: &&mut Seen| {
            one.is_left != is_left && one.key == *key && range.contains(&one.time) && is_there(one)
        };
        let mut matches: Vec<_> = seen.iter_mut().filter(matches).collect();
        matches.sort_by_key(|one| one.time);
        for one in &mut matches {
            one.waits = false;
            told.push((s(*key), Some(both(is_left, value, Some(&one.value))), time.max(one.time)));
        }
        let is_alone = matches.is_empty() && if is_left { alone.0 } else { alone.1 };
        let waits = is_alone && time + ahead(is_left) >= now;
        if is_alone && !waits {
            told.push((s(*key), Some(both(is_left, value, None)), time));
        }
        seen.push(Seen { is_left, key, time, value: value.clone(), waits });
    }
    told
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let topic = prop::sample::select(vec!["left", "right"]);
    let key = prop::sample::select(vec!["a", "b"]);
    let value = prop::option::weighted(0.9, "[a-z]{1,2}");
    let step = prop_oneof![3 => -12_i64..6, 5 => 0_i64..4, 1 => 0_i64..40];
    prop::collection::vec((topic, key, value, step), 0..50).prop_map(|steps| {
        let mut now = 1_000;
        let at = |(topic, key, value, step): (_, _, _, i64)| {
            now += step;
            (topic, key, value, now)
        };
        steps.into_iter().map(at).collect()
    })
}

proptest! {
    #[test]
    fn streams_are_joined_as_a_plain_reference_does(
        inputs in inputs(),
        restarts in prop::collection::vec(any::<bool>(), 50),
        alone in prop::sample::select(vec![INNER, LEFT, OUTER]),
        (before, after, grace) in (0_i64..8, 0_i64..8, 0_i64..6),
    ) {
        let window = window(before.cast_unsigned(), after.cast_unsigned(), grace.cast_unsigned());
        let told = Driven::new(|app| join(app, alone, window.clone())).all(&inputs, &restarts);
        prop_assert_eq!(told, reference(&inputs, alone, (before, after, grace)));
    }
}
