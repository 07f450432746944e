//! A member of a group, its claims on shards and the writers opened with them: handles on the log's state.
//!
//! A claim and its writers share a hold on the shard; the coordinator hears when the last of them is dropped.

use std::sync::Arc;

use headwater_core::BoxFuture;
use headwater_core::log::{
    Claim, CommitError, Group, LogError, Membership, Opened, ShardChange, Transaction, Writer,
};
use headwater_core::topic::Offset;
use tokio::sync::Notify;

use super::MemoryLog;

use super::state::Epoch;
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
            let woken = self.wake.notified();
            tokio::pin!(woken);
            // Listen before looking, so that no change in between is missed.
            woken.as_mut().enable();
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
    fn open_now(&self) -> Result<Opened, LogError> {
        let Hold { log, of, term } = &*self.0;
        let (epoch, head) = log.state()?.open(of, *term)?;
        Ok(Opened { writer: Box::new(MemoryWriter { hold: self.0.clone(), epoch }), head })
    }
}

impl Claim for MemoryClaim {
    fn open(&self) -> BoxFuture<'_, Result<Opened, LogError>> {
        Box::pin(async { self.open_now() })
    }
}

struct MemoryWriter {
    hold: Arc<Hold>,
    epoch: Epoch,
}

impl Writer for MemoryWriter {
    fn commit(&mut self, transaction: Transaction) -> BoxFuture<'static, Result<Vec<Offset>, CommitError>> {
        let (hold, epoch) = (self.hold.clone(), self.epoch);
        Box::pin(async move { hold.commit_now(epoch, transaction) })
    }
}

impl Hold {
    fn commit_now(&self, epoch: Epoch, transaction: Transaction) -> Result<Vec<Offset>, CommitError> {
        let now = self.log.now();
        let mut state = self.log.state().map_err(|_| CommitError::Fenced)?;
        state.commit(&self.of, epoch, transaction, now)
    }
}
