//! Writing this instance's record, and reading everybody's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::header::Headers;
use headwater_core::log::{LogErrorKind, ReadLimit, Wait};
use headwater_core::record::{Append, Record, StoredRecord};
use headwater_core::topic::{Offset, Partition, TopicPartition};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{HEARTBEAT, InstanceRecord, SILENCE, Table};
use crate::runtime::cell::{Bell, Phase, ShardCell};
use crate::runtime::peers::{PeerAddress, Peers, Registry};
use crate::runtime::shell::Shell;
use crate::runtime::start::{Parts, TopologyStatus};

/// How long the first record waits for what others have said.
const CATCH_UP: Duration = Duration::from_secs(3);
/// How long one append may take before it is tried again.
const APPEND_WITHIN: Duration = Duration::from_secs(5);
/// How long whoever could not write or read waits before it tries again.
const PAUSE: Duration = Duration::from_millis(250);

/// This process among the instances of its apps.
pub(crate) struct Cluster {
    /// The instance's name: one record of the topic is its.
    pub(crate) name: String,
    /// Where others reach it.
    pub(crate) address: PeerAddress,
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) registry: Arc<Registry>,
}

/// Where a shard is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// At this instance, or about to be.
    Here,
    /// At another.
    There(PeerAddress),
    /// Nobody claims it.
    Nobody,
}

/// The routing table of one app, and this instance's line in it.
pub(crate) struct Routes {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) app: String,
    shell: Shell,
    bell: Bell,
    topic: TopicPartition,
    run: String,
    table: watch::Sender<Table>,
    caught_up: watch::Sender<bool>,
    /// When the log last answered, in milliseconds, and whether it refused since.
    reached: AtomicI64,
    refused: AtomicBool,
    turn: AtomicUsize,
}

