//! Changelogs that a log has damaged: what is not what the head speaks of is never gone on from.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headwater::core::clock::{Clock, SystemClock, Timestamp};
use headwater::core::log::Log;
use headwater::core::partitioner::partition_of;
use headwater::core::record::{Append, Record};
use headwater::core::store::StateStores;
use headwater::core::topic::{Offset, TopicPartition};
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use headwater::{Keyed, Processing, Processor, StoreOf, Timers};

use super::{PARTITIONS, SetClock, WITHIN, log, make, produce, start, topic, until_told, visits};

/// What one key's visits were counted on, once the app has stopped.
struct Counted {
    log: MemoryLog,
    stores: MemoryStores,
    changelog: TopicPartition,
    end: Offset,
}

impl Counted {
    /// Two transactions of one change each.
    async fn new() -> Self {
        let (log, stores) = (log(), MemoryStores::new());
        make(&log, &["visits", "clicks"]).await;
        let running = start(&(Arc::new(log.clone()) as _), &stores, visits().app).await;
        for told in 1..=2 {
            produce(&log, &[("visits", "a".to_owned(), 1, told)]).await;
            until_told(&log, &[("counts", told as usize)]).await;
        }
        assert!(running.stop(WITHIN).await);
        let changelog = topic("web.counts.changelog").partition(partition_of(b"a", PARTITIONS).0);
        let end = log.bounds(&changelog).await.unwrap().end;
        Self { log, stores, changelog, end }
    }

    /// What keeps the app from being ready, over its store or without.
    async fn troubles(&self, stores: &MemoryStores) -> String {
        let shared = Arc::new(self.log.clone());
        let running = Headwater::on(shared, Arc::new(stores.clone())).start(visits().app).await.unwrap();
        let troubles = running.ready(WITHIN).await.err().unwrap_or_default().join("; ");
        assert!(running.stop(WITHIN).await);
        troubles
    }

    async fn append(&self, value: &'static str) {
        let record = Record::new("\0a", value, Timestamp(0));
        self.log.append(vec![Append { to: self.changelog.clone(), record }]).await.unwrap();
    }
}

#[tokio::test]
async fn a_changelog_that_lost_its_end_is_not_gone_on_from() {
    let counted = Counted::new().await;
    counted.log.cut(&counted.changelog, Offset(counted.end.0 - 1)).unwrap();
    let why = format!(
        "\"counts\": the head speaks of changes up to {} offset {}, and the log ends at {}",
        counted.changelog,
        counted.end,
        counted.end.0 - 1
    );
    for stores in [&MemoryStores::new(), &counted.stores] {
        let troubles = counted.troubles(stores).await;
        assert!(troubles.contains(&why), "{troubles}");
    }
}

#[tokio::test]
async fn a_changelog_that_went_on_with_other_records_is_not_gone_on_from() {
    let counted = Counted::new().await;
    counted.log.cut(&counted.changelog, Offset(counted.end.0 - 1)).unwrap();
    counted.append("another change").await;
    let last = counted.end.0 - 1;
    let why = format!("{} offset {last} is not the change that the head speaks of", counted.changelog);
    for stores in [&MemoryStores::new(), &counted.stores] {
        let troubles = counted.troubles(stores).await;
        assert!(troubles.contains(&why), "{troubles}");
    }
    let names = counted.stores.names().unwrap();
    assert!(names.contains(&"web.counts@quarantined".to_owned()), "the store had the lost record: {names:?}");
}

