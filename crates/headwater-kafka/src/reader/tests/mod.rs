//! Reading from a real broker: what is answered, what is left out, and who is woken.

mod faults;
mod ground;
mod random;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use headwater_core::clock::Timestamp;
use headwater_core::log::{Bounds, LogErrorKind, ReadLimit, Wait};
use headwater_core::record::StoredRecord;
use headwater_core::topic::{Offset, TopicName};
use kafka_broker::{Broker, Setup};
use krafka::Record;
use krafka::admin::DeleteRecordsOptions;
use krafka::consumer::TopicPartition as At;

use ground::{AT_MOST, EVERYTHING, Ground, numbers, reader, record, values};

#[tokio::test]
async fn whatever_the_limit_all_is_read_in_order() {
    let ground = Ground::new().await;
    let at = ground.partition("limits").await;
    ground.produce_many(&at, 3_000).await;
    for (records, bytes) in [(1_000_000, 64 << 20), (1_000, 64 << 20), (7, 64 << 20), (1_000, 1), (1_000, 20)]
    {
        let read = ground.read_to_end(&at, 0, ReadLimit { records, bytes }).await;
        assert_eq!(values(&read), numbers(3_000));
    }
    for from in [1, 1_499, 2_999] {
        let read = ground.read_to_end(&at, from, ReadLimit { records: 1, bytes: 1 }).await;
        assert_eq!(values(&read), numbers(3_000)[from as usize..]);
    }
}

#[tokio::test]
async fn records_come_back_as_they_were_sent_whatever_their_compression() {
    let ground = Ground::new().await;
    for compression in ["uncompressed", "gzip", "snappy", "lz4", "zstd"] {
        let topic =
            ground.topic(&format!("as-sent-{compression}"), 1, &[("compression.type", compression)]).await;
        let at = topic.partition(0);
        let sent = [
            record(&at, "no key"),
            record(&at, "key").key("k").timestamp(7),
            record(&at, "").key("").without_value(),
            record(&at, "").key(""),
            record(&at, "v").header("ce_id", "1").null_header("ce_type").header("own", "x").header("own", ""),
            record(&at, "other headers").header("traceparent", "t").header("ce_id", "2"),
        ];
        let mut waiting = Vec::new();
        for record in &sent {
            waiting.push(ground.producer.enqueue(record.clone()).await.unwrap());
        }
        for sent in waiting {
            sent.await.map(drop).unwrap();
        }
        let read = ground.read_to_end(&at, 0, EVERYTHING).await;
        assert_eq!(read.len(), sent.len());
        for (n, (sent, read)) in sent.iter().zip(&read).enumerate() {
            assert_same(n, sent, read);
        }
    }
}

