//! Grouping, and what is kept of a group.

use headwater::prelude::*;
use headwater::{Keyed, Regrouped};

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
            let letters = by_letter(plan);
            plan.out_and_show(letters.count(Store::named("store")));
        })
        .with_keys(),
        ours("table-reduce", |plan| {
            let letters = by_letter(plan);
            plan.out_and_show(letters.reduce(Store::named("store"), add, subtract));
        })
        .with_keys(),
        ours("table-aggregate", |plan| {
            let letters = by_letter(plan);
            plan.out_and_show(letters.aggregate(
                Store::named("store"),
                |all, word| Some(add(after_colon(all), word)),
                |all, word| Some(subtract(all, word)),
            ));
        })
        .with_keys(),
        ours("table-sum", |plan| {
            let lengths =
                plan.table("input").group_by("by-word", |key, word| (word.clone(), key.len() as i64));
            plan.out_and_show(lengths.fold(
                Store::named("store"),
                |sum: &mut i64, length| *sum += length.value,
                |sum: &mut i64, length| *sum -= length.value,
            ));
        })
        .with_keys(),
    ]
}

fn by_letter(plan: &Plan) -> Regrouped<String, String> {
    let words = plan.table("input").filter(|_, word| !word.is_empty());
    words.group_by("by-letter", |_, word| (initial(word).unwrap_or_default(), word.clone()))
}

fn add(all: String, word: Keyed<'_, String, String>) -> String {
    format!("{all}+{}", word.value)
}

fn subtract(all: String, word: Keyed<'_, String, String>) -> String {
    format!("{all}-{}", word.value)
}

fn after_colon(all: Option<String>) -> String {
    all.unwrap_or_else(|| ":".to_owned())
}
