//! Asking for items, orders and money.

use serde_json::{Value, json};

use crate::client::open;

fn item(label: &str, price: &str, quantity: u64) -> Value {
    json!({"label": label, "price": price, "quantity": quantity})
}

#[tokio::test]
async fn items_are_grouped_by_price_with_quantities_and_money() {
    let shop = open().await;
    let mut receipt = String::new();
    let orders =
        [("Tea", "4.99"), ("Tea", "4.99"), ("Tea", "3"), ("Cup", "5"), ("Tea", "50"), ("Lamp", "50.01")];
    for (label, price) in orders {
        receipt = shop.place("ada", label, price).await;
    }
    shop.place("bob", "Hat", "20").await;
    let tea = [item("Tea", "cheap", 3)];
    let affordable = [item("Cup", "affordable", 1), item("Tea", "affordable", 1)];
    let lamp = [item("Lamp", "expensive", 1)];
    let all = [&tea[..], &affordable, &lamp].concat();
    let cases = [
        ("", &all[..]),
        ("&price=cheap", &tea),
        ("&price=CHEAP", &tea),
        ("&price=AffordAble", &affordable),
        ("&price=expensive", &lamp),
    ];
    // Receipts are per partition, so each order is waited for where it was placed: the last alone is not enough.
    for (query, expected) in cases {
        let path = format!("/orders?customerId=ada{query}");
        eventually(async || shop.get_after(&path, &receipt).await.json() == json!(expected)).await;
    }
    let spent = json!([
        {"price": "cheap", "total": "12.98"},
        {"price": "affordable", "total": "55.00"},
        {"price": "expensive", "total": "50.01"},
    ]);
    eventually(async || shop.get("/spending?customerId=ada").await.json() == spent).await;
    shop.stop().await;
}

/// Waits until something holds; the test's own patience bounds it.
async fn eventually(holds: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + crate::client::PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "it never came about");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_reader_sees_its_own_order_in_every_view() {
    let shop = open().await;
    for n in 1..=40_u64 {
        let receipt = shop.place("ada", "Tea", "4.50").await;
        let items = shop.get_after("/orders?customerId=ada", &receipt).await;
        assert_eq!(items.json(), json!([item("Tea", "cheap", n)]));
        assert!(items.header("headwater-position").is_some_and(|token| token.starts_with("hp1~")));
        let spent = shop.get_after("/spending?customerId=ada", &receipt).await.json();
        let total = format!("{}.{:02}", n * 450 / 100, n * 450 % 100);
        assert_eq!(spent, json!([{"price": "cheap", "total": total}]));
    }
    shop.stop().await;
}

#[tokio::test]
async fn a_customer_of_thousands_of_items_sees_them_all() {
    let shop = open().await;
    let orders = (0..1_200).map(|n| (format!("{n:04}"), format!("{}.{:02}", 60 + n / 100, n % 100)));
    let mut last = String::new();
    for (label, price) in orders {
        last = shop.place("many", &label, &price).await;
        shop.place("many", "Gem", &price).await;
    }
    shop.get_after("/orders?customerId=many", &last).await;
    let all = async || shop.get("/orders?customerId=many").await.json();
    eventually(async || all().await.as_array().is_some_and(|items| items.len() == 1_201)).await;
    let gems = async || all().await.as_array().expect("a list").last().cloned();
    eventually(async || gems().await == Some(item("Gem", "expensive", 1_200))).await;
    let mut events = shop.follow("many", None).await;
    let reset = events.next().await.expect("a reset");
    assert_eq!(reset.data, all().await, "a reset has all of them too");
    shop.place("many", "Gem", "1000").await;
    events.until(item("Gem", "expensive", 1_201)).await;
    shop.stop().await;
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_by_the_parameter() {
    let shop = open().await;
    let long = format!("/orders?customerId={}", "c".repeat(101));
    let cases = [
        ("/orders", "customerId"),
        ("/orders?customerId=", "customerId"),
        ("/orders?customerId=%20", "customerId"),
        ("/orders?customerId=a%07b", "customerId"),
        (&long, "customerId"),
        ("/orders?customerId=c&price=free", "price"),
        ("/orders?customerId=c&price=", "price"),
        ("/orders?customerId=c&price=cheap&price=cheap", "price"),
        ("/orders?customerId=c&group=cheap", "group"),
        ("/orders/stream", "customerId"),
        ("/spending", "customerId"),
        ("/spending?customerId=c&price=cheap", "price"),
    ];
    for (path, field) in cases {
        let answer = shop.get(path).await;
        assert_eq!(answer.problem(), (400, "invalid-parameter".to_owned(), field.to_owned()), "{path}");
    }
    let weird = shop.get("/orders?customerId=c&price=weird").await.json();
    let error = json!({"field": "price", "code": "unknown-group", "detail": "must be cheap, affordable or expensive"});
    assert_eq!(weird["errors"], json!([error]));
    for path in
        ["/orders?customerId=nobody", "/orders?customerId=nobody&price=Cheap", "/spending?customerId=nobody"]
    {
        let answer = shop.get(path).await;
        assert_eq!((answer.status, answer.json()), (200, json!([])), "{path}");
    }
    shop.stop().await;
}

#[tokio::test]
async fn an_order_that_is_not_there_is_a_404() {
    let shop = open().await;
    for path in ["/orders/nope", "/orders/a%20b", "/orders/%2e%2e", &format!("/orders/{}", "o".repeat(101))] {
        assert_eq!(shop.get(path).await.problem().1, "no-such-order", "{path}");
    }
    for path in ["/nope", "/orders/a/b", "/web/package.json", "/package.json"] {
        assert_eq!(shop.get(path).await.problem().1, "not-found", "{path}");
    }
    shop.stop().await;
}

#[tokio::test]
async fn a_receipt_that_cannot_be_waited_for_is_told_apart_from_one_not_reached() {
    let shop = open().await;
    let receipt = shop.place("ada", "Tea", "1").await;
    let ask = async |after: &str, wait: &str| {
        let headers = [("headwater-after", after), ("prefer", wait)];
        shop.ask("GET", "/orders?customerId=ada", &headers, "").await
    };
    let invalid = (400, "invalid-header".to_owned(), "headwater-after".to_owned());
    assert_eq!(ask("nonsense", "wait=1").await.problem(), invalid);
    let (version, parts) =
        (receipt.rsplit('~').next().expect("a version"), receipt.split('~').collect::<Vec<_>>());
    let foreign = receipt.replace(parts[1], &"0".repeat(32));
    assert_eq!(ask(&foreign, "wait=1").await.problem(), invalid);

    let next: u64 = parts[5].parse().expect("an offset");
    let future = format!("{}~{}~{version}", parts[..5].join("~"), next + 1_000);
    let late = ask(&future, "wait=0").await;
    assert_eq!(late.problem().1, "not-yet");
    assert_eq!(late.header("retry-after"), Some("1"), "whole seconds");
    shop.stop().await;
}
