//! One run: a system is started, loaded and struck, comes to rest, and is judged.
//!
//! A run that fails leaves a folder with its seed, its schedule, everything that every process printed, the raw topics
//! and the verdict.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_broker::{Broker, Listener, Setup};
use parking_lot::Mutex;
use serde_json::Value;

use crate::faults::Ground;
use crate::history::{Command, Told};
use crate::http::Client;
use crate::instance::{Instance, Service};
use crate::load::{Load, TopicSender, customers};
use crate::oracle::{Answered, Evidence, judge, undecided, wrong_views};
use crate::proxy::Proxy;
use crate::records::{self, Record};
use crate::schedule::{Kind, schedule};

/// Longest that instances take to be ready, from nothing or after the last fault.
const READY_TIME_MAX: Duration = Duration::from_secs(120);
/// Longest that the ends of all commands take once nothing strikes any more.
const FINISH_TIME_MAX: Duration = Duration::from_secs(120);
/// How often what has to come is looked for.
const LOOKS: u32 = 60;
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
/// The topics that are judged.
const EVENTS: &str = "ordering.order.events";
const OUTCOMES: &str = "ordering.order.outcomes";

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Decides which faults strike when, and what callers send.
    pub seed: u64,
    /// How long faults strike.
    pub length: Duration,
    /// How many instances.
    pub instances: usize,
    /// The program.
    pub binary: PathBuf,
    /// Where the run's folder goes.
    pub reports: PathBuf,
}

/// Runs a plan and says what struck; the folder is left behind if the run fails.
///
/// # Errors
/// What was broken, and the folder in which to look.
pub async fn run(plan: &Plan) -> Result<String, String> {
    let folder = plan.reports.join(format!("seed-{}", plan.seed));
    let told = Said::default();
    let result = match prepare(&folder) {
        Ok(()) => attempt(plan, &folder, &told).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(summary) => {
            // Nobody needs what a good run leaves.
            let _ = fs::remove_dir_all(&folder);
            Ok(summary)
        }
        Err(error) => {
            let verdict = format!("seed {}\n{}\n{error}\n", plan.seed, told.0.lock());
            let kept = fs::write(folder.join("verdict.txt"), verdict);
            let kept =
                kept.map_or_else(|error| format!(" (without its verdict: {error})"), |()| String::new());
            let (seed, minutes) = (plan.seed, plan.length.as_secs_f64() / 60.0);
            Err(format!(
                "{error}\n\nwhat every process said and the raw topics are in {}{kept}\n\
                 the same faults again: cargo xtask chaos --seed {seed} --minutes {minutes:.1}",
                folder.display()
            ))
        }
    }
}

/// What the run has said so far.
#[derive(Default)]
struct Said(Mutex<String>);

impl Said {
    fn say(&self, line: impl AsRef<str>) {
        println!("{}", line.as_ref());
        writeln!(self.0.lock(), "{}", line.as_ref()).expect("a string takes every write");
    }
}

fn prepare(folder: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(failed)?;
    }
    fs::create_dir_all(folder).map_err(failed)
}

async fn attempt(plan: &Plan, folder: &Path, said: &Said) -> Result<String, String> {
    let faults = schedule(plan.seed, plan.instances, plan.length);
    said.say(format!("seed {}: {} faults", plan.seed, faults.len()));
    faults.iter().for_each(|fault| said.say(fault.to_string()));

    let mut ground = start(plan, folder).await?;
    let broker = ground.broker.clone();
    ready(&mut ground, said).await?;
    let sender = TopicSender::start(broker.jars(), &broker.bootstrap(), ground.load.clone());
    let sender = sender.map_err(|error| format!("the sender of commands by topic: {error}"))?;
    let callers = ground.load.start_callers(plan.seed);
    let (load, seed) = (ground.load.clone(), plan.seed);
    let by_topic = tokio::spawn(async move { sender.send(&load, seed).await });

    let struck = ground.strike(&faults, |line| said.say(line)).await;
    ground.load.end();
    for caller in callers {
        caller.await.map_err(|error| format!("a caller: {error}"))?;
    }
    let by_topic = by_topic.await.map_err(|error| format!("the sender by topic: {error}"))?;
    let result = match (struck, by_topic) {
        (Ok(()), Ok(_)) => judged(&mut ground, folder, said).await,
        (Err(error), _) => Err(error),
        (_, Err(error)) => Err(format!("the sender by topic: {error}")),
    };
    if result.is_err() {
        // The broker's own words are gone with its folder otherwise.
        let _ = fs::copy(broker.log_file(), folder.join("broker.log"));
    }
    result
}

