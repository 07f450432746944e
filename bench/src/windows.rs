//! Counting in windows: records a second that a view folds, of a log that was there before it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater::core::clock::{SystemClock, Timestamp};
use headwater::core::log::{Log, TopicSettings};
use headwater::core::partitioner::partition_of;
use headwater::core::record::{Append, Record};
use headwater::core::topic::TopicName;
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::prelude::*;
use headwater::store::lmdb::{LmdbOptions, LmdbStores};

use crate::fixture::runtime;
use crate::report::{Mark, Report};

const PARTITIONS: u32 = 4;
const RECORDS: u64 = 400_000;
const KEYS: u64 = 2_000;
const AT_ONCE: u64 = 10_000;
const WITHIN: Duration = Duration::from_secs(600);

/// Counts visits a few seconds apart, some of them late, in each kind of window; of sessions and sliding windows also with
/// rows that expire.
pub(crate) fn windows(report: &mut Report) {
    let runtime = runtime();
    let log = runtime.block_on(visits());
    let retained = |name: &str| Store::named(name).retain(minutes(1));
    let views: [(&str, fn(&mut App, Store)); 3] = [
        ("tumbling", |app, store| {
            let windows = Tumbling::minutes(1).grace(minutes(1));
            app.view(by_key(app).window(windows).count(store));
        }),
        ("sliding", |app, store| {
            let windows = Sliding::of(seconds(20)).grace(minutes(1));
            app.view(by_key(app).window(windows).count(store));
        }),
        ("sessions", |app, store| {
            let windows = Session::gap(seconds(20)).grace(minutes(1));
            app.view(by_key(app).window(windows).count(store));
        }),
    ];
    for (name, define) in views {
        for (how, store) in [("", Store::named("counts")), (", expiring", retained("counts"))] {
            let mut app = App::new("bench").with(|options| options.partitions = PARTITIONS);
            define(&mut app, store);
            let took = runtime.block_on(folded(&log, app));
            let rate = RECORDS as f64 / took.as_secs_f64();
            report.add(format!("count in {name} windows{how}"), rate, "records/s", Mark::Told);
        }
    }
}

fn by_key(app: &App) -> headwater::Grouped<String, u64> {
    app.stream::<String, u64>("visits").group_by_key()
}

/// A log of visits: each key every few seconds, one visit in ten up to half a minute late.
async fn visits() -> MemoryLog {
    let log = MemoryLog::new(MemoryOptions { clock: Arc::new(SystemClock), ..MemoryOptions::default() });
    let topic = TopicName::new("visits").expect("it is a name");
    log.create(&topic, TopicSettings::kept(PARTITIONS)).await.expect("a new log takes a topic");
    let append = |n: u64| {
        let key = format!("k{}", n.wrapping_mul(2_654_435_761) % KEYS);
        let late = if n.is_multiple_of(10) { n * 7_919 % 30_000 } else { 0 };
        let time = Timestamp((n * 3).saturating_sub(late).cast_signed());
        let to = topic.partition(partition_of(key.as_bytes(), PARTITIONS).0);
        Append { to, record: Record::new(key, "1", time) }
    };
    for from in (0..RECORDS).step_by(AT_ONCE as usize) {
        log.append((from..from + AT_ONCE).map(append).collect()).await.expect("a new log takes records");
    }
    log
}

/// How long an app takes to fold what the log has.
async fn folded(log: &MemoryLog, app: App) -> Duration {
    let dir = tempfile::tempdir_in(".").expect("the current directory can be written");
    let stores =
        LmdbStores::new(dir.path(), LmdbOptions::default()).expect("an empty directory takes stores");
    let start = Instant::now();
    let running = Headwater::on(Arc::new(log.clone()), Arc::new(stores)).start(app).await;
    let running = running.expect("the app starts");
    running.ready(WITHIN).await.expect("it catches up");
    let took = start.elapsed();
    running.stop(WITHIN).await;
    took
}
