//! Processes by their roles on one broker, and what is asked of them.

use std::ops::Deref;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kafka_broker::Broker;
use serde_json::Value;
use tempfile::TempDir;

use crate::service::{Answer, JSON, Service, order, program};
use app_testing::patience::within_patience;

/// The longest that anything may wait here: a command's fifteen seconds, and what a busy machine adds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(45);
const SECRET: &str = "a secret of sixteen characters or more";

/// One broker with its processes at a time is enough for a small machine.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process with the directory that it keeps its data in, and may be started on again.
pub(crate) struct Process {
    role: &'static str,
    servers: String,
    data: TempDir,
    running: Option<Service>,
}

impl Deref for Process {
    type Target = Service;

    fn deref(&self) -> &Service {
        self.running.as_ref().expect("it runs")
    }
}

impl Process {
    pub(crate) fn start(broker: &Broker, role: &'static str) -> Self {
        let data = TempDir::new().expect("a directory");
        let mut process = Self { role, servers: broker.bootstrap(), data, running: None };
        process.start_again();
        process
    }

    pub(crate) fn start_again(&mut self) {
        let mut command: Command = program(self.data.path());
        command.args(["--role", self.role]).env("HEADWATER_LOG", format!("kafka://{}", self.servers));
        command.env("HEADWATER_KAFKA_REPLICATION", "1").env("HEADWATER_PEER_SECRET", SECRET);
        self.running = Some(Service::start(command.env("RUST_LOG", "warn")));
    }

    pub(crate) fn kill(&mut self) {
        self.running.take().expect("it runs").kill();
    }

    pub(crate) fn ready(&self) {
        within_patience("every shard has an owner", || (self.get("/readyz").status == 200).then_some(()));
    }

    /// Places an order until it is taken, each time in bounded time and refused clearly; answers its receipt.
    pub(crate) fn place_for_good(&self, id: &str, customer: &str) -> String {
        within_patience("the order is taken", || {
            let answer = self.place_once(id, customer);
            if answer.status == 202 {
                return Some(answer.json()["receipt"].as_str().expect("a receipt").to_owned());
            }
            assert_refused(&answer);
            None
        })
    }

    pub(crate) fn place_once(&self, id: &str, customer: &str) -> Answer {
        let body = order(id, customer, "tea").to_string();
        bounded(|| self.ask("POST", "/orders", JSON, body.as_bytes()))
    }

    /// An answer that includes a receipt: never one of before, nor that there is nothing.
    pub(crate) fn told(&self, path: &str, receipt: &str) -> Value {
        within_patience("it is told", || {
            let answer = bounded(|| self.ask("GET", path, &format!("headwater-after: {receipt}\r\n"), b""));
            if answer.status == 200 {
                return Some(answer.json());
            }
            assert_refused(&answer);
            None
        })
    }

    /// How many items a customer ordered, by a state that includes a receipt.
    pub(crate) fn quantity(&self, customer: &str, receipt: &str) -> u64 {
        let items = self.told(&format!("/orders?customerId={customer}"), receipt);
        let items = items.as_array().expect("a list").iter();
        items.map(|item| item["quantity"].as_u64().expect("a quantity")).sum()
    }
}

/// How many items a customer ordered, once they are as many as expected: a receipt stands for its own order alone.
#[track_caller]
pub(crate) fn quantity_once(process: &Process, customer: &str, last: &str, expected: u64) -> u64 {
    within_patience("every order is seen", || {
        Some(process.quantity(customer, last)).filter(|quantity| *quantity >= expected)
    })
}

/// Demands the refusal of one who cannot answer now, and says when to ask again.
#[track_caller]
pub(crate) fn assert_refused(answer: &Answer) {
    assert_eq!(answer.problem().0, 503, "{answer:?}");
    assert!(header(answer, "retry-after").is_some(), "{answer:?}");
}

/// A header of an answer.
pub(crate) fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let line = |line: &&str| line.split_once(": ").is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
    answer.head.lines().find(line)?.split_once(": ").map(|(_, value)| value)
}

#[track_caller]
fn bounded(ask: impl FnOnce() -> Answer) -> Answer {
    let begun = Instant::now();
    let answer = ask();
    assert!(begun.elapsed() < ANSWER_TIME_MAX, "it took {:?}: {answer:?}", begun.elapsed());
    answer
}
