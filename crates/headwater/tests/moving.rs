//! Shards that move: between instances on one log, from copies that standbys kept, and away from state that is not of
//! this log.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::{Command, Fixture};
use headwater::core::clock::{Clock, SystemClock};
use headwater::core::conformance::log::wrapper::{Answer, LogWrapper, wrap_claims};
use headwater::core::log::{Claim, Group, Log, Membership, Opened, ShardChange};
use headwater::core::position::Position;
use headwater::core::record::{Append, Record};
use headwater::core::topic::{Offset, Partition, TopicName};
use headwater::log::memory::{Faults, MemoryLog, MemoryOptions};
use headwater::peers::Switchboard;
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use headwater::{Parts, Phase, SendError};

const PATIENCE: Duration = Duration::from_secs(10);

fn log(seed: u64) -> MemoryLog {
    MemoryLog::new(MemoryOptions { seed, clock: Arc::new(SystemClock), ..MemoryOptions::default() })
}

/// The phases of a topology's shards.
fn phases(running: &Running, topology: &str) -> Vec<Phase> {
    let report = running.report().into_iter().find(|report| report.name == topology).unwrap();
    report.shards.into_iter().map(|shard| shard.phase).collect()
}

/// Waits until the shards of a topology are as they should be.
async fn until(running: &Running, topology: &str, wanted: impl Fn(&[Phase]) -> bool) {
    let seen = async {
        while !wanted(&phases(running, topology)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let timely = tokio::time::timeout(PATIENCE, seen).await.is_ok();
    assert!(timely, "{topology}: {:?}", phases(running, topology));
}

fn is_standby(phase: &Phase) -> bool {
    matches!(phase, Phase::Standby { behind: 0 })
}

/// Sends one command for each of many orders to whichever instance runs its shard.
async fn place_all(instances: &[&Fixture], round: &str) -> BTreeMap<String, Version> {
    let mut versions = BTreeMap::new();
    for n in 0..20 {
        let order = format!("o{n}");
        let command = CommandId::new(format!("{round}-{n}")).unwrap();
        let answered = async {
            loop {
                for instance in instances {
                    let send = instance
                        .running
                        .send(&instance.orders, &order, Command::place("alice", "kettle", 5))
                        .command_id(command.clone());
                    match tokio::time::timeout(Duration::from_millis(200), send).await {
                        Ok(Ok(outcome)) => return outcome.accepted().unwrap().version,
                        Ok(Err(SendError::NotRunning { .. } | SendError::Moving { .. })) | Err(_) => {}
                        Ok(Err(error)) => panic!("{order}: {error}"),
                    }
                }
            }
        };
        let version = tokio::time::timeout(PATIENCE, answered).await.expect("an owner answers");
        versions.insert(order, version);
    }
    versions
}

#[tokio::test]
async fn state_of_another_log_is_kept_aside_and_built_again() {
    let mut shop = Fixture::start().await;
    for n in 0..30 {
        shop.place(&format!("o{n}"), "alice", "kettle", 5).await.unwrap();
    }
    let stores = shop.stores.clone();
    shop.stop().await;
    shop = Fixture::on(log(2), stores, 1).await;
    shop.ready().await;
    assert!(shop.items().of(&"alice".to_owned()).await.unwrap().is_empty(), "nothing was bought on this log");
    let placed = shop.place("o1", "alice", "kettle", 5).await.unwrap().accepted().unwrap();
    assert_eq!(placed.version, Version(1), "the order is new on this log");
    let aside = |name: &str| shop.store_names().contains(&format!("shop.{name}@quarantined"));
    assert!(aside("items") && aside("order"), "{:?}", shop.store_names());
    shop.stop().await;
}

/// Orders that a log acknowledged and lost, those that it has instead, and the state of one who knew the first.
async fn lost_and_gone_on(seed: u64) -> Option<(MemoryLog, MemoryStores)> {
    let shop = Fixture::on(log(seed), MemoryStores::new(), 1).await;
    shop.ready().await;
    shop.log.set_faults(Faults::none().commit_without_sync());
    let mut last = None;
    for n in 0..30 {
        last = shop.place(&format!("lost{n}"), "alice", "kettle", 5).await.unwrap().accepted();
    }
    shop.items().after(&last.unwrap()).of(&"alice".to_owned()).await.unwrap();
    let (log, stores) = (shop.log.crash(), shop.stores.clone());
    shop.stop().await;
    log.set_faults(Faults::none());
    let events = topic("shop.order.events");
    let mut there = 0;
    for partition in 0..3 {
        there += log.bounds(&events.partition(partition)).await.unwrap().end.0;
    }
    let shop = Fixture::on(log.clone(), MemoryStores::new(), 1).await;
    for n in 0..90 {
        shop.place(&format!("other{n}"), "alice", "kettle", 5).await.unwrap();
    }
    let log = shop.log.reopen();
    shop.stop().await;
    (there < 30).then_some((log, stores))
}

#[tokio::test]
async fn state_of_records_that_the_log_lost_before_it_went_on_is_kept_aside() {
    let mut grounds = Vec::new();
    // Now and then a log writes back what it was not told to, and nothing is lost.
    for seed in 10..18 {
        grounds.extend(lost_and_gone_on(seed).await);
    }
    let (log, stores) = grounds.pop().expect("most of these logs lose something");
    let truth = Fixture::on(log.clone(), MemoryStores::new(), 1).await;
    truth.ready().await;
    let alice = "alice".to_owned();
    let (items, spent) =
        (truth.items().of(&alice).await.unwrap().value, truth.spent().get(&alice).await.unwrap().value);
    let log = truth.log.reopen();
    truth.stop().await;

    let shop = Fixture::on(log, stores, 1).await;
    shop.ready().await;
    assert_eq!(shop.items().of(&alice).await.unwrap().value, items);
    assert_eq!(shop.spent().get(&alice).await.unwrap().value, spent);
    let placed = shop.place("lost29", "alice", "kettle", 5).await.unwrap().accepted().unwrap();
    assert_eq!(placed.version, Version(1), "the order is new on this log");
    let aside = |name: &str| shop.store_names().contains(&format!("shop.{name}@quarantined"));
    assert!(aside("items") && aside("order"), "{:?}", shop.store_names());
    shop.stop().await;
}

/// A log that has lost every head, and nothing else.
struct Headless(MemoryLog);

struct HeadlessClaim(Box<dyn Claim>);

impl Claim for HeadlessClaim {
    fn open(&self) -> Answer<'_, Opened> {
        Box::pin(async { Ok(Opened { head: None, ..self.0.open().await? }) })
    }
}

impl LogWrapper for Headless {
    fn inner(&self) -> &dyn Log {
        &self.0
    }

    fn join<'a>(&'a self, group: &'a Group) -> Answer<'a, Box<dyn Membership>> {
        wrap_claims(self.0.join(group), |_, claim| Box::new(HeadlessClaim(claim)))
    }

    /// Those of an emitter have expired, too.
    fn committed<'a>(&'a self, group: &'a str) -> Answer<'a, Position> {
        Box::pin(async move {
            let expired = group == "shop.items-by-customer";
            if expired { Ok(Position::default()) } else { self.0.committed(group).await }
        })
    }
}

#[tokio::test]
async fn a_lost_head_is_never_taken_for_a_first_start() {
    let shop = Fixture::start().await;
    shop.ready().await;
    let placed = place_all(&[&shop], "before").await;
    let (log, stores) = (shop.log.reopen(), shop.stores.clone());
    shop.stop().await;
    let events = ends(&log).await;
    let headless = Headwater::on(Arc::new(Headless(log.clone())), Arc::new(stores));
    let shop = Fixture::started(headless, log.clone()).await;
    let lost = |phases: &[Phase], words: &[&str]| {
        let says = |phase: &Phase| match phase {
            Phase::Stopped { reason } => words.iter().all(|word| reason.contains(word)),
            _ => false,
        };
        phases.iter().all(says)
    };
    // The group's offsets, the local state and what it wrote each say so; an emitter's output does, if nothing else.
    let words =
        ["has no head", "has committed shop.order.commands", "a local state stands at", "has records"];
    until(&shop.running, "order", |phases| lost(phases, &words)).await;
    let words = ["has no head", "it wrote shop.items-by-customer"];
    until(&shop.running, "items-by-customer", |phases| lost(phases, &words)).await;
    let words = ["has no head", "has committed shop.order.events"];
    until(&shop.running, "orders-by-customer", |phases| lost(phases, &words)).await;
    assert_eq!(ends(&log).await, events, "nothing is written");
    assert_eq!(placed.len(), 20);
    shop.stop().await;
}

/// Where the topics of the shop end.
async fn ends(log: &MemoryLog) -> Vec<(String, Offset)> {
    let mut ends = Vec::new();
    for topic in log.topics().await.unwrap().iter().filter(|topic| topic.settings.partitions == 3) {
        for partition in 0..3 {
            let at = topic.name.partition(partition);
            ends.push((at.to_string(), log.bounds(&at).await.unwrap().end));
        }
    }
    ends
}

#[tokio::test]
async fn a_shard_without_a_head_stops_where_anything_of_it_is_there() {
    let shop = Fixture::start().await;
    let log = shop.log.clone();
    let (events, outcomes) = (topic("shop.order.events"), topic("shop.order.outcomes"));
    shop.stop().await;
    let fresh = self::log(3);
    for name in [&events, &outcomes, &topic("shop.order.commands"), &topic("shop.order.snapshots")] {
        let like = log.describe(name).await.unwrap().unwrap();
        fresh.create(name, like.settings).await.unwrap();
    }
    for (name, partition) in [(&events, 0), (&outcomes, 1)] {
        let record = Record::new("key", "{}", SystemClock.now());
        fresh.append(vec![Append { to: name.partition(partition), record }]).await.unwrap();
    }
    let shop = Fixture::on(fresh, MemoryStores::new(), 1).await;
    let stopped = |phase: &Phase, named: &str| matches!(phase, Phase::Stopped { reason } if reason.contains("no head") && reason.contains(named));
    until(&shop.running, "order", |phases| {
        stopped(&phases[0], "shop.order.events-0 has records")
            && stopped(&phases[1], "shop.order.outcomes-1 has records")
            && phases[2] == Phase::Running
    })
    .await;
    shop.stop().await;
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

#[tokio::test]
async fn a_first_start_writes_the_head_at_once() {
    let shop = Fixture::start().await;
    shop.ready().await;
    let log = shop.log.clone();
    shop.stop().await;
    for (name, of) in [("shop.order", "shop.order.commands"), ("shop.items-by-customer", "shop.order.events")]
    {
        let group = Group { name: name.into(), shards: 3, topic: topic(of) };
        let mut member = log.join(&group).await.unwrap();
        for _ in 0..3 {
            let ShardChange::Gained(shard, claim) = member.next().await.unwrap() else { panic!("{name}") };
            let head =
                claim.open().await.unwrap().head.unwrap_or_else(|| panic!("{name} {shard} has no head"));
            assert!(head.positions.get(&topic(of).partition(shard.0)).is_some(), "{name} {shard}: {head:?}");
        }
    }
}

#[tokio::test]
async fn a_standby_goes_on_from_its_copy_when_the_owner_leaves() {
    let first = Fixture::start().await;
    first.ready().await;
    let before = place_all(&[&first], "before").await;
    let second = Fixture::on(first.log.clone(), MemoryStores::new(), 1).await;
    let topologies = ["order", "items", "spent"];
    for name in topologies {
        // Shards go round robin: of three, the second instance gets the middle one.
        let theirs = [Partition(0), Partition(2)];
        second.running.keep_copies(&format!("shop.{name}"), theirs);
        until(&second.running, name, |phases| {
            is_standby(&phases[0]) && phases[1] == Phase::Running && is_standby(&phases[2])
        })
        .await;
    }
    let meanwhile = place_all(&[&first, &second], "meanwhile").await;
    assert_eq!(before, meanwhile, "an order that was placed before changes nothing");
    first.stop().await;
    for name in topologies {
        until(&second.running, name, |phases| phases.iter().all(|phase| *phase == Phase::Running)).await;
    }
    second.ready().await;
    for round in ["before", "meanwhile"] {
        assert_eq!(place_all(&[&second], round).await, before, "a repeated command has its first outcome");
    }
    let last = second.place("last", "alice", "kettle", 5).await.unwrap().accepted().unwrap();
    let items = second.items().after(&last).of(&"alice".to_owned()).await.unwrap();
    assert_eq!(items.value, [("kettle".to_owned(), 21)]);
    assert_eq!(second.spent().get(&"alice".to_owned()).await.unwrap().value, Some(105));
    second.stop().await;
}

#[tokio::test]
async fn a_standby_answers_nobody() {
    let first = Fixture::start().await;
    first.ready().await;
    place_all(&[&first], "before").await;
    let second = Fixture::on(first.log.clone(), MemoryStores::new(), 1).await;
    second.running.keep_copies("shop.spent", [Partition(0), Partition(1), Partition(2)]);
    until(&second.running, "spent", |phases| phases.iter().filter(|phase| is_standby(phase)).count() == 2)
        .await;
    let mut answered = 0;
    for instance in [&first, &second] {
        let spent = instance.spent().within(Duration::from_millis(50));
        answered += usize::from(spent.get(&"alice".to_owned()).await.is_ok());
    }
    assert_eq!(answered, 1, "the owner answers, and nobody else");
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn instances_that_know_of_each_other_keep_copies_of_each_others_commands() {
    let (board, log) = (Switchboard::default(), log(4));
    let first = Fixture::among(&board, &log, "first", Parts::ALL).await;
    let before = place_all(&[&first], "before").await;
    let second = Fixture::among(&board, &log, "second", Parts::ALL).await;
    let standbys = |phases: &[Phase]| phases.iter().filter(|phase| is_standby(phase)).count();
    until(&first.running, "order", |phases| standbys(phases) == 1).await;
    until(&second.running, "order", |phases| standbys(phases) == 2).await;
    assert_eq!(standbys(&phases(&second.running, "spent")), 0, "of views only where the app says so");
    first.stop().await;
    until(&second.running, "order", |phases| phases.iter().all(|phase| *phase == Phase::Running)).await;
    assert_eq!(place_all(&[&second], "before").await, before);
    second.stop().await;
}

/// A shop that loads outcomes while it decides, however few they are.
async fn shop_with_backlog(log: &MemoryLog) -> Fixture {
    Fixture::with(log.clone(), MemoryStores::new(), |options| options.outcomes_at_once = 0).await
}

#[tokio::test]
async fn commands_have_their_outcomes_while_those_are_still_being_loaded() {
    let first = Fixture::start().await;
    let before = place_all(&[&first], "before").await;
    let log = first.log.clone();
    first.stop().await;
    for life in 0..3 {
        let shop = shop_with_backlog(&log).await;
        assert_eq!(place_all(&[&shop], "before").await, before);
        assert_eq!(place_all(&[&shop], &format!("life {life}")).await, before);
        let by_topic = shop
            .running
            .send(&shop.orders, &"o1".to_owned(), Command::place("alice", "kettle", 5))
            .command_id(CommandId::new("before-1").unwrap())
            .by_topic()
            .await
            .unwrap();
        let outcome = shop.running.outcome(&shop.orders, &"o1".to_owned(), &by_topic).within(PATIENCE).await;
        assert_eq!(outcome.unwrap().unwrap().accepted().unwrap().version, before["o1"]);
        let never = CommandId::new("never").unwrap();
        let none = shop.running.outcome(&shop.orders, &"o1".to_owned(), &never).within(PATIENCE / 20).await;
        assert!(none.unwrap().is_none());
        shop.stop().await;
    }
}
