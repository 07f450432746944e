//! A write that is under way, and the waiting for its answer.

use std::future::poll_fn;
use std::task::Poll;

use headwater_core::log::LogError;

use super::MemoryLog;
use super::faults::Op;
use super::state::{Epoch, FlightId, Write, Written};
use crate::log::groups::ShardId;

/// A write that was handed over. Dropped before it was answered, it happens or not.
pub(super) struct Ticket {
    log: MemoryLog,
    id: FlightId,
    turns: u32,
    writer: Option<(ShardId, Epoch)>,
}

impl Ticket {
    pub(super) fn submit(log: &MemoryLog, write: Write) -> Result<Self, LogError> {
        let writer = match &write {
            Write::Commit(of, epoch, _) => Some((of.clone(), *epoch)),
            Write::Append(_) => None,
        };
        let now = log.now();
        let (id, turns) = log.state()?.submit(write, now);
        Ok(Self { log: log.clone(), id, turns, writer })
    }

    pub(super) async fn answer(self) -> Written {
        turns(self.turns).await;
        let op = if self.writer.is_some() { Op::Commit } else { Op::Append };
        self.log.until_released(op).await;
        let now = self.log.now();
        self.log.shared.state.lock().answer(self.id, now)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let now = self.log.now();
        self.log.shared.state.lock().forget(self.id, self.writer.as_ref(), now);
    }
}

/// Lets others run so many times.
pub(super) async fn turns(count: u32) {
    let mut left = count;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
