//! A view that runs, here or elsewhere: which state answers for a shard, and what it answers.
//!
//! Invariant: nothing here waits for another instance. What another instance asks is answered by this file alone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::codec::{Codec, Json};
use headwater_core::position::Position;
use headwater_core::store::{KeyRange, StateStores, TableId};
use headwater_core::topic::{Offset, Partition, TopicName};
use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::QueryError;
use crate::engine::history::{History, Untold, Version};
use crate::engine::row::RowFormat;
use crate::engine::spans::{NoSpans, beginning, ending_from};
use crate::engine::state::StateRead;
use crate::runtime::cell::{Bell, Phase, ShardCell};
use crate::runtime::changes::Batch;
use crate::runtime::fold::is_whole;
use crate::runtime::instances::{Route, Routes};
use crate::runtime::observe;
use crate::runtime::peers::question::Made;
use crate::store::overlay::ShardState;
use crate::topology::{Definition, Kind};

/// The one table of a view's store.
pub(crate) const TABLE: TableId = TableId(0);
/// How long a question waits for a shard that reads the last records before it can answer.
const WAIT_FOR_RESTORE: Duration = Duration::from_millis(500);
/// How long a watcher that is ahead of a new owner waits for it to come as far.
const WAIT_FOR_OWNER: Duration = Duration::from_secs(2);

/// A version of a view that an earlier program built.
pub(crate) struct OlderVersion {
    pub(crate) version: u32,
    pub(crate) store_name: String,
    pub(crate) states: Vec<Arc<ShardState>>,
}

/// Where a view runs.
#[derive(Clone)]
pub(crate) struct ViewPlace {
    /// Whether shards of it run in this process.
    pub(crate) runs_here: bool,
    /// Whether every instance that runs it holds all shards.
    pub(crate) replicated: bool,
    /// The other instances, where there can be any.
    pub(crate) routes: Option<Arc<Routes>>,
    pub(crate) bell: Bell,
    pub(crate) stop: CancellationToken,
}

/// A view: its shards, and what answers while they are built.
pub(crate) struct ViewState {
    pub(crate) name: String,
    pub(crate) version: u32,
    /// Its name among the topologies.
    pub(crate) topology: String,
    pub(crate) source: TopicName,
    pub(crate) cells: Arc<[Arc<ShardCell>]>,
    pub(crate) place: ViewPlace,
    /// How its rows are written.
    pub(crate) rows: RowFormat,
    history: Option<History>,
    older: RwLock<Vec<OlderVersion>>,
    reads: metrics::Counter,
}

/// Which state answers for a shard.
pub(super) struct Answering {
    pub(super) state: Arc<ShardState>,
    pub(super) frozen_version: Option<u32>,
}

/// What a shard is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Get(Bytes),
    Page(KeyRange, usize),
    Count,
    /// The same as of a time.
    Past(Timestamp, Box<Self>),
    /// The versions of a key that held between two times, both included, and the one that follows.
    Versions(Bytes, (Timestamp, Timestamp)),
    /// The windows in a range of one key's that end from a time on.
    EndingFrom(KeyRange, Timestamp),
    /// The windows in a range that begin between two times, both included.
    Beginning(KeyRange, (Timestamp, Timestamp), usize),
}

/// What a shard answers.
#[derive(Debug, Clone)]
pub(crate) struct ShardAnswer {
    pub(crate) got: Got,
    pub(crate) made: Made,
}

#[derive(Debug, Clone)]
pub(crate) enum Got {
    Value(Option<Bytes>),
    Rows(Vec<(Bytes, Bytes)>),
    Count(u64),
    Versions(Vec<Version>),
}

/// What a watcher of a shard has not seen.
#[derive(Debug)]
pub(crate) enum Fresh {
    /// All rows, standing at an offset of the source.
    Reset(Vec<(Bytes, Bytes)>, Offset),
    /// The batches since; none if nothing came in time.
    Batches(Vec<Batch>),
}

/// Why a shard did not answer here.
pub(crate) enum NotAnswered {
    /// It is another instance's.
    Moved,
    Failed(QueryError),
}

impl From<QueryError> for NotAnswered {
    fn from(error: QueryError) -> Self {
        Self::Failed(error)
    }
}

