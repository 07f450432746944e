//! A stream with a table that every shard holds.

use headwater::prelude::*;

use crate::{Driven, Input, nulls, pair, s, stream};

fn join(app: &mut App, left: bool) {
    let rows = app.global_table::<String, String>("all-rows", Topic::with("right", text(), text()));
    let initial = |word: &str| word.chars().next().map(String::from);
    let words = stream(app, "left");
    let joined = if left {
        words.left_join_global(&rows, move |word| initial(&word), |word, row| pair(Some(word.value), row))
    } else {
        words.join_global(&rows, move |word| initial(&word), |word, row| pair(Some(word.value), Some(row)))
    };
    app.emitter(joined.map_values(|value| Some(value.value.clone())).to(nulls("out")));
}

fn text() -> headwater::core::codec::Text {
    headwater::core::codec::Text
}

#[test]
fn a_value_is_joined_with_the_row_that_it_names_under_any_key() {
    let word = |word: &str, time| -> Input { ("left", "k", Some(s(word)), time) };
    let row = |key, value: Option<&str>, time| -> Input { ("right", key, value.map(s), time) };
    let inputs = [
        (word("ab", 1), [None, Some("ab,-")]),
        (row("a", Some("A"), 9), [None, None]),
        (word("ac", 2), [Some("ac,A"), Some("ac,A")]),
        (word("b", 3), [None, Some("b,-")]),
        (word("", 4), [None, Some(",-")]),
        (row("a", None, 10), [None, None]),
        (word("ad", 11), [None, Some("ad,-")]),
    ];
    for (left, restart) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut driven = Driven::new(|app| join(app, left));
        for (input, expected) in &inputs {
            let told = driven.all(std::slice::from_ref(input), &[restart]);
            let expected = expected[usize::from(left)].map(|value| (s("k"), Some(s(value)), input.3));
            assert_eq!(told, Vec::from_iter(expected), "{input:?}");
        }
        assert_eq!(driven.driver.dropped("all-rows"), u64::from(!left));
    }
}
