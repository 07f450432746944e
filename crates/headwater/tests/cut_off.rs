//! A log that knows it takes nothing: who waits is refused at once, and nothing is called unwritten that may be written.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{Command, Order, Shop, shop};
use headwater::PublishError;
use headwater::core::BoxFuture;
use headwater::core::clock::SystemClock;
use headwater::core::conformance::log::wrapper::{Answer, LogWrapper, wrap_claims};
use headwater::core::log::{
    AppendError, Claim, CommitError, Group, Log, LogError, LogErrorKind, Membership, Opened, ReadLimit,
    Transaction, Wait, Writer,
};
use headwater::core::record::Append;
use headwater::core::topic::{Offset, TopicName};
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(30);
const AWAY: &str = "no broker answers";

/// What becomes of the next commit of the orders; others pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commits {
    Pass,
    /// It waits until it becomes something else.
    Wait,
    /// It is not written, and its writer is dead.
    AreAbandoned,
    /// It is written, and its answer is lost.
    AreLost,
}

/// A log that can be cut off.
struct Remote {
    log: MemoryLog,
    state: Arc<State>,
}

struct State {
    is_away: AtomicBool,
    /// Writers of the orders cannot be opened.
    is_closed: AtomicBool,
    commits: watch::Sender<Commits>,
    /// Commits that have waited, and openings that were refused.
    waited: watch::Sender<usize>,
    refused: watch::Sender<usize>,
    /// Writes that were tried while the log was away.
    tried: AtomicUsize,
}

impl State {
    fn cut_off(&self) -> Option<LogError> {
        self.is_away.load(Ordering::SeqCst).then(|| LogError::new(LogErrorKind::Unavailable, AWAY))
    }

    fn go_away(&self, away: bool) {
        self.is_away.store(away, Ordering::SeqCst);
    }

    /// The refusal of a write, where the log is away.
    fn tried(&self) -> Option<LogError> {
        let cut_off = self.cut_off();
        self.tried.fetch_add(usize::from(cut_off.is_some()), Ordering::SeqCst);
        cut_off
    }
}

impl LogWrapper for Remote {
    fn inner(&self) -> &dyn Log {
        &self.log
    }

    fn cut_off(&self) -> Option<LogError> {
        self.state.cut_off()
    }

    fn append(&self, appends: Vec<Append>) -> Answer<'_, Vec<Offset>, AppendError> {
        match self.state.tried() {
            Some(cut_off) => Box::pin(std::future::ready(Err(AppendError::NotWritten(cut_off)))),
            None => self.log.append(appends),
        }
    }

    fn join<'a>(&'a self, group: &'a Group) -> Answer<'a, Box<dyn Membership>> {
        let (state, is_of_orders) = (self.state.clone(), group.name == "shop.order");
        wrap_claims(self.log.join(group), move |_, claim| match is_of_orders {
            true => Box::new(RemoteClaim { claim, state: state.clone() }),
            false => claim,
        })
    }
}

struct RemoteClaim {
    claim: Box<dyn Claim>,
    state: Arc<State>,
}

impl Claim for RemoteClaim {
    fn open(&self) -> Answer<'_, Opened> {
        Box::pin(async {
            if self.state.is_closed.load(Ordering::SeqCst) {
                self.state.refused.send_modify(|refused| *refused += 1);
                return Err(LogError::new(LogErrorKind::Unavailable, "it cannot be opened"));
            }
            let Opened { writer, head } = self.claim.open().await?;
            let writer = Arc::new(Mutex::new(Some(writer)));
            Ok(Opened { writer: Box::new(RemoteWriter { writer, state: self.state.clone() }), head })
        })
    }
}

struct RemoteWriter {
    /// `None` once it is dead.
    writer: Arc<Mutex<Option<Box<dyn Writer>>>>,
    state: Arc<State>,
}

