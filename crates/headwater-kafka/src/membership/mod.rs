//! Membership of a group: who has which shard.
//!
//! The group's consumer reads nothing: it subscribes to one topic with a partition per shard, all of them paused, and is
//! polled so that the group knows it lives. The classic protocol with a static name per instance gives a restarted
//! instance its shards back at once, and another one those of an instance that is gone after one session; shards move
//! cooperatively, so that those that stay are written to all the while.
//!
//! A shard that is to move is told as revoked, and goes on to its next owner when its claim and its writers are dropped,
//! or when whoever holds them has had time enough. One that the group has given away already is told as lost.
//!
//! That a member was fenced does not say by whom: one whose session ended joins anew under its name, and a heartbeat that
//! was still under way under its old id is answered as if another process had taken the name. The group cannot be asked
//! either: a member that takes its name back is described with the client of the life before. So it is counted.
//!
//! A member has sockets of its own: joining is held back by the broker until the other members have come, and other
//! groups' heartbeats must not wait behind it.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, OnceLock, Weak};

use futures_util::future::join_all;
use headwater_core::BoxFuture;
use headwater_core::log::{Group, LogError, LogErrorKind, Membership, ShardChange};
use headwater_core::position::Position;
use headwater_core::topic::{Partition, TopicPartition};
use krafka::consumer::{
    AutoOffsetReset, Consumer, ConsumerRebalanceListener, GroupProtocol, OffsetAndMetadata,
    PartitionAssignmentStrategy,
};
use krafka::error::ErrorCode;
use krafka::{CloseOptions, GroupMembershipOperation, KrafkaError};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::bounds::partition_id;
use crate::claim::{Hold, KafkaClaim, Means};
use crate::errors::{code_of, failed_to, kind_of};
use crate::names::OwnName;
use crate::pulse;
use crate::settings::KafkaSettings;
use crate::topics::unknown;

/// How long one poll waits: how late a change of the group is noticed at most.
const POLL: Duration = Duration::from_millis(50);

/// After a poll that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// How often, in [`FENCED_WITHIN`], a member may be told that its name is another's.
///
/// One that begins anew in the middle of a join can fence itself, on a slow machine more than once. Two processes of one
/// name fence each other in turn, and the older one is told so first, and so most often.
const FENCED_MAX: usize = 6;
const FENCED_WITHIN: Duration = Duration::from_secs(60);

type Change = Result<ShardChange, LogError>;

/// A member of a group.
pub(crate) struct Member {
    consumer: Arc<Consumer>,
    group: String,
    changes: mpsc::UnboundedReceiver<Change>,
    /// Dropping it leaves, too.
    leave: Option<oneshot::Sender<oneshot::Sender<Result<(), LogError>>>>,
}

impl Member {
    /// As [`Log::join`](headwater_core::log::Log::join).
    pub(crate) async fn join(means: Means) -> Result<Box<dyn Membership>, LogError> {
        check(&means).await?;
        let means = Arc::new(means);
        let settings = means.connection.settings();
        let name = OwnName::take(format!("{} at {}", means.group.name, settings.servers), &settings.instance);
        let (told, changes) = mpsc::unbounded_channel();
        let listener = Arc::new(Listener::new(means.clone(), told));
        let consumer = Arc::new(consumer(&means, &name, listener.clone()).await?);
        listener.consumer.set(Arc::downgrade(&consumer)).expect("the listener has just been made");
        let group = means.group.name.clone();
        let subscribed = consumer.subscribe([means.group.topic.as_str()]).await;
        subscribed.map_err(|error| failed_to(&format!("join the group {group}"), error))?;
        let (leave, left) = oneshot::channel();
        tokio::spawn(Polling { consumer: consumer.clone(), listener, name, means }.run(left));
        Ok(Box::new(Self { consumer, group, changes, leave: Some(leave) }))
    }
}

/// Whether the group's topic has a partition per shard.
async fn check(means: &Means) -> Result<(), LogError> {
    let Group { name, shards, topic } = &means.group;
    let found = means.topics.describe(topic).await?.ok_or_else(|| unknown(topic.as_str()))?;
    if found.settings.partitions == *shards {
        return Ok(());
    }
    let partitions = found.settings.partitions;
    let message =
        format!("the group {name} has {shards} shards, but its topic {topic} {partitions} partitions");
    Err(LogError::new(LogErrorKind::Invalid, message))
}

