//! What an order is: values that cannot be wrong once they exist, and the aggregate that takes each order once.
//!
//! Nothing here knows of HTTP, of a log or of a clock. Values are parsed when they come in from outside; what comes
//! back from the log was valid when it was written and is taken as it is, so that a rule made stricter later never
//! makes the past unreadable.

pub mod flaws;
mod money;
mod order;
mod order_id;
mod price_group;
mod text;

use std::borrow::Cow;

pub use flaws::Flaw;
pub use money::{Money, PRICE_PENCE_MAX, Price};
pub use order::{NewOrder, Order, OrderCommand, OrderEvent, OrderRejection};
pub use order_id::{ORDER_ID_LENGTH_MAX, OrderId};
pub use price_group::PriceGroup;
pub use text::{CUSTOMER_LENGTH_MAX, CustomerId, LABEL_LENGTH_MAX, Label};

/// Why a value from outside does not fit: a stable code, and words for the customer that follow the field's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Unfit {
    /// The code of its flaw.
    pub code: &'static str,
    /// What is wanted, such as "must not be empty".
    pub detail: Cow<'static, str>,
}

impl Unfit {
    pub(crate) fn new(flaw: &'static Flaw, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code: flaw.code, detail: detail.into() }
    }
}
