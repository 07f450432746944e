//~ the keys of this stream were changed, so equal keys may lie in different partitions
//~ bring them together first: `.repartition("name")`, or group with `.group_by("name", |item| key)`
use headwater::prelude::*;

pub fn topology(app: &mut App) {
    let payments = app.stream::<String, u64>("payments");
    let orders = app.stream::<String, (String, u64)>("orders").map(|order| order.value.clone());
    let window = JoinWindow::within(Store::named("pairs"), minutes(5));
    app.emitter(payments.join(&orders, |one, other: &u64| (*one.value, *other), window).to("pairs"));
}
