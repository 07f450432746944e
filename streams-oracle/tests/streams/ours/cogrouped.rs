//! Two streams folded into one state, in all and in windows; parameters as in `Aggregations.java`.

use std::time::Duration;

use headwater::prelude::*;
use headwater::{Cogrouped, Keyed, Value, Windowed};

use super::{Ours, Plan, ours};

const SIZE: Duration = Duration::from_millis(5);
const GRACE: Duration = Duration::from_millis(4);

/// Windows close by the time of both streams here, and for each stream by its own there.
pub(crate) fn cases() -> Vec<Ours> {
    vec![
        ours("cogroup", |plan| {
            let both = after_colon(plan);
            plan.out_and_show(both.fold(Store::named("store")));
        }),
        ours("cogroup-tumbling", |plan| {
            let both = after_colon(plan);
            show(plan, both.window(Tumbling::of(SIZE)).fold(Store::named("store")));
        })
        .with_values()
        .late_at_most(Duration::ZERO),
        ours("cogroup-sliding", |plan| {
            let both = after_colon(plan);
            show(plan, both.window(Sliding::of(SIZE).grace(GRACE)).fold(Store::named("store")));
        })
        .late_at_most(GRACE),
        ours("cogroup-session", |plan| {
            let both = cogrouped(plan, |_| {});
            let sessions = both.window(Session::gap(SIZE).grace(GRACE));
            show(plan, sessions.fold(Store::named("store"), |_, one, other| format!("{one}|{other}")));
        })
        .with_values()
        .without_headers()
        .late_at_most(GRACE),
    ]
}

/// Both streams' values, each behind the letter of its stream; `begin` is called with every state before its next value.
fn cogrouped(plan: &mut Plan, begin: fn(&mut String)) -> Cogrouped<String, String> {
    let (left, right) = (plan.present::<String>("left"), plan.present::<String>("right"));
    let add = move |letter: char| {
        move |all: &mut String, word: Keyed<'_, String, String>| {
            begin(all);
            all.push(letter);
            *all += word.value;
        }
    };
    left.group_by_key().cogroup(add('l')).cogroup(&right.group_by_key(), add('r'))
}

fn after_colon(plan: &mut Plan) -> Cogrouped<String, String> {
    cogrouped(plan, |all| {
        if all.is_empty() {
            all.push(':');
        }
    })
}

fn show<V: Value>(plan: &mut Plan, table: Table<Windowed<String>, V>) {
    plan.count_drops_of("store");
    plan.out_and_show(table);
}
