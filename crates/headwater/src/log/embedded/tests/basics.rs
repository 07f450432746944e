//! Appending, committing, reading, describing; and all of it again after opening again.

use std::time::Duration;

use bytes::Bytes;
use headwater_core::log::{AppendError, Cleanup, CommitError, LogErrorKind, RecordTimes};
use tokio::time::timeout;

use super::*;

#[tokio::test]
async fn records_come_back_whole_in_order_and_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [0, 1, 300, 1_900, 1_990, 2_100, 4_000, 70_000, 1_000_000];
    let id = {
        let log = open(dir.path());
        create(&log, "events", TopicSettings::kept(2)).await;
        for (n, size) in (0..).zip(sizes) {
            let offsets = log.append(vec![append(&at("events", 1), n, size)]).await.unwrap();
            assert_eq!(offsets, [Offset(n)]);
        }
        log.id()
    };
    let log = open(dir.path());
    assert_eq!(log.id(), id);
    let expected: Vec<_> = (0..).zip(sizes).map(|(n, size)| (n, record(n, size))).collect();
    assert_eq!(read_all(&log, &at("events", 1)).await, expected);
    assert_eq!(read_all(&log, &at("events", 0)).await, []);
}

#[tokio::test]
async fn nulls_and_empty_values_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    create(&log, "events", TopicSettings::kept(1)).await;
    let bytes = [None, Some(Bytes::new()), Some(Bytes::from_static(b"x"))];
    let mut records = Vec::new();
    for key in &bytes {
        for value in &bytes {
            records.push(Record { key: key.clone(), value: value.clone(), ..Record::default() });
        }
    }
    let to = at("events", 0);
    let appends = records.iter().map(|record| Append { to: to.clone(), record: record.clone() });
    log.append(appends.collect()).await.unwrap();
    let read: Vec<_> = read_all(&log, &to).await.into_iter().map(|(_, record)| record).collect();
    assert_eq!(read, records);
}

#[tokio::test]
async fn a_read_keeps_its_limits_but_answers_one_record_always() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    create(&log, "events", TopicSettings::kept(1)).await;
    let from = at("events", 0);
    fill(&log, &from, 0..100, 500).await;
    for (limit, expected) in [
        (ReadLimit { records: 7, bytes: 1 << 20 }, 7),
        (ReadLimit { records: 100, bytes: 1_700 }, 3),
        (ReadLimit { records: 100, bytes: 1 }, 1),
        (ReadLimit { records: 0, bytes: 0 }, 1),
    ] {
        let batch = log.read(&from, Offset(10), limit, Wait::No).await.unwrap();
        assert_eq!(batch.records.len(), expected, "{limit:?}");
        assert_eq!((batch.next, batch.end), (Offset(10 + expected as u64), Offset(100)));
    }
}

#[tokio::test]
async fn a_long_read_goes_to_the_blocking_pool_and_answers_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    create(&log, "events", TopicSettings::kept(1)).await;
    let from = at("events", 0);
    for some in 0..20 {
        let appends = (some * 1_000..(some + 1) * 1_000).map(|n| append(&from, n, 20)).collect();
        log.append(appends).await.unwrap();
    }
    let batch = read(&log, &from, 5).await;
    assert_eq!(batch.records.len(), 10_000);
    assert!(batch.records.iter().zip(5..).all(|(stored, n)| stored.record == record(n, 20)));
}

#[tokio::test]
async fn what_lies_outside_a_partition_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    create(&log, "events", TopicSettings::kept(1)).await;
    fill(&log, &at("events", 0), 0..3, 10).await;
    let kind = async |from: &TopicPartition, offset| {
        let read = log.read(from, Offset(offset), ReadLimit::default(), Wait::No).await;
        read.unwrap_err().kind()
    };
    let bounds = log.bounds(&at("events", 0)).await.unwrap();
    assert_eq!(kind(&at("events", 0), 4).await, LogErrorKind::OutOfRange(bounds));
    assert_eq!(kind(&at("events", 1), 0).await, LogErrorKind::UnknownTopic);
    assert_eq!(kind(&at("other", 0), 0).await, LogErrorKind::UnknownTopic);
    let refused = log.append(vec![append(&at("events", 0), 0, 1), append(&at("other", 0), 0, 1)]).await;
    assert!(matches!(refused, Err(AppendError::NotWritten(e)) if e.kind() == LogErrorKind::UnknownTopic));
    let large = log.append(vec![append(&at("events", 0), 0, 17 << 20)]).await;
    assert!(matches!(large, Err(AppendError::NotWritten(e)) if e.kind() == LogErrorKind::Invalid));
    assert_eq!(log.bounds(&at("events", 0)).await.unwrap(), bounds);
}

