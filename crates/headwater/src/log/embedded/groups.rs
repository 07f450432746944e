//! Members, claims and writers.
//!
//! All members live in this process, so sharing a group's shards between them would gain nothing: the member that
//! joined first has every shard at once, and the next one gains them when it leaves or is dropped.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_core::BoxFuture;
use headwater_core::log::{
    Claim, CommitError, Group, LogError, LogErrorKind, Membership, Opened, ShardChange, Transaction, Writer,
};
use headwater_core::topic::{Offset, Partition};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::batch::{Encoded, Limits};
use super::catalogue::{Catalogue, ShardId};
use super::committer::{Open, Queue, Statement, Work, Write};
use super::error::{closed, invalid};
use super::format::GROUP_BYTES_MAX;

/// What a member needs of its log; it does not keep the log open.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) queue: Arc<Queue>,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) limits: Limits,
}

/// Who is in which group, in the order of joining.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Mutex<HashMap<Arc<str>, VecDeque<Seat>>>,
    changed: Notify,
}

#[derive(Debug)]
struct Seat {
    shards: u32,
    /// Tells the seats apart, and is false once the member has left.
    held: Arc<AtomicBool>,
}

impl Groups {
    pub(super) fn join(self: &Arc<Self>, access: Access, group: &Group) -> Result<Member, LogError> {
        let name: Arc<str> = group.name.as_str().into();
        if name.is_empty() || name.len() > GROUP_BYTES_MAX || name.contains('\0') {
            return Err(invalid(format!(
                "a group's name has 1 to {GROUP_BYTES_MAX} bytes, none of them zero"
            )));
        }
        let mut groups = self.groups.lock();
        let seats = groups.entry(name.clone()).or_default();
        if let Some(other) = seats.iter().find(|seat| seat.shards != group.shards) {
            return Err(invalid(format!("group {name} has {} shards, not {}", other.shards, group.shards)));
        }
        let held = Arc::new(AtomicBool::new(true));
        seats.push_back(Seat { shards: group.shards, held: held.clone() });
        Ok(Member { groups: self.clone(), access, group: name, shards: group.shards, told: 0, held })
    }

    /// Wakes every member, so that it notices that the log is closed.
    pub(super) fn wake(&self) {
        self.changed.notify_waiters();
    }

    fn is_first(&self, member: &Member) -> bool {
        let groups = self.groups.lock();
        let first = groups.get(&member.group).and_then(VecDeque::front);
        first.is_some_and(|seat| Arc::ptr_eq(&seat.held, &member.held))
    }

    fn leave(&self, member: &Member) {
        member.held.store(false, Ordering::Release);
        if let Some(seats) = self.groups.lock().get_mut(&member.group) {
            seats.retain(|seat| !Arc::ptr_eq(&seat.held, &member.held));
        }
        self.changed.notify_waiters();
    }
}

pub(super) struct Member {
    groups: Arc<Groups>,
    access: Access,
    group: Arc<str>,
    shards: u32,
    /// How many shards it has been told of.
    told: u32,
    held: Arc<AtomicBool>,
}

impl Member {
    async fn next_change(&mut self) -> Result<ShardChange, LogError> {
        loop {
            let mut changed = pin!(self.groups.changed.notified());
            // Listen before looking, so that no change in between is missed.
            changed.as_mut().enable();
            if self.access.queue.is_closed() {
                return Err(closed());
            }
            if self.told < self.shards && self.groups.is_first(self) {
                break;
            }
            changed.await;
        }
        let shard = self.told;
        self.told += 1;
        let id = ShardId { group: self.group.clone(), shard };
        let claim = EmbeddedClaim { access: self.access.clone(), shard: id, held: self.held.clone() };
        Ok(ShardChange::Gained(Partition(shard), Box::new(claim)))
    }
}

