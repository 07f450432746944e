//! Operators of topologies, driven in a test: streams, groups and tables.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::time::Duration;

use headwater::core::clock::Timestamp;
use headwater::core::codec::{Nullable, Text};
use headwater::prelude::*;
use headwater::testing::Driver;
use headwater::{Keyed, Processing, Processor, Timer, Timers};

type Words = Vec<(String, String, Timestamp)>;

fn s(text: &str) -> String {
    text.to_owned()
}

/// What comes out of `out` when these words are piped to `in`, each a millisecond after the one before.
fn piped(define: impl Fn(&mut App, Stream<String, String>), input: &[(&str, &str)]) -> Words {
    let mut app = App::new("test");
    let words = app.stream("in");
    define(&mut app, words);
    let mut driver = Driver::new(&app);
    for ((key, value), time) in input.iter().zip(0..) {
        driver.pipe("in", s(key), s(value), Timestamp(time));
    }
    driver.read("out")
}

fn words(expected: &[(&str, &str, i64)]) -> Words {
    expected.iter().map(|(key, value, time)| (s(key), s(value), Timestamp(*time))).collect()
}

const INPUT: [(&str, &str); 3] = [("a", "x"), ("b", "yy"), ("a", "zzz")];

#[test]
fn operators_without_state_change_each_record_as_it_comes() {
    let filtered = piped(|app, words| app.emitter(words.filter(|w| w.len() > 1).to("out")), &INPUT);
    assert_eq!(filtered, words(&[("b", "yy", 1), ("a", "zzz", 2)]));
    let twice = |app: &mut App, words: Stream<String, String>| {
        app.emitter(words.flat_map_values(|w| vec![w.value.clone(), w.value.to_uppercase()]).to("out"));
    };
    assert_eq!(piped(twice, &INPUT[..1]), words(&[("a", "x", 0), ("a", "X", 0)]));
    let turned = |app: &mut App, words: Stream<String, String>| {
        app.emitter(words.map(|w| (w.value.clone(), w.key.clone())).to("out"));
    };
    assert_eq!(piped(turned, &INPUT[..2]), words(&[("x", "a", 0), ("yy", "b", 1)]));
    let rekeyed = |app: &mut App, words: Stream<String, String>| {
        app.emitter(words.select_key(|w| w.len().to_string()).repartition("by-length").to("out"));
    };
    assert_eq!(piped(rekeyed, &INPUT[..2]), words(&[("1", "x", 0), ("2", "yy", 1)]));
}

#[test]
fn a_branch_takes_what_is_of_its_class_and_a_merge_brings_all_together() {
    let there_and_back = |app: &mut App, words: Stream<String, String>| {
        let [short, long] = words.branch(|w| w.len() - 1);
        app.emitter(long.map_values(|w| w.to_uppercase()).merge(&short).to("out"));
    };
    assert_eq!(piped(there_and_back, &INPUT), words(&[("a", "x", 0), ("b", "YY", 1)]));
}

#[test]
fn a_record_goes_to_the_topic_that_is_chosen() {
    let mut app = App::new("test");
    let input = app.stream::<String, String>("in");
    app.emitter(input.to_chosen(["short", "long"], |w| usize::from(w.len() > 1)).named("by-length"));
    let mut driver = Driver::new(&app);
    for (key, value) in INPUT {
        driver.pipe("in", s(key), s(value), Timestamp(7));
    }
    assert_eq!(driver.read::<String, String>("short"), words(&[("a", "x", 7)]));
    assert_eq!(driver.read::<String, String>("long"), words(&[("b", "yy", 7), ("a", "zzz", 7)]));
}

#[test]
fn updates_of_an_aggregate_are_told_one_by_one_at_the_latest_of_its_times() {
    let mut app = App::new("test");
    let numbers = app.stream::<String, i64>("in");
    let sum = numbers.group_by_key().reduce(Store::named("sum"), |sum, n| sum + n.value);
    app.emitter(sum.updates().to("out"));
    let shown = app.view(sum);
    let mut driver = Driver::new(&app);
    for (value, time) in [(1, 10), (2, 5), (4, 20)] {
        driver.pipe("in", s("a"), value, Timestamp(time));
    }
    let expected = [(1, 10), (3, 10), (7, 20)].map(|(sum, time)| (s("a"), sum, Timestamp(time)));
    assert_eq!(driver.read::<String, i64>("out"), expected);
    assert_eq!(driver.view(&shown).all(), [(s("a"), 7)]);
}