#[tokio::test]
async fn topics_are_created_once_described_and_deleted_with_their_records_and_positions() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let settings = TopicSettings { times: RecordTimes::Log, ..TopicSettings::kept(3) }
        .cleanup(Cleanup::Expire { after_ms: 5 });
    let made = log.create(&topic("b"), settings).await.unwrap();
    create(&log, "a", TopicSettings::kept(1).cleanup(Cleanup::Compact { tombstones_ms: 9 })).await;
    let again = log.create(&topic("b"), TopicSettings::kept(3)).await.unwrap_err();
    assert_eq!(again.kind(), LogErrorKind::TopicExists);
    let none = log.create(&topic("c"), TopicSettings::kept(0)).await.unwrap_err();
    assert_eq!(none.kind(), LogErrorKind::Invalid);
    let (member, mut opened) = writer(&log, "app.x").await;
    let records = vec![append(&at("b", 2), 1, 10)];
    opened.writer.commit(transaction(records, (&at("b", 2), 1), "")).await.unwrap();
    opened.writer.commit(transaction(vec![], (&at("a", 0), 0), "")).await.unwrap();
    drop((member, opened, log));

    let log = open(dir.path());
    assert_eq!(log.describe(&topic("b")).await.unwrap().as_ref(), Some(&made));
    assert_eq!(made.settings, settings);
    let names: Vec<_> = log.topics().await.unwrap().into_iter().map(|t| t.name).collect();
    assert_eq!(names, [topic("a"), topic("b")]);
    log.delete(&topic("b")).await.unwrap();
    assert_eq!(log.delete(&topic("b")).await.unwrap_err().kind(), LogErrorKind::UnknownTopic);
    drop(log);

    let log = open(dir.path());
    assert_eq!(log.describe(&topic("b")).await.unwrap(), None);
    assert_eq!(log.committed("app.x").await.unwrap(), [(at("a", 0), Offset(0))].into_iter().collect());
    let anew = log.create(&topic("b"), settings).await.unwrap();
    assert_ne!(anew.id, made.id);
    assert_eq!(read_all(&log, &at("b", 2)).await, []);
}

#[tokio::test]
async fn the_log_stamps_the_records_of_topics_that_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::default());
    let log = EmbeddedLog::open(dir.path(), Options { clock: clock.clone(), ..options() }).unwrap();
    create(&log, "mine", TopicSettings::kept(1)).await;
    create(&log, "logs", TopicSettings { times: RecordTimes::Log, ..TopicSettings::kept(1) }).await;
    clock.set(77);
    log.append(vec![append(&at("mine", 0), 5, 9), append(&at("logs", 0), 5, 9)]).await.unwrap();
    assert_eq!(read(&log, &at("mine", 0), 0).await.records[0].record.timestamp, Timestamp(1_005));
    assert_eq!(read(&log, &at("logs", 0), 0).await.records[0].record.timestamp, Timestamp(77));
}

#[tokio::test]
async fn an_offset_is_found_by_time_even_where_times_do_not_rise() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    create(&log, "events", TopicSettings::kept(1)).await;
    let to = at("events", 0);
    for time in [10, 30, 20, 40] {
        let record = Record::new("k", "v", Timestamp(time));
        log.append(vec![Append { to: to.clone(), record }]).await.unwrap();
    }
    for (time, offset) in [(0, 0), (10, 0), (11, 1), (25, 1), (31, 3), (41, 4)] {
        assert_eq!(log.offset_at(&to, Timestamp(time)).await.unwrap(), Offset(offset), "{time}");
    }
}

#[tokio::test]
async fn a_transaction_moves_records_positions_and_note_together() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    create(&log, "events", TopicSettings::kept(2)).await;
    create(&log, "outcomes", TopicSettings::kept(2)).await;
    let (events, outcomes) = (at("events", 0), at("outcomes", 1));
    let (member, Opened { mut writer, head }) = writer(&log, "app.orders").await;
    assert_eq!(head, None);
    let records = vec![append(&events, 0, 40), append(&outcomes, 1, 40), append(&events, 2, 40)];
    let offsets = writer.commit(transaction(records, (&events, 9), "first")).await.unwrap();
    assert_eq!(offsets, [Offset(0), Offset(0), Offset(1)]);
    let long_note: &'static str = Box::leak("n".repeat(9_000).into_boxed_str());
    writer.commit(transaction(vec![], (&outcomes, 4), long_note)).await.unwrap();
    let without = Transaction { positions: Default::default(), ..transaction(vec![], (&events, 0), "") };
    let refused = writer.commit(without).await;
    assert!(
        matches!(refused, Err(CommitError::NotWritten { retry: false, error }) if error.kind() == LogErrorKind::Invalid)
    );
    drop((member, writer, log));

    let log = open(dir.path());
    let positions = [(events.clone(), Offset(9)), (outcomes.clone(), Offset(4))].into_iter().collect();
    assert_eq!(log.committed("app.orders").await.unwrap(), positions);
    let (_member, Opened { mut writer, head }) = super::writer(&log, "app.orders").await;
    assert_eq!(head, Some(Head { positions, note: long_note.into() }));
    writer.commit(transaction(vec![], (&events, 10), "short")).await.unwrap();
    drop((writer, _member, log));
    let log = open(dir.path());
    let (_member, Opened { head, .. }) = super::writer(&log, "app.orders").await;
    assert_eq!(head.map(|head| head.note), Some(Bytes::from_static(b"short")));
    assert_eq!(read_all(&log, &events).await.len(), 2);
}

