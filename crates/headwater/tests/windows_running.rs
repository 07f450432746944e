//! Views of windows where they run: asked by key and time and followed, at every instance, and the same in large batches
//! as record by record.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::sync::Arc;
use std::time::Duration;

use headwater::core::clock::{SystemClock, Timestamp};
use headwater::core::position::Position;
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::peers::{PeerAddress, Switchboard};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use headwater::testing::Driver;
use headwater::{Changes, Receipt, Update, Windowed};

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
        (["a", "b", "c"][(n * 7 % 3) as usize].to_owned(), Timestamp(50 + (n * 4) as i64 - back as i64))
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

/// Three instances that share a log, each reached by the others.
async fn instances(log: &MemoryLog) -> Vec<(Running, [View<Windowed<String>, u64>; 4])> {
    let board = Switchboard::new();
    let mut instances = Vec::new();
    for name in ["one", "two", "three"] {
        let (app, views) = counts();
        let address = PeerAddress::new(name);
        let headwater = Headwater::on(Arc::new(log.clone()), Arc::new(MemoryStores::new()));
        let headwater = headwater.among(name, address.clone(), Arc::new(board.clone()));
        board.connect(address, headwater.peer_service().unwrap());
        instances.push((headwater.start(app).await.unwrap(), views));
    }
    for (running, _) in &instances {
        running.ready(WITHIN).await.unwrap();
    }
    instances
}

/// What a watcher of windows is told next: those that there are, or one of them as it is now.
async fn next(
    changes: &mut Changes<Windowed<String>, u64>,
) -> (Vec<((i64, i64), Option<u64>)>, Option<Position>) {
    let span = |window: &Windowed<String>| (window.start.0, window.end.0);
    match tokio::time::timeout(WITHIN, changes.next()).await.expect("news come").unwrap() {
        Update::Reset { rows, position } => {
            (rows.iter().map(|(window, count)| (span(window), Some(*count))).collect(), Some(position))
        }
        Update::Change { key, value, position } => (vec![(span(&key), value)], position),
    }
}

#[tokio::test]
async fn windows_are_asked_for_and_followed_at_every_instance() {
    let log = MemoryLog::new(MemoryOptions { clock: Arc::new(SystemClock), ..MemoryOptions::default() });
    let instances = instances(&log).await;
    let topic: Topic<String, u64> = "visits".into();
    let (a, t) = ("a".to_owned(), Timestamp);
    let publish = async |n: usize, key: &str, time| {
        instances[n % 3].0.publish(&topic, &key.to_owned(), &1).at(Timestamp(time)).await.unwrap()
    };
    let view = |n: usize, kind: usize| instances[n].0.view(&instances[n].1[kind]).unwrap().within(WITHIN);
    for (n, time) in [3, 12, 14, 25].into_iter().enumerate() {
        let receipt = publish(n, "a", time).await;
        for instance in 0..3 {
            let told = view(instance, 0).after(&receipt).windows(&a, ..=t(time)).await.unwrap().value;
            let (last, _) = told.last().expect("a receipt has its own visit included");
            assert_eq!(last.start, t(time / 10 * 10), "at instance {instance}");
        }
    }
    for instance in 0..3 {
        let mut all = view(instance, 0).changes(&a, .., None).await.unwrap();
        let mut some = view(instance, 0).changes(&a, t(10)..t(20), None).await.unwrap();
        let mut sessions = view(instance, 3).changes(&a, .., None).await.unwrap();
        let before = instance as u64;
        let windows = [((0, 10), Some(1)), ((10, 20), Some(2 + before)), ((20, 30), Some(1 + before))];
        let (told, since) = next(&mut all).await;
        assert_eq!(told, windows);
        assert_eq!(next(&mut some).await.0, windows[1..2]);
        // A visit between 14 and 25 would make one session of two.
        assert_eq!(next(&mut sessions).await.0.len(), 3);
        publish(instance, "b", 14).await;
        let changes = [((20, 30), Some(2 + before)), ((10, 20), Some(3 + before))];
        for (time, change) in [25, 15].into_iter().zip(changes) {
            publish(instance, "a", time).await;
            assert_eq!(next(&mut all).await.0, [change]);
        }
        assert_eq!(next(&mut some).await.0, changes[1..]);
        // From where it was left: nothing is told again, nothing is left out.
        let mut resumed = view((instance + 1) % 3, 0).changes(&a, .., since.as_ref()).await.unwrap();
        assert_eq!([next(&mut resumed).await.0, next(&mut resumed).await.0].concat(), changes);
    }
    let mut sessions = view(0, 3).changes(&a, .., None).await.unwrap();
    assert_eq!(next(&mut sessions).await.0, [((3, 3), Some(1)), ((12, 15), Some(5)), ((25, 25), Some(4))]);
    publish(0, "a", 20).await;
    let merged: Vec<_> =
        [next(&mut sessions).await.0, next(&mut sessions).await.0, next(&mut sessions).await.0].concat();
    assert!(merged.contains(&((12, 25), Some(10))), "{merged:?}");
    assert!(merged.contains(&((12, 15), None)) && merged.contains(&((25, 25), None)), "{merged:?}");
    for (running, _) in instances {
        running.stop(WITHIN).await;
    }
}
