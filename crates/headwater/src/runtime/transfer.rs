//! Moving a shard's rows from one store to another, in this process or from another instance's.
//!
//! An instance that gains a shard, or is to keep a copy of it, and has no state of it, asks all that have one: the
//! owner, the one that owned it before, a standby. Of their offers it takes the one that spares it most, unless the log
//! is the shorter way. The giver copies the shard's rows aside, all of them as of one checkpoint, and is then asked for
//! page after page, each with a checksum: so memory is bounded on both sides, and nobody's writes wait for the network.
//! The checkpoint is written last, here as there: a copy that was cut off is none, and the log has everything anyway.

use std::collections::HashMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use headwater_core::clock::Timestamp;
use headwater_core::position::Position;
use headwater_core::store::{Checkpoint, KeyRange, StateBatch, StateChange, StateStore, StoreError, TableId};
use headwater_core::topic::Partition;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cell::{Phase, ShardCell};
use super::instances::Routes;
use super::observe;
use super::peers::question::{Question, Reply};
use super::peers::{Frame, FrameError, PeerAddress, PeerQuestion};
use super::shell::{NamedStore, Stop};
use super::start::{StartedApp, TopologyStatus};
use super::trust::Input;
use crate::digest::{digest, hex};
use crate::store::overlay::ShardState;

/// Rows that are copied at once within a process.
pub(crate) const COPY_CHUNK: usize = 10_000;
/// Rows and bytes of one page between instances.
const PAGE_ROWS: usize = 5_000;
const PAGE_BYTES: usize = 1 << 20;
/// How long an offer is waited for, a copy may take to be made, a page to come, and all of it.
const OFFER_WITHIN: Duration = Duration::from_secs(1);
const BEGIN_WITHIN: Duration = Duration::from_secs(20);
const PAGE_WITHIN: Duration = Duration::from_secs(5);
const ALL_WITHIN: Duration = Duration::from_secs(120);
/// Reading a record of the log and folding it costs about as much as taking so many rows.
const ROWS_PER_RECORD: u64 = 2;

/// Where a store's shards can be had from other instances.
pub(crate) struct CopySource {
    pub(crate) routes: Arc<Routes>,
    pub(crate) topology: String,
    /// Records of the log below which it is not worth asking.
    pub(crate) worth: u64,
}

/// What is asked of an instance that has a state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CopyAsk {
    /// What is there?
    Offer,
    /// Copy the shard aside.
    Begin,
    /// The rows of a table behind the key that is the first part; from the beginning without one.
    Page { copy: u64, table: u8 },
    /// The copy is not needed any more.
    End { copy: u64 },
}

/// What is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CopyTold {
    /// A state of so many rows that stands at this position.
    Offered { rows: u64, position: Position },
    /// A copy was made, with so many rows in each table; its checkpoint's note is the only part.
    Begun { copy: u64, rows: Vec<u64>, position: Position },
    /// Keys and values in turn, and their digest; none behind the last.
    Page { digest: String },
    /// There is no such state or copy here.
    Nothing,
}

/// The copies that were made for others: of each shard of a store the last one.
#[derive(Default)]
pub(crate) struct Copies(Mutex<HashMap<(String, Partition), Arc<tokio::sync::Mutex<Aside>>>>);

/// The copy of one shard of a store.
#[derive(Default)]
struct Aside {
    /// The number of the last one.
    last: u64,
    is_there: bool,
}

impl Copies {
    /// Makes, reads or drops a shard's copy, on a thread that may block, while nobody else does: two that were made at
    /// once would be mixed, and rows that are gone would come back.
    ///
    /// Whoever does not wait for the answer any more leaves the work to its end, and nobody else begins before.
    async fn alone<T: Send + 'static>(
        &self,
        store: &str,
        shard: Partition,
        work: impl FnOnce(&mut Aside) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let aside = self.0.lock().entry((store.to_owned(), shard)).or_default().clone();
        let mut aside = aside.lock_owned().await;
        blocking(move || work(&mut aside)).await
    }
}

impl Aside {
    /// A number for a copy that no other one ever had, not in an earlier life of the instance either. It is not there yet.
    fn begin(&mut self, now: Timestamp) -> u64 {
        *self = Self { last: now.0.unsigned_abs().max(self.last + 1), is_there: false };
        self.last
    }

    fn has(&self, copy: u64) -> bool {
        self.is_there && self.last == copy
    }
}