#[tokio::test]
async fn a_waiting_read_is_woken_by_every_append_and_by_the_end_of_its_topic_and_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    create(&log, "events", TopicSettings::kept(1)).await;
    let from = at("events", 0);
    let reader = tokio::spawn({
        let (log, from) = (log.clone(), from.clone());
        async move {
            let mut next = Offset(0);
            while next < Offset(200) {
                let batch = log.read(&from, next, ReadLimit::default(), Wait::UntilMore).await.unwrap();
                assert!(batch.next > next);
                next = batch.next;
            }
            log.read(&from, next, ReadLimit::default(), Wait::UntilMore).await.unwrap_err().kind()
        }
    });
    for n in 0..200 {
        log.append(vec![append(&from, n, 5)]).await.unwrap();
    }
    log.delete(&topic("events")).await.unwrap();
    let bounded = Duration::from_secs(60);
    assert_eq!(timeout(bounded, reader).await.unwrap().unwrap(), LogErrorKind::UnknownTopic);
    create(&log, "events", TopicSettings::kept(1)).await;
    let waiting = tokio::spawn({
        let (log, from) = (log.clone(), from.clone());
        async move { log.read(&from, Offset(0), ReadLimit::default(), Wait::UntilMore).await.unwrap_err().kind() }
    });
    tokio::task::yield_now().await;
    log.close();
    assert_eq!(timeout(bounded, waiting).await.unwrap().unwrap(), LogErrorKind::Closed);
    let refused = log.append(vec![append(&from, 0, 5)]).await;
    assert!(matches!(refused, Err(AppendError::NotWritten(e)) if e.kind() == LogErrorKind::Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_appenders_share_syncs_and_see_their_own_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let log = EmbeddedLog::open(dir.path(), with_faults(&faults)).unwrap();
    create(&log, "events", TopicSettings::kept(1)).await;
    let from = at("events", 0);
    let tasks: Vec<_> = (0..50u64)
        .map(|task| {
            let (log, from) = (log.clone(), from.clone());
            tokio::spawn(async move {
                let mut offsets = Vec::new();
                for n in 0..20 {
                    let n = task * 20 + n;
                    offsets.push((log.append(vec![append(&from, n, 50)]).await.unwrap()[0].0, n));
                }
                offsets
            })
        })
        .collect();
    let mut offsets = Vec::new();
    for task in tasks {
        offsets.extend(task.await.unwrap());
    }
    offsets.sort_unstable();
    let expected: Vec<_> = offsets.iter().map(|(offset, n)| (*offset, record(*n, 50))).collect();
    assert_eq!(read_all(&log, &from).await, expected);
    assert_eq!(offsets.last().unwrap().0, 999);
    let stats = log.stats();
    assert_eq!((stats.records, stats.acknowledged), (1_000, 1_000));
    assert!(stats.fsyncs < 700, "1,000 appends of 50 tasks took {} syncs", stats.fsyncs);
    assert_eq!(faults.syncs(), stats.fsyncs);
}

#[tokio::test]
async fn partitions_begin_on_pages_of_their_own_and_fill_them() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for name in ["a", "b", "c"] {
        create(&log, name, TopicSettings::kept(7)).await;
    }
    // Interleaved, as commands of many shards are.
    for round in 0..60 {
        let places = ["a", "b", "c"].iter().flat_map(|name| (0..7).map(|p| at(name, p)));
        let appends = places.flat_map(|to| (0..4).map(move |n| append(&to, round * 4 + n, 250)));
        log.append(appends.collect()).await.unwrap();
    }
    let stats = log.stats();
    let fill = stats.record_bytes as f64 / stats.leaf_bytes as f64;
    assert!(fill > 0.7, "pages are {:.0} % full of records", fill * 100.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_map_grows_before_it_is_full_while_readers_read() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    faults.map_at_first(4 << 20);
    let log = EmbeddedLog::open(dir.path(), with_faults(&faults)).unwrap();
    create(&log, "events", TopicSettings::kept(1)).await;
    let from = at("events", 0);
    let reader = tokio::spawn({
        let (log, from) = (log.clone(), from.clone());
        async move {
            let mut next = Offset(0);
            while next < Offset(1_600) {
                let batch = log.read(&from, next, ReadLimit::default(), Wait::UntilMore).await.unwrap();
                let mut expected = next.0..;
                assert!(batch.records.iter().all(|s| s.record == record(expected.next().unwrap(), 10_000)));
                next = batch.next;
            }
        }
    });
    fill(&log, &from, 0..1_600, 10_000).await;
    assert!(log.stats().used_bytes > 16 << 20);
    tokio::time::timeout(Duration::from_secs(60), reader).await.unwrap().unwrap();
}
