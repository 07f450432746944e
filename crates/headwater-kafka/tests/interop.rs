//! Programs on the JVM and ours understand each other: the same partition for a key, the same records both ways.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use headwater_core::clock::Timestamp;
use headwater_core::header::Headers;
use headwater_core::log::{Log, ReadLimit, TopicSettings, Wait};
use headwater_core::partitioner::partition_of;
use headwater_core::record::{Append, Record, StoredRecord};
use headwater_core::topic::{Offset, Partition, TopicName, TopicPartition};
use headwater_kafka::{KafkaLog, KafkaSettings};
use kafka_broker::{Broker, run, run_with_input};

const LIMIT: Duration = Duration::from_secs(120);

fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| Broker::start().unwrap())
}

async fn connect() -> Arc<KafkaLog> {
    let settings = KafkaSettings {
        replication_factor: 1,
        min_in_sync_replicas: 1,
        ..KafkaSettings::new(broker().bootstrap(), "interop")
    };
    KafkaLog::connect(settings).await.unwrap()
}

fn source(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java").join(name)
}

async fn topic(log: &KafkaLog, name: &str, partitions: u32) -> TopicName {
    let name = TopicName::new(name).unwrap();
    log.create(&name, TopicSettings::kept(partitions)).await.unwrap();
    name
}

async fn read(log: &KafkaLog, at: &TopicPartition) -> Vec<StoredRecord> {
    let (mut records, mut from) = (Vec::new(), Offset(0));
    let end = log.bounds(at).await.unwrap().end;
    while from < end {
        let batch = log.read(at, from, ReadLimit::default(), Wait::UntilMore);
        let batch =
            tokio::time::timeout(LIMIT, batch).await.expect("what is below the end is there").unwrap();
        records.extend(batch.records);
        from = batch.next;
    }
    records
}

/// Base 64 as Java reads it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let bits =
            chunk.iter().chain([0; 2].iter()).take(3).fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        let digit = |place: usize| match place <= chunk.len() {
            true => char::from(DIGITS[bits >> (18 - 6 * place) & 63]),
            false => '=',
        };
        [0, 1, 2, 3].map(digit)
    };
    bytes.chunks(3).flat_map(group).collect()
}

#[test]
fn a_key_has_the_partition_that_the_jvms_producer_gives_it() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut keys: Vec<(u32, Vec<u8>)> = (0..20_000)
        .map(|_| {
            let length = random.usize(..40);
            (random.u32(1..200), (0..length).map(|_| random.u8(..)).collect())
        })
        .collect();
    keys.extend(["", "a", "ab", "abc", "abcd", "customer-42", "Zoë"].map(|key| (12, key.into())));
    let lines: String =
        keys.iter().map(|(partitions, key)| format!("{partitions} {}\n", base64(key))).collect();
    let java = broker().jars().source(&source("Partitions.java"), &[]);
    let answers = run_with_input(java, &lines, LIMIT).unwrap();
    let answers: Vec<u32> = answers.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(answers.len(), keys.len());
    for ((partitions, key), answer) in keys.iter().zip(answers) {
        assert_eq!(partition_of(key, *partitions), Partition(answer), "{key:?} of {partitions}; seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_jvm_program_wrote_is_read_as_it_was_written() {
    let log = connect().await;
    let topic = topic(&log, "from.jvm", 3).await;
    let java = broker().jars().source(&source("Produce.java"), &[&broker().bootstrap(), topic.as_str()]);
    run(java, LIMIT).unwrap();

    let at = |partition: u32| topic.partition(partition);
    let mut all = Vec::new();
    for partition in 0..3 {
        all.extend(read(&log, &at(partition)).await.into_iter().map(|stored| (partition, stored.record)));
    }
    let own = partition_of(b"ada", 3).0;
    let of_ada: Vec<&Record> = all
        .iter()
        .filter(|(partition, record)| *partition == own && record.key.is_some())
        .map(|(_, r)| r)
        .collect();
    assert_eq!(all.len(), 3, "the aborted record is never seen: {all:?}");
    assert_eq!(of_ada.len(), 2, "{all:?}");
    assert_eq!(of_ada[0].value.as_deref(), Some(&br#"{"item": "kettle"}"#[..]));
    assert_eq!(of_ada[0].timestamp, Timestamp(1_700_000_000_000));
    let headers: Vec<_> = of_ada[0].headers.iter().collect();
    assert_eq!(headers, [("ce_type", Some(&b"order.placed"[..])), ("empty", None)]);
    assert_eq!((of_ada[1].key.as_deref(), &of_ada[1].value), (Some(&b"ada"[..]), &None));
    let keyless = all.iter().find(|(_, record)| record.key.is_none()).unwrap();
    assert_eq!(keyless.1.value.as_deref(), Some(&b"no key"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_we_wrote_is_read_by_kafkas_own_consumer() {
    let log = connect().await;
    let topic = topic(&log, "to.jvm", 3).await;
    let to = topic.partition(partition_of(b"ada", 3).0);
    let mut builder = Headers::builder();
    builder.add("ce_type", Some(b"order.placed"));
    builder.add("empty", None);
    let order = Record {
        headers: builder.build(),
        ..Record::new("ada", r#"{"item": "kettle"}"#, Timestamp(1_700_000_000_000))
    };
    let tombstone = Record { value: None, ..Record::new("ada", "", Timestamp(1_700_000_000_001)) };
    let appends = [order, tombstone].map(|record| Append { to: to.clone(), record });
    log.append(appends.into()).await.unwrap();

    let partition = to.partition.0.to_string();
    let bootstrap = broker().bootstrap();
    let mut args =
        vec!["--bootstrap-server", &bootstrap, "--topic", topic.as_str(), "--partition", &partition];
    args.extend(["--offset", "earliest", "--max-messages", "2", "--isolation-level", "read_committed"]);
    for property in ["print.timestamp=true", "print.key=true", "print.headers=true"] {
        args.extend(["--formatter-property", property]);
    }
    let shown =
        run(broker().jars().tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &args), LIMIT).unwrap();
    assert_eq!(
        shown.lines().collect::<Vec<_>>(),
        [
            "CreateTime:1700000000000\tce_type:order.placed,empty:null\tada\t{\"item\": \"kettle\"}",
            "CreateTime:1700000000001\tNO_HEADERS\tada\tnull",
        ]
    );
}
