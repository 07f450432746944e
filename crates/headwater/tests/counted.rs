//! What operators count, as metrics tell it: records that came, those that an operator went on without and why, how long
//! they took, and the rows that are kept of them. Time stands still, and runs on only when nothing else is to be done.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use headwater::core::clock::{Clock, Timestamp};
use headwater::core::log::{Log, TopicSettings};
use headwater::core::record::{Append, Record};
use headwater::core::topic::TopicName;
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use headwater::{OnFailure, Once};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

const WITHIN: Duration = Duration::from_secs(30);
/// Longer than gauges are sampled.
const A_WHILE: Duration = Duration::from_secs(2);

/// It is always the same time.
#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp(100_000)
    }
}

/// A visit that the app's own code cannot take.
const BAD: u64 = 666;

/// An app that counts visits in windows of ten milliseconds, each visit once: in a view, and to a topic.
fn counting() -> App {
    let mut app = App::new("web").with(|options| {
        options.partitions = 1;
        options.on_failure = OnFailure::park();
    });
    let visits = app.stream::<String, u64>("visits");
    let once = visits.deduplicate_by(Store::named("once"), Once::among(100), |visit| *visit.value);
    let good = once.peek(|visit| assert_ne!(*visit.value, BAD, "it cannot be taken"));
    let windows = good.group_by_key().window(Tumbling::of(Duration::from_millis(10)));
    app.emitter(windows.count(Store::named("counts")).updates().to("counts").named("told"));
    let good = visits.filter(|visit| *visit.value != BAD);
    let windows = good.group_by_key().window(Tumbling::of(Duration::from_millis(10)));
    app.view(windows.count(Store::named("counts")));
    app
}

/// The value of the series of a metric that has exactly these labels.
fn value(metrics: &PrometheusHandle, name: &str, labels: &str) -> Option<f64> {
    let page = metrics.render();
    page.lines().find_map(|line| line.strip_prefix(&format!("headwater_{name}{{{labels}}} "))?.parse().ok())
}

#[tokio::test(start_paused = true)]
async fn metrics_tell_of_each_operator_what_came_what_was_left_out_and_what_is_kept() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let told = |name: &str, labels: &str| value(&metrics, name, labels);
    let clock: Arc<dyn Clock> = Arc::new(Noon);
    let log = MemoryLog::new(MemoryOptions { clock: clock.clone(), ..MemoryOptions::default() });
    let visits = TopicName::new("visits").unwrap();
    log.create(&visits, TopicSettings::kept(1)).await.unwrap();
    let stores = Arc::new(MemoryStores::new());
    let start = async || {
        let headwater = Headwater::by_hand(Arc::new(log.clone()), stores.clone(), clock.clone());
        let running = headwater.start(counting()).await.unwrap();
        running.ready(WITHIN).await.unwrap();
        running
    };
    let running = start().await;
    // The second of the same id is no visit, the one that is bad is set aside, and the last comes too late for its window.
    let input = [(1, 5), (2, 12), (2, 12), (3, 25), (BAD, 26), (4, 31), (5, 3)];
    let visit = |(id, time): (u64, i64)| {
        // What is of the key of a record that was set aside would wait behind it.
        let key = if id == BAD { "bad" } else { "good" };
        Append { to: visits.partition(0), record: Record::new(key, id.to_string(), Timestamp(time)) }
    };
    log.append(input.map(visit).into()).await.unwrap();
    let all = async {
        for topology in ["told", "counts"] {
            let labels = format!("topology=\"{topology}\",source=\"visits\"");
            while told("topology_records_total", &labels) != Some(7.0) {
                tokio::time::sleep(A_WHILE).await;
            }
        }
    };
    tokio::time::timeout(WITHIN, all).await.expect("every visit is processed in time");
    let taken = [
        // Without the bad one: what it did was taken back.
        ("told", "once", 6.0),
        ("told", "counts", 5.0),
        ("told", "to counts", 4.0),
        ("counts", "counts", 6.0),
    ];
    for (topology, operator, records) in taken {
        let labels = format!("topology=\"{topology}\",operator=\"{operator}\"");
        assert_eq!(told("operator_records_total", &labels), Some(records), "{labels}");
    }
    let dropped = [
        ("told", "once", "duplicate", Some(1.0)),
        ("told", "counts", "late", Some(1.0)),
        ("counts", "counts", "late", Some(1.0)),
        ("counts", "counts", "duplicate", None),
    ];
    for (topology, operator, reason, records) in dropped {
        let labels = format!("topology=\"{topology}\",operator=\"{operator}\",reason=\"{reason}\"");
        assert_eq!(told("topology_dropped_records_total", &labels), records, "{labels}");
    }
    for topology in ["told", "counts"] {
        let labels = format!("topology=\"{topology}\"");
        let records = told("topology_latency_seconds_count", &labels).unwrap();
        let seconds = told("topology_latency_seconds_sum", &labels).unwrap() / records;
        // Of each batch, however many there were, the earliest record and the latest.
        assert!(records >= 2.0 && records % 2.0 == 0.0, "{topology}: {records}");
        assert!((99.969..=99.997).contains(&seconds), "{topology}: {seconds} s");
    }
    assert!(running.stop(WITHIN).await);
    let running = start().await;
    tokio::time::sleep(A_WHILE).await;
    for (store, table, rows) in
        [("web.told", "once", 5.0), ("web.told", "counts", 4.0), ("web.counts", "counts", 4.0)]
    {
        let labels = format!("store=\"{store}\",table=\"{table}\"");
        assert_eq!(told("state_rows", &labels), Some(rows), "{labels}");
    }
    assert!(running.stop(WITHIN).await);
}
