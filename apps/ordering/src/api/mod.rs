//! HTTP: orders in, items and money out, live changes, the page, and what operators look at.

pub mod codes;
mod freshness;
mod items;
mod orders;
mod page;
mod position;
mod problems;
mod request;
mod spending;
mod stream;

use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use headwater::{Description, Phase};
use headwater_http::health::Health;
use headwater_http::metrics::Metrics;
use headwater_http::openapi::{Api, Operation};
use headwater_http::{codes as common, problem};

pub use position::{InvalidPositionToken, PositionToken};

use crate::shop::Shop;

/// The media types of `/topology`.
const TEXT: &str = "text/plain; charset=utf-8";

/// Everything that the shop answers; with `/metrics` where this process records them.
pub fn router(shop: Shop, metrics: Option<&Metrics>) -> Router {
    let metrics = metrics.map(Metrics::routes).unwrap_or_default();
    api()
        .into_router()
        .with_state(shop.clone())
        .merge(topology(shop.description.clone()))
        .merge(health(shop).routes())
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
        .problems(&[&common::INVALID_BODY, &codes::ORDER_ID_TAKEN, &codes::NOT_HERE]);
    let order = Operation::new("Tell an order's state")
        .reads_view()
        .answers::<orders::OrderState>(200, "The order.")
        .problems(&[&codes::NO_SUCH_ORDER]);
    let items = Operation::new("List a customer's items, grouped by price")
        .reads_view()
        .query::<items::ItemsQuery>()
        .answers::<Vec<items::GroupedItem>>(200, "The items; none is an empty list.")
        .problems(&[&codes::NOT_HERE]);
    let stream = Operation::new("Follow a customer's items")
        .description(
            "A `reset` event has all items, as the list does; a `change` event has one item as it is now, with \
             quantity 0 if it is gone.",
        )
        .query::<stream::StreamQuery>()
        .streams::<items::GroupedItem>("Items as they change.")
        .problems(&[&common::INVALID_HEADER, &common::VIEW_BUILDING, &codes::NOT_HERE]);
    let spending = Operation::new("Tell what a customer spent in each price group")
        .reads_view()
        .query::<spending::SpendingQuery>()
        .answers::<Vec<spending::Spent>>(200, "The groups in which the customer ordered.")
        .problems(&[&codes::NOT_HERE]);
    Api::new("Ordering", env!("CARGO_PKG_VERSION"))
        .post("/orders", place, orders::place)
        .get("/orders", items, items::list)
        .get("/orders/stream", stream, stream::follow)
        .get("/orders/{id}", order, orders::show)
        .get("/spending", spending, spending::list)
}

fn topology(description: Description) -> Router {
    let json = description.json();
    let text = description.to_string();
    Router::new()
        .route("/topology", get(async || ([(axum::http::header::CONTENT_TYPE, TEXT)], text).into_response()))
        .route("/topology.json", get(async || axum::Json(json)))
}

/// Alive as long as no shard has stopped for good; ready once every shard runs, on a log without damage.
///
/// Orders need a log that answers; queries alone go on from what is here, and only tell.
fn health(shop: Shop) -> Health {
    let takes_orders = shop.parts.commands;
    let (running, log, answers) = (shop.running.clone(), shop.running.clone(), shop.running.clone());
    let answers = move || answers.log_silence().map_or(Ok(()), silent);
    let health = Health::new()
        .alive("shards", move || none_of(stopped(&shop)))
        .ready("topologies", move || none_of(running.troubles()))
        .ready("log", move || none_of(log.log_damage()));
    if takes_orders { health.ready("log-answers", answers) } else { health.note("log-answers", answers) }
}

fn silent(silence: Duration) -> Result<(), String> {
    Err(format!("the log has not answered for {} ms", silence.as_millis()))
}

fn stopped(shop: &Shop) -> Vec<String> {
    let report = shop.running.report();
    let stopped = report.iter().filter_map(|topology| {
        let reasons = topology.shards.iter().filter_map(|shard| match &shard.phase {
            Phase::Stopped { reason } => Some(reason.as_str()),
            _ => None,
        });
        let reasons: Vec<_> = reasons.collect();
        (!reasons.is_empty()).then(|| format!("{}: {}", topology.name, reasons.join("; ")))
    });
    stopped.collect()
}

fn none_of(troubles: Vec<String>) -> Result<(), String> {
    if troubles.is_empty() { Ok(()) } else { Err(troubles.join("\n")) }
}
