//! Plans against what is there, and starts that refuse.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_core::clock::SystemClock;
use headwater_core::codec::{BigEndian, Codec, Json, KeyCodec, Text};
use headwater_core::log::{
    Cleanup, Log, ReadLimit, RecordTimes, Replicas, TopicDescription, TopicSettings, Wait,
};
use headwater_core::record::StoredRecord;
use headwater_core::topic::{Offset, TopicId, TopicName};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::plan::{Known, goes_on};
use super::prepare::{Prepared, Reach, Survey, Word, prepare};
use super::{Action, Place, Plan};
use crate::log::memory::{FaultKind, MemoryLog, MemoryOptions, Op};
use crate::prelude::*;
use crate::store::memory::MemoryStores;
use crate::{Once, hours};

#[derive(Clone, Default, Serialize, Deserialize)]
struct Order;

impl Aggregate for Order {
    const NAME: &'static str = "order";
    type Id = String;
    type Command = ();
    type Event = ();
    type Rejection = ();

    fn decide(&self, (): (), _: &Context) -> Result<Vec<()>, ()> {
        Ok(vec![()])
    }

    fn evolve(&mut self, (): &()) {}
}

fn shop() -> App {
    shop_by("by-day")
}

/// The shop with its one view grouped through another topic.
fn shop_by(group: &str) -> App {
    Shop::by(group).app
}

struct Shop {
    app: App,
    orders: Aggregates<Order>,
    per_day: View<String, u64>,
}

impl Shop {
    fn by(group: &str) -> Self {
        let mut app = App::new("shop").with(|options| options.partitions = 2);
        let orders = app.aggregate::<Order>();
        let by_day = orders.events().group_by(group, |_| "day".to_owned());
        let per_day = app.view(by_day.count(Store::named("orders-per-day")));
        Self { app, orders, per_day }
    }
}

fn memory() -> MemoryLog {
    MemoryLog::new(MemoryOptions::default())
}

fn name(topic: &str) -> TopicName {
    TopicName::new(topic).unwrap()
}

async fn start(log: &MemoryLog, app: App) -> Result<Running, crate::StartError> {
    Headwater::on(Arc::new(log.clone()), Arc::new(MemoryStores::new())).start(app).await
}

/// Starts and stops the app, so that its topics are there and known.
async fn has_run(log: &MemoryLog, app: App) {
    let running = start(log, app).await.unwrap();
    assert!(running.stop(std::time::Duration::from_secs(10)).await);
}

fn kafka() -> Place {
    Place { flags: "--log kafka://b:9092".into() }
}

async fn plan(log: &MemoryLog, app: &App) -> Plan {
    Survey::of(log, app, &kafka(), &Word::default()).await.unwrap().plan
}

async fn apply(log: &MemoryLog, app: &App, word: Word) -> Result<Plan, Plan> {
    match prepare(log, &SystemClock, app, &kafka(), (Reach::Alter, &word)).await.unwrap() {
        Prepared::Ready(survey) => Ok(survey.plan),
        Prepared::Refused(plan) => Err(plan),
    }
}

#[tokio::test]
async fn every_topic_of_an_app_is_declared_with_its_reason_and_made_by_a_start() {
    let log = memory();
    let before = plan(&log, &shop()).await;
    let told: Vec<_> =
        before.steps.iter().map(|step| (step.topic.as_str(), step.purpose.to_string())).collect();
    let expected = [
        ("shop.order.events", "events of aggregate order"),
        ("shop.order.commands", "commands for aggregate order"),
        ("shop.order.outcomes", "outcomes of commands for aggregate order"),
        ("shop.order.snapshots", "snapshots of aggregate order"),
        ("shop.by-day", "repartition \"by-day\""),
        ("shop.decisions", "decisions about records that could not be processed"),
        ("shop.definitions", "definitions of the app's topologies and topics"),
        ("shop.instances", "instances, with the shards that each has"),
    ];
    assert_eq!(told, expected.map(|(topic, why)| (topic, why.to_owned())));
    assert!(before.steps.iter().all(|step| step.action == Action::Create) && !before.refuses());

    has_run(&log, shop()).await;
    let after = plan(&log, &shop()).await;
    assert!(after.is_done(), "{after}");
    let there: Vec<_> = log.topics().await.unwrap().into_iter().map(|topic| topic.name).collect();
    let mut declared: Vec<_> = shop().topics().into_iter().map(|topic| topic.name).collect();
    declared.sort();
    assert_eq!(there, declared);
}

