//! Readers and writers at random: every reader ends with what was committed, whatever it asked for on the way.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use headwater_core::log::{LogErrorKind, ReadLimit, Wait};
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use krafka::Kafka;
use krafka::error::ErrorCode;
use krafka::testing::{ApiKey, Control, FakeBroker, RequestInfo};

use super::ground::{AT_MOST, reader, record, values};
use crate::reader::Reader;

const PARTITIONS: u32 = 3;
const READERS: usize = 9;
const STEPS: usize = 120;

/// What the last record of each partition says.
const LAST: &str = "last";

#[tokio::test]
async fn every_reader_ends_with_what_was_committed() {
    for seed in 0..4 {
        println!("seed {seed}");
        run(Rng::with_seed(seed)).await;
    }
}

async fn run(mut rng: Rng) {
    let broker = FakeBroker::start_cluster(2).await.unwrap();
    broker.create_topic("random", PARTITIONS as i32);
    let topic = TopicName::new("random").unwrap();
    let reader = Arc::new(reader(&broker.bootstrap_servers(), Duration::from_secs(5)).await);
    let readers: Vec<_> = (0..READERS)
        .map(|n| {
            let (reader, at) = (Arc::clone(&reader), topic.partition(n as u32 % PARTITIONS));
            tokio::spawn(read(reader, at, rng.fork()))
        })
        .collect();
    write(&broker, &topic, rng).await;

    let read = tokio::time::timeout(AT_MOST, join_all(readers)).await.expect("readers end in bounded time");
    for (n, read) in read.into_iter().enumerate() {
        let committed = broker.committed_records(topic.as_str()).unwrap();
        let committed: Vec<_> = committed
            .into_iter()
            .filter(|record| record.partition == n as i32 % PARTITIONS as i32)
            .filter_map(|record| record.value_str().map(String::from))
            .collect();
        assert_eq!(read.unwrap(), committed, "reader {n}");
    }
}

/// Appends, transactions that end either way side by side, and fetches that fail.
async fn write(broker: &FakeBroker, topic: &TopicName, mut rng: Rng) {
    let kafka = Kafka::builder(broker.bootstrap_servers()).connect().await.unwrap();
    let producer = kafka.producer().build().await.unwrap();
    let writers = [
        kafka.producer().build_transactional("random-0").await.unwrap(),
        kafka.producer().build_transactional("random-1").await.unwrap(),
    ];
    let mut open = [false; 2];
    for step in 0..STEPS {
        let (to, n) = (topic.partition(rng.u32(..PARTITIONS)), rng.usize(..2));
        match rng.u32(..12) {
            0..4 => producer.send(record(&to, &format!("appended-{step}"))).await.map(drop).unwrap(),
            4..8 => {
                if !std::mem::replace(&mut open[n], true) {
                    writers[n].begin().unwrap();
                }
                writers[n].send(record(&to, &format!("written-{n}-{step}"))).await.map(drop).unwrap();
            }
            8 | 9 if std::mem::take(&mut open[n]) => match rng.bool() {
                true => writers[n].commit().await.unwrap(),
                false => writers[n].abort().await.unwrap(),
            },
            10 => broker.on_once(ApiKey::Fetch, fault(&mut rng)),
            _ => tokio::time::sleep(Duration::from_millis(rng.u64(..4))).await,
        }
    }
    for (writer, _) in writers.iter().zip(open).filter(|(_, open)| *open) {
        writer.commit().await.unwrap();
    }
    for partition in 0..PARTITIONS {
        producer.send(record(&topic.partition(partition), LAST)).await.map(drop).unwrap();
    }
}

fn fault(rng: &mut Rng) -> impl Fn(&RequestInfo) -> Control + Send + Sync + 'static {
    let faults = [
        Control::Disconnect,
        Control::ApplyThen(Box::new(Control::Disconnect)),
        Control::Error(ErrorCode::NotLeaderForPartition),
        Control::Delay(Duration::from_millis(20)),
    ];
    let fault = faults[rng.usize(..faults.len())].clone();
    move |_| fault.clone()
}

/// Reads on until the last record, asking for much and little, waiting and not, for long and for moments.
async fn read(reader: Arc<Reader>, at: TopicPartition, mut rng: Rng) -> Vec<String> {
    let (mut next, mut read) = (Offset::ZERO, Vec::new());
    while read.last().is_none_or(|value| value != LAST) {
        let limit = ReadLimit { records: rng.usize(1..20), bytes: rng.usize(1..400) };
        let wait = if rng.bool() { Wait::No } else { Wait::UntilMore };
        let patience = if rng.bool() { AT_MOST } else { Duration::from_micros(rng.u64(..3_000)) };
        match tokio::time::timeout(patience, reader.read(&at, next, limit, wait)).await {
            Ok(Ok(batch)) => {
                assert!(
                    batch.records.iter().all(|stored| next <= stored.offset && stored.offset < batch.next)
                );
                assert!(wait == Wait::No || batch.next > next);
                next = batch.next;
                read.extend(values(&batch.records));
            }
            Ok(Err(error)) => assert_eq!(error.kind(), LogErrorKind::Unavailable, "{error}"),
            Err(_) => {}
        }
    }
    read
}
