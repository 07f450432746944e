//! Joins of every kind of `left` and `right`.

use std::time::Duration;

use headwater::prelude::*;

use super::{Ours, Plan, ours};

const GRACE: Duration = Duration::from_millis(5);

pub(crate) fn cases() -> Vec<Ours> {
    let mut cases = stream_table();
    cases.extend(["", "-grace", "-lopsided"].into_iter().flat_map(stream_stream));
    cases.extend(table_table());
    cases
}

fn stream_table() -> Vec<Ours> {
    vec![
        ours("stream_table-inner", |plan| {
            let words = plan.present::<String>("left");
            let joined = words.join(
                &plan.table("right"),
                |word, row| pair(Some(word.value), Some(row)),
                Join::default(),
            );
            plan.out(&joined);
        }),
        ours("stream_table-left", |plan| {
            let words = plan.present::<String>("left");
            let joined = words.left_join(
                &plan.table("right"),
                |word, row| pair(Some(word.value), row),
                Join::default(),
            );
            plan.out(&joined);
        }),
    ]
    .into_iter()
    .map(Ours::with_keys)
    .collect()
}

/// Streams at most 15 ms apart; those with a grace have 5 ms of it, the lopsided ones look 3 ms back.
fn stream_stream(how: &'static str) -> [Ours; 3] {
    let grace = if how.is_empty() { Duration::ZERO } else { GRACE };
    let both = |plan: &mut Plan| {
        plan.count_drops_of("join");
        (plan.present::<String>("left"), plan.present::<String>("right"))
    };
    [
        ours(format!("stream_stream-inner{how}"), move |plan| {
            let (left, right) = both(plan);
            plan.out(&left.join(&right, |one, other| pair(Some(one.value), Some(other)), window(how)));
        }),
        ours(format!("stream_stream-left{how}"), move |plan| {
            let (left, right) = both(plan);
            plan.out(&left.left_join(&right, |one, other| pair(Some(one.value), other), window(how)));
        })
        .sooner(grace),
        ours(format!("stream_stream-outer{how}"), move |plan| {
            let (left, right) = both(plan);
            plan.out(&left.outer_join(&right, pair, window(how)));
        })
        .sooner(grace),
    ]
    // A null moves stream time on there, and never comes to the join here.
    .map(|ours| ours.with_keys().with_values())
}

fn window(how: &str) -> JoinWindow {
    let window = JoinWindow::within(Store::named("join"), Duration::from_millis(15));
    match how {
        "" => window,
        "-grace" => window.grace(GRACE),
        _ => window.grace(GRACE).before(Duration::from_millis(3)),
    }
}

fn table_table() -> Vec<Ours> {
    vec![
        ours("table_table-inner", |plan| {
            let joined = left(plan).join(&right(plan), |one, other| pair(Some(one), Some(other)));
            plan.out_and_show(joined.stored(Store::named("store")));
        }),
        ours("table_table-left", |plan| {
            let joined = left(plan).left_join(&right(plan), |one, other| pair(Some(one), other));
            plan.out_and_show(joined.stored(Store::named("store")));
        }),
        ours("table_table-outer", |plan| {
            let joined = left(plan).outer_join(&right(plan), pair);
            plan.out_and_show(joined.stored(Store::named("store")));
        }),
    ]
    .into_iter()
    .map(Ours::with_keys)
    .collect()
}

fn left(plan: &Plan) -> Table<String, String> {
    plan.table("left")
}

fn right(plan: &Plan) -> Table<String, String> {
    plan.table("right")
}

/// Both values, as Kafka's documentation shows them.
fn pair(left: Option<&String>, right: Option<&String>) -> String {
    let shown = |value: Option<&String>| value.map_or_else(|| "null".to_owned(), String::clone);
    format!("[{}, {}]", shown(left), shown(right))
}
