//! A broker that does not answer for a while: once that is known, nobody waits to be told, and writing goes on when it is
//! back.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::log::{
    AppendError, Claim, CommitError, Group, Log, LogErrorKind, Membership, ReadLimit, ShardChange,
    TopicSettings, Transaction, Wait, Writer,
};
use headwater_core::position::Position;
use headwater_core::record::{Append, Record};
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use headwater_kafka::{KafkaLog, KafkaSettings};
use kafka_broker::Broker;

const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

fn record(at: &TopicPartition, value: &str) -> Append {
    Append { to: at.clone(), record: Record::new("key", value.to_owned(), Timestamp(1)) }
}

fn transaction(at: &TopicPartition, value: &str) -> Transaction {
    let positions = Position::from_iter([(at.clone(), Offset(0))]);
    Transaction { appends: vec![record(at, value)], positions, note: Bytes::new() }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn values(log: &dyn Log, at: &TopicPartition) -> Vec<Bytes> {
    let (end, mut next, mut values) = (log.bounds(at).await.unwrap().end, Offset::ZERO, Vec::new());
    while next < end {
        let batch = log.read(at, next, ReadLimit::default(), Wait::UntilMore).await.unwrap();
        next = batch.next;
        values.extend(batch.records.into_iter().filter_map(|stored| stored.record.value));
    }
    values
}

async fn shard(log: &dyn Log, at: &TopicPartition) -> (Box<dyn Membership>, Box<dyn Claim>) {
    let group = Group { name: "outage".to_owned(), shards: 1, topic: at.topic.clone() };
    let mut member = log.join(&group).await.unwrap();
    loop {
        if let ShardChange::Gained(_, claim) = member.next().await.unwrap() {
            return (member, claim);
        }
    }
}

/// Writes, by another writer where this one has died, until it is written.
async fn write(claim: &dyn Claim, mut writer: Box<dyn Writer>, transaction: Transaction) {
    let begun = Instant::now();
    loop {
        match writer.commit(transaction.clone()).await {
            Ok(_) => return,
            Err(CommitError::NotWritten { retry: true, .. }) => {}
            Err(CommitError::Unknown(error)) => panic!("nothing disturbs it any more: {error}"),
            Err(_) => {
                if let Ok(opened) = claim.open().await {
                    writer = opened.writer;
                }
            }
        }
        assert!(begun.elapsed() < PATIENCE, "writes go on");
        tokio::time::sleep(PAUSE).await;
    }
}

/// It is held, not killed: connections to it are taken, and nothing is answered on them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_refused_at_once_when_no_broker_is_known_to_answer() {
    let broker = Broker::start().unwrap();
    let settings = KafkaSettings {
        replication_factor: 1,
        min_in_sync_replicas: 1,
        // A member that is forgotten is another test's concern.
        session_timeout: Duration::from_secs(40),
        ..KafkaSettings::new(broker.bootstrap(), "outage")
    };
    let log: Arc<dyn Log> = KafkaLog::connect(settings).await.unwrap();
    let topic = TopicName::new("outage.records").unwrap();
    log.create(&topic, TopicSettings::kept(1)).await.unwrap();
    let at = topic.partition(0);
    let (_member, claim) = shard(&*log, &at).await;
    let mut writer = claim.open().await.unwrap().writer;
    writer.commit(transaction(&at, "1")).await.unwrap();
    log.append(vec![record(&at, "2")]).await.unwrap();
    assert!(log.cut_off().is_none());

    broker.suspend().unwrap();
    // The first is not spared to find out.
    let first = tokio::spawn({
        let (log, append) = (log.clone(), record(&at, "3"));
        async move { log.append(vec![append]).await }
    });
    until("the loss is known", || log.cut_off().is_some()).await;
    let reason = log.cut_off().unwrap().to_string();
    assert!(reason.contains("no broker") && reason.contains(&broker.bootstrap()), "{reason}");
    match log.append(vec![record(&at, "4")]).await {
        Err(AppendError::NotWritten(error)) if error.kind() == LogErrorKind::Unavailable => {}
        other => panic!("{other:?}"),
    }
    match writer.commit(transaction(&at, "5")).await {
        Err(CommitError::NotWritten { retry: true, error }) => {
            assert!(error.to_string().contains("no broker"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let first = first.await.unwrap();

    broker.resume().unwrap();
    until("it is known to be back", || log.cut_off().is_none()).await;
    write(&*claim, writer, transaction(&at, "6")).await;
    let values = values(&*log, &at).await;
    let held = values.iter().filter(|value| *value == "3").count();
    match first {
        Ok(_) => assert_eq!(held, 1),
        Err(AppendError::NotWritten(_)) => assert_eq!(held, 0),
        Err(AppendError::Unknown(_)) => assert!(held <= 1),
    }
    let others: Vec<_> = values.iter().filter(|value| *value != "3").collect();
    assert_eq!(others, ["1", "2", "6"], "what was refused is not there");
}
