//! What is on the log stays readable: the events' schema is committed, and old payloads are recorded.

use headwater::testing;
use ordering::domain::{Order, OrderEvent};

const SCHEMAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas");

#[test]
fn the_committed_schema_is_that_of_the_events() {
    let now = schemars::schema_for!(OrderEvent).to_value();
    testing::schema(format!("{SCHEMAS}/order.events.json"), &now);
}

#[test]
fn every_recorded_payload_is_read() {
    let events = testing::recorded::<Order>(format!("{SCHEMAS}/recorded"));
    let read: Vec<_> =
        events.iter().map(|event| (event.order().label.as_str(), event.price().pence())).collect();
    assert_eq!(read, [("café 🫖", 3_900), ("x", 99_999_999_999_999)]);
}
