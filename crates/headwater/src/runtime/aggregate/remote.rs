//! Commands, outcomes and states of shards that another instance owns, and answering when another instance asks.
//!
//! A command may be handed over more than once, to one owner and the next: under one id it has one effect. If any of the
//! attempts may have arrived, an end without an outcome is *unknown*.

use std::time::Duration;

use bytes::Bytes;
use headwater_core::BoxFuture;
use headwater_core::key::{decode_text, text};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::handle::{COMMAND_WITHIN, WAIT_FOR_SHARD};
use super::{AggregateCell, AggregateHandle};
use crate::aggregate::Aggregate;
use crate::command::{CommandId, Outcome, SendError};
use crate::engine::decide::Incoming;
use crate::engine::outcome::rejection_text;
use crate::runtime::cell::Phase;
use crate::runtime::instances::{Route, Routes};
use crate::runtime::peers::forward::{Errand, Forwarded};
use crate::runtime::peers::question::{AggregateAsk, OutcomeTold, Question, Reply};
use crate::runtime::peers::{AnswersPeers, Frame, FrameError};

/// How long a caller rests when the shard was lost between looking and asking.
const REST: Duration = Duration::from_millis(20);

type Told = Result<OutcomeTold, SendError>;

impl<A: Aggregate> AggregateHandle<A> {
    /// Decides a command where its shard is.
    pub(super) async fn submit(&self, mut incoming: Incoming<A>) -> Result<Outcome<A>, SendError> {
        let begun = Instant::now();
        let (patience, deadline) = (begun + WAIT_FOR_SHARD, begun + COMMAND_WITHIN);
        let Some(routes) = &self.routes else { return self.submit_here(incoming, deadline).await };
        let cell = self.cell(&incoming.id)?;
        let mut lost = false;
        loop {
            let again = again(&incoming);
            let is_elsewhere = cell.cell.phase() == Phase::Waiting;
            let is_nobodys = is_elsewhere && routes.owner(A::NAME, cell.shard()) == Route::Nobody;
            let answer = if let Some(cut_off) = self.cut_off().filter(|_| is_nobodys) {
                // Nobody comes to have it meanwhile.
                Err(cut_off)
            } else if is_elsewhere {
                self.submit_there(routes, cell, incoming, (patience, deadline), &mut lost).await
            } else {
                self.submit_here(incoming, deadline).await
            };
            match answer {
                Err(SendError::Moving { .. }) if Instant::now() < patience && self.cut_off().is_none() => {
                    tokio::time::sleep(REST).await;
                }
                Err(error) if lost && !error.is_final() => return Ok(Outcome::Unknown(again.command_id)),
                answer => return answer,
            }
            incoming = again;
        }
    }

    async fn submit_there(
        &self,
        routes: &Routes,
        cell: &AggregateCell<A>,
        incoming: Incoming<A>,
        (patience, deadline): (Instant, Instant),
        lost: &mut bool,
    ) -> Result<Outcome<A>, SendError> {
        let ask = AggregateAsk::Send {
            command_id: incoming.command_id.clone(),
            expected: incoming.expected,
            origin: incoming.origin.clone(),
        };
        let parts = vec![Some(id_text::<A>(&incoming.id)?), Some(incoming.payload)];
        let (trace, command_id) = (incoming.origin.traceparent.as_deref(), incoming.command_id);
        let told: Option<Frame<Told>> =
            self.ask(routes, cell, ask, parts, trace, (patience, deadline), lost).await?;
        let Some(told) = told else { return Err(self.moving(cell.shard())) };
        untold(told.head?, &command_id)
    }

    /// The outcome of a command, waited for; `None` if there is none yet.
    pub(super) async fn outcome(
        &self,
        id: &A::Id,
        command_id: &CommandId,
        within: Duration,
    ) -> Result<Option<Outcome<A>>, SendError> {
        let cell = self.cell(id)?;
        let Some(routes) = self.routes.as_ref().filter(|_| cell.cell.phase() == Phase::Waiting) else {
            return self.outcome_here(id, command_id, within).await;
        };
        let ask = AggregateAsk::Outcome {
            command_id: command_id.clone(),
            wait_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
        };
        let patience = Instant::now() + WAIT_FOR_SHARD;
        let bounds = (patience, patience + within);
        let parts = vec![Some(id_text::<A>(id)?)];
        let told: Option<Frame<Result<Option<OutcomeTold>, SendError>>> =
            self.ask(routes, cell, ask, parts, None, bounds, &mut false).await?;
        let Some(told) = told else { return self.outcome_here(id, command_id, within).await };
        told.head?.map(|told| untold(told, command_id)).transpose()
    }

    /// The row of an aggregate's committed state; `None` if it has no events.
    pub(super) async fn row(&self, id: &A::Id) -> Result<Option<Bytes>, SendError> {
        let cell = self.cell(id)?;
        let Some(routes) = self.routes.as_ref().filter(|_| cell.cell.phase() == Phase::Waiting) else {
            return self.row_here(id).await;
        };
        let patience = Instant::now() + WAIT_FOR_SHARD;
        let parts = vec![Some(id_text::<A>(id)?)];
        let told: Option<Frame<Result<(), SendError>>> = self
            .ask(routes, cell, AggregateAsk::State, parts, None, (patience, patience), &mut false)
            .await?;
        let Some(told) = told else { return self.row_here(id).await };
        told.head?;
        Ok(told.parts.into_iter().next().flatten())
    }

