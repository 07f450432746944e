//! What callers were told while things went wrong: the half of the evidence that is not in the log.

use std::collections::BTreeMap;

use headwater::{Outcome, SendError};
use parking_lot::Mutex;

use crate::bank::{Account, Command, Rejection};

/// What a caller was told of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// Accepted at this version.
    Accepted(u64),
    /// Refused by the domain.
    Rejected(Rejection),
    /// The expected version was not the actual one.
    VersionConflict(u64, u64),
    /// The id belongs to another content.
    IdConflict,
    /// It happened or not.
    Unknown,
    /// It did not happen, nor will it by this sending.
    Refused,
    /// By the topic: it is there.
    Enqueued,
    /// By the topic: it is there or not.
    MaybeEnqueued,
}

impl Told {
    /// What the answer to a direct command says.
    pub(crate) fn of(answer: Result<Outcome<Account>, SendError>) -> Self {
        match answer {
            Ok(Outcome::Accepted(receipt)) => Self::Accepted(receipt.version.0),
            Ok(Outcome::Rejected(rejection)) => Self::Rejected(rejection),
            Ok(Outcome::Unknown(_)) => Self::Unknown,
            Err(SendError::IdConflict { .. }) => Self::IdConflict,
            Err(SendError::VersionConflict { expected, actual }) => {
                Self::VersionConflict(expected.0, actual.0)
            }
            Err(_) => Self::Refused,
        }
    }

    /// Whether it must be what everybody is told of this content for ever.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Accepted(_) | Self::Rejected(_) | Self::VersionConflict(..) | Self::IdConflict)
    }

    /// Whether the outcome is that of this content.
    pub(crate) fn is_outcome(&self) -> bool {
        self.is_final() && *self != Self::IdConflict
    }
}

/// One sending of a command.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    pub(crate) command: Command,
    pub(crate) expected: Option<u64>,
    pub(crate) told: Told,
}

/// All sendings, by command id.
#[derive(Default)]
pub(crate) struct History {
    sendings: Mutex<BTreeMap<String, Vec<Sending>>>,
    /// What was told to those who asked for an outcome, whatever its content.
    asked: Mutex<BTreeMap<String, Vec<Told>>>,
    /// The versions that were acknowledged, by the life in which they were and the account.
    acknowledged: Mutex<BTreeMap<(u32, String), u64>>,
    violations: Mutex<Vec<String>>,
}

impl History {
    /// Notes what a caller was told.
    pub(crate) fn note(&self, id: &str, sending: Sending) {
        self.sendings.lock().entry(id.to_owned()).or_default().push(sending);
    }

    /// All sendings.
    pub(crate) fn sendings(&self) -> BTreeMap<String, Vec<Sending>> {
        self.sendings.lock().clone()
    }

    /// Notes what was told to one who asked for an outcome.
    pub(crate) fn asked(&self, id: &str, told: Told) {
        self.asked.lock().entry(id.to_owned()).or_default().push(told);
    }

    /// What was told to those who asked for an outcome.
    pub(crate) fn answers(&self, id: &str) -> Vec<Told> {
        self.asked.lock().get(id).cloned().unwrap_or_default()
    }

    /// Notes that an account was acknowledged to have reached a version.
    pub(crate) fn acknowledge(&self, life: u32, account: &str, version: u64) {
        let mut all = self.acknowledged.lock();
        let highest = all.entry((life, account.to_owned())).or_default();
        *highest = version.max(*highest);
    }

    /// The highest version of an account that was acknowledged in a life or before it.
    pub(crate) fn acknowledged(&self, life: u32, account: &str) -> u64 {
        let all = self.acknowledged.lock();
        let mine = all.iter().filter(|((of, name), _)| *of <= life && name == account);
        mine.map(|(_, version)| *version).max().unwrap_or(0)
    }

    /// The same of one life alone.
    pub(crate) fn acknowledged_in(&self, life: u32, account: &str) -> u64 {
        self.acknowledged.lock().get(&(life, account.to_owned())).copied().unwrap_or(0)
    }

    /// Notes that a promise was broken.
    pub(crate) fn violation(&self, what: String) {
        self.violations.lock().push(what);
    }

    /// The promises that were broken.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }
}
