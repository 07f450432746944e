//! What was sent, and what its callers were told.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// An order as it is sent, each time alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    /// Its id, which is its aggregate's.
    pub id: String,
    /// Who orders.
    pub customer: String,
    /// What.
    pub label: String,
    /// For how many pence.
    pub pence: u64,
}

impl Order {
    /// The body of its request.
    pub fn body(&self) -> String {
        let Self { id, customer, label, pence } = self;
        let (pounds, pence) = (pence / 100, pence % 100);
        format!(
            r#"{{"orderId":"{id}","customerId":"{customer}","itemLabel":"{label}","itemPrice":"{pounds}.{pence:02}"}}"#
        )
    }

    /// The command that places it, as the service encodes it.
    pub fn command(&self) -> String {
        let Self { customer, label, pence, .. } = self;
        format!(r#"{{"Place":{{"customer":"{customer}","label":"{label}","price":{pence}}}}}"#)
    }
}

/// How a command was sent, which decides under which id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Over HTTP: the order's id names the command.
    Direct,
    /// As a record of the commands topic, under an id of its own.
    Topic,
}

/// What a caller was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// It was placed.
    Accepted,
    /// Another order has the id.
    Refused,
    /// It is on the commands topic, and will be decided.
    Appended,
    /// Nothing, or that it is not known, or that it cannot be now.
    Unknown,
}

/// A command: an order sent one way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Command {
    /// How.
    pub way: Way,
    /// What.
    pub order: Order,
}

impl Command {
    /// The id under which its outcome is kept.
    pub fn id(&self) -> String {
        match self.way {
            Way::Direct => format!("place-{}", self.order.id),
            Way::Topic => format!("topic-{}-{}-{}", self.order.id, self.order.customer, self.order.pence),
        }
    }
}

/// Everything that was sent and told. Answers are kept in the order in which they came.
#[derive(Default)]
pub struct History {
    told: Mutex<BTreeMap<Command, Vec<Told>>>,
    violations: Mutex<Vec<String>>,
}

impl History {
    /// Notes that a command is about to be sent: it may take effect from now on.
    pub fn sends(&self, command: &Command) {
        self.told.lock().entry(command.clone()).or_default();
    }

    /// Notes an answer.
    pub fn told(&self, command: &Command, told: Told) {
        self.told.lock().entry(command.clone()).or_default().push(told);
    }

    /// Notes what must never happen.
    pub fn violation(&self, what: String) {
        self.violations.lock().push(what);
    }

    /// What was noted as a violation so far.
    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }

    /// Every command with its answers.
    pub fn commands(&self) -> BTreeMap<Command, Vec<Told>> {
        self.told.lock().clone()
    }

    /// Direct commands whose end nobody was told.
    pub fn open(&self) -> Vec<Command> {
        let told = self.told.lock();
        let open = told.iter().filter(|(command, told)| {
            command.way == Way::Direct && told.iter().all(|told| *told == Told::Unknown)
        });
        open.map(|(command, _)| command.clone()).collect()
    }

    /// How many answers of each kind were given.
    pub fn count(&self, kind: Told) -> usize {
        self.told.lock().values().flatten().filter(|told| **told == kind).count()
    }
}
