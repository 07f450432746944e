//! Windows of every kind, with and without grace, emitting on update and on close; parameters as in `Windows.java`.

use std::time::Duration;

use headwater::prelude::*;
use headwater::{Keyed, SessionGroup, Value, Windowed, WindowedGroup};

use super::{Ours, Plan, ours};

const SIZE: Duration = Duration::from_millis(5);
const ADVANCE: Duration = Duration::from_millis(3);
const GRACE: Duration = Duration::from_millis(4);

/// One of the variants that a case has.
#[derive(Clone, Copy)]
pub(super) struct How {
    grace: Duration,
    pub(super) on_close: bool,
}

impl How {
    pub(super) const WITH_GRACE: How = How { grace: GRACE, on_close: false };

    pub(super) fn all() -> impl Iterator<Item = How> {
        let how = |grace| [false, true].map(|on_close| How { grace, on_close });
        [Duration::ZERO, GRACE].into_iter().flat_map(how)
    }

    /// As cases are named after it.
    pub(super) fn name(self) -> String {
        let grace = if self.grace.is_zero() { "" } else { "-grace" };
        format!("{grace}{}", if self.on_close { "-close" } else { "" })
    }
}

pub(crate) fn cases() -> Vec<Ours> {
    let kinds = ["tumbling", "hopping", "sliding"];
    let timed = How::all().flat_map(|how| kinds.into_iter().flat_map(move |kind| timed(kind, how)));
    timed.chain(How::all().flat_map(sessions)).collect()
}

/// Kafka Streams counts values that are null, except in sliding windows: so they are values here.
fn timed(kind: &'static str, how: How) -> [Ours; 3] {
    let count = ours(format!("{kind}-count{}", how.name()), move |plan| {
        if kind == "sliding" {
            let words = plan.present::<String>("input");
            show(plan, windowed(kind, how, &words).count(Store::named("store")));
        } else {
            let words = plan.keyed("input");
            show(plan, windowed(kind, how, &words).count(Store::named("store")));
        }
    });
    let reduce = ours(format!("{kind}-reduce{}", how.name()), move |plan| {
        let words = plan.present::<String>("input");
        show(plan, windowed(kind, how, &words).reduce(Store::named("store"), |all, word| all + word.value));
    });
    let aggregate = ours(format!("{kind}-aggregate{}", how.name()), move |plan| {
        let words = plan.present::<String>("input");
        show(
            plan,
            windowed(kind, how, &words)
                .aggregate(Store::named("store"), |all, word| Some(after_colon(all) + word.value)),
        );
    });
    if kind == "sliding" {
        return [count, reduce, aggregate];
    }
    [count.with_keys(), reduce.with_values(), aggregate.with_values()]
}

pub(super) fn windowed<V: Value>(
    kind: &str,
    how: How,
    words: &Stream<String, V>,
) -> WindowedGroup<String, V> {
    let group = words.group_by_key();
    let windows = match kind {
        "tumbling" => group.window(Tumbling::of(SIZE).grace(how.grace)),
        "hopping" => group.window(Hopping::of(SIZE, ADVANCE).grace(how.grace)),
        _ => group.window(Sliding::of(SIZE).grace(how.grace)),
    };
    if how.on_close { windows.emit_on_close() } else { windows }
}

fn sessions(how: How) -> [Ours; 3] {
    let all = [
        ours(format!("session-count{}", how.name()), move |plan| {
            let words = plan.keyed("input");
            show(plan, in_sessions(how, &words).count(Store::named("store")));
        })
        .with_keys(),
        ours(format!("session-reduce{}", how.name()), move |plan| {
            let words = plan.present::<String>("input");
            show(plan, in_sessions(how, &words).reduce(Store::named("store"), |all, word| all + &word));
        })
        .with_values(),
        ours(format!("session-aggregate{}", how.name()), move |plan| {
            let words = plan.present::<String>("input");
            let step = |all: &mut String, word: Keyed<'_, String, String>| *all += word.value;
            let merge = |_: &String, one, other| format!("{one}|{other}");
            show(plan, in_sessions(how, &words).fold(Store::named("store"), step, merge));
        })
        .with_values(),
    ];
    all.map(Ours::without_headers)
}

pub(super) fn in_sessions<V: Value>(how: How, words: &Stream<String, V>) -> SessionGroup<String, V> {
    let sessions = words.group_by_key().window(Session::gap(SIZE).grace(how.grace));
    if how.on_close { sessions.emit_on_close() } else { sessions }
}

fn show<V: Value>(plan: &mut Plan, table: Table<Windowed<String>, V>) {
    plan.count_drops_of("store");
    plan.out_and_show(table);
}

fn after_colon(all: Option<String>) -> String {
    all.unwrap_or_else(|| ":".to_owned())
}
