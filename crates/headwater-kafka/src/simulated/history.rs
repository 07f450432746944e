//! What owners and appenders wrote and were told, and the judgement by what the cluster holds in the end.

use std::collections::{BTreeMap, BTreeSet};

use headwater_core::topic::Offset;
use parking_lot::Mutex;

/// What the writer of records was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Written(Vec<Offset>),
    NotWritten,
    Fenced,
    Unknown,
}

/// Records that are written whole or not at all.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// The position that an owner found, and wrote one after; `None` for an appender.
    pub(super) base: Option<u64>,
    /// Which partition each record is for.
    pub(super) partitions: Vec<u32>,
    pub(super) told: Told,
}

/// Everything that happened.
#[derive(Default)]
pub(super) struct History {
    attempts: Mutex<BTreeMap<u64, Attempt>>,
    violations: Mutex<Vec<String>>,
}

/// A record of an attempt, as it lies in a partition: of which attempt, and which of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    pub(super) attempt: u64,
    pub(super) index: usize,
}

impl Piece {
    pub(super) fn text(self) -> String {
        format!("{}/{}", self.attempt, self.index)
    }

    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let (attempt, index) = std::str::from_utf8(value).ok()?.split_once('/')?;
        Some(Self { attempt: attempt.parse().ok()?, index: index.parse().ok()? })
    }
}

impl History {
    /// Notes an attempt before it is made; until its answer comes, it is unknown.
    pub(super) fn tries(&self, base: Option<u64>, partitions: &[u32]) -> u64 {
        let mut attempts = self.attempts.lock();
        let id = attempts.len() as u64;
        attempts.insert(id, Attempt { base, partitions: partitions.to_vec(), told: Told::Unknown });
        id
    }

    pub(super) fn told(&self, id: u64, told: Told) {
        if let Some(attempt) = self.attempts.lock().get_mut(&id) {
            attempt.told = told;
        }
    }

    pub(super) fn violation(&self, what: String) {
        self.violations.lock().push(what);
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }

    /// How many attempts were told what.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for attempt in self.attempts.lock().values() {
            let name = match attempt.told {
                Told::Written(_) => "told: written",
                Told::NotWritten => "told: not written",
                Told::Fenced => "told: fenced",
                Told::Unknown => "told: unknown",
            };
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    /// The attempts of owners that are in a log, by the position that each began with.
    pub(super) fn chain(&self, log: &BTreeMap<Piece, Vec<(u32, u64)>>) -> BTreeMap<u64, Vec<u64>> {
        let attempts = self.attempts.lock();
        let present: BTreeSet<u64> = log.keys().map(|piece| piece.attempt).collect();
        let mut chain: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for id in present {
            if let Some(base) = attempts.get(&id).and_then(|attempt| attempt.base) {
                chain.entry(base).or_default().push(id);
            }
        }
        chain
    }

    /// Judges what lies where in the end, and the last head: its position and note.
    pub(super) fn judge(&self, log: &BTreeMap<Piece, Vec<(u32, u64)>>, head: Option<(u64, u64)>) {
        let attempts = self.attempts.lock().clone();
        for (id, attempt) in &attempts {
            self.judge_attempt(*id, attempt, log);
        }
        let chain = self.chain(log);
        for (place, (base, of_base)) in chain.iter().enumerate() {
            if *base != place as u64 || of_base.len() != 1 {
                self.violation(format!(
                    "attempts {of_base:?} are written after position {base}, the {place}th"
                ));
            }
        }
        let last = chain.last_key_value().map(|(base, of_base)| (base + 1, of_base[0]));
        if head != last {
            self.violation(format!("the head says {head:?}, the log {last:?} (position and attempt)"));
        }
        self.judge_order(&chain, log);
    }

    fn judge_attempt(&self, id: u64, attempt: &Attempt, log: &BTreeMap<Piece, Vec<(u32, u64)>>) {
        let found: Vec<&[(u32, u64)]> = (0..attempt.partitions.len())
            .map(|index| log.get(&Piece { attempt: id, index }).map_or(&[][..], Vec::as_slice))
            .collect();
        let once = found.iter().zip(&attempt.partitions).all(|(at, of)| at.len() == 1 && at[0].0 == *of);
        let absent = found.iter().all(|at| at.is_empty());
        let kept = match &attempt.told {
            Told::Written(offsets) => {
                once && found.iter().zip(offsets).all(|(at, offset)| at[0].1 == offset.0)
            }
            Told::NotWritten | Told::Fenced => absent,
            Told::Unknown => once || absent,
        };
        if !kept {
            self.violation(format!("attempt {id} is {attempt:?}, and lies at {found:?}"));
        }
    }

    /// In each partition the attempts of owners lie in the order of their positions.
    fn judge_order(&self, chain: &BTreeMap<u64, Vec<u64>>, log: &BTreeMap<Piece, Vec<(u32, u64)>>) {
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        for id in chain.values().flatten() {
            let pieces = log.range(Piece { attempt: *id, index: 0 }..Piece { attempt: id + 1, index: 0 });
            for (partition, offset) in pieces.flat_map(|(_, at)| at) {
                if last.insert(*partition, *offset).is_some_and(|before| before > *offset) {
                    self.violation(format!(
                        "attempt {id} lies before an earlier one in partition {partition}"
                    ));
                }
            }
        }
    }
}