impl ViewState {
    pub(crate) fn new(
        definition: &Definition,
        source: TopicName,
        cells: Arc<[Arc<ShardCell>]>,
        older: Vec<OlderVersion>,
        place: ViewPlace,
    ) -> Self {
        Self {
            name: definition.name.clone(),
            version: definition.version,
            topology: definition.versioned_name(),
            source,
            cells,
            place,
            rows: match definition.kind {
                Kind::Fold { rows, .. } => rows,
                Kind::Observer | Kind::Emitter { .. } => RowFormat::Plain,
            },
            history: definition.history(),
            older: RwLock::new(older),
            reads: observe::view_reads(&definition.name),
        }
    }

    pub(crate) fn cell(&self, shard: Partition) -> &ShardCell {
        &self.cells[shard.0 as usize]
    }

    /// Whether a shard is to be asked here: it is here, or there is nobody else.
    pub(crate) fn is_here(&self, shard: Partition) -> bool {
        self.place.runs_here
            && (self.place.replicated
                || self.place.routes.is_none()
                || self.cell(shard).phase() != Phase::Waiting)
    }

    fn may_move(&self) -> bool {
        self.place.routes.is_some() && !self.place.replicated
    }

    /// Whether the view can be asked at this instance at all.
    pub(crate) fn can_be_asked(&self) -> bool {
        self.place.runs_here || self.place.routes.is_some()
    }

