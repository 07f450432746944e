//! The server is killed with -9 again and again while many callers place orders under known ids.
//!
//! Afterwards every acknowledged order is in the raw log exactly once, the others once or not at all, quantities are
//! exact, and what is rebuilt from the log alone is byte for byte what was there. `HEADWATER_KILLS` says how often;
//! `HEADWATER_BIN_ORDERING` names another binary to kill.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod callers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use app_testing::connection::{Address, Connection};
use app_testing::patience::patiently;
use app_testing::server::{Program, Server};
use callers::{Calls, Order, call};
use headwater::core::key::decode_text;
use headwater::core::log::{Log, ReadLimit, Wait};
use headwater::core::topic::TopicName;
use headwater::log::embedded::{EmbeddedLog, Options};

/// Callers at the same time.
const CALLERS: u64 = 8;
/// Kills in the gate.
const KILLS: u64 = 50;
/// Every so many lives one lasts long enough for state to be flushed by its age.
const LONG_LIFE_EVERY: u64 = 16;

fn kills() -> u64 {
    match std::env::var("HEADWATER_KILLS") {
        Ok(text) => text.parse().expect("HEADWATER_KILLS is a number"),
        Err(_) => KILLS,
    }
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let calls = place_orders_under_kills(dir.path());
    let (acknowledged, uncertain) = (calls.acknowledged(), calls.uncertain());
    assert!(acknowledged.len() > 200, "too few orders to show anything: {}", acknowledged.len());
    assert!(!uncertain.is_empty(), "no kill hit an order under way");

    let before = orders_in_log(dir.path());
    for order in &acknowledged {
        assert_eq!(before.get(&order.id), Some(&1), "acknowledged {order:?}");
    }
    assert!(before.values().all(|events| *events == 1), "an order is in the log more than once");
    let sent: BTreeMap<_, _> = calls.all().into_iter().map(|order| (order.id.clone(), order)).collect();
    assert!(before.keys().all(|id| sent.contains_key(id)), "the log has an order that nobody sent");

    let mut server = start(dir.path());
    // Whatever was not acknowledged is sent again, and is there once now, whether it was there before or not.
    let mut connection = server.connect();
    for order in &uncertain {
        assert_eq!(callers::place(&mut connection, order), Some(202), "sent again: {order:?}");
    }
    server.ready();
    assert_eq!(quantities(&server, &sent), expected(sent.values()), "quantities");
    let all_spent = patiently(|| (spent(&server) == prices(sent.values())).then_some(()));
    assert!(all_spent.is_some(), "spending: {:?}", texts(&server));
    let seen = views(&server);
    server.kill();
    assert_eq!(orders_in_log(dir.path()).len(), sent.len());

    for lost in [false, true] {
        if lost {
            std::fs::remove_dir_all(dir.path().join("state")).unwrap();
        }
        let mut server = start(dir.path());
        server.ready();
        // What is behind a repartition may come a moment after its instance is ready.
        let as_before = patiently(|| (views(&server) == seen).then_some(()));
        assert!(as_before.is_some(), "after a restart, state lost: {lost}: {:?}", texts(&server));
        server.kill();
    }
    println!(
        "{} orders in {} lives: {} acknowledged, {} uncertain, of which {} were there",
        sent.len(),
        kills(),
        acknowledged.len(),
        uncertain.len(),
        uncertain.iter().filter(|order| before.contains_key(&order.id)).count()
    );
}

/// Callers place orders while the server is killed and started again.
fn place_orders_under_kills(dir: &std::path::Path) -> Calls {
    let address = Arc::new(Address::default());
    let over = AtomicBool::new(false);
    let mut rng = fastrand::Rng::with_seed(fastrand::u64(..));
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (address, over) = (address.clone(), &over);
                scope.spawn(move || call(caller, &address, over))
            })
            .collect();
        // Also when a start panics: the callers must not go on for ever.
        let ends = Over(&over);
        for life in 0..kills() {
            let mut server = start(dir);
            address.set(Some(server.address));
            let long = life % LONG_LIFE_EVERY == LONG_LIFE_EVERY - 1;
            let ms = if long { 5_000 + rng.u64(..1_500) } else { rng.u64(20..250) };
            std::thread::sleep(Duration::from_millis(ms));
            server.kill();
            address.set(None);
        }
        drop(ends);
        callers.into_iter().map(|caller| caller.join().expect("a caller does not panic")).collect()
    })
}