    /// Asks the shard's owner; `None` if the shard is here meanwhile.
    #[allow(clippy::too_many_arguments, reason = "one question with its bounds, asked from three places")]
    async fn ask<T: DeserializeOwned>(
        &self,
        routes: &Routes,
        cell: &AggregateCell<A>,
        ask: AggregateAsk,
        parts: Vec<Option<Bytes>>,
        traceparent: Option<&str>,
        (patience, deadline): (Instant, Instant),
        lost: &mut bool,
    ) -> Result<Option<Frame<T>>, SendError> {
        let head = Question::Aggregate { name: A::NAME.to_owned(), shard: cell.shard(), ask };
        let kind = head.name();
        let body = Frame { head, parts }.encode().map_err(|error| SendError::Invalid(error.to_string()))?;
        let errand = Errand {
            routes,
            kind,
            topology: A::NAME,
            cell: &cell.cell,
            any_copy: false,
            body,
            traceparent,
            patience,
            deadline,
        };
        match errand.run(lost).await {
            Forwarded::Answered(frame) => Ok(Some(frame)),
            Forwarded::Here => Ok(None),
            Forwarded::GaveUp(reason) => {
                tracing::warn!(aggregate = A::NAME, shard = cell.shard().0, reason, "no instance answered");
                Err(self.moving(cell.shard()))
            }
        }
    }
}

impl<A: Aggregate> AnswersPeers for AggregateHandle<A> {
    fn answer(
        &self,
        ask: AggregateAsk,
        parts: Vec<Option<Bytes>>,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Bytes, FrameError>> {
        Box::pin(async move {
            let mut parts = parts.into_iter().map(Option::unwrap_or_default);
            let id: Result<A::Id, _> = decode_text(&parts.next().unwrap_or_default());
            let id = match id {
                Ok(id) => id,
                Err(error) => {
                    return Reply::Done(Told::Err(SendError::Invalid(error.to_string()))).with(vec![]);
                }
            };
            if self.cell(&id).is_ok_and(|cell| cell.cell.phase() == Phase::Waiting) {
                return Reply::<()>::Moved.with(vec![]);
            }
            match ask {
                AggregateAsk::Send { command_id, expected, origin } => {
                    let payload = parts.next().unwrap_or_default();
                    let incoming =
                        Incoming { id, payload, command: None, command_id, expected, origin, appended: None };
                    reply(self.submit_here(incoming, deadline).await.and_then(told), vec![])
                }
                AggregateAsk::Outcome { command_id, wait_ms } => {
                    let within = Duration::from_millis(wait_ms);
                    let outcome = self.outcome_here(&id, &command_id, within).await;
                    reply(outcome.and_then(|outcome| outcome.map(told).transpose()), vec![])
                }
                AggregateAsk::State => match self.row_here(&id).await {
                    Ok(row) => reply(Ok(()), vec![row]),
                    Err(error) => reply(Err::<(), _>(error), vec![]),
                },
            }
        })
    }
}

fn reply<T: serde::Serialize>(
    answer: Result<T, SendError>,
    parts: Vec<Option<Bytes>>,
) -> Result<Bytes, FrameError> {
    match answer {
        Err(SendError::Moving { .. }) => Reply::<()>::Moved.with(vec![]),
        answer => Reply::Done(answer).with(parts),
    }
}

fn told<A: Aggregate>(outcome: Outcome<A>) -> Told {
    Ok(match outcome {
        Outcome::Accepted(receipt) => OutcomeTold::Accepted(receipt.to_string()),
        Outcome::Rejected(rejection) => OutcomeTold::Rejected(
            rejection_text(&rejection).map_err(|error| SendError::Invalid(error.to_string()))?,
        ),
        Outcome::Unknown(_) => OutcomeTold::Unknown,
    })
}

fn untold<A: Aggregate>(told: OutcomeTold, command_id: &CommandId) -> Result<Outcome<A>, SendError> {
    let unreadable = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, command_id = %command_id, "another instance's answer cannot be read");
        Outcome::Unknown(command_id.clone())
    };
    Ok(match told {
        OutcomeTold::Accepted(receipt) => {
            receipt.parse().map_or_else(|error| unreadable(&error), Outcome::Accepted)
        }
        OutcomeTold::Rejected(rejection) => {
            serde_json::from_str(&rejection).map_or_else(|error| unreadable(&error), Outcome::Rejected)
        }
        OutcomeTold::Unknown => Outcome::Unknown(command_id.clone()),
    })
}

fn id_text<A: Aggregate>(id: &A::Id) -> Result<Bytes, SendError> {
    text(id).map_err(|error| SendError::Invalid(error.to_string()))
}

/// The same command once more, read from its payload.
fn again<A: Aggregate>(incoming: &Incoming<A>) -> Incoming<A> {
    Incoming {
        id: incoming.id.clone(),
        payload: incoming.payload.clone(),
        command: None,
        command_id: incoming.command_id.clone(),
        expected: incoming.expected,
        origin: incoming.origin.clone(),
        appended: None,
    }
}
