//! What the log knows of its topics and shards without reading: the rows of the table, kept in memory.
//!
//! Invariants: only the committer changes any of it, after the change is durable; so what is answered from here is
//! committed. A partition's start is stored before its end is read, so that a pair of them is never inside out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use headwater_core::log::{Bounds, Head, LogError, LogErrorKind, TopicDescription, TopicSettings};
use headwater_core::topic::{Offset, Partition, TopicId, TopicName, TopicPartition};
use parking_lot::RwLock;
use tokio::sync::Notify;

use super::format::{
    Commit, HEAD, Malformed, PARTITION, TOPIC, TopicNumber, TopicRow, head_content, parse_head,
    parse_head_key, parse_partition, parse_topic_key, partition_content, partition_key, row_digest,
};
use super::page::Damage;
use super::reader::{Fault, read_cell};
use super::tree::Cursor;
use crate::log::groups::ShardId;

/// One life of a topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) number: TopicNumber,
    pub(super) name: TopicName,
    id: TopicId,
    /// Changed by the committer alone, once the change is durable.
    settings: RwLock<TopicSettings>,
    pub(super) partitions: Vec<PartitionState>,
    live: AtomicBool,
}

/// What moves in a partition.
#[derive(Debug, Default)]
pub(super) struct PartitionState {
    start: AtomicU64,
    end: AtomicU64,
    /// Whether its end is damaged, so that nothing can be appended.
    damaged: AtomicBool,
    /// Told of every move of the end, and of the end of the topic or the log.
    pub(super) moved: Notify,
}

impl Topic {
    pub(super) fn new(number: TopicNumber, row: TopicRow) -> Self {
        let partitions = (0..row.settings.partitions).map(|_| PartitionState::default()).collect();
        let TopicRow { live, id, settings, name } = row;
        Self { number, name, id, settings: RwLock::new(settings), live: AtomicBool::new(live), partitions }
    }

    pub(super) fn describe(&self) -> TopicDescription {
        TopicDescription { name: self.name.clone(), id: self.id, settings: self.settings(), replicas: None }
    }

    /// Its row, as it is now.
    pub(super) fn row(&self) -> TopicRow {
        TopicRow { live: self.is_live(), id: self.id, settings: self.settings(), name: self.name.clone() }
    }

    pub(super) fn settings(&self) -> TopicSettings {
        *self.settings.read()
    }

    pub(super) fn set_settings(&self, settings: TopicSettings) {
        *self.settings.write() = settings;
    }

    pub(super) fn partition_count(&self) -> u32 {
        self.partitions.len() as u32
    }

    pub(super) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    pub(super) fn end_life(&self) {
        self.live.store(false, Ordering::Release);
        self.wake();
    }

    /// Wakes whoever waits for a record.
    pub(super) fn wake(&self) {
        self.partitions.iter().for_each(|partition| partition.moved.notify_waiters());
    }

    pub(super) fn place(&self, partition: u32) -> TopicPartition {
        self.name.partition(partition)
    }
}

impl PartitionState {
    pub(super) fn bounds(&self) -> Bounds {
        let start = Offset(self.start.load(Ordering::Acquire));
        Bounds { start, end: Offset(self.end.load(Ordering::Acquire)) }
    }

    pub(super) fn set_start(&self, start: u64) {
        self.start.store(start, Ordering::Release);
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    pub(super) fn set_damaged(&self) {
        self.damaged.store(true, Ordering::Release);
    }

    pub(super) fn move_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
        self.moved.notify_waiters();
    }
}

/// All topics by name, and all heads.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    pub(super) topics: RwLock<BTreeMap<TopicName, Arc<Topic>>>,
    /// Topics that were deleted and whose records are not all gone yet.
    pub(super) dropped: RwLock<Vec<Arc<Topic>>>,
    pub(super) heads: RwLock<HashMap<ShardId, Head>>,
}

impl Catalogue {
    pub(super) fn topic(&self, name: &TopicName) -> Result<Arc<Topic>, LogError> {
        self.topics.read().get(name).cloned().ok_or_else(|| unknown_topic(name))
    }

