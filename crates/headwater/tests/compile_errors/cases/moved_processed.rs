//~ the keys of this stream were changed, so equal keys may lie in different partitions
//~ bring them together first: `.repartition("name")`, or group with `.group_by("name", |item| key)`
use headwater::prelude::*;
use headwater::{Keyed, Processing, Processor, Timers};

struct Echo;

impl Processor for Echo {
    type Key = String;
    type Value = u64;
    type OutKey = String;
    type OutValue = u64;
    type RowKey = String;
    type Row = u64;

    fn process(&mut self, item: Keyed<'_, String, u64>, next: &mut Processing<'_, '_, Self>) {
        next.forward(item.key, item.value);
    }
}

pub fn topology(app: &mut App) {
    let visits = app.stream::<String, u64>("visits").select_key(|visit| visit.key.clone());
    app.emitter(visits.process(Store::named("echo"), Timers::default(), || Echo).to("echoes"));
}
