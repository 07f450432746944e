//! Records that an application appends itself: durable once answered, and never in doubt without the caller's knowing.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use headwater::core::clock::{SystemClock, Timestamp};
use headwater::core::codec::{BigEndian, Json, Nullable, Text};
use headwater::core::log::{Log, ReadLimit, Wait};
use headwater::core::partitioner::partition_of;
use headwater::core::record::StoredRecord;
use headwater::core::topic::{Offset, TopicName};
use headwater::log::memory::{FaultKind, MemoryLog, MemoryOptions, Op};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use headwater::{PARTITIONS, PublishError};

const WITHIN: Duration = Duration::from_secs(10);

struct Visits {
    log: MemoryLog,
    running: Running,
    topic: Topic<String, u64>,
    total: View<String, u64>,
    by_tens: View<u64, u64>,
}

async fn open() -> Visits {
    let clock = Arc::new(SystemClock);
    let log = MemoryLog::new(MemoryOptions { clock, ..MemoryOptions::default() });
    let mut app = App::new("shortener");
    let topic: Topic<String, u64> = "visits".into();
    let visits = app.stream(topic.clone());
    let total = app.view(visits.group_by_key().count(Store::named("total")));
    let by_tens = visits.group_by("by-tens", |visit| *visit.value / 10).count(Store::named("tens"));
    let by_tens = app.view(by_tens);
    let running = Headwater::on(Arc::new(log.clone()), Arc::new(MemoryStores::new()));
    let running = running.start(app).await.unwrap();
    Visits { log, running, topic, total, by_tens }
}

impl Visits {
    async fn records(&self) -> Vec<StoredRecord> {
        let mut all = Vec::new();
        for partition in 0..PARTITIONS {
            let at = TopicName::new("visits").unwrap().partition(partition);
            all.extend(
                self.log.read(&at, Offset::ZERO, ReadLimit::default(), Wait::No).await.unwrap().records,
            );
        }
        all
    }
}

#[tokio::test]
async fn a_view_asked_with_the_receipt_has_the_record_also_behind_a_repartition() {
    let visits = open().await;
    for n in 0..30_u64 {
        let code = format!("c{}", n % 3);
        let receipt = visits.running.publish(&visits.topic, &code, &n).await.unwrap();
        assert_eq!(receipt.partition, partition_of(code.as_bytes(), PARTITIONS));
        let total =
            visits.running.view(&visits.total).unwrap().after(&receipt).within(WITHIN).get(&code).await;
        assert_eq!(total.unwrap().value, Some(n / 3 + 1));
        let tens = visits.running.view(&visits.by_tens).unwrap().after(&receipt).within(WITHIN);
        assert_eq!(tens.get(&(n / 10)).await.unwrap().value, Some(n % 10 + 1));
    }
    visits.running.stop(WITHIN).await;
}

#[tokio::test]
async fn a_record_has_an_id_and_its_own_time() {
    let visits = open().await;
    let code = "a".to_owned();
    visits.running.publish(&visits.topic, &code, &7).id("v-1").at(Timestamp(5)).await.unwrap();
    let before = visits.running.publish(&visits.topic, &code, &7).at(Timestamp(-5)).await;
    assert_eq!(before, Err(PublishError::Invalid("its time, -5 ms, lies before 1970".to_owned())));
    visits.running.publish(&visits.topic, &code, &8).await.unwrap();
    let records = visits.records().await;
    let id = |n: usize| records[n].record.headers.get_str("hw_record_id").unwrap().to_owned();
    assert_eq!((id(0).as_str(), records[0].record.timestamp), ("v-1", Timestamp(5)));
    assert_eq!(records[0].record.value.as_deref(), Some(&b"7"[..]));
    assert!(
        id(1).len() == 36 && records[1].record.timestamp > Timestamp(0),
        "unless said, one of its own, now"
    );
    visits.running.stop(WITHIN).await;
}

#[tokio::test]
async fn what_the_log_refused_is_tried_again_and_written_once() {
    let visits = open().await;
    for _ in 0..3 {
        visits.log.inject(Op::Append, FaultKind::Refused);
    }
    visits.running.publish(&visits.topic, &"a".to_owned(), &1).await.unwrap();
    assert_eq!(visits.records().await.len(), 1);
    visits.running.stop(WITHIN).await;
}

#[tokio::test]
async fn a_record_that_was_not_written_or_may_have_been_is_told_as_that() {
    let visits = open().await;
    // Shorter than the pause before another try.
    let within = Duration::from_millis(40);
    let publish = || visits.running.publish(&visits.topic, &"a".to_owned(), &1).id("v-1").within(within);
    let cases = [
        (FaultKind::Refused, 0, "unavailable"),
        (FaultKind::Full, 0, "full"),
        (FaultKind::RefusedForGood, 0, "invalid"),
        (FaultKind::UnknownNotWritten, 0, "unknown"),
        (FaultKind::UnknownWritten, 1, "unknown"),
    ];
    for (fault, written, told) in cases {
        visits.log.inject(Op::Append, fault);
        let before = visits.records().await.len();
        let kind = match publish().await.unwrap_err() {
            PublishError::Unavailable(_) => "unavailable",
            PublishError::Full(_) => "full",
            PublishError::Invalid(_) => "invalid",
            PublishError::Unknown { id, .. } => {
                assert_eq!(id, "v-1", "the caller can publish it again under its id");
                "unknown"
            }
            other => panic!("{other}"),
        };
        assert_eq!(kind, told, "{fault}");
        assert_eq!(visits.records().await.len() - before, written, "{fault}");
    }
    visits.running.stop(WITHIN).await;
}