/// What somebody did to a topic, and what a start says then.
struct Case {
    topic: &'static str,
    done: fn(TopicSettings) -> TopicSettings,
    /// `None` if the app starts nevertheless.
    told: Option<&'static str>,
}

const CASES: [Case; 9] = [
    Case {
        topic: "shop.order.events",
        done: |settings| settings.cleanup(Cleanup::Expire { after_ms: 604_800_000 }),
        told: Some(
            "topic \"shop.order.events\" (events of aggregate order) has cleanup policy expire after 7 d, but the app \
             needs keep everything: run `shop topics apply`",
        ),
    },
    Case {
        topic: "shop.order.events",
        done: |settings| settings.cleanup(Cleanup::Compact { tombstones_ms: 1 }),
        told: Some("has cleanup policy compact, tombstones after 1 ms, but the app needs keep everything"),
    },
    Case {
        topic: "shop.order.outcomes",
        done: |settings| settings.cleanup(Cleanup::Expire { after_ms: 90_000 }),
        told: Some(
            "has retention expire after 90 s, but the app needs expire after 2 d: run `shop topics apply`",
        ),
    },
    Case {
        topic: "shop.order.outcomes",
        done: |settings| settings.cleanup(Cleanup::Expire { after_ms: 1_000_000_000 }),
        told: None,
    },
    Case { topic: "shop.order.outcomes", done: |settings| settings.cleanup(Cleanup::Keep), told: None },
    Case {
        topic: "shop.order.snapshots",
        done: |settings| settings.cleanup(Cleanup::Expire { after_ms: 1_000 }),
        told: Some("has cleanup policy expire after 1 s, but the app needs compact, tombstones after 7 d"),
    },
    Case {
        topic: "shop.order.snapshots",
        done: |settings| settings.cleanup(Cleanup::Compact { tombstones_ms: 1_000 }),
        told: Some(
            "has retention compact, tombstones after 1 s, but the app needs compact, tombstones after 7 d",
        ),
    },
    Case {
        topic: "shop.order.commands",
        done: |settings| TopicSettings { times: RecordTimes::Producer, ..settings },
        told: Some("has record times of the producer, but the app needs of the log: run `shop topics apply`"),
    },
    Case {
        topic: "shop.by-day",
        done: |settings| TopicSettings { times: RecordTimes::Log, ..settings },
        told: Some("has record times of the log, but the app needs of the producer"),
    },
];

#[tokio::test]
async fn a_topic_that_is_kept_otherwise_is_refused_with_what_mends_it_and_mended_by_apply() {
    for case in CASES {
        let log = memory();
        has_run(&log, shop()).await;
        let there = log.describe(&name(case.topic)).await.unwrap().unwrap();
        log.alter(&there.name, (case.done)(there.settings)).await.unwrap();
        let planned = plan(&log, &shop()).await;
        assert!(!planned.is_done() && !planned.is_stuck(), "{planned}");
        assert!(planned.to_string().contains(&format!("~ alter  {}", case.topic)), "{planned}");
        match (start(&log, shop()).await, case.told) {
            (Ok(running), None) => assert!(running.stop(std::time::Duration::from_secs(10)).await),
            (Err(error), Some(told)) => assert!(error.to_string().contains(told), "{error}"),
            (Err(error), None) => panic!("{}: {error}", case.topic),
            (Ok(_), Some(told)) => panic!("{} was accepted: {told}", case.topic),
        }
        apply(&log, &shop(), Word::default()).await.unwrap();
        assert_eq!(log.describe(&there.name).await.unwrap(), Some(there));
        has_run(&log, shop()).await;
    }
}

