//! Instances on a real Kafka come, go and are killed while commands flow: nothing is lost, doubled or reordered, and
//! shards that do not move go on.
//!
//! Each instance has a runtime of its own, which is shut down where it stands: its sockets close, and nothing of it
//! leaves its groups or says good-bye, as after a kill -9.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(feature = "kafka")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use headwater::config::{Config, LogChoice};
use headwater::peers::{PeerAddress, Switchboard};
use headwater::prelude::*;
use headwater::{Parts, Phase, SendError};
use kafka_broker::Broker;
use metrics::{Counter, Gauge, Histogram, Key as MetricKey, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(90);
const SHARDS: usize = 6;
const ACCOUNTS: u64 = 24;
const OWNERS: u64 = 5;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Account {
    last: u64,
}

#[derive(Clone, Serialize, Deserialize)]
enum Command {
    Book(u64),
}

#[derive(Serialize, Deserialize)]
struct Booked {
    account: u64,
    number: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum Rejection {}

impl Aggregate for Account {
    const NAME: &'static str = "account";
    type Id = u64;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, Command::Book(entry): Command, _: &Context) -> Result<Vec<Event>, Rejection> {
        Ok(vec![Event::Booked(Booked { account: entry / 1_000_000, number: entry % 1_000_000 })])
    }

    fn evolve(&mut self, Event::Booked(booked): &Event) {
        self.last = booked.number;
    }
}

#[derive(Serialize, Deserialize)]
enum Event {
    Booked(Booked),
}

/// What came of one account, in the order in which it came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Run {
    entries: u64,
    last: u64,
    /// Entries that did not follow on the one before.
    astray: u64,
}

/// One process of the bank.
struct Bank {
    running: Running,
    accounts: Aggregates<Account>,
    runs: View<u64, Run>,
    booked: View<u64, u64>,
}

impl Bank {
    async fn open(config: Config, board: Switchboard, name: String, copy_from_records: u64) -> Self {
        let mut app = App::new("fleet").with(|options| {
            options.partitions = u32::try_from(SHARDS).unwrap();
            options.copy_from_records = copy_from_records;
        });
        let accounts = app.aggregate::<Account>();
        let run = |run: &mut Run, booked: &Booked| {
            run.astray += u64::from(booked.number != run.last + 1);
            (run.entries, run.last) = (run.entries + 1, booked.number);
        };
        let runs = app.view(accounts.events().group_by_key().fold(Store::named("runs"), move |state, e| {
            let Event::Booked(booked) = e.value;
            run(state, booked);
        }));
        let owner = |event: &Event| {
            let Event::Booked(booked) = event;
            booked.account % OWNERS
        };
        let booked = app.view(
            accounts.events().group_by("by-owner", move |e| owner(e.value)).count(Store::named("booked")),
        );
        let address = PeerAddress::new(&name);
        let headwater = Headwater::open(&config).await.unwrap();
        let headwater = headwater.among(name, address.clone(), Arc::new(board.clone()));
        board.connect(address, headwater.peer_service().unwrap());
        Self { running: headwater.start_parts(app, Parts::ALL).await.unwrap(), accounts, runs, booked }
    }

    fn phases(&self, topology: &str) -> Vec<Phase> {
        let report = self.running.report().into_iter().find(|report| report.name == topology).unwrap();
        report.shards.into_iter().map(|shard| shard.phase).collect()
    }

    fn running(&self, topology: &str) -> usize {
        self.phases(topology).iter().filter(|phase| **phase == Phase::Running).count()
    }

    /// The shards of every topology that run here.
    fn shards(&self) -> Shards {
        let shards = self.running.report().into_iter().flat_map(|report| {
            let phases = report.shards.into_iter().map(|shard| shard.phase).enumerate();
            let running = phases.filter(|(_, phase)| *phase == Phase::Running);
            running.map(|(shard, _)| (report.name.clone(), shard)).collect::<Vec<_>>()
        });
        shards.collect()
    }
}

type Shards = BTreeSet<(String, usize)>;

struct Instance {
    name: String,
    bank: Arc<Bank>,
    runtime: Runtime,
    _dir: TempDir,
}

type Banks = Arc<Mutex<Vec<Arc<Bank>>>>;

/// All instances, and what is needed for one more.
struct Fleet {
    servers: String,
    board: Switchboard,
    instances: BTreeMap<String, Instance>,
    /// Those that callers may ask.
    open: Banks,
}

