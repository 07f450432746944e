//! evento on its fjall store: the account is loaded as a projection, and its `write` carries the version.
//!
//! The store is opened with its default, `PersistMode::SyncAll`: each `write` ends in an fsync of the journal
//! before it answers. State is kept in memory between commands (`snapshot(memory)`), which beats evento's stored
//! snapshots on a hot aggregate. Events of an aggregate are numbered with 16 bits: the hot one ends after 65,535.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use evento::metadata::Event;
use evento::{Fjall, Projection, ProjectionAggregate, WriteError};
use tempfile::TempDir;

use crate::peer::{Accounts, Audit, Deposit, ExecuteError, Peer};

/// evento with the fjall store.
pub(crate) struct Evento;

#[async_trait]
impl Peer for Evento {
    fn name(&self) -> &'static str {
        "evento, fjall"
    }

    async fn setup(&self, dir: TempDir) -> anyhow::Result<Arc<dyn Accounts>> {
        // The snapshots live in a static of the process: those of an earlier store must not answer for this one.
        Balance::snapshot_rows().write().map_err(|_| anyhow!("a snapshot's writer panicked"))?.clear();
        let store = Fjall::open(dir.path().join("fjall"))?;
        Ok(Arc::new(FjallAccounts { store, _dir: dir }))
    }
}

/// Dropped from the top: the store, then its directory.
struct FjallAccounts {
    store: Fjall,
    _dir: TempDir,
}

#[async_trait]
impl Accounts for FjallAccounts {
    async fn execute(&self, account: &str, deposit: Deposit) -> Result<(), ExecuteError> {
        let balance = self.load(account).await?;
        deposit.added_to(balance.balance).context("the deposit is empty, or too much for the account")?;
        let mut write = balance.write()?;
        let committed = write.event(&Deposited::from(deposit)).commit(&self.store).await;
        committed.map(|_id| ()).map_err(|error| match error {
            WriteError::InvalidOriginalVersion => ExecuteError::Conflict,
            other => ExecuteError::Failed(anyhow!(other)),
        })
    }

    async fn audit(&self) -> anyhow::Result<Audit> {
        let events = self.store.database().keyspace("events", Default::default)?.len()?;
        Ok(Audit { events: events.try_into()?, viewed: None })
    }
}

impl FjallAccounts {
    async fn load(&self, account: &str) -> anyhow::Result<Balance> {
        let projection = Projection::new::<Account>().handler(on_deposited());
        let loaded: Option<Balance> = projection.load(account).execute(&self.store).await?;
        Ok(loaded.unwrap_or_else(|| Balance { id: account.into(), ..Balance::default() }))
    }
}

/// The account's events.
#[evento::aggregate]
pub enum Account {
    /// Money came in.
    Deposited {
        /// Pennies.
        amount: u32,
        /// Text.
        memo: String,
    },
}

impl From<Deposit> for Deposited {
    fn from(Deposit { amount, memo }: Deposit) -> Self {
        Self { amount, memo }
    }
}

#[evento::projection(id = id)]
#[evento::snapshot(memory)]
struct Balance {
    id: String,
    balance: u64,
}

#[evento::handler]
async fn on_deposited(event: Event<Deposited>, balance: &mut Balance) -> anyhow::Result<()> {
    balance.id = event.aggregate_id.clone();
    balance.balance += u64::from(event.data.amount);
    Ok(())
}
