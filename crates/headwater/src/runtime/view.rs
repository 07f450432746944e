//! Asking views: which state answers, and how long a reader waits for its own write.

use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_core::codec::{Codec, Json};
use headwater_core::key::{Key, decode_ordered, ordered};
use headwater_core::partitioner::partition_of;
use headwater_core::position::Position;
use headwater_core::store::{KeyRange, StateStores, TableId};
use headwater_core::topic::{Offset, Partition, TopicName};
use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cell::{Phase, ShardCell};
use super::start::StartedApp;
use super::watch::Changes;
use crate::command::Receipt;
use crate::store::overlay::ShardState;
use crate::topology::{Definition, Route};

/// How long a reader waits for its own write, unless it says otherwise.
const WITHIN: Duration = Duration::from_secs(2);
/// Rows that one page holds at most.
pub const PAGE_MAX: usize = 1_000;
/// The one table of a view's store.
pub(crate) const TABLE: TableId = TableId(0);

/// Why a view did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The view does not include the receipt's events yet.
    #[error("view \"{view}\" has not reached the receipt within {} ms: ask again", waited.as_millis())]
    NotYet {
        /// The view.
        view: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The receipt is of another log, or of a topic that was deleted and made again.
    #[error("the receipt is of {0}: ask without it")]
    ForeignReceipt(&'static str),
    /// The view is being built and nothing older can answer.
    #[error("view \"{view}\" is being built: {done} of {total} records read; ask again")]
    Building {
        /// The view.
        view: String,
        /// Records read.
        done: u64,
        /// Records there were to read.
        total: u64,
    },
    /// The view does not run here.
    #[error("view \"{0}\" does not run in this instance")]
    NotHere(String),
    /// A shard of the view stopped, and its state does not suffice for the answer.
    #[error("view \"{view}\" stopped: {reason}")]
    Stopped {
        /// The view.
        view: String,
        /// Why, naming the place.
        reason: String,
    },
    /// The key cannot be one of this view.
    #[error("the key cannot be asked for: {0}")]
    Key(String),
    /// The token of a page is none that this view gave.
    #[error("this is no page token of view \"{0}\": begin with the first page")]
    Token(String),
    /// The state cannot be read.
    #[error("view \"{view}\": {reason}")]
    State {
        /// The view.
        view: String,
        /// Why.
        reason: String,
    },
}

/// An answer, and the position that it was made at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// Per partition of the view's source, how far it had been folded.
    pub position: Position,
    /// The version of the view that answered, where it is an older one, frozen while the new one is built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen_version: Option<u32>,
}

impl<T> std::ops::Deref for Answer<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// One page of rows, and the token of the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<K, S> {
    /// Rows: in the order of their keys within a shard.
    pub rows: Vec<(K, S)>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<PageToken>,
}

/// Where a page begins; opaque, and good for as long as the view lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PageToken(String);

impl std::fmt::Display for PageToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for PageToken {
    fn from(token: String) -> Self {
        Self(token)
    }
}

impl PageToken {
    fn new(shard: Partition, after: &[u8]) -> Self {
        let hex: String = after.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{shard}.{hex}"))
    }

    fn parse(&self) -> Option<(u32, Vec<u8>)> {
        let (shard, hex) = self.0.split_once('.')?;
        let digit = |i: usize| u8::from_str_radix(hex.get(i..i + 2)?, 16).ok();
        let after = (0..hex.len()).step_by(2).map(digit).collect::<Option<_>>()?;
        Some((shard.parse().ok()?, after))
    }
}

/// A version of a view that an earlier program built.
pub(crate) struct OlderVersion {
    pub(crate) version: u32,
    pub(crate) store_name: String,
    pub(crate) states: Vec<Arc<ShardState>>,
}

/// A view that runs: its shards, and what answers while they are built.
pub(crate) struct ViewState {
    pub(crate) name: String,
    pub(crate) source: TopicName,
    pub(crate) cells: Arc<[Arc<ShardCell>]>,
    older: RwLock<Vec<OlderVersion>>,
    reads: metrics::Counter,
}

