//! A customer's items, grouped by price.
//!
//! The view counts equal labels at equal prices; here those of one label and group become one row.

use std::collections::BTreeMap;

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

use super::problems::of_parameter;
use crate::domain::{CustomerId, Label, PriceGroup};
use crate::shop::Shop;
use crate::topology::Item;

/// Which items are asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ItemsQuery {
    /// Whose items.
    customer_id: String,
    /// Of which group: cheap, affordable or expensive, in any letter case; of all three if absent.
    price: Option<String>,
}

/// What a customer ordered of one label in one price group.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct GroupedItem {
    /// What.
    pub(super) label: Label,
    /// The group.
    pub(super) price: PriceGroup,
    /// How often.
    pub(super) quantity: u64,
}

pub(super) async fn list(
    State(shop): State<Shop>,
    QueryArgs(query): QueryArgs<ItemsQuery>,
    freshness: Freshness,
) -> Result<impl IntoResponse, Problem> {
    let customer = customer(&query.customer_id)?;
    let group = query.price.map(|name| name.parse()).transpose();
    let group: Option<PriceGroup> = group.map_err(|unfit| of_parameter("price", unfit))?;
    let view = shop.running.view(&shop.items).map_err(of_query)?;
    let answer = freshness.bounded(freshness.of(view).of(&customer)).await?;
    let (behind, position) = (Behind::from(&answer), answer.position);
    let mut items = grouped(answer.value);
    items.retain(|item| group.is_none_or(|group| item.price == group));
    Ok((PositionToken::new(shop.running.log_id(), &position), behind, Json(items)))
}

/// The customer whom a parameter names.
pub(super) fn customer(text: &str) -> Result<CustomerId, Problem> {
    CustomerId::parse(text).map_err(|unfit| of_parameter("customerId", unfit))
}

/// One row per label and group, by group and then by label.
pub(super) fn grouped(rows: impl IntoIterator<Item = (Item, u64)>) -> Vec<GroupedItem> {
    let mut quantities: BTreeMap<(PriceGroup, Label), u64> = BTreeMap::new();
    for ((label, price), count) in rows {
        *quantities.entry((PriceGroup::of(price), label)).or_default() += count;
    }
    let item = |((price, label), quantity)| GroupedItem { label, price, quantity };
    quantities.into_iter().map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Price;

    #[test]
    fn a_label_has_one_row_in_each_group() {
        let row = |label, price, count| ((Label::parse(label).unwrap(), Price::parse(price).unwrap()), count);
        let rows = [row("tea", "3.50", 1), row("tea", "4.99", 2), row("tea", "5", 4), row("a", "60", 1)];
        let told: Vec<_> = grouped(rows)
            .into_iter()
            .map(|item| (item.label.to_string(), item.price.as_str(), item.quantity))
            .collect();
        let expected = [("tea", "cheap", 3), ("tea", "affordable", 4), ("a", "expensive", 1)];
        assert_eq!(told, expected.map(|(label, price, quantity)| (label.to_owned(), price, quantity)));
    }
}
