//! Running aggregates: callers, mailboxes, and the shards that decide.
//!
//! - [`handle`]: what callers use: send, ask for an outcome, read a state.
//! - [`remote`]: the same for shards that other instances own, and answering those;
//! - [`shard`]: one shard's task: gather, decide, commit, answer.
//! - [`restore`]: bringing a shard's state to the end of its log.
//! - [`backlog`]: outcomes that are loaded while the shard decides already.
//! - [`filters`]: writing the ids of outcomes for whoever has to begin with a backlog.
//! - [`note`]: what a shard writes into its head.
//! - [`follow`]: keeping a warm copy of another instance's shard.

mod backlog;
mod filters;
mod follow;
mod handle;
mod note;
mod remote;
mod restore;
mod shard;

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use headwater_core::BoxFuture;
use headwater_core::log::{Group, TopicDescription};
use headwater_core::topic::Partition;
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};

pub(crate) use handle::AggregateHandle;
pub use handle::{OutcomeQuery, Send};
pub(crate) use note::migrated_note;

use super::cell::ShardCell;
use super::peers::AnswersPeers;
use super::start::{StartError, Starting, TopologyStatus};
use crate::aggregate::Aggregate;
use crate::command::{Outcome, SendError};
use crate::engine::decide::{Incoming, TABLES};

/// A kind of aggregate whose type is forgotten: what an app keeps a list of.
pub(crate) trait AnyAggregate: std::marker::Send + Sync {
    fn name(&self) -> &'static str;

    /// Makes its topics, and starts its shards if they are to run here.
    fn start<'a>(
        &'a self,
        starting: &'a Starting,
        runs_here: bool,
    ) -> BoxFuture<'a, Result<StartedAggregate, StartError>>;
}

/// A kind of aggregate that runs, here or elsewhere.
pub(crate) struct StartedAggregate {
    /// An `AggregateHandle` of its type.
    pub(crate) handle: Arc<dyn std::any::Any + std::marker::Send + Sync>,
    /// The same for questions of other instances.
    pub(crate) answering: Arc<dyn AnswersPeers>,
    /// Where it runs here.
    pub(crate) status: Option<TopologyStatus>,
}

pub(crate) struct AggregateDefinition<A>(PhantomData<fn() -> A>);

impl<A> Default for AggregateDefinition<A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// The topics of a kind of aggregate.
#[derive(Debug, Clone)]
pub(crate) struct Topics {
    pub(crate) events: TopicDescription,
    pub(crate) commands: TopicDescription,
    pub(crate) outcomes: TopicDescription,
    pub(crate) snapshots: TopicDescription,
}

/// A command in a mailbox, and who waits for its outcome.
pub(crate) struct Submission<A: Aggregate> {
    pub(crate) incoming: Incoming<A>,
    pub(crate) ticket: Arc<Ticket>,
    pub(crate) reply: oneshot::Sender<Result<Outcome<A>, SendError>>,
}

/// Whether a command was taken to be decided, or withdrawn before that: never both.
#[derive(Debug, Default)]
pub(crate) struct Ticket(AtomicU8);

impl Ticket {
    const WAITING: u8 = 0;
    const TAKEN: u8 = 1;
    const WITHDRAWN: u8 = 2;

    /// The shard decides the command now; false if it was withdrawn.
    pub(crate) fn take(&self) -> bool {
        self.leave_waiting(Self::TAKEN)
    }

    /// The caller waits no longer; false if the command was taken, and may have been executed.
    pub(crate) fn withdraw(&self) -> bool {
        self.leave_waiting(Self::WITHDRAWN)
    }

    fn leave_waiting(&self, to: u8) -> bool {
        self.0.compare_exchange(Self::WAITING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// One shard as its callers see it.
pub(crate) struct AggregateCell<A: Aggregate> {
    pub(crate) cell: Arc<ShardCell>,
    mailbox: RwLock<Option<mpsc::Sender<Submission<A>>>>,
    /// Whether every outcome that is kept is in the state.
    has_all_outcomes: AtomicBool,
}

impl<A: Aggregate> AggregateCell<A> {
    fn new(cell: Arc<ShardCell>) -> Self {
        Self { cell, mailbox: RwLock::new(None), has_all_outcomes: AtomicBool::new(true) }
    }
}

impl<A: Aggregate> AnyAggregate for AggregateDefinition<A> {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn start<'a>(
        &'a self,
        starting: &'a Starting,
        runs_here: bool,
    ) -> BoxFuture<'a, Result<StartedAggregate, StartError>> {
        Box::pin(async move {
            let topics = starting.aggregate_topics(A::NAME);
            let cells: Arc<[Arc<ShardCell>]> = starting.own_cells();
            let aggregate_cells: Arc<[AggregateCell<A>]> =
                cells.iter().cloned().map(AggregateCell::new).collect();
            let handle = AggregateHandle::new(starting, topics.clone(), aggregate_cells.clone(), runs_here);
            let handle = Arc::new(handle);
            let status = match runs_here {
                true => Some(run_here(starting, topics, cells, aggregate_cells)?),
                false => None,
            };
            Ok(StartedAggregate { handle: handle.clone(), answering: handle, status })
        })
    }
}

/// Opens the store and joins the group.
fn run_here<A: Aggregate>(
    starting: &Starting,
    topics: Topics,
    cells: Arc<[Arc<ShardCell>]>,
    aggregate_cells: Arc<[AggregateCell<A>]>,
) -> Result<TopologyStatus, StartError> {
    let version = A::STATE_VERSION;
    let store_name = format!("{}.{}", starting.app, crate::topology::versioned(A::NAME, version));
    let store = starting.open_store(A::NAME, &store_name, &TABLES)?;
    starting.remove_other_versions(A::NAME, version)?;
    let status = TopologyStatus::new(A::NAME, topics.events.name.clone(), store.clone(), cells);
    let group = Group {
        name: format!("{}.{}", starting.app, A::NAME),
        shards: starting.options.partitions,
        topic: topics.commands.name.clone(),
    };
    let shards = shard::AggregateShards {
        shell: starting.shell.clone(),
        options: starting.options.clone(),
        source: format!("/{}/{}", starting.app, A::NAME),
        topics,
        store,
        cells: aggregate_cells,
        group: group.name.clone(),
        turns: restore::turns(),
    };
    starting.run_group(group, Arc::new(shards));
    // One wherever there is a second instance that runs commands.
    Ok(TopologyStatus { role: "command", copies: 1, ..status })
}

impl<A: Aggregate> AggregateCell<A> {
    pub(crate) fn mailbox(&self) -> Option<mpsc::Sender<Submission<A>>> {
        self.mailbox.read().clone()
    }

    fn open_mailbox(&self, capacity: usize) -> mpsc::Receiver<Submission<A>> {
        let (sender, receiver) = mpsc::channel(capacity);
        *self.mailbox.write() = Some(sender);
        receiver
    }

    fn close_mailbox(&self) {
        *self.mailbox.write() = None;
    }

    /// Whether an outcome that the state has not is none: `false` while outcomes are loaded.
    pub(crate) fn has_all_outcomes(&self) -> bool {
        self.has_all_outcomes.load(Ordering::Acquire)
    }

    fn set_has_all_outcomes(&self, all: bool) {
        self.has_all_outcomes.store(all, Ordering::Release);
    }

    pub(crate) fn shard(&self) -> Partition {
        self.cell.shard
    }
}