#[test]
fn an_aggregate_without_a_state_is_no_row() {
    let mut app = App::new("test");
    let numbers = app.stream::<String, i64>("in");
    let positive = |sum: Option<i64>, n: i64| Some(sum.unwrap_or(0) + n).filter(|sum| *sum != 0);
    let balance =
        numbers.group_by_key().aggregate(Store::named("balance"), move |s, n| positive(s, *n.value));
    let shown = app.view(balance);
    let mut driver = Driver::new(&app);
    for value in [5, -5, 3] {
        driver.pipe("in", s("a"), value, Timestamp(0));
        driver.restart();
    }
    driver.pipe("in", s("b"), 1, Timestamp(0));
    driver.pipe("in", s("b"), -1, Timestamp(0));
    assert_eq!(driver.view(&shown).all(), [(s("a"), 3)]);
}

#[test]
fn a_table_follows_its_topic_and_tells_only_rows_that_pass() {
    let mut app = App::new("test");
    let names = app.table::<String, String>("names");
    let long = names.filter(|_, name| name.len() > 2).map_values(|key, name| format!("{key}:{name}"));
    app.emitter(long.to_stream().to(Topic::with("out", Text, Nullable(Text))));
    let shown = app.view(names);
    let kept = app.view(long.stored(Store::named("long")));
    let mut driver = Driver::new(&app);
    driver.pipe("names", s("1"), s("Al"), Timestamp(0));
    driver.pipe("names", s("1"), s("Ada"), Timestamp(1));
    driver.pipe("names", s("2"), s("Eve"), Timestamp(2));
    assert_eq!(driver.view(&kept).all(), [(s("1"), s("1:Ada")), (s("2"), s("2:Eve"))]);
    driver.pipe("names", s("1"), s("Al"), Timestamp(3));
    driver.delete("names", s("2"), Timestamp(4));
    assert_eq!(driver.view(&shown).all(), [(s("1"), s("Al"))]);
    assert_eq!(driver.view(&kept).all(), []);
    let told = driver.read(Topic::<String, Option<String>>::with("out", Text, Nullable(Text)));
    let told: Vec<_> = told.into_iter().map(|(key, value, _)| (key, value)).collect();
    let some = |text: &str| Some(s(text));
    assert_eq!(told, [(s("1"), some("1:Ada")), (s("2"), some("2:Eve")), (s("1"), None), (s("2"), None)]);
}

#[test]
fn what_is_null_is_gone_on_without_where_that_is_declared() {
    let mut app = App::new("test");
    let topic = || Topic::<Option<String>, Option<String>>::with("in", Nullable(Text), Nullable(Text));
    let count = app.stream(topic()).present("in").group_by_key().count(Store::named("count"));
    let shown = app.view(count);
    let mut driver = Driver::new(&app);
    for (key, value) in [(Some("a"), Some("x")), (None, Some("x")), (Some("a"), None), (None, None)] {
        driver.pipe(topic(), key.map(s), value.map(s), Timestamp(0));
    }
    assert_eq!(driver.view(&shown).all(), [(s("a"), 1)]);
    assert_eq!(driver.dropped("in"), 3);
}

#[test]
fn every_operator_that_has_a_name_counts_what_comes_to_it() {
    let mut app = App::new("test");
    let maybe = || Topic::<Option<String>, Option<String>>::with("in", Nullable(Text), Nullable(Text));
    let words = app.stream(maybe()).present("whole");
    let window = JoinWindow::within(Store::named("pairs"), Duration::from_secs(1));
    let pairs = words.join(&words, |one, other| format!("{}{other}", one.value), window);
    app.emitter(pairs.merge(&words).to("all").named("anything"));
    let counted = words.filter(|w| w.len() > 1).group_by("by-length", |w| w.len().to_string());
    let lengths = counted.count(Store::named("lengths"));
    app.view(lengths.clone());
    app.emitter(lengths.updates().to_chosen(["few", "many"], |count| usize::from(*count.value > 1)));
    app.observer(lengths.updates().for_each("shown", |_| {}));
    let mut driver = Driver::new(&app);
    let input = [(Some("a"), Some("xx")), (None, Some("x")), (Some("b"), Some("yy")), (Some("b"), Some("y"))];
    for ((key, value), time) in input.into_iter().zip(0..) {
        driver.pipe(maybe(), key.map(s), value.map(s), Timestamp(time));
        driver.restart();
    }
    let taken = [
        // Of "anything", where two follow it, and of the repartition.
        ("whole", 2 * 4),
        // Three on either side.
        ("pairs", 2 * 3),
        // And each pair: `a` with itself, and four of `b`.
        ("to all", 3 + 5),
        ("to by-length", 2),
        // In the view, the emitter and the observer.
        ("lengths", 3 * 2),
        ("to few, many", 2),
        ("shown", 2),
        ("filter", 0),
    ];
    for (operator, records) in taken {
        assert_eq!(driver.taken(operator), records, "{operator}");
    }
    assert_eq!(driver.dropped("whole"), 2, "once in each topology that has it");
}

#[test]
fn a_table_without_a_store_is_no_view_before_it_has_a_name() {
    let mut app = App::new("test");
    let names = app.table::<String, String>("names");
    let _ = app.view(names.filter(|_, _| true));
    let error = app.check().unwrap_err().to_string();
    assert!(error.contains("made by \"filter\" has no name: keep it, with `.stored("), "{error}");
}

