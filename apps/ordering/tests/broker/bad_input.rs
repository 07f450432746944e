//! Records on the events topic that nobody should have written: each stops just the shard that has to read it, by its
//! topic, partition and offset, or is set aside by all alike; the other shards go on, and nothing is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headwater_chaos::records::Record;
use kafka_broker::{Broker, run};

use super::service::{EVENTS, Running, committed, order, put, service};

/// What a bad record does to the shards that read it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// They stop, naming it.
    Stops,
    /// They go on as if it were not there.
    SetAside,
}

/// Takes a good record of a partition, and makes a bad one of it.
type Spoil = fn(&mut Record);

const CASES: [(&str, Fate, Spoil); 8] = [
    ("garbage bytes by a stranger", Fate::SetAside, |record| {
        record.headers.clear();
        record.value = Some(vec![0xff, 0x00, 0x80, 0xfe]);
    }),
    ("a null key and value by a stranger", Fate::SetAside, |record| {
        record.headers.clear();
        (record.key, record.value) = (None, None);
    }),
    ("five megabytes by a stranger", Fate::SetAside, |record| {
        record.headers.clear();
        record.value = Some(vec![b'x'; 5_000_000]);
    }),
    ("a good payload without the writer's stamp", Fate::SetAside, |record| {
        record.headers.remove("hw_writer");
    }),
    ("garbage bytes under the writer's stamp", Fate::Stops, |record| {
        record.value = Some(vec![0xff, 0x00, 0x80, 0xfe]);
    }),
    ("a truncated payload", Fate::Stops, |record| {
        let value = record.value.as_mut().unwrap();
        value.truncate(value.len() / 2);
    }),
    ("an unknown event type", Fate::Stops, |record| {
        record.headers.insert("ce_type".to_owned(), "order.Vanished".to_owned());
    }),
    ("five megabytes under the writer's stamp", Fate::Stops, |record| {
        record.value = Some(vec![b'x'; 5_000_000]);
    }),
];

/// Orders before anything bad, enough for each partition to have one; and after it.
const FIRST: usize = 120;
const LATER: usize = 40;

/// The partition in which a transaction is aborted.
const ABORTED: u32 = 11;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_record_stops_the_shard_that_has_to_read_it_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start().unwrap();
    let (jars, bootstrap) = (broker.jars(), broker.bootstrap());
    let mut instance = Running::start(service(&bootstrap), "one", folder.path());
    instance.ready().await;
    let good = one_in_each_partition(&mut instance, &broker, folder.path()).await;

    take_large_records(&broker);
    let bad: Vec<Record> =
        (0..).zip(CASES).map(|(partition, (_, _, spoil))| spoilt(&good[&partition], spoil)).collect();
    let offsets = put(jars, &bootstrap, "commit", &bad);
    let aborted = spoilt(&good[&ABORTED], |record| record.value = Some(b"never seen".to_vec()));
    put(jars, &bootstrap, "abort", &[aborted]);

    let stopped = |of: &str| {
        let places = (0..).zip(&offsets).zip(CASES).filter(|(_, (_, fate, _))| *fate == Fate::Stops);
        places
            .filter(|((partition, offset), _)| !tells(of, *partition, **offset))
            .map(|(_, (name, ..))| name)
            .collect::<Vec<_>>()
    };
    let health =
        instance.until("/readyz", |answer| answer.status == 503 && stopped(&answer.body).is_empty()).await;
    for ((partition, offset), (name, fate, _)) in (0..).zip(&offsets).zip(CASES) {
        assert_eq!(tells(&health.body, partition, *offset), fate == Fate::Stops, "{name}: {}", health.body);
    }
    assert!(!health.body.contains(&format!("{EVENTS}-{ABORTED}")), "{}", health.body);
    let metrics = instance.get("/metrics").await.unwrap().body;
    let stops = CASES.iter().filter(|(_, fate, _)| *fate == Fate::Stops).count();
    for topology in ["items-by-customer", "spent-by-customer", "orders"] {
        assert_eq!(shards_stopped(&metrics, topology), stops as u64, "{topology}:\n{metrics}");
    }

    // Every order is still taken, and every shard that has nothing bad to read goes on.
    let bad_partitions: BTreeSet<u32> = (0..)
        .zip(CASES)
        .filter(|(_, (_, fate, _))| *fate == Fate::Stops)
        .map(|(partition, _)| partition)
        .collect();
    for number in 0..LATER {
        instance.place_for_good(&order(&format!("later-{number}"), "ada")).await;
    }
    let later = later_partitions(&broker, folder.path()).await;
    let seen = later.iter().filter(|partition| !bad_partitions.contains(*partition)).count();
    assert!(seen > 0, "no order lies in a partition without a bad record");
    instance.quantity("ada", (FIRST + seen) as u64).await;
}

/// The partitions of the orders that were placed last, once all of them can be read.
async fn later_partitions(broker: &Broker, folder: &std::path::Path) -> Vec<u32> {
    let mut later = Vec::new();
    for _ in 0..20 {
        let records = committed(broker.jars(), &broker.bootstrap(), EVENTS, folder);
        let records = records.iter().filter(|record| record.key_text().starts_with("later-"));
        later = records.map(|record| record.partition).collect();
        // What was acknowledged can be read once its transaction's markers are written, which is after the answer.
        if later.len() == LATER {
            break;
        }
    }
    assert_eq!(later.len(), LATER, "an acknowledged order is not in the log");
    later
}

/// Whether health names the place.
fn tells(body: &str, partition: u32, offset: u64) -> bool {
    body.contains(&format!("{EVENTS}-{partition} offset {offset}:"))
}

fn shards_stopped(metrics: &str, topology: &str) -> u64 {
    let line = format!("headwater_shards_stopped{{topology=\"{topology}\"}} ");
    metrics.lines().find_map(|text| text.strip_prefix(&line)).map_or(0, |number| number.parse().unwrap())
}

fn spoilt(good: &Record, spoil: Spoil) -> Record {
    let mut record = good.clone();
    spoil(&mut record);
    record
}

/// Places orders until each partition holds one; a record of each.
async fn one_in_each_partition(
    instance: &mut Running,
    broker: &Broker,
    folder: &std::path::Path,
) -> BTreeMap<u32, Record> {
    for number in 0..FIRST {
        instance.place_for_good(&order(&format!("first-{number}"), "ada")).await;
    }
    // What a view shows can be read by everybody.
    instance.quantity("ada", FIRST as u64).await;
    let records = committed(broker.jars(), &broker.bootstrap(), EVENTS, folder);
    let good: BTreeMap<u32, Record> = records.into_iter().map(|record| (record.partition, record)).collect();
    assert_eq!(good.len(), 12, "some partition has no order");
    good
}

/// Lets strangers append what is far above the default limit.
fn take_large_records(broker: &Broker) {
    let bootstrap = broker.bootstrap();
    let args = [
        "--bootstrap-server",
        &bootstrap,
        "--alter",
        "--topic",
        EVENTS,
        "--add-config",
        "max.message.bytes=20000000",
    ];
    run(broker.jars().tool("kafka.admin.ConfigCommand", &args), Duration::from_secs(60)).unwrap();
}
