//! What is dropped, what is kept, and that readers hold nothing back.

use std::collections::BTreeMap;

use headwater_core::log::{Cleanup, LogErrorKind};

use super::super::{Maintained, check};
use super::*;

async fn maintain(log: &Arc<EmbeddedLog>, now: i64) -> Maintained {
    let log = log.clone();
    tokio::task::spawn_blocking(move || log.maintain(Timestamp(now))).await.unwrap().unwrap()
}

fn put(to: &TopicPartition, key: &str, value: Option<u64>, time: i64) -> Append {
    let value = value.map(|value| value.to_be_bytes().to_vec().into());
    Append { to: to.clone(), record: Record { value, ..Record::new(key.to_owned(), "", Timestamp(time)) } }
}

#[tokio::test]
async fn expired_records_go_from_the_front_and_the_start_moves() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    create(&log, "events", TopicSettings::kept(1).cleanup(Cleanup::Expire { after_ms: 100 })).await;
    create(&log, "kept", TopicSettings::kept(1)).await;
    let events = at("events", 0);
    for to in [&events, &at("kept", 0)] {
        for some in 0..12 {
            log.append((some * 1_000..(some + 1) * 1_000).map(|n| append(to, n, 20)).collect())
                .await
                .unwrap();
        }
    }
    assert_eq!(maintain(&log, 1_100).await, Maintained::default(), "nothing is older than 100 ms yet");
    // Record n is of 1,000 + n.
    assert_eq!(maintain(&log, 1_000 + 100 + 11_000).await.expired, 11_000);
    drop(log);
    let log = open(dir.path());
    let bounds = log.bounds(&events).await.unwrap();
    assert_eq!((bounds.start, bounds.end), (Offset(11_000), Offset(12_000)));
    let records = read_all(&log, &events).await;
    assert_eq!(records.len(), 1_000);
    assert!(records.iter().all(|(offset, found)| *found == record(*offset, 20)));
    let below = log.read(&events, Offset(10_999), ReadLimit::default(), Wait::No).await.unwrap_err();
    assert_eq!(below.kind(), LogErrorKind::OutOfRange(bounds));
    assert_eq!(log.bounds(&at("kept", 0)).await.unwrap().start, Offset(0));
    assert_eq!(maintain(&log, i64::MAX / 2).await.expired, 1_000);
    assert_eq!(log.bounds(&events).await.unwrap().start, Offset(12_000));
    fill(&log, &events, 12_000..12_010, 20).await;
    assert_eq!(read_all(&log, &events).await.len(), 10);
}

/// Compaction against a model: for random puts and removals and passes in between, what is left is the last record of
/// each key, every offset can be read from, and the check accepts every stub.
#[tokio::test]
async fn compaction_keeps_the_last_record_of_each_key_and_stubs_cover_the_rest() {
    for seed in 0..4u64 {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        create(&log, "table", TopicSettings::kept(1).cleanup(Cleanup::Compact { tombstones_ms: 1_000 }))
            .await;
        let table = at("table", 0);
        let (mut last, mut random, mut n) = (BTreeMap::new(), seed, 0);
        for round in 0..6 {
            let mut puts = Vec::new();
            for _ in 0..150 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let key = format!("k{}", (random >> 33) % 40);
                let value = ((random >> 60) != 0).then_some(n);
                puts.push(put(&table, &key, value, round));
                last.insert(key, (n, value));
                n += 1;
            }
            log.append(puts).await.unwrap();
            maintain(&log, round).await;
            expect(&log, &table, &last, n, seed).await;
        }
        // Much later, tombstones go too.
        maintain(&log, 5_000).await;
        last.retain(|_, (_, value)| value.is_some());
        expect(&log, &table, &last, n, seed).await;
        drop(log);
        let log = open(dir.path());
        expect(&log, &table, &last, n, seed).await;
        drop(log);
        assert_eq!(check(dir.path()).unwrap().damaged, []);
    }
}

type Last = BTreeMap<String, (u64, Option<u64>)>;

async fn expect(log: &EmbeddedLog, table: &TopicPartition, last: &Last, end: u64, seed: u64) {
    let mut expected: Vec<_> = last.values().copied().collect();
    expected.sort_unstable();
    let number = |value: bytes::Bytes| u64::from_be_bytes(value[..].try_into().unwrap());
    let found = read_all(log, table).await.into_iter();
    let found: Vec<_> = found.map(|(offset, record)| (offset, record.value.map(number))).collect();
    assert_eq!(found, expected, "seed {seed}");
    for from in (0..=end).step_by(7) {
        let batch = read(log, table, from).await;
        let first = batch.records.first().map(|stored| stored.offset.0);
        assert_eq!(first, expected.iter().map(|(offset, _)| *offset).find(|offset| *offset >= from));
        assert_eq!(batch.next, Offset(end), "seed {seed} from {from}");
    }
}

#[tokio::test]
async fn a_deleted_topics_pages_are_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    create(&log, "first", TopicSettings::kept(3)).await;
    fill(&log, &at("first", 1), 0..6_000, 400).await;
    log.delete(&topic("first")).await.unwrap();
    assert_eq!(maintain(&log, 0).await.purged, 1);
    let before = log.stats();
    create(&log, "second", TopicSettings::kept(1)).await;
    fill(&log, &at("second", 0), 0..5_000, 400).await;
    let after = log.stats();
    assert!(after.used_bytes < before.used_bytes * 11 / 10, "{before:?} {after:?}");
    assert_eq!(maintain(&log, 0).await, Maintained::default());
}

/// A follower and a paged scan that stay for the whole time: rewritten pages are free again after each commit.
#[tokio::test]
async fn a_reader_that_stays_does_not_make_the_file_grow() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    create(&log, "events", TopicSettings::kept(1)).await;
    create(&log, "heads", TopicSettings::kept(1)).await;
    let events = at("events", 0);
    fill(&log, &events, 0..2_000, 100).await;
    let follower = tokio::spawn({
        let (log, heads) = (log.clone(), at("heads", 0));
        async move { log.read(&heads, Offset(0), ReadLimit::default(), Wait::UntilMore).await.unwrap() }
    });
    let (_member, Opened { mut writer, .. }) = writer(&log, "app.x").await;
    let mut scanned = Offset(0);
    let before = log.stats().used_bytes;
    for n in 0..400 {
        writer.commit(transaction(vec![], (&events, n), "each commit writes its rows anew")).await.unwrap();
        let page = log.read(&events, scanned, ReadLimit { records: 1, bytes: 1 }, Wait::No).await.unwrap();
        scanned = page.next;
    }
    let grown = log.stats().used_bytes - before;
    assert!(grown < 100_000, "the file grew by {grown} bytes over 400 commits of a few rows");
    log.append(vec![append(&at("heads", 0), 1, 10)]).await.unwrap();
    assert_eq!(follower.await.unwrap().records.len(), 1);
}
