//! Updates that are held back: until their window closes, for a time, or while there is room; parameters as in
//! `Windows.java`.

use std::time::Duration;

use headwater::Windowed;
use headwater::prelude::*;

use super::windows::{How, in_sessions, windowed};
use super::{Ours, Plan, ours};

const HELD_FOR: Duration = Duration::from_millis(5);

pub(crate) fn cases() -> Vec<Ours> {
    let closed = How::all().filter(|how| !how.on_close).flat_map(until_close);
    closed.chain(for_time()).collect()
}

fn until_close(how: How) -> [Ours; 3] {
    let timed = ["tumbling", "hopping"].map(|kind| {
        ours(format!("suppress-{kind}{}", how.name()), move |plan| {
            let words = plan.keyed("input");
            tell_last(plan, windowed(kind, how, &words).count(Store::named("count")));
        })
        .with_keys()
    });
    let sessions = ours(format!("suppress-session{}", how.name()), move |plan| {
        let words = plan.keyed("input");
        tell_last(plan, in_sessions(how, &words).count(Store::named("count")));
    });
    // Told there when a value may still come at the very last moment.
    let sessions = sessions.with_keys().without_headers().at_even_times();
    let [tumbling, hopping] = timed;
    [tumbling, hopping, sessions]
}

fn for_time() -> [Ours; 4] {
    let held = HoldBack::for_time(HELD_FOR);
    [
        ours("suppress-limit", move |plan| {
            let rows = plan.table("input").suppress(Store::named("held"), held);
            plan.out(&rows.to_stream());
        })
        .with_keys(),
        ours("suppress-limit-count", move |plan| {
            let words = plan.present::<String>("input");
            let count = words.group_by_key().count(Store::named("count"));
            plan.out(&count.suppress(Store::named("held"), held).to_stream());
        }),
        ours("suppress-limit-tumbling", move |plan| {
            plan.count_drops_of("count");
            let words = plan.keyed("input");
            let count = windowed("tumbling", How::WITH_GRACE, &words).count(Store::named("count"));
            plan.out(&count.suppress(Store::named("held"), held).to_stream());
        })
        .with_keys(),
        ours("suppress-records", |plan| {
            let held = HoldBack::for_time(Duration::from_secs(1)).rows_max(2);
            let rows = plan.table("input").suppress(Store::named("held"), held);
            plan.out(&rows.to_stream());
        })
        .with_keys(),
    ]
}

fn tell_last(plan: &mut Plan, count: Table<Windowed<String>, u64>) {
    plan.count_drops_of("count");
    plan.out(&count.suppress_until_close(Store::named("held")).to_stream());
}
