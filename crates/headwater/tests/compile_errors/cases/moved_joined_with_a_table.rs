//~ the keys of this stream were changed, so equal keys may lie in different partitions
//~ bring them together first: `.repartition("name")`, or group with `.group_by("name", |item| key)`
use headwater::prelude::*;

pub fn topology(app: &mut App) {
    let orders = app.stream::<String, (String, u64)>("orders");
    let customers = app.table::<String, String>("customers");
    let by_customer = orders.flat_map(|order| vec![order.value.clone()]);
    let named = by_customer.join(&customers, |cents, name| (name.clone(), *cents.value), Join::default());
    app.emitter(named.to("named"));
}
