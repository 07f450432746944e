//! Rules about transactions: whole or not at all, with their positions inside.

use super::Fault;
use super::future::{join_all, poll_times};
use super::ground::{Ground, Shards, Stop, Verdict, append, appends, ensure, noted, same};
use crate::log::{CommitError, Group, Head, LogErrorKind, Transaction, Writer};
use crate::position::Position;
use crate::topic::{Offset, TopicPartition};

/// Looks taken at a log while it commits.
const LOOKS: usize = 12;

pub(super) async fn a_transaction_spans_topics_and_partitions(ground: Ground<'_>) -> Verdict {
    let (shards, mut writer) = ground.writer().await?;
    let (one, two) = (ground.topic("one", 2).await?, ground.topic("two", 1).await?);
    let places = [one.partition(1), two.partition(0), one.partition(0), one.partition(1), two.partition(0)];
    let mut values = vec![Vec::new(); places.len()];
    for round in 0..3 {
        let records = places.iter().enumerate().map(|(n, at)| append(at, &format!("{round}-{n}")));
        let offsets = writer.commit(shards.transaction(0, round, records.collect())).await?;
        same("how many offsets", offsets.len(), places.len())?;
        for (n, at) in places.iter().enumerate() {
            let stored = ground.records(at).await?.into_iter().find(|stored| stored.offset == offsets[n]);
            let value = stored.and_then(|stored| stored.record.value);
            same(&format!("record {n} at {at} {}", offsets[n]), value, Some(format!("{round}-{n}").into()))?;
        }
        values.iter_mut().enumerate().for_each(|(n, values)| values.push(format!("{round}-{n}")));
    }
    // Records of one partition keep the order in which they were given.
    let interleaved: Vec<String> = (0..3).flat_map(|round| [0, 3].map(|n| format!("{round}-{n}"))).collect();
    same("the order in one partition", ground.values(&one.partition(1)).await?, interleaved)
}

pub(super) async fn a_transaction_is_seen_whole_or_not_at_all(ground: Ground<'_>) -> Verdict {
    let (shards, mut writer) = ground.writer().await?;
    let (one, two) = (ground.topic("one", 1).await?.partition(0), ground.topic("two", 1).await?.partition(0));
    for round in 1..=4 {
        let value = format!("v-{round}");
        let records = vec![append(&one, &value), append(&two, &value), append(&one, &value)];
        let mut commit = writer.commit(shards.transaction(0, round, records));
        for _ in 0..LOOKS {
            let answer = poll_times(&mut commit, 1).await;
            whole(&ground, &one, &two, &value).await?;
            if let Some(answer) = answer {
                same("how many offsets", answer?.len(), 3)?;
                break;
            }
        }
    }
    Ok(())
}

/// Looks at one partition, the other, and the first again: what the middle look sees, the last must, and what the first
/// sees, the middle must.
async fn whole(ground: &Ground<'_>, one: &TopicPartition, two: &TopicPartition, value: &str) -> Verdict {
    let mut seen = Vec::new();
    for (at, in_all) in [(one, 2), (two, 1), (one, 2)] {
        let count = ground.values(at).await?.iter().filter(|found| *found == value).count();
        ensure!(
            count == 0 || count == in_all,
            "{count} of {in_all} records of a transaction are seen in {at}"
        );
        seen.push(count > 0);
    }
    ensure!(seen.is_sorted(), "a transaction was seen in one partition and not in another");
    Ok(())
}

pub(super) async fn what_is_not_committed_is_never_read(ground: Ground<'_>) -> Verdict {
    let (shards, mut writer) = ground.writer().await?;
    let at = ground.partition().await?;
    let nowhere = ground.topic_name("nowhere")?.partition(0);
    for round in 1..=4 {
        let refused = shards.transaction(0, round, vec![append(&at, "refused"), append(&nowhere, "refused")]);
        let mut commit = writer.commit(refused);
        for _ in 0..LOOKS {
            let answer = poll_times(&mut commit, 1).await;
            let seen = ground.values(&at).await?;
            ensure!(seen.is_empty(), "a record was read of a transaction that never committed");
            if answer.is_some() {
                break;
            }
        }
    }
    Ok(())
}

pub(super) async fn a_refused_transaction_leaves_nothing(ground: Ground<'_>) -> Verdict {
    let (shards, mut writer) = ground.writer().await?;
    let topic = ground.topic("records", 2).await?;
    let places = [topic.partition(0), topic.partition(1)];
    let nowhere = ground.topic_name("nowhere")?.partition(0);
    let mut next = 1;
    for bad in [&nowhere, &topic.partition(2)] {
        let kept = noted(shards.transaction(0, next, appends(&places[0], &["kept"])), "kept");
        writer.commit(kept.clone()).await?;
        let records = [&places[0], &places[1], bad].map(|at| append(at, "refused")).to_vec();
        let refused = noted(shards.transaction(0, next + 100, records), "refused");
        let answer = writer.commit(refused).await;
        let for_good = matches!(answer, Err(CommitError::NotWritten { retry: false, .. }));
        ensure!(for_good, "a transaction to {bad}, which is not there, answered {answer:?}");
        nothing_left(&ground, &shards, &places, &kept).await?;
        // Looking at the head has fenced the writer.
        writer = shards.open(0).await?.writer;
        next += 1;
    }
    let kept = noted(shards.transaction(0, next, appends(&places[0], &["kept"])), "kept");
    writer.commit(kept.clone()).await?;
    if ground.inject(Fault::CommitNotWritten) {
        let refused = noted(shards.transaction(0, next + 100, appends(&places[1], &["refused"])), "refused");
        let answer = writer.commit(refused).await;
        ensure!(
            matches!(answer, Err(CommitError::NotWritten { .. })),
            "expected not written, got {answer:?}"
        );
        // The writer lives.
        writer.commit(kept.clone()).await?;
    }
    nothing_left(&ground, &shards, &places, &kept).await
}

