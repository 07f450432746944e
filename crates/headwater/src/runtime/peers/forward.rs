//! Asking whoever owns a shard, in bounded time, while the shard may be moving.
//!
//! Every question may be asked again: reading has no effect, and a command has one effect at most under its id. So a
//! question whose owner goes away is asked of the next one. What is kept is whether any of the questions may have been
//! served: then a command that ends without an outcome is *unknown*, never *not written*.

use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::question::Reply;
use super::{Frame, PeerAddress, PeerError, PeerErrorKind, PeerQuestion};
use crate::runtime::cell::{Phase, ShardCell};
use crate::runtime::instances::{Route, Routes};
use crate::runtime::observe;

/// How long a question without an owner waits before it looks again, at first and at most.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A question to a shard that is not here.
pub(crate) struct Errand<'a> {
    pub(crate) routes: &'a Routes,
    /// Its kind, for metrics.
    pub(crate) kind: &'static str,
    pub(crate) topology: &'a str,
    pub(crate) cell: &'a ShardCell,
    /// Whether whoever holds a copy may answer, not the owner alone.
    pub(crate) any_copy: bool,
    pub(crate) body: Bytes,
    pub(crate) traceparent: Option<&'a str>,
    /// Until when an owner is looked for.
    pub(crate) patience: Instant,
    /// Until when one that was asked may answer.
    pub(crate) deadline: Instant,
}

/// What came of it.
pub(crate) enum Forwarded<T> {
    Answered(Frame<T>),
    /// The shard has come here meanwhile.
    Here,
    /// Nobody answered in time.
    GaveUp(String),
}

impl Errand<'_> {
    /// Asks until there is an answer, the shard is here, or nobody was found in time; tells `lost` whether a question
    /// may have been served without its answer having arrived.
    pub(crate) async fn run<T: DeserializeOwned>(&self, lost: &mut bool) -> Forwarded<T> {
        let mut phase = self.cell.watch_phase();
        let mut table = self.routes.watch();
        let mut pause = PAUSE;
        let mut reason = "no instance claims it".to_owned();
        loop {
            phase.mark_unchanged();
            table.mark_unchanged();
            if *phase.borrow() != Phase::Waiting {
                return Forwarded::Here;
            }
            if let Route::There(address) = self.route() {
                match self.ask(&address).await {
                    Ok(Reply::Done(frame)) => return Forwarded::Answered(frame),
                    Ok(Reply::Moved) => reason = format!("{address} does not own it any more"),
                    Ok(Reply::Late) => (*lost, reason) = (true, format!("{address} did not answer in time")),
                    Err(error) => {
                        *lost |= error.kind() == PeerErrorKind::Lost;
                        reason = error.to_string();
                    }
                }
            }
            let again = (Instant::now() + pause).min(self.patience);
            pause = (pause * 2).min(PAUSE_MAX);
            tokio::select! {
                biased;
                _ = phase.changed() => {}
                () = tokio::time::sleep_until(again) => {}
                _ = table.changed() => {}
            }
            if Instant::now() >= self.patience {
                return Forwarded::GaveUp(reason);
            }
        }
    }

    fn route(&self) -> Route {
        let (topology, shard) = (self.topology, self.cell.shard);
        if self.any_copy { self.routes.holder(topology, shard) } else { self.routes.owner(topology, shard) }
    }

    async fn ask<T: DeserializeOwned>(&self, address: &PeerAddress) -> Result<Reply<Frame<T>>, PeerError> {
        let question = PeerQuestion {
            app: self.routes.app.clone(),
            body: self.body.clone(),
            within: self.deadline.saturating_duration_since(Instant::now()),
            traceparent: self.traceparent.map(str::to_owned),
        };
        let asked = observe::Forwarding::begin(self.kind);
        let answer = tokio::select! {
            biased;
            answer = self.routes.cluster.peers.ask(address, question) => answer,
            () = tokio::time::sleep_until(self.deadline) => Err(lost(address, "it did not answer in time")),
            () = self.moved_from(address) => Err(lost(address, "the shard moved while it was asked")),
        };
        let answer = answer.and_then(|bytes| read(address, bytes));
        asked.end(&answer);
        answer
    }

    /// Waits until the table names another owner. A copy is asked once and for all.
    async fn moved_from(&self, address: &PeerAddress) {
        let mut table = self.routes.watch();
        loop {
            let moved = match self.route() {
                Route::There(now) => now != *address,
                Route::Here => true,
                Route::Nobody => false,
            };
            if moved && !self.any_copy || table.changed().await.is_err() {
                return;
            }
        }
    }
}

fn read<T: DeserializeOwned>(address: &PeerAddress, bytes: Bytes) -> Result<Reply<Frame<T>>, PeerError> {
    let frame: Frame<Reply<T>> = Frame::decode(bytes).map_err(|error| lost(address, &error.to_string()))?;
    Ok(match frame.head {
        Reply::Done(head) => Reply::Done(Frame { head, parts: frame.parts }),
        Reply::Moved => Reply::Moved,
        Reply::Late => Reply::Late,
    })
}

fn lost(address: &PeerAddress, reason: &str) -> PeerError {
    PeerError::new(PeerErrorKind::Lost, format!("{address}: {reason}"))
}