#[tokio::test]
async fn a_log_that_does_not_answer_leaves_it_unknown_in_bounded_time() {
    let visits = open().await;
    let held = visits.log.hold(Op::Append);
    let publish =
        visits.running.publish(&visits.topic, &"a".to_owned(), &1).within(Duration::from_millis(20));
    assert!(matches!(publish.await, Err(PublishError::Unknown { .. })));
    drop(held);
    visits.running.stop(WITHIN).await;
}

#[tokio::test]
#[should_panic(expected = "no stream of the app reads the topic \"orders\"")]
async fn a_topic_of_no_stream_is_not_the_apps_to_write() {
    let visits = open().await;
    let other: Topic<String, u64> = "orders".into();
    let _ = visits.running.publish(&other, &"a".to_owned(), &1);
}

/// Publishes one record through a topic declared so, and answers why it was refused.
async fn refused<K: 'static, V: 'static>(visits: &Visits, topic: Topic<K, V>, key: K, value: V) -> String {
    let refused = visits.running.publish(&topic, &key, &value).await.unwrap_err();
    assert!(matches!(refused, PublishError::Unreadable(_)), "{refused:?}");
    refused.to_string()
}

#[tokio::test]
async fn what_the_app_could_not_read_is_refused_and_told_with_what_it_reads() {
    let visits = open().await;
    let key = "a".to_owned();
    let usual = "topic \"visits\" has text keys of type String and json values of type u64 in this app";
    let told = [
        (
            refused(&visits, "visits".into(), key.clone(), "seven".to_owned()).await,
            "json values of type String",
        ),
        (
            refused(&visits, Topic::with("visits", Text, BigEndian), key.clone(), 7_u64).await,
            "big-endian of 8 bytes",
        ),
        (
            refused(&visits, Topic::with("visits", BigEndian, Json), 7_u64, 7_u64).await,
            "big-endian of 8 bytes keys",
        ),
        (
            refused(&visits, "visits".into(), (key.clone(), 1_u64), 7_u64).await,
            "text keys of type (String, u64)",
        ),
    ];
    for (told, given) in told {
        assert!(told.contains(usual) && told.contains(given), "{told}");
    }
    let nullable: Topic<String, Option<u64>> = Topic::with("visits", Text, Nullable(Json));
    let null = refused(&visits, nullable.clone(), key.clone(), None).await;
    assert!(null.contains("it has no value, and the app reads the topic \"visits\" without nulls"), "{null}");
    assert_eq!(visits.records().await.len(), 0);
    let receipt = visits.running.publish(&nullable, &key, &Some(7)).await.unwrap();
    let total = visits.running.view(&visits.total).unwrap().after(&receipt).within(WITHIN).get(&key).await;
    assert_eq!(total.unwrap().value, Some(1), "a value that is there is read as ever");
    visits.running.stop(WITHIN).await;
}

#[tokio::test]
async fn a_key_that_no_store_can_hold_is_refused_where_rows_are_kept_under_it() {
    let log = MemoryLog::new(MemoryOptions { clock: Arc::new(SystemClock), ..MemoryOptions::default() });
    let mut app = App::new("shortener");
    let (kept, moved): (Topic<String, u64>, Topic<String, u64>) = ("kept".into(), "moved".into());
    let days = app.stream(kept.clone()).repartition("there").group_by_key().window(Tumbling::days(1));
    let days = app.view(days.count(Store::named("days")));
    let lengths = app.stream(moved.clone()).group_by("by-length", |item| item.key.len());
    let lengths = app.view(lengths.count(Store::named("lengths")));
    let running = Headwater::on(Arc::new(log), Arc::new(MemoryStores::new())).start(app).await.unwrap();

    for length in [1_799, 5_000] {
        let told = running.publish(&kept, &"k".repeat(length), &1).await.unwrap_err();
        let expected = format!("topic \"kept\" is kept in \"days\", which takes no key of {length} bytes");
        assert!(matches!(told, PublishError::Invalid(_)) && told.to_string().contains(&expected), "{told}");
    }
    let longest = "k".repeat(1_798);
    let told = running.publish(&kept, &longest, &1).at(Timestamp(1)).await.unwrap();
    let days = running.view(&days).unwrap().after(&told).within(WITHIN);
    let windows = days.windows(&longest, Timestamp(0)..Timestamp(i64::MAX)).await.unwrap().value;
    assert_eq!(windows.into_iter().map(|(_, count)| count).collect::<Vec<_>>(), [1]);

    let long = "m".repeat(5_000);
    let told = running.publish(&moved, &long, &1).await.unwrap();
    let lengths = running.view(&lengths).unwrap().after(&told).within(WITHIN);
    assert_eq!(
        lengths.get(&5_000).await.unwrap().value,
        Some(1),
        "under other keys nothing stands in the way"
    );
    running.stop(WITHIN).await;
}
