//! An order as it is sent: every field that does not fit is told at once.

use std::fmt;

use headwater_http::codes as common;
use headwater_http::exact_number::ExactNumber;
use headwater_http::problem::{FieldError, Problem};
use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::{CustomerId, Label, NewOrder, OrderId, Price, Unfit, flaws};

/// A request to place an order, parsed.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OrderRequest {
    /// The order's id, which is its idempotency key; made by the server if absent.
    pub(super) order_id: Option<OrderId>,
    /// Who orders.
    pub(super) customer_id: CustomerId,
    /// What.
    pub(super) item_label: Label,
    /// For how many pounds, with at most two decimals.
    #[schemars(with = "ExactNumber")]
    pub(super) item_price: Price,
}

/// The fields of a JSON object as they were sent.
#[derive(Debug)]
pub(super) struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor).map(Self)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Vec<(String, Box<RawValue>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an order as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(fields)
    }
}

impl OrderRequest {
    /// Parses what was sent.
    ///
    /// # Errors
    ///
    /// A problem that names every field that does not fit.
    pub(super) fn parse(fields: Fields) -> Result<Self, Problem> {
        let mut form = Form { fields: fields.0, errors: Vec::new() };
        let order_id = form.optional("orderId", |sent| OrderId::parse(&text(sent)?));
        let customer_id = form.required("customerId", |sent| CustomerId::parse(&text(sent)?));
        let item_label = form.required("itemLabel", |sent| Label::parse(&text(sent)?));
        let item_price = form.required("itemPrice", price);
        form.refuse_the_rest();
        match (customer_id, item_label, item_price) {
            (Some(customer_id), Some(item_label), Some(item_price)) if form.errors.is_empty() => {
                Ok(Self { order_id, customer_id, item_label, item_price })
            }
            _ => Err(unfit(form.errors)),
        }
    }

    /// What the domain is asked for.
    pub(super) fn into_order(self) -> NewOrder {
        NewOrder { customer: self.customer_id, label: self.item_label, price: self.item_price }
    }
}

/// Fields that are taken one by one, and what was wrong with them.
struct Form {
    fields: Vec<(String, Box<RawValue>)>,
    errors: Vec<FieldError>,
}

type Parse<T> = fn(&RawValue) -> Result<T, Unfit>;

impl Form {
    fn required<T>(&mut self, name: &str, parse: Parse<T>) -> Option<T> {
        match self.take(name) {
            Some(sent) => self.parsed(name, parse(&sent)),
            None => self.parsed(name, Err(Unfit::new(&flaws::MISSING_FIELD, "must be given"))),
        }
    }

    fn optional<T>(&mut self, name: &str, parse: Parse<T>) -> Option<T> {
        let sent = self.take(name).filter(|sent| sent.get() != "null")?;
        self.parsed(name, parse(&sent))
    }

    fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        let place = self.fields.iter().position(|(sent, _)| sent == name)?;
        Some(self.fields.remove(place).1)
    }

    fn parsed<T>(&mut self, name: &str, parsed: Result<T, Unfit>) -> Option<T> {
        parsed.map_err(|unfit| self.errors.push(FieldError::new(name, unfit.detail).code(unfit.code))).ok()
    }

    /// What is left over is there twice, or not known.
    fn refuse_the_rest(&mut self) {
        const KNOWN: [&str; 4] = ["orderId", "customerId", "itemLabel", "itemPrice"];
        for (name, _) in std::mem::take(&mut self.fields) {
            let unfit = match KNOWN.contains(&name.as_str()) {
                true => Unfit::new(&flaws::DUPLICATE_FIELD, "must be given once"),
                false => Unfit::new(
                    &flaws::UNKNOWN_FIELD,
                    format!("is unknown; an order has {}", KNOWN.join(", ")),
                ),
            };
            self.parsed(&name, Err::<(), _>(unfit));
        }
    }
}

fn unfit(errors: Vec<FieldError>) -> Problem {
    let told = errors.iter().map(|error| format!("{} {}", error.field, error.detail));
    let detail = told.collect::<Vec<_>>().join("; ");
    Problem::new(&common::INVALID_BODY, detail).errors(errors)
}

/// The text of a JSON string.
fn text(sent: &RawValue) -> Result<String, Unfit> {
    serde_json::from_str(sent.get()).map_err(|_| Unfit::new(&flaws::NOT_TEXT, "must be text"))
}

/// The price in a JSON number, or in a string that holds one.
fn price(sent: &RawValue) -> Result<Price, Unfit> {
    match text(sent) {
        Ok(text) => Price::parse(&text),
        Err(_) => Price::parse(sent.get()),
    }
}