fn assert_same(n: usize, sent: &Record, read: &StoredRecord) {
    assert_eq!(read.offset, Offset(n as u64));
    assert_eq!((&read.record.key, &read.record.value), (&sent.key, &sent.value));
    assert_eq!(Some(read.record.timestamp.0), sent.timestamp);
    let headers: Vec<_> = read
        .record
        .headers
        .iter()
        .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
        .collect();
    let expected: Vec<_> =
        sent.headers.iter().map(|(name, value)| (name.clone(), value.as_ref().map(|v| v.to_vec()))).collect();
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn the_log_s_own_times_are_told_where_the_topic_has_them() {
    let ground = Ground::new().await;
    let topic = ground.topic("log-times", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let at = topic.partition(0);
    let sent = ground.producer.send(record(&at, "a").timestamp(1_577_836_800_000)).await.unwrap();
    ground.producer.send(record(&at, "b").timestamp(1_577_836_800_000)).await.map(drop).unwrap();
    let read = ground.read_to_end(&at, 0, EVERYTHING).await;
    assert_eq!(read[0].record.timestamp, Timestamp(sent.timestamp));
    assert!(read[0].record.timestamp > Timestamp(1_577_836_800_000));
    assert!(read[0].record.timestamp <= read[1].record.timestamp);
}

#[tokio::test]
async fn many_readers_of_one_partition_each_read_all() {
    let ground = Ground::new().await;
    let at = ground.partition("many").await;
    ground.produce_many(&at, 5_000).await;
    let read = |n: usize| {
        let (ground, at) = (&ground, &at);
        async move {
            let limit = ReadLimit { records: 100 + 50 * n, bytes: 64 << 20 };
            let read = ground.read_to_end(at, n as u64 * 100, limit).await;
            assert_eq!(values(&read), numbers(5_000)[n * 100..]);
        }
    };
    join_all((0..12).map(read)).await;
}

#[tokio::test]
async fn every_idle_reader_is_woken_by_its_own_partition_alone() {
    const PARTITIONS: u32 = 30;
    let ground = Arc::new(Ground::new().await);
    let topic = ground.topic("idle", PARTITIONS as i32, &[]).await;
    for round in 0..3 {
        let reads: Vec<_> = (0..2 * PARTITIONS)
            .map(|n| {
                let (ground, at) = (Arc::clone(&ground), topic.partition(n % PARTITIONS));
                tokio::spawn(async move { ground.read(&at, round, Wait::UntilMore).await.unwrap() })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20 * round)).await;
        assert!(reads.iter().all(|read| !read.is_finished()));
        for n in 0..PARTITIONS {
            ground.produce(&topic.partition(n), &[&format!("{round}-{n}")]).await;
        }
        for (n, batch) in join_all(reads).await.into_iter().enumerate() {
            let batch = batch.unwrap();
            assert_eq!(values(&batch.records), [format!("{round}-{}", n as u32 % PARTITIONS)]);
            assert_eq!((batch.next, batch.end), (Offset(round + 1), Offset(round + 1)));
        }
    }
}

#[tokio::test]
async fn a_read_that_is_dropped_again_and_again_gets_on() {
    let ground = Ground::new().await;
    let at = ground.partition("dropped").await;
    ground.produce_many(&at, 2_000).await;
    let (mut next, mut read) = (0, Vec::new());
    while next < 2_000 {
        tokio::select! {
            biased;
            batch = ground.read_limited(&at, next, ReadLimit { records: 100, bytes: 1 << 20 }, Wait::UntilMore) => {
                let batch = batch.unwrap();
                next = batch.next.0;
                read.extend(batch.records);
            }
            () = tokio::time::sleep(Duration::from_micros(50)) => {}
        }
    }
    assert_eq!(values(&read), numbers(2_000));
}

#[tokio::test]
async fn aborted_records_and_markers_are_moved_over_also_at_the_end() {
    let ground = Ground::new().await;
    let at = ground.partition("aborted").await;
    let (first, second) = (ground.writer("aborted-1").await, ground.writer("aborted-2").await);
    let mut expected = Vec::new();
    for n in 0..4 {
        first.begin().unwrap();
        second.begin().unwrap();
        for k in 0..3 {
            first.send(record(&at, &format!("first-{n}-{k}"))).await.map(drop).unwrap();
            second.send(record(&at, &format!("second-{n}-{k}"))).await.map(drop).unwrap();
        }
        first.abort().await.unwrap();
        let aborted = (n == 3).then_some(());
        match aborted {
            Some(()) => second.abort().await.unwrap(),
            None => second.commit().await.unwrap(),
        }
        expected.extend((0..3).filter(|_| aborted.is_none()).map(|k| format!("second-{n}-{k}")));
    }
    let end = ground.bounds(&at).await.end;
    for limit in [EVERYTHING, ReadLimit { records: 1, bytes: 1 }] {
        assert_eq!(values(&ground.read_to_end(&at, 0, limit).await), expected);
    }
    for from in 0..end.0 {
        let read = values(&ground.read_to_end(&at, from, EVERYTHING).await);
        assert!(expected.ends_with(&read), "from {from}: {read:?}");
    }
    // An abort is answered before its marker is written, which may be after the end was asked for.
    let markers = ground.read(&at, end.0 - 1, Wait::UntilMore).await.unwrap();
    assert_eq!((markers.records.len(), markers.next), (0, markers.end));
    assert!(markers.end >= end, "{} lies before {end}", markers.end);
}

#[tokio::test]
async fn what_is_undecided_is_waited_for_and_never_shown() {
    let ground = Ground::new().await;
    let at = ground.partition("undecided").await;
    let writer = ground.writer("undecided").await;
    ground.produce(&at, &["before"]).await;
    writer.begin().unwrap();
    writer.send(record(&at, "in a transaction")).await.map(drop).unwrap();
    ground.produce(&at, &["after"]).await;
    assert_eq!(ground.bounds(&at).await.end, Offset(3));

    let batch = ground.read(&at, 0, Wait::No).await.unwrap();
    assert_eq!((values(&batch.records), batch.next), (vec!["before".to_owned()], Offset(1)));
    let undecided = ground.read(&at, 1, Wait::No).await.unwrap();
    assert_eq!((undecided.records.len(), undecided.next, undecided.end), (0, Offset(1), Offset(3)));

    for wait in [Wait::No, Wait::UntilMore] {
        let waiting = ground.read(&at, 1, wait);
        let decide = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if wait == Wait::No {
                writer.commit().await.unwrap();
            }
        };
        let (batch, ()) = tokio::join!(waiting, decide);
        let batch = batch.unwrap();
        assert_eq!(values(&batch.records)[0], "in a transaction");
    }
    assert_eq!(values(&ground.read_to_end(&at, 1, EVERYTHING).await), ["in a transaction", "after"]);
}

#[tokio::test]
async fn offsets_outside_the_log_are_refused_with_its_bounds() {
    let ground = Ground::new().await;
    let at = ground.partition("bounds").await;
    ground.produce_many(&at, 100).await;
    let position = At::new(at.topic.as_str(), 0);
    ground.kafka.admin().delete_records([(position, 40)], DeleteRecordsOptions::default()).await.unwrap();
    let bounds = Bounds { start: Offset(40), end: Offset(100) };
    assert_eq!(ground.bounds(&at).await, bounds);
    for from in [0, 39, 101, 1_000_000, u64::MAX] {
        for wait in [Wait::No, Wait::UntilMore] {
            assert_eq!(ground.fails(&at, from, wait).await, LogErrorKind::OutOfRange(bounds));
        }
    }
    assert_eq!(values(&ground.read_to_end(&at, 40, EVERYTHING).await), numbers(100)[40..]);
    let end = ground.read(&at, 100, Wait::No).await.unwrap();
    assert_eq!((end.records.len(), end.next, end.end), (0, Offset(100), Offset(100)));
}

#[tokio::test]
async fn a_large_record_comes_whatever_the_limit() {
    let ground = Ground::new().await;
    let topic = ground.topic("large", 1, &[("max.message.bytes", "8000000")]).await;
    let at = topic.partition(0);
    let large = "x".repeat(5 << 20);
    ground.produce(&at, &["before", &large, "after"]).await;
    for limit in [EVERYTHING, ReadLimit { records: 10, bytes: 1 }] {
        let read = ground.read_to_end(&at, 0, limit).await;
        assert_eq!(read.iter().map(|stored| stored.record.size()).collect::<Vec<_>>(), [6, 5 << 20, 5]);
    }
    let another = [large.as_str()];
    let waiting = ground.read(&at, 3, Wait::UntilMore);
    let (batch, ()) = tokio::join!(waiting, ground.produce(&at, &another));
    assert_eq!(batch.unwrap().records[0].record.size(), 5 << 20);
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_unknown() {
    let ground = Ground::new().await;
    let known = ground.partition("known").await;
    for at in [TopicName::new("unknown").unwrap().partition(0), known.topic.partition(1)] {
        for wait in [Wait::No, Wait::UntilMore] {
            assert_eq!(ground.fails(&at, 0, wait).await, LogErrorKind::UnknownTopic);
        }
    }
}

#[tokio::test]
async fn whoever_reads_a_topic_that_is_deleted_and_made_again_is_told() {
    let ground = Ground::new().await;
    let at = ground.partition("again").await;
    ground.produce(&at, &["old-1", "old-2"]).await;
    assert_eq!(values(&ground.read(&at, 0, Wait::No).await.unwrap().records), ["old-1", "old-2"]);

    let again = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        ground.delete(&at.topic).await;
        ground.partition("again").await;
        ground.produce(&at, &["new-1", "new-2", "new-3"]).await;
    };
    let (waited, ()) = tokio::join!(ground.read(&at, 2, Wait::UntilMore), again);
    assert_eq!(waited.expect_err("the topic is gone").kind(), LogErrorKind::UnknownTopic);
    let new = ground.read(&at, 0, Wait::No).await.unwrap();
    assert_eq!(values(&new.records), ["new-1", "new-2", "new-3"]);
}

#[tokio::test]
async fn reading_goes_on_after_the_broker_was_gone() {
    let broker = Broker::start().unwrap();
    let ground = Ground::at(&broker.bootstrap(), Duration::from_secs(1)).await;
    let at = ground.partition("restart").await;
    ground.produce_many(&at, 100).await;
    assert_eq!(ground.read(&at, 0, Wait::No).await.unwrap().next, Offset(100));
    let waiting = ground.read(&at, 100, Wait::UntilMore);
    let kill = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        broker.kill().unwrap();
    };
    let (waited, ()) = tokio::join!(waiting, kill);
    assert_eq!(waited.expect_err("the broker is gone").kind(), LogErrorKind::Unavailable);
    assert_eq!(ground.fails(&at, 0, Wait::No).await, LogErrorKind::Unavailable);

    broker.restart().unwrap();
    let again = tokio::time::timeout(AT_MOST, async {
        loop {
            match ground.read(&at, 0, Wait::No).await {
                Ok(batch) => return batch,
                Err(error) => assert_eq!(error.kind(), LogErrorKind::Unavailable, "{error}"),
            }
        }
    });
    assert_eq!(values(&again.await.unwrap().records), numbers(100));
    let (woken, ()) = tokio::join!(ground.read(&at, 100, Wait::UntilMore), ground.produce(&at, &["more"]));
    assert_eq!(values(&woken.unwrap().records), ["more"]);
}

