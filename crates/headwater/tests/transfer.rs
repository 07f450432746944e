//! A new owner that has no state of a shard takes it from an instance that has one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::Fixture;
use headwater::core::BoxFuture;
use headwater::core::clock::SystemClock;
use headwater::core::log::Log;
use headwater::core::topic::{Offset, TopicName};
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::peers::{PeerAddress, PeerError, PeerErrorKind, PeerQuestion, Peers, Switchboard};
use headwater::prelude::*;
use headwater::{AppOptions, Parts, Phase};

const PATIENCE: Duration = Duration::from_secs(20);
const ORDERS: u64 = 60;

fn log() -> MemoryLog {
    MemoryLog::new(MemoryOptions { seed: 1, clock: Arc::new(SystemClock), ..MemoryOptions::default() })
}

/// However short the log is, another's state is asked for first.
fn ask_always(options: &mut AppOptions) {
    options.copy_from_records = 0;
}

/// An instance that has a shop's orders, and its name.
async fn giver(board: &Switchboard, log: &MemoryLog) -> Fixture {
    let first = Fixture::among(board, log, "first", Parts::ALL).await;
    first.ready().await;
    place(&first, 0..ORDERS).await;
    first
}

async fn place(shop: &Fixture, orders: std::ops::Range<u64>) {
    for n in orders {
        let customer = format!("c{}", n % 7);
        let placed = shop.place(&format!("o{n}"), &customer, "kettle", 5).await.unwrap();
        let receipt = placed.accepted().unwrap();
        shop.items().after(&receipt).of(&customer).await.unwrap();
        shop.spent().after(&receipt).get(&customer).await.unwrap();
    }
}

/// The log's first records can be read by nobody any more: what is still to be had of them is in instances' states.
async fn damage_beginnings(log: &MemoryLog) {
    let topics = ["shop.order.events", "shop.items-by-customer", "shop.orders-by-customer"];
    for partition in
        topics.iter().flat_map(|topic| (0..3).map(|p| TopicName::new(*topic).unwrap().partition(p)))
    {
        let bounds = log.bounds(&partition).await.unwrap();
        for offset in bounds.start.0..bounds.end.0 {
            log.damage(&partition, Offset(offset)).unwrap();
        }
    }
}

/// How many shards of a topology an instance runs.
fn running(shop: &Fixture, topology: &str) -> usize {
    let report = shop.running.report().into_iter().find(|report| report.name == topology).unwrap();
    report.shards.iter().filter(|shard| shard.phase == Phase::Running).count()
}

async fn until_running(shop: &Fixture, topology: &str, shards: usize) {
    let seen = async {
        while running(shop, topology) != shards {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let timely = tokio::time::timeout(PATIENCE, seen).await.is_ok();
    assert!(timely, "{topology}: {:?}", shop.running.report());
}

async fn assert_all_there(shop: &Fixture, orders: u64) {
    let mut spent = 0;
    for customer in 0..7 {
        spent += shop.spent().get(&format!("c{customer}")).await.unwrap().value.unwrap();
        let items = shop.items().of(&format!("c{customer}")).await.unwrap().value;
        assert_eq!(items.len(), 1, "{items:?}");
    }
    assert_eq!(spent, orders * 5);
}

#[tokio::test]
async fn a_new_owner_takes_the_state_of_the_one_that_has_it() {
    let (board, log) = (Switchboard::new(), log());
    let first = giver(&board, &log).await;
    damage_beginnings(&log).await;
    let second =
        Fixture::asking(Arc::new(board.clone()), &board, &log, "second", Parts::ALL, ask_always).await;
    for topology in ["items", "spent", "order"] {
        until_running(&second, topology, 1).await;
    }
    assert_all_there(&second, ORDERS).await;
    place(&second, ORDERS..ORDERS + 20).await;
    assert_all_there(&first, ORDERS + 20).await;
    let repeated = second.place("o3", "c3", "kettle", 5).await.unwrap().accepted().unwrap();
    assert_eq!(repeated.version, Version(1), "the order is known");
    second.stop().await;
    first.stop().await;
}

/// What happens to the answers that an instance gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Damage {
    /// A bit of a page is another.
    Flipped,
    /// The giver goes away after some pages.
    CutOff,
}

struct BadLine {
    board: Switchboard,
    damage: Damage,
    hits: Arc<AtomicUsize>,
}

impl Peers for BadLine {
    fn ask(&self, to: &PeerAddress, question: PeerQuestion) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        let of_a_page = question.body.windows(6).any(|word| word == b"\"page\"");
        let (answer, damage, hits) = (self.board.ask(to, question), self.damage, self.hits.clone());
        Box::pin(async move {
            let answer = answer.await?;
            // A page without rows is as short as this.
            if !of_a_page || answer.len() <= 80 {
                return Ok(answer);
            }
            hits.fetch_add(1, Ordering::Relaxed);
            match damage {
                Damage::Flipped => {
                    let mut bytes = answer.to_vec();
                    *bytes.last_mut().unwrap() ^= 1;
                    Ok(bytes.into())
                }
                Damage::CutOff => Err(PeerError::new(PeerErrorKind::Lost, "it went away")),
            }
        })
    }
}

#[tokio::test]
async fn a_state_that_came_damaged_or_in_part_is_built_from_the_log() {
    for damage in [Damage::Flipped, Damage::CutOff] {
        let (board, log) = (Switchboard::new(), log());
        let first = giver(&board, &log).await;
        let hits = Arc::new(AtomicUsize::new(0));
        let line = BadLine { board: board.clone(), damage, hits: hits.clone() };
        let second = Fixture::asking(Arc::new(line), &board, &log, "second", Parts::ALL, ask_always).await;
        for topology in ["items", "spent", "order"] {
            until_running(&second, topology, 1).await;
        }
        assert!(hits.load(Ordering::Relaxed) >= 3, "{damage:?} struck");
        first.stop().await;
        until_running(&second, "spent", 3).await;
        until_running(&second, "items", 3).await;
        assert_all_there(&second, ORDERS).await;
        second.stop().await;
    }
}
