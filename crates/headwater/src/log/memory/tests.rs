use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use headwater_core::log::{Claim, Cleanup, CommitError, ShardChange, Transaction};
use headwater_core::record::Record;

use super::*;

const GROUP: &str = "shop.orders";

/// Drives a future that must not need to wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the future waits"),
    }
}

fn topic() -> TopicName {
    TopicName::new("shop.orders.events").unwrap()
}

fn log(settings: TopicSettings) -> MemoryLog {
    let log = MemoryLog::new(MemoryOptions::default());
    now(log.create(&topic(), settings)).unwrap();
    log
}

fn join(log: &MemoryLog) -> Box<dyn Membership> {
    now(log.join(&Group { name: GROUP.into(), shards: 2, topic: topic() })).unwrap()
}

fn change(member: &mut dyn Membership) -> ShardChange {
    now(member.next()).unwrap()
}

fn gained(member: &mut dyn Membership) -> (Partition, Box<dyn Claim>) {
    match change(member) {
        ShardChange::Gained(shard, claim) => (shard, claim),
        other => panic!("{other:?}"),
    }
}

fn append(key: &str, value: Option<&str>, time: i64) -> Append {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    Append {
        to: topic().partition(0),
        record: Record { value, ..Record::new(key.to_owned(), "", Timestamp(time)) },
    }
}

fn transaction(key: &str) -> Transaction {
    let positions = [(topic().partition(0), Offset(1))].into_iter().collect();
    Transaction { appends: vec![append(key, Some("v"), 0)], positions, note: Bytes::new() }
}

fn read(log: &MemoryLog, from: u64) -> ReadBatch {
    try_read(log, from).unwrap()
}

fn try_read(log: &MemoryLog, from: u64) -> Result<ReadBatch, LogError> {
    now(log.read(&topic().partition(0), Offset(from), ReadLimit::default(), Wait::No))
}

#[test]
fn shards_move_when_members_join_and_leave() {
    let log = log(TopicSettings::kept(2));
    let mut first = join(&log);
    let (_, claims) = (gained(&mut *first), gained(&mut *first));
    let mut second = join(&log);
    assert!(matches!(change(&mut *first), ShardChange::Revoked(Partition(1))));
    let writer = now(claims.1.open()).unwrap().writer;
    drop(claims);
    assert!(std::pin::pin!(second.next()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(writer);
    assert_eq!(gained(&mut *second).0, Partition(1));
    now(second.leave()).unwrap();
    assert_eq!(gained(&mut *first).0, Partition(1));
}

#[test]
fn a_lost_shard_fences_its_old_claim() {
    let log = log(TopicSettings::kept(2));
    let mut first = join(&log);
    let (_, stale) = gained(&mut *first);
    gained(&mut *first);
    let mut second = join(&log);
    assert!(log.lose(GROUP, Partition(0)));
    assert_eq!(now(stale.open()).unwrap_err().kind(), LogErrorKind::Fenced);
    let (_, claim) = gained(&mut *second);
    now(claim.open()).unwrap();
}

#[test]
fn a_crash_closes_handles_and_fences_writers_and_keeps_what_was_acknowledged() {
    let log = log(TopicSettings::kept(2));
    let mut member = join(&log);
    let (_, claim) = gained(&mut *member);
    let mut writer = now(claim.open()).unwrap().writer;
    now(writer.commit(transaction("a"))).unwrap();
    let reopened = log.crash();
    assert!(matches!(now(writer.commit(transaction("b"))), Err(CommitError::Fenced)));
    assert_eq!(now(log.topics()).unwrap_err().kind(), LogErrorKind::Closed);
    assert_eq!(now(member.next()).unwrap_err().kind(), LogErrorKind::Closed);
    assert_eq!(read(&reopened, 0).records.len(), 1);
    assert_eq!(reopened.id(), log.id());
    assert_eq!(now(reopened.committed(GROUP)).unwrap(), transaction("a").positions);
}

#[test]
fn compaction_leaves_gaps_that_reads_move_over() {
    let log = log(TopicSettings::kept(1).cleanup(Cleanup::Compact { tombstones_ms: 0 }));
    let history = [("a", Some("1")), ("b", Some("1")), ("a", Some("2")), ("b", None)];
    let appends = history.map(|(key, value)| append(key, value, 0)).to_vec();
    now(log.append(appends)).unwrap();
    log.clean();
    let batch = read(&log, 0);
    let offsets: Vec<u64> = batch.records.iter().map(|stored| stored.offset.0).collect();
    assert_eq!((offsets, batch.next), (vec![2], Offset(4)));
    assert_eq!((read(&log, 3).records.len(), read(&log, 3).next), (0, Offset(4)));
}

#[test]
fn a_damaged_record_is_named_and_never_served() {
    let log = log(TopicSettings::kept(1));
    now(log.append(vec![append("a", None, 0), append("b", None, 0)])).unwrap();
    log.damage(&topic().partition(0), Offset(1)).unwrap();
    assert_eq!(read(&log, 0).next, Offset(1));
    assert_eq!(try_read(&log, 1).unwrap_err().kind(), LogErrorKind::Corrupt);
}
