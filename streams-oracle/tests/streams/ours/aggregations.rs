//! Grouping, and what is kept of a group.

use headwater::Regrouped;
use headwater::prelude::*;

use super::{Ours, Plan, initial, ours};

pub(crate) fn cases() -> Vec<Ours> {
    vec![
        ours("count", |plan| {
            let count = plan.present::<String>("input").group_by_key().count(Store::named("store"));
            plan.out_and_show(count);
        }),
        // What has no letter is left out here, and dropped there by the way to the repartition, uncounted.
        ours("count-by_letter", |plan| {
            let words = plan.stream::<String>("input");
            let by_letter = words.flat_map(|word| {
                let word = word.value.clone().unwrap_or_default();
                initial(&word).map(|letter| (letter, word)).into_iter().collect()
            });
            let grouped = by_letter.repartition("by-letter").group_by_key();
            plan.out_and_show(grouped.count(Store::named("store")));
        }),
        ours("reduce", |plan| {
            let words = plan.present::<String>("input").group_by_key();
            plan.out_and_show(words.reduce(Store::named("store"), |all, word| all + word.value));
        }),
        ours("aggregate", |plan| {
            let words = plan.present::<String>("input").group_by_key();
            plan.out_and_show(
                words.aggregate(Store::named("store"), |all, word| Some(after_colon(all) + word.value)),
            );
        }),
        ours("aggregate-to_null", |plan| {
            let words = plan.present::<String>("input").group_by_key();
            plan.out_and_show(words.aggregate(Store::named("store"), |all, word| {
                (!word.contains('b')).then(|| after_colon(all) + word.value)
            }));
        }),
        ours("aggregate-sum", |plan| {
            let numbers = plan.present::<i64>("input").group_by_key();
            plan.out_and_show(
                numbers.fold(Store::named("store"), |sum: &mut i64, number| *sum += number.value),
            );
        }),
        ours("table-count", |plan| {
            let grouped = by_letter(plan);
            plan.out_and_show(grouped.count(Store::named("store")));
        })
        .uncounted(),
        ours("table-reduce", |plan| {
            let grouped = by_letter(plan);
            plan.out_and_show(grouped.reduce(
                Store::named("store"),
                |all, word| all + "+" + word.value,
                |all, word| all + "-" + word.value,
            ));
        })
        .uncounted(),
        ours("table-aggregate", |plan| {
            let grouped = by_letter(plan);
            plan.out_and_show(grouped.aggregate(
                Store::named("store"),
                |all, word| Some(after_colon(all) + "+" + word.value),
                |all, word| Some(all + "-" + word.value),
            ));
        })
        .uncounted(),
        ours("table-sum", |plan| {
            let grouped = rows(plan).group_by("grouped", |key, value| (value.clone(), key.len() as i64));
            plan.out_and_show(grouped.fold(
                Store::named("store"),
                |sum: &mut i64, length| *sum += length.value,
                |sum, length| *sum -= length.value,
            ));
        })
        .uncounted(),
    ]
}

/// A table of what has a key; what has none is left out here, and counted there.
fn rows(plan: &Plan) -> Table<String, String> {
    let keyed = plan
        .stream::<String>("input")
        .flat_map(|row| row.key.clone().map(|key| (key, row.value.clone())).into_iter().collect());
    keyed.repartition("rows").to_table_with_deletes(Store::named("table"))
}

/// Rows by their first letter; those that have none are in no group.
fn by_letter(plan: &mut Plan) -> Regrouped<String, String> {
    let lettered = rows(plan).filter(|_, word| initial(word).is_some());
    lettered.group_by("grouped", |_, word| (initial(word).unwrap_or_default(), word.clone()))
}

fn after_colon(all: Option<String>) -> String {
    all.unwrap_or_else(|| ":".to_owned())
}