#[tokio::test]
async fn another_count_of_partitions_is_refused_until_the_topic_is_given_up() {
    let log = memory();
    log.create(&name("shop.by-day"), TopicSettings::kept(5)).await.unwrap();
    let error = start(&log, shop()).await.err().expect("it is refused").to_string();
    let told = "topic \"shop.by-day\" (repartition \"by-day\") has partitions 5, but the app needs 2: keys would change \
                their partitions, so the count stays as the topic was made: if the program was changed, set \
                `AppOptions::partitions` to 5; if the topic was, make it again without its records (it is made \
                again from its source, and nothing is lost): run `shop topics apply --accept-loss shop.by-day`";
    assert!(error.contains(told), "{error}");
    assert_eq!(log.topics().await.unwrap().len(), 1, "nothing was made before the refusal");
    apply(&log, &shop(), Word::default()).await.unwrap_err();
    let word = Word { accept_loss: ["shop.by-day".to_owned()].into(), ..Word::default() };
    let done = apply(&log, &shop(), word).await.unwrap().to_string();
    assert!(done.contains("- remake shop.by-day"), "{done}");
    assert!(done.contains("0 to alter, 1 to make again without their records, 0 refused"), "{done}");
    has_run(&log, shop()).await;
}

#[tokio::test]
async fn a_shared_topic_of_another_count_is_never_made_again() {
    let log = memory();
    log.create(&name("prices"), TopicSettings::kept(5)).await.unwrap();
    let mut app = App::new("shop").with(|options| options.partitions = 2);
    let prices = app.stream::<String, u64>("prices");
    app.view(prices.group_by_key().count(Store::named("price-changes")));
    let word = Word { accept_loss: ["prices".to_owned()].into(), ..Word::default() };
    let refusal = apply(&log, &app, word).await.unwrap_err().refusal();
    assert!(refusal.contains("set `AppOptions::partitions` to 5"), "{refusal}");
    assert!(!refusal.contains("--accept-loss"), "{refusal}");
}

#[tokio::test]
async fn a_topic_that_was_deleted_or_made_again_is_named_until_its_loss_is_accepted() {
    for again in [false, true] {
        let log = memory();
        has_run(&log, shop()).await;
        let events = log.describe(&name("shop.order.events")).await.unwrap().unwrap();
        log.delete(&events.name).await.unwrap();
        if again {
            log.create(&events.name, events.settings).await.unwrap();
        }
        let error = start(&log, shop()).await.err().expect("it is refused").to_string();
        let what = if again { "it was deleted and made again" } else { "none: it was deleted" };
        let mend = "run `shop topics apply --accept-loss shop.order.events`";
        for told in ["\"shop.order.events\"", what, &events.id.to_string(), mend] {
            assert!(error.contains(told), "{told} is not in: {error}");
        }
        assert_eq!(log.describe(&events.name).await.unwrap().is_some(), again, "a start makes nothing again");
        assert!(apply(&log, &shop(), Word::default()).await.is_err());
        let accept_loss = [events.name.to_string()].into();
        apply(&log, &shop(), Word { accept_loss, ..Word::default() }).await.unwrap();
        has_run(&log, shop()).await;
    }
}

/// A topic that was deleted and given up, and what there is then of three events: the aggregate's version, and what the
/// view of the day counts.
const LOSSES: [(&str, Version, u64); 5] = [
    ("shop.order.events", Version(0), 3),
    ("shop.order.commands", Version(3), 3),
    ("shop.order.outcomes", Version(3), 3),
    ("shop.order.snapshots", Version(3), 3),
    ("shop.by-day", Version(3), 3),
];

#[tokio::test]
async fn what_is_made_of_other_topics_is_made_again_and_the_rest_is_given_up_as_a_whole() {
    const WITHIN: std::time::Duration = std::time::Duration::from_secs(10);
    let id = "o".to_owned();
    let command = CommandId::new("again").unwrap();
    for (topic, version, counted) in LOSSES {
        let log = memory();
        let Shop { app, orders, .. } = Shop::by("by-day");
        let running = start(&log, app).await.unwrap();
        for _ in 0..2 {
            running.send(&orders, &id, ()).await.unwrap();
        }
        running.send(&orders, &id, ()).command_id(command.clone()).await.unwrap();
        assert!(running.stop(WITHIN).await);

        log.delete(&name(topic)).await.unwrap();
        let word = Word { accept_loss: [topic.to_owned()].into(), ..Word::default() };
        apply(&log, &shop(), word).await.unwrap();

        let Shop { app, orders, per_day } = Shop::by("by-day");
        let running = start(&log, app).await.unwrap();
        running.ready(WITHIN).await.unwrap();
        assert_eq!(running.state(&orders, &id).await.unwrap().0, version, "{topic}");
        // The outcome of a command says the same as the aggregate.
        let is_kept = running.outcome(&orders, &id, &command).await.unwrap().is_some();
        assert_eq!(is_kept, !["shop.order.events", "shop.order.outcomes"].contains(&topic), "{topic}");
        let next = running.send(&orders, &id, ()).await.unwrap().accepted().unwrap();
        assert_eq!(next.version, Version(version.0 + 1), "{topic}");
        let day = running.view(&per_day).unwrap().after(&next).within(WITHIN).get(&"day".to_owned()).await;
        assert_eq!(day.unwrap().value, Some(counted + 1), "{topic}");
        assert!(running.stop(WITHIN).await);
    }
}