#[tokio::test]
async fn an_idle_state_is_only_as_new_as_what_it_knows_of_its_changelog() {
    let days_ms = 4 * 86_400_000;
    // Another owner may have written, before the first one has heard of it.
    for (others_wrote, is_new) in [(false, true), (true, false)] {
        let (log, stores, ahead) = (log(), MemoryStores::new(), SetClock(Arc::default()));
        make(&log, &["visits", "clicks"]).await;
        let shared = Arc::new(log.clone());
        let headwater = Headwater::with_clock(shared, Arc::new(stores.clone()), Arc::new(ahead.clone()));
        let running = headwater.start(visits().app).await.unwrap();
        produce(&log, &[("visits", "a".to_owned(), 1, 5)]).await;
        until_told(&log, &[("counts", 1)]).await;
        let changelog = topic("web.counts.changelog").partition(partition_of(b"a", PARTITIONS).0);
        if others_wrote {
            let record = Record::new("\0a", "another change", Timestamp(0));
            log.append(vec![Append { to: changelog.clone(), record }]).await.unwrap();
        }
        ahead.0.store(days_ms, Ordering::SeqCst);
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(61 * 60)).await;
        tokio::time::resume();
        assert!(running.stop(WITHIN).await);
        let store = stores.open("web.counts", &["counts"]).unwrap();
        let note = store.checkpoint(changelog.partition).unwrap().unwrap().note;
        let note: serde_json::Value = serde_json::from_slice(&note).unwrap();
        let ahead_ms = note["as_of_ms"].as_i64().unwrap() - SystemClock.now().0;
        assert_eq!(ahead_ms > days_ms / 2, is_new, "others wrote: {others_wrote}; {ahead_ms} ms ahead");
    }
}

#[tokio::test]
async fn a_change_that_was_compacted_away_is_no_loss() {
    let counted = Counted::new().await;
    // The shard's own store stands in front of a record that a later one of the same key has replaced.
    let shared: super::dyn_log::Shared = Arc::new(counted.log.clone());
    let stale = counted.stores.clone();
    let running = start(&shared, &MemoryStores::new(), visits().app).await;
    produce(&counted.log, &[("visits", "a".to_owned(), 1, 3)]).await;
    until_told(&counted.log, &[("counts", 3)]).await;
    assert!(running.stop(WITHIN).await);
    counted.log.clean();
    assert_eq!(counted.troubles(&stale).await, "");
    let names = stale.names().unwrap();
    assert!(!names.contains(&"web.counts@quarantined".to_owned()), "{names:?}");
}

/// Keeps what was said last, and until the second time that there was a first.
struct Twice(StoreOf<String, u64>);

impl Twice {
    fn first() -> StoreOf<String, u64> {
        StoreOf::named("first")
    }

    fn app() -> App {
        let mut app = App::new("web").with(|options| options.partitions = PARTITIONS);
        let visits = app.stream::<String, u64>("visits");
        let kept = Store::named("last").and(&Self::first());
        let told = visits.process(kept, Timers::default(), || Self(Self::first()));
        app.emitter(told.to("told"));
        app
    }
}

impl Processor for Twice {
    type Key = String;
    type Value = u64;
    type OutKey = String;
    type OutValue = u64;
    type RowKey = String;
    type Row = u64;

    fn process(&mut self, item: Keyed<'_, String, u64>, next: &mut Processing<'_, '_, Self>) {
        next.put(item.key, item.value);
        let mut first = next.store(&self.0);
        match first.get(item.key) {
            None => first.put(item.key, item.value),
            Some(_) => first.delete(item.key),
        }
        next.forward(item.key, item.value);
    }
}

#[tokio::test]
async fn a_tombstone_whose_time_is_over_is_no_loss_beside_values_of_its_transaction() {
    let ahead = SetClock(Arc::default());
    let clock = Arc::new(ahead.clone());
    let log = MemoryLog::new(MemoryOptions { seed: 7, clock: clock.clone(), ..MemoryOptions::default() });
    make(&log, &["visits"]).await;
    let start = async || {
        let stores = Arc::new(MemoryStores::new());
        let headwater = Headwater::with_clock(Arc::new(log.clone()), stores, clock.clone());
        let running = headwater.start(Twice::app()).await.unwrap();
        let troubles = running.ready(WITHIN).await.err().unwrap_or_default().join("; ");
        assert_eq!(troubles, "");
        running
    };
    let running = start().await;
    for told in 1..=2 {
        produce(&log, &[("visits", "a".to_owned(), told, 1)]).await;
        until_told(&log, &[("told", told as usize)]).await;
    }
    assert!(running.stop(WITHIN).await);
    ahead.0.store(8 * 86_400_000, Ordering::SeqCst);
    log.clean();
    let kept = super::records(&log, "web.told.changelog").await.concat();
    assert_eq!(kept.len(), 1, "the value is kept, and the tombstone is not: {kept:?}");
    assert!(start().await.stop(WITHIN).await);
}
