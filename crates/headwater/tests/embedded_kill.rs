//! The embedded log under kill -9, and the check that follows, in processes of their own.
//!
//! This test has a `main` of its own, since it starts itself again: as the process that is killed, and, by the library,
//! as the one that checks. It tells what it did in one line per test.
// All of this file is a test.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater::log::embedded::{DamagedRange, EmbeddedLog, Options, check_if_asked};
use headwater_core::clock::Timestamp;
use headwater_core::log::{
    Group, Log, LogErrorKind, ReadLimit, ShardChange, TopicSettings, Transaction, Wait,
};
use headwater_core::record::{Append, Record};
use headwater_core::topic::{Offset, TopicName, TopicPartition};

/// The directory to write to, for the process that will be killed.
const WRITE: &str = "HEADWATER_TEST_WRITE";
const KILLS: u64 = 12;

fn main() {
    if let Some(dir) = std::env::var_os("HEADWATER_CHECK") {
        std::fs::write(mark_of(Path::new(&dir)), "").unwrap();
    }
    check_if_asked();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Some(dir) = std::env::var_os(WRITE) {
        runtime.block_on(write_until_killed(Path::new(&dir)));
        return;
    }
    runtime.block_on(what_was_acknowledged_is_there_after_every_kill());
    println!("test what_was_acknowledged_is_there_after_every_kill ... ok");
    runtime.block_on(damage_is_named_by_a_process_of_its_own_after_a_kill());
    println!("test damage_is_named_by_a_process_of_its_own_after_a_kill ... ok");
    println!("2 passed, 0 failed");
}

/// Where a process that checks a directory leaves its mark.
fn mark_of(dir: &Path) -> PathBuf {
    dir.join("checked-by-a-child")
}

fn events() -> TopicPartition {
    TopicName::new("events").unwrap().partition(0)
}

fn options() -> Options {
    Options { maintenance_every: None, ..Options::default() }
}

fn record(n: u64) -> Record {
    Record::new(format!("key-{n}"), format!("<{n}>").repeat(10 + (n % 70) as usize), Timestamp(n as i64))
}

/// Commits record after record, each with its position, and tells each that was acknowledged.
async fn write_until_killed(dir: &Path) {
    let log = EmbeddedLog::open(dir, options()).unwrap();
    let topic = events().topic;
    if log.describe(&topic).await.unwrap().is_none() {
        log.create(&topic, TopicSettings::kept(1)).await.unwrap();
    }
    let mut member = log.join(&Group { name: "app.x".into(), shards: 1, topic }).await.unwrap();
    let ShardChange::Gained(_, claim) = member.next().await.unwrap() else { panic!("no shard") };
    let opened = claim.open().await.unwrap();
    let mut writer = opened.writer;
    let next = opened.head.map_or(0, |head| head.positions.get(&events()).unwrap().0);
    // Bounded, in case nobody kills it.
    for n in next..next + 100_000 {
        let appends = vec![Append { to: events(), record: record(n) }];
        let positions = [(events(), Offset(n + 1))].into_iter().collect();
        writer.commit(Transaction { appends, positions, note: "".into() }).await.unwrap();
        println!("{n}");
        std::io::stdout().flush().unwrap();
    }
}

/// Starts a writer, kills it after `count` acknowledgements, and answers the last one that it told.
fn write_and_kill(dir: &Path, count: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(WRITE, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = 0;
    for _ in 0..count {
        last = lines.next().unwrap().unwrap().parse().unwrap();
    }
    child.kill().unwrap();
    // What it had told before it died counts, too.
    for line in lines {
        last = line.unwrap().parse().unwrap_or(last);
    }
    child.wait().unwrap();
    last
}

async fn read_all(log: &EmbeddedLog) -> Vec<(u64, Record)> {
    let end = log.bounds(&events()).await.unwrap().end;
    let (mut next, mut records) = (Offset(0), Vec::new());
    while next < end {
        let batch = log.read(&events(), next, ReadLimit::default(), Wait::No).await.unwrap();
        next = batch.next;
        records.extend(batch.records.into_iter().map(|stored| (stored.offset.0, stored.record)));
    }
    records
}

async fn what_was_acknowledged_is_there_after_every_kill() {
    let dir = tempfile::tempdir().unwrap();
    for kill in 0..KILLS {
        let acknowledged = write_and_kill(dir.path(), 1 + kill * 17 % 90);
        let log = EmbeddedLog::open(dir.path(), Options { check_after_crash: false, ..options() }).unwrap();
        let records = read_all(&log).await;
        assert!(records.len() as u64 > acknowledged, "{acknowledged} was acknowledged before kill {kill}");
        assert!(records.iter().zip(0..).all(|((offset, found), n)| *offset == n && *found == record(n)));
        let committed = log.committed("app.x").await.unwrap().get(&events());
        assert_eq!(committed, Some(Offset(records.len() as u64)), "the position is of the last record");
    }
}

async fn damage_is_named_by_a_process_of_its_own_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    write_and_kill(dir.path(), 400);
    let sound = EmbeddedLog::open(dir.path(), Options { check_after_crash: false, ..options() }).unwrap();
    let value = read_all(&sound).await[123].1.value.clone().unwrap();
    drop(sound);
    damage(&dir.path().join("log/data.mdb"), &value);
    let log = EmbeddedLog::open(dir.path(), options()).unwrap();
    let named = wait_for_damage(&log).await;
    assert!(mark_of(dir.path()).exists(), "the check ran in a process of its own");
    let [DamagedRange { partition, first, last, .. }] = &named[..] else { panic!("{named:?}") };
    assert_eq!((partition, *first, *last), (&events(), Offset(123), Offset(123)));
    let limit = ReadLimit::default();
    let before = log.read(&events(), Offset(100), limit, Wait::No).await.unwrap();
    assert_eq!(before.next, Offset(123), "what lies before the damage is served");
    let error = log.read(&events(), Offset(123), limit, Wait::No).await.unwrap_err();
    assert_eq!(error.kind(), LogErrorKind::Corrupt);
    assert!(error.to_string().contains("events-0@123"), "{error}");
    let after = log.read(&events(), Offset(124), limit, Wait::No).await.unwrap();
    assert_eq!(after.records[0].record, record(124));
}

async fn wait_for_damage(log: &Arc<EmbeddedLog>) -> Vec<DamagedRange> {
    let begun = Instant::now();
    while log.damage().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the check has named nothing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    log.damage()
}

/// Changes a byte in every copy of `value` in a file: old copies lie on free pages.
fn damage(file: &Path, value: &[u8]) {
    let mut data = std::fs::read(file).unwrap();
    let places: Vec<_> =
        data.windows(value.len()).enumerate().filter(|(_, w)| *w == value).map(|(i, _)| i).collect();
    assert!(!places.is_empty());
    for place in places {
        data[place + value.len() / 2] ^= 0x10;
    }
    std::fs::write(file, data).unwrap();
}
