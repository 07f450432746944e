//! What is told while shards are on their way: of a state that is older than the log, of one that is built anew, and of
//! a log that does not let them go on. Time stands still, and runs on only when nothing else is to be done.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod paced_log;

use std::sync::Arc;
use std::time::Duration;

use common::{Command, Shop, shop};
use headwater::core::clock::{Clock, SystemClock, Timestamp};
use headwater::core::log::{Log, TopicSettings};
use headwater::core::record::{Append, Record};
use headwater::core::topic::{Offset, TopicName};
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use headwater::{Parts, Phase, QueryError};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use paced_log::PacedLog;

const WITHIN: Duration = Duration::from_secs(30);
/// Longer than gauges are sampled.
const A_WHILE: Duration = Duration::from_secs(2);

/// An instance of the shop, and what it declared.
struct Instance {
    running: Running,
    orders: Aggregates<common::Order>,
    spent: View<String, u64>,
}

impl Instance {
    async fn start(log: Arc<dyn Log>, stores: &MemoryStores, spent_version: u32, parts: Parts) -> Self {
        let Shop { app, orders, spent, .. } = shop(spent_version);
        let headwater = Headwater::by_hand(log, Arc::new(stores.clone()), Arc::new(SystemClock));
        Self { running: headwater.start_parts(app, parts).await.unwrap(), orders, spent }
    }

    /// Places orders of one customer, each of 5 pence.
    async fn place(&self, orders: std::ops::Range<u32>) -> Receipt {
        let mut last = None;
        for n in orders {
            let command = Command::place("alice", "kettle", 5);
            let placed = self.running.send(&self.orders, &format!("o{n}"), command).await.unwrap();
            last = Some(placed.accepted().unwrap());
        }
        last.unwrap()
    }

    fn spent(&self) -> headwater::ViewQuery<String, u64> {
        self.running.view(&self.spent).unwrap()
    }

    async fn alice_spent(&self) -> Option<u64> {
        self.spent().get(&"alice".to_owned()).await.unwrap().value
    }

    async fn stop(self) {
        assert!(self.running.stop(WITHIN).await, "it stops in bounded time");
    }

    /// The one trouble of a topology; `None` if it has none.
    fn trouble(&self, topology: &str) -> Option<String> {
        let troubles = self.running.troubles();
        let of = troubles.iter().find_map(|line| line.strip_prefix(&format!("{topology}: ")))?;
        Some(of.to_owned())
    }
}

fn memory_log() -> MemoryLog {
    MemoryLog::new(MemoryOptions { seed: 1, clock: Arc::new(SystemClock), ..MemoryOptions::default() })
}

/// A log with ten orders that the state has, and ten more that it has not; how the latter came there is told by `parts`.
async fn log_ahead_of_state(parts: Parts) -> (MemoryLog, MemoryStores, Receipt) {
    let (log, stores) = (memory_log(), MemoryStores::new());
    let first = Instance::start(Arc::new(log.clone()), &stores, 1, Parts::ALL).await;
    let receipt = first.place(0..10).await;
    first.spent().after(&receipt).get(&"alice".to_owned()).await.unwrap();
    first.running.ready(WITHIN).await.unwrap();
    first.stop().await;
    let second = Instance::start(Arc::new(log.clone()), &MemoryStores::new(), 1, parts).await;
    let receipt = second.place(10..20).await;
    if parts.queries {
        second.spent().after(&receipt).get(&"alice".to_owned()).await.unwrap();
    }
    second.stop().await;
    (log, stores, receipt)
}

