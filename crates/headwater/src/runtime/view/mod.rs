//! Asking views: whichever instance has the shards, and however long a reader waits for its own write.
//!
//! - [`answer`]: what is answered, and why it is not;
//! - [`state`]: which state of this process answers;
//! - [`routed`]: asking a shard wherever it is;
//! - [`scan`]: rows of all shards in one order.

mod answer;
mod routed;
mod scan;
pub(crate) mod state;

use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use headwater_core::clock::Timestamp;
use headwater_core::codec::{Codec, Json};
use headwater_core::key::{Key, decode_ordered, ordered};
use headwater_core::partitioner::partition_of;
use headwater_core::position::Position;
use headwater_core::store::KeyRange;
use headwater_core::topic::{Offset, Partition, TopicName, TopicPartition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

pub use self::answer::{Answer, Page, PageToken, Past, QueryError};
use self::routed::Bounds;
use self::state::{Ask, Got, ShardAnswer};
pub(crate) use self::state::{OlderVersion, ViewPlace, ViewState};
use super::peers::question::Made;
use super::start::StartedApp;
use super::watch::{Changes, ReadKey};
use crate::command::Receipt;
use crate::engine::operators::Windowed;
use crate::topology::Route;

/// How long a reader waits for its own write, unless it says otherwise.
const WITHIN: Duration = Duration::from_secs(2);
/// Rows that one page holds at most.
pub const PAGE_MAX: usize = 1_000;

/// A question to a view; `get`, `of`, `windows`, `range`, `scan`, `count`, `versions` and `changes` ask it.
#[must_use = "a query asks when `get`, `of`, `windows`, `range`, `scan`, `count`, `versions` or `changes` is called"]
pub struct ViewQuery<K, S> {
    app: Arc<StartedApp>,
    view: Arc<ViewState>,
    lineage: Arc<[String]>,
    route: Route<K>,
    after: Option<Receipt>,
    at_least: Position,
    as_of: Option<Timestamp>,
    within: Duration,
    traceparent: Option<String>,
    types: PhantomData<fn() -> (K, S)>,
}

impl<K: Key, S: Serialize + DeserializeOwned + Send + 'static> ViewQuery<K, S> {
    pub(crate) fn new(
        app: Arc<StartedApp>,
        view: Arc<ViewState>,
        lineage: Arc<[String]>,
        route: Route<K>,
    ) -> Self {
        Self {
            app,
            view,
            lineage,
            route,
            after: None,
            at_least: Position::new(),
            as_of: None,
            within: WITHIN,
            traceparent: None,
            types: PhantomData,
        }
    }

    /// Answers from a state that includes what the receipt is for.
    pub fn after(mut self, receipt: &Receipt) -> Self {
        self.after = Some(self.app.resolve(receipt));
        self
    }

    /// Answers from a state that has come as far as this position, which an answer carried: of this view, of another of
    /// the same topics, or of one that feeds it.
    ///
    /// As Kafka's `PositionBound` (KIP-805), which fails at once where we wait [within](ViewQuery::within) bounds.
    /// Positions of several calls, and a receipt, all hold.
    pub fn at_least(mut self, position: &Position) -> Self {
        self.at_least.advance(position);
        self
    }

    /// Answers how the view was at a time of its events, where its table keeps [versions](crate::Store::versioned).
    ///
    /// That is what is known now of that time: what came late counts. [`BeforeHistory`](QueryError::BeforeHistory) is
    /// answered for times that nothing is known of any more, where Kafka Streams answers as if there had been nothing.
    /// It holds for `get`, `of`, `range`, `scan` and `count`.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use headwater::config::{Config, LogChoice};
    /// # use headwater::testing::at;
    /// # let config = Config { log: LogChoice::Memory, ..Config::default() };
    /// let prices: Topic<String, u64> = "prices".into();
    /// let mut app = App::new("shop");
    /// let kept = Store::named("prices-kept").versioned(days(30));
    /// let view = app.view(app.table_in(kept, prices.clone()));
    ///
    /// let shop = Headwater::open(&config).await?.start(app).await?;
    /// let kettle = "kettle".to_owned();
    /// shop.publish(&prices, &kettle, &20).at(at("2026-03-01T08:00:00Z")).await?;
    /// let receipt = shop.publish(&prices, &kettle, &25).at(at("2026-03-02T08:00:00Z")).await?;
    /// let ask = || shop.view(&view).map(|query| query.after(&receipt));
    /// assert_eq!(ask()?.get(&kettle).await?.value, Some(25));
    /// assert_eq!(ask()?.as_of(at("2026-03-01T12:00:00Z")).get(&kettle).await?.value, Some(20));
    /// assert_eq!(ask()?.versions(&kettle, ..).await?.len(), 2);
    /// # Ok(()) }
    /// ```
    pub fn as_of(mut self, time: Timestamp) -> Self {
        self.as_of = Some(time);
        self
    }

    /// Waits this long at most; two seconds unless set.
    pub fn within(mut self, wait: Duration) -> Self {
        self.within = wait;
        self
    }

    /// Carries a W3C trace context along to the instance that answers.
    pub fn traced(mut self, traceparent: impl Into<String>) -> Self {
        self.traceparent = Some(traceparent.into());
        self
    }

    /// The value under a key.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn get(&self, key: &K) -> Result<Answer<Option<S>>, QueryError> {
        let shard = self.shard_of(key)?;
        let key = ordered(key).map_err(|e| QueryError::Key(e.to_string()))?;
        let ShardAnswer { got, made } = self.ask(shard, Ask::Get(key), self.deadline()).await?;
        let Got::Value(value) = got else { return Err(self.misfit()) };
        let frozen = made.frozen_version.is_some();
        let value = value.map(|value| self.view.decode(&value, frozen)).transpose()?;
        Ok(answer(value, made))
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
        let (rows, made) = self.rows(shard, keys, limit.min(PAGE_MAX), self.deadline()).await?;
        Ok(answer(self.decoded(rows, &made)?, made))
    }

    /// One page of all rows in the order of their keys, up to `limit` (at most [`PAGE_MAX`]); `None` begins with the
    /// first.
    ///
    /// Nothing is held between pages: each is made of the state at its own position. A row that stays is seen exactly
    /// once.
    ///
    /// ```
    /// # use headwater::prelude::*;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use headwater::config::{Config, LogChoice};
    /// # let config = Config { log: LogChoice::Memory, ..Config::default() };
    /// let prices: Topic<String, u64> = "prices".into();
    /// # // One shard: the last receipt is for all three records then.
    /// # let mut app = App::new("shop").with(|options| options.partitions = 1);
    /// let view = app.view(app.table(prices.clone()));
    ///
    /// let shop = Headwater::open(&config).await?.start(app).await?;
    /// shop.publish(&prices, &"kettle".to_owned(), &20).await?;
    /// shop.publish(&prices, &"lamp".to_owned(), &35).await?;
    /// let receipt = shop.publish(&prices, &"mug".to_owned(), &8).await?;
    ///
    /// let first = shop.view(&view)?.after(&receipt).scan(2, None).await?.value;
    /// assert_eq!(first.rows, [("kettle".to_owned(), 20), ("lamp".to_owned(), 35)]);
    /// let second = shop.view(&view)?.scan(2, first.next.as_ref()).await?.value;
    /// assert_eq!(second.rows, [("mug".to_owned(), 8)]);
    /// assert_eq!(second.next, None, "that was the last page");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`QueryError::Token`] if the token is none of this view's.
    pub async fn scan(
        &self,
        limit: usize,
        token: Option<&PageToken>,
    ) -> Result<Answer<Page<K, S>>, QueryError> {
        self.paged(limit, token, Ask::Page).await
    }

    /// The rows of all shards that `ask` asks for, one page of them.
    async fn paged(
        &self,
        limit: usize,
        token: Option<&PageToken>,
        ask: impl Fn(KeyRange, usize) -> Ask,
    ) -> Result<Answer<Page<K, S>>, QueryError> {
        let (limit, deadline) = (limit.clamp(1, PAGE_MAX), self.deadline());
        let bad = || QueryError::Token(self.view.name.clone());
        let after = token.map(|token| token.key().ok_or_else(bad)).transpose()?;
        let shards = self.shards().map(|shard| shard.0);
        let fetch = |shard: u32, after: Option<Bytes>, limit| {
            let mut keys = KeyRange::all();
            keys.from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let asked = ask(keys, limit);
            async move { self.rows_of(self.ask(Partition(shard), asked, deadline).await?) }
        };
        let scan::Merged { rows, more, made } = scan::merged(shards, after, limit, fetch).await?;
        let next = rows.last().filter(|_| more).map(|(key, _)| PageToken::after(key));
        let page = Page { rows: self.decoded(rows, &made)?, next };
        Ok(answer(page, made))
    }

    /// How many keys the view has.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn count(&self) -> Result<Answer<u64>, QueryError> {
        let deadline = self.deadline();
        let of_shard = |shard| self.ask(shard, Ask::Count, deadline);
        let (mut count, mut all) = (0, Made::default());
        for ShardAnswer { got, made } in try_join_all(self.shards().map(of_shard)).await? {
            let Got::Count(keys) = got else { return Err(self.misfit()) };
            count += keys;
            scan::join(&mut all, &made);
        }
        Ok(answer(count, all))
    }

    /// The values that a key had at some moment of a range of times, in their order, where the view's table keeps
    /// [versions](crate::Store::versioned): those of its history, and the last one.
    ///
    /// As Kafka's `MultiVersionedKeyQuery`.
    ///
    /// # Errors
    ///
    /// [`QueryError::NoHistory`] where it does not.
    pub async fn versions(
        &self,
        key: &K,
        times: impl RangeBounds<Timestamp>,
    ) -> Result<Answer<Vec<Past<S>>>, QueryError> {
        let shard = self.shard_of(key)?;
        let key = ordered(key).map_err(|e| QueryError::Key(e.to_string()))?;
        let (from, to) = moments(&times);
        let ShardAnswer { got, made } =
            self.ask(shard, Ask::Versions(key, (from, to)), self.deadline()).await?;
        let Got::Versions(versions) = got else { return Err(self.misfit()) };
        let nexts = versions.iter().skip(1).map(|next| Some(next.time)).chain([None]);
        let mut past = Vec::new();
        for (version, until) in
            versions.iter().zip(nexts).filter(|(version, _)| from <= to && version.time <= to)
        {
            let Some(value) = &version.value else { continue };
            let value = Json.decode(value).map_err(|error| self.view.unreadable(error))?;
            past.push(Past { value, from: version.time, until });
        }
        Ok(answer(past, made))
    }

    /// Watches the rows of a shard between two keys, unless what answers now is frozen.
    async fn watch<R>(
        &self,
        shard: Partition,
        keys: KeyRange,
        since: Option<&Position>,
        read: ReadKey<R>,
    ) -> Result<Changes<R, S>, QueryError> {
        if self.as_of.is_some() {
            return Err(self.view.no_history("live changes are of now"));
        }
        let nothing = Ask::Page(keys.clone(), 1);
        if self.ask(shard, nothing, self.deadline()).await?.made.frozen_version.is_some() {
            let (done, total) = self.view.progress();
            return Err(QueryError::Building { view: self.view.name.clone(), done, total });
        }
        Ok(Changes::new(self.view.clone(), shard, keys, since, read))
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.within
    }

    fn shards(&self) -> impl Iterator<Item = Partition> + use<K, S> {
        (0..self.view.cells.len() as u32).map(Partition)
    }

    fn bounds(&self, deadline: Instant) -> Bounds<'_> {
        Bounds { deadline, traceparent: self.traceparent.as_deref() }
    }

    /// Asks a shard, once it includes what was asked for.
    async fn ask(&self, shard: Partition, ask: Ask, deadline: Instant) -> Result<ShardAnswer, QueryError> {
        // Whoever asks again and again lets those run whom it waits for, also where there is one thread for all.
        tokio::task::coop::consume_budget().await;
        let needed = self.needed(shard, deadline).await?;
        let ask = match self.as_of {
            Some(time) if !matches!(ask, Ask::Versions(..)) => Ask::Past(time, Box::new(ask)),
            _ => ask,
        };
        self.view.answer(shard, needed, &ask, self.bounds(deadline)).await
    }

    async fn rows(
        &self,
        shard: Partition,
        keys: KeyRange,
        limit: usize,
        deadline: Instant,
    ) -> Result<(Vec<(Bytes, Bytes)>, Made), QueryError> {
        self.rows_of(self.ask(shard, Ask::Page(keys, limit), deadline).await?)
    }

    fn rows_of(
        &self,
        ShardAnswer { got, made }: ShardAnswer,
    ) -> Result<(Vec<(Bytes, Bytes)>, Made), QueryError> {
        let Got::Rows(rows) = got else { return Err(self.misfit()) };
        Ok((rows, made))
    }

    fn decoded(&self, rows: Vec<(Bytes, Bytes)>, made: &Made) -> Result<Vec<(K, S)>, QueryError> {
        let row = |(key, value): (Bytes, Bytes)| {
            let key = decode_ordered(&key).map_err(|error| self.view.unreadable(error))?;
            Ok((key, self.view.decode(&value, made.frozen_version.is_some())?))
        };
        rows.into_iter().map(row).collect()
    }

    fn misfit(&self) -> QueryError {
        self.view.unreadable("another instance's answer does not fit the question")
    }

    fn shard_of(&self, key: &K) -> Result<Partition, QueryError> {
        self.shard_of_part(self.route.of(key).map_err(QueryError::Key)?)
    }

    fn shard_of_part(&self, part: Bytes) -> Result<Partition, QueryError> {
        Ok(partition_of(&part, self.view.cells.len() as u32))
    }

    /// Where what is asked for lies: the receipt's events, and the positions.
    async fn wanted(&self, deadline: Instant) -> Result<Needed, QueryError> {
        let mut wanted = Needed::new();
        let mut want = |topic: &TopicName, place| wanted.entry(topic.clone()).or_default().push(place);
        if let Some(receipt) = &self.after {
            self.check_receipt(receipt, deadline).await?;
            want(&receipt.topic, (receipt.partition, receipt.next));
        }
        for (at, next) in self.at_least.iter() {
            if !self.is_made_of(at) {
                return Err(QueryError::ForeignPosition {
                    view: self.view.name.clone(),
                    partition: at.clone(),
                });
            }
            want(&at.topic, (at.partition, next));
        }
        Ok(wanted)
    }

    /// Whether a partition is one of the view's source, or of a topology that feeds it.
    fn is_made_of(&self, at: &TopicPartition) -> bool {
        let feeds = |hop: &String| {
            self.app.emitters.get(hop).is_some_and(|emitter| emitter.sources.contains(&at.topic))
        };
        let is_source = at.topic == self.view.source || self.lineage.iter().any(feeds);
        is_source && (at.partition.0 as usize) < self.view.cells.len()
    }

    /// The position in the view's source that includes what is asked for, if any of it can concern the shard: from
    /// topology to topology along the graph that feeds the view, each waited for where it runs, in every source of it
    /// that the events have come to; what it has made of them then lies before the ends of its topics.
    async fn needed(&self, shard: Partition, deadline: Instant) -> Result<Option<Offset>, QueryError> {
        let mut needed = self.wanted(deadline).await?;
        if needed.is_empty() {
            return Ok(None);
        }
        // Topologies come after those that feed them.
        for hop in &*self.lineage {
            let Some(emitter) = self.app.emitters.get(hop) else {
                return Err(QueryError::NotHere(hop.clone()));
            };
            let reached = emitter.sources.iter().enumerate().filter_map(|(source, topic)| {
                let reach =
                    move |place| self.view.reach_hop(hop, emitter, source, place, self.bounds(deadline));
                Some(try_join_all(needed.get(topic)?.clone().into_iter().map(reach)))
            });
            if try_join_all(reached).await?.is_empty() {
                continue;
            }
            for topic in &emitter.to {
                let ends = self.ends(topic, shard, deadline).await?;
                needed.entry(topic.clone()).or_default().extend(ends);
            }
        }
        let mine = needed.get(&self.view.source).into_iter().flatten().filter(|(at, _)| *at == shard);
        Ok(mine.map(|(_, next)| *next).max())
    }

    /// The ends of the partitions that matter: the shard's alone of the view's source, all of what comes before.
    async fn ends(
        &self,
        topic: &TopicName,
        shard: Partition,
        deadline: Instant,
    ) -> Result<Vec<(Partition, Offset)>, QueryError> {
        let last = *topic == self.view.source;
        let partitions = (0..self.app.count_of(topic, self.view.cells.len())).map(Partition);
        let partitions = partitions.filter(|partition| !last || *partition == shard);
        let end = async |partition: Partition| {
            let at = topic.partition(partition.0);
            match tokio::time::timeout_at(deadline, self.app.shell.log.bounds(&at)).await {
                Ok(Ok(bounds)) => Ok((partition, bounds.end)),
                Ok(Err(error)) => Err(self.view.unavailable(error)),
                Err(_) => Err(self.view.unavailable("the log does not answer")),
            }
        };
        try_join_all(partitions.map(end)).await
    }

    async fn check_receipt(&self, receipt: &Receipt, deadline: Instant) -> Result<(), QueryError> {
        if receipt.log != self.app.shell.log.id() {
            return Err(QueryError::ForeignReceipt("another log".into()));
        }
        if receipt.partition.0 >= self.app.count_of(&receipt.topic, self.view.cells.len()) {
            return Err(QueryError::ForeignReceipt("a partition that does not exist".into()));
        }
        match tokio::time::timeout_at(deadline, self.app.has_topic(&receipt.topic, receipt.topic_id)).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(QueryError::ForeignReceipt("a topic that is no longer there".into())),
            Ok(Err(error)) => Err(self.view.unavailable(error)),
            Err(_) => Err(self.view.unavailable("the log does not answer")),
        }
    }
}

