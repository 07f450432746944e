//! The state of an emitter on several instances: a standby follows the changelog, and a new owner goes on from it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headwater::core::clock::{Clock, SystemClock};
use headwater::core::log::Log;
use headwater::core::topic::{Offset, Partition, TopicPartition};
use headwater::log::memory::MemoryLog;
use headwater::peers::{PeerAddress, Switchboard};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use headwater::{AppOptions, Phase};

use super::{
    Outcome, PARTITIONS, SetClock, Visits, WITHIN, Written, log, make, produce, topic, until_told, visits,
    written,
};
use crate::told;

/// Visits of which one instance counts a half, and another one goes on.
struct Counting {
    board: Switchboard,
    log: MemoryLog,
    clock: Arc<dyn Clock>,
    visits: Vec<Written>,
}

impl Counting {
    /// An instance that has counted one half.
    async fn half(records: u64, clock: Arc<dyn Clock>) -> (Self, Running) {
        let visits = written(records).into_iter().filter(|(topic, ..)| *topic == "visits").collect();
        let counting = Self { board: Switchboard::new(), log: log(), clock, visits };
        make(&counting.log, &["visits", "clicks"]).await;
        let first = counting.instance("first", |_| {}).await;
        let half = &counting.visits[..counting.visits.len() / 2];
        produce(&counting.log, half).await;
        until_told(&counting.log, &[("counts", half.len())]).await;
        (counting, first)
    }

    /// The same and a second one, each with a copy of the other's shard.
    async fn half_copied(records: u64, clock: Arc<dyn Clock>) -> (Self, Running, Running) {
        let (counting, first) = Self::half(records, clock).await;
        let second = counting.instance("second", |_| {}).await;
        let both = [&first, &second];
        for running in both {
            running.keep_copies("web.counts", (0..PARTITIONS).map(Partition));
        }
        until("each has the other's shard as a copy", || both.iter().all(|running| has_one_copy(running)))
            .await;
        (counting, first, second)
    }

    /// An instance under its own name.
    async fn instance(&self, name: &str, change: fn(&mut AppOptions)) -> Running {
        let address = PeerAddress::new(name);
        let stores = Arc::new(MemoryStores::new());
        let headwater = Headwater::with_clock(Arc::new(self.log.clone()), stores, self.clock.clone()).among(
            name,
            address.clone(),
            Arc::new(self.board.clone()),
        );
        self.board.connect(address, headwater.peer_service().unwrap());
        let Visits { app, .. } = visits();
        let running = headwater.start(app.with(change)).await.unwrap();
        running.ready(WITHIN).await.unwrap();
        running
    }

    /// The second counts the other half alone, from its copies: nobody can read any more what the changelog held.
    async fn go_on_from_copies(&self, first: Running, second: Running) {
        for partition in changelog() {
            let bounds = self.log.bounds(&partition).await.unwrap();
            for offset in bounds.start.0..bounds.end.0 {
                self.log.damage(&partition, Offset(offset)).unwrap();
            }
        }
        assert!(first.stop(WITHIN).await);
        let all_run = || phases(&second).iter().all(|phase| *phase == Phase::Running);
        until("the second has all shards", all_run).await;
        self.other_half().await;
        assert!(second.stop(WITHIN).await);
    }

    /// Whoever runs counts the other half, too.
    async fn other_half(&self) {
        produce(&self.log, &self.visits[self.visits.len() / 2..]).await;
        until_told(&self.log, &[("counts", self.visits.len())]).await;
        assert_eq!(told(&self.log, "counts").await, Outcome::expected(&self.visits).counts);
    }
}

fn changelog() -> impl Iterator<Item = TopicPartition> {
    (0..PARTITIONS).map(|partition| topic("web.counts.changelog").partition(partition))
}

/// The phases of the shards that count.
fn phases(running: &Running) -> Vec<Phase> {
    let report = running.report().into_iter().find(|report| report.name == "counts").unwrap();
    report.shards.into_iter().map(|shard| shard.phase).collect()
}

fn has_one_copy(running: &Running) -> bool {
    let is_copy = |phase: &&Phase| matches!(phase, Phase::Standby { behind: 0 });
    phases(running).iter().filter(is_copy).count() == 1
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
    let (counting, first, second) = Counting::half_copied(300, Arc::new(SystemClock)).await;
    counting.go_on_from_copies(first, second).await;
}

#[tokio::test]
async fn a_copy_of_a_shard_that_is_idle_for_days_is_as_new_as_ever() {
    let ahead = SetClock(Arc::default());
    let (counting, first, second) = Counting::half_copied(120, Arc::new(ahead.clone())).await;
    // More than half of the time that tombstones are kept, of which a copy lives to see an hour.
    ahead.0.store(4 * 86_400_000, Ordering::SeqCst);
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(61 * 60)).await;
    tokio::time::resume();
    counting.go_on_from_copies(first, second).await;
}

#[tokio::test]
async fn a_new_owner_takes_the_state_of_an_emitter_from_the_one_that_has_it() {
    let (counting, first) = Counting::half(300, Arc::new(SystemClock)).await;
    for partition in changelog() {
        counting.log.damage(&partition, counting.log.bounds(&partition).await.unwrap().start).unwrap();
    }
    let second = counting.instance("second", |options| options.copy_from_records = 0).await;
    until("the second has a shard", || phases(&second).contains(&Phase::Running)).await;
    counting.other_half().await;
    assert!(first.stop(WITHIN).await);
    assert!(second.stop(WITHIN).await);
}