/// Which state answers for a shard.
struct Answering {
    state: Arc<ShardState>,
    frozen_version: Option<u32>,
}

impl ViewState {
    pub(crate) fn new(
        definition: &Definition,
        source: TopicName,
        cells: Arc<[Arc<ShardCell>]>,
        older: Vec<OlderVersion>,
    ) -> Self {
        let reads = super::observe::view_reads(&definition.name);
        Self { name: definition.name.clone(), source, cells, older: RwLock::new(older), reads }
    }

    /// Drops older versions once every shard has caught up.
    pub(crate) async fn switch_when_caught_up(
        self: Arc<Self>,
        stores: Arc<dyn StateStores>,
        stop: CancellationToken,
    ) {
        if self.older.read().is_empty() {
            return;
        }
        for cell in self.cells.iter() {
            let mut phase = cell.watch_phase();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                caught_up = phase.wait_for(|phase| *phase == Phase::Running) => if caught_up.is_err() { return },
            }
        }
        for older in std::mem::take(&mut *self.older.write()) {
            drop(older.states);
            tracing::info!(view = self.name, version = older.version, "switched; removing the older version");
            if let Err(error) = stores.remove(&older.store_name) {
                tracing::warn!(view = self.name, %error, "the older version could not be removed");
            }
        }
    }

    /// The state that answers for a shard; waits until there is one.
    async fn answering(&self, shard: Partition, deadline: Instant) -> Result<Answering, QueryError> {
        let cell = &self.cells[shard.0 as usize];
        if cell.phase() == Phase::Waiting {
            let mut phase = cell.watch_phase();
            let _ = tokio::time::timeout_at(deadline, phase.wait_for(|phase| *phase != Phase::Waiting)).await;
        }
        let older = self.older.read();
        if let Some(newest) = older.first() {
            let state = newest.states[shard.0 as usize].clone();
            return Ok(Answering { state, frozen_version: Some(newest.version) });
        }
        match (cell.phase(), cell.state()) {
            (Phase::Running, Some(state)) => Ok(Answering { state, frozen_version: None }),
            (Phase::Stopped { .. }, Some(state)) if cell.is_whole() => {
                Ok(Answering { state, frozen_version: None })
            }
            // What it folded before it had caught up would look like all there is.
            (Phase::Stopped { reason }, _) => Err(QueryError::Stopped { view: self.name.clone(), reason }),
            (Phase::Restoring { done, total }, _) => {
                Err(QueryError::Building { view: self.name.clone(), done, total })
            }
            _ => Err(QueryError::Building { view: self.name.clone(), done: 0, total: 0 }),
        }
    }

    fn unreadable(&self, reason: impl std::fmt::Display) -> QueryError {
        QueryError::State { view: self.name.clone(), reason: reason.to_string() }
    }

    fn decode<S: Serialize + DeserializeOwned>(&self, value: &[u8], frozen: bool) -> Result<S, QueryError> {
        Json.decode(value).map_err(|error| {
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

/// A question to a view; `get`, `of`, `range`, `scan`, `count` and `changes` ask it.
#[must_use = "a query asks when `get`, `of`, `range`, `scan`, `count` or `changes` is called"]
pub struct ViewQuery<K, S> {
    app: Arc<StartedApp>,
    view: Arc<ViewState>,
    lineage: Vec<String>,
    route: Route<K>,
    after: Option<Receipt>,
    within: Duration,
    types: PhantomData<fn() -> (K, S)>,
}

impl<K: Key, S: Serialize + DeserializeOwned + Send + 'static> ViewQuery<K, S> {
    pub(crate) fn new(
        app: Arc<StartedApp>,
        view: Arc<ViewState>,
        lineage: Vec<String>,
        route: Route<K>,
    ) -> Self {
        Self { app, view, lineage, route, after: None, within: WITHIN, types: PhantomData }
    }

    /// Answers from a state that includes what the receipt is for.
    pub fn after(mut self, receipt: &Receipt) -> Self {
        self.after = Some(self.app.resolve(receipt));
        self
    }

    /// Waits this long at most; two seconds unless set.
    pub fn within(mut self, wait: Duration) -> Self {
        self.within = wait;
        self
    }

    /// The value under a key.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn get(&self, key: &K) -> Result<Answer<Option<S>>, QueryError> {
        let shard = self.shard_of(key)?;
        let answering = self.ready(shard).await?;
        let key = ordered(key).map_err(|e| QueryError::Key(e.to_string()))?;
        let (value, checkpoint) =
            answering.state.get_at(TABLE, &key).map_err(|error| self.view.unreadable(error))?;
        let frozen = answering.frozen_version;
        let value = value.map(|value| self.view.decode(&value, frozen.is_some())).transpose()?;
        Ok(Answer { value, position: checkpoint.position.clone(), frozen_version: frozen })
    }

    /// Rows of one shard whose keys lie in a range, up to `limit`, in order.
    ///
    /// Both ends must have one partition part, so that one shard has all the rows.
    ///
    /// # Errors
    ///
    /// [`QueryError::Key`] if the ends lie in two shards.
    pub async fn range(
        &self,
        range: impl RangeBounds<K>,
        limit: usize,
    ) -> Result<Answer<Vec<(K, S)>>, QueryError> {
        let (from, to) = (range.start_bound(), range.end_bound());
        let ends = [&from, &to].into_iter().filter_map(|end| match end {
            Bound::Included(key) | Bound::Excluded(key) => Some(self.shard_of(key)),
            Bound::Unbounded => None,
        });
        let shards = ends.collect::<Result<Vec<_>, _>>()?;
        let shard = match shards[..] {
            [shard] => shard,
            [from, to] if from == to => from,
            [] => return Err(QueryError::Key("a range without ends is a scan".into())),
            _ => return Err(QueryError::Key("the ends of the range have different partition parts".into())),
        };
        let bound = |end: Bound<&K>| match end {
            Bound::Unbounded => Ok(Bound::Unbounded),
            Bound::Included(key) => ordered(key).map(Bound::Included),
            Bound::Excluded(key) => ordered(key).map(Bound::Excluded),
        };
        let failed = |e: headwater_core::key::KeyError| QueryError::Key(e.to_string());
        let mut keys = KeyRange::all();
        keys.from = bound(from).map_err(failed)?;
        keys.to = bound(to).map_err(failed)?;
        let answering = self.ready(shard).await?;
        self.rows(&answering, &keys, limit.min(PAGE_MAX)).map(|(answer, _)| answer)
    }

    /// One page of all rows, shard by shard, up to `limit` (at most [`PAGE_MAX`]); `None` begins with the first.
    ///
    /// Nothing is held between pages: each is made of the state at its own position.
    ///
    /// # Errors
    ///
    /// [`QueryError::Token`] if the token is none of this view's.
    pub async fn scan(
        &self,
        limit: usize,
        token: Option<&PageToken>,
    ) -> Result<Answer<Page<K, S>>, QueryError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let (mut shard, mut after) = match token {
            None => (0, None),
            Some(token) => {
                let (shard, after) =
                    token.parse().ok_or_else(|| QueryError::Token(self.view.name.clone()))?;
                (shard, Some(after))
            }
        };
        let shards = self.view.cells.len() as u32;
        if shard >= shards {
            return Err(QueryError::Token(self.view.name.clone()));
        }
        let mut page = Page { rows: Vec::new(), next: None };
        let (mut position, mut frozen_version) = (Position::new(), None);
        while shard < shards {
            let mut keys = KeyRange::all();
            if let Some(after) = after.take() {
                keys.from = Bound::Excluded(Bytes::from(after));
            }
            let answering = self.ready(Partition(shard)).await?;
            let (rows, last) = self.rows(&answering, &keys, limit - page.rows.len())?;
            position.advance(&rows.position);
            frozen_version = frozen_version.or(rows.frozen_version);
            page.rows.extend(rows.value);
            if page.rows.len() == limit {
                page.next = last.map(|last| PageToken::new(Partition(shard), &last));
                break;
            }
            shard += 1;
        }
        Ok(Answer { value: page, position, frozen_version })
    }

    /// How many keys the view has.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn count(&self) -> Result<Answer<u64>, QueryError> {
        let (mut count, mut position, mut frozen_version) = (0, Position::new(), None);
        for shard in (0..self.view.cells.len() as u32).map(Partition) {
            let answering = self.ready(shard).await?;
            let (keys, checkpoint) = answering.state.count_at(TABLE).map_err(|e| self.view.unreadable(e))?;
            count += keys;
            position.advance(&checkpoint.position);
            frozen_version = frozen_version.or(answering.frozen_version);
        }
        Ok(Answer { value: count, position, frozen_version })
    }

    fn rows(
        &self,
        answering: &Answering,
        keys: &KeyRange,
        limit: usize,
    ) -> Result<(Answer<Vec<(K, S)>>, Option<Bytes>), QueryError> {
        let page = answering.state.page(TABLE, keys, limit).map_err(|error| self.view.unreadable(error))?;
        let frozen = answering.frozen_version;
        let last = page.rows.last().map(|(key, _)| key.clone());
        let row = |(key, value): &(Bytes, Bytes)| {
            let key = decode_ordered(key).map_err(|error| self.view.unreadable(error))?;
            Ok((key, self.view.decode(value, frozen.is_some())?))
        };
        let value = page.rows.iter().map(row).collect::<Result<_, QueryError>>()?;
        Ok((Answer { value, position: page.checkpoint.position.clone(), frozen_version: frozen }, last))
    }

    fn shard_of(&self, key: &K) -> Result<Partition, QueryError> {
        self.shard_of_part((self.route)(key).map_err(QueryError::Key)?)
    }

    fn shard_of_part(&self, part: Bytes) -> Result<Partition, QueryError> {
        Ok(partition_of(&part, self.view.cells.len() as u32))
    }

    /// The state that answers for a shard, once it includes what was asked for.
    async fn ready(&self, shard: Partition) -> Result<Answering, QueryError> {
        let deadline = Instant::now() + self.within;
        self.view.reads.increment(1);
        let Some(receipt) = &self.after else { return self.view.answering(shard, deadline).await };
        let needed = self.wait_for(receipt, shard, deadline).await?;
        loop {
            let answering = self.view.answering(shard, deadline).await?;
            if needed.is_none_or(|next| self.stands_at(&answering, shard) >= next) {
                return Ok(answering);
            }
            // What answers stands before what was reached: an older version, or a shard that began again meanwhile
            // from what was flushed.
            if answering.frozen_version.is_some() || Instant::now() >= deadline {
                return Err(QueryError::NotYet { view: self.view.name.clone(), waited: self.within });
            }
            tokio::task::yield_now().await;
            self.reach(&self.view.cells[shard.0 as usize], needed.unwrap_or_default(), deadline).await?;
        }
    }

    fn stands_at(&self, answering: &Answering, shard: Partition) -> Offset {
        let checkpoint = answering.state.checkpoint().unwrap_or_default();
        checkpoint.position.get(&self.view.source.partition(shard.0)).unwrap_or_default()
    }

    /// Waits until the shard includes the receipt's events: hop by hop along the topologies that feed the view. Answers
    /// the position in its source that includes them, if any of them can concern it.
    async fn wait_for(
        &self,
        receipt: &Receipt,
        shard: Partition,
        deadline: Instant,
    ) -> Result<Option<Offset>, QueryError> {
        self.check_receipt(receipt).await?;
        let mut topic = receipt.topic.clone();
        let mut needed = vec![(receipt.partition, receipt.next)];
        for hop in &self.lineage {
            let Some(emitter) = self.app.emitters.get(hop) else {
                return Err(QueryError::NotHere(hop.clone()));
            };
            if emitter.source != topic {
                return Ok(None);
            }
            for (partition, next) in &needed {
                self.reach(&emitter.cells[partition.0 as usize], *next, deadline).await?;
            }
            topic = emitter.to.clone();
            needed = self.ends(&topic, shard, hop).await?;
        }
        let mine = needed.iter().find(|(partition, _)| *partition == shard);
        let Some((_, next)) = mine.filter(|_| self.view.source == topic) else { return Ok(None) };
        self.reach(&self.view.cells[shard.0 as usize], *next, deadline).await?;
        Ok(Some(*next))
    }

    /// The ends of the partitions that matter: the shard's alone behind the last hop, all before.
    async fn ends(
        &self,
        topic: &TopicName,
        shard: Partition,
        hop: &String,
    ) -> Result<Vec<(Partition, Offset)>, QueryError> {
        let last = self.lineage.last() == Some(hop);
        let partitions = (0..self.view.cells.len() as u32).map(Partition).filter(|p| !last || *p == shard);
        let mut ends = Vec::new();
        for partition in partitions {
            let bounds = self.app.shell.log.bounds(&topic.partition(partition.0)).await;
            ends.push((partition, bounds.map_err(|error| self.view.unreadable(error))?.end));
        }
        Ok(ends)
    }

    async fn check_receipt(&self, receipt: &Receipt) -> Result<(), QueryError> {
        if receipt.log != self.app.shell.log.id() {
            return Err(QueryError::ForeignReceipt("another log"));
        }
        match self.app.topic_id(&receipt.topic).await {
            Ok(Some(id)) if id == receipt.topic_id => {}
            Ok(_) => return Err(QueryError::ForeignReceipt("a topic that is no longer there")),
            Err(error) => return Err(self.view.unreadable(error)),
        }
        if receipt.partition.0 as usize >= self.view.cells.len() {
            return Err(QueryError::ForeignReceipt("a partition that does not exist"));
        }
        Ok(())
    }

    async fn reach(&self, cell: &ShardCell, next: Offset, deadline: Instant) -> Result<(), QueryError> {
        if cell.committed() >= next {
            return Ok(());
        }
        let (mut committed, mut phase) = (cell.watch_committed(), cell.watch_phase());
        let reached = async {
            tokio::select! {
                biased;
                _ = committed.wait_for(|at| *at >= next) => None,
                stopped = phase.wait_for(|phase| matches!(phase, Phase::Stopped { .. })) => stopped.ok().map(|p| p.clone()),
            }
        };
        match tokio::time::timeout_at(deadline, reached).await {
            Ok(Some(Phase::Stopped { reason })) => {
                Err(QueryError::Stopped { view: self.view.name.clone(), reason })
            }
            Ok(_) => Ok(()),
            Err(_) => Err(QueryError::NotYet { view: self.view.name.clone(), waited: self.within }),
        }
    }
}

