//! What flows past both sides: topics filled beforehand, records sent at a steady rate, results read back.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use bytes::Bytes;
use futures_util::future::try_join_all;
use headwater::core::log::{Log, ReadLimit, Wait};
use headwater::core::topic::{Offset, TopicName, TopicPartition};
use headwater_kafka::{KafkaLog, KafkaSettings};
use krafka::consumer::{Consumer, IsolationLevel};
use krafka::producer::{Acks, DeliveryHandle, Producer};
use krafka::{Kafka, Record};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

/// Partitions of every topic of the comparison.
pub(super) const PARTITIONS: u32 = 4;
/// Bytes of every value.
pub(super) const VALUE_BYTES: usize = 100;
/// Deliveries that are waited for before more are sent.
const IN_FLIGHT: usize = 100_000;
/// How long no result may come before there is none.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often the steady sender wakes.
const TICK: Duration = Duration::from_millis(1);

pub(super) struct Traffic {
    kafka: Kafka,
    bootstrap: String,
}

/// A topic that was filled, and how often some of its keys came.
pub(super) struct Filled {
    pub(super) topic: String,
    pub(super) records: u64,
    pub(super) probes: Vec<(String, u64)>,
}

impl Traffic {
    pub(super) async fn connect(bootstrap: &str) -> anyhow::Result<Self> {
        let kafka = Kafka::builder(bootstrap).client_id("traffic").connect().await?;
        Ok(Self { kafka, bootstrap: bootstrap.to_owned() })
    }

    /// Makes a topic that keeps its records for ever.
    pub(super) async fn topic(&self, name: &str) -> anyhow::Result<()> {
        let mut topic = krafka::admin::NewTopic::new(name, PARTITIONS as i32, 1)?;
        topic.configs.insert("retention.ms".into(), "-1".into());
        for (_, created) in self.kafka.admin().create_topics([topic], Default::default()).await? {
            created?;
        }
        Ok(())
    }

    /// Makes a topic of so many records, whose keys are drawn evenly at random.
    pub(super) async fn fill(&self, topic: &str, records: u64, keys: u32) -> anyhow::Result<Filled> {
        self.topic(topic).await?;
        let producer = self.producer(Duration::from_millis(5)).await?;
        let mut rng = fastrand::Rng::with_seed(1);
        let mut counts = vec![0_u64; keys as usize];
        let mut deliveries = VecDeque::new();
        for _ in 0..records {
            let key = rng.u32(..keys);
            counts[key as usize] += 1;
            let record = Record::new(topic, value(&mut rng)).key(key_of(key));
            send(&producer, record, &mut deliveries).await?;
        }
        for delivery in deliveries {
            let _offset = delivery.await?;
        }
        producer.close().await?;
        let probes = (0..10).map(|n| n * (keys / 10)).map(|key| (key_of(key), counts[key as usize]));
        Ok(Filled { topic: topic.to_owned(), records, probes: probes.collect() })
    }

    /// Sends so many records at a steady rate, each with the time at which it was sent.
    pub(super) async fn send_steadily(
        &self,
        topic: &str,
        per_second: u32,
        records: u64,
    ) -> anyhow::Result<()> {
        let producer = self.producer(Duration::ZERO).await?;
        let mut rng = fastrand::Rng::with_seed(2);
        let mut deliveries = VecDeque::new();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let began = Instant::now();
        let mut sent = 0;
        while sent < records {
            ticks.tick().await;
            let due = (began.elapsed().as_secs_f64() * f64::from(per_second)) as u64;
            for _ in sent..due.min(records) {
                let mut value = now_micros().to_be_bytes().to_vec();
                value.resize(VALUE_BYTES, b'.');
                let record = Record::new(topic, value).key(key_of(rng.u32(..100_000)));
                send(&producer, record, &mut deliveries).await?;
            }
            sent = sent.max(due);
        }
        for delivery in deliveries {
            let _offset = delivery.await?;
        }
        Ok(producer.close().await?)
    }