async fn consumer(means: &Means, name: &OwnName, listener: Arc<Listener>) -> Result<Consumer, LogError> {
    let settings = means.connection.settings();
    let kafka = means.connection.dedicated().await?;
    let consumer = kafka
        .consumer(&*means.group.name)
        .group_protocol(GroupProtocol::Classic)
        .group_instance_id(name.as_str())
        .partition_assignment_strategy(PartitionAssignmentStrategy::CooperativeSticky)
        .session_timeout(settings.session_timeout)
        .heartbeat_interval(pulse::rare(settings.session_timeout))
        .max_poll_interval(settings.rebalance_timeout)
        .enable_auto_commit(false)
        .auto_offset_reset(AutoOffsetReset::None)
        .idle_poll_backoff(POLL)
        .metrics_push(false)
        .rebalance_listener(listener)
        .build()
        .await;
    consumer.map_err(|error| failed_to(&format!("join the group {}", means.group.name), error))
}

impl Membership for Member {
    fn next(&mut self) -> BoxFuture<'_, Result<ShardChange, LogError>> {
        Box::pin(async {
            let ended =
                || LogError::new(LogErrorKind::Closed, format!("the membership of {} has ended", self.group));
            self.changes.recv().await.unwrap_or_else(|| Err(ended()))
        })
    }

    fn leave(mut self: Box<Self>) -> BoxFuture<'static, Result<(), LogError>> {
        let (answer, answered) = oneshot::channel();
        let asked = self.leave.take().is_some_and(|leave| leave.send(answer).is_ok());
        Box::pin(async move {
            // A member that has ended has left.
            if asked { answered.await.unwrap_or(Ok(())) } else { Ok(()) }
        })
    }

    fn processed(&self, positions: Position) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move {
            let offset = |(at, next): (&TopicPartition, headwater_core::topic::Offset)| {
                let place = krafka::consumer::TopicPartition::new(at.topic.as_str(), partition_id(at));
                (place, OffsetAndMetadata::new(next.0 as i64))
            };
            let offsets: Vec<_> = positions.iter().map(offset).collect();
            let told = self.consumer.commit_offsets(offsets).await;
            told.map_err(|error| failed_to(&format!("tell how far {} has come", self.group), error))
        })
    }
}

/// The task that keeps a membership alive.
struct Polling {
    consumer: Arc<Consumer>,
    listener: Arc<Listener>,
    name: OwnName,
    means: Arc<Means>,
}

impl Polling {
    async fn run(self, mut left: oneshot::Receiver<oneshot::Sender<Result<(), LogError>>>) {
        let mut fenced = Fences::default();
        // Of its own, since a poll lasts as long as the shards that it takes away need to be given up.
        let mut beating = tokio::spawn(pulse::beat(Arc::downgrade(&self.consumer), self.means.clone()));
        let ended = loop {
            tokio::select! {
                biased;
                answer = &mut left => break Ended::Left(answer.ok()),
                gone = &mut beating => {
                    let code = gone.ok().flatten().unwrap_or(ErrorCode::UnknownMemberId);
                    break Ended::By(KrafkaError::broker(code, "the group does not have this member any more"));
                }
                polled = self.consumer.poll(POLL) => match polled {
                    // All partitions are paused: there are no records.
                    Ok(_) => {}
                    Err(error) if is_fenced(&error) => {
                        if fenced.are_too_many(Instant::now()) {
                            break Ended::By(error);
                        }
                        tracing::warn!(group = %self.means.group.name, "the group took this member's name; joining again");
                        sleep(PAUSE).await;
                    }
                    Err(error) if is_the_end(&error) => break Ended::By(error),
                    Err(error) => {
                        tracing::warn!(group = %self.means.group.name, %error, "the group cannot be followed now");
                        sleep(PAUSE).await;
                    }
                },
            }
        };
        beating.abort();
        match ended {
            Ended::Left(answer) => {
                let left = self.leave().await;
                if let Some(answer) = answer {
                    // Nobody may be waiting for it any more.
                    let _ = answer.send(left);
                }
            }
            Ended::By(error) => {
                let error = self.end(error).await;
                let listener = self.listener.clone();
                // Whoever hears of the end and joins again finds the name free.
                drop(self);
                listener.tell(Err(error));
            }
        }
    }