impl<P: Key, R: Key, S: Serialize + DeserializeOwned + Send + 'static> ViewQuery<(P, R), S> {
    /// All rows of one partition part at one position, in the order of the rest of their keys.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn of(&self, part: &P) -> Result<Answer<Vec<(R, S)>>, QueryError> {
        let (shard, keys) = self.part(part)?;
        let answering = self.ready(shard).await?;
        let (rows, _) = self.rows(&answering, &keys, usize::MAX)?;
        let Answer { value, position, frozen_version } = rows;
        let value = value.into_iter().map(|((_, rest), state)| (rest, state)).collect();
        Ok(Answer { value, position, frozen_version })
    }

    /// Live changes of one partition part; from `since` on, where the changes since then are still known.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn changes(&self, part: &P, since: Option<&Position>) -> Result<Changes<P, R, S>, QueryError> {
        let (shard, keys) = self.part(part)?;
        if self.ready(shard).await?.frozen_version.is_some() {
            let (done, total) = self.view.progress();
            return Err(QueryError::Building { view: self.view.name.clone(), done, total });
        }
        Ok(Changes::new(self.view.clone(), shard, keys, since))
    }

    fn part(&self, part: &P) -> Result<(Partition, KeyRange), QueryError> {
        let failed = |e: headwater_core::key::KeyError| QueryError::Key(e.to_string());
        let shard = self.shard_of_part(headwater_core::key::text(part).map_err(failed)?)?;
        Ok((shard, KeyRange::prefix(&ordered(part).map_err(failed)?)))
    }
}
