//! Rules about crashes: what was acknowledged survives, and nothing survives in part.

use super::future::poll_times;
use super::ground::{Ground, Shards, Verdict, append, ensure, noted, same, value_of};
use crate::log::{Cleanup, Head, TopicSettings};
use crate::record::Append;
use crate::topic::{Offset, TopicPartition};

/// What was acknowledged last when the log crashes, crash after crash: each over what the one before left.
const LAST_WORDS: [LastWord; 5] =
    [LastWord::Append, LastWord::Commit, LastWord::Create, LastWord::Alter, LastWord::Delete];

#[derive(Debug, Clone, Copy)]
enum LastWord {
    Append,
    Commit,
    Create,
    Alter,
    Delete,
}

pub(super) async fn what_was_acknowledged_survives_a_crash(mut ground: Ground<'_>) -> Verdict {
    let made = ground.create("records", TopicSettings::kept(2)).await?;
    let mut shards = ground.shards("input", 1).await?;
    let places = [made.name.partition(0), made.name.partition(1)];
    let mut story = Story { places, written: Vec::new(), head: None };
    let id = ground.log.id();
    for last in LAST_WORDS {
        let mut doomed = ground.create(&format!("doomed-{last:?}"), TopicSettings::kept(1)).await?;
        let group = shards.group.clone();
        story.go_on(&ground, shards).await?;
        let late = match last {
            LastWord::Append => story.append(&ground).await.map(|()| None)?,
            LastWord::Commit => story.commit(&ground.join(group.clone()).await?).await.map(|()| None)?,
            LastWord::Create => Some(ground.create("late", TopicSettings::kept(3)).await?),
            LastWord::Alter => {
                let settings = doomed.settings.cleanup(Cleanup::Compact { tombstones_ms: 1_000 });
                doomed = ground.log.alter(&doomed.name, settings).await?;
                None
            }
            LastWord::Delete => ground.log.delete(&doomed.name).await.map(|()| None)?,
        };
        ground = ground.crash().await?;

        same("the log's id", ground.log.id(), id)?;
        let deleted = matches!(last, LastWord::Delete);
        let kept = [Some(&made), late.as_ref(), Some(&doomed).filter(|_| !deleted)];
        for topic in kept.into_iter().flatten() {
            same("a topic after the crash", ground.log.describe(&topic.name).await?, Some(topic.clone()))?;
        }
        let gone = ground.log.describe(&doomed.name).await?.is_none();
        same("the topic deleted before the crash is gone", gone, deleted)?;
        shards = ground.join(group).await?;
        story.is_told(&ground, &shards).await?;
    }
    Ok(())
}

/// What was acknowledged so far.
struct Story {
    places: [TopicPartition; 2],
    written: Vec<(Vec<Offset>, String)>,
    head: Option<Head>,
}

impl Story {
    /// One of each, and the shards are let go.
    async fn go_on(&mut self, ground: &Ground<'_>, shards: Shards) -> Verdict {
        self.append(ground).await?;
        self.commit(&shards).await
    }

    async fn append(&mut self, ground: &Ground<'_>) -> Verdict {
        let value = format!("v-{}", self.written.len());
        let offsets = ground.log.append(self.records(&value)).await?;
        self.written.push((offsets, value));
        Ok(())
    }

    async fn commit(&mut self, shards: &Shards) -> Verdict {
        let next = self.written.len() as u64;
        let value = format!("v-{next}");
        let transaction = noted(shards.transaction(0, next, self.records(&value)), &value);
        let head = Head { positions: transaction.positions.clone(), note: transaction.note.clone() };
        let offsets = shards.open(0).await?.writer.commit(transaction).await?;
        self.written.push((offsets, value));
        self.head = Some(head);
        Ok(())
    }

    fn records(&self, value: &str) -> Vec<Append> {
        self.places.iter().map(|at| append(at, value)).collect()
    }

    /// Whether the log still tells it.
    async fn is_told(&self, ground: &Ground<'_>, shards: &Shards) -> Verdict {
        for (index, at) in self.places.iter().enumerate() {
            let found: Vec<_> = ground.records(at).await?.iter().map(|s| (s.offset, value_of(s))).collect();
            let written = self.written.iter().map(|(offsets, value)| (offsets[index], value.clone()));
            same(&format!("what lies in {at} after a crash"), found, written.collect())?;
        }
        same("the head after a crash", shards.head(0).await?, self.head.clone())?;
        let committed = ground.log.committed(&shards.group.name).await?;
        let expected = self.head.clone().unwrap_or_default().positions;
        same("the group's positions after a crash", committed, expected)
    }
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
