//! Operators that keep nothing, and tables as they are read.

use headwater::Moved;
use headwater::prelude::*;

use super::{Ours, Plan, has_a, initial, ours};

type Nulls = Stream<Option<String>, Option<String>>;

pub(crate) fn cases() -> Vec<Ours> {
    [values(), routes(), tables(), changed_tables()].into_iter().flatten().collect()
}

fn values() -> Vec<Ours> {
    vec![
        ours("filter", |plan| {
            let kept = input(plan).filter(|word| word.as_deref().is_some_and(has_a));
            plan.out(&kept);
        }),
        ours("filter_not", |plan| {
            let kept = input(plan).filter(|word| !word.as_deref().is_some_and(has_a));
            plan.out(&kept);
        }),
        ours("map", |plan| {
            let swapped = input(plan).map(|word| (word.value.clone(), word.key.clone()));
            plan.out(&swapped);
        }),
        ours("map_values", |plan| {
            let capitals = input(plan).map_values(|word| word.as_ref().map(|word| word.to_uppercase()));
            plan.out(&capitals);
        }),
        ours("map_values_with_key", |plan| {
            let shown = |word: &Option<String>| word.clone().unwrap_or_else(|| "null".to_owned());
            let both =
                input(plan).map_values(move |word| format!("{}/{}", shown(word.key), shown(word.value)));
            plan.out(&both);
        }),
        ours("flat_map", |plan| {
            let turned = input(plan).flat_map(|word| {
                letters(word.value).into_iter().map(|letter| (letter, word.key.clone())).collect()
            });
            plan.out(&turned);
        }),
        ours("flat_map_values", |plan| {
            let spelled = input(plan).flat_map_values(|word| letters(word.value));
            plan.out(&spelled);
        }),
        ours("peek", |plan| {
            let same = input(plan).peek(|_| {});
            plan.out(&same);
        }),
        ours("select_key", |plan| {
            let by_letter = input(plan).select_key(|word| letter_of(word.value));
            plan.out(&by_letter);
        }),
    ]
}

fn routes() -> Vec<Ours> {
    vec![
        ours("merge", |plan| {
            let merged = plan.stream::<String>("left").merge(&plan.stream("right"));
            plan.out(&merged);
        }),
        ours("branch", |plan| {
            let [a, b, rest] = input(plan).branch(|word| match letter_of(word.value).as_deref() {
                Some("a") => 0,
                Some("b") => 1,
                _ => 2,
            });
            plan.out_to("output-a", &a);
            plan.out_to("output-b", &b);
            plan.out_to("output-rest", &rest);
        }),
        ours("branch-first_match", |plan| {
            let [a, long] = input(plan).branch(|word| match word.as_deref() {
                Some(word) if has_a(word) => 0,
                Some(word) if word.len() > 1 => 1,
                _ => 2,
            });
            plan.out_to("output-a", &a);
            plan.out_to("output-long", &long);
        }),
        ours("to-chosen", |plan| {
            const LETTERS: [&str; 6] = ["a", "b", "c", "d", "z", "null"];
            let topics = LETTERS.map(|letter| plan.topic(&format!("output-{letter}")));
            let keyed = input(plan).select_key(|word| super::json(word.key));
            let chosen = keyed.to_chosen(topics.clone(), |word| {
                let letter = letter_of(word.value).unwrap_or_else(|| "null".to_owned());
                LETTERS.iter().position(|own| *own == letter).unwrap_or(LETTERS.len())
            });
            plan.emit(chosen, &topics);
        }),
        ours("repartition", |plan| {
            let by_letter = with_letter(&input(plan)).repartition("by-letter");
            plan.out(&by_letter);
        }),
    ]
}

fn tables() -> Vec<Ours> {
    vec![
        ours("to_stream", |plan| {
            let rows = plan.table("input");
            plan.out(&rows.to_stream());
        })
        .with_keys(),
        ours("to_stream-kept", |plan| {
            let rows = plan.table("input");
            plan.out_and_show(rows);
        })
        .with_keys(),
        ours("to_table", |plan| {
            let words = plan.keyed("input");
            plan.out_and_show(words.to_table_with_deletes(Store::named("store")));
        })
        .with_keys(),
        ours("to_table-by_letter", |plan| {
            let by_letter = with_letter(&input(plan)).repartition("by-letter");
            plan.out_and_show(by_letter.to_table_with_deletes(Store::named("store")));
        }),
    ]
}

fn changed_tables() -> Vec<Ours> {
    vec![
        ours("table-filter", |plan| {
            let kept = plan.table("input").filter(|_, word| has_a(word));
            plan.out(&kept.to_stream());
        })
        .with_keys()
        .without_void_deletes(),
        ours("table-filter_not", |plan| {
            let kept = plan.table("input").filter(|_, word| !has_a(word));
            plan.out(&kept.to_stream());
        })
        .with_keys()
        .without_void_deletes(),
        ours("table-filter-kept", |plan| {
            let kept = plan.table("input").filter(|_, word| has_a(word)).stored(Store::named("store"));
            plan.out_and_show(kept);
        })
        .with_keys()
        .without_void_deletes(),
        ours("table-map_values", |plan| {
            let capitals = plan.table("input").map_values(|_, word| word.to_uppercase());
            plan.out(&capitals.to_stream());
        })
        .with_keys(),
        ours("table-map_values-kept", |plan| {
            let capitals = plan.table("input").map_values(|_, word| word.to_uppercase());
            plan.out_and_show(capitals.stored(Store::named("store")));
        })
        .with_keys(),
    ]
}

fn input(plan: &Plan) -> Nulls {
    plan.stream("input")
}

fn letters(word: &Option<String>) -> Vec<String> {
    word.iter().flat_map(|word| word.chars()).map(String::from).collect()
}

fn letter_of(word: &Option<String>) -> Option<String> {
    word.as_deref().and_then(initial)
}

/// By first letter, without the words that have none.
fn with_letter<P>(
    words: &Stream<Option<String>, Option<String>, P>,
) -> Stream<String, Option<String>, Moved> {
    words.flat_map(|word| {
        letter_of(word.value).map(|letter| (letter, word.value.clone())).into_iter().collect()
    })
}
