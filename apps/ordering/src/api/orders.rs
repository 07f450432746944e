//! Placing an order, and telling its state.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use headwater::command::Origin;
use headwater::core::clock::Timestamp;
use headwater::prelude::*;
use headwater_http::args::PathArgs;
use headwater_http::codes as common;
use headwater_http::freshness::Freshness;
use headwater_http::headers::{Behind, IdempotencyKey, ReceiptHeader};
use headwater_http::json::JsonBody;
use headwater_http::problem::Problem;
use headwater_http::refusals::{SOON, of_query};
use headwater_http::traceparent::TraceParent;
use schemars::JsonSchema;
use serde::Serialize;

use super::codes;
use super::problems::{id_taken, of_send};
use super::request::{Fields, OrderRequest};
use crate::domain::{CustomerId, Label, NewOrder, Order, OrderCommand, OrderId, OrderRejection};
use crate::shop::Shop;

/// The answer to a placed order.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Placed {
    /// The order's id.
    order_id: OrderId,
    /// Send it as `Headwater-After` to read what includes this order.
    receipt: String,
}

/// An order's state.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderState {
    /// Its id.
    order_id: OrderId,
    /// Who ordered.
    customer_id: CustomerId,
    /// What.
    item_label: Label,
    /// For how many pounds.
    item_price: String,
    /// How many events it has.
    version: u64,
    /// When it was placed, in UTC (RFC 3339).
    placed_at: String,
}

pub(super) async fn place(
    State(shop): State<Shop>,
    key: Option<IdempotencyKey>,
    trace: TraceParent,
    JsonBody(fields): JsonBody<Fields>,
) -> Result<impl IntoResponse, Problem> {
    if !shop.parts.commands && !shop.running.is_one_of_several() {
        return Err(Problem::new(&common::NOT_THIS_INSTANCE, "this instance takes no orders"));
    }
    let mut request = OrderRequest::parse(fields)?;
    let id = request.order_id.take().unwrap_or_else(|| made_id(key));
    let receipt = send(&shop, &id, request.into_order(), trace).await?;
    let location: [(HeaderName, String); 1] = [(header::LOCATION, path_of(&id))];
    let answer = Placed { order_id: id, receipt: receipt.to_string() };
    Ok((StatusCode::ACCEPTED, location, ReceiptHeader(receipt), Json(answer)))
}

fn made_id(key: Option<IdempotencyKey>) -> OrderId {
    key.map_or_else(OrderId::random, |key| OrderId::of_key(key.as_str()))
}

async fn send(shop: &Shop, id: &OrderId, order: NewOrder, trace: TraceParent) -> Result<Receipt, Problem> {
    let origin = Origin { traceparent: Some(trace.to_string()), ..Origin::default() };
    let sent = shop.running.send(&shop.orders, id, OrderCommand::Place(order));
    match sent.command_id(command_id(id)).origin(origin).await.map_err(of_send)? {
        Accepted(receipt) => Ok(receipt),
        Rejected(OrderRejection::IdTaken) => Err(id_taken()),
        Unknown(_) => Err(outcome_unknown(id)),
    }
}

/// An order is placed by one command, so its id names the command too.
fn command_id(id: &OrderId) -> CommandId {
    CommandId::new(format!("place-{id}")).expect("an order id is short, and has no control characters")
}

fn outcome_unknown(id: &OrderId) -> Problem {
    let detail = format!(
        "whether the order was placed is not known: send it again under the id \"{id}\", it counts once"
    );
    Problem::new(&common::OUTCOME_UNKNOWN, detail).retry_after(SOON).member("orderId", id.as_str())
}

/// The path of an order, with what a path cannot hold escaped (RFC 3986, section 3.3).
fn path_of(id: &OrderId) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ if b"-._~!$&'()*+,;=:@".contains(&byte) => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    format!("/orders/{}", id.as_str().bytes().map(escape).collect::<String>())
}

pub(super) async fn show(
    State(shop): State<Shop>,
    PathArgs(id): PathArgs<String>,
    freshness: Freshness,
) -> Result<impl IntoResponse, Problem> {
    let id = OrderId::parse(&id).map_err(|_| no_such_order())?;
    let (behind, (version, order)) = committed(&shop, &id, freshness).await?;
    let state = state_of(id, version, order).ok_or_else(no_such_order)?;
    Ok((behind, Json(state)))
}

/// The aggregate's own state where it runs, so that an order is there as soon as its POST is answered.
async fn committed(
    shop: &Shop,
    id: &OrderId,
    freshness: Freshness,
) -> Result<(Behind, (Version, Order)), Problem> {
    if shop.parts.commands {
        let state = shop.running.state(&shop.orders, id).await.map_err(of_send)?;
        return Ok((Behind::silence(shop.running.log_silence()), state));
    }
    let view = shop.running.view(&shop.placed).map_err(of_query)?;
    let answer = freshness.bounded(freshness.of(view).get(id)).await?;
    Ok((Behind::from(&answer), answer.value.unwrap_or_default()))
}

fn no_such_order() -> Problem {
    Problem::new(&codes::NO_SUCH_ORDER, "there is no order of this id")
}

fn state_of(order_id: OrderId, version: Version, order: Order) -> Option<OrderState> {
    let NewOrder { customer, label, price } = order.placed?;
    Some(OrderState {
        order_id,
        customer_id: customer,
        item_label: label,
        item_price: price.to_string(),
        version: version.0,
        placed_at: rfc3339(order.at),
    })
}

fn rfc3339(Timestamp(ms): Timestamp) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| format!("{time:.3}"))
}
