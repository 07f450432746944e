//! The work that the benchmarks do: accounts, to which payloads of 200 bytes are booked.

use std::sync::Arc;
use std::time::Duration;

use headwater::config::{Config, KafkaConfig, LogChoice};
use headwater::prelude::*;
use kafka_broker::Broker;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// An account: how many entries it has, and the last of them.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    entries: u64,
    last: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Command {
    Book(String),
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Event {
    Booked(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Rejection {}

impl Aggregate for Account {
    const NAME: &'static str = "account";
    type Id = String;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, Command::Book(text): Command, _: &Context) -> Result<Vec<Event>, Rejection> {
        Ok(vec![Event::Booked(text)])
    }

    fn evolve(&mut self, Event::Booked(text): &Event) {
        self.entries += 1;
        self.last.clone_from(text);
    }
}

/// A running bank.
pub(crate) struct Bank {
    pub(crate) running: Running,
    pub(crate) accounts: Aggregates<Account>,
    pub(crate) entries: Option<View<String, u64>>,
    pub(crate) dir: Arc<TempDir>,
}

/// The payload of a command: 200 bytes.
pub(crate) fn payload(n: u64) -> String {
    let number = n.to_string();
    let mut text = "x".repeat(200 - number.len());
    text.push_str(&number);
    text
}

pub(crate) fn account_id(n: u64) -> String {
    format!("account-{n}")
}

/// A runtime with a thread for each core.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be built")
}

fn temporary() -> Arc<TempDir> {
    let dir = tempfile::Builder::new().prefix(".bench-").tempdir_in(".");
    Arc::new(dir.expect("the current directory is writable"))
}

/// The cluster that `HEADWATER_LOG` names; without it, one broker of this process's own, which shares the processors.
pub(crate) struct Kafka {
    servers: String,
    _own: Option<Broker>,
}

impl Kafka {
    pub(crate) fn find() -> Self {
        let named = std::env::var("HEADWATER_LOG").ok();
        match named.as_deref().and_then(|log| log.strip_prefix("kafka://")) {
            Some(servers) => Self { servers: servers.to_owned(), _own: None },
            None => {
                let own = Broker::start().expect("a broker can be started");
                Self { servers: own.bootstrap(), _own: Some(own) }
            }
        }
    }
}

impl Bank {
    /// A new bank; with a view that counts each account's entries, or without.
    pub(crate) async fn open(with_view: bool) -> Self {
        Self::open_in(temporary(), with_view).await
    }

    pub(crate) async fn open_in(dir: Arc<TempDir>, with_view: bool) -> Self {
        Self::open_on(LogChoice::Embedded, App::new("bank"), dir, with_view).await
    }

    /// A bank of its own on a cluster, beside those of other runs.
    pub(crate) async fn open_on_kafka(kafka: &Kafka, name: &str) -> Self {
        let app = App::new(format!("bank-{}-{name}", std::process::id()));
        Self::open_on(LogChoice::Kafka(kafka.servers.clone()), app, temporary(), false).await
    }

    async fn open_on(log: LogChoice, app: App, dir: Arc<TempDir>, with_view: bool) -> Self {
        let kafka = KafkaConfig { replication: 1, ..KafkaConfig::default() };
        let config = Config { data: dir.path().to_owned(), log, kafka, ..Config::default() };
        let mut app = app.with(|options| options.snapshot_distance = 1_000_000);
        let accounts = app.aggregate::<Account>();
        let entries =
            with_view.then(|| app.view(accounts.events().group_by_key().count(Store::named("entries"))));
        let headwater = Headwater::open(&config).await.expect("a new directory can be opened");
        let running = headwater.start(app).await.expect("the bank starts");
        running.ready(Duration::from_secs(120)).await.expect("the bank becomes ready");
        Self { running, accounts, entries, dir }
    }

    pub(crate) async fn book(&self, account: u64, n: u64, expect: Option<u64>) -> Receipt {
        let send = self.running.send(&self.accounts, &account_id(account), Command::Book(payload(n)));
        let send = match expect {
            Some(version) => send.expect_version(version),
            None => send,
        };
        send.await.expect("the command is decided").accepted().expect("the command is accepted")
    }

    pub(crate) async fn close(self) {
        self.running.stop(Duration::from_secs(60)).await;
    }
}
