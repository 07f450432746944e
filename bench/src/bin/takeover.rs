//! How soon commands are decided again: by the same instance after a kill -9, and by another one.
//!
//! `cargo run --release -p headwater-bench --bin takeover [ACCOUNTS COMMANDS]` on the embedded log: an instance that has
//! its state, one that has none and loads outcomes while it decides, and one that loads them before.
//!
//! `... --bin takeover kafka HOST:PORT [ACCOUNTS COMMANDS]` on a cluster: processes are killed, and groups take their
//! time; `... kafka own` starts a broker for it, with its default settings.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use headwater::config::{Config, LogChoice};
use headwater::peers::{PeerAddress, Switchboard};
use headwater::prelude::*;
use headwater::{Phase, SendError};
use kafka_broker::Broker;
use serde::{Deserialize, Serialize};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Accounts that are asked whether their shard decides: enough to meet every shard.
const PROBES: u64 = 120;
const CALLERS: u64 = 1_000;
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Clone, Default, Serialize, Deserialize)]
struct Account {
    entries: u64,
    last: String,
}

#[derive(Serialize, Deserialize)]
enum Command {
    Book(String),
}

#[derive(Serialize, Deserialize)]
enum Event {
    Booked(String),
}

#[derive(Debug, Serialize, Deserialize)]
enum Rejection {}

impl Aggregate for Account {
    const NAME: &'static str = "account";
    type Id = String;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(
        &self,
        Command::Book(text): Command,
        _: &Context,
    ) -> std::result::Result<Vec<Event>, Rejection> {
        Ok(vec![Event::Booked(text)])
    }

    fn evolve(&mut self, Event::Booked(text): &Event) {
        self.entries += 1;
        self.last.clone_from(text);
    }
}

#[derive(Clone)]
struct Bank {
    running: Running,
    accounts: Aggregates<Account>,
}

impl Bank {
    async fn open(dir: &Path, log: LogChoice, name: &str, outcomes_at_once: u64) -> Result<Self> {
        let mut config = Config { data: dir.to_owned(), log, ..Config::default() };
        config.kafka.replication = 1;
        let mut app = App::new("bank").with(|options| options.outcomes_at_once = outcomes_at_once);
        let accounts = app.aggregate::<Account>();
        let alone = Arc::new(Switchboard::default());
        let headwater = Headwater::open(&config).await?.among(name, PeerAddress::new(name), alone);
        Ok(Self { running: headwater.start(app).await?, accounts })
    }

    async fn book(&self, account: u64, id: String) -> std::result::Result<u64, SendError> {
        let text = format!("{account:0>40}");
        let send = self.running.send(&self.accounts, &format!("account-{account}"), Command::Book(text));
        let outcome =
            send.command_id(CommandId::new(id).map_err(|e| SendError::Invalid(e.to_string()))?).await?;
        Ok(outcome.accepted().map_or(0, |receipt| receipt.version.0))
    }

