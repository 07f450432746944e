//! Members, claims, fencing.

use std::time::Duration;

use headwater_core::log::{CommitError, LogErrorKind, Membership};
use tokio::time::timeout;

use super::*;

async fn log_with_events(dir: &Path) -> Arc<EmbeddedLog> {
    let log = open(dir);
    create(&log, "events", TopicSettings::kept(3)).await;
    log
}

async fn gain(member: &mut Box<dyn Membership>) -> (u32, Box<dyn headwater_core::log::Claim>) {
    match timeout(Duration::from_secs(60), member.next()).await.unwrap().unwrap() {
        ShardChange::Gained(shard, claim) => (shard.0, claim),
        other => panic!("expected a gain, not {other:?}"),
    }
}

#[tokio::test]
async fn a_shard_goes_on_when_its_claim_and_writer_are_dropped_or_its_member_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let log = log_with_events(dir.path()).await;
    let mut first = log.join(&group("app.x", 2)).await.unwrap();
    let (zero, one) = (gain(&mut first).await.1, gain(&mut first).await.1);
    let writer = one.open().await.unwrap().writer;
    let mut second = log.join(&group("app.x", 2)).await.unwrap();
    assert!(matches!(first.next().await.unwrap(), ShardChange::Revoked(shard) if shard.0 == 1));
    drop(one);
    assert!(timeout(Duration::from_millis(20), second.next()).await.is_err(), "its writer is still there");
    drop(writer);
    assert_eq!(gain(&mut second).await.0, 1);
    first.leave().await.unwrap();
    assert_eq!(gain(&mut second).await.0, 0);
    assert_eq!(zero.open().await.unwrap_err().kind(), LogErrorKind::Fenced);
    let other_count = log.join(&group("app.x", 4)).await.err().unwrap();
    assert_eq!(other_count.kind(), LogErrorKind::Invalid);
    log.close();
    assert_eq!(second.next().await.unwrap_err().kind(), LogErrorKind::Closed);
}

#[tokio::test]
async fn opening_a_writer_fences_every_earlier_one_of_the_shard_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let log = log_with_events(dir.path()).await;
    let mut member = log.join(&group("app.x", 2)).await.unwrap();
    let (zero, one) = (gain(&mut member).await.1, gain(&mut member).await.1);
    let events = at("events", 0);
    let commit = async |writer: &mut Box<dyn Writer>, n| {
        let records = vec![append(&events, n, 10)];
        writer.commit(transaction(records, (&events, n), "note")).await
    };
    let mut old = zero.open().await.unwrap().writer;
    let mut other = one.open().await.unwrap().writer;
    commit(&mut old, 0).await.unwrap();
    let Opened { writer: mut new, head } = zero.open().await.unwrap();
    assert_eq!(head.unwrap().positions.get(&events), Some(Offset(0)));
    assert!(matches!(commit(&mut old, 7).await, Err(CommitError::Fenced)));
    assert!(matches!(commit(&mut old, 7).await, Err(CommitError::Fenced)), "a dead writer stays dead");
    commit(&mut new, 1).await.unwrap();
    commit(&mut other, 2).await.unwrap();
    let values: Vec<_> = read_all(&log, &events).await.into_iter().map(|(_, r)| r).collect();
    assert_eq!(values, [record(0, 10), record(1, 10), record(2, 10)]);
}

/// Two tasks race for a shard: what the log holds is an interleaving in which
/// each commit follows the head that its writer was opened with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_writers_never_both_commit_on_top_of_the_same_head() {
    let dir = tempfile::tempdir().unwrap();
    let log = log_with_events(dir.path()).await;
    let events = at("events", 0);
    let mut member = log.join(&group("app.x", 1)).await.unwrap();
    let claim: Arc<dyn headwater_core::log::Claim> = gain(&mut member).await.1.into();
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let (claim, events) = (claim.clone(), events.clone());
            tokio::spawn(async move {
                let mut committed = 0;
                while committed < 60 {
                    let Opened { mut writer, head } = claim.open().await.unwrap();
                    let mut next = head.map_or(0, |h| h.positions.get(&events).unwrap_or_default().0);
                    for _ in 0..5 {
                        let records = vec![append(&events, next, 20)];
                        match writer.commit(transaction(records, (&events, next + 1), "")).await {
                            Ok(offsets) => assert_eq!(offsets, [Offset(next)]),
                            Err(CommitError::Fenced) => break,
                            Err(error) => panic!("{error}"),
                        }
                        (next, committed) = (next + 1, committed + 1);
                    }
                }
                committed
            })
        })
        .collect();
    let mut committed = 0;
    for task in tasks {
        committed += task.await.unwrap();
    }
    let read = read_all(&log, &events).await;
    assert_eq!(read.len() as u64, committed);
    assert!(read.iter().all(|(offset, found)| *found == record(*offset, 20)));
}
