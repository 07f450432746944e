//! What tests of reading stand on: one real broker for all, and a topic for each.

use std::sync::OnceLock;
use std::time::Duration;

use headwater_core::log::{Bounds, LogError, LogErrorKind, ReadBatch, ReadLimit, Wait};
use headwater_core::record::StoredRecord;
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use kafka_broker::Broker;
use krafka::admin::{CreateTopicsOptions, DeleteTopicsOptions, NewTopic};
use krafka::producer::{Producer, TransactionalProducer};
use krafka::{Kafka, Record};

use crate::connection::Connection;
use crate::reader::Reader;
use crate::reader::wire::Lookup;
use crate::settings::KafkaSettings;

/// Longer than anything takes, so that a test fails instead of hanging.
pub(super) const AT_MOST: Duration = Duration::from_secs(120);

pub(super) const EVERYTHING: ReadLimit = ReadLimit { records: 100_000, bytes: 64 << 20 };

/// The broker that tests share which do not stop it.
pub(super) fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| Broker::start().unwrap())
}

pub(super) struct Ground {
    pub(super) kafka: Kafka,
    pub(super) producer: Producer,
    pub(super) reader: Reader,
}

impl Ground {
    pub(super) async fn new() -> Self {
        Self::at(&broker().bootstrap(), Duration::from_secs(5)).await
    }

    /// At another broker, with a reader of this patience.
    pub(super) async fn at(servers: &str, patience: Duration) -> Self {
        let kafka = Kafka::builder(servers).connect().await.unwrap();
        let producer = kafka.producer().max_request_size(16 << 20).build().await.unwrap();
        Self { kafka, producer, reader: reader(servers, patience).await }
    }

    /// A topic of its own, named after the test.
    pub(super) async fn topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> TopicName {
        let mut topic = NewTopic::new(name, partitions, 1).unwrap();
        for (key, value) in configs {
            topic = topic.with_config(*key, *value);
        }
        let options = CreateTopicsOptions::default();
        // A name that was just deleted may take a moment until it is free.
        for _ in 0..100 {
            match self
                .kafka
                .admin()
                .create_topics([topic.clone()], options.clone())
                .await
                .unwrap()
                .remove(name)
            {
                Some(Ok(())) => return TopicName::new(name).unwrap(),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        panic!("topic {name} could not be created");
    }

    pub(super) async fn partition(&self, name: &str) -> TopicPartition {
        self.topic(name, 1, &[]).await.partition(0)
    }

    pub(super) async fn delete(&self, topic: &TopicName) {
        let options = DeleteTopicsOptions::default();
        let answers = self.kafka.admin().delete_topics([topic.as_str()], options).await.unwrap();
        answers.into_values().for_each(|answer| answer.unwrap());
    }

    /// Produces values, each acknowledged before the next.
    pub(super) async fn produce(&self, to: &TopicPartition, values: &[&str]) {
        for value in values {
            self.producer.send(record(to, value)).await.map(drop).unwrap();
        }
    }

    /// Produces `count` records of the values `0`, `1`, ...
    pub(super) async fn produce_many(&self, to: &TopicPartition, count: usize) {
        let mut sent = Vec::new();
        for n in 0..count {
            sent.push(self.producer.enqueue(record(to, &n.to_string())).await.unwrap());
        }
        for sent in sent {
            sent.await.map(drop).unwrap();
        }
    }

    pub(super) async fn writer(&self, id: &str) -> TransactionalProducer {
        self.kafka.producer().build_transactional(id).await.unwrap()
    }

    pub(super) async fn read(
        &self,
        at: &TopicPartition,
        from: u64,
        wait: Wait,
    ) -> Result<ReadBatch, LogError> {
        self.read_limited(at, from, EVERYTHING, wait).await
    }

    pub(super) async fn read_limited(
        &self,
        at: &TopicPartition,
        from: u64,
        limit: ReadLimit,
        wait: Wait,
    ) -> Result<ReadBatch, LogError> {
        let read = self.reader.read(at, Offset(from), limit, wait);
        tokio::time::timeout(AT_MOST, read).await.expect("a read ends in bounded time")
    }

    pub(super) async fn bounds(&self, at: &TopicPartition) -> Bounds {
        let wire = &self.reader.shared.wire;
        let Lookup::Found(place) = wire.place(at, false).await.unwrap() else { panic!("{at} is not there") };
        wire.bounds(at, place).await.unwrap()
    }

    /// What a read that must fail says.
    pub(super) async fn fails(&self, at: &TopicPartition, from: u64, wait: Wait) -> LogErrorKind {
        self.read(at, from, wait).await.expect_err("the read fails").kind()
    }

    /// All records from an offset up to the end that bounds tell, read by reads of a limit.
    pub(super) async fn read_to_end(
        &self,
        at: &TopicPartition,
        from: u64,
        limit: ReadLimit,
    ) -> Vec<StoredRecord> {
        let end = self.bounds(at).await.end;
        let (mut next, mut records) = (Offset(from), Vec::new());
        while next < end {
            let batch = self.read_limited(at, next.0, limit, Wait::No).await.unwrap();
            assert!(batch.records.iter().all(|record| next <= record.offset && record.offset < batch.next));
            assert!(batch.records.len() <= limit.records);
            next = batch.next;
            records.extend(batch.records);
        }
        records
    }
}

pub(super) async fn reader(servers: &str, patience: Duration) -> Reader {
    let settings = KafkaSettings { patience, ..KafkaSettings::new(servers, "test") };
    Reader::new(Connection::open(settings).await.unwrap())
}

pub(super) fn record(to: &TopicPartition, value: &str) -> Record {
    Record::new(to.topic.as_str(), value.to_owned())
        .partition(to.partition.0 as i32)
        .timestamp(1_577_836_800_000)
}

pub(super) fn values(records: &[StoredRecord]) -> Vec<String> {
    let text = |stored: &StoredRecord| {
        String::from_utf8(stored.record.value.as_deref().expect("a value").to_vec()).unwrap()
    };
    records.iter().map(text).collect()
}

pub(super) fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}
