//! A member of a group, its claims on shards and the writers opened with them: handles on the log's state.
//!
//! A claim and its writers share a hold on the shard; the coordinator hears when the last of them is dropped.
//! A commit that was called is under way, whether or not its future is driven.

use std::sync::{Arc, Weak};

use headwater_core::BoxFuture;
use headwater_core::log::{
    Claim, CommitError, Group, LogError, Membership, Opened, ShardChange, Transaction, Writer,
};
use headwater_core::topic::Offset;
use tokio::sync::Notify;

use super::MemoryLog;
use super::faults::Op;
use super::state::{Epoch, Write};
use super::ticket::Ticket;
use crate::log::groups::{Change, MemberId, ShardId, Term};

pub(super) struct Member {
    log: MemoryLog,
    group: Arc<str>,
    id: MemberId,
    wake: Arc<Notify>,
}

impl Member {
    pub(super) fn join(log: &MemoryLog, group: &Group) -> Result<Self, LogError> {
        let (id, wake) = log.state()?.groups.join(group)?;
        Ok(Self { log: log.clone(), group: group.name.as_str().into(), id, wake })
    }

    async fn next_change(&mut self) -> Result<ShardChange, LogError> {
        loop {
            // Made before looking, so that no change in between is missed.
            let woken = self.wake.notified();
            let change = self.log.state()?.groups.next_change(&self.group, self.id);
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
                let hold = Hold { log: self.log.clone(), of, term };
                ShardChange::Gained(shard, Box::new(MemoryClaim(Arc::new(hold))))
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
        if let Ok(mut state) = self.log.state() {
            state.groups.leave(&self.group, self.id);
        }
    }
}

/// What keeps a revoked shard from going on to the next member.
struct Hold {
    log: MemoryLog,
    of: ShardId,
    term: Term,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Ok(mut state) = self.log.state() {
            state.groups.release(&self.of, self.term);
        }
    }
}

struct MemoryClaim(Arc<Hold>);

impl MemoryClaim {
    async fn open_writer(&self) -> Result<Opened, LogError> {
        let Hold { log, of, term } = &*self.0;
        log.gate(Op::Open).await?;
        let now = log.now();
        let (epoch, head) = log.state()?.open(of, *term, now)?;
        let writer = MemoryWriter { hold: self.0.clone(), epoch, last: Weak::new() };
        Ok(Opened { writer: Box::new(writer), head })
    }
}

impl Claim for MemoryClaim {
    fn open(&self) -> BoxFuture<'_, Result<Opened, LogError>> {
        Box::pin(self.open_writer())
    }
}

struct MemoryWriter {
    hold: Arc<Hold>,
    epoch: Epoch,
    /// Alive until the last commit is answered or given up.
    last: Weak<()>,
}

impl Writer for MemoryWriter {
    /// # Panics
    ///
    /// If the last commit is neither answered nor dropped: the caller breaks the contract.
    fn commit(&mut self, transaction: Transaction) -> BoxFuture<'static, Result<Vec<Offset>, CommitError>> {
        assert!(self.last.upgrade().is_none(), "a commit was called before the last one was answered");
        let (hold, unanswered) = (self.hold.clone(), Arc::new(()));
        self.last = Arc::downgrade(&unanswered);
        let write = Write::Commit(hold.of.clone(), self.epoch, transaction);
        let ticket = Ticket::submit(&hold.log, write);
        Box::pin(async move {
            let written = match ticket {
                Ok(ticket) => ticket.answer().await,
                Err(_) => Err(CommitError::Fenced),
            };
            // The hold outlasts the commit: the shard does not move on before.
            drop((hold, unanswered));
            written
        })
    }
}
