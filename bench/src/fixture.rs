//! The work that the benchmarks do: accounts, to which payloads of 200 bytes are booked.

use std::sync::Arc;
use std::time::Duration;

use headwater::config::{Config, LogChoice};
use headwater::prelude::*;
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

/// A running bank on the embedded log.
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

impl Bank {
    /// A new bank; with a view that counts each account's entries, or without.
    pub(crate) async fn open(with_view: bool) -> Self {
        let dir = tempfile::Builder::new()
            .prefix(".bench-")
            .tempdir_in(".")
            .expect("the current directory is writable");
        Self::open_in(Arc::new(dir), with_view).await
    }

    pub(crate) async fn open_in(dir: Arc<TempDir>, with_view: bool) -> Self {
        let config = Config { data: dir.path().to_owned(), log: LogChoice::Embedded, ..Config::default() };
        let mut app = App::new("bank").with(|options| options.snapshot_distance = 1_000_000);
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