/// Reads one batch after the other until nothing is left, and checks what is told of it; answers how often.
async fn read_on(instance: &Instance, log: &PacedLog, topology: &str, told: &[&str]) {
    for told in told {
        tokio::time::sleep(A_WHILE).await;
        let trouble = instance.trouble(topology).unwrap_or_default();
        assert!(trouble.contains(told), "{told}: {trouble}");
        assert!(instance.running.ready(A_WHILE).await.is_err(), "not ready: {trouble}");
        log.let_read(1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_of_an_earlier_life_answers_and_is_not_ready_until_it_is_as_new_as_the_log() {
    let (log, stores, receipt) = log_ahead_of_state(Parts::ALL).await;
    let log = PacedLog::new(log, "shop.orders-by-customer", 4);
    let shop = Instance::start(Arc::new(log.clone()), &stores, 1, Parts::ALL).await;
    let told = ["an older state answers, 10 records are left", "answers, 6 records", "answers, 2 records"];
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(shop.alice_spent().await, Some(50), "what is here answers meanwhile");
    let newer = shop.spent().after(&receipt).within(A_WHILE).get(&"alice".to_owned()).await;
    assert!(matches!(newer, Err(QueryError::NotYet { .. })), "not for who asks for more: {newer:?}");
    read_on(&shop, &log, "spent", &told).await;
    shop.running.ready(WITHIN).await.unwrap();
    assert_eq!(shop.alice_spent().await, Some(100));
    // Whatever comes later is lag, and no reason to be unready.
    shop.place(20..30).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(shop.running.troubles(), Vec::<String>::new());
    shop.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_feeds_a_view_counts_as_the_view_does() {
    let (log, stores, receipt) = log_ahead_of_state(Parts::COMMANDS).await;
    let log = PacedLog::new(log, "shop.order.events", 1);
    let shop = Instance::start(Arc::new(log.clone()), &stores, 1, Parts::ALL).await;
    tokio::time::sleep(A_WHILE).await;
    for topology in ["orders-by-customer", "replicated"] {
        let trouble = shop.trouble(topology).unwrap_or_default();
        assert!(trouble.contains("an older state answers"), "{topology}: {trouble}");
    }
    log.let_read(1_000);
    shop.running.ready(WITHIN).await.unwrap();
    let spent = shop.spent().after(&receipt).get(&"alice".to_owned()).await.unwrap();
    assert_eq!(spent.value, Some(100));
    shop.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_tells_how_much_is_left_until_nothing_is() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let told = |name: &str| -> Vec<f64> {
        let page = metrics.render();
        let of_shard = page.lines().filter(|line| {
            line.starts_with(&format!("headwater_restore_left_{name}{{"))
                && line.contains("topology=\"spent@2\"")
        });
        of_shard.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    };
    let left = || told("records").into_iter().sum::<f64>() as u64;
    // Of the one shard that has anything to read.
    let seconds = || told("seconds").into_iter().find(|seconds| *seconds != 0.0);
    let (log, stores, _) = log_ahead_of_state(Parts::ALL).await;
    let log = PacedLog::new(log, "shop.orders-by-customer", 5);
    let shop = Instance::start(Arc::new(log.clone()), &stores, 2, Parts::ALL).await;
    let steps = [("restored up to 0 of 20, 20 records are left", 20), ("up to 5 of 20", 15)];
    let steps = steps.into_iter().chain([("up to 10 of 20", 10), ("up to 15 of 20, 5 records are left", 5)]);
    for (told, gauge) in steps {
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(left(), gauge, "{told}");
        let estimate = seconds().unwrap();
        // Nothing was read at first; then five records every while at the most.
        assert!(if gauge == 20 { estimate.is_nan() } else { estimate.is_finite() }, "{told}: {estimate}");
        let report = shop.running.report().into_iter().find(|report| report.name == "spent@2").unwrap();
        assert_eq!(report.shards.iter().map(|shard| shard.left_records).sum::<u64>(), gauge, "{told}");
        read_on(&shop, &log, "spent@2", &[told]).await;
    }
    shop.running.ready(WITHIN).await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert_eq!((left(), seconds()), (0, None));
    assert_eq!(shop.alice_spent().await, Some(200), "the second version counts twice");
    shop.stop().await;
}

/// The value of the first series of a metric whose labels begin so.
fn value(metrics: &PrometheusHandle, name: &str, labels: &str) -> Option<f64> {
    let page = metrics.render();
    let line = page.lines().find(|line| line.starts_with(&format!("headwater_{name}{{{labels}")))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// An app that counts visits, and tells the counts.
fn counting() -> App {
    let mut app = App::new("web").with(|options| options.partitions = 1);
    let visits = app.stream::<String, u64>("visits");
    app.emitter(visits.group_by_key().count(Store::named("counts")).updates().to("counts"));
    app
}

#[tokio::test(start_paused = true)]
async fn the_changelog_of_an_emitter_tells_how_much_is_left_and_how_long_it_takes() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let told = |name: &str, labels: &str| value(&metrics, name, labels);
    let log = memory_log();
    let visits = TopicName::new("visits").unwrap();
    log.create(&visits, TopicSettings::kept(1)).await.unwrap();
    let visit = |n: u32| Append {
        to: visits.partition(0),
        record: Record::new(format!("k{n}"), "1", Timestamp(i64::from(n))),
    };
    log.append((0..20).map(visit).collect()).await.unwrap();
    let start = async |log: Arc<dyn Log>| {
        Headwater::by_hand(log, Arc::new(MemoryStores::new()), Arc::new(SystemClock)).start(counting()).await
    };
    let first = start(Arc::new(log.clone())).await.unwrap();
    let counts = TopicName::new("counts").unwrap().partition(0);
    let all = async {
        while log.bounds(&counts).await.unwrap().end < Offset(20) {
            tokio::time::sleep(A_WHILE).await;
        }
    };
    tokio::time::timeout(WITHIN, all).await.expect("everything is counted in time");
    assert_eq!(told("topology_records_total", "topology=\"counts\",source=\"visits\""), Some(20.0));
    assert_eq!(told("state_changes_total", "topology=\"counts\",table=\"counts\""), Some(20.0));
    assert!(first.stop(WITHIN).await);
    let paced = PacedLog::new(log, "web.counts.changelog", 5).hold_all();
    let second = start(Arc::new(paced.clone())).await.unwrap();
    let left = |what: &str| told(&format!("restore_left_{what}"), "topology=\"counts\"").unwrap();
    for records in [20.0, 15.0, 10.0, 5.0] {
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(left("records"), records);
        assert_eq!(left("seconds").is_nan(), records == 20.0, "{} s for {records}", left("seconds"));
        paced.let_read(1);
    }
    second.ready(WITHIN).await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert_eq!((left("records"), left("seconds")), (0.0, 0.0));
    assert!(second.stop(WITHIN).await);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_waits_in_any_topic_tells_how_old_it_is() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let lag = |unit: &str| value(&metrics, &format!("view_lag_{unit}"), "topology=\"both\"");
    let log = memory_log();
    for name in ["visits", "clicks"] {
        log.create(&TopicName::new(name).unwrap(), TopicSettings::kept(1)).await.unwrap();
    }
    // The second topic has a record, and nobody is let on to read it.
    let (to, time) = (TopicName::new("clicks").unwrap().partition(0), SystemClock.now().plus_ms(-100_000));
    log.append(vec![Append { to, record: Record::new("k", "1", time) }]).await.unwrap();
    let paced = PacedLog::new(log, "clicks", 1);
    let mut app = App::new("web").with(|options| options.partitions = 1);
    let (visits, clicks) = (app.stream::<String, u64>("visits"), app.stream::<String, u64>("clicks"));
    app.emitter(visits.merge(&clicks).to("both"));
    let headwater =
        Headwater::by_hand(Arc::new(paced.clone()), Arc::new(MemoryStores::new()), Arc::new(SystemClock));
    let running = headwater.start(app).await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(lag("records"), Some(1.0));
    assert!(lag("seconds").is_some_and(|seconds| seconds >= 100.0), "{:?}", lag("seconds"));
    paced.let_read(1);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!((lag("records"), lag("seconds")), (Some(0.0), Some(0.0)));
    assert!(running.stop(WITHIN).await);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_silent_at_the_start_is_told_and_waited_for() {
    let (log, stores, _) = log_ahead_of_state(Parts::ALL).await;
    let log = PacedLog::new(log, "shop.orders-by-customer", 1_000);
    log.be_silent(true);
    log.let_read(1_000);
    let shop = Instance::start(Arc::new(log.clone()), &stores, 1, Parts::ALL).await;
    tokio::time::sleep(A_WHILE).await;
    let trouble = shop.trouble("spent").unwrap();
    assert!(trouble.contains("shards 0-2: not started; waiting, since the log is silent"), "{trouble}");
    log.be_silent(false);
    shop.running.ready(WITHIN).await.unwrap();
    assert_eq!(shop.alice_spent().await, Some(100));
    shop.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_shard_whose_writer_is_refused_says_so_and_asks_less_and_less_often() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let gauge = |shards: u32| {
        metrics.render().contains(&format!("headwater_shards_refused{{topology=\"order\"}} {shards}\n"))
    };
    let log = PacedLog::new(memory_log(), "none", 1);
    log.refuse_writers(true);
    let shop = Instance::start(Arc::new(log.clone()), &MemoryStores::new(), 1, Parts::COMMANDS).await;
    tokio::time::sleep(A_WHILE).await;
    let report = shop.running.report();
    let refused = |phase: &Phase| matches!(phase, Phase::Refused { reason } if reason == "grant it Write");
    assert!(report[0].shards.iter().all(|shard| refused(&shard.phase)), "{report:?}");
    let trouble = shop.trouble("order").unwrap();
    assert!(trouble.contains("shards 0-2: refused, and tried again: grant it Write"), "{trouble}");
    assert!(gauge(3), "{}", metrics.render());
    tokio::time::sleep(Duration::from_secs(60)).await;
    log.refused();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let refused = log.refused();
    assert!((3 * 6..=3 * 20).contains(&refused), "tried {refused} times in a minute, by three shards");
    log.refuse_writers(false);
    shop.running.ready(WITHIN).await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert!(gauge(0), "{}", metrics.render());
    shop.stop().await;
}
