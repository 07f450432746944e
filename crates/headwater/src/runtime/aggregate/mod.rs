//! Running aggregates: callers, mailboxes, and the shards that decide.
//!
//! - [`handle`]: what callers use: send, ask for an outcome, read a state.
//! - [`shard`]: one shard's task: gather, decide, commit, answer.
//! - [`restore`]: bringing a shard's state to the end of its log.
//! - [`backlog`]: outcomes that are loaded while the shard decides already.
//! - [`follow`]: keeping a warm copy of another instance's shard.

mod backlog;
mod follow;
mod handle;
mod restore;
mod shard;

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_core::BoxFuture;
use headwater_core::log::{Group, TopicDescription};
use headwater_core::topic::Partition;
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};

pub(crate) use handle::AggregateHandle;
pub(crate) use shard::migrated_note;
pub use handle::{OutcomeQuery, Send};

use super::cell::ShardCell;
use super::start::{StartError, Starting, TopologyStatus};
use crate::aggregate::Aggregate;
use crate::command::{Outcome, SendError};
use crate::engine::decide::{Incoming, TABLES};

/// A kind of aggregate whose type is forgotten: what an app keeps a list of.
pub(crate) trait AnyAggregate: std::marker::Send + Sync {
    fn name(&self) -> &'static str;

    /// Makes its topics, and starts its shards.
    fn start<'a>(&'a self, starting: &'a Starting) -> BoxFuture<'a, Result<StartedAggregate, StartError>>;
}

/// A kind of aggregate that runs.
pub(crate) struct StartedAggregate {
    /// An `AggregateHandle` of its type.
    pub(crate) handle: Arc<dyn std::any::Any + std::marker::Send + Sync>,
    pub(crate) status: TopologyStatus,
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
    pub(crate) reply: oneshot::Sender<Result<Outcome<A>, SendError>>,
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

    fn start<'a>(&'a self, starting: &'a Starting) -> BoxFuture<'a, Result<StartedAggregate, StartError>> {
        Box::pin(async move {
            let topics = starting.aggregate_topics(A::NAME);
            let version = A::STATE_VERSION;
            let store_name = format!("{}.{}", starting.app, crate::topology::versioned(A::NAME, version));
            let store = starting.open_store(&store_name, &TABLES)?;
            starting.remove_other_versions(A::NAME, version)?;
            let cells: Arc<[Arc<ShardCell>]> = starting.cells();
            let status =
                TopologyStatus::new(A::NAME, topics.events.name.clone(), store.clone(), cells.clone());
            let aggregate_cells: Arc<[AggregateCell<A>]> =
                cells.iter().cloned().map(AggregateCell::new).collect();
            let handle = AggregateHandle::new(starting, topics.clone(), aggregate_cells.clone());
            let shards = shard::AggregateShards {
                shell: starting.shell.clone(),
                options: starting.options.clone(),
                source: format!("/{}/{}", starting.app, A::NAME),
                topics: topics.clone(),
                store,
                cells: aggregate_cells,
                group: format!("{}.{}", starting.app, A::NAME),
            };
            let group = Group {
                name: shards.group.clone(),
                shards: starting.options.partitions,
                topic: topics.commands.name.clone(),
            };
            starting.run_group(group, Arc::new(shards));
            Ok(StartedAggregate { handle: Arc::new(handle), status })
        })
    }
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