impl Fleet {
    async fn add(&mut self, name: &str, copy_from_records: u64) {
        let dir = TempDir::new().unwrap();
        let log = LogChoice::Kafka(self.servers.clone());
        let mut config = Config { data: dir.path().to_owned(), log, ..Config::default() };
        config.kafka.replication = 1;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let opening = Bank::open(config, self.board.clone(), name.to_owned(), copy_from_records);
        let bank = Arc::new(runtime.spawn(opening).await.unwrap());
        self.open.lock().push(bank.clone());
        let instance = Instance { name: name.to_owned(), bank, runtime, _dir: dir };
        self.instances.insert(name.to_owned(), instance);
    }

    fn forget(&mut self, name: &str) -> Instance {
        let gone = self.instances.remove(name).unwrap();
        self.open.lock().retain(|bank| !Arc::ptr_eq(bank, &gone.bank));
        gone
    }

    /// Ends an instance where it stands.
    fn kill(&mut self, name: &str) {
        let Instance { name, runtime, bank, .. } = self.forget(name);
        runtime.shutdown_background();
        self.board.disconnect(&PeerAddress::new(name));
        drop(bank);
    }

    /// Lets an instance leave.
    async fn stop(&mut self, name: &str) {
        let Instance { name, runtime, bank, .. } = self.forget(name);
        let stopping = runtime.spawn(async move { bank.running.stop(PATIENCE).await });
        assert!(stopping.await.unwrap(), "{name} stops in bounded time");
        self.board.disconnect(&PeerAddress::new(name));
        runtime.shutdown_background();
    }

    /// How many shards of a topology each instance runs.
    fn spread(&self, topology: &str) -> BTreeMap<&str, usize> {
        self.instances
            .iter()
            .map(|(name, instance)| (name.as_str(), instance.bank.running(topology)))
            .collect()
    }

    /// Waits until every shard of every topology runs, and each instance has some.
    async fn settled(&self) {
        let topologies = ["account", "runs", "booked"];
        let settled = |topology: &&str| {
            let spread = self.spread(topology);
            spread.values().sum::<usize>() == SHARDS && spread.values().all(|shards| *shards > 0)
        };
        self.until("every shard runs somewhere", || topologies.iter().all(settled)).await;
    }

    /// Waits until every command shard has a copy that lacks little.
    async fn copied(&self) {
        let copies = || {
            let banks = self.instances.values().map(|instance| instance.bank.phases("account"));
            banks
                .flatten()
                .filter(|phase| matches!(phase, Phase::Standby { behind } if *behind < 100))
                .count()
        };
        self.until("every command shard has a copy", || copies() == SHARDS).await;
    }

    async fn until(&self, what: &str, wanted: impl Fn() -> bool) {
        let begun = Instant::now();
        while !wanted() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let told =
                || self.instances.iter().map(|(name, i)| format!("{name}: {:?}\n", i.bank.running.report()));
            assert!(begun.elapsed() < PATIENCE, "{what}:\n{}", told().collect::<String>());
        }
    }

    /// Begins to look at the shards that run now, again and again.
    fn watch(&self) -> Watch {
        let over = Arc::new(AtomicBool::new(false));
        let watch = |(name, instance): (&String, &Instance)| {
            let (bank, over, before) = (instance.bank.clone(), over.clone(), instance.bank.shards());
            let mut always = before.clone();
            let looking = std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let now = bank.shards();
                    always.retain(|shard| now.contains(shard));
                    std::thread::sleep(Duration::from_millis(2));
                }
                (always, bank.shards())
            });
            Watched { name: name.clone(), before, looking }
        };
        let watched = self.instances.iter().map(watch).collect();
        Watch { over, watched }
    }
}

struct Watched {
    name: String,
    before: Shards,
    /// Ends with the shards that always ran, and those that run in the end.
    looking: std::thread::JoinHandle<(Shards, Shards)>,
}

/// A look at shards while others move.
struct Watch {
    over: Arc<AtomicBool>,
    watched: Vec<Watched>,
}