/// Sums up values and tells the sums whenever it is called.
struct Sums;

impl Processor for Sums {
    type Key = String;
    type Value = i64;
    type OutKey = String;
    type OutValue = i64;
    type RowKey = String;
    type Row = i64;

    fn process(&mut self, item: Keyed<'_, String, i64>, next: &mut Processing<'_, '_, Self>) {
        match item.value {
            0 => next.delete(item.key),
            value => {
                let sum = next.get(item.key).unwrap_or(0) + value;
                next.put(item.key, &sum);
            }
        }
    }

    fn on_timer(&mut self, timer: Timer, time: Timestamp, next: &mut Processing<'_, '_, Self>) {
        let sign = if timer == Timer::WallClock { -1 } else { 1 };
        for (key, sum) in next.rows(&()) {
            next.forward_at(&key, &(sign * sum), time);
        }
    }
}

#[test]
fn a_processor_is_called_by_the_time_of_its_records_and_by_the_clock_on_the_wall() {
    let mut app = App::new("test");
    let numbers = app.stream::<String, i64>("in");
    let timers =
        Timers::default().stream_time(Duration::from_millis(10)).wall_clock(Duration::from_millis(100));
    app.emitter(numbers.process(Store::named("sums"), timers, || Sums).to("out"));
    let mut driver = Driver::new(&app);
    let mut told = Vec::new();
    for (key, value, time) in
        [("a", 1, 3), ("a", 2, 9), ("b", 5, 25), ("a", 4, 26), ("a", 0, 31), ("b", 1, 12)]
    {
        driver.pipe("in", s(key), value, Timestamp(time));
        driver.restart();
        told.push(driver.read::<String, i64>("out"));
    }
    let sums = |sums: &[(&str, i64, i64)]| -> Vec<_> {
        sums.iter().map(|(key, sum, time)| (s(key), *sum, Timestamp(*time))).collect()
    };
    let expected: [&[_]; 6] = [&[("a", 1, 3)], &[], &[("a", 3, 25), ("b", 5, 25)], &[], &[("b", 5, 31)], &[]];
    assert_eq!(told, expected.map(sums));
}

#[test]
fn a_clock_on_the_wall_calls_once_however_much_it_has_missed() {
    let mut app = App::new("test");
    let numbers = app.stream::<String, i64>("in");
    let timers = Timers::default().wall_clock(Duration::from_millis(100));
    let sums = numbers.process(Store::named("sums"), timers, || Sums);
    app.view(sums.repartition("told").to_table(Store::named("last")));
    app.emitter(sums.to("out"));
    let mut driver = Driver::new(&app);
    driver.pipe("in", s("a"), 1, Timestamp(0));
    for (now, calls) in [(99, 0), (100, 1), (150, 0), (420, 1), (499, 0), (500, 1)] {
        driver.advance_to(Timestamp(now));
        let told = driver.read::<String, i64>("out");
        assert_eq!(told, vec![(s("a"), -1, Timestamp(now)); calls]);
    }
}

#[test]
fn a_call_of_the_users_code_reads_one_topic() {
    let mut app = App::new("test");
    let (one, other) = (app.stream::<String, u64>("one"), app.stream::<String, u64>("other"));
    app.observer(one.merge(&other).repartition("both").for_each("print", |_| {}));
    app.check().unwrap();
    app.observer(one.merge(&other).for_each("shout", |_| {}));
    let error = app.check().unwrap_err().to_string();
    assert!(error.contains("\"shout\" calls `for_each` behind what reads several topics"), "{error}");
}

#[test]
#[should_panic(expected = "no topology reads the topic \"word\": they read \"in\"")]
fn what_is_piped_to_a_topic_that_nothing_reads_is_a_mistake_of_the_test() {
    let mut app = App::new("test");
    let words = app.stream::<String, String>("in");
    app.emitter(words.to("out"));
    Driver::new(&app).pipe("word", s("a"), s("x"), Timestamp(0));
}

#[test]
#[should_panic(expected = "no topology appends to the topic \"outs\": they append to \"out\"")]
fn what_is_read_from_a_topic_that_nothing_appends_to_is_a_mistake_of_the_test() {
    let mut app = App::new("test");
    let words = app.stream::<String, String>("in");
    app.emitter(words.to("out"));
    let _ = Driver::new(&app).read::<String, String>("outs");
}

#[test]
fn names_that_are_empty_are_mistakes() {
    let mut app = App::new("");
    let words = app.stream::<String, String>("in");
    app.view(words.group_by_key().count(Store::named("")));
    let mistakes = app.check().unwrap_err().to_string();
    for told in ["its name is empty", "a store has an empty name, that of `count`"] {
        assert!(mistakes.contains(told), "{told} is not in: {mistakes}");
    }
}
