//! Several instances of one app on one log: each answers everything.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Command, Fixture, Order};
use headwater::core::clock::{SystemClock, Timestamp};
use headwater::core::header::Headers;
use headwater::core::log::{Log, ReadLimit, Wait};
use headwater::core::record::{Append, Record, StoredRecord};
use headwater::core::topic::{Offset, Partition, TopicName, TopicPartition};
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::peers::{LinkFault, PeerAddress, Switchboard};
use headwater::prelude::*;
use headwater::{Parts, Update};

const PATIENCE: Duration = Duration::from_secs(20);

fn log() -> MemoryLog {
    MemoryLog::new(MemoryOptions { seed: 1, clock: Arc::new(SystemClock), ..MemoryOptions::default() })
}

/// Instances that share a log.
struct Cluster {
    board: Switchboard,
    log: MemoryLog,
    instances: Vec<Fixture>,
}

impl Cluster {
    async fn of(parts: &[Parts]) -> Self {
        let mut cluster = Self { board: Switchboard::new(), log: log(), instances: Vec::new() };
        for (n, parts) in parts.iter().enumerate() {
            cluster.add(&format!("i{n}"), *parts).await;
        }
        cluster.ready().await;
        cluster
    }

    async fn add(&mut self, name: &str, parts: Parts) {
        self.instances.push(Fixture::among(&self.board, &self.log, name, parts).await);
    }

    async fn ready(&self) {
        for instance in &self.instances {
            instance.running.ready(PATIENCE).await.unwrap();
        }
    }

    /// An instance by number, going round.
    fn any(&self, n: usize) -> &Fixture {
        &self.instances[n % self.instances.len()]
    }

    /// How many of three shards of a topology each instance has, as the instance itself sees.
    fn shards(&self, topology: &str) -> Vec<usize> {
        let of = |instance: &Fixture| {
            let report = instance.running.report();
            let topology = report.into_iter().find(|t| t.name == topology);
            topology.map_or(0, |t| {
                t.shards.iter().filter(|shard| shard.phase != headwater::Phase::Waiting).count()
            })
        };
        self.instances.iter().map(of).collect()
    }

    async fn stop(self) {
        for instance in self.instances {
            instance.stop().await;
        }
    }
}

fn fault(cluster: &Cluster, n: usize, fault: LinkFault, on: bool) {
    cluster.board.set_fault(&PeerAddress::new(format!("i{n}")), fault, on);
}

