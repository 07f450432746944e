//! Rules about reads that wait: withheld until there is more, and woken whatever the timing.

use super::future::{join_all, poll_times};
use super::ground::{Ground, Stop, Verdict, append, ensure, same, values_of};
use crate::BoxFuture;
use crate::log::{LogError, ReadBatch, ReadLimit, Wait};
use crate::topic::{Offset, TopicPartition};

/// How often a race is run.
const ROUNDS: usize = 16;

pub(super) async fn a_waiting_read_is_withheld(ground: Ground<'_>) -> Verdict {
    let at = ground.partition().await?;
    for from in [0, 1] {
        let mut read = wait(&ground, &at, ground.end(&at).await?);
        let early = ground.within_a_moment(&mut read).await;
        ensure!(early.is_none(), "a read that waits at the end {from} answered {early:?}");
        ground.append(&at, &["v"]).await?;
        woken(&ground, read, "v").await?;
    }
    let at_once = wait(&ground, &at, Offset::ZERO);
    let batch = ground.await_for("read what is there already", at_once).await?;
    ensure!(!batch.records.is_empty(), "a read of what is there already answered nothing");
    Ok(())
}

pub(super) async fn a_waiting_read_wakes_for_appends_and_commits(ground: Ground<'_>) -> Verdict {
    let at = ground.partition().await?;
    let (shards, mut writer) = ground.writer().await?;
    for n in 0..4 {
        let value = format!("v-{n}");
        let mut read = wait(&ground, &at, ground.end(&at).await?);
        withheld(&mut read, 1).await?;
        if n % 2 == 0 {
            ground.append(&at, &[&value]).await?;
        } else {
            writer.commit(shards.transaction(0, n, vec![append(&at, &value)])).await?;
        }
        woken(&ground, read, &value).await?;
    }
    Ok(())
}

pub(super) async fn no_wake_up_is_lost_in_a_race(ground: Ground<'_>) -> Verdict {
    let at = ground.partition().await?;
    for round in 0..ROUNDS {
        let value = format!("v-{round}");
        // The append comes before the read, between any two of its steps, and after it waits.
        let mut read = wait(&ground, &at, ground.end(&at).await?);
        withheld(&mut read, round % 8).await?;
        ground.append(&at, &[&value]).await?;
        woken(&ground, read, &value).await?;

        let read = wait(&ground, &at, ground.end(&at).await?);
        let append = async {
            ground.append(&at, &[&value]).await?;
            Ok::<_, Stop>(Vec::new())
        };
        let read = async { Ok(values_of(&read.await?.records)) };
        let both: [BoxFuture<'_, Result<Vec<String>, Stop>>; 2] = [Box::pin(read), Box::pin(append)];
        let both = ground.await_for("wake a read that races an append", join_all(both.into())).await;
        let read = both.into_iter().collect::<Result<Vec<_>, _>>()?.swap_remove(0);
        same("what the racing read answers", read, vec![value])?;
    }
    Ok(())
}

pub(super) async fn every_waiting_read_wakes(ground: Ground<'_>) -> Verdict {
    let two = ground.topic("two", 2).await?;
    let (at, other) = (two.partition(0), two.partition(1));
    let mut reads: Vec<_> = (0..8).map(|_| wait(&ground, &at, Offset::ZERO)).collect();
    let mut elsewhere = wait(&ground, &other, Offset::ZERO);
    for read in reads.iter_mut().chain([&mut elsewhere]) {
        withheld(read, 1).await?;
    }
    ground.append(&at, &["v"]).await?;
    let batches = ground.await_for("wake every read that waits", join_all(reads)).await;
    for batch in batches {
        same("what a woken read answers", values_of(&batch?.records), vec!["v".to_owned()])?;
    }
    let early = ground.within_a_moment(&mut elsewhere).await;
    ensure!(early.is_none(), "a read that waits in another partition answered {early:?}");
    ground.append(&other, &["w"]).await?;
    woken(&ground, elsewhere, "w").await
}

pub(super) async fn a_cancelled_read_takes_no_wake_up_along(ground: Ground<'_>) -> Verdict {
    let at = ground.partition().await?;
    for round in 0..ROUNDS {
        let value = format!("v-{round}");
        let end = ground.end(&at).await?;
        let mut reads: Vec<_> = (0..4).map(|_| wait(&ground, &at, end)).collect();
        for read in &mut reads {
            withheld(read, 1 + round % 3).await?;
        }
        let last = reads.split_off(3);
        // Some go before they are told, the others when they were told and have not looked.
        reads.truncate(round % 4);
        ground.append(&at, &[&value]).await?;
        drop(reads);
        for read in last {
            woken(&ground, read, &value).await?;
        }
    }
    Ok(())
}

type Read<'a> = BoxFuture<'a, Result<ReadBatch, LogError>>;

fn wait<'a>(ground: &'a Ground<'_>, at: &'a TopicPartition, from: Offset) -> Read<'a> {
    ground.log.read(at, from, ReadLimit::default(), Wait::UntilMore)
}

/// Polls a read that has nothing to answer yet.
async fn withheld(read: &mut Read<'_>, polls: usize) -> Verdict {
    let early = poll_times(read, polls).await;
    ensure!(early.is_none(), "a read that waits at the end answered {early:?}");
    Ok(())
}

/// Whether a read wakes, and answers one record.
async fn woken(ground: &Ground<'_>, read: Read<'_>, value: &str) -> Verdict {
    let batch = ground.await_for(&format!("wake a read that waits for {value}"), read).await?;
    same("what the woken read answers", values_of(&batch.records), vec![value.to_owned()])
}