impl Routes {
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        app: &str,
        shell: Shell,
        bell: Bell,
        topic: TopicPartition,
    ) -> Self {
        let now = shell.clock.now();
        Self {
            cluster,
            app: app.to_owned(),
            shell,
            bell,
            topic,
            run: now.0.to_string(),
            table: watch::Sender::new(Table::default()),
            caught_up: watch::Sender::new(false),
            reached: AtomicI64::new(now.0),
            refused: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
        }
    }

    /// Who owns a shard.
    pub(crate) fn owner(&self, topology: &str, shard: Partition) -> Route {
        match self.table.borrow().owner(topology, shard) {
            None => Route::Nobody,
            Some((name, _)) if name == self.cluster.name => Route::Here,
            Some((_, record)) => Route::There(PeerAddress::new(&record.address)),
        }
    }

    /// One of the other instances that hold a copy of a shard; another one each time.
    pub(crate) fn holder(&self, topology: &str, shard: Partition) -> Route {
        let table = self.table.borrow();
        let others = table.holders(topology, shard).filter(|(name, _)| *name != self.cluster.name);
        let others: Vec<_> = others.map(|(_, record)| &record.address).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        match others.get(turn % others.len().max(1)) {
            Some(address) => Route::There(PeerAddress::new(*address)),
            None => Route::Nobody,
        }
    }

    /// The other instances that have a state of a shard: those that hold copies, and its owner.
    pub(crate) fn copies_of(&self, topology: &str, shard: Partition) -> BTreeSet<PeerAddress> {
        let table = self.table.borrow();
        let all = table.holders(topology, shard).chain(table.owner(topology, shard));
        let others = all.filter(|(name, _)| *name != self.cluster.name);
        others.map(|(_, record)| PeerAddress::new(&record.address)).collect()
    }

    /// Tells of every change of the table.
    pub(crate) fn watch(&self) -> watch::Receiver<Table> {
        self.table.subscribe()
    }

    /// For how long the log has not answered, where that is longer than it should be.
    pub(crate) fn silence(&self) -> Option<Duration> {
        let silent = self.shell.clock.now().ms_since(Timestamp(self.reached.load(Ordering::Relaxed)));
        let silent = Duration::from_millis(silent.max(0).unsigned_abs());
        (silent > SILENCE || self.refused.load(Ordering::Relaxed)).then_some(silent)
    }

    fn reached(&self) {
        self.reached.fetch_max(self.shell.clock.now().0, Ordering::Relaxed);
        self.refused.store(false, Ordering::Relaxed);
    }

    fn refused(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Folds the topic into the table until `stop`.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.read_on() => {}
        }
    }

    async fn read_on(&self) {
        let (mut next, mut goal) = (Offset::ZERO, None);
        loop {
            if goal.is_none()
                && let Ok(bounds) = self.shell.log.bounds(&self.topic).await
            {
                (next, goal) = (next.max(bounds.start), Some(bounds.end));
            }
            if goal.is_some_and(|goal| next >= goal) {
                self.caught_up.send_replace(true);
            }
            match self.shell.log.read(&self.topic, next, ReadLimit::default(), Wait::UntilMore).await {
                Ok(batch) => {
                    self.reached();
                    self.take(&batch.records);
                    next = batch.next;
                }
                Err(error) => {
                    if let LogErrorKind::OutOfRange(bounds) = error.kind() {
                        next = bounds.start;
                    }
                    self.refused();
                    tracing::debug!(topic = %self.topic, %error, "cannot read who is there; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn take(&self, records: &[StoredRecord]) {
        let now = self.shell.clock.now();
        self.table.send_modify(|table| {
            for stored in records {
                match read_record(&stored.record) {
                    Ok((name, record)) => table.apply(&name, record, stored.offset, now),
                    Err(reason) => tracing::warn!(
                        partition = %self.topic, offset = %stored.offset, reason, "a record of no instance is set aside"
                    ),
                }
            }
        });
    }

    /// Writes this instance's record until `stop`, and then that it has left.
    pub(crate) async fn tell(
        self: Arc<Self>,
        topologies: Vec<TopologyStatus>,
        parts: Parts,
        stop: CancellationToken,
    ) {
        let mut rung = self.bell.listen();
        let mut caught_up = self.caught_up.subscribe();
        let read = tokio::time::timeout(CATCH_UP, caught_up.wait_for(|read| *read));
        tokio::select! {
            () = stop.cancelled() => return,
            _ = read => {}
        }
        let mut line = InstanceRecord {
            address: self.cluster.address.to_string(),
            run: self.run.clone(),
            roles: roles(parts),
            ..InstanceRecord::default()
        };
        let mut beat = Instant::now();
        let mut first = true;
        loop {
            rung.mark_unchanged();
            let changed = self.renew(&mut line, &topologies) || std::mem::take(&mut first);
            if changed || Instant::now() >= beat {
                let said = self.say(&self.cluster.name, Some(&line), &stop).await;
                beat = Instant::now() + if said { HEARTBEAT } else { PAUSE };
                self.forget(&stop).await;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = rung.changed() => {}
                () = tokio::time::sleep_until(beat) => {}
            }
        }
        let _ = self.append(&self.cluster.name, None).await;
    }

    /// Brings the record up to date; whether it changed.
    fn renew(&self, line: &mut InstanceRecord, topologies: &[TopologyStatus]) -> bool {
        let mut shards: BTreeMap<String, BTreeMap<u32, u64>> = BTreeMap::new();
        let mut copies: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        for topology in topologies {
            let has = |phase: &Phase| {
                if topology.replicated { *phase == Phase::Running } else { *phase != Phase::Waiting }
            };
            let mine = topology.cells.iter().filter(|cell| has(&cell.phase())).map(|cell| cell.shard);
            if topology.replicated {
                copies.entry(topology.name.clone()).or_default().extend(mine.map(|shard| shard.0));
                continue;
            }
            // Of shards that moved away, too: their state is at hand for whoever has them now.
            let has_state = |cell: &ShardCell| cell.state().is_some_and(|state| state.is_open());
            let copied = topology.cells.iter().filter(|cell| !has(&cell.phase()) && has_state(cell));
            let copied: BTreeSet<u32> = copied.map(|cell| cell.shard.0).collect();
            if !copied.is_empty() {
                copies.insert(topology.name.clone(), copied);
            }
            let former = line.shards.get(&topology.name);
            let term = |shard: Partition| {
                let kept = former.and_then(|shards| shards.get(&shard.0)).copied();
                kept.unwrap_or_else(|| self.table.borrow().term(&topology.name, shard) + 1)
            };
            shards.insert(topology.name.clone(), mine.map(|shard| (shard.0, term(shard))).collect());
        }
        let changed = (&line.shards, &line.copies) != (&shards, &copies);
        (line.shards, line.copies) = (shards, copies);
        line.at = self.shell.clock.now();
        changed
    }

    async fn forget(&self, stop: &CancellationToken) {
        let gone = self.table.borrow().forgettable();
        for name in gone {
            tracing::info!(instance = name, "forgetting an instance that has said nothing for long");
            self.say(&name, None, stop).await;
        }
    }

    /// Writes a record; whether the log took it.
    async fn say(&self, name: &str, record: Option<&InstanceRecord>, stop: &CancellationToken) -> bool {
        let said = tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            said = self.append(name, record) => said,
        };
        match said {
            Ok(()) => self.reached(),
            Err(reason) => {
                self.refused();
                tracing::debug!(topic = %self.topic, reason, "cannot say that this instance is there; trying again");
            }
        }
        !self.refused.load(Ordering::Relaxed)
    }

    async fn append(&self, name: &str, record: Option<&InstanceRecord>) -> Result<(), String> {
        let value =
            record.map(|record| Bytes::from(serde_json::to_vec(record).expect("names and numbers are JSON")));
        let key = Some(Bytes::copy_from_slice(name.as_bytes()));
        let record =
            Record { key, value, headers: Headers::builder().build(), timestamp: self.shell.clock.now() };
        let append = self.shell.log.append(vec![Append { to: self.topic.clone(), record }]);
        match tokio::time::timeout(APPEND_WITHIN, append).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it takes too long".to_owned()),
        }
    }
}

fn read_record(record: &Record) -> Result<(String, Option<InstanceRecord>), String> {
    let key = record.key.as_ref().ok_or("it has no key")?;
    let name = std::str::from_utf8(key).map_err(|error| error.to_string())?.to_owned();
    let line = record.value.as_ref().map(|value| serde_json::from_slice(value));
    Ok((name, line.transpose().map_err(|error| error.to_string())?))
}

fn roles(parts: Parts) -> BTreeSet<String> {
    let roles = [(parts.commands, "command"), (parts.queries, "query")];
    roles.into_iter().filter(|(runs, _)| *runs).map(|(_, role)| role.to_owned()).collect()
}