    /// Sends so many commands to so many accounts.
    async fn fill(&self, accounts: u64, commands: u64) {
        let next = AtomicU64::new(0);
        let caller = || async {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= commands {
                    return;
                }
                while self.book(n % accounts, format!("fill-{n}")).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        join_all((0..CALLERS).map(|_| caller())).await;
    }

    /// Sends a command to an account of every shard until each was accepted; answers when the first was and the last.
    async fn probe(&self, round: &str, since: Instant) -> (Duration, Duration) {
        let accepted = join_all((0..PROBES).map(|account| async move {
            let id = format!("{round}-{account}");
            while self.book(account, id.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            since.elapsed()
        }))
        .await;
        let first = accepted.iter().min().copied().unwrap_or_default();
        (first, accepted.into_iter().max().unwrap_or_default())
    }

    /// How long it takes until a command of the beginning, sent again, is known.
    async fn repeat(&self, since: Instant) -> Duration {
        while !matches!(self.book(7, "fill-7".into()).await, Ok(1)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        since.elapsed()
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: u64| args.get(place).map_or(Ok(default), |text| text.parse());
    match args.first().map(String::as_str) {
        Some("instance") => instance(Path::new(&args[1]), &args[2], &args[3]).await,
        Some("kafka") => {
            let own = (args.get(1).map(String::as_str) == Some("own")).then(Broker::start).transpose()?;
            let servers = own.as_ref().map(Broker::bootstrap).or(args.get(1).cloned()).unwrap_or_default();
            cluster(&servers, number(2, 1_000_000)?, number(3, 2_000_000)?)
        }
        _ => embedded(number(0, 1_000_000)?, number(1, 2_000_000)?).await,
    }
}

async fn embedded(accounts: u64, commands: u64) -> Result<()> {
    let dir = tempfile::Builder::new().prefix(".bench-").tempdir_in(".")?;
    let begun = Instant::now();
    let bank = Bank::open(dir.path(), LogChoice::Embedded, "bench", 10_000).await?;
    bank.fill(accounts, commands).await;
    println!("{accounts} accounts, {commands} outcomes: filled in {:.1?}", begun.elapsed());
    bank.running.stop(PATIENCE).await;
    drop(bank);
    let cases = [
        ("its own state", false, 10_000),
        ("no state, outcomes while it decides", true, 10_000),
        ("no state, outcomes first", true, u64::MAX),
    ];
    for (what, without_state, at_once) in cases {
        if without_state {
            std::fs::remove_dir_all(dir.path().join("state"))?;
        }
        let begun = Instant::now();
        let bank = Bank::open(dir.path(), LogChoice::Embedded, "bench", at_once).await?;
        let (first, last) = bank.probe(what, begun).await;
        let repeated = bank.repeat(begun).await;
        println!(
            "{what}: first command {first:.2?}, every shard {last:.2?}, a repeated one known {repeated:.2?}"
        );
        bank.running.stop(PATIENCE).await;
    }
    Ok(())
}

/// One process of the cluster: does what it is told by lines, and answers with lines.
async fn instance(dir: &Path, servers: &str, name: &str) -> Result<()> {
    let begun = Instant::now();
    let bank = Bank::open(dir, LogChoice::Kafka(servers.to_owned()), name, 10_000).await?;
    println!("started {:.2?}", begun.elapsed());
    loop {
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        let line = line.await??;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["fill", accounts, commands] => bank.fill(accounts.parse()?, commands.parse()?).await,
            ["probe", round] => {
                let (first, last) = bank.probe(round, begun).await;
                println!("since its start: first {first:.2?}, every shard {last:.2?}");
                continue;
            }
            ["copies"] => copies(&bank).await,
            ["report"] => {
                let report = bank.running.report().remove(0);
                println!("{:?}", report.shards.iter().map(|shard| &shard.phase).collect::<Vec<_>>());
                continue;
            }
            _ => return Ok(()),
        }
        println!("done");
    }
}

/// Waits until every shard is run or copied here.
async fn copies(bank: &Bank) {
    loop {
        let report = bank.running.report().remove(0);
        let here = |phase: &Phase| matches!(phase, Phase::Running | Phase::Standby { behind: 0 });
        let owned = report.shards.iter().filter(|shard| shard.phase == Phase::Running).count();
        if (1..report.shards.len()).contains(&owned) && report.shards.iter().all(|shard| here(&shard.phase)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A process, and how it is talked to.
struct Instance {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Instance {
    fn spawn(dir: &Path, servers: &str, name: &str) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut child = Process::new(program)
            .args(["instance".as_ref(), dir.as_os_str(), servers.as_ref(), name.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = BufReader::new(child.stdout.take().ok_or("the child's output is piped")?);
        let mut instance = Self { child, answers };
        instance.hear()?;
        Ok(instance)
    }

    fn tell(&mut self, line: &str) -> Result<String> {
        writeln!(self.child.stdin.as_mut().ok_or("the child's input is piped")?, "{line}")?;
        self.hear()
    }

    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() { Err("the instance ended".into()) } else { Ok(line.trim().to_owned()) }
    }

    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // One that was killed already is gone; any other must not outlive the measurement.
        let _ = self.kill();
    }
}

fn cluster(servers: &str, accounts: u64, commands: u64) -> Result<()> {
    let dir = tempfile::Builder::new().prefix(".bench-").tempdir_in(".")?;
    let home = |name: &str| dir.path().join(name);
    let mut a = Instance::spawn(&home("a"), servers, "a")?;
    println!("a alone: {}", a.tell("probe first")?);
    let begun = Instant::now();
    a.tell(&format!("fill {accounts} {commands}"))?;
    println!("{accounts} accounts, {commands} outcomes: filled in {:.1?}", begun.elapsed());

    a.kill()?;
    let killed = Instant::now();
    let mut a = Instance::spawn(&home("a"), servers, "a")?;
    let told = a.tell("probe same")?;
    println!("the same instance after kill -9: {:.2?} ({told})", killed.elapsed());

    let mut b = Instance::spawn(&home("b"), servers, "b")?;
    let begun = Instant::now();
    b.tell("copies")?;
    println!(
        "b has its shards and copies of the others after {:.2?}: {}",
        begun.elapsed(),
        b.tell("report")?
    );
    a.tell("copies")?;
    a.kill()?;
    let killed = Instant::now();
    b.tell("probe copies")?;
    println!("another instance with copies after kill -9: {:.2?}", killed.elapsed());

    let mut c = Instance::spawn(&home("c"), servers, "c")?;
    b.kill()?;
    let killed = Instant::now();
    let told = c.tell("probe none")?;
    println!("another instance without copies after kill -9: {:.2?} ({told})", killed.elapsed());
    Ok(())
}