/// The shop with a view of counts that an emitter keeps and tells.
fn telling_shop() -> Shop {
    let mut app = App::new("shop").with(|options| options.partitions = 2);
    let orders = app.aggregate::<Order>();
    let counts = orders.events().group_by("by-day", |_| "day".to_owned()).count(Store::named("counts"));
    let per_day = app.view(counts.updates().repartition("told").to_table(Store::named("orders-per-day")));
    Shop { app, orders, per_day }
}

#[tokio::test]
async fn a_state_and_what_was_made_of_it_are_made_again_together() {
    const WITHIN: std::time::Duration = std::time::Duration::from_secs(10);
    for topic in ["shop.told.changelog", "shop.told", "shop.by-day"] {
        let log = memory();
        let Shop { app, orders, .. } = telling_shop();
        let running = start(&log, app).await.unwrap();
        for _ in 0..3 {
            running.send(&orders, &"o".to_owned(), ()).await.unwrap();
        }
        assert!(running.stop(WITHIN).await);
        log.delete(&name(topic)).await.unwrap();
        let word = Word { accept_loss: [topic.to_owned()].into(), ..Word::default() };
        apply(&log, &telling_shop().app, word).await.unwrap();
        let Shop { app, orders, per_day } = telling_shop();
        let running = start(&log, app).await.unwrap();
        running.ready(WITHIN).await.unwrap();
        let next = running.send(&orders, &"o".to_owned(), ()).await.unwrap().accepted().unwrap();
        let day = running.view(&per_day).unwrap().after(&next).within(WITHIN).get(&"day".to_owned()).await;
        assert_eq!(day.unwrap().value, Some(4), "{topic}");
        assert!(running.stop(WITHIN).await);
    }
}

/// The shop whose counts are told to a topic that others may read.
fn counting_shop() -> (App, Aggregates<Order>) {
    let mut app = App::new("shop").with(|options| options.partitions = 2);
    let orders = app.aggregate::<Order>();
    let by_day = orders.events().group_by("by-day", |_| "day".to_owned());
    app.emitter(by_day.count(Store::named("counts")).updates().to("day-counts"));
    (app, orders)
}

