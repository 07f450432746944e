//! The app: one aggregate, and the views that customers look at.

use headwater::prelude::*;

use crate::domain::{CustomerId, Label, Money, Order, OrderId, Price, PriceGroup};

/// An item of one customer: equal labels at equal prices are one item.
pub type Item = (Label, Price);

/// The app with what it can be asked.
pub struct Ordering {
    /// The app itself.
    pub app: App,
    /// Where orders are placed.
    pub orders: Aggregates<Order>,
    /// How often each customer ordered each item.
    pub items: View<(CustomerId, Item), u64>,
    /// How much each customer spent in each price group.
    pub spent: View<(CustomerId, PriceGroup), Money>,
    /// Every order by its id, for instances that do not run the aggregate.
    pub placed: View<OrderId, (Version, Order)>,
}

/// Declares the app.
pub fn ordering() -> Ordering {
    let mut app = App::new("ordering");
    let orders = app.aggregate::<Order>();
    // A grouped key is (partition part, rest): all items of one customer lie in one shard.
    let items = app.view(
        orders
            .events()
            .group_by("items-by-customer", |event| (event.customer(), event.item()))
            .count(Store::named("items")),
    );
    let spent = app.view(
        orders
            .events()
            .group_by("spent-by-customer", |event| (event.customer(), event.price_group()))
            .fold(Store::named("spent"), |sum: &mut Money, event| *sum += event.price()),
    );
    let placed = app.view(orders.events().group_by_key().fold(
        Store::named("orders"),
        |(version, order): &mut (Version, Order), event| {
            version.0 += 1;
            order.evolve(event.value);
        },
    ));
    Ordering { app, orders, items, spent, placed }
}