/// Starts the broker behind proxies, and the instances.
async fn start(plan: &Plan, folder: &Path) -> Result<Ground, String> {
    let mut proxies = Vec::new();
    for _ in 0..plan.instances {
        proxies.push(Proxy::listen().await.map_err(|error| format!("a proxy: {error}"))?);
    }
    let listeners: Vec<Listener> =
        proxies.iter().map(|proxy| Listener::Proxied(proxy.address().port())).collect();
    let setup = listeners.iter().fold(Setup::default(), |setup, listener| setup.listener(*listener));
    let broker = tokio::task::spawn_blocking(move || setup.start()).await.expect("it does not panic");
    let broker = Arc::new(broker.map_err(|error| error.to_string())?);
    for (proxy, listener) in proxies.iter().zip(listeners) {
        let address = broker.bootstrap_of(listener).parse().expect("the broker's address is one");
        proxy.to(address);
    }
    let mut instances = Vec::new();
    for (number, proxy) in proxies.iter().enumerate() {
        let service = service(plan, number, proxy);
        let instance = Instance::new(service, &format!("instance-{number}"), folder);
        let mut instance = instance.map_err(|error| format!("instance {number}: {error}"))?;
        instance.start().map_err(|error| format!("{}: {error}", plan.binary.display()))?;
        instances.push(instance);
    }
    let load = Load::new(instances.iter().map(Instance::address).collect());
    Ok(Ground::new(broker, proxies, instances, load))
}

/// How an instance is started; the first one reads one record at a time.
fn service(plan: &Plan, number: usize, proxy: &Proxy) -> Service {
    let service = Service::on_kafka(plan.binary.clone(), &proxy.address().to_string());
    if number == 0 { service.setting("HEADWATER_BIN_READ_RECORDS_MAX", "1") } else { service }
}

