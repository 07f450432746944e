//! Work on its way to the committer.
//!
//! Writes and openings that wait together are taken together, in order, as many as fit a commit; a change of the
//! catalogue is taken alone. Each work is answered once; work that nobody can do any more is dropped, which tells those
//! who wait.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use headwater_core::log::{CommitError, Head, LogError, TopicDescription, TopicSettings};
use headwater_core::position::Position;
use headwater_core::topic::{Offset, TopicName};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::batch::Encoded;
use super::catalogue::Topic;
use crate::log::groups::{ShardId, Term};

/// The most bytes of records that share a commit, unless one transaction alone has more.
const BATCH_BYTES_MAX: usize = 32 << 20;

/// What the committer is asked to do; each is answered once.
pub(super) enum Work {
    Write(Write),
    Open(Open),
    Admin(Admin),
}

/// Gives out an epoch, and tells the shard's head.
pub(super) struct Open {
    pub(super) shard: ShardId,
    /// Which gain of the shard the member that asks has.
    pub(super) term: Term,
    pub(super) answer: Answer<Option<(u64, Option<Head>)>>,
}

/// Changes that have a commit of their own.
pub(super) enum Admin {
    Create {
        name: TopicName,
        settings: TopicSettings,
        answer: Answer<TopicDescription>,
    },
    Alter {
        name: TopicName,
        settings: TopicSettings,
        answer: Answer<TopicDescription>,
    },
    Delete {
        name: TopicName,
        answer: Answer<()>,
    },
    /// Drops records below `to`.
    Trim {
        topic: Arc<Topic>,
        partition: u32,
        to: u64,
        answer: Done,
    },
    /// Replaces runs of records, each from a first to a last offset, by stubs.
    Supersede {
        topic: Arc<Topic>,
        partition: u32,
        runs: Vec<(u64, u64)>,
        answer: Done,
    },
    /// Drops what a deleted topic has from its first birth up to a key; without one, its row.
    Purge {
        topic: Arc<Topic>,
        to: Option<Vec<u8>>,
        answer: Done,
    },
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, LogError>>;

/// Upkeep waits on its own thread, outside of any runtime.
pub(super) type Done = std::sync::mpsc::SyncSender<Result<(), LogError>>;

/// Records, and what a writer says with them.
pub(super) struct Write {
    pub(super) batch: Encoded,
    pub(super) by: Option<Statement>,
    pub(super) answer: oneshot::Sender<Result<Vec<Offset>, CommitError>>,
}

/// What a writer commits about its shard.
pub(super) struct Statement {
    pub(super) shard: ShardId,
    pub(super) epoch: u64,
    pub(super) positions: Position,
    pub(super) note: Bytes,
}

/// Work that waits for the committer.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Default)]
struct Waiting {
    work: VecDeque<Work>,
    closed: bool,
}

impl Waiting {
    fn next(&mut self) -> Option<Batch> {
        match self.work.pop_front()? {
            Work::Admin(admin) => Some(Batch::Alone(admin)),
            first => Some(Batch::Shared(take_shared(first, &mut self.work))),
        }
    }
}

impl Queue {
    /// Hands work over; gives it back if the log is closed.
    #[expect(clippy::result_large_err, reason = "work that is refused goes back whole, to be answered")]
    pub(super) fn push(&self, work: Work) -> Result<(), Work> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(work);
        }
        waiting.work.push_back(work);
        drop(waiting);
        self.arrived.notify_one();
        Ok(())
    }

    /// Refuses further work; what waits is still done.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Refuses further work, and answers none of what waits: nobody is there to do it.
    pub(super) fn abandon(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        let abandoned = std::mem::take(&mut waiting.work);
        drop(waiting);
        // Dropping the answers tells those who wait.
        drop(abandoned);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }

    /// Waits for work and takes what may share a commit; `None` when closed and empty.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut waiting = self.waiting.lock();
        loop {
            match waiting.next() {
                Some(batch) => return Some(batch),
                None if waiting.closed => return None,
                None => self.arrived.wait(&mut waiting),
            }
        }
    }

    /// Whether nothing waits, and more may come.
    pub(super) fn is_idle(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting.work.is_empty() && !waiting.closed
    }
}

/// What the committer does at once.
pub(super) enum Batch {
    Shared(VecDeque<Work>),
    Alone(Admin),
}

fn take_shared(first: Work, work: &mut VecDeque<Work>) -> VecDeque<Work> {
    let mut bytes = first.bytes();
    let mut batch = VecDeque::from([first]);
    while let Some(next) = work.front().filter(|next| !matches!(next, Work::Admin(_))) {
        bytes += next.bytes();
        if bytes > BATCH_BYTES_MAX {
            break;
        }
        batch.extend(work.pop_front());
    }
    batch
}

impl Work {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Write(write) => write.batch.bytes.len() + write.by.as_ref().map_or(0, |by| by.note.len()),
            Self::Open(_) | Self::Admin(_) => 0,
        }
    }
}
