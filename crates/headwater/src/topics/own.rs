//! Taking every shard of a group for a moment, to say where each stands.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_core::log::{
    Claim, CommitError, Group, Head, Log, LogError, LogErrorKind, Membership, Opened, ShardChange,
    Transaction,
};

/// How long a shard may take to be ours, beyond what a coordinator waits for others.
const GAIN_TIME_MAX: Duration = Duration::from_secs(90);

/// The shards of a group, which are ours for as long as this lives.
pub(crate) struct Owned {
    _member: Box<dyn Membership>,
    pub(crate) claims: Vec<Box<dyn Claim>>,
}

/// Joins a group and waits until every shard of it is ours.
pub(crate) async fn own(log: &dyn Log, group: &Group) -> Result<Owned, LogError> {
    let joining = async {
        let mut member = log.join(group).await?;
        let mut claims = BTreeMap::new();
        while claims.len() < group.shards as usize {
            match member.next().await? {
                ShardChange::Gained(shard, claim) => drop(claims.insert(shard, claim)),
                ShardChange::Revoked(shard) | ShardChange::Lost(shard) => drop(claims.remove(&shard)),
            }
        }
        Ok(Owned { _member: member, claims: claims.into_values().collect() })
    };
    tokio::time::timeout(GAIN_TIME_MAX, joining).await.unwrap_or_else(|_| {
        let message = format!(
            "group {} has other members, which keep its shards: stop every instance of the app, and whatever else works \
             on its shards",
            group.name
        );
        Err(LogError::new(LogErrorKind::Invalid, message))
    })
}

/// Writes a shard's head, unless it has that already, or speaks of no place.
pub(crate) async fn put(opened: Opened, head: Head) -> Result<(), LogError> {
    let Opened { mut writer, head: there } = opened;
    if head.positions.is_empty() || there.as_ref() == Some(&head) {
        return Ok(());
    }
    let Head { positions, note } = head;
    match writer.commit(Transaction { appends: Vec::new(), positions, note }).await {
        Ok(_) => Ok(()),
        Err(
            CommitError::NotWritten { error, .. }
            | CommitError::Abandoned(error)
            | CommitError::Unknown(error),
        ) => Err(error),
        Err(CommitError::Fenced) => {
            Err(LogError::new(LogErrorKind::Fenced, "the app has been started meanwhile"))
        }
    }
}
