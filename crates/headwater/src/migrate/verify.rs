//! Whether a copy is equal: every record of every partition, by count and digest.

use headwater_core::log::{Cleanup, Log};
use headwater_core::topic::{Offset, TopicPartition};

use super::error::{MigrateError, Of};
use super::map::{OffsetMap, Run};
use super::records::{Records, RecordsDigest, same};
use super::{OnProgress, Progress, VerifiedPartition};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Everything in both logs: before an app has run on the new one.
    Whole,
    /// What was copied to topics that keep everything: the app may have run.
    Kept,
}

/// How many records are compared between two words of progress.
const TOLD_EVERY: u64 = 5_000;

/// Compares all partitions.
pub(super) async fn verify(
    from: &dyn Log,
    to: &dyn Log,
    map: &OffsetMap,
    extent: Extent,
    on_progress: &mut OnProgress<'_>,
) -> Result<Vec<VerifiedPartition>, MigrateError> {
    let Some(begin) = &map.begin else { return Ok(Vec::new()) };
    let partitions = begin.partitions();
    let total = partitions.iter().map(|(_, range)| range.end.0 - range.start.0).sum();
    let (mut done, mut verified) = (0, Vec::new());
    for (at, range) in &partitions {
        let mut tell =
            |here| on_progress(Progress { doing: "verifying", at: at.clone(), done: done + here, total });
        let kept = to.describe(&at.topic).await.of_new()?;
        let kept = kept.is_some_and(|topic| topic.settings.cleanup == Cleanup::Keep);
        if extent == Extent::Whole || kept {
            let bounds = to.bounds(at).await.of_new()?;
            let copied = map.runs(at).last().map_or(bounds.start, |Run(_, to, count)| Offset(to + count));
            let end = if extent == Extent::Whole { bounds.end } else { copied };
            let old = Records::between(from, at, range.start, range.end);
            let new = Records::between(to, at, bounds.start, end);
            verified.push(compare(at, (old, new), map.runs(at), &mut tell).await?);
        }
        done += range.end.0 - range.start.0;
    }
    Ok(verified)
}

async fn compare(
    at: &TopicPartition,
    (mut old, mut new): (Records<'_>, Records<'_>),
    runs: &[Run],
    tell: &mut (dyn FnMut(u64) + Send),
) -> Result<VerifiedPartition, MigrateError> {
    let (mut old_digest, mut new_digest) = (RecordsDigest::default(), RecordsDigest::default());
    let (mut old_count, mut new_count) = (0u64, 0u64);
    let mut first = None;
    let mut mapped =
        runs.iter().flat_map(|Run(from, to, count)| (0..*count).map(move |i| (from + i, to + i)));
    loop {
        let (one, other) = (old.next().await.of_old()?, new.next().await.of_new()?);
        let pair = match (&one, &other) {
            (None, None) => break,
            (Some(one), Some(other)) => same(&one.record, &other.record),
            _ => false,
        };
        let offsets = (one.as_ref().map(|one| one.offset.0), other.as_ref().map(|other| other.offset.0));
        let on_map = mapped.next().is_some_and(|(from, to)| offsets == (Some(from), Some(to)));
        if !(pair && on_map) && first.is_none() {
            first = Some(offsets);
        }
        if let Some(one) = one {
            old_digest.add(&one.record);
            old_count += 1;
        }
        if let Some(other) = other {
            new_digest.add(&other.record);
            new_count += 1;
        }
        if old_count % TOLD_EVERY == 0 {
            tell(old_count);
        }
    }
    let (digest, new_digest) = (old_digest.finish(), new_digest.finish());
    if let Some((from, to)) = first {
        let told = |offset: Option<u64>| offset.map_or("none".to_owned(), |offset| offset.to_string());
        let how = format!(
            "{old_count} records with digest {digest} in the old log, {new_count} with {new_digest} in the new; the first \
             difference is at old offset {} and new offset {}",
            told(from),
            told(to)
        );
        return Err(MigrateError::Differs { partition: at.clone(), how });
    }
    Ok(VerifiedPartition { partition: at.to_string(), records: old_count, digest })
}
