//! Faults that a real broker cannot be asked for, from the client's own broker in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use headwater_core::log::{LogError, LogErrorKind, ReadBatch, ReadLimit, Wait};
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use krafka::Kafka;
use krafka::error::ErrorCode;
use krafka::testing::{ApiKey, Control, FakeBroker};

use super::ground::{AT_MOST, EVERYTHING, numbers, reader, record, values};
use crate::reader::Reader;

const PATIENCE: Duration = Duration::from_millis(600);

struct Faulty {
    broker: FakeBroker,
    kafka: Kafka,
    reader: Reader,
    at: TopicPartition,
}

impl Faulty {
    /// Two brokers, and a partition with ten records.
    async fn new() -> Self {
        let broker = FakeBroker::start_cluster(2).await.unwrap();
        broker.create_topic("faulty", 1);
        let kafka = Kafka::builder(broker.bootstrap_servers()).connect().await.unwrap();
        let reader = reader(&broker.bootstrap_servers(), PATIENCE).await;
        let faulty = Self { broker, kafka, reader, at: TopicName::new("faulty").unwrap().partition(0) };
        faulty.produce(0..10).await;
        faulty
    }

    async fn produce(&self, values: std::ops::Range<u32>) {
        let producer = self.kafka.producer().build().await.unwrap();
        for value in values {
            producer.send(record(&self.at, &value.to_string())).await.map(drop).unwrap();
        }
        producer.close().await.unwrap();
    }

    async fn read(&self, from: u64, limit: ReadLimit, wait: Wait) -> Result<ReadBatch, LogError> {
        let read = self.reader.read(&self.at, Offset(from), limit, wait);
        tokio::time::timeout(AT_MOST, read).await.expect("a read ends in bounded time")
    }

    async fn reads_all(&self) {
        let mut read = Vec::new();
        while read.len() < 10 {
            let limit = ReadLimit { records: 3, ..EVERYTHING };
            let batch = self.read(read.len() as u64, limit, Wait::UntilMore).await.unwrap();
            read.extend(batch.records);
        }
        assert_eq!(values(&read), numbers(10));
    }
}

#[tokio::test]
async fn what_passes_is_not_seen_by_the_reader() {
    for control in [
        Control::Error(ErrorCode::NotLeaderForPartition),
        Control::Error(ErrorCode::UnknownTopicOrPartition),
        Control::Error(ErrorCode::FencedLeaderEpoch),
        Control::Error(ErrorCode::KafkaStorageException),
        Control::Error(ErrorCode::UnknownServerError),
        Control::Disconnect,
        Control::ApplyThen(Box::new(Control::Disconnect)),
        Control::Delay(Duration::from_millis(100)),
    ] {
        let faulty = Faulty::new().await;
        let (told, met) = (control.clone(), Arc::new(AtomicU32::new(0)));
        let meets = Arc::clone(&met);
        faulty.broker.on_times(ApiKey::Fetch, 2, move |_| {
            meets.fetch_add(1, Ordering::Relaxed);
            told.clone()
        });
        faulty.reads_all().await;
        assert!(met.load(Ordering::Relaxed) > 0, "{control:?} was not met");
    }
}

#[tokio::test]
async fn what_does_not_pass_is_told_by_its_kind_in_bounded_time() {
    for (control, kind) in [
        (Control::Error(ErrorCode::NotLeaderForPartition), LogErrorKind::Unavailable),
        (Control::Error(ErrorCode::UnknownServerError), LogErrorKind::Unavailable),
        (Control::Error(ErrorCode::CorruptMessage), LogErrorKind::Corrupt),
        (Control::Error(ErrorCode::TopicAuthorizationFailed), LogErrorKind::Denied),
        (Control::CorruptRecords, LogErrorKind::Corrupt),
        (Control::Disconnect, LogErrorKind::Unavailable),
        (Control::Silence, LogErrorKind::Unavailable),
    ] {
        let faulty = Faulty::new().await;
        let told = control.clone();
        faulty.broker.on(ApiKey::Fetch, move |_| told.clone());
        for wait in [Wait::No, Wait::UntilMore] {
            let begun = Instant::now();
            let error = faulty.read(3, EVERYTHING, wait).await.expect_err("the read fails");
            assert_eq!(error.kind(), kind, "{control:?}: {error}");
            assert!(error.to_string().contains("faulty-0"), "{error}");
            assert!(begun.elapsed() < 3 * PATIENCE, "{control:?} took {:?}", begun.elapsed());
        }
        faulty.broker.clear_hooks();
        if !matches!(control, Control::Silence) {
            faulty.reads_all().await;
        }
    }
}

#[tokio::test]
async fn damage_names_the_first_offset_that_cannot_be_had() {
    let faulty = Faulty::new().await;
    faulty.broker.on(ApiKey::Fetch, |_| Control::CorruptRecords);
    let error = faulty.read(0, EVERYTHING, Wait::No).await.expect_err("the read fails");
    assert!(error.to_string().contains("offset 0 of faulty-0"), "{error}");
}

#[tokio::test]
async fn a_waiting_read_follows_its_partition_to_another_broker() {
    let faulty = Faulty::new().await;
    for (n, broker) in [(10, 1), (11, 0), (12, 1)] {
        let waiting = faulty.read(n, EVERYTHING, Wait::UntilMore);
        let moved = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            faulty.broker.set_leader("faulty", 0, broker);
            faulty.produce(n as u32..n as u32 + 1).await;
        };
        let (batch, ()) = tokio::join!(waiting, moved);
        assert_eq!(values(&batch.unwrap().records), [n.to_string()]);
    }
}

#[tokio::test]
async fn a_commit_whose_markers_are_late_is_waited_for() {
    let faulty = Faulty::new().await;
    let writer = faulty.kafka.producer().build_transactional("late").await.unwrap();
    writer.begin().unwrap();
    writer.send(record(&faulty.at, "late")).await.map(drop).unwrap();
    faulty.broker.hold_transaction_markers(true);
    writer.commit().await.unwrap();
    let release = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        faulty.broker.hold_transaction_markers(false);
    };
    let (batch, ()) = tokio::join!(faulty.read(10, EVERYTHING, Wait::No), release);
    assert_eq!(values(&batch.unwrap().records), ["late"]);
}
