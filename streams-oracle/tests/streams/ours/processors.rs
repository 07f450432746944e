//! Processors of one's own: stores, and calls by both kinds of time.

use std::time::Duration;

use headwater::core::clock::Timestamp;
use headwater::prelude::*;
use headwater::{Keyed, Processing, Processor, Timer, Timers};

use super::{Ours, ours};

const EVERY: Duration = Duration::from_millis(10);

pub(crate) fn cases() -> Vec<Ours> {
    vec![
        ours("process-store", |plan| {
            let words = plan.keyed("input");
            let numbered = words.process(Store::named("store"), Timers::default(), || Numbering);
            plan.out(&numbered);
        })
        .with_keys()
        .without_rows(),
        ours("punctuate-stream_time", |plan| {
            let words = plan.stream("input");
            let timers = Timers::default().stream_time(EVERY);
            plan.out(&words.process(Store::named("store"), timers, || Counting));
        })
        .without_headers(),
        ours("punctuate-wall_clock", |plan| {
            let words = plan.stream("input");
            let timers = Timers::default().wall_clock(EVERY);
            plan.out(&words.process(Store::named("store"), timers, || Counting));
        })
        .without_headers(),
    ]
}

/// Numbers each key's values; a value with a b deletes the number.
struct Numbering;

impl Processor for Numbering {
    type Key = String;
    type Value = Option<String>;
    type OutKey = String;
    type OutValue = i64;
    type RowKey = String;
    type Row = i64;

    fn process(&mut self, word: Keyed<'_, String, Option<String>>, next: &mut Processing<'_, '_, Self>) {
        let Some(text) = word.value else { return };
        if text.contains('b') {
            return next.delete(word.key);
        }
        let number = next.get(word.key).unwrap_or(0) + 1;
        next.put(word.key, &number);
        next.forward(word.key, &number);
    }
}

/// Tells how many records came since it was called last.
struct Counting;

impl Processor for Counting {
    type Key = Option<String>;
    type Value = Option<String>;
    type OutKey = String;
    type OutValue = i64;
    type RowKey = ();
    type Row = i64;

    fn process(&mut self, _: Keyed<'_, Option<String>, Option<String>>, next: &mut Processing<'_, '_, Self>) {
        let seen = next.get(&()).unwrap_or(0);
        next.put(&(), &(seen + 1));
    }

    fn on_timer(&mut self, _: Timer, time: Timestamp, next: &mut Processing<'_, '_, Self>) {
        let seen = next.get(&()).unwrap_or(0);
        next.forward_at(&"seen".to_owned(), &seen, time);
        next.delete(&());
    }
}