impl Membership for Member {
    fn next(&mut self) -> BoxFuture<'_, Result<ShardChange, LogError>> {
        Box::pin(self.next_change())
    }

    fn leave(self: Box<Self>) -> BoxFuture<'static, Result<(), LogError>> {
        drop(self);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.groups.clone().leave(self);
    }
}

struct EmbeddedClaim {
    access: Access,
    shard: ShardId,
    held: Arc<AtomicBool>,
}

impl EmbeddedClaim {
    async fn open_writer(&self) -> Result<Opened, LogError> {
        let (answer, answered) = oneshot::channel();
        let open = Open { shard: self.shard.clone(), held: self.held.clone(), answer };
        self.access.queue.push(Work::Open(open)).map_err(|_| closed())?;
        let Some((epoch, head)) = answered.await.map_err(|_| closed())?? else {
            let shard = self.shard.shard;
            let message = format!("shard {shard} of {} is no longer this member's", self.shard.group);
            return Err(LogError::new(LogErrorKind::Fenced, message));
        };
        let writer = EmbeddedWriter {
            access: self.access.clone(),
            shard: self.shard.clone(),
            epoch,
            dead: Arc::default(),
        };
        Ok(Opened { writer: Box::new(writer), head })
    }
}

impl Claim for EmbeddedClaim {
    fn open(&self) -> BoxFuture<'_, Result<Opened, LogError>> {
        Box::pin(self.open_writer())
    }
}

struct EmbeddedWriter {
    access: Access,
    shard: ShardId,
    epoch: u64,
    /// Once it was fenced, or does not know what became of a commit.
    dead: Arc<AtomicBool>,
}

impl EmbeddedWriter {
    /// Encodes on the caller's thread and hands over; what is refused here is not written.
    fn submit(&self, transaction: Transaction) -> Result<Answered, CommitError> {
        if self.dead.load(Ordering::Acquire) {
            return Err(CommitError::Fenced);
        }
        let refused = |error| CommitError::NotWritten { retry: false, error };
        if transaction.positions.is_empty() {
            return Err(refused(invalid("a transaction commits at least one position")));
        }
        let Limits { transaction_bytes, .. } = self.access.limits;
        if transaction.note.len() > transaction_bytes {
            return Err(refused(invalid(format!(
                "a note is larger than the limit of {transaction_bytes} bytes"
            ))));
        }
        let batch = Encoded::new(&self.access.catalogue, self.access.limits, &transaction.appends);
        let by = Statement {
            shard: self.shard.clone(),
            epoch: self.epoch,
            positions: transaction.positions,
            note: transaction.note,
        };
        submit(&self.access.queue, batch.map_err(refused)?, Some(by))
    }
}

type Answered = oneshot::Receiver<Result<Vec<Offset>, CommitError>>;

/// Hands encoded records to the committer.
pub(super) fn submit(queue: &Queue, batch: Encoded, by: Option<Statement>) -> Result<Answered, CommitError> {
    let (answer, answered) = oneshot::channel();
    match queue.push(Work::Write(Write { batch, by, answer })) {
        Ok(()) => Ok(answered),
        Err(_) => Err(CommitError::NotWritten { retry: false, error: closed() }),
    }
}

/// What became of a write that was handed over.
pub(super) async fn outcome(answered: Answered) -> Result<Vec<Offset>, CommitError> {
    // The committer answers everything it takes, unless its thread died at it.
    answered.await.unwrap_or_else(|_| Err(CommitError::Unknown(closed())))
}

impl Writer for EmbeddedWriter {
    fn commit(&mut self, transaction: Transaction) -> BoxFuture<'static, Result<Vec<Offset>, CommitError>> {
        let submitted = self.submit(transaction);
        let dead = self.dead.clone();
        Box::pin(async move {
            let result = match submitted {
                Ok(answered) => outcome(answered).await,
                Err(error) => Err(error),
            };
            if matches!(result, Err(CommitError::Fenced | CommitError::Unknown(_))) {
                dead.store(true, Ordering::Release);
            }
            result
        })
    }
}
