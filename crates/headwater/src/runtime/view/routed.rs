//! Asking a view's shards wherever they are, and answering when another instance asks.

use std::time::Duration;

use bytes::Bytes;
use headwater_core::store::KeyRange;
use headwater_core::topic::{Offset, Partition};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::QueryError;
use super::state::{Ask, Fresh, Got, NotAnswered, Reached, ShardAnswer, ViewState, reach};
use crate::engine::history::Version;
use crate::runtime::cell::{Phase, ShardCell};
use crate::runtime::changes::Batch;
use crate::runtime::peers::forward::{Errand, Forwarded};
use crate::runtime::peers::question::{Made, Question, Reply, ViewAsk, ViewTold, ends, range};
use crate::runtime::peers::{Frame, FrameError};
use crate::runtime::start::StartedEmitter;

/// How long one question for changes waits for some.
const POLL: Duration = Duration::from_secs(10);
/// How long a caller rests when the shard was lost between looking and asking.
const REST: Duration = Duration::from_millis(20);

/// How long an answer is waited for, and for whom it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<'a> {
    pub(crate) deadline: Instant,
    pub(crate) traceparent: Option<&'a str>,
}

type Told = Result<ViewTold, QueryError>;
type Parts = Vec<Option<Bytes>>;

impl ViewState {
    /// Asks a shard wherever it is, once it stands at `needed`.
    pub(super) async fn answer(
        &self,
        shard: Partition,
        needed: Option<Offset>,
        ask: &Ask,
        bounds: Bounds<'_>,
    ) -> Result<ShardAnswer, QueryError> {
        loop {
            if self.is_here(shard) {
                match self.answer_here(shard, needed, bounds.deadline, ask).await {
                    Ok(answer) => return Ok(answer),
                    Err(NotAnswered::Failed(error)) => return Err(error),
                    Err(NotAnswered::Moved) => {}
                }
            }
            let (asked, parts) = encoded(ask);
            match self.ask(shard, needed, asked, parts, bounds).await? {
                Some(frame) => return answer_of(frame, self),
                None if Instant::now() >= bounds.deadline => {
                    return Err(self.unavailable("its shard is moving"));
                }
                None => tokio::time::sleep(REST).await,
            }
        }
    }

    /// What came to a shard since an offset, wherever it is; waits for some.
    pub(crate) async fn changes(
        &self,
        shard: Partition,
        keys: &KeyRange,
        at: Option<Offset>,
    ) -> Result<Fresh, QueryError> {
        loop {
            let deadline = Instant::now() + POLL;
            if self.place.stop.is_cancelled() {
                return Err(self.unavailable("the instance is stopping"));
            }
            let fresh = if self.is_here(shard) {
                self.changes_here(shard, keys, at, deadline).await
            } else {
                self.changes_there(shard, keys, at, deadline).await
            };
            match fresh {
                Ok(Fresh::Batches(none)) if none.is_empty() => {}
                Ok(fresh) => return Ok(fresh),
                Err(NotAnswered::Moved) | Err(NotAnswered::Failed(QueryError::Unavailable { .. })) => {
                    tokio::time::sleep(REST).await;
                }
                Err(NotAnswered::Failed(error)) => return Err(error),
            }
        }
    }

    async fn changes_there(
        &self,
        shard: Partition,
        keys: &KeyRange,
        at: Option<Offset>,
        deadline: Instant,
    ) -> Result<Fresh, NotAnswered> {
        let ((from, to), parts) = ends(keys);
        let bounds = Bounds { deadline, traceparent: None };
        let asked = self.ask(shard, None, ViewAsk::Changes { from, to, at }, parts, bounds).await?;
        let Frame { head, parts } = asked.ok_or(NotAnswered::Moved)?;
        match head? {
            ViewTold::Reset(at) => Ok(Fresh::Reset(rows(parts), at)),
            ViewTold::Changes(batches) => Ok(Fresh::Batches(batches_of(batches, parts))),
            _ => Err(self.unreadable("another instance's answer does not fit the question").into()),
        }
    }

