//! What the other programs lack: keys that were changed are brought together.
use headwater::prelude::*;

pub fn topology(app: &mut App) {
    let orders = app.stream::<String, (String, u64)>("orders");
    let customers = app.table::<String, String>("customers");
    let by_customer = orders.map(|order| order.value.clone()).repartition("orders-by-customer");
    app.view(by_customer.group_by_key().count(Store::named("orders")));
    app.view(by_customer.to_table(Store::named("last-order")));
    let named = by_customer.join(&customers, |cents, name| (name.clone(), *cents.value), Join::default());
    app.emitter(named.to("named"));
    let others = orders.select_key(|order| order.value.0.clone()).repartition("orders-again");
    let window = JoinWindow::within(Store::named("pairs"), minutes(5));
    app.emitter(by_customer.join(&others, |one, other| (*one.value, other.1), window).to("pairs"));
}