impl Writer for RemoteWriter {
    fn commit(&mut self, transaction: Transaction) -> BoxFuture<'static, Result<Vec<Offset>, CommitError>> {
        let (writer, state) = (self.writer.clone(), self.state.clone());
        Box::pin(async move {
            let mut alive = writer.lock().await;
            if let Some(error) = state.tried() {
                return Err(CommitError::NotWritten { retry: true, error });
            }
            let mut commits = state.commits.subscribe();
            if *commits.borrow() == Commits::Wait {
                state.waited.send_modify(|waited| *waited += 1);
            }
            let end = *commits.wait_for(|commits| *commits != Commits::Wait).await.unwrap();
            state.commits.send_replace(Commits::Pass);
            let Some(mut writer) = alive.take() else { return Err(CommitError::Fenced) };
            let error = || LogError::new(LogErrorKind::Unavailable, "it took too long");
            if end == Commits::AreAbandoned {
                return Err(CommitError::Abandoned(error()));
            }
            let answer = writer.commit(transaction).await;
            if end == Commits::AreLost {
                return Err(CommitError::Unknown(error()));
            }
            *alive = Some(writer);
            answer
        })
    }
}

/// An instance on such a log.
struct Instance {
    log: MemoryLog,
    state: Arc<State>,
    running: Running,
    orders: Aggregates<Order>,
    visits: Topic<String, u64>,
}

/// What a caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Accepted,
    Unknown,
    /// Not written.
    Refused,
}

impl Instance {
    async fn start() -> Self {
        let options = MemoryOptions { seed: 1, clock: Arc::new(SystemClock), ..MemoryOptions::default() };
        let log = MemoryLog::new(options);
        let state = Arc::new(State {
            is_away: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            commits: watch::Sender::new(Commits::Pass),
            waited: watch::Sender::new(0),
            refused: watch::Sender::new(0),
            tried: AtomicUsize::new(0),
        });
        let Shop { app, orders, .. } = shop(1);
        let mut app = app.with(|options| options.partitions = 1);
        let visits: Topic<String, u64> = "visits".into();
        let counted = app.stream(visits.clone()).group_by_key().count(Store::named("visited"));
        app.view(counted);
        let remote = Remote { log: log.clone(), state: state.clone() };
        let running = Headwater::on(Arc::new(remote), Arc::new(MemoryStores::new()));
        let running = running.start(app).await.unwrap();
        running.ready(PATIENCE).await.unwrap();
        Self { log, state, running, orders, visits }
    }

    fn send(&self, order: &str) -> headwater::Send<Order> {
        let send = self.running.send(&self.orders, &order.to_owned(), Command::place("ada", "kettle", 5));
        send.command_id(CommandId::new(order).unwrap())
    }

    /// Sends a command from a task of its own, as far as it comes by itself.
    async fn begin(&self, order: &str) -> JoinHandle<Result<Outcome<Order>, SendError>> {
        let sent = tokio::spawn(self.send(order).into_future());
        tokio::task::yield_now().await;
        sent
    }

    /// How many events there are.
    async fn events(&self) -> usize {
        let at = TopicName::new("shop.order.events").unwrap().partition(0);
        self.log.read(&at, Offset::ZERO, ReadLimit::default(), Wait::No).await.unwrap().records.len()
    }

    async fn stop(self) {
        assert!(self.running.stop(PATIENCE).await, "it stops in bounded time");
    }
}

async fn until_some(counted: &watch::Sender<usize>) {
    let mut counted = counted.subscribe();
    let some = counted.wait_for(|count| *count > 0);
    tokio::time::timeout(PATIENCE, some).await.expect("it comes to that").unwrap();
}