/// Copies a shard that nobody writes to, `chunk` rows at a time; its checkpoint comes last.
///
/// # Errors
///
/// As [`StateStore::scan`] and [`StateStore::apply`].
pub(crate) fn copy_shard(
    from: &dyn StateStore,
    to: &dyn StateStore,
    shard: Partition,
    tables: usize,
    chunk: usize,
) -> Result<(), StoreError> {
    for table in 0..tables {
        let table = table_id(table);
        let mut range = KeyRange::all();
        loop {
            let changes = rows(from, shard, table, &range, chunk, usize::MAX)?;
            let Some(last) = changes.last().map(|change| change.key.clone()) else { break };
            range.from = Bound::Excluded(last);
            to.apply(&[StateBatch { shard, changes, checkpoint: Checkpoint::default() }])?;
        }
    }
    let checkpoint = from.checkpoint(shard)?.unwrap_or_default();
    to.apply(&[StateBatch { shard, changes: Vec::new(), checkpoint }])
}

fn table_id(table: usize) -> TableId {
    TableId(u8::try_from(table).expect("a store has at most 256 tables"))
}

/// The first rows of a range, as changes.
fn rows(
    from: &dyn StateStore,
    shard: Partition,
    table: TableId,
    range: &KeyRange,
    limit: usize,
    bytes_max: usize,
) -> Result<Vec<StateChange>, StoreError> {
    let (mut changes, mut bytes) = (Vec::new(), 0);
    from.scan(shard, table, range, &mut |key, value| {
        bytes += key.len() + value.len();
        let (key, value) = (Bytes::copy_from_slice(key), Some(Bytes::copy_from_slice(value)));
        changes.push(StateChange { table, key, value });
        let full = changes.len() == limit || bytes >= bytes_max;
        if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(changes)
}

fn digest_of(parts: &[Option<Bytes>]) -> String {
    hex(digest(parts.iter().map(|part| part.as_deref().unwrap_or_default())))
}

/// What a store keeps aside for others; no topology can be called so.
fn copy_name(store: &NamedStore) -> String {
    format!("{}@copy", store.name)
}

fn opened_copy(store: &NamedStore) -> Result<Arc<dyn StateStore>, StoreError> {
    let tables: Vec<&str> = store.tables.iter().map(String::as_str).collect();
    store.stores.open(&copy_name(store), &tables)
}

impl StartedApp {
    /// Answers an instance that wants a shard's rows.
    pub(crate) async fn answer_copy(
        &self,
        store: &str,
        shard: Partition,
        ask: CopyAsk,
        parts: &[Option<Bytes>],
    ) -> Result<Bytes, FrameError> {
        let of =
            |topology: &&TopologyStatus| topology.store.as_ref().is_some_and(|named| named.name == store);
        let topology = self.topologies.iter().find(of);
        let Some((topology, named)) = topology.and_then(|topology| Some((topology, topology.store.clone()?)))
        else {
            return Reply::Done(CopyTold::Nothing).with(vec![]);
        };
        let told = match ask {
            CopyAsk::Offer => Ok((offer(topology, &named, shard).unwrap_or(CopyTold::Nothing), vec![])),
            CopyAsk::Begin => self.begin_copy(topology, named, shard).await,
            CopyAsk::Page { copy, table } => {
                let after = parts.first().cloned().flatten();
                let read = move |aside: &mut Aside| match aside.has(copy) {
                    true => page(&named, shard, table, after),
                    false => Ok((CopyTold::Nothing, vec![])),
                };
                self.copies.alone(store, shard, read).await
            }
            CopyAsk::End { copy } => {
                let drop = move |aside: &mut Aside| {
                    if aside.has(copy) {
                        aside.is_there = false;
                        opened_copy(&named)?.clear(shard)?;
                    }
                    Ok((CopyTold::Nothing, vec![]))
                };
                self.copies.alone(store, shard, drop).await
            }
        };
        let (told, parts) = told.unwrap_or_else(|error| {
            log_failed(store, shard, Some(error));
            (CopyTold::Nothing, vec![])
        });
        Reply::Done(told).with(parts)
    }

    async fn begin_copy(
        &self,
        topology: &TopologyStatus,
        store: NamedStore,
        shard: Partition,
    ) -> Result<(CopyTold, Vec<Option<Bytes>>), StoreError> {
        let Some(state) = given(topology, shard) else { return Ok((CopyTold::Nothing, vec![])) };
        let (name, now) = (store.name.clone(), self.shell.clock.now());
        let make = move |aside: &mut Aside| {
            let copy = aside.begin(now);
            let tables = store.tables.len();
            state.flush()?;
            let to = opened_copy(&store)?;
            to.clear(shard)?;
            state.at_rest(|from| copy_shard(from, &*to, shard, tables, COPY_CHUNK))?;
            let checkpoint = to.checkpoint(shard)?.unwrap_or_default();
            let rows = counts(&*to, shard, tables)?;
            aside.is_there = true;
            Ok((CopyTold::Begun { copy, rows, position: checkpoint.position }, vec![Some(checkpoint.note)]))
        };
        self.copies.alone(&name, shard, make).await
    }
}

/// The state of a shard that can be given to others.
fn given(topology: &TopologyStatus, shard: Partition) -> Option<Arc<ShardState>> {
    let state = topology.cells.get(shard.0 as usize)?.state()?;
    let stands = state.checkpoint().is_some_and(|checkpoint| !checkpoint.position.is_empty());
    (state.is_open() && stands).then_some(state)
}

/// What can be said of a shard's state without reading it: rows that are not flushed yet are not counted.
fn offer(topology: &TopologyStatus, store: &NamedStore, shard: Partition) -> Option<CopyTold> {
    let position = given(topology, shard)?.checkpoint()?.position;
    let rows = counts(&**store, shard, store.tables.len()).ok()?.iter().sum();
    Some(CopyTold::Offered { rows, position })
}

fn counts(store: &dyn StateStore, shard: Partition, tables: usize) -> Result<Vec<u64>, StoreError> {
    (0..tables).map(|table| store.count(shard, table_id(table))).collect()
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| {
        let kind = headwater_core::store::StoreErrorKind::Unavailable;
        Err(StoreError::new(kind, format!("a copy of a shard ended badly: {panic}")))
    })
}

fn log_failed(store: &str, shard: Partition, error: Option<StoreError>) {
    if let Some(error) = error {
        tracing::warn!(store, %shard, %error, "a copy for another instance failed");
    }
}

fn page(
    store: &NamedStore,
    shard: Partition,
    table: u8,
    after: Option<Bytes>,
) -> Result<(CopyTold, Vec<Option<Bytes>>), StoreError> {
    if usize::from(table) >= store.tables.len() {
        return Ok((CopyTold::Nothing, vec![]));
    }
    let mut range = KeyRange::all();
    if let Some(after) = after {
        range.from = Bound::Excluded(after);
    }
    let rows = rows(&*opened_copy(store)?, shard, TableId(table), &range, PAGE_ROWS, PAGE_BYTES)?;
    let parts: Vec<_> = rows.into_iter().flat_map(|row| [Some(row.key), row.value]).collect();
    Ok((CopyTold::Page { digest: digest_of(&parts) }, parts))
}

/// Why a shard was not taken from another instance.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("{0} has no such state")]
    Nothing(PeerAddress),
    #[error("{0}: {1}")]
    Peer(PeerAddress, String),
    #[error("{0}: what came does not match its checksum")]
    Damaged(PeerAddress),
    #[error("the local store: {0}")]
    Store(#[from] StoreError),
    #[error("it took too long, or the shard was given up")]
    Stopped,
}

/// Takes a shard's rows from an instance that has them into a store that has none; answers whether it did.
///
/// # Errors
///
/// [`Stop`] if the local store cannot be cleared of what came in part.
pub(crate) async fn take_copy(
    store: &NamedStore,
    cell: &ShardCell,
    inputs: &[Input],
    stop: &CancellationToken,
) -> Result<bool, Stop> {
    let Some(source) = &store.source else { return Ok(false) };
    let records = inputs.iter().map(|input| input.bounds.end.0 - input.bounds.start.0).sum();
    if records <= source.worth {
        return Ok(false);
    }
    let from = |address| Taking { store, source, cell, address };
    let asked = source.routes.copies_of(&source.topology, cell.shard).into_iter().map(|address| async move {
        let cost = from(address.clone()).cost(inputs).await;
        cost.inspect_err(|why| tracing::info!(store = store.name, shard = %cell.shard, %why, "no offer"))
            .ok()
            .map(|cost| (cost, address))
    });
    let offers = join_all(asked).await.into_iter().flatten().filter(|(cost, _)| *cost < records);
    let Some((_, address)) = offers.min() else { return Ok(false) };
    let begun = Instant::now();
    let taking = from(address.clone());
    let taken = tokio::select! {
        biased;
        () = stop.cancelled() => Err(NotTaken::Stopped),
        taken = tokio::time::timeout(ALL_WITHIN, taking.take()) => taken.unwrap_or(Err(NotTaken::Stopped)),
    };
    observe::state_taken(&store.name, taken.is_ok());
    match taken {
        Ok(rows) => {
            let (shard, took) = (cell.shard, begun.elapsed());
            tracing::info!(store = store.name, %shard, from = %address, rows, ?took, "a shard's state was taken over");
            Ok(true)
        }
        Err(why) => {
            tracing::warn!(store = store.name, shard = %cell.shard, %why, "a shard's state is not taken over");
            store.clear(cell.shard).map_err(Stop::new)?;
            Ok(false)
        }
    }
}

struct Taking<'a> {
    store: &'a NamedStore,
    source: &'a CopySource,
    cell: &'a ShardCell,
    address: PeerAddress,
}

