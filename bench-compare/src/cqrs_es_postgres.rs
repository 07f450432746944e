//! cqrs-es on PostgreSQL, by `postgres-es`: state is folded from the account's events for each command, and the
//! primary key of the events table is the version check.
//!
//! Three configurations: events alone, events with a view that is updated before the command returns, and events
//! with a snapshot after every hundred, without which a command on a long-lived account reads its whole history.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use async_trait::async_trait;
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::GenericQuery;
use cqrs_es::{Aggregate, AggregateError, DomainEvent, EventEnvelope, Query, View};
use postgres_es::{PostgresCqrs, PostgresViewRepository, postgres_cqrs, postgres_snapshot_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPool;
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::peer::{Accounts, Audit, Deposit, ExecuteError, Peer};

/// The tables as `postgres-es` documents them.
const TABLES: &str = "
    CREATE TABLE events (
        aggregate_type text NOT NULL, aggregate_id text NOT NULL,
        sequence bigint CHECK (sequence >= 0) NOT NULL,
        event_type text NOT NULL, event_version text NOT NULL, payload json NOT NULL, metadata json NOT NULL,
        PRIMARY KEY (aggregate_type, aggregate_id, sequence));
    CREATE TABLE snapshots (
        aggregate_type text NOT NULL, aggregate_id text NOT NULL,
        last_sequence bigint CHECK (last_sequence >= 0) NOT NULL,
        current_snapshot bigint CHECK (current_snapshot >= 0) NOT NULL, payload json NOT NULL,
        PRIMARY KEY (aggregate_type, aggregate_id, last_sequence));
    CREATE TABLE balances (
        view_id text NOT NULL, version bigint CHECK (version >= 0) NOT NULL, payload json NOT NULL,
        PRIMARY KEY (view_id));";

const SNAPSHOT_EVERY: usize = 100;

/// What cqrs-es keeps beside the events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extra {
    /// Nothing.
    Nothing,
    /// A view of each account in its own table.
    View,
    /// A snapshot of an account after every hundred of its events.
    Snapshots,
}

/// cqrs-es in one configuration.
pub(crate) struct CqrsEs {
    /// What it keeps beside the events.
    pub extra: Extra,
    /// Connections that its commands share.
    pub(crate) connections: u32,
    /// Where the PostgreSQL server programs are.
    pub postgres_bin: PathBuf,
}

#[async_trait]
impl Peer for CqrsEs {
    fn name(&self) -> &'static str {
        match self.extra {
            Extra::Nothing => "cqrs-es",
            Extra::View => "cqrs-es, with a view",
            Extra::Snapshots => "cqrs-es, with snapshots",
        }
    }

    async fn setup(&self, dir: TempDir) -> anyhow::Result<Arc<dyn Accounts>> {
        let cluster = Cluster::start(&self.postgres_bin, dir.path()).await?;
        let pool = cluster.connect(self.connections).await?;
        sqlx::raw_sql(TABLES).execute(&pool).await?;
        let cqrs = match self.extra {
            Extra::Nothing => postgres_cqrs(pool.clone(), vec![], ()),
            Extra::View => postgres_cqrs(pool.clone(), vec![balances(pool.clone())], ()),
            Extra::Snapshots => postgres_snapshot_cqrs(pool.clone(), vec![], SNAPSHOT_EVERY, ()),
        };
        Ok(Arc::new(PostgresAccounts { cqrs, pool, extra: self.extra, _cluster: cluster, _dir: dir }))
    }
}

fn balances(pool: PgPool) -> Box<dyn Query<Account>> {
    let repository = PostgresViewRepository::<Balance, Account>::new("balances", pool);
    Box::new(GenericQuery::new(Arc::new(repository)))
}

/// Dropped from the top: connections, then their server, then its directory.
struct PostgresAccounts {
    cqrs: PostgresCqrs<Account>,
    pool: PgPool,
    extra: Extra,
    _cluster: Cluster,
    _dir: TempDir,
}

#[async_trait]
impl Accounts for PostgresAccounts {
    async fn execute(&self, account: &str, deposit: Deposit) -> Result<(), ExecuteError> {
        self.cqrs.execute(account, deposit).await.map_err(|error| match error {
            AggregateError::AggregateConflict => ExecuteError::Conflict,
            other => ExecuteError::Failed(anyhow!(other)),
        })
    }

    async fn audit(&self) -> anyhow::Result<Audit> {
        let events = self.count("SELECT count(*) FROM events").await?;
        let viewed = match self.extra {
            Extra::View => Some(self.count(VIEWED).await?),
            Extra::Nothing | Extra::Snapshots => None,
        };
        Ok(Audit { events, viewed })
    }
}

const VIEWED: &str = "SELECT coalesce(sum((payload->>'deposits')::bigint), 0)::bigint FROM balances";

impl PostgresAccounts {
    async fn count(&self, sql: &str) -> anyhow::Result<u64> {
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&self.pool).await?;
        Ok(count.try_into()?)
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("the deposit is empty, or too much for the account")]
struct DepositRejected;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum AccountEvent {
    Deposited(Deposit),
}

impl DomainEvent for AccountEvent {
    fn event_type(&self) -> String {
        "Deposited".into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = Deposit;
    type Event = AccountEvent;
    type Error = DepositRejected;
    type Services = ();

    async fn handle(
        &mut self,
        deposit: Deposit,
        _services: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), DepositRejected> {
        deposit.added_to(self.balance).ok_or(DepositRejected)?;
        // The sink applies the event to what it is given, and cqrs-es 0.5.0 applies it to `self` once more when
        // it makes a snapshot: given `self`, snapshots would count such events twice.
        sink.write(AccountEvent::Deposited(deposit), &mut self.clone()).await;
        Ok(())
    }

    fn apply(&mut self, event: AccountEvent) {
        let AccountEvent::Deposited(deposit) = event;
        self.balance += u64::from(deposit.amount);
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Balance {
    balance: u64,
    deposits: u64,
}

impl View<Account> for Balance {
    fn update(&mut self, event: &EventEnvelope<Account>) {
        let AccountEvent::Deposited(deposit) = &event.payload;
        self.balance += u64::from(deposit.amount);
        self.deposits += 1;
    }
}