async fn told(sent: JoinHandle<Result<Outcome<Order>, SendError>>) -> Told {
    match sent.await.unwrap() {
        Ok(Outcome::Accepted(_)) => Told::Accepted,
        Ok(Outcome::Unknown(_)) => Told::Unknown,
        Err(SendError::Unavailable(_)) => Told::Refused,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whoever_waits_is_refused_at_once_while_no_broker_answers() {
    let instance = Instance::start().await;
    instance.send("o1").await.unwrap().accepted().unwrap();
    instance.state.go_away(true);
    for refused in [instance.send("o2").await.map(|_| ()), instance.send("o3").by_topic().await.map(|_| ())] {
        let Err(SendError::Unavailable(reason)) = refused else { panic!("{refused:?}") };
        assert!(reason.contains(AWAY), "{reason}");
    }
    let tried = instance.state.tried.load(Ordering::SeqCst);
    let publish = || instance.running.publish(&instance.visits, &"a".to_owned(), &1).within(PATIENCE);
    let refused = publish().await;
    assert_eq!(refused, Err(PublishError::Unavailable(AWAY.to_owned())));
    assert_eq!(instance.state.tried.load(Ordering::SeqCst), tried + 1, "it is not tried again and again");

    instance.state.go_away(false);
    instance.send("o2").await.unwrap().accepted().unwrap();
    instance.send("o3").by_topic().await.unwrap();
    publish().await.unwrap();
    let outcome =
        instance.running.outcome(&instance.orders, &"o3".to_owned(), &CommandId::new("o3").unwrap());
    assert!(matches!(outcome.within(PATIENCE).await, Ok(Some(Outcome::Accepted(_)))), "it is decided");
    assert_eq!(instance.events().await, 3, "each once");
    instance.stop().await;
}

#[tokio::test]
async fn what_is_under_way_is_told_as_it_ends_and_what_waits_behind_it_is_refused() {
    use Told::{Accepted, Refused, Unknown};
    for (end, is_away, first, second) in [
        (Commits::Pass, true, Accepted, Refused),
        (Commits::AreLost, true, Unknown, Refused),
        (Commits::AreAbandoned, true, Refused, Refused),
        // Others than the cluster fail, and the shard goes on with another writer.
        (Commits::AreLost, false, Unknown, Accepted),
        (Commits::AreAbandoned, false, Refused, Accepted),
    ] {
        let instance = Instance::start().await;
        instance.state.commits.send_replace(Commits::Wait);
        let under_way = instance.begin("o1").await;
        until_some(&instance.state.waited).await;
        let behind = instance.begin("o2").await;
        instance.state.go_away(is_away);
        instance.state.commits.send_replace(end);
        assert_eq!(told(under_way).await, first, "{end:?}, away: {is_away}");
        assert_eq!(told(behind).await, second, "behind {end:?}, away: {is_away}");

        instance.state.go_away(false);
        for order in ["o1", "o2"] {
            let receipt = instance.send(order).await.unwrap().accepted().unwrap();
            assert_eq!(receipt.version, Version(1), "{order} after {end:?}");
        }
        assert_eq!(instance.events().await, 2, "each once, whatever was told of it: {end:?}");
        instance.stop().await;
    }
}

#[tokio::test]
async fn a_command_that_no_writer_has_taken_is_withdrawn_when_the_loss_is_known() {
    let instance = Instance::start().await;
    instance.state.commits.send_replace(Commits::AreLost);
    instance.state.is_closed.store(true, Ordering::SeqCst);
    assert_eq!(told(instance.begin("o1").await).await, Told::Unknown);
    until_some(&instance.state.refused).await;
    let waits = instance.begin("o2").await;
    instance.state.go_away(true);
    let refused = waits.await.unwrap();
    let Err(SendError::Unavailable(reason)) = refused else { panic!("{refused:?}") };
    assert!(reason.contains(AWAY), "{reason}");

    instance.state.go_away(false);
    instance.state.is_closed.store(false, Ordering::SeqCst);
    for order in ["o1", "o2"] {
        instance.send(order).await.unwrap().accepted().unwrap();
    }
    assert_eq!(instance.events().await, 2, "each once");
    instance.stop().await;
}
