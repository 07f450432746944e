//~ the keys of this stream were changed, so equal keys may lie in different partitions
//~ bring them together first: `.repartition("name")`, or group with `.group_by("name", |item| key)`
use headwater::prelude::*;

pub fn topology(app: &mut App) {
    let orders = app.stream::<String, (String, u64)>("orders");
    let by_customer = orders.select_key(|order| order.value.0.clone());
    app.view(by_customer.group_by_key().count(Store::named("orders")));
}