    async fn leave(&self) -> Result<(), LogError> {
        let operation = if self.means.connection.settings().restart_follows {
            GroupMembershipOperation::RemainInGroup
        } else {
            GroupMembershipOperation::LeaveGroup
        };
        let what = format!("leave the group {}", self.means.group.name);
        self.close(operation).await.map_err(|error| failed_to(&what, error))
    }

    async fn close(&self, operation: GroupMembershipOperation) -> Result<(), KrafkaError> {
        self.listener.stop();
        let patience = self.means.connection.settings().patience;
        let options = CloseOptions::new().timeout(patience).group_membership_operation(operation);
        self.consumer.close_with(options).await
    }

    /// Takes every shard away, and answers why the membership is over.
    async fn end(&self, error: KrafkaError) -> LogError {
        let group = &self.means.group.name;
        self.listener.lose_all();
        let error = if is_fenced(&error) {
            let message = format!(
                "another process joined the group {group} as instance \"{}\": its data directory is a copy of this \
                 one's, or this one was taken for dead and replaced; give each instance a data directory of its own",
                self.name.as_str()
            );
            LogError::new(LogErrorKind::Fenced, message).with_source(error)
        } else if is_lost(&error) {
            let message = format!("the group {group} has lost sight of this member, which has to join again");
            LogError::new(LogErrorKind::Closed, message).with_source(error)
        } else {
            failed_to(&format!("be a member of the group {group}"), error)
        };
        // To leave by this name would take the place of whoever bears it now.
        let closed = self.close(GroupMembershipOperation::RemainInGroup).await;
        if let Err(error) = closed {
            tracing::debug!(group, %error, "a member that had ended could not be closed");
        }
        error
    }
}

fn is_the_end(error: &KrafkaError) -> bool {
    matches!(error, KrafkaError::Closed { .. })
        || matches!(kind_of(error), LogErrorKind::Denied | LogErrorKind::Invalid)
}

fn is_lost(error: &KrafkaError) -> bool {
    matches!(code_of(error), Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration))
}

fn is_fenced(error: &KrafkaError) -> bool {
    code_of(error) == Some(ErrorCode::FencedInstanceId)
}

/// When a member was told that its name is another's.
#[derive(Default)]
struct Fences(VecDeque<Instant>);

impl Fences {
    /// Counts one more; whether it has been too many lately.
    fn are_too_many(&mut self, now: Instant) -> bool {
        self.0.push_back(now);
        while self.0.front().is_some_and(|first| now.duration_since(*first) > FENCED_WITHIN) {
            self.0.pop_front();
        }
        self.0.len() > FENCED_MAX
    }
}

/// How a membership comes to its end.
enum Ended {
    /// It was left, or dropped.
    Left(Option<oneshot::Sender<Result<(), LogError>>>),
    /// The group does not have it any more.
    By(KrafkaError),
}

/// Hears from the consumer which partitions come and go.
struct Listener {
    means: Arc<Means>,
    consumer: OnceLock<Weak<Consumer>>,
    told: mpsc::UnboundedSender<Change>,
    shards: Mutex<HashMap<Partition, Shard>>,
    /// From here on nobody is told anything, nor waited for.
    stopped: CancellationToken,
}

/// A shard that this member has.
struct Shard {
    hold: Weak<Hold>,
    released: oneshot::Receiver<Infallible>,
}

impl Shard {
    fn end(&self) {
        if let Some(hold) = self.hold.upgrade() {
            hold.end();
        }
    }
}

impl Listener {
    fn new(means: Arc<Means>, told: mpsc::UnboundedSender<Change>) -> Self {
        Self {
            means,
            consumer: OnceLock::new(),
            told,
            shards: Mutex::default(),
            stopped: CancellationToken::new(),
        }
    }

