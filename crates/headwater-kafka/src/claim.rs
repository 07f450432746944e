//! The right to write for a shard, and what it takes to open the shard's writer.
//!
//! A claim holds as long as the member does: it ends when the shard moves elsewhere, when the member leaves, and when the
//! group has lost sight of it. A process that was paused may not know yet, so before a writer is opened, which fences
//! whoever has the shard, the group's coordinator is asked whether this member is still one of the group.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_core::BoxFuture;
use headwater_core::log::{Claim, Group, LogError, LogErrorKind, Opened};
use headwater_core::topic::Partition;
use krafka::admin::{ConsumerGroupMember, DescribeConsumerGroupsOptions};
use krafka::consumer::ConsumerGroupMetadata;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::connection::Connection;
use crate::errors::failed_to;
use crate::heads::Heads;
use crate::operation::{Operation, ShardOf};
use crate::topics::Topics;
use crate::turns::Turns;
use crate::writer::KafkaWriter;

/// What every claim of a member needs.
pub(crate) struct Means {
    pub(crate) connection: Arc<Connection>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) heads: Arc<Heads>,
    pub(crate) group: Group,
}

/// Where a member stands in its group, for all who speak to the group in its name.
#[derive(Default)]
pub(crate) struct Standing(Mutex<Option<ConsumerGroupMetadata>>);

impl Standing {
    pub(crate) fn set(&self, place: Option<ConsumerGroupMetadata>) {
        *self.0.lock() = place;
    }

    /// The member's place now, if the group knows it.
    pub(crate) fn get(&self) -> Option<ConsumerGroupMetadata> {
        self.0.lock().clone()
    }
}

/// A shard of a member; shared by its claim and its writers, and given up when the last of them is dropped.
pub(crate) struct Hold {
    means: Arc<Means>,
    standing: Arc<Standing>,
    shard: Partition,
    held: AtomicBool,
    /// Its other end hears of the drop.
    _released: oneshot::Sender<Infallible>,
}

impl Hold {
    /// A hold, and what is ready once it is given up.
    pub(crate) fn new(
        means: Arc<Means>,
        standing: Arc<Standing>,
        shard: Partition,
    ) -> (Arc<Self>, oneshot::Receiver<Infallible>) {
        let (_released, released) = oneshot::channel();
        (Arc::new(Self { means, standing, shard, held: AtomicBool::new(true), _released }), released)
    }

    pub(crate) fn group(&self) -> &str {
        &self.means.group.name
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.means.connection
    }

    pub(crate) fn shard(&self) -> ShardOf<'_> {
        ShardOf { group: self.group(), shard: self.shard }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// The shard is no longer this member's.
    pub(crate) fn end(&self) {
        self.held.store(false, Ordering::Release);
    }

    /// The member's place in its group now; `None` if it has none, or the shard is no longer its own.
    ///
    /// The place is read first: a place that is newer than the member's knowledge of its shards can only be one that
    /// the group gave to a member which still had the shard.
    pub(crate) fn place(&self) -> Option<ConsumerGroupMetadata> {
        self.standing.get().filter(|_| self.is_held())
    }

    /// The group does not count the shard as this member's now. Whether it is gone, the membership says: a member that
    /// is just joining anew, and keeps its shards, is told of none of them again.
    fn uncounted(&self) -> LogError {
        if !self.is_held() {
            return self.gone();
        }
        let message =
            format!("the group does not count shard {} of {} as this member's now", self.shard, self.group());
        LogError::new(LogErrorKind::Unavailable, message)
    }

    fn gone(&self) -> LogError {
        let message = format!("shard {} of {} is no longer this member's", self.shard, self.group());
        LogError::new(LogErrorKind::Fenced, message)
    }
}

/// The right to write for a shard.
pub(crate) struct KafkaClaim(pub(crate) Arc<Hold>);

impl Claim for KafkaClaim {
    fn open(&self) -> BoxFuture<'_, Result<Opened, LogError>> {
        Box::pin(open(&self.0))
    }
}

async fn open(hold: &Arc<Hold>) -> Result<Opened, LogError> {
    let Means { connection, topics, heads, group } = &*hold.means;
    if !hold.is_held() {
        return Err(hold.gone());
    }
    let heads_topic = heads.ensure(group).await?;
    ask_the_coordinator(hold).await?;
    let producers = open_producers(hold).await?;
    if !hold.is_held() {
        return Err(hold.gone());
    }
    let at = heads_topic.partition(hold.shard.0);
    let found = heads.find(&at, connection.settings()).await?;
    let head = found.as_ref().map(|found| found.head());
    let patience = connection.settings().patience;
    let last = found.unwrap_or_default();
    let writer = KafkaWriter::new(hold.clone(), topics.clone(), producers, at, last, patience);
    Ok(Opened { writer: Box::new(writer), head })
}

/// Takes the transactional ids over: fences whoever had it, and settles what that one left open.
async fn open_producers(hold: &Hold) -> Result<Turns, LogError> {
    let connection = &hold.means.connection;
    let what = Operation::OpenWriter(hold.shard());
    let kafka = connection.dedicated().await?;
    let name = format!("{}.{}", hold.group(), hold.shard);
    let producers = Turns::open(connection, &kafka, &name, connection.settings().transaction_timeout)
        .await
        .map_err(|error| failed_to(what, error))?;
    if !producers.have_epochs() {
        // The cluster has it, as was found when connecting; a broker could not be asked.
        let message = format!("could not {what}: not every broker answers; it is tried again");
        return Err(LogError::new(LogErrorKind::Unavailable, message));
    }
    Ok(producers)
}

/// Answers an error unless the group still counts this member, and does not count the shard as another's.
async fn ask_the_coordinator(hold: &Hold) -> Result<(), LogError> {
    let what = Operation::FindHolder(hold.shard());
    let Some(place) = hold.place() else {
        return Err(hold.uncounted());
    };
    let admin = hold.means.connection.admin();
    let groups =
        admin.describe_consumer_groups([hold.group()], DescribeConsumerGroupsOptions::default()).await;
    let group = groups.and_then(|groups| {
        let lost = || krafka::KrafkaError::timeout("the coordinator told nothing of the group");
        groups.into_values().next().unwrap_or_else(|| Err(lost()))
    });
    let group = group.map_err(|error| failed_to(what, error))?;
    let me = |member: &&ConsumerGroupMember| member.member_id == place.member_id();
    if !group.members.iter().any(|member| me(&member)) {
        return Err(hold.uncounted());
    }
    let others = group.members.iter().filter(|member| !me(member));
    if others.into_iter().any(|member| has(member, hold)) { Err(hold.uncounted()) } else { Ok(()) }
}

fn has(member: &ConsumerGroupMember, hold: &Hold) -> bool {
    let topic = hold.means.group.topic.as_str();
    let shard = i32::try_from(hold.shard.0).unwrap_or(i32::MAX);
    let assigned = member.assignment.iter().flatten().filter(|assigned| assigned.topic_name == topic);
    assigned.flat_map(|assigned| &assigned.partitions).any(|partition| *partition == shard)
}