    /// Reads a topic read-committed until so many records have come or none comes for a while, and answers how long
    /// each took since it was sent, in the order of the sending, without the first `skip`.
    ///
    /// By Headwater's own reader, whose waiting for records costs next to nothing: what a reader adds, it adds to both.
    pub(super) async fn latencies(
        &self,
        topic: &str,
        skip: usize,
        records: u64,
    ) -> anyhow::Result<Vec<Duration>> {
        let log = KafkaLog::connect(KafkaSettings::new(&self.bootstrap, "traffic")).await?;
        let came = watch::Sender::new(0);
        let wanted = records + skip as u64;
        let topic = TopicName::new(topic)?;
        let partitions = (0..PARTITIONS).map(|partition| topic.partition(partition));
        let readings = partitions.map(|at| latencies_of(&*log, at, &came, wanted));
        let mut latencies = try_join_all(readings).await?.concat();
        latencies.sort_unstable();
        Ok(latencies.into_iter().skip(skip).map(|(_, latency)| latency).collect())
    }

    /// How many committed records a topic of so many partitions holds.
    pub(super) async fn count(&self, topic: &str, partitions: u32, expected: u64) -> anyhow::Result<u64> {
        let consumer = self.reader(topic, partitions).await?;
        let (mut count, mut idle) = (0, 0);
        while count < expected && idle < 5 {
            let batch = consumer.poll(Duration::from_secs(1)).await?;
            idle = if batch.is_empty() { idle + 1 } else { 0 };
            count += batch.len() as u64;
        }
        Ok(count)
    }

    async fn producer(&self, linger: Duration) -> anyhow::Result<Producer> {
        Ok(self.kafka.producer().acks(Acks::All).linger(linger).build().await?)
    }

    async fn reader(&self, topic: &str, partitions: u32) -> anyhow::Result<Consumer> {
        let consumer = self.kafka.consumer_without_group();
        let consumer = consumer.isolation_level(IsolationLevel::ReadCommitted).build().await?;
        consumer.assign(topic, (0..partitions as i32).collect()).await?;
        for partition in 0..partitions as i32 {
            consumer.seek(topic, partition, 0).await?;
        }
        Ok(consumer)
    }
}

/// Of each record of a partition, when it was sent in microseconds, and how long it took from then.
pub(super) async fn latencies_of(
    log: &dyn Log,
    at: TopicPartition,
    came: &watch::Sender<u64>,
    wanted: u64,
) -> anyhow::Result<Vec<(u64, Duration)>> {
    let (mut latencies, mut next, mut all) = (Vec::new(), Offset::ZERO, came.subscribe());
    loop {
        let read = log.read(&at, next, ReadLimit::default(), Wait::UntilMore);
        let batch = tokio::select! {
            _ = all.wait_for(|came| *came >= wanted) => return Ok(latencies),
            batch = tokio::time::timeout(SILENCE_MAX, read) => batch,
        };
        let Ok(batch) = batch else { return Ok(latencies) };
        let batch = batch?;
        let now = now_micros();
        for stored in &batch.records {
            let sent = stored.record.value.as_deref().and_then(|value| value.first_chunk());
            let sent = u64::from_be_bytes(*sent.context("a result holds the time of its sending")?);
            latencies.push((sent, Duration::from_micros(now.saturating_sub(sent))));
        }
        next = batch.next;
        came.send_modify(|came| *came += batch.records.len() as u64);
    }
}

async fn send(
    producer: &Producer,
    record: Record,
    deliveries: &mut VecDeque<DeliveryHandle>,
) -> anyhow::Result<()> {
    deliveries.push_back(producer.enqueue(record).await?);
    if deliveries.len() > IN_FLIGHT
        && let Some(oldest) = deliveries.pop_front()
    {
        let _offset = oldest.await?;
    }
    Ok(())
}

fn value(rng: &mut fastrand::Rng) -> Bytes {
    Bytes::from_iter((0..VALUE_BYTES).map(|_| rng.u8(b'a'..=b'z')))
}

fn key_of(key: u32) -> String {
    format!("key-{key:07}")
}

pub(super) fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
