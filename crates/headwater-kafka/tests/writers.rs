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
        Self::join(log, name, topic, shards).await
    }

    async fn join(log: &dyn Log, name: &str, topic: TopicName, shards: u32) -> Self {
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

/// Somebody's own clients write to the new topic as if nothing had happened; the shard's records belong to the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_somebody_makes_again_takes_no_more_of_a_shards_records() {
    let (log, elsewhere) = (connect().await, connect().await);
    let shards = Shards::of(&*log, "again", 1).await;
    let at = create(&*log, "again.records", 1).await.partition(0);
    let mut writer = shards.open().await;
    writer.commit(shards.writes(&at, "before")).await.unwrap();
    elsewhere.delete(&at.topic).await.unwrap();
    create(&*elsewhere, at.topic.as_str(), 1).await;
    for life in ["the writer's", "the next writer's"] {
        // The first answers may be that the partition has no leader.
        let refused = loop {
            match writer.commit(shards.writes(&at, "after")).await {
                Err(CommitError::NotWritten { error, .. }) if error.kind() == LogErrorKind::Unavailable => {}
                Err(CommitError::NotWritten { retry: false, error }) => break error,
                Err(CommitError::Fenced) => writer = shards.open().await,
                other => panic!("a commit to a topic that was made again answered {other:?} in {life} life"),
            }
        };
        assert_eq!(refused.kind(), LogErrorKind::Corrupt, "{refused}");
        assert!(refused.to_string().contains("again.records"), "{refused}");
        writer = shards.open().await;
    }
    assert_eq!(values(&*elsewhere, &at).await, Vec::<Bytes>::new());
}

/// What the shard had processed is not what the log has there now: to go on would leave out what is new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_of_records_that_the_log_has_lost_opens_no_writer() {
    let broker = Broker::start().unwrap();
    let connect = || async {
        let settings = KafkaSettings {
            replication_factor: 1,
            min_in_sync_replicas: 1,
            ..KafkaSettings::new(broker.bootstrap(), "writers")
        };
        KafkaLog::connect(settings).await.expect("the broker runs")
    };
    {
        let log = connect().await;
        for (group, next) in [("honest", 5), ("ahead", 8)] {
            let shards = Shards::of(&*log, group, 1).await;
            append(&*log, &shards.topic, 5).await;
            assert_eq!(values(&*log, &shards.topic.partition(0)).await.len(), 5);
            // A position of three records that the log, as it is after this, has never had.
            let positions = Position::from_iter([(shards.topic.partition(0), Offset(next))]);
            let stands = Transaction { positions, ..Transaction::default() };
            shards.open().await.commit(stands).await.unwrap();
            // The next one waits until the markers are written, which a lone broker forgets when it dies before.
            drop(shards.claims[&Partition(0)].open().await);
        }
    }
    tokio::task::block_in_place(|| broker.restart().unwrap());
    let log = connect().await;
    for (group, lost) in [("honest", None), ("ahead", Some("offset 8"))] {
        let topic = TopicName::new(format!("{group}.input")).unwrap();
        append(&*log, &topic, 5).await;
        let shards = Shards::join(&*log, group, topic, 1).await;
        let opened = shards.claims[&Partition(0)].open().await;
        match (opened, lost) {
            (Ok(opened), None) => {
                let head = opened.head.unwrap();
                assert_eq!(head.positions.get(&shards.topic.partition(0)), Some(Offset(5)));
            }
            (Err(error), Some(place)) => {
                assert_eq!(error.kind(), LogErrorKind::Corrupt, "{error}");
                assert!(error.to_string().contains(place) && error.to_string().contains("ahead.input-0"));
            }
            (opened, _) => panic!("{group}: {opened:?}"),
        }
    }
}

async fn append(log: &dyn Log, topic: &TopicName, count: usize) {
    for n in 0..count {
        let record = Record::new("key", n.to_string(), Timestamp(1));
        log.append(vec![Append { to: topic.partition(0), record }]).await.unwrap();
    }
}
