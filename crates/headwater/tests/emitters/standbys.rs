//! The state of an emitter on several instances: a standby follows the changelog, and a new owner goes on from it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headwater::core::clock::{Clock, SystemClock};
use headwater::core::log::Log;
use headwater::core::topic::Partition;
use headwater::peers::{PeerAddress, Switchboard};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use headwater::{AppOptions, Phase};

use super::{
    Outcome, PARTITIONS, SetClock, Visits, WITHIN, log, make, produce, topic, until_told, visits, written,
};
use crate::told;

/// An instance under its own name.
async fn instance(
    board: &Switchboard,
    log: &headwater::log::memory::MemoryLog,
    name: &str,
    change: fn(&mut AppOptions),
) -> Running {
    instance_at(board, log, name, change, Arc::new(SystemClock)).await
}

/// The same, by another clock.
async fn instance_at(
    board: &Switchboard,
    log: &headwater::log::memory::MemoryLog,
    name: &str,
    change: fn(&mut AppOptions),
    clock: Arc<dyn Clock>,
) -> Running {
    let address = PeerAddress::new(name);
    let stores = Arc::new(MemoryStores::new());
    let headwater = Headwater::with_clock(Arc::new(log.clone()), stores, clock).among(
        name,
        address.clone(),
        Arc::new(board.clone()),
    );
    board.connect(address, headwater.peer_service().unwrap());
    let Visits { app, .. } = visits();
    let running = headwater.start(app.with(change)).await.unwrap();
    running.ready(WITHIN).await.unwrap();
    running
}

fn phases(running: &Running, topology: &str) -> Vec<Phase> {
    let report = running.report().into_iter().find(|report| report.name == topology).unwrap();
    report.shards.into_iter().map(|shard| shard.phase).collect()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let seen = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(WITHIN, seen).await.is_ok(), "{what}");
}

#[tokio::test]
async fn a_standby_has_the_state_and_goes_on_with_it() {
    let (board, log) = (Switchboard::new(), log());
    make(&log, &["visits", "clicks"]).await;
    let all: Vec<_> = written(300).into_iter().filter(|(topic, ..)| *topic == "visits").collect();
    let (before, after) = all.split_at(all.len() / 2);
    let first = instance(&board, &log, "first", |_| {}).await;
    produce(&log, before).await;
    until_told(&log, &[("counts", before.len())]).await;
    let second = instance(&board, &log, "second", |_| {}).await;
    for running in [&first, &second] {
        running.keep_copies("web.counts", (0..PARTITIONS).map(Partition));
    }
    let is_copy = |phase: &Phase| matches!(phase, Phase::Standby { behind: 0 });
    until("each has the other's shard as a copy", || {
        [&first, &second]
            .iter()
            .all(|running| phases(running, "counts").iter().filter(|p| is_copy(p)).count() == 1)
    })
    .await;
    // What the changelog held so far can be read by nobody any more: who goes on, goes on from its copy.
    for partition in (0..PARTITIONS).map(|p| topic("web.counts.changelog").partition(p)) {
        let bounds = log.bounds(&partition).await.unwrap();
        for offset in bounds.start.0..bounds.end.0 {
            log.damage(&partition, headwater::core::topic::Offset(offset)).unwrap();
        }
    }
    assert!(first.stop(WITHIN).await);
    until("the second has all shards", || phases(&second, "counts").iter().all(|p| *p == Phase::Running))
        .await;
    produce(&log, after).await;
    until_told(&log, &[("counts", all.len())]).await;
    assert_eq!(told(&log, "counts").await, Outcome::expected(&all).counts);
    assert!(second.stop(WITHIN).await);
}

#[tokio::test]
async fn a_copy_of_a_shard_that_is_idle_for_days_is_as_new_as_ever() {
    let (board, log) = (Switchboard::new(), log());
    make(&log, &["visits", "clicks"]).await;
    let all: Vec<_> = written(120).into_iter().filter(|(topic, ..)| *topic == "visits").collect();
    let (before, after) = all.split_at(all.len() / 2);
    let ahead = SetClock(Arc::default());
    let start = async |name| instance_at(&board, &log, name, |_| {}, Arc::new(ahead.clone())).await;
    let first = start("first").await;
    produce(&log, before).await;
    until_told(&log, &[("counts", before.len())]).await;
    let second = start("second").await;
    for running in [&first, &second] {
        running.keep_copies("web.counts", (0..PARTITIONS).map(Partition));
    }
    let is_copy = |phase: &Phase| matches!(phase, Phase::Standby { behind: 0 });
    until("each has the other's shard as a copy", || {
        [&first, &second]
            .iter()
            .all(|running| phases(running, "counts").iter().filter(|p| is_copy(p)).count() == 1)
    })
    .await;
    // More than half of the time that tombstones are kept, of which a copy lives to see an hour.
    ahead.0.store(4 * 86_400_000, Ordering::SeqCst);
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(61 * 60)).await;
    tokio::time::resume();
    for partition in (0..PARTITIONS).map(|p| topic("web.counts.changelog").partition(p)) {
        let bounds = log.bounds(&partition).await.unwrap();
        for offset in bounds.start.0..bounds.end.0 {
            log.damage(&partition, headwater::core::topic::Offset(offset)).unwrap();
        }
    }
    assert!(first.stop(WITHIN).await);
    until("the second has all shards", || phases(&second, "counts").iter().all(|p| *p == Phase::Running))
        .await;
    produce(&log, after).await;
    until_told(&log, &[("counts", all.len())]).await;
    assert_eq!(told(&log, "counts").await, Outcome::expected(&all).counts);
    assert!(second.stop(WITHIN).await);
}

#[tokio::test]
async fn a_new_owner_takes_the_state_of_an_emitter_from_the_one_that_has_it() {
    let (board, log) = (Switchboard::new(), log());
    make(&log, &["visits", "clicks"]).await;
    let all: Vec<_> = written(300).into_iter().filter(|(topic, ..)| *topic == "visits").collect();
    let (before, after) = all.split_at(all.len() / 2);
    let first = instance(&board, &log, "first", |_| {}).await;
    produce(&log, before).await;
    until_told(&log, &[("counts", before.len())]).await;
    for partition in (0..PARTITIONS).map(|p| topic("web.counts.changelog").partition(p)) {
        log.damage(&partition, log.bounds(&partition).await.unwrap().start).unwrap();
    }
    let second = instance(&board, &log, "second", |options| options.copy_from_records = 0).await;
    until("the second has a shard", || phases(&second, "counts").contains(&Phase::Running)).await;
    produce(&log, after).await;
    until_told(&log, &[("counts", all.len())]).await;
    assert_eq!(told(&log, "counts").await, Outcome::expected(&all).counts);
    assert!(first.stop(WITHIN).await);
    assert!(second.stop(WITHIN).await);
}
