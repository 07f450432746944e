//! The shards' heads, told in the new log's offsets.

use bytes::Bytes;
use headwater_core::log::{Group, Head};
use headwater_core::position::Position;
use headwater_core::topic::{Offset, TopicPartition};

use super::Migration;
use super::error::{MigrateError, Of};
use super::map::OffsetMap;
use crate::runtime::migrated_note;
use crate::topics::own::{own, put};
use crate::topics::{Counts, WritingGroup};

/// Writes the head of every shard of the app to the new log.
///
/// What is written twice says the same, so a run that was interrupted begins anew.
pub(super) async fn rewrite(migration: &Migration<'_>, map: &OffsetMap) -> Result<(), MigrateError> {
    let counts = Counts::of(migration.from, migration.app).await.of_old()?;
    for WritingGroup { group, events, .. } in migration.app.writing_groups(&counts) {
        let has = |topic| async move {
            Ok::<_, MigrateError>(migration.from.describe(topic).await.of_old()?.is_some())
        };
        if !has(&group.topic).await? {
            continue;
        }
        let old = own(migration.from, &group).await.of_old()?;
        let new = own(migration.to, &group).await.of_new()?;
        for (shard, (old, new)) in (0..).zip(old.claims.iter().zip(&new.claims)) {
            let Some(head) = old.open().await.of_old()?.head else { continue };
            let events = events.as_ref().map(|events| events.partition(shard));
            let head = translate(&group, head, events.as_ref(), map)?;
            put(new.open().await.of_new()?, head).await.of_new()?;
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
        // What an emitter's head says of its changelog is told in the old log's offsets: the next one says it anew.
        None => Bytes::new(),
    };
    Ok(Head { positions, note })
}
