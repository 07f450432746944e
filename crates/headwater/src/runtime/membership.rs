//! Running the shards that a group's membership gives, for as long as it gives them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_core::BoxFuture;
use headwater_core::log::{Claim, Group, Log, LogErrorKind, Membership, ShardChange};
use headwater_core::topic::Partition;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::cell::ShardCell;

/// How long a failed join or membership waits before it tries again.
const REJOIN_PAUSE: Duration = Duration::from_millis(500);

/// Runs one shard until `stop`, or until the shard is another's.
pub(crate) trait RunShard: Send + Sync + 'static {
    /// Runs the shard. The claim, and the writer opened by it, are dropped when the future ends.
    fn run(
        self: Arc<Self>,
        shard: Partition,
        claim: Box<dyn Claim>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, ()>;

    /// What the rest of the process sees of a shard.
    fn cell(&self, shard: Partition) -> &ShardCell;
}

struct RunningShard {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Joins `group` and runs its shards here until `stop`; joins again if the membership ends by itself.
pub(crate) async fn run_group(
    log: Arc<dyn Log>,
    group: Group,
    shards: Arc<dyn RunShard>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        match join(&*log, &group, &stop).await {
            Some(Ok(membership)) => run_member(membership, &group, &shards, &stop).await,
            Some(Err(error)) => {
                tracing::warn!(group = group.name, %error, "cannot join the group; trying again")
            }
            None => return,
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(REJOIN_PAUSE) => {}
        }
    }
}

type Joined = Result<Box<dyn Membership>, headwater_core::log::LogError>;

async fn join(log: &dyn Log, group: &Group, stop: &CancellationToken) -> Option<Joined> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        joined = log.join(group) => Some(joined),
    }
}

async fn run_member(
    mut membership: Box<dyn Membership>,
    group: &Group,
    shards: &Arc<dyn RunShard>,
    stop: &CancellationToken,
) {
    let mut running: BTreeMap<Partition, RunningShard> = BTreeMap::new();
    loop {
        let change = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            change = membership.next() => change,
        };
        match change {
            Ok(ShardChange::Gained(shard, claim)) => {
                let stop = stop.child_token();
                let task = tokio::spawn(shards.clone().run(shard, claim, stop.clone()));
                running.insert(shard, RunningShard { stop, task });
                super::observe::shard_gained(&group.name);
            }
            Ok(ShardChange::Revoked(shard) | ShardChange::Lost(shard)) => {
                if let Some(gone) = running.remove(&shard) {
                    end([gone]).await;
                    shards.cell(shard).let_go();
                }
            }
            Err(error) => {
                let fatal = error.kind() == LogErrorKind::Fenced;
                tracing::error!(group = group.name, %error, fatal, "the membership ended");
                break;
            }
        }
    }
    let had: Vec<_> = running.keys().copied().collect();
    end(running.into_values()).await;
    if !stop.is_cancelled() {
        had.into_iter().for_each(|shard| shards.cell(shard).let_go());
    }
    if let Err(error) = membership.leave().await {
        tracing::warn!(group = group.name, %error, "the group could not be told that this member leaves");
    }
}

async fn end(shards: impl IntoIterator<Item = RunningShard>) {
    let shards: Vec<_> = shards.into_iter().collect();
    shards.iter().for_each(|shard| shard.stop.cancel());
    for shard in shards {
        if let Err(error) = shard.task.await {
            tracing::error!(%error, "a shard's task ended badly");
        }
    }
}
