//! Rules about the one writer of a shard: fencing, and settling what an earlier one left.

use std::collections::BTreeSet;

use super::Fault;
use super::future::poll_times;
use super::ground::{Ground, Shards, Stop, Verdict, append, appends, ensure, noted, same};
use crate::log::{CommitError, Group, Writer};
use crate::topic::TopicPartition;

pub(super) async fn opening_fences_every_earlier_writer(ground: Ground<'_>) -> Verdict {
    let (shards, mut committed) = ground.writer().await?;
    let at = ground.partition().await?;
    committed.commit(shards.transaction(0, 1, appends(&at, &["first"]))).await?;
    let mut idle = shards.open(0).await?.writer;
    let mut newest = shards.open(0).await?.writer;
    // Before the newest has committed anything, and after.
    fenced(&mut committed, &shards, &at).await?;
    fenced(&mut idle, &shards, &at).await?;
    newest.commit(shards.transaction(0, 2, appends(&at, &["second"]))).await?;
    fenced(&mut committed, &shards, &at).await?;
    fenced(&mut idle, &shards, &at).await?;
    newest.commit(shards.transaction(0, 3, appends(&at, &["third"]))).await?;
    let expected = ["first", "second", "third"].map(str::to_owned);
    same("the records", ground.values(&at).await?, expected.to_vec())
}

pub(super) async fn a_fenced_writer_stays_fenced(ground: Ground<'_>) -> Verdict {
    let (shards, mut zombie) = ground.writer().await?;
    let at = ground.partition().await?;
    drop(shards.open(0).await?);
    for _ in 0..3 {
        fenced(&mut zombie, &shards, &at).await?;
    }
    shards.open(0).await?.writer.commit(shards.transaction(0, 1, vec![])).await?;
    fenced(&mut zombie, &shards, &at).await?;
    same("the records", ground.values(&at).await?, Vec::<String>::new())
}

pub(super) async fn fencing_leaves_other_shards_alone(ground: Ground<'_>) -> Verdict {
    let shards = ground.shards("input", 2).await?;
    let other = ground.join(Group { name: ground.name("other-group"), ..shards.group.clone() }).await?;
    let mut neighbour = shards.open(1).await?.writer;
    let mut namesake = other.open(0).await?.writer;
    for next in 1..=3 {
        shards.open(0).await?.writer.commit(shards.transaction(0, next, vec![])).await?;
        neighbour.commit(shards.transaction(1, next, vec![])).await?;
        namesake.commit(other.transaction(0, next, vec![])).await?;
    }
    Ok(())
}

async fn fenced(writer: &mut Box<dyn Writer>, shards: &Shards, at: &TopicPartition) -> Verdict {
    let answer = writer.commit(shards.transaction(0, 99, appends(at, &["of a zombie"]))).await;
    ensure!(matches!(answer, Err(CommitError::Fenced)), "the commit of a fenced writer answered {answer:?}");
    Ok(())
}

pub(super) async fn a_zombie_writes_nothing_after_the_opening(ground: Ground<'_>) -> Verdict {
    let (shards, mut writer) = ground.writer().await?;
    let at = ground.partition().await?;
    for round in 0..12 {
        let value = format!("v-{round}");
        let mut in_flight =
            writer.commit(noted(shards.transaction(0, round, appends(&at, &[&value])), &value));
        let early = poll_times(&mut in_flight, round as usize % 4).await;
        let opened = shards.open(0).await?;
        let settled = ground.values(&at).await?;
        let late = match early {
            Some(answer) => answer,
            None => ground.await_for("answer a commit that was fenced", in_flight).await,
        };
        ground.moment().await;

        same("the records, a moment after the opening", ground.values(&at).await?, settled.clone())?;
        let there = settled.contains(&value);
        let in_head = opened.head.is_some_and(|head| head.note == value);
        same("the record is there, and the head says so", (there, in_head), (there, there))?;
        let agrees = match &late {
            Ok(_) => there,
            Err(CommitError::Unknown(_)) => true,
            Err(_) => !there,
        };
        ensure!(agrees, "the commit answered {late:?}, and whether its record is there: {there}");
        writer = opened.writer;
    }
    Ok(())
}

pub(super) async fn opening_settles_what_is_unknown(ground: Ground<'_>) -> Verdict {
    let shards = ground.shards("input", 1).await?;
    let topic = ground.topic("records", 2).await?;
    let places = [topic.partition(0), topic.partition(1)];
    let mut expected = Vec::new();
    for round in 0..16 {
        let value = format!("v-{round}");
        let records = places.iter().map(|at| append(at, &value)).collect();
        let mut writer = shards.open(0).await?.writer;
        // Half of them unknown by the log's answer, where it can be had; the others because nobody waits for it.
        let injected = round % 2 == 0 && ground.inject(Fault::CommitUnknown);
        let mut commit = writer.commit(noted(shards.transaction(0, 1 + round, records), &value));
        if injected {
            let answer = ground.await_for("answer that the outcome is unknown", commit).await;
            ensure!(matches!(answer, Err(CommitError::Unknown(_))), "expected unknown, got {answer:?}");
        } else {
            poll_times(&mut commit, round as usize / 2 % 5).await;
            drop(commit);
        }
        drop(writer);

        let head = shards.head(0).await?.unwrap_or_default();
        if head.note == value {
            let position = head.positions.get(&shards.input(0));
            same("the position beside the note", position.map(|next| next.0), Some(1 + round))?;
            expected.push(value);
        }
        for at in &places {
            same(&format!("the head, and the records in {at}"), ground.values(at).await?, expected.clone())?;
        }
    }
    ground.moment().await;
    for at in &places {
        same(&format!("the records in {at}, later"), ground.values(at).await?, expected.clone())?;
    }
    Ok(())
}

pub(super) async fn an_unknown_commit_ends_its_writer(ground: Ground<'_>) -> Verdict {
    let (shards, mut writer) = ground.writer().await?;
    let at = ground.partition().await?;
    if !ground.inject(Fault::CommitUnknown) {
        return Err(Stop::Skip("the harness cannot make a commit's outcome unknown"));
    }
    let answer = writer.commit(shards.transaction(0, 1, appends(&at, &["unknown"]))).await;
    ensure!(matches!(answer, Err(CommitError::Unknown(_))), "expected unknown, got {answer:?}");
    for _ in 0..2 {
        fenced(&mut writer, &shards, &at).await?;
    }
    let mut next = shards.open(0).await?.writer;
    fenced(&mut writer, &shards, &at).await?;
    next.commit(shards.transaction(0, 2, appends(&at, &["known"]))).await?;
    let found: BTreeSet<String> = ground.values(&at).await?.into_iter().collect();
    let possible = BTreeSet::from(["unknown".to_owned(), "known".to_owned()]);
    ensure!(found.contains("known") && found.is_subset(&possible), "the records are {found:?}");
    Ok(())
}
