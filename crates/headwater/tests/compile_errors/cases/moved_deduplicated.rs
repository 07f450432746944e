//~ the keys of this stream were changed, so equal keys may lie in different partitions
//~ bring them together first: `.repartition("name")`, or group with `.group_by("name", |item| key)`
use headwater::Once;
use headwater::prelude::*;

pub fn topology(app: &mut App) {
    let visits = app.stream::<String, String>("visits").select_key(|visit| visit.value.clone());
    let once = visits.deduplicate(Store::named("seen"), Once::within(minutes(5)));
    app.emitter(once.to("first-visits"));
}