async fn nothing_left(
    ground: &Ground<'_>,
    shards: &Shards,
    places: &[TopicPartition],
    last: &Transaction,
) -> Verdict {
    for at in places {
        let refused = ground.values(at).await?.contains(&"refused".to_owned());
        ensure!(!refused, "a record of a refused transaction lies in {at}");
    }
    let committed = ground.log.committed(&shards.group.name).await?;
    same("the positions after a refused transaction", committed, last.positions.clone())?;
    let head = Head { positions: last.positions.clone(), note: last.note.clone() };
    same("the head after a refused transaction", shards.head(0).await?, Some(head))
}

pub(super) async fn a_transaction_needs_a_position(ground: Ground<'_>) -> Verdict {
    let (shards, mut writer) = ground.writer().await?;
    let at = ground.partition().await?;
    let records = appends(&at, &["v"]);
    let answer = writer.commit(Transaction { appends: records.clone(), ..Transaction::default() }).await;
    match answer {
        Err(CommitError::NotWritten { retry: false, error }) => {
            same("the error", error.kind(), LogErrorKind::Invalid)?;
        }
        other => return Err(Stop::Broken(format!("a transaction without a position answered {other:?}"))),
    }
    same("what it left", ground.values(&at).await?, Vec::<String>::new())?;
    writer.commit(shards.transaction(0, 1, records)).await?;
    same("what its writer wrote next", ground.values(&at).await?, vec!["v".to_owned()])
}

pub(super) async fn the_head_is_of_the_last_transaction(ground: Ground<'_>) -> Verdict {
    let shards = ground.shards("input", 2).await?;
    same("the head before the first transaction", shards.head(0).await?, None)?;
    let long = "note".repeat(5_000);
    for (next, note) in [(1, "first"), (2, ""), (7, long.as_str()), (7, "last")] {
        let transaction = noted(shards.transaction(0, next, vec![]), note);
        shards.open(0).await?.writer.commit(transaction.clone()).await?;
        let expected = Head { positions: transaction.positions, note: transaction.note };
        same("the head read back", shards.head(0).await?, Some(expected))?;
        same("the head of another shard", shards.head(1).await?, None)?;
    }
    Ok(())
}

pub(super) async fn the_head_keeps_earlier_positions(ground: Ground<'_>) -> Verdict {
    let (shards, mut writer) = ground.writer().await?;
    let topic = ground.topic("others", 3).await?;
    let mut expected = Position::new();
    for (next, partition) in [(1, 0), (5, 1), (6, 0), (9, 2)] {
        let mut transaction = shards.transaction(0, next, vec![]);
        transaction.positions = Position::from_iter([(topic.partition(partition), Offset(next))]);
        expected.set(topic.partition(partition), Offset(next));
        writer.commit(transaction).await?;
    }
    let head = shards.head(0).await?.unwrap_or_default();
    same("the positions in the head", head.positions, expected.clone())?;
    same("the group's positions", ground.log.committed(&shards.group.name).await?, expected)
}

pub(super) async fn committed_covers_every_shard_of_one_group(ground: Ground<'_>) -> Verdict {
    let shards = ground.shards("input", 3).await?;
    let other = Group { name: ground.name("other-group"), ..shards.group.clone() };
    same("before the first commit", ground.log.committed(&other.name).await?, Position::new())?;
    let other = ground.join(other).await?;
    for (group, step) in [(&shards, 10), (&other, 20)] {
        for shard in 0..3 {
            let mut opened = group.open(shard).await?;
            same("the head before the shard's first commit", opened.head, None)?;
            opened.writer.commit(group.transaction(shard, step + u64::from(shard), vec![])).await?;
        }
    }
    for (group, step) in [(&shards, 10), (&other, 20)] {
        let all = (0..3).map(|shard| (group.input(shard), Offset(step + u64::from(shard))));
        let committed = ground.log.committed(&group.group.name).await?;
        same(&format!("the positions of {}", group.group.name), committed, all.collect())?;
    }
    Ok(())
}

pub(super) async fn shards_commit_side_by_side(ground: Ground<'_>) -> Verdict {
    let shards = ground.shards("input", 4).await?;
    let at = ground.partition().await?;
    let mut writers: Vec<Box<dyn Writer>> = Vec::new();
    for shard in 0..4 {
        writers.push(shards.open(shard).await?.writer);
    }
    for round in 1..=10 {
        let commits = writers.iter_mut().zip(0..).map(|(writer, shard)| {
            let value = format!("{round}-{shard}");
            writer.commit(shards.transaction(shard, round, appends(&at, &[&value, &value])))
        });
        let commits = commits.collect();
        let answers = ground.await_for("answer commits side by side", join_all(commits)).await;
        answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    }
    let mut values = ground.values(&at).await?;
    values.sort();
    let mut expected: Vec<String> = (1..=10)
        .flat_map(|round| {
            (0..4).flat_map(move |shard| [format!("{round}-{shard}"), format!("{round}-{shard}")])
        })
        .collect();
    expected.sort();
    same("what four shards committed", values, expected)
}