    /// Drops older versions once every shard has caught up, here or elsewhere.
    pub(crate) async fn switch_when_caught_up(self: Arc<Self>, stores: Arc<dyn StateStores>) {
        if self.older.read().is_empty() {
            return;
        }
        let stop = self.place.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = self.caught_up() => {}
        }
        for older in std::mem::take(&mut *self.older.write()) {
            drop(older.states);
            tracing::info!(view = self.name, version = older.version, "switched; removing the older version");
            if let Err(error) = stores.remove(&older.store_name) {
                tracing::warn!(view = self.name, %error, "the older version could not be removed");
            }
        }
    }

    async fn caught_up(&self) {
        let mut bell = self.place.bell.listen();
        let elsewhere = |cell: &ShardCell| match &self.place.routes {
            Some(routes) if cell.phase() == Phase::Waiting => {
                matches!(routes.owner(&self.topology, cell.shard), Route::There(_))
            }
            _ => false,
        };
        loop {
            bell.mark_unchanged();
            let running = self.cells.iter().filter(|cell| cell.phase() == Phase::Running).count();
            let others = self.cells.iter().filter(|cell| elsewhere(cell)).count();
            if running > 0 && running + others == self.cells.len() || bell.changed().await.is_err() {
                return;
            }
        }
    }

    /// The state that answers for a shard; waits until there is one.
    async fn answering(&self, shard: Partition, deadline: Instant) -> Result<Answering, NotAnswered> {
        let cell = self.cell(shard);
        if cell.phase() == Phase::Waiting {
            if self.may_move() {
                return Err(NotAnswered::Moved);
            }
            let mut phase = cell.watch_phase();
            let _ = tokio::time::timeout_at(deadline, phase.wait_for(|phase| *phase != Phase::Waiting)).await;
        }
        if let Some(frozen) = self.frozen(shard) {
            return Ok(frozen);
        }
        if matches!(cell.phase(), Phase::Restoring { .. }) {
            let mut phase = cell.watch_phase();
            let soon = deadline.min(Instant::now() + WAIT_FOR_RESTORE);
            let restored = phase.wait_for(|phase| !matches!(phase, Phase::Restoring { .. }));
            let _ = tokio::time::timeout_at(soon, restored).await;
        }
        let building = |done, total| QueryError::Building { view: self.name.clone(), done, total };
        match (cell.phase(), cell.state()) {
            (Phase::Running, Some(state)) => Ok(Answering { state, frozen_version: None }),
            (Phase::Stopped { .. }, Some(state)) if cell.is_whole() => {
                Ok(Answering { state, frozen_version: None })
            }
            // What it folded before it had caught up would look like all there is.
            (Phase::Stopped { reason }, _) => {
                Err(QueryError::Stopped { view: self.name.clone(), reason }.into())
            }
            (Phase::Restoring { done, total }, _) => Err(building(done, total).into()),
            (Phase::Waiting, _) if self.may_move() => Err(NotAnswered::Moved),
            _ => Err(building(0, 0).into()),
        }
    }

    /// The older version's state of a shard, if there is one that had caught up: a part of it is no answer.
    fn frozen(&self, shard: Partition) -> Option<Answering> {
        let older = self.older.read();
        let newest = older.first()?;
        let state = newest.states.get(shard.0 as usize)?.clone();
        let whole = state.checkpoint().is_some_and(|checkpoint| is_whole(&checkpoint));
        whole.then(|| Answering { state, frozen_version: Some(newest.version) })
    }

    /// Answers from the shard that is here, once it stands at `needed`.
    pub(crate) async fn answer_here(
        &self,
        shard: Partition,
        needed: Option<Offset>,
        deadline: Instant,
        ask: &Ask,
    ) -> Result<ShardAnswer, NotAnswered> {
        self.reads.increment(1);
        let answering = self.ready(shard, needed, deadline).await?;
        Ok(self.read(&answering, ask)?)
    }

    async fn ready(
        &self,
        shard: Partition,
        needed: Option<Offset>,
        deadline: Instant,
    ) -> Result<Answering, NotAnswered> {
        let begun = Instant::now();
        let Some(next) = needed else { return self.answering(shard, deadline).await };
        loop {
            self.reach(self.cell(shard), (0, next), begun, deadline).await?;
            let answering = self.answering(shard, deadline).await?;
            if self.stands_at(&answering, shard) >= next {
                return Ok(answering);
            }
            // What answers stands before what was reached: an older version, or a shard that began again meanwhile
            // from what was flushed.
            if answering.frozen_version.is_some() || Instant::now() >= deadline {
                let waited = begun.elapsed();
                return Err(QueryError::NotYet { view: self.name.clone(), waited }.into());
            }
            tokio::task::yield_now().await;
        }
    }

    fn stands_at(&self, answering: &Answering, shard: Partition) -> Offset {
        let checkpoint = answering.state.checkpoint().unwrap_or_default();
        checkpoint.position.get(&self.source.partition(shard.0)).unwrap_or_default()
    }

    /// Waits until a shard has committed up to `next` of the source of this index.
    pub(crate) async fn reach(
        &self,
        cell: &ShardCell,
        (source, next): (usize, Offset),
        begun: Instant,
        deadline: Instant,
    ) -> Result<(), NotAnswered> {
        match reach(cell, (source, next), self.may_move(), deadline).await {
            Reached::Yes => Ok(()),
            Reached::Moved => Err(NotAnswered::Moved),
            Reached::Stopped(reason) => Err(QueryError::Stopped { view: self.name.clone(), reason }.into()),
            Reached::NotYet => {
                Err(QueryError::NotYet { view: self.name.clone(), waited: begun.elapsed() }.into())
            }
        }
    }

    fn read(&self, answering: &Answering, ask: &Ask) -> Result<ShardAnswer, QueryError> {
        let state = &answering.state;
        let read = match ask {
            Ask::EndingFrom(windows, time) => {
                return self.read_spans(answering, |table| ending_from(TABLE, windows, *time, table));
            }
            Ask::Beginning(windows, starts, limit) => {
                return self.read_spans(answering, |table| beginning(TABLE, windows, *starts, *limit, table));
            }
            Ask::Past(time, ask) => {
                return self
                    .read_history(answering, |history, past| self.read_past(ask, *time, history, past));
            }
            Ask::Versions(key, times) => {
                return self.read_history(answering, |history, past| {
                    Ok(Got::Versions(history.versions(key, *times, past)?))
                });
            }
            Ask::Get(key) => {
                state.get_at(TABLE, key).map(|(value, at)| (Got::Value(value), at.position.clone()))
            }
            Ask::Page(keys, limit) => state
                .page(TABLE, keys, *limit)
                .map(|page| (Got::Rows(page.rows), page.checkpoint.position.clone())),
            Ask::Count => state.count_at(TABLE).map(|(count, at)| (Got::Count(count), at.position.clone())),
        };
        let (got, position) = read.map_err(|error| self.unreadable(error))?;
        Ok(self.answered(got, position, answering))
    }

    /// Reads windows from a shard's rows, all of it as of one commit.
    fn read_spans(
        &self,
        answering: &Answering,
        read: impl FnOnce(&dyn StateRead) -> Result<Vec<(Bytes, Bytes)>, NoSpans>,
    ) -> Result<ShardAnswer, QueryError> {
        let (rows, at) = answering.state.look_up_at(read).map_err(|error| self.unreadable(error))?;
        let rows = rows.map_err(|error| self.unreadable(error))?;
        Ok(self.answered(Got::Rows(rows), at.position.clone(), answering))
    }

    fn answered(&self, got: Got, position: Position, answering: &Answering) -> ShardAnswer {
        let made = Made { position, frozen_version: answering.frozen_version, stale_ms: self.stale_ms() };
        ShardAnswer { got, made }
    }

    /// Reads from the versions of a shard's rows, all of it as of one commit.
    fn read_history(
        &self,
        answering: &Answering,
        read: impl FnOnce(History, &dyn StateRead) -> Result<Got, Untold>,
    ) -> Result<ShardAnswer, QueryError> {
        let history = self.history.ok_or_else(|| self.no_history("its table keeps no versions"))?;
        if answering.frozen_version.is_some() {
            // What an older version has kept, it has kept in another way.
            let (done, total) = self.progress();
            return Err(QueryError::Building { view: self.name.clone(), done, total });
        }
        let read = answering.state.look_up_at(|past| read(history, past));
        let (got, at) = read.map_err(|error| self.unreadable(error))?;
        let got = got.map_err(|untold| match untold {
            Untold::BeforeHistory(begins) => QueryError::BeforeHistory { view: self.name.clone(), begins },
            other => self.unreadable(other),
        })?;
        Ok(self.answered(got, at.position.clone(), answering))
    }

    fn read_past(
        &self,
        ask: &Ask,
        time: Timestamp,
        history: History,
        past: &dyn StateRead,
    ) -> Result<Got, Untold> {
        let row = |version: Version| Some(self.rows.row(version.time, version.value?));
        Ok(match ask {
            Ask::Page(keys, limit) => {
                let rows = history.page(keys, time, *limit, past)?.into_iter();
                Got::Rows(rows.filter_map(|(key, version)| Some((key, row(version)?))).collect())
            }
            Ask::Count => Got::Count(history.count(time, past)?),
            Ask::Get(key) => Got::Value(history.as_of(key, time, past)?.and_then(row)),
            Ask::Past(..) | Ask::Versions(..) | Ask::EndingFrom(..) | Ask::Beginning(..) => {
                return Err(Untold::Malformed);
            }
        })
    }

    pub(super) fn no_history(&self, reason: impl Into<String>) -> QueryError {
        QueryError::NoHistory { view: self.name.clone(), reason: reason.into() }
    }

    fn stale_ms(&self) -> Option<u64> {
        let silence = self.place.routes.as_ref()?.silence()?;
        Some(u64::try_from(silence.as_millis()).unwrap_or(u64::MAX))
    }

    /// What came to the shard since an offset, waited for; all rows if that is not known that far back.
    pub(crate) async fn changes_here(
        &self,
        shard: Partition,
        keys: &KeyRange,
        at: Option<Offset>,
        deadline: Instant,
    ) -> Result<Fresh, NotAnswered> {
        let cell = self.cell(shard);
        let (mut committed, mut phase) = (cell.watch_committed(), cell.watch_phase());
        let ahead_until = Instant::now() + WAIT_FOR_OWNER;
        loop {
            committed.mark_unchanged();
            phase.mark_unchanged();
            let now = cell.phase();
            if now == Phase::Waiting && (self.place.stop.is_cancelled() || self.may_move()) {
                return Err(NotAnswered::Moved);
            }
            let may_answer = now == Phase::Running || matches!(now, Phase::Stopped { .. }) && cell.is_whole();
            let is_ahead = at.is_some_and(|at| at > cell.committed()) && Instant::now() < ahead_until;
            if may_answer && !is_ahead {
                let since = at.filter(|at| *at <= cell.committed());
                match since.and_then(|at| cell.changes.after(at)) {
                    None => return Ok(self.all_rows(shard, keys)?),
                    Some(batches) if !batches.is_empty() => {
                        return Ok(Fresh::Batches(batches.into_iter().map(|b| within(b, keys)).collect()));
                    }
                    Some(_) => {}
                }
            } else if let Phase::Stopped { reason } = now {
                return Err(QueryError::Stopped { view: self.name.clone(), reason }.into());
            }
            let look_again = if is_ahead { deadline.min(ahead_until) } else { deadline };
            tokio::select! {
                changed = committed.changed() => if changed.is_err() { return Err(NotAnswered::Moved) },
                _ = phase.changed() => {}
                () = tokio::time::sleep_until(look_again) => {}
            }
            if Instant::now() >= deadline {
                return Ok(Fresh::Batches(Vec::new()));
            }
        }
    }

    fn all_rows(&self, shard: Partition, keys: &KeyRange) -> Result<Fresh, QueryError> {
        let state = self.cell(shard).state().ok_or_else(|| QueryError::NotHere(self.name.clone()))?;
        let page = state.page(TABLE, keys, usize::MAX).map_err(|error| self.unreadable(error))?;
        let at = page.checkpoint.position.get(&self.source.partition(shard.0)).unwrap_or_default();
        Ok(Fresh::Reset(page.rows, at))
    }

    pub(super) fn unreadable(&self, reason: impl std::fmt::Display) -> QueryError {
        QueryError::State { view: self.name.clone(), reason: reason.to_string() }
    }

    pub(super) fn unavailable(&self, reason: impl std::fmt::Display) -> QueryError {
        QueryError::Unavailable { view: self.name.clone(), reason: reason.to_string() }
    }

    /// The value of a row of the state that answers, which may be an older program's.
    pub(super) fn decode<S: Serialize + DeserializeOwned>(
        &self,
        value: &[u8],
        frozen: bool,
    ) -> Result<S, QueryError> {
        let rows = if frozen { RowFormat::of(value) } else { self.rows };
        Json.decode(rows.value_in(value)).map_err(|error| {
            if frozen {
                let (done, total) = self.progress();
                QueryError::Building { view: self.name.clone(), done, total }
            } else {
                self.unreadable(error)
            }
        })
    }

    /// Records read and to be read, over all shards that are being built.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let of = |cell: &Arc<ShardCell>| match cell.phase() {
            Phase::Restoring { done, total } => (done, total),
            _ => (0, 0),
        };
        self.cells.iter().map(of).fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1))
    }
}

