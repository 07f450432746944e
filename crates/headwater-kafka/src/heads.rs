//! Heads: the last word of each shard about itself, kept for as long as the topic that holds them.
//!
//! Group offsets are forgotten by a cluster some days after the group's last commit, so the truth about a shard is the
//! last committed record of the shard's partition of the group's heads topic, which is compacted. It is found by
//! reading back from the end in growing steps, since behind it there can only be markers and what was aborted.
//!
//! ```text
//! record  = version:u8(1) varint(count) place*count note:rest
//! place   = varint(len) topic:utf8 varint(partition) varint(next) id:u128be varint(epoch + 1)
//! ```
//!
//! A place in a topic that was deleted, or deleted and made again, is no place: the id tells. The leader epoch of what was
//! read last tells whether the log still has what the shard has processed, or lost it and has other records there; an
//! epoch of 0 stands for one that is not known.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use headwater_core::header::{put_varint, take_varint};
use headwater_core::log::{
    Bounds, Cleanup, Group, Head, LogError, LogErrorKind, ReadLimit, TopicSettings, Wait,
};
use headwater_core::position::Position;
use headwater_core::record::StoredRecord;
use headwater_core::topic::{Offset, TopicId, TopicName, TopicPartition};
use tokio::time::timeout;

use crate::bounds::Places;
use crate::reader::Reader;
use crate::settings::KafkaSettings;
#[cfg(test)]
use crate::simulated::{Bug, planted};
use crate::topics::Topics;

/// The key of every head: compaction keeps the last of each partition.
pub(crate) const KEY: &[u8] = b"head";

const VERSION: u8 = 1;

/// How far back the first look goes, and by how much each further one goes further.
const FIRST_STEP: u64 = 64;
const STEP_GROWTH: u64 = 8;

const TOMBSTONES_MS: u64 = 86_400_000;

/// A head as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StoredHead {
    pub(crate) places: BTreeMap<TopicPartition, Place>,
    pub(crate) note: Bytes,
}

/// How far a shard has come in a partition, and in which life of its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) next: Offset,
    pub(crate) id: TopicId,
    pub(crate) epoch: Option<u32>,
}

impl StoredHead {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(16 + self.places.len() * 64 + self.note.len());
        out.put_u8(VERSION);
        put_varint(&mut out, self.places.len() as u64);
        for (at, place) in &self.places {
            put_varint(&mut out, at.topic.as_str().len() as u64);
            out.put_slice(at.topic.as_str().as_bytes());
            put_varint(&mut out, u64::from(at.partition.0));
            put_varint(&mut out, place.next.0);
            out.put_u128(place.id.0);
            put_varint(&mut out, place.epoch.map_or(0, |epoch| u64::from(epoch) + 1));
        }
        out.put_slice(&self.note);
        out.freeze()
    }

    /// `None` if the bytes are no head of a version that is known.
    pub(crate) fn decode(value: &Bytes) -> Option<Self> {
        let rest = value.strip_prefix(&[VERSION])?;
        let (count, mut rest) = take_varint(rest)?;
        let mut places = BTreeMap::new();
        for _ in 0..count {
            let (at, place);
            (at, place, rest) = take_place(rest)?;
            places.insert(at, place);
        }
        Some(Self { places, note: value.slice_ref(rest) })
    }

    /// What the contract calls the head.
    pub(crate) fn head(&self) -> Head {
        let positions = self.places.iter().map(|(at, place)| (at.clone(), place.next)).collect::<Position>();
        Head { positions, note: self.note.clone() }
    }
}

