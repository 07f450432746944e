//! Several instances that share a log, and ask each other over HTTP: any of them answers everything.

use headwater::Parts;
use serde_json::json;

use crate::client::{Instance, PATIENCE, memory_log, open_among};

const SECRET: &str = "a secret of sixteen characters or more";

async fn ready(instances: &[Instance]) {
    for instance in instances {
        instance.shop.running.ready(PATIENCE).await.expect("every shard has an owner");
    }
}

#[tokio::test]
async fn any_instance_of_either_role_takes_orders_and_tells_them() {
    let log = memory_log();
    let mut instances = Vec::new();
    for (n, parts) in
        [Parts::COMMANDS, Parts::COMMANDS, Parts::QUERIES, Parts::QUERIES].into_iter().enumerate()
    {
        instances.push(open_among(&log, parts, &format!("i{n}"), SECRET).await);
    }
    ready(&instances).await;
    let at = |n: usize| &instances[n % instances.len()];
    for n in 0..24_usize {
        let customer = format!("c{}", n % 5);
        let receipt = at(n).place(&customer, "Tea", "1").await;
        for asked in 0..4 {
            let items = at(asked).get_after(&format!("/orders?customerId={customer}"), &receipt).await;
            let tea = json!([{"label": "Tea", "price": "cheap", "quantity": n / 5 + 1}]);
            assert_eq!((items.status, items.json()), (200, tea), "order {n} at instance {asked}");
            assert_eq!(items.header("headwater-stale-ms"), None, "the log is there");
        }
    }
    let order = json!({"orderId": "o1", "customerId": "ada", "itemLabel": "Tea", "itemPrice": 1}).to_string();
    let other = json!({"orderId": "o1", "customerId": "ada", "itemLabel": "Pot", "itemPrice": 9}).to_string();
    for asked in 0..4 {
        assert_eq!(at(asked).post(&order).await.status, 202, "the same order counts once, from anywhere");
        assert_eq!(at(asked).post(&other).await.problem().1, "order-id-taken");
    }
    let mut events = at(0).follow("ada", None).await;
    events.until(json!([{"label": "Tea", "price": "cheap", "quantity": 1}])).await;
    let place = json!({"customerId": "ada", "itemLabel": "Tea", "itemPrice": 1}).to_string();
    assert_eq!(at(3).post(&place).await.status, 202);
    events.until(json!({"label": "Tea", "price": "cheap", "quantity": 2})).await;
    for instance in instances {
        instance.stop().await;
    }
}

#[tokio::test]
async fn orders_are_taken_with_every_query_instance_gone_and_told_by_a_later_one() {
    let log = memory_log();
    let commands = open_among(&log, Parts::COMMANDS, "c", SECRET).await;
    let queries = open_among(&log, Parts::QUERIES, "q", SECRET).await;
    queries.stop().await;
    let receipt = commands.place("ada", "Tea", "1").await;
    let gone = commands.get("/orders?customerId=ada").await;
    assert_eq!((gone.status, gone.problem().1.as_str()), (503, "unavailable"), "never an empty list");
    assert!(gone.header("retry-after").is_some());
    let queries = open_among(&log, Parts::QUERIES, "q", SECRET).await;
    let items = commands.get_after("/orders?customerId=ada", &receipt).await;
    assert_eq!(items.json()[0]["quantity"], 1, "{items:?}");
    queries.stop().await;
    commands.stop().await;
}

#[tokio::test]
async fn whoever_does_not_share_the_secret_is_not_answered() {
    let log = memory_log();
    let commands = open_among(&log, Parts::COMMANDS, "c", SECRET).await;
    let stranger = open_among(&log, Parts::QUERIES, "q", "another secret of many characters").await;
    commands.shop.running.ready(PATIENCE).await.expect("it runs by itself");
    let bare = commands.ask("POST", "/-/peers/ordering", &[], "").await;
    assert_eq!(bare.problem().1, "unauthenticated");
    let order = json!({"orderId": "o1", "customerId": "ada", "itemLabel": "Tea", "itemPrice": 1}).to_string();
    let refused = stranger.post(&order).await;
    assert_eq!((refused.status, refused.problem().1.as_str()), (503, "unavailable"));
    assert_eq!(commands.get("/orders/o1").await.problem().1, "no-such-order", "nothing was placed");
    commands.stop().await;
    stranger.stop().await;
}
