//! Tables that keep versions, asked for what was in force at a time.

use std::time::Duration;

use headwater::core::clock::Timestamp;
use headwater::prelude::*;
use headwater::{Keyed, Processing, Processor, Timers};

use super::{Ours, ours};

const HISTORY: Duration = Duration::from_millis(20);

pub(crate) fn cases() -> Vec<Ours> {
    vec![
        ours("versioned-as_of", |plan| {
            plan.count_drops_of("versions");
            let words = plan.keyed("input");
            let stamped = words.map_values(|word| {
                word.value.as_ref().map(|text| format!("{text} {}", word.meta.timestamp.0))
            });
            let versions = stamped.to_table_with_deletes(Store::named("versions").versioned(HISTORY));
            let asked = plan.stream::<i64>("as-of").present("nulls").process(
                Store::named("there"),
                Timers::default(),
                || ThatTime,
            );
            let found = asked.repartition("by-key").left_join(
                &versions,
                |asked, found| (*asked.value, found.cloned()),
                Join::default(),
            );
            plan.out(&found.process(Store::named("back"), Timers::default(), || ThisTime));
        })
        .with_keys(),
    ]
}

/// Goes on at the time that is asked for, with the time when that was asked.
struct ThatTime;

impl Processor for ThatTime {
    type Key = String;
    type Value = i64;
    type OutKey = String;
    type OutValue = i64;
    type RowKey = ();
    type Row = ();

    fn process(&mut self, asked: Keyed<'_, String, i64>, next: &mut Processing<'_, '_, Self>) {
        next.forward_at(asked.key, &asked.meta.timestamp.0, Timestamp(*asked.value));
    }
}

/// Goes on with what was found, at the time when it was asked for.
struct ThisTime;

impl Processor for ThisTime {
    type Key = String;
    type Value = (i64, Option<String>);
    type OutKey = String;
    type OutValue = Option<String>;
    type RowKey = ();
    type Row = ();

    fn process(
        &mut self,
        found: Keyed<'_, String, (i64, Option<String>)>,
        next: &mut Processing<'_, '_, Self>,
    ) {
        let (time, row) = found.value;
        next.forward_at(found.key, row, Timestamp(*time));
    }
}
