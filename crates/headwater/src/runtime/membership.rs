//! Running the shards that a group's membership gives, for as long as it gives them, and keeping copies of others.
//!
//! Each shard has one slot, and whatever runs in it is one task: before the next begins, the one before is told to stop
//! and has ended. So a shard that is gained goes on from the copy that its standby kept, two tasks never write one
//! state, and no shard waits for another one's end.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use headwater_core::BoxFuture;
use headwater_core::log::{Claim, Group, Log, LogError, LogErrorKind, Membership, ShardChange};
use headwater_core::position::Position;
use headwater_core::topic::{Offset, Partition, TopicPartition};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::cell::{Phase, ShardCell};
use super::replaced::Replaced;
use super::shell::{Refusals, pause_after_refusal, pause_for};
use crate::engine::decide::panic_message;

/// How long a failed join or membership waits before it tries again.
const REJOIN_PAUSE: Duration = Duration::from_millis(500);

/// How often the log is told how far folds have come, and how long that may take.
const TELL_EVERY: Duration = Duration::from_secs(5);
const TELL_WITHIN: Duration = Duration::from_millis(500);

/// Shards of a group of which this instance is to keep copies.
pub(crate) type Standbys = watch::Receiver<Arc<BTreeSet<Partition>>>;

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

    /// Keeps a copy of a shard that is another's, until `stop`. Where a shard keeps no state there is nothing to copy.
    fn follow(self: Arc<Self>, _shard: Partition, _stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    /// How far a shard has come that keeps its position for itself; `None` where a transaction tells the log.
    fn processed(&self, _shard: Partition) -> Option<(TopicPartition, Offset)> {
        None
    }
}

/// Joins `group` and runs its shards here until `stop`; joins again if the membership ends by itself, unless another
/// process has taken this one's place.
pub(crate) async fn run_group(
    log: Arc<dyn Log>,
    group: Group,
    shards: Arc<dyn RunShard>,
    mut standbys: Standbys,
    replaced: Replaced,
    stop: CancellationToken,
) {
    let (mut refusals, mut pause) = (Refusals::default(), REJOIN_PAUSE);
    let cells = || (0..group.shards).map(|shard| shards.cell(Partition(shard)));
    while !stop.is_cancelled() {
        match join(&*log, &group, &stop).await {
            Some(Ok(membership)) => {
                (refusals, pause) = (Refusals::default(), REJOIN_PAUSE);
                cells().for_each(ShardCell::let_on);
                let ended = run_member(membership, &group, &shards, &mut standbys, &stop).await;
                if let Err(fenced) = ended {
                    return replaced.tell(fenced);
                }
            }
            Some(Err(error)) => {
                refusals.tell(&error, "cannot join a group; trying again");
                cells().filter(|cell| !cell.is_standby()).for_each(|cell| cell.hinder(&error));
                pause = pause_after_refusal(error.kind(), REJOIN_PAUSE, pause);
            }
            None => return,
        }
        if pause_for(pause, &stop).await {
            return;
        }
    }
}

type Joined = Result<Box<dyn Membership>, LogError>;

async fn join(log: &dyn Log, group: &Group, stop: &CancellationToken) -> Option<Joined> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        joined = log.join(group) => Some(joined),
    }
}

/// An error means that the member was fenced.
async fn run_member(
    mut membership: Box<dyn Membership>,
    group: &Group,
    shards: &Arc<dyn RunShard>,
    standbys: &mut Standbys,
    stop: &CancellationToken,
) -> Result<(), LogError> {
    let mut slots = Slots { shards: shards.clone(), stop: stop.clone(), slots: BTreeMap::new() };
    slots.follow(&standbys.borrow_and_update().clone());
    let mut told = Position::new();
    let mut tell = tokio::time::interval(TELL_EVERY);
    tell.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let ended = loop {
        let change = tokio::select! {
            biased;
            () = stop.cancelled() => break Ok(()),
            change = membership.next() => change,
            _ = tell.tick() => {
                slots.tell(&*membership, &mut told).await;
                continue;
            }
            Ok(()) = standbys.changed() => {
                slots.follow(&standbys.borrow_and_update().clone());
                continue;
            }
        };
        match change {
            Ok(ShardChange::Gained(shard, claim)) => {
                slots.own(shard, claim);
                super::observe::shard_gained(&group.name);
            }
            Ok(ShardChange::Revoked(shard) | ShardChange::Lost(shard)) => {
                slots.release(shard);
                slots.follow(&standbys.borrow().clone());
            }
            Err(error) => {
                let fatal = error.kind() == LogErrorKind::Fenced;
                tracing::error!(group = group.name, %error, fatal, "the membership ended");
                break if fatal { Err(error) } else { Ok(()) };
            }
        }
    };
    slots.end().await;
    slots.tell(&*membership, &mut told).await;
    if let Err(error) = membership.leave().await {
        tracing::warn!(group = group.name, %error, "the group could not be told that this member leaves");
    }
    ended
}

