//! What every shard's task needs of the world: the log, the clock, the flusher; and what to do when the log refuses.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_core::BoxFuture;
use headwater_core::clock::Clock;
use headwater_core::log::{
    Bounds, Claim, CommitError, Log, LogError, LogErrorKind, Opened, Transaction, Writer,
};
use headwater_core::position::Position;
use headwater_core::store::{KeyRange, StateStore, StateStores, StoreError, TableId, Visit};
use headwater_core::topic::{Offset, Partition, TopicPartition};
use tokio_util::sync::CancellationToken;

use super::cell::ShardCell;
use super::instances::Cluster;
use super::observe::{LogDamage, LogMetrics, LogSize};
use super::pace::Pace;
use super::replaced::Replaced;
use super::transfer::CopySource;
use crate::engine::state::StateRead;
use crate::log::embedded::directory::Directory;
use crate::store::Flusher;
use crate::store::overlay::ShardState;
use crate::topics::Place;
use crate::topology::Definition;

/// How long a shard waits after the log refused something.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest that it waits after a refusal which will not pass by itself.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The world of a shard's task.
#[derive(Clone)]
pub(crate) struct Shell {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) flusher: Arc<Flusher>,
    pub(crate) log_metrics: LogMetrics,
    pub(crate) log_size: Option<LogSize>,
    pub(crate) log_damage: Option<LogDamage>,
    /// Where a membership tells that another process bears this one's name.
    pub(crate) replaced: Replaced,
    /// The data directory, where the log does not hold it itself.
    pub(crate) _held: Option<Arc<Directory>>,
    /// Where several instances share the apps.
    pub(crate) cluster: Option<Arc<Cluster>>,
    /// Where an operator mends what a start refuses.
    pub(crate) place: Place,
    /// When shards gather records before they take them.
    pub(crate) pace: Arc<Pace>,
}

/// A store, its name and its tables, and the stores that it is one of.
#[derive(Clone)]
pub(crate) struct NamedStore {
    pub(crate) name: String,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) tables: Arc<[String]>,
    pub(crate) stores: Arc<dyn StateStores>,
    /// Where other instances have the same store, if there may be any.
    pub(crate) source: Option<Arc<CopySource>>,
}

impl std::ops::Deref for NamedStore {
    type Target = dyn StateStore;
    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

/// Why a shard stops, in words that name the place.
#[derive(Debug)]
pub(crate) struct Stop(pub(crate) String);

impl Stop {
    pub(crate) fn new(reason: impl std::fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

/// What became of a transaction that was tried until it had an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Committed {
    /// With the offsets of its records.
    Yes(Vec<Offset>),
    /// It may be written or not; the writer is to be opened again.
    WriterDied,
    /// We were told to stop before it was written.
    Stopped,
    /// It can never be written as it is: it, or a record of it, is too large.
    Refused(String),
}

/// Whether a shard could get its writer.
pub(crate) enum Regained {
    /// It is ours; this is its writer.
    Ours(Opened),
    /// It is another's, or we are to stop.
    Gone,
}

impl Shell {
    /// A partition's bounds; waits while the log is not available.
    pub(crate) async fn bounds(&self, cell: &ShardCell, partition: &TopicPartition) -> Result<Bounds, Stop> {
        self.asked(cell, || self.log.bounds(partition)).await
    }

    /// The positions that a group has committed; waits while the log is not available.
    pub(crate) async fn committed(&self, cell: &ShardCell, group: &str) -> Result<Position, Stop> {
        self.asked(cell, || self.log.committed(group)).await
    }