/// Tells the callers that it is over when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// How many events each order has in the raw log.
fn orders_in_log(dir: &std::path::Path) -> BTreeMap<String, u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = Options { check_after_crash: false, ..Options::default() };
        let log = EmbeddedLog::open(dir, options).unwrap();
        let topic = TopicName::new("ordering.order.events").unwrap();
        let partitions = log.describe(&topic).await.unwrap().unwrap().settings.partitions;
        let mut orders = BTreeMap::new();
        for partition in 0..partitions {
            let at = topic.partition(partition);
            let mut next = log.bounds(&at).await.unwrap().start;
            loop {
                let batch = log.read(&at, next, ReadLimit::default(), Wait::No).await.unwrap();
                if batch.next == next {
                    break;
                }
                next = batch.next;
                for stored in batch.records {
                    let id: String = decode_text(&stored.record.key.unwrap()).unwrap();
                    *orders.entry(id).or_default() += 1;
                }
            }
        }
        orders
    })
}

/// Quantities by customer and label.
type Quantities = BTreeMap<(String, String), u64>;

fn expected<'a>(orders: impl Iterator<Item = &'a Order>) -> Quantities {
    let mut quantities = Quantities::new();
    for order in orders {
        *quantities.entry((order.customer.clone(), order.label.clone())).or_default() += 1;
    }
    quantities
}

fn quantities(server: &Server, sent: &BTreeMap<String, Order>) -> Quantities {
    let mut quantities = Quantities::new();
    let mut connection = server.connect();
    // The views include the last order of each id's own shard when they include everybody's: ask until they agree.
    let total = sent.len() as u64;
    patiently(|| {
        quantities.clear();
        for customer in callers::customers() {
            let body = body(&mut connection, &format!("/orders?customerId={customer}"));
            let rows: serde_json::Value = serde_json::from_slice(&body).unwrap();
            for row in rows.as_array().unwrap() {
                let label = row["label"].as_str().unwrap().to_owned();
                quantities.insert((customer.clone(), label), row["quantity"].as_u64().unwrap());
            }
        }
        (quantities.values().sum::<u64>() >= total).then_some(())
    });
    quantities
}

/// What all orders cost, in pence.
fn prices<'a>(orders: impl Iterator<Item = &'a Order>) -> u64 {
    orders.map(|order| pence(&order.price)).sum()
}

fn pence(amount: &str) -> u64 {
    let (pounds, pence) = amount.split_once('.').unwrap_or((amount, ""));
    format!("{pounds}{pence:0<2}").parse().unwrap()
}

/// What the spending of all customers adds up to, in pence.
fn spent(server: &Server) -> u64 {
    let mut connection = server.connect();
    let spending = callers::customers().flat_map(|customer| {
        let body = body(&mut connection, &format!("/spending?customerId={customer}"));
        let groups: serde_json::Value = serde_json::from_slice(&body).unwrap();
        groups.as_array().unwrap().clone()
    });
    spending.map(|group| pence(group["total"].as_str().unwrap())).sum()
}

fn texts(server: &Server) -> Vec<String> {
    views(server).iter().map(|body| String::from_utf8_lossy(body).into_owned()).collect()
}

/// Everything that the views answer, byte for byte.
fn views(server: &Server) -> Vec<Vec<u8>> {
    let mut connection = server.connect();
    let paths = callers::customers()
        .flat_map(|customer| ["/orders", "/spending"].map(|path| format!("{path}?customerId={customer}")));
    paths.map(|path| body(&mut connection, &path)).collect()
}

/// The body of a successful answer.
fn body(connection: &mut Connection, path: &str) -> Vec<u8> {
    let (status, body) = connection.get(path).expect("it answers");
    assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
    body
}

/// Starts the server on a data directory.
#[track_caller]
fn start(data: &std::path::Path) -> Server {
    Program::embedded("ordering", env!("CARGO_BIN_EXE_ordering")).start(data)
}
