//! Headwater on the embedded log, and on Kafka.
//!
//! The peers read an account, decide, and write what is refused if the account has moved meanwhile. Here the shard's one
//! writer decides on the account's latest state, so that nothing can have moved: there are no conflicts to retry. The
//! answer comes after the fsync of the log.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use headwater::config::{Config, KafkaConfig, LogChoice};
use headwater::prelude::*;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::peer::{Accounts, Audit, Deposit, ExecuteError, Peer};

/// Headwater, with a view that counts each account's deposits or without.
pub(crate) struct Embedded {
    pub(crate) with_view: bool,
}

#[async_trait]
impl Peer for Embedded {
    fn name(&self) -> &'static str {
        if self.with_view { "Headwater, with a view" } else { "Headwater" }
    }

    async fn setup(&self, dir: TempDir) -> anyhow::Result<Arc<dyn Accounts>> {
        let config = Config { data: dir.path().join("data"), log: LogChoice::Embedded, ..Config::default() };
        let mut app = App::new("bank");
        let accounts = app.aggregate::<Account>();
        let deposits = self
            .with_view
            .then(|| app.view(accounts.events().group_by_key().count(Store::named("deposits"))));
        let running = start(&config, app).await?;
        Ok(Arc::new(EmbeddedAccounts { running, accounts, deposits, _dir: dir }))
    }
}

async fn start(config: &Config, app: App) -> anyhow::Result<Running> {
    let running = Headwater::open(config).await?.start(app).await?;
    let ready = running.ready(Duration::from_secs(30)).await;
    ready.map_err(|troubles| anyhow!(troubles.join("; ")))?;
    Ok(running)
}

/// Settings for a cluster of one broker.
pub(crate) fn on_kafka(bootstrap: &str, data: PathBuf) -> Config {
    let kafka = KafkaConfig { replication: 1, ..KafkaConfig::default() };
    Config { data, log: LogChoice::Kafka(bootstrap.to_owned()), kafka, ..Config::default() }
}

/// Headwater on a Kafka cluster.
pub(crate) struct OnKafka<'a> {
    pub(crate) bootstrap: &'a str,
    pub(crate) app: &'a str,
}

impl OnKafka<'_> {
    /// Opens empty accounts, with local state in `data`.
    pub(crate) async fn open(&self, data: PathBuf) -> anyhow::Result<Arc<dyn Accounts>> {
        let mut app = App::new(self.app);
        let accounts = app.aggregate::<Account>();
        let running = start(&on_kafka(self.bootstrap, data), app).await?;
        Ok(Arc::new(KafkaAccounts { running, accounts, acknowledged: AtomicU64::new(0) }))
    }
}

struct KafkaAccounts {
    running: Running,
    accounts: Aggregates<Account>,
    acknowledged: AtomicU64,
}

#[async_trait]
impl Accounts for KafkaAccounts {
    async fn execute(&self, account: &str, deposit: Deposit) -> Result<(), ExecuteError> {
        execute(&self.running, &self.accounts, account, deposit).await?;
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// What is acknowledged; whoever asked counts the topic's committed records beside it, since its offsets hold
    /// the markers of transactions, too.
    async fn audit(&self) -> anyhow::Result<Audit> {
        self.running.stop(Duration::from_secs(30)).await;
        Ok(Audit { events: self.acknowledged.load(Ordering::Relaxed), viewed: None })
    }
}

async fn execute(
    running: &Running,
    accounts: &Aggregates<Account>,
    account: &str,
    deposit: Deposit,
) -> Result<(), ExecuteError> {
    match running.send(accounts, &account.to_owned(), deposit).await {
        Ok(Accepted(_)) => Ok(()),
        Ok(other) => Err(anyhow!("the deposit was not accepted: {other:?}").into()),
        Err(error) => Err(anyhow!(error).into()),
    }
}

struct EmbeddedAccounts {
    running: Running,
    accounts: Aggregates<Account>,
    deposits: Option<View<String, u64>>,
    _dir: TempDir,
}

/// An account, which refuses what does not fit it.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    balance: u64,
}

/// What happens to an account.
#[derive(Serialize, Deserialize)]
pub(crate) enum Event {
    Deposited(Deposit),
}

/// Why a deposit is refused.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Rejection {
    Impossible,
}

impl Aggregate for Account {
    const NAME: &'static str = "account";
    type Id = String;
    type Command = Deposit;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, deposit: Deposit, _: &Context) -> Result<Vec<Event>, Rejection> {
        match deposit.added_to(self.balance) {
            Some(_) => Ok(vec![Event::Deposited(deposit)]),
            None => Err(Rejection::Impossible),
        }
    }

    fn evolve(&mut self, Event::Deposited(deposit): &Event) {
        self.balance = deposit.added_to(self.balance).expect("it was decided");
    }
}

#[async_trait]
impl Accounts for EmbeddedAccounts {
    async fn execute(&self, account: &str, deposit: Deposit) -> Result<(), ExecuteError> {
        execute(&self.running, &self.accounts, account, deposit).await
    }

    async fn audit(&self) -> anyhow::Result<Audit> {
        let events = self.processed("account")?;
        let viewed = self.viewed(events).await?;
        self.running.stop(Duration::from_secs(30)).await;
        Ok(Audit { events, viewed })
    }
}

impl EmbeddedAccounts {
    /// How many records a topology has processed.
    fn processed(&self, topology: &str) -> anyhow::Result<u64> {
        let report = self.running.report();
        let topology = report.iter().find(|report| report.name == topology).context("the topology runs")?;
        Ok(topology.shards.iter().map(|shard| shard.next).sum())
    }

    /// What the view has counted, once it has had the time to.
    async fn viewed(&self, events: u64) -> anyhow::Result<Option<u64>> {
        let Some(view) = &self.deposits else { return Ok(None) };
        for _ in 0..500 {
            if self.processed("deposits")? >= events {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (mut counted, mut token) = (0, None);
        loop {
            let page = self.running.view(view)?.scan(1_000, token.as_ref()).await?;
            counted += page.rows.iter().map(|(_, count)| count).sum::<u64>();
            token = page.value.next;
            if token.is_none() {
                return Ok(Some(counted));
            }
        }
    }
}
