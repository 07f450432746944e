//! Rules about crashes: what was acknowledged survives, and nothing survives in part.

use super::future::poll_times;
use super::ground::{Ground, Verdict, append, ensure, noted, same};
use crate::log::{Head, TopicSettings};
use crate::topic::TopicPartition;

/// Crashes in a row: the second is over what the first one left.
const CRASHES: usize = 3;

pub(super) async fn what_was_acknowledged_survives_a_crash(mut ground: Ground<'_>) -> Verdict {
    let made = ground.create("records", TopicSettings::kept(2)).await?;
    let places = [made.name.partition(0), made.name.partition(1)];
    let id = ground.log.id();
    let mut written = [Vec::new(), Vec::new()];
    let mut group = None;
    for round in 0..CRASHES {
        let shards = match group.take() {
            None => ground.shards("input", 1).await?,
            Some(group) => ground.join(group).await?,
        };
        let mut writer = shards.open(0).await?.writer;
        let doomed = ground.topic(&format!("doomed-{round}"), 1).await?;
        ground.log.delete(&doomed).await?;
        for n in 0..4u64 {
            let value = format!("{round}-{n}");
            let records: Vec<_> = places.iter().map(|at| append(at, &value)).collect();
            let offsets = if n % 2 == 0 {
                ground.log.append(records).await?
            } else {
                let next = 10 * round as u64 + n;
                writer.commit(noted(shards.transaction(0, next, records), &value)).await?
            };
            for (written, offset) in written.iter_mut().zip(offsets) {
                written.push((offset, value.clone()));
            }
        }
        let last = shards.transaction(0, 10 * round as u64 + 3, vec![]);
        let (input, shard_group) = (shards.input(0), shards.group.clone());
        drop((writer, shards));
        ground = ground.crash().await?;

        same("the log's id", ground.log.id(), id)?;
        same("the topic", ground.log.describe(&made.name).await?, Some(made.clone()))?;
        same("the topic deleted before the crash", ground.log.describe(&doomed).await?, None)?;
        for (at, written) in places.iter().zip(&written) {
            let found =
                ground.records(at).await?.iter().map(|s| (s.offset, super::ground::value_of(s))).collect();
            same(&format!("what lies in {at}"), found, written.clone())?;
        }
        let shards = ground.join(shard_group.clone()).await?;
        let head = Head { positions: last.positions.clone(), note: format!("{round}-3").into() };
        same("the head", shards.head(0).await?, Some(head))?;
        let committed = ground.log.committed(&shard_group.name).await?;
        same("the group's position", committed.get(&input), last.positions.get(&input))?;
        drop(shards);
        group = Some(shard_group);
    }
    Ok(())
}

pub(super) async fn a_crash_leaves_whole_transactions(mut ground: Ground<'_>) -> Verdict {
    let topic = ground.topic("records", 2).await?;
    let places = [topic.partition(0), topic.partition(1)];
    let mut shards = ground.shards("input", 1).await?;
    let mut written = Vec::new();
    for round in 0..6u64 {
        let value = format!("v-{round}");
        let mut writer = shards.open(0).await?.writer;
        let records = places.iter().map(|at| append(at, &value)).collect();
        let mut commit = writer.commit(noted(shards.transaction(0, 1 + round, records), &value));
        let acknowledged = matches!(poll_times(&mut commit, round as usize % 4).await, Some(Ok(_)));
        let group = shards.group.clone();
        drop((commit, writer, shards));
        ground = ground.crash().await?;

        shards = ground.join(group).await?;
        let head = shards.head(0).await?.unwrap_or_default();
        let survived = head.note == value;
        ensure!(survived || !acknowledged, "an acknowledged transaction is gone after a crash");
        if survived {
            same(
                "the position beside the note",
                head.positions,
                shards.transaction(0, 1 + round, vec![]).positions,
            )?;
            written.push(value);
        }
        all_in_both(&ground, &places, &written).await?;
    }
    Ok(())
}

async fn all_in_both(ground: &Ground<'_>, places: &[TopicPartition], written: &[String]) -> Verdict {
    for at in places {
        same(&format!("the head, and the records in {at}"), ground.values(at).await?, written.to_vec())?;
    }
    Ok(())
}
