//! A customer's items as they change: server-sent events.
//!
//! A `reset` has all items; a `change` has one item with its quantity as it is when the event is made, which may
//! already include later orders, and never goes back. An event's id is the position to resume from.

use std::ops::Bound;
use std::time::Duration;

use axum::extract::State;
use futures_util::stream;
use headwater::core::log::LogId;
use headwater::core::position::Position;
use headwater::prelude::*;
use headwater::{Changes, PAGE_MAX, Update};
use headwater_http::args::QueryArgs;
use headwater_http::headers::LastEventId;
use headwater_http::position::PositionToken;
use headwater_http::problem::Problem;
use headwater_http::refusals::of_query;
use headwater_http::sse::{Sse, SseEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::items::{GroupedItem, customer, grouped};
use crate::domain::{CustomerId, Label, PriceGroup};
use crate::shop::Shop;
use crate::topology::Item;

/// A client may take a longer silence for a broken connection.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Whose items are followed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StreamQuery {
    /// The customer.
    customer_id: String,
}

pub(super) async fn follow(
    State(shop): State<Shop>,
    QueryArgs(query): QueryArgs<StreamQuery>,
    LastEventId(last): LastEventId<PositionToken>,
) -> Result<Sse, Problem> {
    let customer = customer(&query.customer_id)?;
    let since = last.and_then(|token| token.on(shop.running.log_id()));
    let view = shop.running.view(&shop.items).map_err(of_query)?;
    let changes = view.changes(&customer, since.as_ref()).await.map_err(of_query)?;
    let follower = Follower { log: shop.running.log_id(), shop, customer, changes };
    Ok(Sse::new(stream::unfold(follower, Follower::step)).keep_alive(KEEP_ALIVE))
}

/// Turns the changes of items into events about rows.
struct Follower {
    shop: Shop,
    log: LogId,
    customer: CustomerId,
    changes: Changes<Item, u64>,
}

impl Follower {
    /// The next event; the end of the stream if the view cannot be read, so that the client connects anew.
    async fn step(mut self) -> Option<(SseEvent, Self)> {
        match self.next().await {
            Ok(event) => Some((event, self)),
            Err(error) => {
                tracing::warn!(%error, "a stream of items ends");
                None
            }
        }
    }

    async fn next(&mut self) -> Result<SseEvent, QueryError> {
        match self.changes.next().await? {
            Update::Reset { rows, position } => Ok(self.event("reset", &grouped(rows), Some(position))),
            Update::Change { key: (label, price), position, .. } => {
                let row = self.row(label, PriceGroup::of(price)).await?;
                Ok(self.event("change", &row, position))
            }
        }
    }

    /// What the customer ordered of a label in a group: the sum over the group's prices, which have no gap.
    async fn row(&self, label: Label, group: PriceGroup) -> Result<GroupedItem, QueryError> {
        let key = |price| (self.customer.clone(), (label.clone(), price));
        let (lowest, highest) = group.prices().into_inner();
        let (mut from, to) = (Bound::Included(key(lowest)), Bound::Included(key(highest)));
        let mut quantity = 0;
        loop {
            let view = self.shop.running.view(&self.shop.items)?;
            let rows = view.range((from, to.clone()), PAGE_MAX).await?.value;
            quantity += rows.iter().map(|(_, count)| count).sum::<u64>();
            match rows.into_iter().nth(PAGE_MAX - 1) {
                Some((last, _)) => from = Bound::Excluded(last),
                None => return Ok(GroupedItem { label, price: group, quantity }),
            }
        }
    }

    fn event(&self, name: &'static str, data: &impl Serialize, position: Option<Position>) -> SseEvent {
        let event = SseEvent::json(data).expect("labels, groups and numbers are JSON").event(name);
        match position {
            Some(position) => event.id(PositionToken::new(self.log, &position).to_string()),
            None => event,
        }
    }
}