    /// Asks whoever has the shard; `None` if it is here meanwhile.
    async fn ask(
        &self,
        shard: Partition,
        needed: Option<Offset>,
        ask: ViewAsk,
        parts: Parts,
        bounds: Bounds<'_>,
    ) -> Result<Option<Frame<Told>>, QueryError> {
        let head = Question::View { name: self.name.clone(), version: self.version, shard, needed, ask };
        self.send(&self.topology, self.cell(shard), self.place.replicated, Frame { head, parts }, bounds)
            .await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        topology: &str,
        cell: &ShardCell,
        any_copy: bool,
        question: Frame<Question>,
        Bounds { deadline, traceparent }: Bounds<'_>,
    ) -> Result<Option<Frame<T>>, QueryError> {
        let Some(routes) = &self.place.routes else { return Err(QueryError::NotHere(self.name.clone())) };
        let kind = question.head.name();
        let body = question.encode().map_err(|error| self.unreadable(error))?;
        let patience = deadline;
        let errand = Errand { routes, kind, topology, cell, any_copy, body, traceparent, patience, deadline };
        match errand.run(&mut false).await {
            Forwarded::Answered(frame) => Ok(Some(frame)),
            Forwarded::Here => Ok(None),
            Forwarded::GaveUp(reason) => Err(self.unavailable(reason)),
        }
    }

    /// Waits until a topology that feeds the view has committed up to an offset of the source of this index, wherever
    /// it runs.
    pub(super) async fn reach_hop(
        &self,
        hop: &str,
        emitter: &StartedEmitter,
        source: usize,
        (shard, next): (Partition, Offset),
        bounds: Bounds<'_>,
    ) -> Result<(), QueryError> {
        let (cell, begun) = (&*emitter.cells[shard.0 as usize], Instant::now());
        loop {
            if self.place.routes.is_none() || cell.phase() != Phase::Waiting {
                match self.reach(cell, (source, next), begun, bounds.deadline).await {
                    Ok(()) => return Ok(()),
                    Err(NotAnswered::Failed(error)) => return Err(error),
                    Err(NotAnswered::Moved) => {}
                }
            }
            let head = Question::Reach { topology: hop.to_owned(), shard, next, source };
            let sent = self.send(hop, cell, false, Frame { head, parts: Vec::new() }, bounds).await?;
            let Some(frame): Option<Frame<Result<(), HopStop>>> = sent else { continue };
            return frame.head.map_err(|stop| match stop {
                HopStop::NotYet => QueryError::NotYet { view: self.name.clone(), waited: begun.elapsed() },
                HopStop::Stopped(reason) => QueryError::Stopped { view: self.name.clone(), reason },
            });
        }
    }

    /// Answers another instance's question to a shard, if the shard is here.
    pub(crate) async fn answer_peer(
        &self,
        shard: Partition,
        needed: Option<Offset>,
        ask: ViewAsk,
        parts: &[Option<Bytes>],
        deadline: Instant,
    ) -> Result<Bytes, FrameError> {
        if shard.0 as usize >= self.cells.len() || !self.is_here(shard) {
            return Reply::<()>::Moved.with(vec![]);
        }
        let told = match ask {
            ViewAsk::Changes { from, to, at } => {
                let keys = range(from, to, parts);
                self.changes_here(shard, &keys, at, deadline).await.map(told_changes)
            }
            ask => self.answer_here(shard, needed, deadline, &asked(ask, parts)).await.map(told_answer),
        };
        match told {
            Ok((told, parts)) => Reply::Done(Told::Ok(told)).with(parts),
            Err(NotAnswered::Failed(error)) => Reply::Done(Told::Err(error)).with(vec![]),
            Err(NotAnswered::Moved) => Reply::<()>::Moved.with(vec![]),
        }
    }
}

/// Why a topology did not come as far as it was waited for.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum HopStop {
    NotYet,
    Stopped(String),
}

impl StartedEmitter {
    /// Waits for another instance until a shard that is here has committed up to an offset of a source.
    pub(crate) async fn answer_peer(
        &self,
        shard: Partition,
        (source, next): (usize, Offset),
        deadline: Instant,
    ) -> Result<Bytes, FrameError> {
        let Some(cell) = self.cells.get(shard.0 as usize) else { return Reply::<()>::Moved.with(vec![]) };
        match reach(cell, (source, next), true, deadline).await {
            Reached::Yes => Reply::Done(Ok::<(), HopStop>(())).with(vec![]),
            Reached::Moved => Reply::<()>::Moved.with(vec![]),
            Reached::Stopped(reason) => Reply::Done(Err::<(), _>(HopStop::Stopped(reason))).with(vec![]),
            Reached::NotYet => Reply::Done(Err::<(), _>(HopStop::NotYet)).with(vec![]),
        }
    }
}

