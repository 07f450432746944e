//! What the conformance rules do not ask of writers, since it can only happen on a cluster.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::future::try_join_all;
use headwater_core::clock::Timestamp;
use headwater_core::log::{
    Claim, CommitError, Group, Log, LogErrorKind, Membership, ReadLimit, ShardChange, TopicSettings,
    Transaction, Wait, Writer,
};
use headwater_core::position::Position;
use headwater_core::record::{Append, Record};
use headwater_core::topic::{Offset, Partition, TopicName, TopicPartition};
use headwater_kafka::{KafkaLog, KafkaSettings};
use kafka_broker::Broker;

fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| Broker::start().expect("a broker starts"))
}

async fn connect() -> Arc<dyn Log> {
    let settings = KafkaSettings {
        replication_factor: 1,
        min_in_sync_replicas: 1,
        ..KafkaSettings::new(broker().bootstrap(), "writers")
    };
    KafkaLog::connect(settings).await.expect("the broker runs")
}

/// A member that has all shards of a group of its own.
struct Shards {
    topic: TopicName,
    claims: BTreeMap<Partition, Box<dyn Claim>>,
    _member: Box<dyn Membership>,
}

impl Shards {
    async fn of(log: &dyn Log, name: &str, shards: u32) -> Self {
        let topic = create(log, &format!("{name}.input"), shards).await;
        let group = Group { name: name.to_owned(), shards, topic: topic.clone() };
        let mut member = log.join(&group).await.unwrap();
        let mut claims = BTreeMap::new();
        while claims.len() < shards as usize {
            if let ShardChange::Gained(shard, claim) = member.next().await.unwrap() {
                claims.insert(shard, claim);
            }
        }
        Self { topic, claims, _member: member }
    }

    async fn open(&self) -> Box<dyn Writer> {
        self.claims[&Partition(0)].open().await.unwrap().writer
    }

    /// One record, and the position that fences.
    fn writes(&self, to: &TopicPartition, value: &str) -> Transaction {
        let record = Record::new("key", value.to_owned(), Timestamp(1));
        Transaction {
            appends: vec![Append { to: to.clone(), record }],
            positions: Position::from_iter([(self.topic.partition(0), Offset(1))]),
            note: Bytes::new(),
        }
    }
}

async fn create(log: &dyn Log, name: &str, partitions: u32) -> TopicName {
    let name = TopicName::new(name).unwrap();
    log.create(&name, TopicSettings::kept(partitions)).await.unwrap();
    name
}

async fn values(log: &dyn Log, at: &TopicPartition) -> Vec<Bytes> {
    let end = log.bounds(at).await.unwrap().end;
    let (mut next, mut values) = (Offset::ZERO, Vec::new());
    while next < end {
        let batch = log.read(at, next, ReadLimit::default(), Wait::UntilMore).await.unwrap();
        next = batch.next;
        values.extend(batch.records.into_iter().filter_map(|stored| stored.record.value));
    }
    values
}

/// All of them find, or make, the topic of their heads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shards_of_a_new_group_open_side_by_side() {
    let log = connect().await;
    let shards = Shards::of(&*log, "side-by-side", 12).await;
    let opened = try_join_all(shards.claims.values().map(|claim| claim.open())).await.unwrap();
    assert!(opened.iter().all(|opened| opened.head.is_none()), "a new group has no heads");
}

/// A writer has two producers that take turns: neither can commit once the next writer is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_is_fenced_whichever_its_turn() {
    let log = connect().await;
    let shards = Shards::of(&*log, "turns", 1).await;
    let at = create(&*log, "turns.records", 1).await.partition(0);
    let mut expected = Vec::new();
    for commits in 0..4 {
        let mut zombie = shards.open().await;
        for n in 0..commits {
            let value = format!("{commits}-{n}");
            zombie.commit(shards.writes(&at, &value)).await.unwrap();
            expected.push(Bytes::from(value));
        }
        let _next = shards.open().await;
        for _ in 0..2 {
            let answer = zombie.commit(shards.writes(&at, "of a zombie")).await;
            assert!(matches!(answer, Err(CommitError::Fenced)), "after {commits} commits: {answer:?}");
        }
    }
    assert_eq!(values(&*log, &at).await, expected, "in the order of the commits");
}

/// The commit says so, and the writer still serves what is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_somebody_deletes_fails_its_commits_alone() {
    let (log, elsewhere) = (connect().await, connect().await);
    let shards = Shards::of(&*log, "deleted", 1).await;
    let stays = create(&*log, "deleted.stays", 1).await.partition(0);
    let goes = create(&*log, "deleted.goes", 1).await.partition(0);
    let mut writer = shards.open().await;
    writer.commit(shards.writes(&goes, "before")).await.unwrap();
    writer.commit(shards.writes(&stays, "before")).await.unwrap();
    elsewhere.delete(&goes.topic).await.unwrap();
    // The first may only learn that the partition has no leader.
    let mut answers = Vec::new();
    for _ in 0..3 {
        match writer.commit(shards.writes(&goes, "after")).await {
            Err(CommitError::NotWritten { error, .. }) => answers.push(error.kind()),
            Err(CommitError::Fenced) => writer = shards.open().await,
            other => panic!("a commit to a topic that is gone answered {other:?}"),
        }
    }
    assert_eq!(answers.last(), Some(&LogErrorKind::UnknownTopic), "{answers:?}");
    if let Err(CommitError::Fenced) = writer.commit(shards.writes(&stays, "after")).await {
        shards.open().await.commit(shards.writes(&stays, "after")).await.unwrap();
    }
    assert_eq!(values(&*log, &stays).await, ["before", "after"]);
}
