//! The app as this instance runs it.

use std::sync::Arc;
use std::time::Duration;

use headwater::prelude::*;
use headwater::{Description, Parts, StartError};

use crate::domain::{CustomerId, Money, Order, OrderId, PriceGroup};
use crate::topology::{Item, Ordering, ordering};

/// A running app with the handles to ask it. Cheap to clone.
#[derive(Clone)]
pub struct Shop {
    /// What runs.
    pub running: Running,
    /// Which parts of it run here.
    pub parts: Parts,
    /// Where orders are placed.
    pub orders: Aggregates<Order>,
    /// How often each customer ordered each item.
    pub items: View<(CustomerId, Item), u64>,
    /// How much each customer spent in each price group.
    pub spent: View<(CustomerId, PriceGroup), Money>,
    /// Every order by its id.
    pub placed: View<OrderId, (Version, Order)>,
    /// What the app is made of.
    pub description: Arc<Description>,
}

impl Shop {
    /// Starts the parts of the app that this instance is to run.
    ///
    /// # Errors
    ///
    /// As [`Headwater::start_parts`].
    pub async fn start(headwater: &Headwater, parts: Parts) -> Result<Self, StartError> {
        let Ordering { app, orders, items, spent, placed } = ordering();
        let description = Arc::new(app.describe());
        let running = headwater.start_parts(app, parts).await?;
        Ok(Self { running, parts, orders, items, spent, placed, description })
    }

    /// Finishes and commits what is in flight; answers whether that was done in time.
    pub async fn stop(&self, within: Duration) -> bool {
        self.running.stop(within).await
    }
}
