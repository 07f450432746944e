//! The command side and the query side as two instances that share the log alone.

use headwater::Parts;
use serde_json::{Value, json};

use crate::client::{Instance, memory_log, open_on};

async fn items(shop: &Instance, receipt: &str) -> Value {
    shop.get_after("/orders?customerId=ada", receipt).await.json()
}

#[tokio::test]
async fn orders_are_taken_while_the_query_side_is_stopped_and_it_catches_up() {
    let log = memory_log();
    let commands = open_on(log.clone(), Parts::COMMANDS).await;
    let queries = open_on(log.clone(), Parts::QUERIES).await;
    let first = commands.place("ada", "Tea", "1").await;
    let tea = |quantity: u64| json!([{"label": "Tea", "price": "cheap", "quantity": quantity}]);
    assert_eq!(items(&queries, &first).await, tea(1), "the receipt of one instance is good at the other");
    queries.stop().await;

    let mut last = String::new();
    for _ in 0..20 {
        last = commands.place("ada", "Tea", "1").await;
    }
    let order = commands.post(r#"{"orderId":"o1","customerId":"ada","itemLabel":"Tea","itemPrice":1}"#).await;
    assert_eq!(order.status, 202);
    assert_eq!(commands.get("/orders/o1").await.json()["version"], 1, "without the query side");

    let queries = open_on(log, Parts::QUERIES).await;
    assert_eq!(items(&queries, &last).await[0]["price"], "cheap");
    let receipt = order.header("headwater-receipt").expect("a receipt");
    let seen = queries.get_after("/orders/o1", receipt).await;
    assert_eq!((seen.status, &seen.json()["itemPrice"]), (200, &json!("1.00")));
    let mut events = queries.follow("ada", None).await;
    let mut told = events.next().await.expect("a reset").data;
    while told != tea(22) && told != tea(22)[0] {
        told = events.next().await.expect("the rest").data;
    }
    queries.stop().await;
    commands.stop().await;
}

#[tokio::test]
async fn an_instance_says_what_it_does_not_run() {
    let log = memory_log();
    let commands = open_on(log.clone(), Parts::COMMANDS).await;
    for path in ["/orders?customerId=c", "/spending?customerId=c", "/orders/stream?customerId=c"] {
        assert_eq!(commands.get(path).await.problem().1, "not-this-instance", "{path}");
    }
    let queries = open_on(log, Parts::QUERIES).await;
    let refused = queries.post(r#"{"customerId":"c","itemLabel":"x","itemPrice":1}"#).await;
    assert_eq!(refused.problem().0, 421);
    assert_eq!(queries.get("/orders/nope").await.problem().1, "no-such-order");
    queries.stop().await;
    commands.stop().await;
}
