//! Views of windows where they run: asked by key and time, and the same in large batches as record by record.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::sync::Arc;
use std::time::Duration;

use headwater::core::clock::{SystemClock, Timestamp};
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use headwater::testing::Driver;
use headwater::{Receipt, Windowed};

const WITHIN: Duration = Duration::from_secs(10);
const RECORDS: u64 = 120;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The app and its views: tumbling, hopping that expire, sliding, sessions.
fn counts() -> (App, [View<Windowed<String>, u64>; 4]) {
    // Stream time is a shard's: one shard has the order of the driver.
    let mut app = App::new("test").with(|options| options.partitions = 1);
    let visits = app.stream::<String, u64>("visits").group_by_key();
    let grace = ms(30);
    let tumbling = visits.window(Tumbling::of(ms(10)).grace(grace)).count(Store::named("tumbling"));
    let hopping = visits.window(Hopping::of(ms(20), ms(5)).grace(grace));
    let hopping = hopping.count(Store::named("hopping").retain(ms(40)).timed());
    let sliding = visits.window(Sliding::of(ms(10)).grace(grace)).count(Store::named("sliding"));
    let sessions = visits.window(Session::gap(ms(6)).grace(grace)).count(Store::named("sessions"));
    let views = [tumbling, hopping, sliding, sessions].map(|table| app.view(table));
    (app, views)
}

/// Out of order, ever later: keys and times.
fn visits() -> impl Iterator<Item = (String, Timestamp)> {
    (0..RECORDS).map(|n| {
        let back = n * 37 % 50;
        (["a", "b", "c"][(n * 7 % 3) as usize].to_owned(), Timestamp((n * 4) as i64 - back as i64))
    })
}

async fn start(log: &MemoryLog) -> (Running, [View<Windowed<String>, u64>; 4]) {
    let (app, views) = counts();
    let headwater = Headwater::on(Arc::new(log.clone()), Arc::new(MemoryStores::new()));
    (headwater.start(app).await.unwrap(), views)
}

/// What each view has of each key once it includes a receipt.
async fn seen(
    running: &Running,
    views: &[View<Windowed<String>, u64>],
    receipt: &Receipt,
) -> Vec<Vec<((Timestamp, Timestamp), u64)>> {
    let mut seen = Vec::new();
    for view in views {
        for key in ["a", "b", "c"] {
            let query = running.view(view).unwrap().after(receipt).within(WITHIN);
            let rows = query.windows(&key.to_owned(), ..).await.unwrap().value;
            seen.push(rows.into_iter().map(|(window, count)| ((window.start, window.end), count)).collect());
        }
    }
    seen
}

#[tokio::test]
async fn windows_come_to_the_same_in_batches_of_any_size() {
    let (app, views) = counts();
    let mut driver = Driver::new(&app);
    visits().for_each(|(key, time)| driver.pipe("visits", key, 1_u64, time));
    let of = |view: &View<Windowed<String>, u64>| {
        ["a", "b", "c"].map(|key| driver.view(view).spans(&key.to_owned()))
    };
    let expected: Vec<_> = views.iter().flat_map(of).collect();
    assert!(expected.iter().all(|windows| windows.len() > 3), "{expected:?}");

    let log = MemoryLog::new(MemoryOptions { clock: Arc::new(SystemClock), ..MemoryOptions::default() });
    let (running, views) = start(&log).await;
    let topic: Topic<String, u64> = "visits".into();
    let mut receipt = None;
    for (key, time) in visits() {
        receipt = Some(running.publish(&topic, &key, &1).at(time).await.unwrap());
    }
    let receipt = receipt.unwrap();
    assert_eq!(seen(&running, &views, &receipt).await, expected);
    running.stop(WITHIN).await;

    // Without its state it reads everything again, at once.
    let (running, views) = start(&log).await;
    assert_eq!(seen(&running, &views, &receipt).await, expected);
    running.stop(WITHIN).await;
}

#[tokio::test]
async fn windows_are_asked_for_by_when_they_begin() {
    let log = MemoryLog::new(MemoryOptions { clock: Arc::new(SystemClock), ..MemoryOptions::default() });
    let (running, [tumbling, ..]) = start(&log).await;
    let topic: Topic<String, u64> = "visits".into();
    let mut receipt = None;
    for (key, time) in [("a", 3), ("a1", 12), ("a", 12), ("a", 25), ("a", 31)] {
        receipt = Some(running.publish(&topic, &key.to_owned(), &1).at(Timestamp(time)).await.unwrap());
    }
    let key = "a".to_owned();
    let ask = || running.view(&tumbling).unwrap().after(receipt.as_ref().unwrap()).within(WITHIN);
    let starts = |rows: Vec<(Windowed<String>, u64)>| -> Vec<i64> {
        rows.into_iter().map(|(window, _)| window.start.0).collect()
    };
    let t = Timestamp;
    assert_eq!(starts(ask().windows(&key, ..).await.unwrap().value), [0, 10, 20, 30]);
    assert_eq!(starts(ask().windows(&key, t(10)..t(30)).await.unwrap().value), [10, 20]);
    assert_eq!(starts(ask().windows(&key, t(10)..=t(30)).await.unwrap().value), [10, 20, 30]);
    assert_eq!(starts(ask().windows(&key, ..t(1)).await.unwrap().value), [0]);
    let window = Windowed { key: key.clone(), start: t(20), end: t(30) };
    assert_eq!(ask().get(&window).await.unwrap().value, Some(1));
    running.stop(WITHIN).await;
}