    /// Asks the log until it answers; meanwhile the shard's cell tells what it waits for.
    pub(crate) async fn asked<'a, T>(
        &self,
        cell: &ShardCell,
        ask: impl Fn() -> BoxFuture<'a, Result<T, LogError>>,
    ) -> Result<T, Stop> {
        loop {
            match ask().await {
                Ok(answer) => {
                    cell.let_on();
                    return Ok(answer);
                }
                Err(error) if error.kind() == LogErrorKind::Unavailable => {
                    cell.hinder(&error);
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(Stop::new(error)),
            }
        }
    }

    /// Waits a moment, and for as long as the log knows that it takes nothing; answers whether we are to stop.
    async fn pause_cut_off(&self, stop: &CancellationToken) -> bool {
        while !self.pause(stop).await {
            if self.log.cut_off().is_none() {
                return false;
            }
        }
        true
    }

    /// Waits a moment; answers whether we are to stop.
    pub(crate) async fn pause(&self, stop: &CancellationToken) -> bool {
        pause_for(PAUSE, stop).await
    }
}

/// Opens a shard's writer; waits while the log is not available, and longer and longer while it refuses.
///
/// # Errors
///
/// [`Stop`] if the log has lost what the shard's head speaks of, or the head itself: waiting does not mend it.
pub(crate) async fn regain(
    claim: &dyn Claim,
    cell: &ShardCell,
    stop: &CancellationToken,
) -> Result<Regained, Stop> {
    let mut refusals = Refusals::default();
    let mut pause = PAUSE;
    loop {
        let opened = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(Regained::Gone),
            opened = claim.open() => opened,
        };
        match opened {
            Ok(opened) => {
                cell.let_on();
                return Ok(Regained::Ours(opened));
            }
            Err(error) if error.kind() == LogErrorKind::Fenced => return Ok(Regained::Gone),
            Err(error) if error.kind() == LogErrorKind::Corrupt => return Err(Stop::new(error)),
            Err(error) => {
                refusals.tell(&error, "cannot open a shard's writer; trying again");
                cell.hinder(&error);
                pause = pause_after_refusal(error.kind(), PAUSE, pause);
            }
        }
        if pause_for(pause, stop).await {
            return Ok(Regained::Gone);
        }
    }
}

/// How long to wait before the log is asked again for what it refused: what passes by itself is asked for often, so that
/// a shard is taken over at once; what an operator has to change is asked for less and less often.
pub(crate) fn pause_after_refusal(refused: LogErrorKind, least: Duration, last: Duration) -> Duration {
    match refused {
        LogErrorKind::Unavailable => least,
        _ => (last * 2).min(PAUSE_MAX),
    }
}

/// Waits; answers whether we are to stop.
pub(crate) async fn pause_for(pause: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => true,
        () = tokio::time::sleep(pause) => false,
    }
}

/// Refusals of one thing that is tried again and again: the first is an operator's concern, the others are noise.
#[derive(Default)]
pub(crate) struct Refusals {
    told: bool,
}

impl Refusals {
    pub(crate) fn tell(&mut self, error: &LogError, what: &str) {
        if std::mem::replace(&mut self.told, true) {
            tracing::debug!(%error, "{what}");
        } else {
            tracing::warn!(%error, "{what}");
        }
    }
}

/// After a read failed: waits if that may help.
///
/// # Errors
///
/// [`Stop`] naming the partition, if it may not.
pub(crate) async fn pause_after(
    error: LogError,
    partition: &TopicPartition,
    stop: &CancellationToken,
) -> Result<(), Stop> {
    if error.kind() != LogErrorKind::Unavailable {
        return Err(Stop(format!("{partition} cannot be read: {error}")));
    }
    // The log tells of an outage itself, once for all who read.
    tracing::debug!(%partition, %error, "cannot read; trying again");
    pause_for(PAUSE, stop).await;
    Ok(())
}

impl Shell {
    /// Opens a shard's state, to be written through.
    pub(crate) fn open_state(&self, store: &NamedStore, shard: Partition) -> Result<Arc<ShardState>, Stop> {
        self.flusher.open(&store.name, store.store.clone(), shard).map_err(Stop::new)
    }

    /// Opens a shard's state that is only read.
    pub(crate) fn open_frozen(
        &self,
        store: &Arc<dyn StateStore>,
        shard: Partition,
    ) -> Result<Arc<ShardState>, headwater_core::store::StoreError> {
        ShardState::open(store.clone(), shard)
    }