/// What is done with a shard here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Owner,
    Standby,
    Nothing,
}

/// A shard, and the last task that was begun for it.
struct Slot {
    role: Role,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Slots {
    shards: Arc<dyn RunShard>,
    stop: CancellationToken,
    slots: BTreeMap<Partition, Slot>,
}

impl Slots {
    /// The shard is ours.
    fn own(&mut self, shard: Partition, claim: Box<dyn Claim>) {
        let shards = self.shards.clone();
        self.begin(shard, Role::Owner, |stop| shards.run(shard, claim, stop));
    }

    /// The shard is not ours any more.
    fn release(&mut self, shard: Partition) {
        let Some(mut slot) = self.slots.remove(&shard) else { return };
        slot.stop.cancel();
        if std::mem::replace(&mut slot.role, Role::Nothing) == Role::Owner {
            let (shards, mut before) = (self.shards.clone(), slot.task);
            slot.task = tokio::spawn(async move {
                ended(&mut before).await;
                shards.cell(shard).let_go();
            });
        }
        self.slots.insert(shard, slot);
    }

    /// Keeps copies of exactly these shards, as far as they are not ours.
    fn follow(&mut self, wanted: &BTreeSet<Partition>) {
        let unwanted =
            self.slots.iter().filter(|(shard, slot)| slot.role == Role::Standby && !wanted.contains(shard));
        let unwanted: Vec<_> = unwanted.map(|(shard, _)| *shard).collect();
        unwanted.into_iter().for_each(|shard| self.release(shard));
        for shard in wanted.iter().copied() {
            if self.slots.get(&shard).is_none_or(|slot| slot.role == Role::Nothing) {
                let shards = self.shards.clone();
                self.begin(shard, Role::Standby, |stop| shards.follow(shard, stop));
            }
        }
    }

    /// Begins a task in a shard's slot, once the one before has ended.
    fn begin(
        &mut self,
        shard: Partition,
        role: Role,
        run: impl FnOnce(CancellationToken) -> BoxFuture<'static, ()>,
    ) {
        self.release(shard);
        let before = self.slots.remove(&shard).map(|slot| slot.task);
        let stop = self.stop.child_token();
        let run = run(stop.clone());
        let shards = self.shards.clone();
        let task = tokio::spawn(async move {
            if let Some(mut before) = before {
                ended(&mut before).await;
            }
            if let Err(panic) = AssertUnwindSafe(run).catch_unwind().await {
                let reason = format!("its task panicked: {}", panic_message(&*panic));
                match role {
                    Role::Owner => shards.cell(shard).set_phase(Phase::Stopped { reason }),
                    Role::Standby | Role::Nothing => shards.cell(shard).standby_failed(&reason),
                }
            }
        });
        self.slots.insert(shard, Slot { role, stop, task });
    }

    /// Tells the log how far our shards have come, for tools that show lag; what could not be told is told the next
    /// time.
    async fn tell(&self, membership: &dyn Membership, told: &mut Position) {
        let ours = self.slots.iter().filter(|(_, slot)| slot.role == Role::Owner);
        let positions: Position = ours.filter_map(|(shard, _)| self.shards.processed(*shard)).collect();
        if positions.is_empty() || positions == *told {
            return;
        }
        match tokio::time::timeout(TELL_WITHIN, membership.processed(positions.clone())).await {
            Ok(Ok(())) => *told = positions,
            Ok(Err(error)) => tracing::debug!(%error, "the group's positions could not be told"),
            Err(_) => tracing::debug!("the group's positions could not be told in time"),
        }
    }

    async fn end(&mut self) {
        self.slots.values().for_each(|slot| slot.stop.cancel());
        for (shard, slot) in &mut self.slots {
            ended(&mut slot.task).await;
            if slot.role == Role::Owner && !self.stop.is_cancelled() {
                self.shards.cell(*shard).let_go();
            }
        }
    }
}

async fn ended(task: &mut JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "a shard's task ended badly");
    }
}