fn take_place(bytes: &[u8]) -> Option<(TopicPartition, Place, &[u8])> {
    let (len, rest) = take_varint(bytes)?;
    let (topic, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    let topic = TopicName::new(std::str::from_utf8(topic).ok()?).ok()?;
    let (partition, rest) = take_varint(rest)?;
    let (next, rest) = take_varint(rest)?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let (epoch, rest) = take_varint(rest)?;
    let place = Place {
        next: Offset(next),
        id: TopicId(u128::from_be_bytes(*id)),
        epoch: epoch.checked_sub(1).and_then(|epoch| u32::try_from(epoch).ok()),
    };
    Some((topic.partition(u32::try_from(partition).ok()?), place, rest))
}

/// The name of a group's heads topic: `orders.heads`, and `orders.heads-2` for `orders@2`.
///
/// A group's name has an `@` before its version, which no topic's name may. No two groups share a topic: a name that
/// ends in `.heads` is of the group before that; any other is split at its last `.heads-`.
pub(crate) fn topic_of(group: &str) -> Result<TopicName, LogError> {
    let name = match group.rsplit_once('@') {
        Some((name, version)) => format!("{name}.heads-{version}"),
        None => format!("{group}.heads"),
    };
    TopicName::new(name).map_err(|error| {
        let message = format!("the group \"{group}\" cannot have a topic for its heads; name it otherwise");
        LogError::new(LogErrorKind::Invalid, message).with_source(error)
    })
}

/// How a group's heads topic is kept.
pub(crate) fn settings_of(group: &Group) -> TopicSettings {
    TopicSettings::kept(group.shards).cleanup(Cleanup::Compact { tombstones_ms: TOMBSTONES_MS })
}

/// Where heads are kept and found.
pub(crate) struct Heads {
    topics: Arc<Topics>,
    places: Arc<Places>,
    reader: Arc<Reader>,
    /// Held while a heads topic is made.
    making: tokio::sync::Mutex<()>,
}

impl Heads {
    pub(crate) fn new(topics: Arc<Topics>, places: Arc<Places>, reader: Arc<Reader>) -> Self {
        Self { topics, places, reader, making: tokio::sync::Mutex::default() }
    }

    /// The group's heads topic, which is made if it is not there.
    pub(crate) async fn ensure(&self, group: &Group) -> Result<TopicName, LogError> {
        let name = topic_of(&group.name)?;
        let last = name.partition(group.shards.saturating_sub(1));
        let known = async || match self.topics.partition(&last).await {
            Err(error) if error.kind() == LogErrorKind::UnknownTopic => Ok(None),
            known => known.map(Some),
        };
        if known().await?.is_some() {
            return Ok(name);
        }
        // One makes it for all: the shards of a first start would otherwise all ask the controller for it at once.
        let _making = self.making.lock().await;
        if known().await?.is_some() {
            return Ok(name);
        }
        match self.topics.create(&name, settings_of(group)).await {
            Ok(_) => Ok(name),
            // Another instance has just made it, and the brokers may not have heard of it yet.
            Err(error) if error.kind() == LogErrorKind::TopicExists => {
                self.topics.await_made(&name).await?;
                self.topics.partition(&last).await.map(|_| name)
            }
            Err(error) => Err(error),
        }
    }

    /// The last head in a partition whose writers are all settled, without places in topics that are gone.
    ///
    /// One that cannot be gone on from is an error of kind [`LogErrorKind::Corrupt`].
    pub(crate) async fn find(
        &self,
        at: &TopicPartition,
        settings: &KafkaSettings,
    ) -> Result<Option<StoredHead>, LogError> {
        let found = timeout(settings.patience * 2, self.last_record(at)).await.map_err(|_| {
            let message = format!("the head in {at} could not be read in time; it is tried again");
            LogError::new(LogErrorKind::Unavailable, message)
        })??;
        let Some(record) = found else {
            return Ok(None);
        };
        let mut head = record.record.value.as_ref().and_then(StoredHead::decode).ok_or_else(|| {
            let message = format!(
                "the record {} of {at} is no head that this version knows; a newer version, or somebody else, wrote it",
                record.offset
            );
            LogError::new(LogErrorKind::Corrupt, message)
        })?;
        self.drop_what_is_gone(&mut head).await?;
        self.check_history(&head).await?;
        Ok(Some(head))
    }

    async fn last_record(&self, at: &TopicPartition) -> Result<Option<StoredRecord>, LogError> {
        let Bounds { start, end } = self.places.bounds(at).await?;
        #[cfg(test)]
        let end = match planted(Bug::HeadBeforeLast) {
            true => Offset(end.0.saturating_sub(2).max(start.0)),
            false => end,
        };
        let (mut high, mut step) = (end, FIRST_STEP);
        while high > start {
            let low = Offset(high.0.saturating_sub(step).max(start.0));
            let found = self.last_between(at, low, high).await?;
            if found.is_some() {
                return Ok(found);
            }
            (high, step) = (low, step.saturating_mul(STEP_GROWTH));
        }
        Ok(None)
    }

    async fn last_between(
        &self,
        at: &TopicPartition,
        from: Offset,
        to: Offset,
    ) -> Result<Option<StoredRecord>, LogError> {
        let (mut next, mut last) = (from, None);
        while next < to {
            let batch = self.reader.read(at, next, ReadLimit::default(), Wait::UntilMore).await?;
            next = batch.next;
            last = batch.records.into_iter().rfind(|stored| stored.offset < to).or(last);
        }
        Ok(last)
    }

    async fn drop_what_is_gone(&self, head: &mut StoredHead) -> Result<(), LogError> {
        let mut lives: BTreeMap<TopicName, Option<TopicId>> = BTreeMap::new();
        for at in head.places.keys() {
            if !lives.contains_key(&at.topic) {
                let topic = self.topics.describe(&at.topic).await?;
                lives.insert(at.topic.clone(), topic.map(|topic| topic.id));
            }
        }
        head.places.retain(|at, place| lives[&at.topic] == Some(place.id));
        Ok(())
    }

    /// Whether the log still has what the shard has processed.
    async fn check_history(&self, head: &StoredHead) -> Result<(), LogError> {
        for (at, place) in &head.places {
            let Some(epoch) = place.epoch else { continue };
            if let Some(parted) = self.places.parting(at, place.next, epoch).await? {
                let next = place.next;
                let message = format!(
                    "the shard's head stands at {at} offset {next}, and the log has lost what it had from offset {parted} \
                     on, and has other records there; restore it, or start from an empty log and data directory"
                );
                return Err(LogError::new(LogErrorKind::Corrupt, message));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> StoredHead {
        let topic = TopicName::new("orders.events").unwrap();
        let place = |next, epoch| Place { next: Offset(next), id: TopicId(u128::MAX - 7), epoch };
        let places = [(topic.partition(0), place(0, None)), (topic.partition(300), place(u64::MAX, Some(0)))];
        StoredHead { places: places.into(), note: Bytes::from_static(b"a note") }
    }

    #[test]
    fn a_head_comes_back_as_it_was_stored() {
        for stored in [head(), StoredHead::default()] {
            assert_eq!(StoredHead::decode(&stored.encode()), Some(stored));
        }
    }

    #[test]
    fn a_head_is_laid_out_as_drawn() {
        let topic = TopicName::new("t").unwrap();
        let place = Place { next: Offset(300), id: TopicId(1), epoch: Some(4) };
        let stored = StoredHead { places: [(topic.partition(2), place)].into(), note: "n".into() };
        let expected = [&[1, 1, 1, b't', 2, 0xac, 2][..], &1u128.to_be_bytes()[..], &[5, b'n'][..]].concat();
        assert_eq!(stored.encode(), expected);
    }

    #[test]
    fn what_is_cut_short_or_of_another_version_is_no_head() {
        let whole = StoredHead { note: Bytes::new(), ..head() }.encode();
        for cut in 0..whole.len() {
            assert_eq!(StoredHead::decode(&whole.slice(..cut)), None, "cut at {cut}");
        }
        let other = [&[2], &whole[1..]].concat();
        assert_eq!(StoredHead::decode(&other.into()), None);
    }

    #[test]
    fn no_two_groups_share_a_heads_topic() {
        let groups = ["a", "a@2", "a.heads", "a.heads-2", "a.heads@2", "a.heads-2@2", "a-2", "a.2"];
        let topics: std::collections::BTreeSet<_> =
            groups.iter().map(|group| topic_of(group).unwrap()).collect();
        assert_eq!(topics.len(), groups.len(), "{topics:?}");
        assert_eq!(topic_of("shop.orders@2").unwrap().as_str(), "shop.orders.heads-2");
        assert_eq!(topic_of("two@parts@2").unwrap_err().kind(), LogErrorKind::Invalid);
    }
}
