//! The app that is simulated: accounts with pockets, and three views of what is moved between them.
//!
//! Every move takes from one pocket what it puts into others, in one command of two events or more. So the pockets of an
//! account add up to zero after every command and after no half of one: a reader that finds another sum has seen half a
//! command.

use std::collections::BTreeMap;

use headwater::prelude::*;
use serde::{Deserialize, Serialize};

/// The app's name.
pub(crate) const APP: &str = "bank";
/// The name of the repartition behind which [`Bank::pockets`] lies.
pub(crate) const BY_OWNER: &str = "moves-by-owner";
/// Partitions of every topic.
pub(crate) const PARTITIONS: u32 = 2;
/// How many owners share the accounts.
const OWNERS: u64 = 3;
/// How far a pocket may be overdrawn.
const OVERDRAFT: i64 = 30;

/// An account: what lies in each pocket, and how many events it has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) pockets: BTreeMap<String, i64>,
    pub(crate) entries: u64,
    /// Depends on the order of the events, so that two folds in different orders differ.
    pub(crate) order: u64,
}

/// Moves an amount from one pocket into each of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Command {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) amount: i64,
    /// Tells two commands of otherwise equal content apart.
    pub(crate) tag: u64,
}

/// Something came into a pocket, or left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Event {
    Moved { account: String, pocket: String, amount: i64, tag: u64 },
}

/// The pocket has too little in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Rejection {
    Overdrawn { pocket: String, holds: i64 },
}

impl Command {
    /// The events that it leads to when it is accepted.
    pub(crate) fn events(&self) -> Vec<(String, i64)> {
        if self.amount == 0 {
            return Vec::new();
        }
        let taken = (self.from.clone(), -self.amount * self.to.len() as i64);
        let put = self.to.iter().map(|pocket| (pocket.clone(), self.amount));
        std::iter::once(taken).chain(put).collect()
    }
}

impl Aggregate for Account {
    const NAME: &'static str = "account";
    type Id = String;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command, context: &Context) -> Result<Vec<Event>, Rejection> {
        let holds = self.pockets.get(&command.from).copied().unwrap_or(0);
        if holds - command.amount * command.to.len() as i64 + OVERDRAFT < 0 {
            return Err(Rejection::Overdrawn { pocket: command.from, holds });
        }
        let account = account_of(context.command_id().as_str()).to_owned();
        let moved =
            |(pocket, amount)| Event::Moved { account: account.clone(), pocket, amount, tag: command.tag };
        Ok(command.events().into_iter().map(moved).collect())
    }

    fn evolve(&mut self, Event::Moved { pocket, amount, tag, .. }: &Event) {
        *self.pockets.entry(pocket.clone()).or_default() += amount;
        self.entries += 1;
        self.order = mixed(self.order, *tag, *amount);
    }
}

/// A number that tells in which order things came.
fn mixed(so_far: u64, tag: u64, amount: i64) -> u64 {
    (so_far ^ tag ^ amount.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
}

/// A command's id begins with its account's.
pub(crate) fn account_of(command_id: &str) -> &str {
    command_id.split('/').next().expect("a split has a first part")
}

/// Whose account it is.
pub(crate) fn owner_of(account: &str) -> String {
    let number: u64 =
        account.trim_start_matches('a').parse().expect("an account is named \"a\" and a number");
    format!("o{}", number % OWNERS)
}

/// The owners.
pub(crate) fn owners() -> impl Iterator<Item = String> {
    (0..OWNERS).map(|owner| format!("o{owner}"))
}

/// A pocket over all accounts of an owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pocket {
    pub(crate) sum: i64,
    pub(crate) entries: u64,
    pub(crate) order: u64,
    /// The last version of each account that the pocket knows.
    pub(crate) seen: BTreeMap<String, u64>,
}

impl Pocket {
    pub(crate) fn take(&mut self, event: &Event, version: u64) {
        let Event::Moved { account, amount, tag, .. } = event;
        self.sum += amount;
        self.entries += 1;
        self.order = mixed(self.order, *tag, *amount);
        self.seen.insert(account.clone(), version);
    }
}

/// The app and its handles.
pub(crate) struct Bank {
    pub(crate) app: App,
    pub(crate) handles: Handles,
}

/// What asks and commands the app.
#[derive(Clone)]
pub(crate) struct Handles {
    pub(crate) accounts: Aggregates<Account>,
    /// By account: behind no repartition.
    pub(crate) ledger: View<String, Account>,
    /// By owner and pocket: behind a repartition, with a grouped key.
    pub(crate) pockets: View<(String, String), Pocket>,
    /// Events of each account, replicated.
    pub(crate) totals: View<String, u64>,
}

/// Settings of the app that differ from seed to seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BankOptions {
    pub(crate) snapshot_distance: u64,
    pub(crate) cached_states: usize,
    pub(crate) mailbox: usize,
    pub(crate) outcomes_at_once: u64,
    pub(crate) outcomes_per_filter: u64,
}

/// Describes the app.
pub(crate) fn bank(settings: BankOptions) -> Bank {
    let mut app = App::new(APP).with(|options| {
        options.partitions = PARTITIONS;
        options.snapshot_distance = settings.snapshot_distance;
        options.cached_states = settings.cached_states;
        options.mailbox = settings.mailbox;
        options.outcomes_at_once = settings.outcomes_at_once;
        options.outcomes_per_filter = settings.outcomes_per_filter;
    });
    let accounts = app.aggregate::<Account>();
    let by_account = accounts.events().group_by_key();
    let fold =
        by_account.fold(Store::named("ledger"), |account: &mut Account, event| account.evolve(event.value));
    let ledger = app.view(fold);
    let by_owner = accounts.events().group_by(BY_OWNER, |event| {
        let Event::Moved { pocket, .. } = event.value;
        (owner_of(event.key), pocket.clone())
    });
    let pockets = app.view(by_owner.fold(Store::named("pockets"), |row: &mut Pocket, event| {
        let version = event.meta.headers.get_str("ce_sequence").and_then(|text| text.parse().ok());
        row.take(event.value, version.unwrap_or(0));
    }));
    let totals = app.view(by_account.count(Store::named("totals")).replicated());
    Bank { app, handles: Handles { accounts, ledger, pockets, totals } }
}
