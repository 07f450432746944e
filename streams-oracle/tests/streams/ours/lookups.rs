//! Joins with tables that keep versions, that their rows name, or that every shard holds.

use std::time::Duration;

use headwater::Keyed;
use headwater::prelude::*;

use super::{Ours, Plan, initial, ours};

pub(crate) fn cases() -> Vec<Ours> {
    let tables = vec![
        ours("stream_table-inner-versioned", |plan| stream_table(plan, false, versioned, Join::default())),
        ours("stream_table-left-versioned", |plan| stream_table(plan, true, versioned, Join::default())),
        ours("stream_table-inner-versioned-grace", |plan| stream_table(plan, false, versioned, grace())),
        ours("stream_table-left-versioned-grace", |plan| stream_table(plan, true, versioned, grace())),
        ours("table_table-inner-versioned", |plan| inner(plan, versioned)).uncounted(),
        ours("table_table-left-versioned", |plan| left(plan, versioned)).uncounted(),
        ours("table_table-outer-versioned", |plan| outer(plan, versioned)).uncounted(),
        ours("foreign_key-inner", |plan| foreign_key(plan, false, plain)),
        ours("foreign_key-left", |plan| foreign_key(plan, true, plain)),
        ours("foreign_key-inner-versioned", |plan| foreign_key(plan, false, versioned)).uncounted(),
        ours("foreign_key-left-versioned", |plan| foreign_key(plan, true, versioned)).uncounted(),
    ];
    let tables = tables.into_iter().map(Ours::with_keys);
    let globals = vec![
        ours("stream_global-inner", |plan| global(plan, false, |_, word| initial(word))),
        ours("stream_global-left", |plan| global(plan, true, |_, word| initial(word))),
        ours("stream_global-left-by_key", |plan| global(plan, true, |key, _| Some(key.to_owned()))),
    ];
    let globals = globals.into_iter().map(|case| case.with_keys().uncounted());
    tables.chain(globals).collect()
}

fn pair(left: Option<&String>, right: Option<&String>) -> String {
    let text = |side: Option<&String>| side.map_or("null", |side| side).to_owned();
    format!("[{}, {}]", text(left), text(right))
}

/// What stands before the colon, everything where there is none.
fn named(value: &str) -> Option<String> {
    value.split(':').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

type Words = Table<String, String>;

/// The table of a topic, which Kafka Streams may keep otherwise.
type TableOf = fn(&mut Plan, &str) -> Words;

fn plain(plan: &mut Plan, topic: &str) -> Words {
    plan.table(topic)
}

fn versioned(plan: &mut Plan, topic: &str) -> Words {
    let name = format!("{topic}-versions");
    plan.dropping.push(name.clone());
    let topic = plan.topic(topic);
    plan.app.table_in(Store::named(name).versioned(Duration::from_millis(20)), topic.as_str())
}

fn grace() -> Join {
    Join::grace(Store::named("waiting"), Duration::from_millis(5))
}

fn stream_table(plan: &mut Plan, is_left: bool, table: TableOf, options: Join) {
    let (left, right) = (plan.present::<String>("left"), table(plan, "right"));
    let joined = if is_left {
        left.left_join(&right, |l, r| pair(Some(l.value), r), options)
    } else {
        left.join(&right, |l, r| pair(Some(l.value), Some(r)), options)
    };
    plan.out(&joined);
}

fn inner(plan: &mut Plan, table: TableOf) {
    let (left, right) = (table(plan, "left"), table(plan, "right"));
    shown(plan, left.join(&right, |l, r| pair(Some(l), Some(r))));
}

fn left(plan: &mut Plan, table: TableOf) {
    let (left, right) = (table(plan, "left"), table(plan, "right"));
    shown(plan, left.left_join(&right, |l, r| pair(Some(l), r)));
}

fn outer(plan: &mut Plan, table: TableOf) {
    let (left, right) = (table(plan, "left"), table(plan, "right"));
    shown(plan, left.outer_join(&right, pair));
}

fn foreign_key(plan: &mut Plan, is_left: bool, table: TableOf) {
    let (left, right) = (table(plan, "left"), table(plan, "right"));
    let store = Store::named("joined");
    let joined = if is_left {
        left.left_join_on(store, &right, |_, value| named(value), |l, r| pair(Some(l), r))
    } else {
        plan.dropping.push("joined".to_owned());
        left.join_on(store, &right, |_, value| named(value), |l, r| pair(Some(l), Some(r)))
    };
    plan.out(&joined.to_stream());
}

fn global(plan: &mut Plan, is_left: bool, key_of: fn(&str, &str) -> Option<String>) {
    let left = plan.present::<String>("left");
    let right = plan.app.global_table::<String, String>("all", plan.topic("right").as_str());
    let key_of = move |item: Keyed<'_, String, String>| key_of(item.key, item.value);
    let joined = if is_left {
        left.left_join_global(&right, key_of, |l, r| pair(Some(l.value), r))
    } else {
        left.join_global(&right, key_of, |l, r| pair(Some(l.value), Some(r)))
    };
    plan.out(&joined);
}

fn shown(plan: &mut Plan, joined: Words) {
    plan.out_and_show(joined.stored(Store::named("store")));
}
