//! Following items live.

use serde_json::{Value, json};

use crate::client::{memory_log, open, open_on};

fn item(label: &str, price: &str, quantity: u64) -> Value {
    json!({"label": label, "price": price, "quantity": quantity})
}

#[tokio::test]
async fn a_stream_begins_with_everything_and_goes_on_with_changes() {
    let shop = open().await;
    let mut events = shop.follow("ada", None).await;
    let reset = events.next().await.expect("a reset");
    assert_eq!((reset.name.as_str(), &reset.data), ("reset", &json!([])));
    assert!(reset.id.is_some(), "a reset can be resumed from");

    shop.place("bob", "Hat", "20").await;
    shop.place("ada", "Tea", "4.99").await;
    let change = events.next().await.expect("a change");
    assert_eq!((change.name.as_str(), &change.data), ("change", &item("Tea", "cheap", 1)));
    shop.place("ada", "Tea", "1").await;
    assert_eq!(events.next().await.expect("a change").data, item("Tea", "cheap", 2), "one row per group");
    shop.place("ada", "Tea", "5").await;
    assert_eq!(events.next().await.expect("a change").data, item("Tea", "affordable", 1));

    let mut later = shop.follow("ada", None).await;
    let all = json!([item("Tea", "cheap", 2), item("Tea", "affordable", 1)]);
    assert_eq!(later.next().await.expect("a reset").data, all);
    shop.stop().await;
    assert_eq!(events.next().await, None, "the stream ended with the server");
}

#[tokio::test]
async fn a_stream_is_resumed_where_it_was_cut_off() {
    let shop = open().await;
    shop.place("ada", "Tea", "1").await;
    let mut events = shop.follow("ada", None).await;
    let mut last = events.next().await.expect("a reset");
    while last.data != json!([item("Tea", "cheap", 1)]) && last.data != item("Tea", "cheap", 1) {
        last = events.next().await.expect("the order");
    }
    drop(events);
    let receipt = shop.place("ada", "Cup", "7").await;
    shop.get_after("/orders?customerId=ada", &receipt).await;
    let mut resumed = shop.follow("ada", last.id.as_deref()).await;
    let missed = resumed.next().await.expect("what was missed");
    assert_eq!((missed.name.as_str(), missed.data), ("change", item("Cup", "affordable", 1)));
    shop.stop().await;
}

#[tokio::test]
async fn a_place_on_another_log_begins_anew_and_what_is_no_place_is_refused() {
    let shop = open().await;
    let receipt = shop.place("ada", "Tea", "1").await;
    shop.get_after("/orders?customerId=ada", &receipt).await;
    let other = open_on(memory_log(), headwater::Parts::ALL).await;
    let foreign = other.follow("ada", None).await.next().await.expect("a reset").id;
    let foreign = foreign.expect("an id").replace("hp1~", "hp1~f").replacen('0', "", 1);
    let answer = shop.ask("GET", "/orders/stream?customerId=ada", &[("last-event-id", "garbage")], "").await;
    assert_eq!(answer.problem(), (400, "invalid-header".to_owned(), "last-event-id".to_owned()));
    let again = shop.follow("ada", Some(&foreign)).await.next().await.expect("a reset");
    assert_eq!((again.name.as_str(), again.data), ("reset", json!([item("Tea", "cheap", 1)])));
    other.stop().await;
    shop.stop().await;
}