    fn settings(&self) -> &KafkaSettings {
        self.means.connection.settings()
    }

    fn tell(&self, change: Change) {
        // Nobody listens to a member that was dropped.
        let _ = self.told.send(change);
    }

    fn stop(&self) {
        self.stopped.cancel();
        self.shards.lock().drain().for_each(|(_, shard)| shard.end());
    }

    fn lose_all(&self) {
        let lost: Vec<_> = self.shards.lock().drain().collect();
        lost.into_iter().for_each(|(shard, held)| self.lose(shard, &held));
    }

    fn lose(&self, shard: Partition, held: &Shard) {
        held.end();
        self.tell(Ok(ShardChange::Lost(shard)));
    }

    fn take(&self, partitions: &[krafka::consumer::TopicPartition]) -> Vec<(Partition, Shard)> {
        let mut shards = self.shards.lock();
        let index = |partition: &krafka::consumer::TopicPartition| u32::try_from(partition.partition).ok();
        let known = partitions.iter().filter_map(index).map(Partition);
        known.filter_map(|shard| Some((shard, shards.remove(&shard)?))).collect()
    }

    /// Reads nothing of what is the member's: nothing is fetched, and no offset is looked for.
    async fn quiet(&self, consumer: &Consumer, partitions: &[krafka::consumer::TopicPartition]) {
        for partition in partitions {
            consumer.pause(&partition.topic, &[partition.partition]).await;
            if let Err(error) = consumer.seek(&partition.topic, partition.partition, 0).await {
                tracing::debug!(%error, "a partition went as it came");
            }
        }
    }

    /// Waits until the shards' claims and writers are dropped, for as long as the group waits for this member.
    async fn released(&self, shards: &mut [(Partition, Shard)]) {
        let released = join_all(shards.iter_mut().map(|(_, held)| &mut held.released));
        let in_time = timeout(self.settings().rebalance_timeout * 2 / 3, released);
        tokio::select! {
            () = self.stopped.cancelled() => {}
            released = in_time => if released.is_err() {
                tracing::warn!(group = %self.means.group.name, "shards that move elsewhere were not given up in time");
            },
        }
    }
}

impl ConsumerRebalanceListener for Listener {
    async fn on_partitions_assigned(&self, partitions: &[krafka::consumer::TopicPartition]) {
        let Some(consumer) = self.consumer.get().and_then(Weak::upgrade) else {
            return;
        };
        self.quiet(&consumer, partitions).await;
        for partition in partitions {
            let Ok(index) = u32::try_from(partition.partition) else {
                continue;
            };
            let shard = Partition(index);
            let (hold, released) = Hold::new(self.means.clone(), consumer.clone(), shard);
            self.shards.lock().insert(shard, Shard { hold: Arc::downgrade(&hold), released });
            self.tell(Ok(ShardChange::Gained(shard, Box::new(KafkaClaim(hold)))));
        }
    }

    async fn on_partitions_revoked(&self, partitions: &[krafka::consumer::TopicPartition]) {
        let mut shards = self.take(partitions);
        for (shard, _) in &shards {
            self.tell(Ok(ShardChange::Revoked(*shard)));
        }
        self.released(&mut shards).await;
        shards.iter().for_each(|(_, held)| held.end());
    }

    async fn on_partitions_lost(&self, partitions: &[krafka::consumer::TopicPartition]) {
        let lost = self.take(partitions);
        lost.iter().for_each(|(shard, held)| self.lose(*shard, held));
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, FENCED_MAX, FENCED_WITHIN, Fences, Instant};

    #[test]
    fn a_member_that_is_fenced_again_and_again_has_been_replaced() {
        let (mut fences, start) = (Fences::default(), Instant::now());
        let second = |n: usize| start + Duration::from_secs(n as u64);
        assert!((0..FENCED_MAX).all(|n| !fences.are_too_many(second(n))));
        assert!(fences.are_too_many(second(FENCED_MAX)));
        let later = second(FENCED_MAX) + FENCED_WITHIN + Duration::from_secs(1);
        assert!(!fences.are_too_many(later), "what was long ago counts no more");
    }
}
