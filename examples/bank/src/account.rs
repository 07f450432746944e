//! What an account is, and what the app is made of: pure values, which know nothing of HTTP.

use headwater::prelude::*;
use serde::{Deserialize, Serialize};

/// An account's state, folded from its events.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    /// In pence.
    pub(crate) balance: u64,
}

/// What can be asked of an account; in JSON `{"deposit": 500}`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Command {
    /// Pay in.
    Deposit(u64),
    /// Take out.
    Withdraw(u64),
}

/// What happened to an account.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Event {
    /// So much was paid in.
    Deposited(u64),
    /// So much was taken out.
    Withdrawn(u64),
}

/// Why a command is refused.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Rejection {
    /// The account lacks so much.
    Short(u64),
    /// The account would hold more than a number can say.
    Full,
}

impl Aggregate for Account {
    const NAME: &'static str = "account";
    type Id = String;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command, _: &Context) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Deposit(pence) => match self.balance.checked_add(pence) {
                Some(_) => Ok(vec![Event::Deposited(pence)]),
                None => Err(Rejection::Full),
            },
            Command::Withdraw(pence) => match pence.checked_sub(self.balance) {
                None | Some(0) => Ok(vec![Event::Withdrawn(pence)]),
                Some(short) => Err(Rejection::Short(short)),
            },
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Deposited(pence) => self.balance += pence,
            Event::Withdrawn(pence) => self.balance -= pence,
        }
    }
}

/// The app with what it can be asked.
pub(crate) struct Bank {
    /// The app itself.
    pub(crate) app: App,
    /// Where commands go.
    pub(crate) accounts: Aggregates<Account>,
    /// Every account by its id.
    pub(crate) balances: View<String, Account>,
}

/// Declares the app.
pub(crate) fn bank() -> Bank {
    let mut app = App::new("bank");
    let accounts = app.aggregate::<Account>();
    let balances = app.view(
        accounts
            .events()
            .group_by_key()
            .fold(Store::named("balances"), |account: &mut Account, event| account.evolve(event.value)),
    );
    Bank { app, accounts, balances }
}

#[cfg(test)]
mod tests {
    use headwater::testing::given;

    use super::*;

    #[test]
    fn nobody_takes_out_more_than_there_is() {
        let account = || given::<Account>([Event::Deposited(500)]);
        account().when(Command::Withdraw(500)).accepted([Event::Withdrawn(500)]);
        account().when(Command::Withdraw(700)).rejected(Rejection::Short(200));
        account().when(Command::Deposit(u64::MAX)).rejected(Rejection::Full);
    }
}