fn within(batch: Batch, keys: &KeyRange) -> Batch {
    let changes = batch.changes.iter().filter(|(key, _)| keys.contains(key)).cloned().collect();
    Batch { next: batch.next, changes }
}

/// Whether a shard has come as far as it was waited for.
pub(crate) enum Reached {
    Yes,
    Moved,
    Stopped(String),
    NotYet,
}

/// Waits until a shard has committed up to an offset of a source; if it may move, only as long as it is here.
pub(crate) async fn reach(
    cell: &ShardCell,
    (source, next): (usize, Offset),
    may_move: bool,
    deadline: Instant,
) -> Reached {
    if cell.committed_of(source) >= next && !(may_move && cell.phase() == Phase::Waiting) {
        return Reached::Yes;
    }
    let (mut committed, mut phase) = (cell.watch_committed(), cell.watch_phase());
    let ended =
        |phase: &Phase| matches!(phase, Phase::Stopped { .. }) || may_move && *phase == Phase::Waiting;
    let reached = async {
        tokio::select! {
            biased;
            ended = phase.wait_for(ended) => ended.ok().map(|phase| phase.clone()),
            _ = committed.wait_for(|at| at.get(source).is_some_and(|at| *at >= next)) => None,
        }
    };
    match tokio::time::timeout_at(deadline, reached).await {
        Ok(Some(Phase::Stopped { reason })) if cell.committed_of(source) < next => Reached::Stopped(reason),
        Ok(Some(Phase::Waiting)) => Reached::Moved,
        Ok(_) => Reached::Yes,
        Err(_) => Reached::NotYet,
    }
}
