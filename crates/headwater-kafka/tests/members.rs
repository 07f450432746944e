//! Members of a group that come and go, on the real broker: what stays with a member is written to all the while.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::log::{
    Claim, Group, Log, LogErrorKind, Membership, ShardChange, TopicSettings, Transaction, Writer,
};
use headwater_core::position::Position;
use headwater_core::record::{Append, Record};
use headwater_core::topic::{Offset, Partition, TopicName};
use headwater_kafka::{KafkaLog, KafkaSettings};
use kafka_broker::Broker;
use tokio::time::{sleep, timeout};

const SHARDS: u32 = 4;

/// For one change of the group: some sessions, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two commits of every shard.
const PAUSE: Duration = Duration::from_millis(20);

async fn connect(broker: &Broker, instance: &str) -> KafkaLog {
    let settings = KafkaSettings {
        replication_factor: 1,
        min_in_sync_replicas: 1,
        ..KafkaSettings::new(broker.bootstrap(), instance)
    };
    KafkaLog::connect(settings).await.expect("the broker runs")
}

/// A process that writes for every shard that it has.
struct Instance {
    name: &'static str,
    topic: TopicName,
    member: Box<dyn Membership>,
    writers: BTreeMap<Partition, Box<dyn Writer>>,
    /// How often a shard came or went.
    changes: usize,
}

impl Instance {
    async fn join(broker: &Broker, name: &'static str, group: &Group) -> Self {
        let member = connect(broker, name).await.join(group).await.unwrap();
        Self { name, topic: group.topic.clone(), member, writers: BTreeMap::new(), changes: 0 }
    }

    async fn take(&mut self, change: ShardChange) {
        self.changes += 1;
        match change {
            ShardChange::Gained(shard, claim) => {
                let writer = open(&*claim).await;
                assert!(self.writers.insert(shard, writer).is_none(), "{} gained {shard} twice", self.name);
            }
            ShardChange::Revoked(shard) => {
                assert!(self.writers.remove(&shard).is_some(), "{} never had {shard}", self.name);
            }
            ShardChange::Lost(shard) => panic!("{} lost {shard}", self.name),
        }
    }

    async fn write(&mut self) {
        for (shard, writer) in &mut self.writers {
            let at = self.topic.partition(shard.0);
            let record = Record::new("key", self.name.to_owned(), Timestamp(1));
            let transaction = Transaction {
                appends: vec![Append { to: at.clone(), record }],
                positions: Position::from_iter([(at, Offset(1))]),
                note: Bytes::new(),
            };
            let written = writer.commit(transaction).await;
            assert!(written.is_ok(), "{} could not write for {shard}: {written:?}", self.name);
        }
    }

    /// What happens next, or nothing for a while; then every shard is written for.
    async fn go_on(&mut self) {
        match timeout(PAUSE, self.member.next()).await {
            Ok(change) => self.take(change.unwrap()).await,
            Err(_) => self.write().await,
        }
    }
}

async fn open(claim: &dyn Claim) -> Box<dyn Writer> {
    loop {
        match claim.open().await {
            Ok(opened) => return opened.writer,
            Err(error) if error.kind() == LogErrorKind::Unavailable => sleep(PAUSE).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Goes on until the instances have as many shards each.
async fn until(instances: &mut [Instance], counts: &[usize]) {
    let settle = async {
        while !instances.iter().map(|instance| instance.writers.len()).eq(counts.iter().copied()) {
            for instance in instances.iter_mut() {
                instance.go_on().await;
            }
        }
    };
    timeout(PATIENCE, settle).await.unwrap_or_else(|_| panic!("the group never had {counts:?}"));
}

/// The claim that moves is dropped with its writer, so the other shards of both go on beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_that_stay_are_written_to_while_others_come_and_go() {
    let broker = Broker::start().expect("a broker starts");
    let topic = TopicName::new("come-and-go.input").unwrap();
    let log = connect(&broker, "admin").await;
    log.create(&topic, TopicSettings::kept(SHARDS)).await.unwrap();
    let group = Group { name: "come-and-go".to_owned(), shards: SHARDS, topic };
    let mut instances = vec![Instance::join(&broker, "first", &group).await];
    until(&mut instances, &[4]).await;
    for _ in 0..3 {
        instances.push(Instance::join(&broker, "second", &group).await);
        until(&mut instances, &[2, 2]).await;
        let changes = instances[0].changes;
        let gone = instances.pop().unwrap();
        drop(gone.writers);
        gone.member.leave().await.unwrap();
        until(&mut instances, &[4]).await;
        assert_eq!(instances[0].changes, changes + 2, "nothing moved but what was left behind");
    }
}