/// What another instance asks.
fn asked(ask: ViewAsk, parts: &[Option<Bytes>]) -> Ask {
    let key = || parts.first().cloned().flatten().unwrap_or_default();
    match ask {
        ViewAsk::Get => Ask::Get(key()),
        ViewAsk::Page { from, to, limit } => Ask::Page(range(from, to, parts), limit),
        ViewAsk::Count | ViewAsk::Changes { .. } => Ask::Count,
        ViewAsk::Past { time, ask } => Ask::Past(time, Box::new(asked(*ask, parts))),
        ViewAsk::EndingFrom { from, to, time } => Ask::EndingFrom(range(from, to, parts), time),
        ViewAsk::Beginning { from, to, starts, limit } => {
            Ask::Beginning(range(from, to, parts), starts, limit)
        }
        ViewAsk::Versions { from, to } => Ask::Versions(key(), (from, to)),
    }
}

fn encoded(ask: &Ask) -> (ViewAsk, Parts) {
    match ask {
        Ask::Past(time, ask) => {
            let (ask, parts) = encoded(ask);
            (ViewAsk::Past { time: *time, ask: Box::new(ask) }, parts)
        }
        Ask::EndingFrom(windows, time) => {
            let ((from, to), parts) = ends(windows);
            (ViewAsk::EndingFrom { from, to, time: *time }, parts)
        }
        Ask::Beginning(windows, starts, limit) => {
            let ((from, to), parts) = ends(windows);
            (ViewAsk::Beginning { from, to, starts: *starts, limit: *limit }, parts)
        }
        Ask::Versions(key, (from, to)) => {
            (ViewAsk::Versions { from: *from, to: *to }, vec![Some(key.clone())])
        }
        Ask::Get(key) => (ViewAsk::Get, vec![Some(key.clone())]),
        Ask::Page(keys, limit) => {
            let ((from, to), parts) = ends(keys);
            (ViewAsk::Page { from, to, limit: *limit }, parts)
        }
        Ask::Count => (ViewAsk::Count, vec![]),
    }
}

fn told_answer(answer: ShardAnswer) -> (ViewTold, Parts) {
    let ShardAnswer { got, made } = answer;
    match got {
        Got::Value(value) => (ViewTold::Value(made), vec![value]),
        Got::Rows(rows) => (ViewTold::Rows(made), parts_of(rows)),
        Got::Count(count) => (ViewTold::Count(made, count), vec![]),
        Got::Versions(versions) => {
            let times = versions.iter().map(|version| version.time).collect();
            let values = versions.into_iter().map(|version| version.value).collect();
            (ViewTold::Versions(made, times), values)
        }
    }
}

fn answer_of(frame: Frame<Told>, view: &ViewState) -> Result<ShardAnswer, QueryError> {
    let Frame { head, parts } = frame;
    let (got, made): (Got, Made) = match head? {
        ViewTold::Value(made) => (Got::Value(parts.into_iter().next().flatten()), made),
        ViewTold::Rows(made) => (Got::Rows(rows(parts)), made),
        ViewTold::Count(made, count) => (Got::Count(count), made),
        ViewTold::Versions(made, times) => {
            let versions = times.into_iter().zip(parts).map(|(time, value)| Version { time, value });
            (Got::Versions(versions.collect()), made)
        }
        ViewTold::Reset(_) | ViewTold::Changes(_) => {
            return Err(view.unreadable("another instance's answer does not fit the question"));
        }
    };
    Ok(ShardAnswer { got, made })
}

fn told_changes(fresh: Fresh) -> (ViewTold, Parts) {
    match fresh {
        Fresh::Reset(rows, at) => (ViewTold::Reset(at), parts_of(rows)),
        Fresh::Batches(batches) => {
            let told = batches.iter().map(|batch| (batch.next, batch.changes.len())).collect();
            let changes = batches.iter().flat_map(|batch| batch.changes.iter());
            let parts = changes.flat_map(|(key, value)| [Some(key.clone()), value.clone()]).collect();
            (ViewTold::Changes(told), parts)
        }
    }
}

fn batches_of(told: Vec<(Offset, usize)>, parts: Parts) -> Vec<Batch> {
    let mut changes = pairs(parts).filter_map(|(key, value)| Some((key?, value)));
    let batch = |(next, count)| Batch { next, changes: changes.by_ref().take(count).collect() };
    told.into_iter().map(batch).collect()
}

fn parts_of(rows: Vec<(Bytes, Bytes)>) -> Parts {
    rows.into_iter().flat_map(|(key, value)| [Some(key), Some(value)]).collect()
}

fn rows(parts: Parts) -> Vec<(Bytes, Bytes)> {
    pairs(parts).filter_map(|(key, value)| Some((key?, value?))).collect()
}

fn pairs(parts: Parts) -> impl Iterator<Item = (Option<Bytes>, Option<Bytes>)> {
    let mut parts = parts.into_iter();
    std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
}
