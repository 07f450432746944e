//! The table of instances: a pure fold of their records.
//!
//! Invariants:
//! - Of two claims on a shard the one of the higher term wins, whoever spoke last: who gains a shard takes a term above
//!   every term it has read of, so a claim that a hung instance repeats loses against its successor's.
//! - An instance's age is counted only while records arrive at all: a log that cannot be reached expires nobody.
//! - Terms are never forgotten, not even with their instance.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headwater_core::clock::Timestamp;
use headwater_core::topic::{Offset, Partition};
use serde::{Deserialize, Serialize};

use super::{EXPIRES, FORGET, HEARTBEAT};

/// What one instance says of itself; JSON on the topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstanceRecord {
    /// Where other instances reach it: `host:port`.
    pub(crate) address: String,
    /// Which life of the instance.
    pub(crate) run: String,
    /// When it was written, by the instance's own clock; for people.
    pub(crate) at: Timestamp,
    /// What it runs: `command`, `query`.
    #[serde(default)]
    pub(crate) roles: BTreeSet<String>,
    /// The shards that it owns, each with the term of its claim, by topology.
    #[serde(default)]
    pub(crate) shards: BTreeMap<String, BTreeMap<u32, u64>>,
    /// The shards of which it holds a copy that answers or can be taken over, by topology.
    #[serde(default)]
    pub(crate) copies: BTreeMap<String, BTreeSet<u32>>,
}

impl InstanceRecord {
    fn term(&self, topology: &str, shard: Partition) -> Option<u64> {
        self.shards.get(topology)?.get(&shard.0).copied()
    }

    fn has_copy(&self, topology: &str, shard: Partition) -> bool {
        self.copies.get(topology).is_some_and(|shards| shards.contains(&shard.0))
    }
}

/// One instance of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    record: InstanceRecord,
    /// How much contact there had been with the topic when it was last heard.
    heard: Duration,
    /// Per claim, the record with which it began.
    since: BTreeMap<(String, u32), Offset>,
}

/// Who owns what, as far as the records tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    entries: BTreeMap<String, Entry>,
    terms: BTreeMap<(String, u32), u64>,
    /// Time in which records arrived, and when the last one did.
    contact: Duration,
    last: Option<Timestamp>,
}

impl Table {
    /// Takes the next record of the topic, read at `now`; `None` is an instance that left.
    pub(crate) fn apply(&mut self, name: &str, record: Option<InstanceRecord>, at: Offset, now: Timestamp) {
        let silent = self.last.map_or(0, |last| now.ms_since(last).max(0));
        self.contact += Duration::from_millis(silent.unsigned_abs()).min(HEARTBEAT * 2);
        self.last = Some(now);
        let former = self.entries.remove(name);
        let Some(record) = record else { return };
        let since = claims(&record).map(|(place, term)| {
            let known = self.terms.entry(place.clone()).or_default();
            *known = (*known).max(term);
            (place.clone(), former.as_ref().and_then(|former| former.began(&place, &record)).unwrap_or(at))
        });
        let since = since.collect();
        self.entries.insert(name.to_owned(), Entry { record, heard: self.contact, since });
    }

    /// The instance that owns a shard, by name, if one that is there claims it.
    pub(crate) fn owner(&self, topology: &str, shard: Partition) -> Option<(&str, &InstanceRecord)> {
        let claims = self.there().filter_map(|(name, entry)| {
            let term = entry.record.term(topology, shard)?;
            let began = entry.since.get(&(topology.to_owned(), shard.0)).copied();
            Some(((term, began), name, &entry.record))
        });
        claims.max_by_key(|(strength, ..)| *strength).map(|(_, name, record)| (name, record))
    }

    /// The instances that hold a copy of a shard.
    pub(crate) fn holders(
        &self,
        topology: &str,
        shard: Partition,
    ) -> impl Iterator<Item = (&str, &InstanceRecord)> {
        let held = self.there().filter(move |(_, entry)| entry.record.has_copy(topology, shard));
        held.map(|(name, entry)| (name, &entry.record))
    }

    /// The highest term with which a shard was ever claimed.
    pub(crate) fn term(&self, topology: &str, shard: Partition) -> u64 {
        self.terms.get(&(topology.to_owned(), shard.0)).copied().unwrap_or_default()
    }

    /// The instances that are there.
    pub(crate) fn instances(&self) -> impl Iterator<Item = (&str, &InstanceRecord)> {
        self.there().map(|(name, entry)| (name, &entry.record))
    }

    /// Instances that have said nothing for so long that their records can go.
    pub(crate) fn forgettable(&self) -> Vec<String> {
        let old = self.entries.iter().filter(|(_, entry)| self.contact - entry.heard > FORGET);
        old.map(|(name, _)| name.clone()).collect()
    }

    fn there(&self) -> impl Iterator<Item = (&str, &Entry)> {
        let fresh = |entry: &&Entry| self.contact - entry.heard <= EXPIRES;
        self.entries.iter().filter(move |(_, entry)| fresh(entry)).map(|(name, entry)| (name.as_str(), entry))
    }
}

impl Entry {
    /// Where a claim that `record` repeats began.
    fn began(&self, place: &(String, u32), record: &InstanceRecord) -> Option<Offset> {
        let shard = Partition(place.1);
        let same = self.record.run == record.run
            && self.record.term(&place.0, shard) == record.term(&place.0, shard);
        self.since.get(place).copied().filter(|_| same)
    }
}

fn claims(record: &InstanceRecord) -> impl Iterator<Item = ((String, u32), u64)> {
    record
        .shards
        .iter()
        .flat_map(|(topology, shards)| shards.iter().map(|(shard, term)| ((topology.clone(), *shard), *term)))
}