impl Watch {
    /// Demands that shards which are where they were have run all the while.
    fn stayed(self) {
        self.over.store(true, Ordering::Relaxed);
        let mut stayed = 0;
        for Watched { name, before, looking } in self.watched {
            let (always, after) = looking.join().unwrap();
            let stopped: Vec<_> =
                before.intersection(&after).filter(|shard| !always.contains(shard)).collect();
            assert!(stopped.is_empty(), "{stopped:?} did not leave {name}, and did not run all the while");
            stayed += always.len();
        }
        assert!(stayed > 0, "every shard moved");
    }
}

/// One caller per account, each with one command at a time.
struct Load {
    stop: Arc<AtomicBool>,
    booked: Arc<Vec<AtomicU64>>,
    callers: Vec<tokio::task::JoinHandle<Option<Receipt>>>,
}

impl Load {
    fn begin(banks: &Banks) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let booked: Arc<Vec<_>> = Arc::new((0..ACCOUNTS).map(|_| AtomicU64::new(0)).collect());
        let caller = |account: u64| {
            let (banks, stop, booked) = (banks.clone(), stop.clone(), booked.clone());
            tokio::spawn(async move {
                let mut last = None;
                while !stop.load(Ordering::Relaxed) {
                    let number = booked[account as usize].load(Ordering::Relaxed) + 1;
                    last = Some(book(&banks, account, number).await);
                    booked[account as usize].store(number, Ordering::Relaxed);
                }
                last
            })
        };
        let callers = (0..ACCOUNTS).map(caller).collect();
        Self { stop, booked, callers }
    }

    fn numbers(&self) -> Vec<u64> {
        self.booked.iter().map(|booked| booked.load(Ordering::Relaxed)).collect()
    }

    /// Waits until every account has taken more commands: every shard decides.
    async fn goes_on(&self) {
        let (before, begun) = (self.numbers(), Instant::now());
        while !self.numbers().iter().zip(&before).all(|(now, before)| *now >= before + 2) {
            assert!(begun.elapsed() < PATIENCE, "accounts stand still: {before:?}, {:?}", self.numbers());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn end(self) -> Vec<(u64, Receipt)> {
        self.stop.store(true, Ordering::Relaxed);
        let receipts = join_all(self.callers).await;
        let numbers = self.booked.iter().map(|booked| booked.load(Ordering::Relaxed));
        numbers.zip(receipts).map(|(number, receipt)| (number, receipt.unwrap().unwrap())).collect()
    }
}

/// Sends one command until it is accepted, to one instance after the other, under one id.
async fn book(banks: &Banks, account: u64, number: u64) -> Receipt {
    let id = CommandId::new(format!("{account}-{number}")).unwrap();
    let begun = Instant::now();
    for turn in 0.. {
        assert!(begun.elapsed() < PATIENCE, "account {account} did not take its command {number}");
        let bank = {
            let banks = banks.lock();
            banks[(account as usize + turn) % banks.len()].clone()
        };
        let entry = Command::Book(account * 1_000_000 + number);
        let send = bank.running.send(&bank.accounts, &account, entry).command_id(id.clone());
        match tokio::time::timeout(Duration::from_secs(3), send).await {
            Ok(Ok(outcome)) => {
                let Accepted(receipt) = outcome else { continue };
                assert_eq!(
                    receipt.version,
                    Version(number),
                    "account {account}: each command has one effect"
                );
                return receipt;
            }
            Ok(Err(
                error @ (SendError::IdConflict { .. }
                | SendError::VersionConflict { .. }
                | SendError::Panicked { .. }
                | SendError::Invalid(_)
                | SendError::Expired),
            )) => panic!("account {account}: {error}"),
            Ok(Err(_)) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    unreachable!("it panics when it takes too long")
}

/// Counts states that were taken from other instances, and those that were not trusted.
#[derive(Clone, Default)]
struct States {
    taken: Arc<AtomicU64>,
    quarantined: Arc<AtomicU64>,
}

impl Recorder for States {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &MetricKey, _: &Metadata<'_>) -> Counter {
        let taken = key.labels().any(|label| (label.key(), label.value()) == ("outcome", "taken"));
        match key.name() {
            "headwater_states_taken_total" if taken => Counter::from_arc(self.taken.clone()),
            "headwater_states_quarantined_total" => Counter::from_arc(self.quarantined.clone()),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &MetricKey, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &MetricKey, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// How far the group of a view is behind, as Kafka's own tool tells it; `None` where a partition is not told of.
fn lag(broker: &Broker, group: &str) -> Option<u64> {
    let servers = broker.bootstrap();
    let args = ["--bootstrap-server", &servers, "--describe", "--group", group];
    let tool = broker.jars().tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &args);
    let told = kafka_broker::run(tool, PATIENCE).unwrap();
    // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG ...; nothing is told of a partition without records.
    let rows =
        told.lines().filter(|line| line.starts_with(group)).map(|line| line.split_whitespace().collect());
    let lags = rows.map(|row: Vec<&str>| if row[4] == "0" { Some(0) } else { row[5].parse().ok() });
    let lags: Option<Vec<u64>> = lags.collect();
    lags.filter(|lags| lags.len() == SHARDS).map(|lags| lags.iter().sum())
}

impl Instance {
    /// It tells what was booked on an account, each entry once and in order.
    async fn knows(&self, account: u64, number: u64, receipt: &Receipt) {
        let (bank, at) = (&self.bank, format!("account {account} at {}", self.name));
        let runs = bank.running.view(&bank.runs).unwrap().after(receipt).within(PATIENCE);
        let run = runs.get(&account).await.unwrap().value.unwrap();
        assert_eq!(run, Run { entries: number, last: number, astray: 0 }, "{at}");
        let state = bank.running.state(&bank.accounts, &account).await.unwrap();
        assert_eq!(state.0, Version(number), "{at}");
        // So that every owner's last entry is in its count.
        let booked = bank.running.view(&bank.booked).unwrap().after(receipt).within(PATIENCE);
        booked.get(&(account % OWNERS)).await.unwrap();
    }
}

impl Fleet {
    /// Every instance tells all that was acknowledged: by its last number and receipt, account by account.
    async fn knows(&self, ended: &[(u64, Receipt)]) {
        for (account, (number, receipt)) in (0..).zip(ended) {
            for instance in self.instances.values() {
                instance.knows(account, *number, receipt).await;
            }
        }
        for owner in 0..OWNERS {
            let expected: u64 = ended
                .iter()
                .zip(0..)
                .filter(|(_, n)| n % OWNERS == owner)
                .map(|((number, _), _)| number)
                .sum();
            for (name, instance) in &self.instances {
                let booked = instance.bank.running.view(&instance.bank.booked).unwrap();
                assert_eq!(
                    booked.get(&owner).await.unwrap().value,
                    Some(expected),
                    "owner {owner} at {name}"
                );
            }
        }
    }
}

/// The groups of the views say that they have read everything.
fn nothing_lags(broker: &Broker) {
    let begun = Instant::now();
    for group in ["fleet.runs", "fleet.booked"] {
        while lag(broker, group) != Some(0) {
            assert!(begun.elapsed() < PATIENCE, "{group}: {:?}", lag(broker, group));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_instances_come_and_go_under_load_and_nothing_is_lost_doubled_or_reordered() {
    let states = States::default();
    metrics::set_global_recorder(states.clone()).unwrap_or_else(|_| panic!("this is the only test here"));
    let broker = Broker::start().unwrap();
    let mut fleet = Fleet {
        servers: broker.bootstrap(),
        board: Switchboard::new(),
        instances: BTreeMap::new(),
        open: Banks::default(),
    };
    fleet.add("one", u64::MAX).await;
    let load = Load::begin(&fleet.open);
    load.goes_on().await;
    for name in ["two", "three", "four"] {
        let watch = fleet.watch();
        // The last one takes what others have, however little that is.
        fleet.add(name, if name == "four" { 0 } else { u64::MAX }).await;
        fleet.settled().await;
        load.goes_on().await;
        watch.stayed();
    }
    assert!(states.taken.load(Ordering::Relaxed) > 0, "a state came from another instance");
    fleet.copied().await;

    fleet.kill("two");
    let watch = fleet.watch();
    fleet.settled().await;
    load.goes_on().await;
    watch.stayed();

    let watch = fleet.watch();
    // What it has goes to the others while they go on.
    fleet.stop("one").await;
    fleet.settled().await;
    load.goes_on().await;
    watch.stayed();

    let ended = load.end().await;
    assert_eq!(
        states.quarantined.load(Ordering::Relaxed),
        0,
        "this log is known again, also by its own records"
    );
    fleet.knows(&ended).await;
    nothing_lags(&broker);
    for name in ["three", "four"] {
        fleet.stop(name).await;
    }
}