/// The values of a topic, once there are so many.
async fn values(log: &MemoryLog, topic: &str, wanted: usize) -> Vec<String> {
    let asked = async {
        loop {
            let mut values = Vec::new();
            for partition in (0..2).map(|index| name(topic).partition(index)) {
                let batch = log.read(&partition, Offset::ZERO, ReadLimit::default(), Wait::No).await.unwrap();
                let value = |stored: StoredRecord| stored.record.value.unwrap().to_vec();
                values.extend(batch.records.into_iter().map(|r| String::from_utf8(value(r)).unwrap()));
            }
            if values.len() >= wanted {
                return values;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), asked).await.expect("they are told in time")
}

#[tokio::test]
async fn a_kept_state_never_counts_what_is_read_again() {
    const WITHIN: std::time::Duration = std::time::Duration::from_secs(10);
    // What was lost and what is accepted, whether that is refused, and what is told after three orders and one more.
    let cases: [(&str, &[&str], bool, &[&str]); 4] = [
        ("day-counts", &["day-counts"], false, &["4"]),
        ("shop.by-day", &["shop.by-day"], true, &[]),
        ("shop.by-day", &["shop.by-day", "day-counts"], false, &["1", "2", "3", "1", "2", "3", "4"]),
        (
            "shop.day-counts.changelog",
            &["shop.day-counts.changelog"],
            false,
            &["1", "2", "3", "1", "2", "3", "4"],
        ),
    ];
    for (topic, accepted, is_refused, expected) in cases {
        let log = memory();
        let (app, orders) = counting_shop();
        let running = start(&log, app).await.unwrap();
        for _ in 0..3 {
            running.send(&orders, &"o".to_owned(), ()).await.unwrap();
        }
        assert_eq!(values(&log, "day-counts", 3).await, ["1", "2", "3"]);
        assert!(running.stop(WITHIN).await);
        log.delete(&name(topic)).await.unwrap();
        let word =
            Word { accept_loss: accepted.iter().map(|t| (*t).to_owned()).collect(), ..Word::default() };
        let applied = apply(&log, &counting_shop().0, word).await;
        if is_refused {
            let refusal = applied.expect_err("it is refused").refusal();
            let mend = format!("--accept-loss {topic} --accept-loss day-counts");
            for told in ["\"day-counts\"", "append all of them a second time", "shop.by-day", &mend] {
                assert!(refusal.contains(told), "{told} is not in: {refusal}");
            }
            continue;
        }
        applied.unwrap();
        let (app, orders) = counting_shop();
        let running = start(&log, app).await.unwrap();
        running.send(&orders, &"o".to_owned(), ()).await.unwrap();
        assert_eq!(values(&log, "day-counts", expected.len()).await, expected, "{topic}");
        assert!(running.stop(WITHIN).await);
    }
}

#[tokio::test]
async fn another_definition_under_one_name_is_refused_with_both_shown() {
    let log = memory();
    has_run(&log, shop()).await;
    let error = start(&log, shop_by("by-week")).await.err().expect("it is refused").to_string();
    let both =
        ["\"orders-per-day\"", "\"source\":\"shop.by-day\"", "\"source\":\"shop.by-week\"", ".version(n)"];
    for told in both {
        assert!(error.contains(told), "{told} is not in: {error}");
    }
    has_run(&log, shop()).await;
    let replace = ["orders-per-day".to_owned()].into();
    apply(&log, &shop_by("by-week"), Word { replace, ..Word::default() }).await.unwrap();
    has_run(&log, shop_by("by-week")).await;
    assert!(start(&log, shop()).await.is_err(), "the old definition is another one now");
}

/// An app that copies a topic with these codecs of its own, and counts it.
fn sensors(keys: impl KeyCodec<i64> + Clone, values: impl Codec<String> + Clone) -> App {
    let mut app = App::new("shop").with(|options| options.partitions = 2);
    let measured = app.stream(Topic::with("sensors", keys.clone(), values.clone()));
    app.emitter(measured.to(Topic::with("copies", keys, values)));
    app.view(measured.group_by_key().count(Store::named("measured")));
    app
}

#[tokio::test]
async fn another_codec_under_one_name_is_refused_with_both_shown() {
    let usual = r#""partitions":2,"source":"sensors""#;
    let (big_endian, text) =
        ("big-endian of 8 bytes keys, json values", "big-endian of 8 bytes keys, text values");
    let cases = [
        (sensors(Text, Json), sensors(BigEndian, Json), [usual, big_endian]),
        (sensors(BigEndian, Json), sensors(BigEndian, Text), [big_endian, text]),
    ];
    for (before, after, both) in cases {
        let log = memory();
        has_run(&log, before).await;
        let error = start(&log, after).await.err().expect("it is refused").to_string();
        for told in ["\"copies\"", "\"measured\""].into_iter().chain(both) {
            assert!(error.contains(told), "{told} is not in: {error}");
        }
    }
    let log = memory();
    has_run(&log, sensors(BigEndian, Json)).await;
    has_run(&log, sensors(BigEndian, Json)).await;
}

/// An app that keeps a store of one name, made of one topic in this way.
fn keeping(keep: impl Fn(&mut App, Stream<String, u64>)) -> App {
    let mut app = App::new("shop").with(|options| options.partitions = 2);
    let paid = app.stream(Topic::<String, u64>::from("paid"));
    keep(&mut app, paid);
    app
}

#[tokio::test]
async fn rows_of_another_operator_or_of_other_windows_are_not_gone_on_with() {
    let n = || Store::named("n");
    let count = || keeping(|app, paid| drop(app.view(paid.group_by_key().count(n()))));
    let sum =
        || keeping(|app, paid| drop(app.view(paid.group_by_key().reduce(n(), |sum, item| sum + item.value))));
    let by = |windows: Tumbling| {
        keeping(move |app, paid| drop(app.view(paid.group_by_key().window(windows).count(n()))))
    };
    let (days, minutes) = ("count in tumbling windows of 86400s", "count in tumbling windows of 60s");
    let cases = [
        (count(), sum(), "count", "reduce"),
        (count(), by(Tumbling::days(1)), "count", days),
        (by(Tumbling::days(1)), by(Tumbling::minutes(1)), days, minutes),
    ];
    for (before, after, was, is) in cases {
        let log = memory();
        has_run(&log, before).await;
        let error = start(&log, after).await.err().expect("it is refused").to_string();
        for told in [was, is].map(|operator| format!("\"{operator}\"")) {
            assert!(error.contains(&told), "{told} is not in: {error}");
        }
        assert!(!error.contains("--replace"), "rows of the old one would be gone on with: {error}");
    }
    let log = memory();
    has_run(&log, by(Tumbling::days(1))).await;
    has_run(&log, by(Tumbling::days(1).grace(hours(1)))).await;
    // Stores of other names are seen to be others, and built again.
    let once = |name: &'static str| {
        keeping(move |app, paid| {
            let once = paid.deduplicate(Store::named(name), Once::among(5));
            app.view(once.group_by_key().count(n()));
        })
    };
    let log = memory();
    for app in [count(), once("ids"), once("other-ids"), count()] {
        has_run(&log, app).await;
    }
}

