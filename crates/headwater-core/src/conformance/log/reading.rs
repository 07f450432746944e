//! Rules about what a read answers: its bounds, its order, its next position.

use super::ground::{Ground, Shards, Stop, Verdict, append, ensure, offsets_of, same, values_of};
use crate::log::{CommitError, LogErrorKind, ReadLimit, Wait, Writer};
use crate::topic::{Offset, TopicPartition};

const EVERYTHING: ReadLimit = ReadLimit { records: 1_000, bytes: 1 << 20 };

pub(super) async fn read_limits_are_kept(ground: Ground<'_>) -> Verdict {
    let at = ground.partition().await?;
    let values: Vec<String> = (0..20).map(|n| format!("{n:0>100}")).collect();
    ground.append(&at, &values.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let stored = ground.records(&at).await?;
    same("the records", values_of(&stored), values.clone())?;
    let size = stored[0].record.size();
    for (records, bytes) in
        [(1, 1 << 20), (7, 1 << 20), (20, 1 << 20), (100, 1), (100, size - 1), (100, 3 * size)]
    {
        let limit = ReadLimit { records, bytes };
        let batch = ground.log.read(&at, Offset::ZERO, limit, Wait::No).await?;
        let answered = batch.records.len();
        let total: usize = batch.records.iter().map(|stored| stored.record.size()).sum();
        ensure!(answered >= 1, "{limit:?} answers no record, though there is one");
        ensure!(answered <= records, "{limit:?} answers {answered} records");
        ensure!(answered == 1 || total <= bytes, "{limit:?} answers {total} bytes in {answered} records");
        same("what is read", values_of(&batch.records), values[..answered].to_vec())?;
    }
    Ok(())
}

pub(super) async fn offsets_rise_strictly(ground: Ground<'_>) -> Verdict {
    let (shards, at, written) = history(&ground).await?;
    drop(shards);
    let everything = ground.records(&at).await?;
    let found =
        everything.iter().map(|stored| (stored.offset, values_of(std::slice::from_ref(stored))[0].clone()));
    same("offsets and values", found.collect::<Vec<_>>(), written)?;
    let batch = ground.log.read(&at, Offset::ZERO, EVERYTHING, Wait::No).await?;
    let offsets = offsets_of(&batch.records);
    ensure!(offsets.is_sorted_by(|a, b| a < b), "offsets of one read do not rise: {offsets:?}");
    Ok(())
}

pub(super) async fn the_next_position_reaches_the_end(ground: Ground<'_>) -> Verdict {
    let (shards, at, written) = history(&ground).await?;
    drop(shards);
    let end = ground.end(&at).await?;
    for records in [1, 2, 1_000] {
        let limit = ReadLimit { records, ..EVERYTHING };
        let found = ground.records_from(&at, Offset::ZERO, end, limit).await?;
        same("records read one batch after another", found.len(), written.len())?;
    }
    let last = ground.log.read(&at, end, EVERYTHING, Wait::No).await?;
    same("the records at the end", last.records.len(), 0)?;
    same("the next position at the end", last.next, end)?;
    same("the end that the read tells", last.end, end)
}

pub(super) async fn a_read_may_start_anywhere(ground: Ground<'_>) -> Verdict {
    let (shards, at, written) = history(&ground).await?;
    drop(shards);
    let end = ground.end(&at).await?;
    for from in (0..=end.0).map(Offset) {
        let found = offsets_of(&ground.records_from(&at, from, end, EVERYTHING).await?);
        let expected = written.iter().map(|(offset, _)| *offset).filter(|offset| *offset >= from);
        same(&format!("records from {from} on"), found, expected.collect())?;
    }
    Ok(())
}

pub(super) async fn a_read_outside_the_bounds_is_out_of_range(ground: Ground<'_>) -> Verdict {
    let at = ground.partition().await?;
    let empty = ground.log.read(&at, Offset::ZERO, EVERYTHING, Wait::No).await?;
    same(
        "an empty partition",
        (empty.records.len(), empty.next, empty.end),
        (0, Offset::ZERO, Offset::ZERO),
    )?;
    for _ in 0..2 {
        let bounds = ground.bounds(&at).await?;
        for above in [1, 1_000] {
            let from = Offset(bounds.end.0 + above);
            match ground.log.read(&at, from, EVERYTHING, Wait::No).await.map_err(|error| error.kind()) {
                Err(LogErrorKind::OutOfRange(told)) => same("the bounds told", told, bounds)?,
                other => {
                    return Err(Stop::Broken(format!("reading {from} beyond {bounds:?} answered {other:?}")));
                }
            }
        }
        // One by one: what commits several records may leave what is no record behind them, a little later.
        ground.append(&at, &["a"]).await?;
        ground.append(&at, &["b"]).await?;
    }
    Ok(())
}

/// A partition with all that can lie in one: appends, transactions, refused and fenced ones, of which the last thing
/// is no record wherever a log leaves a trace of such; and what was acknowledged.
async fn history(ground: &Ground<'_>) -> Result<(Shards, TopicPartition, Vec<(Offset, String)>), Stop> {
    let at = ground.partition().await?;
    let nowhere = ground.topic_name("nowhere")?.partition(0);
    let (shards, mut writer) = ground.writer().await?;
    let mut written = Vec::new();
    for n in 0..5 {
        let values = [format!("appended-{n}"), format!("committed-{n}-a"), format!("committed-{n}-b")];
        let [appended, a, b] = &values;
        let mut offsets = ground.append(&at, &[appended]).await?;
        offsets.extend(writer.commit(shards.transaction(0, n, vec![append(&at, a), append(&at, b)])).await?);
        written.extend(offsets.into_iter().zip(values));

        let refused = shards.transaction(0, n, vec![append(&at, "refused"), append(&nowhere, "refused")]);
        let answer = writer.commit(refused).await;
        let not_written = matches!(answer, Err(CommitError::NotWritten { .. }));
        ensure!(not_written, "a transaction to a topic that is not there answered {answer:?}");
        fence(&shards, &mut writer, &at).await?;
    }
    Ok((shards, at, written))
}

/// Opens another writer in the place of one, which then commits in vain.
async fn fence(shards: &Shards, writer: &mut Box<dyn Writer>, at: &TopicPartition) -> Verdict {
    let mut zombie = std::mem::replace(writer, shards.open(0).await?.writer);
    let answer = zombie.commit(shards.transaction(0, 99, vec![append(at, "fenced")])).await;
    ensure!(matches!(answer, Err(CommitError::Fenced)), "a fenced writer's commit answered {answer:?}");
    Ok(())
}
