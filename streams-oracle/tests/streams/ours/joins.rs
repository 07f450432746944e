//! Joins of every kind of `left` and `right`.

use headwater::prelude::*;

use super::{Ours, Plan, ours};

pub(crate) fn cases() -> Vec<Ours> {
    let mut cases = stream_table();
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
