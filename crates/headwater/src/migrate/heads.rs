//! The shards' heads, told in the new log's offsets.

use headwater_core::log::{CommitError, Group, Head, LogError, LogErrorKind, Opened, Transaction};
use headwater_core::position::Position;
use headwater_core::topic::{Offset, TopicPartition};

use super::Migration;
use super::copy::own;
use super::error::{MigrateError, Of};
use super::map::OffsetMap;
use crate::runtime::migrated_note;

/// Writes the head of every shard of the app to the new log.
///
/// What is written twice says the same, so a run that was interrupted begins anew.
pub(super) async fn rewrite(migration: &Migration<'_>, map: &OffsetMap) -> Result<(), MigrateError> {
    for (group, events) in migration.app.writing_groups() {
        let has = |topic| async move {
            Ok::<_, MigrateError>(migration.from.describe(topic).await.of_old()?.is_some())
        };
        if !has(&group.topic).await? {
            continue;
        }
        let old = own(migration.from, &group).await?;
        let new = own(migration.to, &group).await?;
        for (shard, (old, new)) in (0..).zip(old.claims.iter().zip(&new.claims)) {
            let Some(head) = old.open().await.of_old()?.head else { continue };
            let events = events.as_ref().map(|events| events.partition(shard));
            let head = translate(&group, head, events.as_ref(), map)?;
            put(new.open().await.of_new()?, head).await?;
        }
    }
    Ok(())
}

/// A head in the new log's offsets.
fn translate(
    group: &Group,
    head: Head,
    events: Option<&TopicPartition>,
    map: &OffsetMap,
) -> Result<Head, MigrateError> {
    let told = |at: &TopicPartition, next: Offset| {
        let beyond = || MigrateError::Position { group: group.name.clone(), at: at.clone(), next };
        map.position(at, next).ok_or_else(beyond)
    };
    let positions = head.positions.iter().map(|(at, next)| Ok((at.clone(), told(at, next)?)));
    let positions = positions.collect::<Result<Position, MigrateError>>()?;
    let note = match events {
        Some(events) => migrated_note(&head.note, |tail| told(events, tail))?,
        None => head.note,
    };
    Ok(Head { positions, note })
}

async fn put(opened: Opened, head: Head) -> Result<(), MigrateError> {
    let Opened { mut writer, head: there } = opened;
    if head.positions.is_empty() || there.as_ref() == Some(&head) {
        return Ok(());
    }
    let Head { positions, note } = head;
    let committed = writer.commit(Transaction { appends: Vec::new(), positions, note }).await;
    let error = match committed {
        Ok(_) => return Ok(()),
        Err(CommitError::NotWritten { error, .. } | CommitError::Unknown(error)) => error,
        Err(CommitError::Fenced) => LogError::new(LogErrorKind::Fenced, "the app has started on the new log"),
    };
    Err(MigrateError::Log { which: "new", error })
}