    pub(super) fn partition(&self, at: &TopicPartition) -> Result<Arc<Topic>, LogError> {
        let topic = self.topic(&at.topic)?;
        let count = topic.partition_count();
        if at.partition.0 < count {
            return Ok(topic);
        }
        let message = format!("topic {} has {count} partitions and no partition {}", at.topic, at.partition);
        Err(LogError::new(LogErrorKind::UnknownTopic, message))
    }
}

pub(super) fn unknown_topic(name: &TopicName) -> LogError {
    LogError::new(LogErrorKind::UnknownTopic, format!("there is no topic {name}: create it first"))
}

/// Reads every row, and checks them against what the last commit says of all of them together.
pub(super) fn load(cursor: &mut Cursor<'_>, commit: &Commit) -> Result<Catalogue, Damage> {
    let mut rows = Rows::default();
    let mut found = cursor.seek(&[TOPIC])?;
    while found {
        let page = cursor.page();
        let key = match cursor.key()? {
            Some(key) if key[0] <= HEAD => key.to_vec(),
            _ => break,
        };
        cursor.check_leaf()?;
        let row = rows.read(cursor, &key);
        row.map_err(|fault| match fault {
            Fault::Damage(damage) => damage,
            Fault::Record(what) => Damage::Page(page, what),
        })?;
        found = cursor.next()?;
    }
    if rows.digest == commit.digest {
        Ok(rows.catalogue)
    } else {
        Err(Damage::Page(cursor.page(), "the rows of topics and groups are not those of the last commit"))
    }
}

#[derive(Default)]
struct Rows {
    catalogue: Catalogue,
    numbers: HashMap<TopicNumber, Arc<Topic>>,
    digest: u64,
}

impl Rows {
    fn read(&mut self, cursor: &mut Cursor<'_>, key: &[u8]) -> Result<(), Fault> {
        let mut content = Vec::new();
        read_cell(cursor, key, &mut content)?;
        self.digest = self.digest.wrapping_add(row_digest(key, &content));
        match key[0] {
            TOPIC => self.topic(key, &content)?,
            PARTITION => self.partition(key, &content)?,
            _ => self.head(key, &content)?,
        }
        Ok(())
    }

    fn topic(&mut self, key: &[u8], content: &[u8]) -> Result<(), Malformed> {
        let number = parse_topic_key(key).ok_or(Malformed("a topic's key is malformed"))?;
        let topic = Arc::new(Topic::new(number, TopicRow::parse(content)?));
        self.numbers.insert(number, topic.clone());
        if topic.is_live() {
            self.catalogue.topics.write().insert(topic.name.clone(), topic);
        } else {
            self.catalogue.dropped.write().push(topic);
        }
        Ok(())
    }

    fn partition(&mut self, key: &[u8], content: &[u8]) -> Result<(), Malformed> {
        const STRAY: Malformed = Malformed("a partition's key names no topic");
        let (topic, partition) = key[1..].split_first_chunk().ok_or(STRAY)?;
        let topic = self.numbers.get(&u32::from_be_bytes(*topic)).ok_or(STRAY)?;
        let index = u32::from_be_bytes(partition.try_into().map_err(|_| STRAY)?) as usize;
        let state = topic.partitions.get(index).ok_or(STRAY)?;
        let (start, end) = parse_partition(content)?;
        state.set_start(start);
        state.move_end(end);
        Ok(())
    }

    fn head(&mut self, key: &[u8], content: &[u8]) -> Result<(), Malformed> {
        let (shard, group) = parse_head_key(key).ok_or(Malformed("a head's key is malformed"))?;
        let shard = ShardId { group: group.into(), shard: Partition(shard) };
        self.catalogue.heads.write().insert(shard, parse_head(content)?);
        Ok(())
    }
}

/// What a partition's row adds to the digest of all rows.
pub(super) fn partition_digest(topic: TopicNumber, partition: u32, start: u64, end: u64) -> u64 {
    row_digest(&partition_key(topic, partition), &partition_content(start, end))
}

/// What a head's row adds to the digest of all rows.
pub(super) fn head_digest(key: &[u8], head: Option<&Head>) -> u64 {
    head.map_or(0, |head| row_digest(key, &head_content(head)))
}