/// Waits until every instance says that it is ready.
async fn ready(ground: &mut Ground, said: &Said) -> Result<(), String> {
    let deadline = Instant::now() + READY_TIME_MAX;
    for number in 0..ground.instances.len() {
        let mut client = Client::new(ground.instances[number].address(), Duration::from_secs(5));
        loop {
            ground.all_live(|line| said.say(line))?;
            let answer = client.get("/readyz").await;
            if answer.as_ref().is_some_and(|answer| answer.status == 200) {
                break;
            }
            if Instant::now() > deadline {
                let said = answer.map_or("nothing".to_owned(), |answer| answer.body);
                return Err(format!(
                    "{} does not become ready; it says: {said}",
                    ground.instances[number].name()
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

/// Lets the system come to rest, gathers what is to be seen, and judges it.
async fn judged(ground: &mut Ground, folder: &Path, said: &Said) -> Result<String, String> {
    ready(ground, said).await?;
    let ground = &*ground;
    let topics = [EVENTS, OUTCOMES];
    let dump = async |name: &str| dump(&ground.broker, &topics, folder.join(name)).await;
    // What the log holds before anything is sent again is what every later answer has to agree with.
    let before = dump("before-retries.txt").await?;
    let open = ground.load.history.open();
    let finished = ground.load.finish(FINISH_TIME_MAX).await;
    finished.map_err(|open| format!("these commands came to no end: {open:?}"))?;
    let mut evidence = Evidence { commands: ground.load.history.commands(), ..Evidence::default() };
    for look in 0.. {
        (evidence.events, evidence.outcomes) =
            dump("after.txt").await?.into_iter().partition(|record| record.topic == EVENTS);
        if look == 3 || undecided(&evidence).is_empty() {
            break;
        }
    }
    for _ in 0..LOOKS {
        evidence.views = views(&ground.instances).await?;
        if wrong_views(&evidence).is_empty() {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    evidence.batches = batches(&ground.broker, folder.join("batches.txt")).await?;
    let mut violations = ground.load.history.violations();
    violations.extend(judge(&evidence));
    violations.extend(kept(&before, &evidence));
    violations.extend(struck(&ground.struck));
    if !violations.is_empty() {
        return Err(format!("{} violations:\n{}", violations.len(), violations.join("\n")));
    }
    let summary = summary(ground, &evidence, &open, &before);
    said.say(&summary);
    Ok(summary)
}

async fn dump(broker: &Arc<Broker>, topics: &[&'static str], keep: PathBuf) -> Result<Vec<Record>, String> {
    let (broker, topics) = (broker.clone(), topics.to_vec());
    let read = move || records::committed(broker.jars(), &broker.bootstrap(), &topics, &keep);
    tokio::task::spawn_blocking(read).await.expect("it does not panic")
}

async fn batches(broker: &Arc<Broker>, keep: PathBuf) -> Result<Vec<records::Batch>, String> {
    let broker = broker.clone();
    let read = move || records::batches(&broker, &[EVENTS], &keep);
    tokio::task::spawn_blocking(read).await.expect("it does not panic")
}

/// What was in the log once is there for good, at its place.
fn kept(before: &[Record], evidence: &Evidence) -> Option<String> {
    let after = |record: &&Record| evidence.events.contains(record) || evidence.outcomes.contains(record);
    let lost: Vec<String> =
        before.iter().filter(|record| !after(record)).map(Record::place).take(10).collect();
    (!lost.is_empty()).then(|| format!("these records are gone: {lost:?}"))
}

/// A run in which a kind of fault never struck shows nothing about it.
fn struck(struck: &BTreeMap<Kind, u64>) -> Option<String> {
    let none: Vec<Kind> =
        Kind::ALL.into_iter().filter(|kind| struck.get(kind).is_none_or(|hits| *hits == 0)).collect();
    (!none.is_empty()).then(|| format!("these faults never struck: {none:?}"))
}

/// What every instance's views say of every customer.
async fn views(instances: &[Instance]) -> Result<Vec<Answered>, String> {
    let mut answers = Vec::new();
    for instance in instances {
        let mut client = Client::new(instance.address(), Duration::from_secs(20));
        for customer in customers() {
            let mut items = BTreeMap::new();
            for row in rows(&mut client, instance, &format!("/orders?customerId={customer}")).await? {
                items.insert(
                    (text(&row["label"]), text(&row["price"])),
                    row["quantity"].as_u64().unwrap_or(0),
                );
            }
            let mut spent = BTreeMap::new();
            for row in rows(&mut client, instance, &format!("/spending?customerId={customer}")).await? {
                spent.insert(text(&row["price"]), pence(&text(&row["total"])));
            }
            let instance = instance.name().to_owned();
            answers.push(Answered { instance, customer, items, spent });
        }
    }
    Ok(answers)
}

/// The rows of a list, asked for until the instance can answer.
async fn rows(client: &mut Client, instance: &Instance, path: &str) -> Result<Vec<Value>, String> {
    let mut last = None;
    for _ in 0..LOOKS {
        last = client.get(path).await;
        if let Some(answer) = last.as_ref().filter(|answer| answer.status == 200) {
            return serde_json::from_str(&answer.body).map_err(|error| format!("{path}: {error}"));
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Err(format!("{} answers {path} with {last:?}", instance.name()))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Pounds with two decimals, as the service writes them.
fn pence(pounds: &str) -> u128 {
    pounds.replace('.', "").parse().unwrap_or(0)
}

fn summary(ground: &Ground, evidence: &Evidence, open: &[Command], before: &[Record]) -> String {
    let history = &ground.load.history;
    let there = |command: &&Command| {
        let id = command.id();
        before.iter().any(|record| record.header("hw_command_id") == Some(&id))
    };
    let mut text = format!(
        "{} commands: {} accepted and {} refused answers, {} unknown ones, {} by topic; {} events\n         {} commands were open in the end, of which {} were in the log\n",
        evidence.commands.len(),
        history.count(Told::Accepted),
        history.count(Told::Refused),
        history.count(Told::Unknown),
        history.count(Told::Appended),
        evidence.events.len(),
        open.len(),
        open.iter().filter(there).count(),
    );
    for (kind, hits) in &ground.struck {
        writeln!(text, "{hits:>8}  {kind:?}").expect("a string takes every write");
    }
    text
}