impl Taking<'_> {
    /// What it takes to get there from the state that is offered, in records of the log.
    async fn cost(&self, inputs: &[Input]) -> Result<u64, NotTaken> {
        let CopyTold::Offered { rows, position } = self.ask(CopyAsk::Offer, None, OFFER_WITHIN).await?.head
        else {
            return Err(NotTaken::Nothing(self.address.clone()));
        };
        let missing = |input: &Input| {
            let from = position.get(&input.partition).unwrap_or(input.bounds.start);
            input.bounds.end.0.saturating_sub(from.0)
        };
        Ok(rows / ROWS_PER_RECORD + inputs.iter().map(missing).sum::<u64>())
    }

    async fn take(&self) -> Result<u64, NotTaken> {
        let begun = self.ask(CopyAsk::Begin, None, BEGIN_WITHIN).await?;
        let CopyTold::Begun { copy, rows, position } = begun.head else {
            return Err(NotTaken::Nothing(self.address.clone()));
        };
        let note = begun.parts.into_iter().next().flatten().unwrap_or_default();
        if rows.len() != self.store.tables.len() {
            return Err(NotTaken::Nothing(self.address.clone()));
        }
        let total = rows.iter().sum();
        let mut done = 0;
        for (table, expected) in rows.iter().enumerate() {
            let taken = self.table(copy, table_id(table), done, total).await?;
            if taken != *expected {
                return Err(NotTaken::Damaged(self.address.clone()));
            }
            done += taken;
        }
        let checkpoint = Checkpoint { position, note };
        self.apply(Vec::new(), checkpoint).await?;
        // Whoever made the copy drops it with the next one otherwise.
        let _ = self.ask(CopyAsk::End { copy }, None, PAGE_WITHIN).await;
        Ok(total)
    }

    /// Takes one table, and counts its rows.
    async fn table(&self, copy: u64, table: TableId, before: u64, total: u64) -> Result<u64, NotTaken> {
        let (mut after, mut taken) = (None, 0);
        loop {
            self.tell(before + taken, total);
            let page = self.ask(CopyAsk::Page { copy, table: table.0 }, after.take(), PAGE_WITHIN).await?;
            let CopyTold::Page { digest } = page.head else {
                return Err(NotTaken::Nothing(self.address.clone()));
            };
            if digest != digest_of(&page.parts) || page.parts.len() % 2 != 0 {
                return Err(NotTaken::Damaged(self.address.clone()));
            }
            let change = |pair: &[Option<Bytes>]| {
                Some(StateChange { table, key: pair[0].clone()?, value: Some(pair[1].clone()?) })
            };
            let changes: Option<Vec<_>> = page.parts.chunks(2).map(change).collect();
            let changes = changes.ok_or_else(|| NotTaken::Damaged(self.address.clone()))?;
            let Some(last) = changes.last() else { return Ok(taken) };
            after = Some(last.key.clone());
            taken += changes.len() as u64;
            self.apply(changes, Checkpoint::default()).await?;
        }
    }

    async fn apply(&self, changes: Vec<StateChange>, checkpoint: Checkpoint) -> Result<(), NotTaken> {
        let (store, shard) = (self.store.store.clone(), self.cell.shard);
        Ok(blocking(move || store.apply(&[StateBatch { shard, changes, checkpoint }])).await?)
    }

    fn tell(&self, done: u64, total: u64) {
        if !self.cell.is_standby() {
            self.cell.set_phase(Phase::Restoring { done, total });
        }
    }

    async fn ask(
        &self,
        ask: CopyAsk,
        key: Option<Bytes>,
        within: Duration,
    ) -> Result<Frame<CopyTold>, NotTaken> {
        let failed = |why: String| NotTaken::Peer(self.address.clone(), why);
        let head = Question::Copy { store: self.store.name.clone(), shard: self.cell.shard, ask };
        let body = Frame { head, parts: vec![key] }.encode().map_err(|error| failed(error.to_string()))?;
        let app = self.source.routes.app.clone();
        let question = PeerQuestion { app, body, within, traceparent: None };
        let answer = self.source.routes.cluster.peers.ask(&self.address, question);
        let answer = tokio::time::timeout(within, answer).await;
        let answer = answer.map_err(|_| failed("it did not answer in time".to_owned()))?;
        let answer = answer.map_err(|error| failed(error.to_string()))?;
        let frame: Frame<Reply<CopyTold>> =
            Frame::decode(answer).map_err(|error| failed(error.to_string()))?;
        match frame.head {
            Reply::Done(head) => Ok(Frame { head, parts: frame.parts }),
            Reply::Moved | Reply::Late => Err(failed("it did not answer in time".to_owned())),
        }
    }
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
