//! What a customer spent, by price group.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use headwater_http::args::QueryArgs;
use headwater_http::freshness::Freshness;
use headwater_http::headers::Behind;
use headwater_http::position::PositionToken;
use headwater_http::problem::Problem;
use headwater_http::refusals::of_query;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::items::customer;
use crate::domain::PriceGroup;
use crate::shop::Shop;

/// Whose spending is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SpendingQuery {
    /// The customer.
    customer_id: String,
}

/// What was spent in one price group.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Spent {
    /// The group.
    price: PriceGroup,
    /// The sum in pounds.
    total: String,
}

pub(super) async fn list(
    State(shop): State<Shop>,
    QueryArgs(query): QueryArgs<SpendingQuery>,
    freshness: Freshness,
) -> Result<impl IntoResponse, Problem> {
    let customer = customer(&query.customer_id)?;
    let view = shop.running.view(&shop.spent).map_err(of_query)?;
    let answer = freshness.bounded(freshness.of(view).of(&customer)).await?;
    let (behind, position) = (Behind::from(&answer), answer.position);
    let spent = answer.value.into_iter().map(|(price, total)| Spent { price, total: total.to_string() });
    let spent: Vec<_> = spent.collect();
    Ok((PositionToken::new(shop.running.log_id(), &position), behind, Json(spent)))
}
