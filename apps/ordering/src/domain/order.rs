//! The aggregate: an order is placed once, and its id is taken from then on.

use headwater::core::clock::Timestamp;
use headwater::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CustomerId, Label, OrderId, Price, PriceGroup};

/// An order, placed or not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// What was ordered, once it was.
    pub placed: Option<NewOrder>,
    /// When.
    pub at: Timestamp,
}

/// What a customer orders: one item at a price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewOrder {
    /// Who orders.
    pub customer: CustomerId,
    /// What.
    pub label: Label,
    /// For how many pence.
    pub price: Price,
}

/// What can be asked of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OrderCommand {
    /// To be placed.
    Place(NewOrder),
}

/// What happened to an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum OrderEvent {
    /// It was placed.
    Placed {
        /// What was ordered.
        order: NewOrder,
        /// When, in milliseconds since 1970 in UTC.
        #[schemars(with = "i64")]
        at: Timestamp,
    },
}

/// Why an order is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OrderRejection {
    /// Another order has this id.
    IdTaken,
}

impl Aggregate for Order {
    const NAME: &'static str = "order";
    type Id = OrderId;
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Rejection = OrderRejection;

    fn decide(&self, command: OrderCommand, context: &Context) -> Result<Vec<OrderEvent>, OrderRejection> {
        let OrderCommand::Place(order) = command;
        match &self.placed {
            None => Ok(vec![OrderEvent::Placed { order, at: context.time() }]),
            Some(placed) if *placed == order => Ok(vec![]),
            Some(_) => Err(OrderRejection::IdTaken),
        }
    }

    fn evolve(&mut self, event: &OrderEvent) {
        let OrderEvent::Placed { order, at } = event;
        self.placed = Some(order.clone());
        self.at = *at;
    }
}

impl OrderEvent {
    /// The order that the event is about.
    pub fn order(&self) -> &NewOrder {
        let Self::Placed { order, .. } = self;
        order
    }

    /// Who ordered.
    pub fn customer(&self) -> CustomerId {
        self.order().customer.clone()
    }

    /// What was ordered, and at which price.
    pub fn item(&self) -> (Label, Price) {
        (self.order().label.clone(), self.order().price)
    }

    /// What it cost.
    pub fn price(&self) -> Price {
        self.order().price
    }

    /// The group of its price.
    pub fn price_group(&self) -> PriceGroup {
        PriceGroup::of(self.price())
    }
}

#[cfg(test)]
mod tests {
    use headwater::testing::given;

    use super::OrderCommand::Place;
    use super::OrderRejection::IdTaken;
    use super::*;

    fn order(label: &str, price: &str) -> NewOrder {
        let parsed = |text| Label::parse(text).unwrap();
        let customer = CustomerId::parse("ada").unwrap();
        NewOrder { customer, label: parsed(label), price: Price::parse(price).unwrap() }
    }

    fn placed(label: &str, price: &str) -> OrderEvent {
        OrderEvent::Placed { order: order(label, price), at: Timestamp(7) }
    }

    #[test]
    fn an_order_is_placed() {
        given::<Order>([])
            .at(Timestamp(7))
            .when(Place(order("kettle", "39")))
            .accepted([placed("kettle", "39")]);
    }

    #[test]
    fn the_same_order_again_changes_nothing() {
        given::<Order>([placed("kettle", "39")]).when(Place(order("kettle", "39.00"))).accepted([]);
    }

    #[test]
    fn an_order_id_is_taken_once() {
        given::<Order>([placed("kettle", "39")]).when(Place(order("toaster", "39"))).rejected(IdTaken);
        given::<Order>([placed("kettle", "39")]).when(Place(order("kettle", "39.01"))).rejected(IdTaken);
    }
}
