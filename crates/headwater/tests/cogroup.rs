//! Several streams in one state, and values that go on once, driven in a test.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::time::Duration;

use headwater::Once;
use headwater::core::clock::Timestamp;
use headwater::prelude::*;
use headwater::testing::Driver;
use proptest::prelude::*;

type Both = (u64, u64);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn several_streams_are_folded_into_one_state_each_in_its_own_way() {
    let mut app = App::new("shop");
    let clicks = app.stream::<String, String>("clicks").group_by_key();
    let orders = app.stream::<String, u64>("orders").group_by_key();
    let both = clicks
        .cogroup(|both: &mut Both, _| both.0 += 1)
        .cogroup(&orders, |both, order| both.1 += order.value);
    let all = app.view(both.fold(Store::named("all")));
    let sessions = both
        .window(Session::gap(ms(5)))
        .fold(Store::named("sessions"), |_, one: Both, other: Both| (one.0 + other.0, one.1 + other.1));
    let sessions = app.view(sessions);
    let windows = both.window(Tumbling::of(ms(10))).emit_on_close().fold(Store::named("windows"));
    let closed = app.view(windows.stored(Store::named("closed")));
    let mut driver = Driver::new(&app);
    let a = || "a".to_owned();
    driver.pipe("clicks", a(), "x".to_owned(), Timestamp(1));
    driver.pipe("orders", a(), 50_u64, Timestamp(9));
    driver.restart();
    driver.pipe("clicks", a(), "y".to_owned(), Timestamp(5));
    driver.pipe("orders", a(), 7_u64, Timestamp(20));
    assert_eq!(driver.view(&all).get(&a()), Some((2, 57)));
    let spans: Vec<_> =
        driver.view(&sessions).spans(&a()).into_iter().map(|((s, e), v)| (s.0, e.0, v)).collect();
    assert_eq!(spans, [(1, 9, (2, 50)), (20, 20, (0, 7))]);
    assert_eq!(driver.view(&closed).windows(&a()), [(Timestamp(0), (2, 50))]);
}

/// Pipes keys, values and times; what goes on of those that come once within a time, and how many were left out.
fn once(once: Once, input: &[(char, u64, i64)], restarts: &[usize]) -> (Vec<(char, u64, i64)>, u64) {
    let mut app = App::new("test");
    let values = app.stream::<String, u64>("in");
    app.emitter(values.deduplicate_by(Store::named("seen"), once, |value| *value.value).to("out"));
    let mut driver = Driver::new(&app);
    for (index, (key, value, time)) in input.iter().enumerate() {
        if restarts.contains(&index) {
            driver.restart();
        }
        driver.pipe("in", key.to_string(), *value, Timestamp(*time));
    }
    let out = driver.read::<String, u64>("out").into_iter();
    let out = out.map(|(key, value, time)| (key.chars().next().unwrap(), value, time.0)).collect();
    (out, driver.dropped("seen"))
}

#[test]
fn of_values_that_are_the_same_within_a_time_the_first_goes_on() {
    let input =
        [('a', 1, 10), ('a', 1, 15), ('b', 1, 15), ('a', 2, 15), ('a', 1, 21), ('a', 1, 11), ('a', 3, 3)];
    let out = vec![('a', 1, 10), ('b', 1, 15), ('a', 2, 15), ('a', 1, 21)];
    // 15 and 11 are near 10 and 21; 3 is so late that nobody knows.
    assert_eq!(once(Once::within(ms(10)), &input, &[]), (out.clone(), 3));
    assert_eq!(once(Once::within(ms(10)), &input, &[1, 2, 3, 4, 5, 6]), (out.clone(), 3));
    // Among so many, no time is near or late; 'a' and 1 are forgotten once two others came.
    let among = vec![('a', 1, 10), ('b', 1, 15), ('a', 2, 15), ('a', 1, 21), ('a', 3, 3)];
    assert_eq!(once(Once::among(2), &input, &[]), (among.clone(), 2));
    assert_eq!(once(Once::among(2), &input, &[1, 2, 3, 4, 5, 6]), (among, 2));
    assert_eq!(
        once(Once::among(10), &input, &[3]).0,
        [('a', 1, 10), ('b', 1, 15), ('a', 2, 15), ('a', 3, 3)]
    );
    let with_grace = [&out[..], &[('a', 3, 3)]].concat();
    assert_eq!(once(Once::within(ms(10)).grace(ms(8)), &input, &[1, 5]), (with_grace, 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_goes_on_once_equals_its_reference(
        input in prop::collection::vec((prop::char::range('a', 'b'), 0_u64..3, 0_i64..120), 0..40),
        restarts in prop::collection::vec(0_usize..40, 0..6),
        within in 0_i64..20,
        grace in 0_i64..40,
    ) {
        let (mut out, mut now) = (Vec::<(char, u64, i64)>::new(), i64::MIN);
        for &(key, value, time) in &input {
            now = now.max(time);
            let near = |seen: &&(char, u64, i64)| (seen.0, seen.1) == (key, value) && (seen.2 - time).abs() <= within;
            if time + within + grace >= now && out.iter().find(near).is_none() {
                out.push((key, value, time));
            }
        }
        let dropped = (input.len() - out.len()) as u64;
        let rule = Once::within(ms(within as u64)).grace(ms(grace as u64));
        prop_assert_eq!(once(rule, &input, &restarts), (out, dropped));
    }
}
