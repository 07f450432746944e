//! Rules about appends outside transactions.

use std::collections::BTreeSet;

use super::Fault;
use super::future::{join_all, poll_times};
use super::ground::{Ground, Stop, Verdict, append, appends, ensure, same, values_of};
use crate::log::AppendError;
use crate::topic::TopicPartition;

pub(super) async fn appends_are_answered_with_their_offsets(ground: Ground<'_>) -> Verdict {
    let topic = ground.topic("records", 3).await?;
    let order = [2, 0, 0, 1, 2, 0, 1];
    let places: Vec<TopicPartition> = order.iter().map(|partition| topic.partition(*partition)).collect();
    for round in 0..3 {
        let values: Vec<String> = (0..order.len()).map(|n| format!("{round}-{n}")).collect();
        let records = places.iter().zip(&values).map(|(at, value)| append(at, value)).collect();
        let offsets = ground.log.append(records).await?;
        same("how many offsets", offsets.len(), order.len())?;
        for ((at, offset), value) in places.iter().zip(offsets).zip(values) {
            let found = ground.records(at).await?.into_iter().filter(|stored| stored.offset == offset);
            same(
                &format!("the record at {at} {offset}"),
                values_of(&found.collect::<Vec<_>>()),
                vec![value],
            )?;
        }
    }
    Ok(())
}

pub(super) async fn an_append_is_whole_or_not_at_all(ground: Ground<'_>) -> Verdict {
    let topic = ground.topic("records", 2).await?;
    let (first, second) = (topic.partition(0), topic.partition(1));
    let nowhere = ground.topic_name("nowhere")?.partition(0);
    for bad in [&nowhere, &topic.partition(2)] {
        let refused = ["a", "b"].map(|value| append(&first, value)).into_iter().chain([append(bad, "c")]);
        let answer = ground.log.append(refused.collect()).await;
        let not_written = matches!(answer, Err(AppendError::NotWritten(_)));
        ensure!(
            not_written,
            "an append of which a part goes to {bad}, which is not there, answered {answer:?}"
        );
        same("what a refused append left", ground.values(&first).await?, Vec::<String>::new())?;
    }
    if ground.inject(Fault::AppendNotWritten) {
        let answer = ground.log.append(appends(&first, &["d"])).await;
        ensure!(matches!(answer, Err(AppendError::NotWritten(_))), "expected not written, got {answer:?}");
        same("what a refused append left", ground.values(&first).await?, Vec::<String>::new())?;
    }
    for n in 0..8 {
        if !ground.inject(Fault::AppendUnknown) {
            break;
        }
        let value = format!("unknown-{n}");
        let answer = ground.log.append(vec![append(&first, &value), append(&second, &value)]).await;
        ensure!(matches!(answer, Err(AppendError::Unknown(_))), "expected unknown, got {answer:?}");
        same("both halves", has(&ground, &first, &value).await?, has(&ground, &second, &value).await?)?;
    }
    Ok(())
}

pub(super) async fn appends_run_side_by_side(ground: Ground<'_>) -> Verdict {
    let topic = ground.topic("records", 2).await?;
    let both = [topic.partition(0), topic.partition(1)];
    let values: Vec<String> = (0..64).map(|n| format!("v-{n}")).collect();
    let calls =
        values.iter().map(|value| ground.log.append(both.iter().map(|at| append(at, value)).collect()));
    let answers = ground.await_for("answer appends side by side", join_all(calls.collect())).await;
    let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    for (index, at) in both.iter().enumerate() {
        let told: BTreeSet<_> =
            answers.iter().zip(&values).map(|(offsets, value)| (offsets[index], value.clone())).collect();
        let found = ground.records(at).await?;
        let found: BTreeSet<_> = found.iter().map(|stored| stored.offset).zip(values_of(&found)).collect();
        same(&format!("what lies in {at}"), found, told)?;
    }
    Ok(())
}

pub(super) async fn an_append_without_an_answer_is_whole_or_not_at_all(ground: Ground<'_>) -> Verdict {
    let topic = ground.topic("records", 2).await?;
    let (first, second) = (topic.partition(0), topic.partition(1));
    for polls in 0..6 {
        let value = format!("v-{polls}");
        let mut call = ground.log.append(vec![append(&first, &value), append(&second, &value)]);
        let answer = poll_times(&mut call, polls).await;
        drop(call);
        // Whatever the dropped call still does, it does in this moment.
        ground.moment().await;
        let there = has(&ground, &first, &value).await?;
        same("both halves of an append without an answer", has(&ground, &second, &value).await?, there)?;
        ensure!(there || !matches!(answer, Some(Ok(_))), "an acknowledged append is not there");
    }
    Ok(())
}

pub(super) async fn bounds_cover_what_was_acknowledged(ground: Ground<'_>) -> Verdict {
    let at = ground.partition().await?;
    let (shards, mut writer) = ground.writer().await?;
    for n in 0..20 {
        let value = format!("v-{n}");
        let offsets = if n % 2 == 0 {
            ground.append(&at, &[&value]).await?
        } else {
            writer.commit(shards.transaction(0, n, vec![append(&at, &value)])).await?
        };
        let end = ground.end(&at).await?;
        ensure!(offsets.iter().all(|offset| *offset < end), "the end {end} does not cover {offsets:?}");
        ensure!(
            ground.values(&at).await?.contains(&value),
            "an acknowledged record is not read up to the end"
        );
    }
    Ok(())
}

/// Whether a value lies in a partition; twice is neither.
async fn has(ground: &Ground<'_>, at: &TopicPartition, value: &str) -> Result<bool, Stop> {
    let times = ground.values(at).await?.iter().filter(|found| *found == value).count();
    ensure!(times <= 1, "{value} lies in {at} {times} times");
    Ok(times == 1)
}