    /// Hands a transaction to a writer, and tells how that went.
    pub(crate) fn commit(
        &self,
        writer: &mut dyn Writer,
        transaction: Transaction,
    ) -> BoxFuture<'static, Result<Vec<Offset>, CommitError>> {
        let answered = self.log_metrics.committing(&transaction);
        let answer = writer.commit(transaction);
        Box::pin(async move {
            let answer = answer.await;
            answered(&answer);
            answer
        })
    }

    /// Commits a transaction, trying again where that may help.
    pub(crate) async fn commit_until(
        &self,
        writer: &mut dyn Writer,
        transaction: Transaction,
        at: &TopicPartition,
        stop: &CancellationToken,
    ) -> Result<Committed, Stop> {
        let mut refusals = Refusals::default();
        loop {
            let once = self.commit_once(writer, transaction.clone(), at, &mut refusals, stop).await?;
            match once {
                Some(Committed::Refused(why)) => return Err(Stop(why)),
                Some(committed) => return Ok(committed),
                None => {}
            }
        }
    }

    /// Commits a transaction; `None`, after a moment, if it was refused and another one may not be.
    pub(crate) async fn commit_once(
        &self,
        writer: &mut dyn Writer,
        transaction: Transaction,
        at: &TopicPartition,
        refusals: &mut Refusals,
        stop: &CancellationToken,
    ) -> Result<Option<Committed>, Stop> {
        match self.commit(writer, transaction).await {
            Ok(offsets) => Ok(Some(Committed::Yes(offsets))),
            Err(CommitError::NotWritten { retry: true, error }) => {
                refusals.tell(&error, &format!("a commit to {at} was refused; trying again"));
                Ok(self.pause_cut_off(stop).await.then_some(Committed::Stopped))
            }
            Err(CommitError::NotWritten { retry: false, error }) if error.kind() == LogErrorKind::Invalid => {
                Ok(Some(Committed::Refused(error.to_string())))
            }
            Err(CommitError::NotWritten { retry: false, error }) => Err(Stop::new(error)),
            Err(CommitError::Fenced | CommitError::Abandoned(_) | CommitError::Unknown(_)) => {
                Ok(Some(Committed::WriterDied))
            }
        }
    }

    /// Lets memory that runs short take the rows which a topology keeps of shards that moved away. Until then they are at
    /// hand for whoever has the shards now.
    pub(crate) fn spare(&self, definition: &Definition, store: &NamedStore, cells: &Arc<[Arc<ShardCell>]>) {
        if !definition.in_memory {
            return;
        }
        // The budget must not own what owns it.
        let (store, cells) = (Arc::downgrade(&store.store), Arc::downgrade(cells));
        self.flusher.budget().spare(move || {
            if let (Some(store), Some(cells)) = (store.upgrade(), cells.upgrade()) {
                cells.iter().for_each(|cell| cell.drop_idle_state(&*store));
            }
        });
    }

    /// Whether what a topology keeps may grow.
    ///
    /// # Errors
    ///
    /// Why it may not: it is kept in memory, and there is none left for it.
    pub(crate) fn may_grow(&self, definition: &Definition, store: &NamedStore) -> Result<(), String> {
        if !definition.in_memory {
            return Ok(());
        }
        let refusal = self.flusher.budget().refusal(&definition.name, store.size_bytes());
        refusal.map_or(Ok(()), Err)
    }

    /// Waits until there is room for more unflushed changes.
    pub(crate) async fn room(&self) {
        self.flusher.budget().room().await;
    }
}

impl StateRead for ShardState {
    fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        ShardState::get(self, table, key)
    }

    fn scan(&self, table: TableId, range: &KeyRange, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        ShardState::scan(self, table, range, visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::cell::Bell;

    /// Answers errors of these kinds, one after another, and then that the shard is another's.
    struct Answers(parking_lot::Mutex<Vec<LogErrorKind>>);

    impl Claim for Answers {
        fn open(&self) -> BoxFuture<'_, Result<Opened, LogError>> {
            let kind = self.0.lock().pop().unwrap_or(LogErrorKind::Fenced);
            Box::pin(std::future::ready(Err(LogError::new(kind, "the head is none"))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_the_log_cannot_stand_behind_stops_the_shard() {
        use LogErrorKind::{Corrupt, Denied, Unavailable};
        let cases =
            [(vec![Unavailable, Denied], None), (vec![Corrupt, Unavailable], Some("the head is none"))];
        for (kinds, stops) in cases {
            let claim = Answers(parking_lot::Mutex::new(kinds));
            let cell = ShardCell::new(Partition(0), Bell::default());
            let regained = regain(&claim, &cell, &CancellationToken::new()).await;
            assert_eq!(regained.err().map(|Stop(reason)| reason).as_deref(), stops);
        }
    }
}