#[tokio::test]
async fn every_instance_takes_commands_and_reads_its_own_writes() {
    let cluster = Cluster::of(&[Parts::ALL, Parts::ALL, Parts::ALL]).await;
    assert_eq!(cluster.shards("order"), [1, 1, 1], "each has a shard of its own");
    let mut counts = BTreeMap::new();
    for n in 0..60 {
        let customer = format!("c{}", n % 7);
        let placed = cluster.any(n).place(&format!("o{n}"), &customer, "kettle", 5).await.unwrap();
        let receipt = placed.accepted().unwrap();
        let count = counts.entry(customer.clone()).or_insert(0);
        *count += 1;
        let items = cluster.any(n + 1).items().after(&receipt).of(&customer).await.unwrap();
        assert_eq!(
            items.value,
            [("kettle".to_owned(), *count)],
            "at an instance that need not have the shard"
        );
        let spent = cluster.any(n + 2).spent().after(&receipt).get(&customer).await.unwrap();
        assert_eq!(spent.value, Some(*count * 5));
        let (version, _) =
            cluster.any(n + 1).running.state(&cluster.any(n + 1).orders, &format!("o{n}")).await.unwrap();
        assert_eq!(version, Version(1));
        let replicated = cluster.any(n).replicated().after(&receipt).get(&format!("o{n}")).await.unwrap();
        assert_eq!(replicated.value, Some(1));
    }
    let served: Vec<_> = (0..3).map(|n| cluster.board.served(&PeerAddress::new(format!("i{n}")))).collect();
    assert!(served.iter().all(|served| *served > 0), "questions went between instances: {served:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn an_instance_of_one_role_answers_for_the_other() {
    let cluster = Cluster::of(&[Parts::COMMANDS, Parts::QUERIES, Parts::COMMANDS, Parts::QUERIES]).await;
    let id = CommandId::new("c1").unwrap();
    let receipt = cluster.any(1).place("o1", "alice", "kettle", 5).await.unwrap().accepted().unwrap();
    let items = cluster.any(0).items().after(&receipt).of(&"alice".to_owned()).await.unwrap();
    assert_eq!(items.value, [("kettle".to_owned(), 1)], "a command instance asks a query instance");
    let copies = cluster.any(0).replicated().after(&receipt).get(&"o1".to_owned()).await.unwrap();
    assert_eq!(copies.value, Some(1), "whoever has a copy answers for a replicated view");
    let place = || Command::place("bob", "bowl", 7);
    for n in 0..4 {
        let shop = cluster.any(n);
        let sent = shop.running.send(&shop.orders, &"o2".to_owned(), place()).command_id(id.clone());
        assert_eq!(sent.await.unwrap().accepted().unwrap().version, Version(1), "one effect, from anywhere");
        let outcome = shop.running.outcome(&shop.orders, &"o2".to_owned(), &id).await.unwrap();
        assert!(matches!(outcome, Some(Accepted(_))));
        let other = shop.running.send(&shop.orders, &"o2".to_owned(), Command::place("bob", "cup", 7));
        assert!(matches!(other.command_id(id.clone()).await, Err(SendError::IdConflict { .. })));
        let rejected = shop.place("o2", "bob", "cup", 7).await.unwrap();
        assert!(matches!(rejected, Rejected(common::Rejection::IdTaken)), "{rejected:?}");
    }
    cluster.stop().await;
}

#[tokio::test]
async fn scans_and_counts_are_over_all_shards_wherever_they_are() {
    let cluster = Cluster::of(&[Parts::ALL, Parts::ALL]).await;
    for n in 0..50 {
        let customer = format!("c{n:02}");
        let receipt =
            cluster.any(n).place(&format!("o{n}"), &customer, "kettle", 5).await.unwrap().accepted();
        cluster.any(0).items().after(&receipt.unwrap()).of(&customer).await.unwrap();
    }
    let expected: Vec<_> = (0..50).map(|n| format!("c{n:02}")).collect();
    for n in 0..2 {
        let (mut seen, mut token) = (Vec::new(), None);
        loop {
            // Each page at another instance than the one before.
            let page = cluster.any(n + seen.len()).items().scan(7, token.as_ref()).await.unwrap();
            seen.extend(page.rows.iter().map(|((customer, _), _)| customer.clone()));
            token = page.value.next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected, "in the order of keys, each once");
        assert_eq!(cluster.any(n).items().count().await.unwrap().value, 50);
    }
    let bad = cluster.any(0).items().scan(7, Some(&"0.zz".to_owned().into())).await;
    assert!(matches!(bad, Err(QueryError::Token(_))));
    cluster.stop().await;
}

#[tokio::test]
async fn an_answer_lost_between_instances_is_unknown_and_settled_under_the_same_id() {
    let cluster = Cluster::of(&[Parts::COMMANDS, Parts::QUERIES]).await;
    fault(&cluster, 0, LinkFault::AnswerLost, true);
    let shop = cluster.any(1);
    let (order, id) = ("o1".to_owned(), CommandId::new("c1").unwrap());
    let send = || {
        shop.running.send(&shop.orders, &order, Command::place("alice", "kettle", 5)).command_id(id.clone())
    };
    let lost = send().await.unwrap();
    assert!(matches!(lost, Unknown(_)), "it took effect, so it must not be called unwritten: {lost:?}");
    fault(&cluster, 0, LinkFault::AnswerLost, false);
    assert_eq!(send().await.unwrap().accepted().unwrap().version, Version(1));
    cluster.stop().await;
}

#[tokio::test]
async fn without_anybody_who_decides_commands_are_refused_as_not_executed_and_queries_go_on() {
    let mut cluster = Cluster::of(&[Parts::QUERIES, Parts::COMMANDS]).await;
    let receipt = cluster.any(0).place("o1", "alice", "kettle", 5).await.unwrap().accepted().unwrap();
    cluster.any(0).items().after(&receipt).of(&"alice".to_owned()).await.unwrap();
    cluster.instances.pop().unwrap().stop().await;
    let refused = cluster.any(0).place("o2", "alice", "kettle", 5).await;
    assert!(matches!(refused, Err(SendError::Moving { .. })), "{refused:?}");
    let items = cluster.any(0).items().of(&"alice".to_owned()).await.unwrap();
    assert_eq!(items.value, [("kettle".to_owned(), 1)]);
    cluster.add("i2", Parts::COMMANDS).await;
    cluster.ready().await;
    let again = cluster.any(0).place("o2", "alice", "kettle", 5).await.unwrap().accepted();
    assert_eq!(again.unwrap().version, Version(1));
    cluster.stop().await;
}

#[tokio::test]
async fn an_instance_that_is_silent_costs_bounded_time_and_nothing_false() {
    let cluster = Cluster::of(&[Parts::COMMANDS, Parts::QUERIES]).await;
    fault(&cluster, 1, LinkFault::Silent, true);
    let asked = cluster.any(0).items().within(Duration::from_millis(300)).of(&"alice".to_owned()).await;
    assert!(matches!(asked, Err(QueryError::Unavailable { .. })), "never an empty list: {asked:?}");
    fault(&cluster, 1, LinkFault::Silent, false);
    assert!(cluster.any(0).items().of(&"alice".to_owned()).await.unwrap().is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn a_watcher_goes_on_while_the_shard_moves_from_instance_to_instance() {
    let mut cluster = Cluster::of(&[Parts::ALL]).await;
    let alice = "alice".to_owned();
    cluster.add("watcher", Parts::COMMANDS).await;
    let mut changes = cluster.any(1).items().changes(&alice, None).await.unwrap();
    let mut known: BTreeMap<String, u64> = BTreeMap::new();
    let mut placed = 0;
    for life in 0..4 {
        for _ in 0..5 {
            placed += 1;
            let item = format!("item{}", placed % 3);
            let sent = cluster.any(placed).place(&format!("o{placed}"), &alice, &item, 5).await;
            assert!(matches!(sent, Ok(Accepted(_))), "{sent:?}");
        }
        let before = known.values().sum::<u64>();
        while known.values().sum::<u64>() < placed as u64 {
            let update = tokio::time::timeout(PATIENCE, changes.next()).await.expect("news come").unwrap();
            match update {
                Update::Reset { rows, .. } => known = rows.into_iter().collect(),
                Update::Change { key, value, .. } => drop(known.insert(key, value.unwrap_or_default())),
            }
            assert!(known.values().sum::<u64>() >= before, "what was told is never taken back");
        }
        // Whoever has the view's shards goes, and another comes.
        cluster.add(&format!("next{life}"), Parts::ALL).await;
        cluster.ready().await;
        let gone = if life == 0 { 0 } else { 1 };
        cluster.instances.remove(gone).stop().await;
        cluster.ready().await;
    }
    cluster.stop().await;
}

#[tokio::test]
async fn scaling_out_and_in_under_load_loses_and_doubles_nothing() {
    let mut cluster = Cluster::of(&[Parts::ALL]).await;
    let (board, log) = (cluster.board.clone(), cluster.log.clone());
    let front = Arc::new(Fixture::among(&board, &log, "front", Parts::QUERIES).await);
    let load = {
        let front = front.clone();
        tokio::spawn(async move {
            let mut unknown = 0;
            for n in 0..300_u32 {
                loop {
                    let order = format!("o{n}");
                    let command = Command::place(&format!("c{}", n % 5), "kettle", 1);
                    let sent = front
                        .running
                        .send(&front.orders, &order, command)
                        .command_id(CommandId::new(format!("place-{n}")).unwrap());
                    match sent.await {
                        Ok(Accepted(receipt)) => {
                            assert_eq!(receipt.version, Version(1));
                            break;
                        }
                        Ok(Unknown(_)) => unknown += 1,
                        Ok(Rejected(rejection)) => panic!("{rejection:?}"),
                        Err(SendError::Moving { .. } | SendError::NotRunning { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            unknown
        })
    };
    for n in 0..4 {
        cluster.add(&format!("more{n}"), Parts::ALL).await;
        cluster.ready().await;
    }
    while cluster.instances.len() > 1 {
        cluster.instances.remove(0).stop().await;
        cluster.ready().await;
    }
    load.await.unwrap();
    let order = "o299".to_owned();
    let last = front.running.send(&front.orders, &order, Command::place("c4", "kettle", 1));
    let last = last.command_id(CommandId::new("place-299").unwrap()).await.unwrap().accepted().unwrap();
    for n in 0..5 {
        let customer = format!("c{n}");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let items = front.items().after(&last).of(&customer).await.unwrap().value;
            if items == [("kettle".to_owned(), 60)] {
                break;
            }
            assert!(items[0].1 < 60 && tokio::time::Instant::now() < deadline, "{items:?}");
        }
    }
    let counted: (Version, Order) = front.running.state(&front.orders, &order).await.unwrap();
    assert_eq!(counted.0, Version(1));
    cluster.stop().await;
    Arc::into_inner(front).unwrap().stop().await;
}

#[tokio::test]
async fn an_instance_tells_of_the_others_and_forgets_those_who_left() {
    let mut cluster = Cluster::of(&[Parts::COMMANDS, Parts::QUERIES]).await;
    let told = cluster.any(0).running.instances();
    let roles: Vec<_> = told.iter().map(|i| (i.name.as_str(), i.roles.join(","))).collect();
    assert_eq!(roles, [("i0", "command".to_owned()), ("i1", "query".to_owned())]);
    assert_eq!(told[0].shards["order"], [0, 1, 2]);
    cluster.instances.pop().unwrap().stop().await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while cluster.any(0).running.instances().len() > 1 {
        assert!(tokio::time::Instant::now() < deadline, "it said that it left");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cluster.stop().await;
}

/// Appends to the topic in which instances tell of themselves; answers where.
async fn write(log: &MemoryLog, key: &str, value: Option<&str>) -> Offset {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let record = Record {
        key: Some(bytes(key)),
        value: value.map(bytes),
        headers: Headers::builder().build(),
        timestamp: Timestamp(1),
    };
    let appended = log.append(vec![Append { to: instances_topic(), record }]).await.unwrap();
    appended[0]
}

fn instances_topic() -> TopicPartition {
    TopicPartition { topic: TopicName::new("shop.instances").unwrap(), partition: Partition(0) }
}

/// Waits until an instance has told of itself after an offset.
async fn told_again(log: &MemoryLog, name: &str, after: Offset) {
    let told = async {
        let mut next = after;
        loop {
            let read =
                log.read(&instances_topic(), next, ReadLimit::default(), Wait::UntilMore).await.unwrap();
            let of = |stored: &StoredRecord| {
                let key = stored.record.key.as_deref();
                stored.offset > after && key == Some(name.as_bytes()) && stored.record.value.is_some()
            };
            if read.records.iter().any(of) {
                return;
            }
            next = read.next;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{name} tells of itself again"));
}

#[tokio::test]
async fn what_is_deleted_from_or_damaged_in_the_instances_topic_is_told_again() {
    let cluster = Cluster::of(&[Parts::ALL, Parts::ALL]).await;
    write(&cluster.log, "nobody", Some("{}")).await;
    write(&cluster.log, "i1", Some("no record of an instance")).await;
    write(&cluster.log, "i0", None).await;
    let last = write(&cluster.log, "i1", None).await;
    for name in ["i0", "i1"] {
        told_again(&cluster.log, name, last).await;
    }
    for n in 0..12 {
        let placed = cluster.any(n).place(&format!("o{n}"), "alice", "kettle", 5).await.unwrap();
        let receipt = placed.accepted().unwrap();
        let items = cluster.any(n + 1).items().after(&receipt).of(&"alice".to_owned()).await.unwrap();
        assert_eq!(items.value, [("kettle".to_owned(), n as u64 + 1)]);
    }
    cluster.stop().await;
}
