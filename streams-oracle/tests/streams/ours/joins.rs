//! Joins of every kind.
//!
//! Left and outer joins of streams are not here: Kafka Streams looks for values without a match at most once a second
//! by the clock on the wall, so what it tells is the same and where among the rest is not.

use std::time::Duration;

use headwater::prelude::*;

use super::{Ours, Plan, ours};

pub(crate) fn cases() -> Vec<Ours> {
    let streams = vec![
        ours("stream_stream-inner", |plan| streams(plan, window(0))),
        ours("stream_stream-inner-grace", |plan| streams(plan, window(5))),
        ours("stream_stream-inner-lopsided", |plan| {
            streams(plan, window(5).before(Duration::from_millis(3)));
        }),
    ];
    let tables = vec![
        ours("stream_table-inner", |plan| {
            let left = plan.present::<String>("left");
            let joined =
                left.join(&plan.table("right"), |l, r| pair(Some(l.value), Some(r)), Join::default());
            plan.out(&joined);
        }),
        ours("stream_table-left", |plan| {
            let left = plan.present::<String>("left");
            let joined = left.left_join(&plan.table("right"), |l, r| pair(Some(l.value), r), Join::default());
            plan.out(&joined);
        }),
        ours("table_table-inner", |plan| {
            let (left, right) = (plan.table("left"), plan.table("right"));
            shown(plan, left.join(&right, |l, r| pair(Some(l), Some(r))));
        }),
        ours("table_table-left", |plan| {
            let (left, right) = (plan.table("left"), plan.table("right"));
            shown(plan, left.left_join(&right, |l, r| pair(Some(l), r)));
        }),
        ours("table_table-outer", |plan| {
            let (left, right) = (plan.table("left"), plan.table("right"));
            shown(plan, left.outer_join(&right, pair));
        }),
    ];
    let tables = tables.into_iter().map(Ours::with_keys);
    streams.into_iter().chain(tables).collect()
}

fn pair(left: Option<&String>, right: Option<&String>) -> String {
    let text = |side: Option<&String>| side.map_or("null", |side| side).to_owned();
    format!("[{}, {}]", text(left), text(right))
}

fn window(grace: u64) -> JoinWindow {
    let ms = Duration::from_millis;
    JoinWindow::within(Store::named("join"), ms(15)).grace(ms(grace))
}

fn streams(plan: &mut Plan, window: JoinWindow) {
    let (left, right) = (plan.present::<String>("left"), plan.present::<String>("right"));
    plan.out(&left.join(&right, |l, r| pair(Some(l.value), Some(r)), window));
}

fn shown(plan: &mut Plan, joined: Table<String, String>) {
    plan.out_and_show(joined.stored(Store::named("store")));
}
