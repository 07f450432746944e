//! Clients and logs that fail in the middle.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use headwater::Parts;
use headwater::log::memory::{FaultKind, Faults, Op};
use headwater::prelude::CommandId;
use ordering::domain::OrderId;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout};

use crate::client::{Instance, PATIENCE, memory_log, open, open_behind, open_on, request};

const JSON: (&str, &str) = ("content-type", "application/json");

fn order(id: &str) -> String {
    json!({"orderId": id, "customerId": "c", "itemLabel": "x", "itemPrice": 1}).to_string()
}

/// What became of a request.
#[derive(Debug, PartialEq)]
enum Handler {
    Entered,
    Answered,
    Cancelled,
}

/// Tells that a handler was cancelled, unless it had answered.
struct Watched {
    told: UnboundedSender<Handler>,
    answered: bool,
}

impl Watched {
    fn new(told: &UnboundedSender<Handler>) -> Self {
        let _ = told.send(Handler::Entered);
        Self { told: told.clone(), answered: false }
    }

    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.told.send(if self.answered { Handler::Answered } else { Handler::Cancelled });
    }
}

#[tokio::test]
async fn an_order_in_flight_is_placed_though_its_client_went_away() {
    let (told, mut handlers) = unbounded_channel();
    let watch = from_fn(move |request: Request, next: Next| {
        let watched = Watched::new(&told);
        async move {
            let answer = next.run(request).await;
            watched.answered();
            answer
        }
    });
    let log = memory_log();
    let shop = open_behind(log.clone(), Parts::ALL, |router| router.layer(watch)).await;
    shop.shop.running.ready(PATIENCE).await.expect("every shard runs");
    let deadline = Instant::now() + PATIENCE;
    // A client may also go before its whole order was handed over, and then there is none: that is tried again.
    for n in 0_u64.. {
        assert!(Instant::now() < deadline, "no order was placed without its client");
        let held = log.hold(Op::Commit);
        let mut client = shop.connect().await;
        client.send(&request("POST", "/orders", &[JSON], &order(&format!("gone-{n}")))).await;
        assert_eq!(handlers.recv().await, Some(Handler::Entered));
        tokio::time::sleep(Duration::from_millis(n)).await;
        drop(client);
        let ended = timeout(PATIENCE, handlers.recv()).await.expect("a handler ends with its client");
        assert_eq!(ended, Some(Handler::Cancelled), "it could not answer while the commit was held");
        drop(held);
        if is_placed(&shop, &format!("gone-{n}")).await {
            break;
        }
    }
    shop.stop().await;
}

async fn is_placed(shop: &Instance, id: &str) -> bool {
    let command = CommandId::new(format!("place-{id}")).expect("an id");
    let id = OrderId::parse(id).expect("an id");
    let outcome = shop.shop.running.outcome(&shop.shop.orders, &id, &command);
    outcome.within(Duration::from_millis(200)).await.expect("the shard runs").is_some()
}

#[tokio::test]
async fn an_order_of_unknown_outcome_may_be_sent_again_and_counts_once() {
    for (fault, written) in [(FaultKind::UnknownWritten, true), (FaultKind::UnknownNotWritten, false)] {
        let log = memory_log();
        let shop = open_on(log.clone(), Parts::ALL).await;
        shop.shop.running.ready(PATIENCE).await.expect("every shard runs");
        log.inject(Op::Commit, fault);
        let unknown = shop.post(&order("o1")).await;
        assert_eq!(unknown.problem().1, "outcome-unknown", "{fault}, written: {written}");
        assert_eq!(unknown.header("retry-after"), Some("1"), "whole seconds");
        assert_eq!(unknown.json()["orderId"], "o1");
        let receipt = placed_at_last(&shop, "o1").await;
        let items = shop.get_after("/orders?customerId=c", &receipt).await.json();
        assert_eq!(items, json!([{"label": "x", "price": "cheap", "quantity": 1}]), "{fault}");
        shop.stop().await;
    }
}

/// Sends an order until it is taken, as a client does that was told to; answers its receipt.
async fn placed_at_last(shop: &Instance, id: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = shop.post(&order(id)).await;
        if let Some(receipt) = answer.header("headwater-receipt") {
            return receipt.to_owned();
        }
        assert!(answer.status >= 500 && Instant::now() < deadline, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_without_space_and_orders_are_taken_when_it_returns() {
    let log = memory_log();
    let shop = open_on(log.clone(), Parts::ALL).await;
    let before = shop.place("c", "x", "1").await;
    log.set_faults(Faults::none().rate(FaultKind::Full, 1_000));
    let refused = shop.post(&order("o1")).await;
    assert_eq!(refused.problem(), (507, "storage-full".to_owned(), String::new()));
    assert_eq!(shop.get("/orders/o1").await.status, 404);
    assert_eq!(shop.get("/orders?customerId=nobody").await.status, 200, "reading goes on");

    log.set_faults(Faults::none());
    let after = placed_at_last(&shop, "o1").await;
    for receipt in [before, after] {
        shop.get_after("/orders?customerId=c", &receipt).await;
    }
    let items = shop.get("/orders?customerId=c").await.json();
    assert_eq!(items[0]["quantity"], 2);
    shop.stop().await;
}

#[tokio::test]
async fn clients_that_send_at_once_place_each_order_once() {
    let shop = open().await;
    let place = async |n: usize| {
        let id = n % 10;
        let body = json!({"orderId": format!("o{id}"), "customerId": "c", "itemLabel": "x", "itemPrice": id});
        shop.post(&body.to_string()).await
    };
    let answers = futures_util::future::join_all((0..100).map(place)).await;
    for answer in &answers {
        let receipt = answer.header("headwater-receipt").expect("an order is taken");
        assert_eq!(shop.get_after("/spending?customerId=c", receipt).await.status, 200);
    }
    let spent = shop.get("/spending?customerId=c").await.json();
    let expected = json!([{"price": "cheap", "total": "10.00"}, {"price": "affordable", "total": "35.00"}]);
    assert_eq!(spent, expected);
    shop.stop().await;
}
