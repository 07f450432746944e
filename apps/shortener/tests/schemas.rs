//! What is on the log stays readable: the events' schema is committed, and old payloads are recorded.

use headwater::testing;
use shortener::domain::{Link, LinkEvent};

const SCHEMAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas");

#[test]
fn the_committed_schema_is_that_of_the_events() {
    let now = schemars::schema_for!(LinkEvent).to_value();
    testing::schema(format!("{SCHEMAS}/link.events.json"), &now);
}

#[test]
fn every_recorded_payload_is_read() {
    let events = testing::recorded::<Link>(format!("{SCHEMAS}/recorded"));
    let kind = |event: &LinkEvent| match event {
        LinkEvent::Shortened { terms, .. } => format!("{} {:?}", terms.url, terms.max_visits),
        LinkEvent::Visited(visit) => visit.referrer.to_string(),
        LinkEvent::Deleted => "deleted".to_owned(),
    };
    let read: Vec<_> = events.iter().map(kind).collect();
    let expected =
        ["deleted", "https://bücher.example/{x} Some(3)", "https://example.com/ None", "news.example", ""];
    assert_eq!(read, expected);
}