#[tokio::test]
async fn what_was_compacted_away_is_moved_over() {
    // A broker of its own, which compacts at once what it may.
    let broker = Setup::default().property("log.cleaner.backoff.ms", 100).start().unwrap();
    let ground = Ground::at(&broker.bootstrap(), Duration::from_secs(5)).await;
    let compacting =
        [("cleanup.policy", "compact"), ("segment.ms", "100"), ("min.cleanable.dirty.ratio", "0.0001")];
    let at = ground.topic("compacted", 1, &compacting).await.partition(0);
    let mut last = [0; 3];
    for n in 0..300 {
        // A segment ends by its records' times.
        let record = record(&at, &n.to_string()).key(format!("key-{}", n % 3)).timestamp(10 * n as i64);
        let sent = ground.producer.send(record).await;
        last[n % 3] = sent.unwrap().offset as u64;
    }
    let compacted = async {
        for n in 0.. {
            let later = record(&at, "later").key(format!("later-{n}")).timestamp(10_000 + 1_000 * n);
            ground.producer.send(later).await.map(drop).unwrap();
            if ground.read_to_end(&at, 0, EVERYTHING).await.len() < 300 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(AT_MOST, compacted).await.expect("the broker compacts");
    // The cleaner goes on meanwhile: only reads between two equal ones are of one state.
    let stands_still = async {
        loop {
            let all = ground.read_to_end(&at, 0, EVERYTHING).await;
            let mut parts = Vec::new();
            for from in (0..300).step_by(7) {
                let limit = ReadLimit { records: 2, bytes: 1 << 20 };
                parts.push((from, ground.read_to_end(&at, from, limit).await));
            }
            if all == ground.read_to_end(&at, 0, EVERYTHING).await {
                return (all, parts);
            }
        }
    };
    let (all, parts) = tokio::time::timeout(AT_MOST, stands_still).await.expect("the cleaner comes to rest");
    assert!(last.iter().all(|last| all.iter().any(|stored| stored.offset.0 == *last)));
    for (from, read) in parts {
        let expected: Vec<_> = all.iter().filter(|stored| stored.offset.0 >= from).collect();
        assert!(read.iter().eq(expected), "from {from}");
    }
}

#[tokio::test]
async fn a_reader_ends_its_tasks() {
    let ground = Ground::new().await;
    let at = ground.partition("ends").await;
    let reader = reader(&ground::broker().bootstrap(), Duration::from_secs(5)).await;
    let read = reader.read(&at, Offset(0), EVERYTHING, Wait::UntilMore);
    assert!(tokio::time::timeout(Duration::from_millis(100), read).await.is_err());
    let shared = Arc::downgrade(&reader.shared);
    drop(reader);
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if shared.upgrade().is_none() {
            return;
        }
    }
    panic!("tasks of the reader live on");
}