#[tokio::test]
async fn of_two_definitions_at_once_the_first_in_the_log_is_right() {
    let log = memory();
    let (one, other) = (shop(), shop_by("by-week"));
    let word = Word::default();
    let place = Place::default();
    let prepared = |app| prepare(&log, &SystemClock, app, &place, (Reach::Create, &word));
    // Both have read an empty registry before either has written.
    let held = log.hold(Op::Append);
    let both = async { futures_util::future::join(prepared(&one), prepared(&other)).await };
    let release = async {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        drop(held);
    };
    let ((a, b), ()) = futures_util::future::join(both, release).await;
    let ready = [a.unwrap(), b.unwrap()].iter().filter(|came| matches!(came, Prepared::Ready(_))).count();
    assert_eq!(ready, 1);
}

#[tokio::test]
async fn definitions_are_recorded_also_when_the_log_leaves_them_unanswered() {
    for fault in [FaultKind::UnknownWritten, FaultKind::UnknownNotWritten, FaultKind::Refused] {
        let log = memory();
        log.inject(Op::Append, fault);
        has_run(&log, shop()).await;
        assert!(start(&log, shop_by("by-week")).await.is_err(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_plan_is_told_as_json_too() {
    let log = memory();
    let events = name("shop.order.events");
    log.create(&events, TopicSettings::kept(2).cleanup(Cleanup::Expire { after_ms: 1_000 })).await.unwrap();
    let json = serde_json::to_value(plan(&log, &shop()).await).unwrap();
    let step = &json["steps"][0];
    assert_eq!((&step["topic"], &step["action"]), (&"shop.order.events".into(), &"alter".into()));
    assert_eq!((&step["purpose"], &step["of"]), (&"events".into(), &"order".into()));
    assert_eq!(step["differences"][0]["has"], "expire after 1 s");
    assert_eq!(json["steps"][6]["purpose"], "definitions");
}

#[test]
fn too_few_replicas_and_too_few_in_sync_are_refused_and_altered() {
    let wanted = Replicas { factor: 3, min_in_sync: 2 };
    let mend = "; or run `shop topics apply --log kafka://b:9092`";
    let cases = [
        (Replicas { factor: 3, min_in_sync: 2 }, None),
        (Replicas { factor: 5, min_in_sync: 3 }, None),
        (
            Replicas { factor: 3, min_in_sync: 1 },
            Some(
                "has min.insync.replicas 1, but the app needs 2: set kafka_min_in_sync = 1 \
                 (HEADWATER_KAFKA_MIN_IN_SYNC=1) if one copy is meant",
            ),
        ),
        (
            Replicas { factor: 1, min_in_sync: 2 },
            Some(
                "has replication factor 1, but the app needs 3: set kafka_replication = 1 \
                 (HEADWATER_KAFKA_REPLICATION=1) if one copy is meant",
            ),
        ),
        (
            Replicas { factor: 2, min_in_sync: 2 },
            Some(
                "has replication factor 2, but the app needs 3: set kafka_replication = 2 \
                 (HEADWATER_KAFKA_REPLICATION=2) if 2 copies are meant",
            ),
        ),
    ];
    for (has, told) in cases {
        let declared = shop().topics().remove(0);
        let there = TopicDescription {
            name: declared.name.clone(),
            id: TopicId(7),
            settings: declared.settings,
            replicas: Some(has),
        };
        let replicas = Some(wanted);
        let known = Known {
            declared,
            there: Some(there),
            recorded: None,
            replicas,
            machines: Some(3),
            given_up: false,
        };
        let plan = Plan::new("shop", &kafka(), vec![known], Vec::new());
        assert_eq!(plan.refuses(), told.is_some(), "{plan}");
        assert!(!plan.is_stuck(), "{plan}");
        let told = told.map(|told| format!("{told}{mend}")).unwrap_or_default();
        assert!(plan.refusal().contains(&told), "{}", plan.refusal());
    }
}

#[test]
fn more_copies_than_a_cluster_has_brokers_are_never_offered() {
    let declared = shop().topics().remove(0);
    let replicas = |factor, min_in_sync| Some(Replicas { factor, min_in_sync });
    let plan = |machines| {
        let there = TopicDescription {
            name: declared.name.clone(),
            id: TopicId(7),
            settings: declared.settings,
            replicas: replicas(1, 2),
        };
        let (declared, there) = (declared.clone(), Some(there));
        let known =
            Known { declared, there, recorded: None, replicas: replicas(3, 2), machines, given_up: false };
        Plan::new("shop", &kafka(), vec![known], Vec::new())
    };
    let told = "replication factor: 1 -> 3: set kafka_replication = 1 (HEADWATER_KAFKA_REPLICATION=1) if one copy is meant; \
                or start more: the cluster has too few brokers, 1";
    let one = plan(Some(1));
    assert!(one.is_stuck() && one.to_string().contains(told) && !one.to_string().contains("alter "), "{one}");
    for machines in [Some(3), None] {
        assert!(!plan(machines).is_stuck(), "there are brokers enough, or nobody knows");
    }
}

#[test]
fn what_keeps_state_and_appends_is_recorded_once_and_read_as_it_was_recorded_before() {
    let totals = |windows: Tumbling| {
        let mut app = App::new("shop").with(|options| options.partitions = 2);
        let paid =
            app.stream::<String, u64>("paid").deduplicate(Store::named("ids"), Once::among(5)).group_by_key();
        app.emitter(
            paid.window(windows)
                .count(Store::named("totals"))
                .to_stream()
                .select_key(|n| n.key.key.clone())
                .to("told"),
        );
        app.fixed_definitions().remove("told").unwrap()
    };
    let now = totals(Tumbling::days(1));
    let tables = now["tables"].as_array().unwrap();
    assert!(now["operators"].is_null() && tables.len() >= 3, "{now}");
    assert!(
        tables.iter().any(|table| table[0] == "totals" && table[1].as_str().unwrap().contains("tumbling")),
        "{now}"
    );

    let names: Vec<_> = tables.iter().map(|table| table[0].clone()).collect();
    let operators: BTreeMap<_, _> = tables
        .iter()
        .filter(|table| ["ids", "totals"].contains(&table[0].as_str().unwrap()))
        .map(|table| (table[0].as_str().unwrap(), table[1].clone()))
        .collect();
    let mut without = now.clone();
    without["tables"] = json!(names);
    let mut beside = without.clone();
    beside["operators"] = json!(operators);
    let mut other_order = without.clone();
    other_order["tables"] = names.iter().rev().cloned().collect();
    let of_hours = totals(Tumbling::of(hours(1)));
    for (recorded, defined, goes) in [
        (&now, &now, true),
        (&beside, &now, true),
        (&without, &now, true),
        (&other_order, &now, false),
        (&beside, &of_hours, false),
        (&now, &of_hours, false),
    ] {
        assert_eq!(goes_on(recorded, defined), goes, "{recorded} and {defined}");
    }
}
