//! What is compared: accounts that take deposits, and the contract behind which each peer keeps them.
//!
//! Every peer does the same work for a command: read the account's state, decide against it, and append one event
//! of 200 B that is refused if the account has moved meanwhile. A command is acknowledged after fsync.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// The command and its event: 200 B as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deposit {
    /// Pennies, always three digits.
    pub amount: u32,
    /// Text that no store can compress much.
    pub memo: String,
}

impl Deposit {
    /// Draws a deposit.
    pub(crate) fn random(rng: &mut fastrand::Rng) -> Self {
        let memo = (0..11).map(|_| format!("{:016x}", rng.u64(..))).collect();
        Self { amount: rng.u32(100..1_000), memo }
    }

    /// The domain's rule: the balance that follows, or `None` when the command is to be rejected.
    pub(crate) fn added_to(&self, balance: u64) -> Option<u64> {
        if self.amount == 0 { None } else { balance.checked_add(self.amount.into()) }
    }
}

/// A toolkit under comparison, in one configuration.
#[async_trait]
pub(crate) trait Peer: Send + Sync {
    /// The name of its row.
    fn name(&self) -> &'static str;

    /// Opens empty accounts in a directory, which lives as long as they do.
    async fn setup(&self, dir: TempDir) -> anyhow::Result<Arc<dyn Accounts>>;
}

/// The accounts that one peer keeps.
#[async_trait]
pub(crate) trait Accounts: Send + Sync {
    /// Executes one deposit once, and returns when its event is durable.
    async fn execute(&self, account: &str, deposit: Deposit) -> Result<(), ExecuteError>;

    /// Counts what is stored, after the last command has been answered.
    async fn audit(&self) -> anyhow::Result<Audit>;
}

/// What a peer has stored.
pub(crate) struct Audit {
    /// Events of all accounts.
    pub events: u64,
    /// Events that the peer's view has counted, if it keeps one.
    pub viewed: Option<u64>,
}

/// Why a deposit was not executed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecuteError {
    /// Another command moved the account first: nothing was stored, and the caller may try again.
    #[error("the account was moved by another command")]
    Conflict,
    /// Anything else ends the run.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_deposit_is_200_bytes_of_json() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..1_000 {
            let json = serde_json::to_string(&Deposit::random(&mut rng)).unwrap();
            assert_eq!(json.len(), 200, "{json}");
        }
    }

    #[test]
    fn empty_and_overflowing_deposits_are_rejected() {
        let deposit = |amount| Deposit { amount, memo: String::new() };
        assert_eq!(deposit(0).added_to(1), None);
        assert_eq!(deposit(2).added_to(u64::MAX - 1), None);
        assert_eq!(deposit(2).added_to(3), Some(5));
    }
}
