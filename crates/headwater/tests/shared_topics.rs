//! Topics that other programs share with an app: read, mapped, fed and counted, on the memory log.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use headwater::core::clock::{SystemClock, Timestamp};
use headwater::core::codec::{BigEndian, Json, KeyCodec, Raw, Text};
use headwater::core::header::Headers;
use headwater::core::log::{Cleanup, Log, ReadLimit, TopicSettings, Wait};
use headwater::core::partitioner::partition_of;
use headwater::core::record::{Append, Record, StoredRecord};
use headwater::core::topic::{Offset, TopicName};
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;

const PARTITIONS: u32 = 3;
const WITHIN: Duration = Duration::from_secs(10);

fn log() -> MemoryLog {
    MemoryLog::new(MemoryOptions { seed: 7, clock: Arc::new(SystemClock), ..MemoryOptions::default() })
}

fn app(name: &str) -> App {
    App::new(name).with(|options| options.partitions = PARTITIONS)
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

async fn make(log: &MemoryLog, name: &str, cleanup: Cleanup) {
    log.create(&topic(name), TopicSettings::kept(PARTITIONS).cleanup(cleanup)).await.unwrap();
}

/// Appends as another program would: with a codec of its own, partitioned by the whole key.
async fn produce<K>(log: &MemoryLog, name: &str, keys: &impl KeyCodec<K>, records: &[(K, &str)]) {
    let append = |(key, value): &(K, &str)| {
        let key = keys.encode(key).unwrap();
        let to = topic(name).partition(partition_of(&key, PARTITIONS).0);
        Append { to, record: Record::new(key, (*value).to_owned(), Timestamp(5)) }
    };
    log.append(records.iter().map(append).collect()).await.unwrap();
}

async fn records(log: &MemoryLog, name: &str) -> Vec<StoredRecord> {
    let mut all = Vec::new();
    for partition in 0..PARTITIONS {
        let partition = topic(name).partition(partition);
        let batch = log.read(&partition, Offset::ZERO, ReadLimit::default(), Wait::No).await.unwrap();
        all.extend(batch.records);
    }
    all
}

async fn start(log: &MemoryLog, app: App) -> Running {
    start_over(log, &MemoryStores::new(), app).await
}

async fn start_over(log: &MemoryLog, stores: &MemoryStores, app: App) -> Running {
    let running = Headwater::on(Arc::new(log.clone()), Arc::new(stores.clone())).start(app).await.unwrap();
    running.ready(WITHIN).await.unwrap();
    running
}

/// Waits until the app has processed everything that its sources held.
async fn settled(log: &MemoryLog, running: &Running, source: &str) {
    let mut ends = Vec::new();
    for partition in 0..PARTITIONS {
        ends.push(log.bounds(&topic(source).partition(partition)).await.unwrap().end.0);
    }
    let reached = async {
        while !running.report().iter().all(|report| report.shards.iter().map(|s| s.next).eq(ends.clone())) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(WITHIN, reached).await.unwrap();
}

/// Waits for the first shard that stops, and answers why.
async fn stopped(running: &Running) -> String {
    let reached = async {
        loop {
            if let Some(trouble) = running.troubles().into_iter().find(|trouble| trouble.contains("stopped"))
            {
                return trouble;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(WITHIN, reached).await.unwrap()
}

fn doubler(name: &str) -> App {
    let mut app = app(name);
    let numbers = app.stream::<String, u64>("numbers");
    app.emitter(numbers.filter(|n| *n.value > 0).map_values(|n| n.value * 2).to("doubled"));
    app
}

#[tokio::test]
async fn a_stream_is_mapped_to_a_topic_once_whatever_restarts() {
    let log = log();
    for round in 0..3 {
        let running = start(&log, doubler("calc")).await;
        let own: Vec<_> = (0..20).map(|n| (format!("{round}-{n}"), "21")).collect();
        produce(&log, "numbers", &Text, &own).await;
        produce(&log, "numbers", &Text, &[("filtered".to_owned(), "0")]).await;
        settled(&log, &running, "numbers").await;
        assert!(running.stop(WITHIN).await);
    }
    let doubled = records(&log, "doubled").await;
    assert_eq!(doubled.len(), 60);
    for StoredRecord { record, .. } in doubled {
        assert_eq!(record.value.as_deref(), Some(&b"42"[..]));
        assert_eq!(record.timestamp, Timestamp(5), "the time of the event is kept");
    }
}

#[tokio::test]
async fn headers_pass_and_a_record_alone_is_not_stamped() {
    let log = log();
    make(&log, "numbers", Cleanup::Keep).await;
    let headers = Headers::builder().push("trace", "abc").build();
    let record = Record { headers: headers.clone(), ..Record::new("k", "21", Timestamp(5)) };
    let to = topic("numbers").partition(partition_of(b"k", PARTITIONS).0);
    log.append(vec![Append { to, record }]).await.unwrap();
    let running = start(&log, doubler("calc")).await;
    settled(&log, &running, "numbers").await;
    assert_eq!(records(&log, "doubled").await[0].record.headers, headers);
    running.stop(WITHIN).await;
}

#[tokio::test]
async fn a_view_of_a_topic_with_other_codecs_answers_from_the_shard_of_the_key() {
    let log = log();
    let stores = MemoryStores::new();
    make(&log, "readings", Cleanup::Keep).await;
    for round in 1..=2 {
        let mut app = app("meters");
        let readings = app.stream(Topic::<i64, Vec<u8>>::with("readings", BigEndian, Raw));
        let count = app.view(readings.group_by_key().count(Store::named("count")));
        let running = start_over(&log, &stores, app).await;
        let written: Vec<_> = (-25..25).map(|n: i64| (n, "any bytes")).collect();
        produce(&log, "readings", &BigEndian, &written).await;
        settled(&log, &running, "readings").await;
        for key in -25..25 {
            assert_eq!(running.view(&count).unwrap().get(&key).await.unwrap().value, Some(round), "{key}");
        }
        assert_eq!(running.view(&count).unwrap().count().await.unwrap().value, 50);
        running.stop(WITHIN).await;
    }
}

#[tokio::test]
async fn what_lies_under_a_key_and_more_is_asked_for_by_the_key_whatever_its_codec() {
    let (log, stores) = (log(), MemoryStores::new());
    make(&log, "readings", Cleanup::Keep).await;
    let mut app = app("meters");
    let readings = app.stream(Topic::<i64, Vec<u8>>::with("readings", BigEndian, Raw));
    let by_size = readings.extend_key(|reading| reading.value.len() as u64);
    let sizes = app.view(by_size.group_by_key().count(Store::named("sizes")));
    let by_size_and_parity = by_size.extend_key(|reading| reading.key.0 % 2);
    let parities = app.view(by_size_and_parity.group_by_key().count(Store::named("parities")));
    let running = start_over(&log, &stores, app).await;
    let written: Vec<_> = (-25..25).flat_map(|n: i64| [(n, "one"), (n, "four"), (n, "two")]).collect();
    produce(&log, "readings", &BigEndian, &written).await;
    settled(&log, &running, "readings").await;
    for key in -25..25_i64 {
        let sizes = running.view(&sizes).unwrap();
        assert_eq!(sizes.of(&key).await.unwrap().value, [(3, 2), (4, 1)], "{key}");
        assert_eq!(running.view(&parities).unwrap().of(&(key, 3)).await.unwrap().value, [(key % 2, 2)]);
    }
    assert_eq!(running.view(&sizes).unwrap().get(&(7, 4)).await.unwrap().value, Some(1));
    running.stop(WITHIN).await;
}

#[tokio::test]
async fn an_observer_sees_each_record_in_order_and_goes_on_where_it_stopped() {
    let (log, stores) = (log(), MemoryStores::new());
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    for round in 0..2_u64 {
        let mut app = app("watch");
        let seen = seen.clone();
        app.observer(
            app.stream::<String, u64>("numbers")
                .for_each("seen", move |n| seen.lock().unwrap().push(*n.value)),
        );
        let running = start_over(&log, &stores, app).await;
        let texts: Vec<_> = (round * 10..round * 10 + 10).map(|n| n.to_string()).collect();
        let written: Vec<_> = texts.iter().map(|text| ("one key".to_owned(), text.as_str())).collect();
        produce(&log, "numbers", &Text, &written).await;
        settled(&log, &running, "numbers").await;
        running.stop(WITHIN).await;
    }
    assert_eq!(*seen.lock().unwrap(), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_app_reads_what_another_feeds() {
    let log = log();
    let calc = start(&log, doubler("calc")).await;
    let mut sums = app("sums");
    let sum = sums.view(
        sums.stream::<String, u64>("doubled")
            .group_by_key()
            .fold(Store::named("sum"), |sum: &mut u64, n| *sum += n.value),
    );
    let sums = start(&log, sums).await;
    produce(&log, "numbers", &Text, &[("a".to_owned(), "1"), ("a".to_owned(), "2"), ("b".to_owned(), "5")])
        .await;
    settled(&log, &calc, "numbers").await;
    settled(&log, &sums, "doubled").await;
    let of = async |key: &str| sums.view(&sum).unwrap().get(&key.to_owned()).await.unwrap().value;
    assert_eq!((of("a").await, of("b").await), (Some(6), Some(10)));
    calc.stop(WITHIN).await;
    sums.stop(WITHIN).await;
}

#[tokio::test]
async fn a_record_that_is_none_of_the_stream_stops_its_shard_by_name() {
    let cases: [(Option<&str>, Option<&str>, &str); 4] = [
        (None, Some("1"), "no key"),
        (Some("k"), None, "no value"),
        (Some("k"), Some("not json"), "its value"),
        (Some("k"), Some("\"text\""), "its value"),
    ];
    for (key, value, reason) in cases {
        let log = log();
        make(&log, "numbers", Cleanup::Keep).await;
        let record = Record {
            key: key.map(|key| key.to_owned().into()),
            value: value.map(|value| value.to_owned().into()),
            ..Record::default()
        };
        log.append(vec![Append { to: topic("numbers").partition(1), record }]).await.unwrap();
        let running = Headwater::on(Arc::new(log.clone()), Arc::new(MemoryStores::new()))
            .start(doubler("calc"))
            .await
            .unwrap();
        let trouble = stopped(&running).await;
        assert!(trouble.contains("numbers-1 offset 0") && trouble.contains(reason), "{trouble}");
        running.stop(WITHIN).await;
    }
}

#[tokio::test]
async fn a_topic_that_does_not_fit_is_refused_at_the_start() {
    let counting = |name: &str| {
        let mut app = app(name);
        let _ = app.view(app.stream::<String, u64>("numbers").group_by_key().count(Store::named("count")));
        app
    };
    let expiring = Cleanup::Expire { after_ms: 1_000 };
    let cases = [
        (TopicSettings::kept(5), counting("calc"), Some("partitions 5")),
        // Whoever appends has a shard for each partition of what it reads.
        (TopicSettings::kept(5), doubler("calc"), None),
        (TopicSettings::kept(PARTITIONS).cleanup(expiring), counting("calc"), Some("cleanup")),
        (TopicSettings::kept(PARTITIONS).cleanup(expiring), doubler("calc"), None),
    ];
    for (settings, app, refused) in cases {
        let log = log();
        log.create(&topic("numbers"), settings).await.unwrap();
        let started = Headwater::on(Arc::new(log), Arc::new(MemoryStores::new())).start(app).await;
        let told = started.err().map(|error| error.to_string());
        assert_eq!(told.is_some(), refused.is_some(), "{told:?}");
        assert!(told.unwrap_or_default().contains(refused.unwrap_or_default()));
    }
}

#[test]
fn a_name_that_is_no_topic_is_told_before_anything_starts() {
    let mut app = app("calc");
    let numbers = app.stream(Topic::<String, u64>::with("no topic", Text, Json));
    app.emitter(numbers.to("also/none").named("copies"));
    let mistakes = app.check().unwrap_err().to_string();
    assert!(mistakes.contains("no topic") && mistakes.contains("also/none"), "{mistakes}");
}

#[test]
fn two_emitters_to_one_topic_need_names() {
    let mut app = app("calc");
    let numbers = app.stream::<String, u64>("numbers");
    app.emitter(numbers.to("all"));
    app.emitter(numbers.map_values(|n| n.value + 1).to("all"));
    assert!(app.check().unwrap_err().to_string().contains("\"all\" is defined twice"));
}

#[tokio::test]
async fn half_a_command_at_the_end_of_a_topic_is_taken_as_it_is() {
    let log = log();
    let headers = Headers::builder().push("hw_index", "0").push("hw_count", "2").build();
    make(&log, "numbers", Cleanup::Keep).await;
    let to = topic("numbers").partition(partition_of(b"a", PARTITIONS).0);
    let record = Record { headers, ..Record::new("a", "21", Timestamp(5)) };
    log.append(vec![Append { to, record }]).await.unwrap();
    let mut calc = doubler("calc");
    let counted =
        calc.view(calc.stream::<String, u64>("numbers").group_by_key().count(Store::named("counted")));
    let running = start(&log, calc).await;
    settled(&log, &running, "numbers").await;
    assert_eq!(running.view(&counted).unwrap().get(&"a".to_owned()).await.unwrap().value, Some(1));
    assert_eq!(records(&log, "doubled").await.len(), 1);
    running.stop(WITHIN).await;
}

#[tokio::test]
async fn a_view_whose_inner_state_has_another_name_is_built_again() {
    let (log, stores) = (log(), MemoryStores::new());
    for (inner, expected) in [("all", 3), ("every", 6)] {
        let mut popular = app("popular");
        let counts = popular.stream::<String, u64>("numbers").group_by_key().count(Store::named(inner));
        let view = popular.view(counts.filter(|_, count| *count >= 2).stored(Store::named("popular")));
        let running = start_over(&log, &stores, popular).await;
        let own: Vec<_> = (0..3).map(|_| ("a".to_owned(), "1")).collect();
        produce(&log, "numbers", &Text, &own).await;
        settled(&log, &running, "numbers").await;
        let row = running.view(&view).unwrap().get(&"a".to_owned()).await.unwrap().value;
        assert_eq!(row, Some(expected), "with the counts in \"{inner}\"");
        assert!(running.stop(WITHIN).await);
    }
}

/// Cannot be made.
struct Unmade;

impl headwater::Processor for Unmade {
    type Key = String;
    type Value = u64;
    type OutKey = String;
    type OutValue = u64;
    type RowKey = String;
    type Row = u64;

    fn process(&mut self, _: headwater::Keyed<'_, String, u64>, _: &mut headwater::Processing<'_, '_, Self>) {
    }
}

#[tokio::test]
async fn a_panic_outside_of_a_batch_stops_its_shard_in_words() {
    let mut broken = app("broken");
    let make = || -> Unmade { panic!("it has no settings") };
    let numbers = broken.stream::<String, u64>("numbers");
    broken.emitter(numbers.process(Store::named("own"), headwater::Timers::default(), make).to("out"));
    let running = Headwater::on(Arc::new(log()), Arc::new(MemoryStores::new())).start(broken).await.unwrap();
    let trouble = stopped(&running).await;
    assert!(trouble.contains("its task panicked: it has no settings"), "{trouble}");
    running.stop(WITHIN).await;
}