/// The first and the last moment of a range of times.
fn moments(times: &impl RangeBounds<Timestamp>) -> (Timestamp, Timestamp) {
    let from = match times.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(from) => from.plus_ms(1),
        Bound::Unbounded => Timestamp(i64::MIN),
    };
    let to = match times.end_bound() {
        Bound::Included(to) => *to,
        Bound::Excluded(to) => to.plus_ms(-1),
        Bound::Unbounded => Timestamp(i64::MAX),
    };
    (from, to)
}

/// Up to where partitions of topics are to have been processed.
type Needed = HashMap<TopicName, Vec<(Partition, Offset)>>;

fn answer<T>(value: T, made: Made) -> Answer<T> {
    Answer { value, position: made.position, frozen_version: made.frozen_version, stale_ms: made.stale_ms }
}

impl<K: Key, S: Serialize + DeserializeOwned + Send + 'static> ViewQuery<Windowed<K>, S> {
    /// The windows of a key that begin within a range of times, in the order of their starts.
    ///
    /// As Kafka's `WindowStore::fetch(key, from, to)`; all of them are one range of one shard.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use headwater::core::clock::Timestamp;
    /// use headwater::log::memory::{MemoryLog, MemoryOptions};
    /// use headwater::prelude::*;
    /// use headwater::store::memory::MemoryStores;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut app = App::new("shortener");
    /// let visits = app.stream::<String, u64>("visits").group_by_key();
    /// let daily = app.view(visits.window(Tumbling::days(1)).count(Store::named("visits-per-day")));
    /// let log = MemoryLog::new(MemoryOptions::default());
    /// let running = Headwater::on(Arc::new(log), Arc::new(MemoryStores::new())).start(app).await?;
    ///
    /// let (code, noon) = ("a".to_owned(), Timestamp(12 * 3_600_000));
    /// let receipt = running.publish(&"visits".into(), &code, &1_u64).at(noon).await?;
    /// let days = running.view(&daily)?.after(&receipt).windows(&code, Timestamp(0)..=noon).await?;
    /// let (window, visits) = &days.value[0];
    /// assert_eq!((window.start, *visits), (Timestamp(0), 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn windows(
        &self,
        key: &K,
        starts: impl RangeBounds<Timestamp>,
    ) -> Result<Answer<Vec<(Windowed<K>, S)>>, QueryError> {
        let (shard, keys) = self.windows_of(key, &starts)?;
        let (rows, made) = self.rows(shard, keys, usize::MAX, self.deadline()).await?;
        Ok(answer(self.decoded(rows, &made)?, made))
    }

    /// The sessions of a key, or its sliding windows, that some moment of a range of times lies in, in order: both ends are
    /// part of such a window.
    ///
    /// As Kafka's `SessionStore::findSessions(key, from, to)`. What lies outside the range is not read.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn overlapping(
        &self,
        key: &K,
        times: impl RangeBounds<Timestamp>,
    ) -> Result<Answer<Vec<(Windowed<K>, S)>>, QueryError> {
        let (from, to) = moments(&times);
        // An empty range of times is asked for as one of windows, for the position of its answer.
        let to = if from <= to { to } else { Timestamp(i64::MIN) };
        let (shard, windows) = self.windows_of(key, &(..=to))?;
        let asked = self.ask(shard, Ask::EndingFrom(windows, from), self.deadline()).await?;
        let (rows, made) = self.rows_of(asked)?;
        Ok(answer(self.decoded(rows, &made)?, made))
    }

    /// One page of the windows of all keys that begin within a range of times, in the order of their keys, as
    /// [`scan`](ViewQuery::scan) has them.
    ///
    /// As Kafka's `WindowStore::fetchAll(from, to)`. Of each key, what lies outside the range is passed by.
    ///
    /// # Errors
    ///
    /// [`QueryError::Token`] if the token is none of this view's.
    pub async fn scan_windows(
        &self,
        starts: impl RangeBounds<Timestamp>,
        limit: usize,
        token: Option<&PageToken>,
    ) -> Result<Answer<Page<Windowed<K>, S>>, QueryError> {
        let starts = moments(&starts);
        self.paged(limit, token, |windows, limit| Ask::Beginning(windows, starts, limit)).await
    }

    /// Live changes of the windows of a key that begin within a range of times; from `since` on, where the changes since
    /// then are still known.
    ///
    /// A window that comes, or is taken into another, is a change like any other; one that has expired is gone.
    ///
    /// ```no_run
    /// # use headwater::prelude::*;
    /// # use headwater::{Update, Windowed};
    /// # async fn follow(running: Running, daily: View<Windowed<String>, u64>) -> Result<(), QueryError> {
    /// let mut changes = running.view(&daily)?.changes(&"a".to_owned(), .., None).await?;
    /// loop {
    ///     match changes.next().await? {
    ///         Update::Reset { rows, .. } => println!("{} days so far", rows.len()),
    ///         Update::Change { key, value, .. } => println!("{:?}: {value:?}", key.start),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn changes(
        &self,
        key: &K,
        starts: impl RangeBounds<Timestamp>,
        since: Option<&Position>,
    ) -> Result<Changes<Windowed<K>, S>, QueryError> {
        let (shard, keys) = self.windows_of(key, &starts)?;
        self.watch(shard, keys, since, decode_ordered).await
    }

    /// Where the windows of a key are that begin within a range.
    fn windows_of(
        &self,
        key: &K,
        starts: &impl RangeBounds<Timestamp>,
    ) -> Result<(Partition, KeyRange), QueryError> {
        let (first, last) = (Timestamp(i64::MIN), Timestamp(i64::MAX));
        let window = |start, end| Windowed { key: key.clone(), start, end };
        let shard = self.shard_of(&window(first, last))?;
        let bytes = |window: &Windowed<K>| ordered(window).map_err(|e| QueryError::Key(e.to_string()));
        let from = match starts.start_bound() {
            Bound::Included(start) => Bound::Included(bytes(&window(*start, first))?),
            Bound::Excluded(start) => Bound::Excluded(bytes(&window(*start, last))?),
            Bound::Unbounded => Bound::Included(bytes(&window(first, first))?),
        };
        let to = match starts.end_bound() {
            Bound::Included(start) => Bound::Included(bytes(&window(*start, last))?),
            Bound::Excluded(start) => Bound::Excluded(bytes(&window(*start, first))?),
            Bound::Unbounded => Bound::Included(bytes(&window(last, last))?),
        };
        Ok((shard, KeyRange { from, to, ..KeyRange::all() }))
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
        let (rows, made) = self.rows(shard, keys, usize::MAX, self.deadline()).await?;
        let rows = self.decoded(rows, &made)?.into_iter().map(|((_, rest), state)| (rest, state)).collect();
        Ok(answer(rows, made))
    }

    /// Live changes of one partition part; from `since` on, where the changes since then are still known.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn changes(&self, part: &P, since: Option<&Position>) -> Result<Changes<R, S>, QueryError> {
        let (shard, keys) = self.part(part)?;
        self.watch(shard, keys, since, |key| decode_ordered::<(P, R)>(key).map(|(_, rest)| rest)).await
    }

    fn part(&self, part: &P) -> Result<(Partition, KeyRange), QueryError> {
        let failed = |e: headwater_core::key::KeyError| QueryError::Key(e.to_string());
        let shard = self.shard_of_part(self.route.of_first(part).map_err(QueryError::Key)?)?;
        Ok((shard, KeyRange::prefix(&ordered(part).map_err(failed)?)))
    }
}
