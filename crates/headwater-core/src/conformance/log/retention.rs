//! Rules about cleanup: what may be dropped, and how reads go over what was.

use std::collections::BTreeMap;

use super::ground::{Ground, Stop, TIME, Verdict, append, ensure, record, same, value_of};
use crate::clock::Timestamp;
use crate::log::{Bounds, Cleanup, LogErrorKind, ReadLimit, TopicSettings, Wait};
use crate::record::{Append, Record, StoredRecord};
use crate::topic::{Offset, TopicPartition};

/// Records before which nothing is dropped in most logs: enough to fill what they keep aside.
const MANY: usize = 300;

/// Older than thirty years, where most records are of 2020.
const OLD: Timestamp = Timestamp(0);

const THIRTY_YEARS_MS: u64 = 30 * 365 * 86_400_000;

pub(super) async fn expiry_drops_old_records_from_the_front(ground: Ground<'_>) -> Verdict {
    let settings = TopicSettings::kept(1).cleanup(Cleanup::Expire { after_ms: THIRTY_YEARS_MS });
    let at = ground.create("records", settings).await?.name.partition(0);
    let records = (0..MANY).map(|_| Record { timestamp: OLD, ..record("old") });
    ground.log.append(records.map(|record| Append { to: at.clone(), record }).collect()).await?;
    ground.append(&at, &["recent-1", "recent-2"]).await?;
    let before = ground.end(&at).await?;
    let cleaned = ground.clean().await;

    let Bounds { start, end } = ground.bounds(&at).await?;
    same("the end after what is old is dropped", end, before)?;
    let kept: Vec<String> = ground.records(&at).await?.iter().map(value_of).collect();
    ensure!(kept.ends_with(&["recent-1".into(), "recent-2".into()]), "recent records were dropped: {kept:?}");
    if !cleaned {
        return Err(Stop::Skip("the harness cannot make the log drop what has expired"));
    }
    same("what is kept", kept, vec!["recent-1".to_owned(), "recent-2".to_owned()])?;
    ensure!(start > Offset::ZERO && start < end, "the start is {start}, though all below was dropped");
    let below = ground.log.read(&at, Offset::ZERO, ReadLimit::default(), Wait::No).await;
    match below.map_err(|error| error.kind()) {
        Err(LogErrorKind::OutOfRange(told)) => same("the bounds told", told, Bounds { start, end }),
        other => Err(Stop::Broken(format!("reading below the start {start} answered {other:?}"))),
    }
}

pub(super) async fn compaction_keeps_the_last_record_of_each_key(ground: Ground<'_>) -> Verdict {
    let settings = TopicSettings::kept(1).cleanup(Cleanup::Compact { tombstones_ms: THIRTY_YEARS_MS });
    let at = ground.create("records", settings).await?.name.partition(0);
    let (shards, mut writer) = ground.writer().await?;
    let mut last = BTreeMap::new();
    for n in 0..MANY {
        let (key, value) = (["a", "b", "c"][n % 3], format!("v-{n}"));
        last.insert(key, put(&ground, &at, key, Some(value)).await?);
    }
    last.insert("b", put(&ground, &at, "b", None).await?);
    // What is not committed is no later record of its key, and leaves what is no record at the end.
    drop(shards.open(0).await?);
    let answer = writer.commit(shards.transaction(0, 1, vec![append(&at, "of a zombie")])).await;
    ensure!(answer.is_err(), "the commit of a fenced writer answered {answer:?}");
    let end = ground.end(&at).await?;
    let cleaned = ground.clean().await;

    same("the end after what was superseded is dropped", ground.end(&at).await?, end)?;
    let kept = ground.records(&at).await?;
    for (key, offset) in &last {
        let of_key = |stored: &&StoredRecord| stored.record.key.as_deref() == Some(key.as_bytes());
        let found = kept.iter().filter(of_key).map(|stored| stored.offset).next_back();
        same(&format!("the last record of key {key}"), found, Some(*offset))?;
    }
    for from in (0..=end.0).map(Offset) {
        let found = ground.records_from(&at, from, end, ReadLimit { records: 1, bytes: 1 }).await?;
        let expected = kept.iter().filter(|stored| stored.offset >= from).count();
        same(&format!("records from {from} on, over what was dropped"), found.len(), expected)?;
    }
    if !cleaned {
        return Err(Stop::Skip("the harness cannot make the log compact"));
    }
    ensure!(kept.len() < MANY, "nothing was dropped of {MANY} records of three keys");
    Ok(())
}

async fn put(
    ground: &Ground<'_>,
    at: &TopicPartition,
    key: &'static str,
    value: Option<String>,
) -> Result<Offset, Stop> {
    let record = Record { value: value.map(Into::into), ..Record::new(key, "", TIME) };
    let offsets = ground.log.append(vec![Append { to: at.clone(), record }]).await?;
    offsets.first().copied().ok_or_else(|| Stop::Broken("an append of one record answered no offset".into()))
}
