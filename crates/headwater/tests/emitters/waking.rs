//! What one topology hands to the next is taken at once, and the clock on the wall is told in time: time stands still
//! here, and runs on only where everybody waits for it.

use std::sync::Arc;
use std::time::Duration;

use headwater::core::clock::{Clock, Timestamp};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use headwater::{Keyed, Processing, Processor, Timer, Timers};
use tokio::time::Instant;

use super::{PARTITIONS, WITHIN, dyn_log, log, make, produce, told, until_told};

/// A way over `hops` topologies, each of which counts what comes.
fn chain(hops: usize) -> App {
    let mut app = App::new("chain").with(|options| options.partitions = PARTITIONS);
    let mut stream = app.stream::<String, u64>("visits");
    for hop in 0..hops {
        let counts = stream.group_by_key().count(Store::named(format!("count-{hop}")));
        stream = counts.updates().repartition(format!("hop-{hop}"));
    }
    app.emitter(stream.to("counts"));
    app
}

#[tokio::test(start_paused = true)]
async fn no_topology_waits_for_a_timer_to_take_what_another_has_made() {
    let log: dyn_log::Shared = Arc::new(log());
    make(&*log, &["visits", "clicks", "counts"]).await;
    let clock = Arc::new(TestClock(Instant::now()));
    let headwater = Headwater::by_hand(log.clone(), Arc::new(MemoryStores::new()), clock);
    let running = headwater.start(chain(6)).await.unwrap();
    running.ready(WITHIN).await.unwrap();
    for round in 1..=5 {
        produce(&*log, &[("visits", "a".to_owned(), 1, 5)]).await;
        let begun = Instant::now();
        until_told(&*log, &[("counts", round)]).await;
        // Whoever looks waits two milliseconds between two looks.
        assert!(begun.elapsed() < Duration::from_millis(10), "{:?}", begun.elapsed());
    }
    assert!(running.stop(WITHIN).await);
}

/// Tells every second what it has seen.
struct Seen;

impl Processor for Seen {
    type Key = String;
    type Value = u64;
    type OutKey = String;
    type OutValue = u64;
    type RowKey = String;
    type Row = u64;

    fn process(&mut self, item: Keyed<'_, String, u64>, next: &mut Processing<'_, '_, Self>) {
        next.put(item.key, item.value);
    }

    fn on_timer(&mut self, _: Timer, _: Timestamp, next: &mut Processing<'_, '_, Self>) {
        for (key, value) in next.rows(&()) {
            next.forward(&key, &value);
        }
    }
}

/// The time of the test, from zero.
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.elapsed().as_millis() as i64)
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_shard_is_told_the_time_on_the_wall_also_after_a_restart() {
    let log: dyn_log::Shared = Arc::new(log());
    make(&*log, &["visits", "seen"]).await;
    let clock = Arc::new(TestClock(Instant::now()));
    for round in 0..2 {
        let mut app = App::new("watch").with(|options| options.partitions = PARTITIONS);
        let visits = app.stream::<String, u64>("visits");
        let every = Timers::default().wall_clock(Duration::from_secs(1));
        app.emitter(visits.process(Store::named("keys"), every, || Seen).to("seen"));
        // No other thread, of which a time that stands still knows nothing.
        let headwater = Headwater::by_hand(log.clone(), Arc::new(MemoryStores::new()), clock.clone());
        let running = headwater.start(app).await.unwrap();
        running.ready(WITHIN).await.unwrap();
        if round == 0 {
            produce(&*log, &[("visits", "a".to_owned(), 7, 5)]).await;
        }
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        assert!(running.stop(WITHIN).await);
    }
    // Three times before the restart, and three times after it, from a state that came from the changelog.
    let seen: Vec<_> =
        told(&*log, "seen").await.concat().into_iter().map(|(key, value, _)| (key, value)).collect();
    assert_eq!(seen, vec![("a".to_owned(), "7".to_owned()); 6]);
}
