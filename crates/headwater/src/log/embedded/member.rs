//! A member of a group, its claims on shards, and their writers: handles that do not keep the log open.
//!
//! A claim, its writers and their commits on the way share a hold on the shard; when the last of them is dropped, a
//! shard that was revoked goes on to the next member.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_core::BoxFuture;
use headwater_core::log::{
    Claim, CommitError, Group, LogError, LogErrorKind, Membership, Opened, ShardChange, Transaction, Writer,
};
use headwater_core::topic::Offset;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::batch::{Encoded, Limits};
use super::catalogue::Catalogue;
use super::error::{closed, invalid};
use super::format::GROUP_BYTES_MAX;
use super::queue::{Open, Queue, Statement, Work, Write};
use crate::log::groups::{Change, Groups, MemberId, ShardId, Term};

/// What a member needs of its log.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) queue: Arc<Queue>,
    pub(super) groups: Arc<Mutex<Groups>>,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) limits: Limits,
}

pub(super) struct Member {
    access: Access,
    group: Arc<str>,
    id: MemberId,
    wake: Arc<Notify>,
}

impl Member {
    pub(super) fn join(access: Access, group: &Group) -> Result<Self, LogError> {
        let name = &group.name;
        if name.is_empty() || name.len() > GROUP_BYTES_MAX || name.contains('\0') {
            return Err(invalid(format!(
                "a group's name has 1 to {GROUP_BYTES_MAX} bytes, none of them zero"
            )));
        }
        let (id, wake) = access.groups.lock().join(group)?;
        Ok(Self { access, group: name.as_str().into(), id, wake })
    }

    async fn next_change(&mut self) -> Result<ShardChange, LogError> {
        loop {
            let mut woken = pin!(self.wake.notified());
            // Listen before looking, so that no change in between is missed.
            woken.as_mut().enable();
            if self.access.queue.is_closed() {
                return Err(closed());
            }
            let change = self.access.groups.lock().next_change(&self.group, self.id);
            match change {
                Some(change) => return Ok(self.shard_change(change)),
                None => woken.await,
            }
        }
    }

    fn shard_change(&self, change: Change) -> ShardChange {
        match change {
            Change::Gained(shard, term) => {
                let of = ShardId { group: self.group.clone(), shard };
                let hold = Hold { access: self.access.clone(), of, term };
                ShardChange::Gained(shard, Box::new(EmbeddedClaim(Arc::new(hold))))
            }
            Change::Revoked(shard) => ShardChange::Revoked(shard),
            Change::Lost(shard) => ShardChange::Lost(shard),
        }
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
        self.access.groups.lock().leave(&self.group, self.id);
    }
}

/// What keeps a revoked shard from going on to the next member.
struct Hold {
    access: Access,
    of: ShardId,
    term: Term,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.access.groups.lock().release(&self.of, self.term);
    }
}

struct EmbeddedClaim(Arc<Hold>);

impl EmbeddedClaim {
    async fn open_writer(&self) -> Result<Opened, LogError> {
        let Hold { access, of, term } = &*self.0;
        let (answer, answered) = oneshot::channel();
        let open = Open { shard: of.clone(), term: *term, answer };
        access.queue.push(Work::Open(open)).map_err(|_| closed())?;
        let Some((epoch, head)) = answered.await.map_err(|_| closed())?? else {
            let message = format!("shard {} of {} is no longer this member's", of.shard, of.group);
            return Err(LogError::new(LogErrorKind::Fenced, message));
        };
        let writer = EmbeddedWriter { hold: self.0.clone(), epoch, dead: Arc::default() };
        Ok(Opened { writer: Box::new(writer), head })
    }
}

impl Claim for EmbeddedClaim {
    fn open(&self) -> BoxFuture<'_, Result<Opened, LogError>> {
        Box::pin(self.open_writer())
    }
}

struct EmbeddedWriter {
    hold: Arc<Hold>,
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
        let access = &self.hold.access;
        let Limits { transaction_bytes, .. } = access.limits;
        if transaction.note.len() > transaction_bytes {
            return Err(refused(invalid(format!(
                "a note is larger than the limit of {transaction_bytes} bytes"
            ))));
        }
        let batch = Encoded::new(&access.catalogue, access.limits, &transaction.appends);
        let by = Statement {
            shard: self.hold.of.clone(),
            epoch: self.epoch,
            positions: transaction.positions,
            note: transaction.note,
        };
        submit(&access.queue, batch.map_err(refused)?, Some(by))
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
        let (dead, hold) = (self.dead.clone(), self.hold.clone());
        Box::pin(async move {
            let _hold = hold;
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
