//! HTTP: orders in, items and money out, live changes, the page, and what operators look at.

pub mod codes;
mod items;
mod orders;
mod page;
mod problems;
mod request;
mod spending;
mod stream;

use axum::Router;
use headwater_http::metrics::Metrics;
use headwater_http::openapi::{Api, Operation};
use headwater_http::serve::Limits;
use headwater_http::{app, codes as common, problem};

use crate::shop::Shop;

/// The longest body: an order has less than 2 KB.
const BODY_BYTES_MAX: usize = 64 * 1_024;

/// What one request may take of the server.
pub fn limits() -> Limits {
    Limits { body_bytes_max: BODY_BYTES_MAX, ..Limits::default() }
}

/// Everything that the shop answers; with `/metrics` where this process records them.
pub fn router(shop: Shop, metrics: Option<&Metrics>) -> Router {
    let metrics = metrics.map(Metrics::routes).unwrap_or_default();
    api()
        .into_router()
        .with_state(shop.clone())
        .merge(app::topology(&shop.description))
        .merge(app::health(&shop.running, shop.parts).routes())
        .merge(problem::routes(codes::ALL))
        .merge(page::routes())
        .merge(metrics)
}

fn api() -> Api<Shop> {
    let place = Operation::new("Place an order")
        .description(
            "The order's id is its idempotency key: the same order again answers the same. Without an id the \
             server makes one, from the Idempotency-Key where there is one.",
        )
        .command()
        .body::<request::OrderRequest>()
        .answers::<orders::Placed>(202, "The order is placed and durable.")
        .problems(&[&common::INVALID_BODY, &codes::ORDER_ID_TAKEN, &common::NOT_THIS_INSTANCE]);
    let order = Operation::new("Tell an order's state")
        .reads_view()
        .answers::<orders::OrderState>(200, "The order.")
        .problems(&[&codes::NO_SUCH_ORDER]);
    let items = Operation::new("List a customer's items, grouped by price")
        .reads_view()
        .query::<items::ItemsQuery>()
        .answers::<Vec<items::GroupedItem>>(200, "The items; none is an empty list.")
        .problems(&[&common::NOT_THIS_INSTANCE]);
    let stream = Operation::new("Follow a customer's items")
        .description(
            "A `reset` event has all items, as the list does; a `change` event has one item as it is now, with \
             quantity 0 if it is gone.",
        )
        .query::<stream::StreamQuery>()
        .streams::<items::GroupedItem>("Items as they change.")
        .problems(&[&common::INVALID_HEADER, &common::VIEW_BUILDING, &common::NOT_THIS_INSTANCE]);
    let spending = Operation::new("Tell what a customer spent in each price group")
        .reads_view()
        .query::<spending::SpendingQuery>()
        .answers::<Vec<spending::Spent>>(200, "The groups in which the customer ordered.")
        .problems(&[&common::NOT_THIS_INSTANCE]);
    Api::new("Ordering", env!("CARGO_PKG_VERSION"))
        .post("/orders", place, orders::place)
        .get("/orders", items, items::list)
        .get("/orders/stream", stream, stream::follow)
        .get("/orders/{id}", order, orders::show)
        .get("/spending", spending, spending::list)
}
