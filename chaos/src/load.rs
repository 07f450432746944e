//! Callers that place orders under known ids, at any instance and by the commands topic, and note what they are told.
//!
//! Most orders have an id of their own. Some ids are contested: several callers send different orders under one, of
//! which one may be accepted. What ends unknown is sent again, at another instance, under the same id.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use kafka_broker::Jars;
use parking_lot::Mutex;

use crate::history::{Command, History, Order, Told, Way};
use crate::http::Client;

/// Callers at the same time.
const CALLERS: u64 = 6;
/// Longest that a caller waits for an answer: longer than the service takes to say that it does not know.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest pause between two commands of one caller.
const PAUSE_MS_MAX: u64 = 30;
/// Longest pause between two commands of the topic.
const TOPIC_PAUSE_MS_MAX: u64 = 120;
/// So many customers share all orders.
const CUSTOMERS: u64 = 5;
/// Labels with their prices in pence: one of each price group, and one at a border.
const ITEMS: [(&str, u64); 4] = [("tea", 350), ("lamp", 500), ("chair", 4_999), ("table", 12_000)];
/// The topic by which commands are sent.
const COMMANDS: &str = "ordering.order.commands";

/// All customers.
pub fn customers() -> impl Iterator<Item = String> {
    (0..CUSTOMERS).map(|customer| format!("c{customer}"))
}

/// What all callers share.
pub struct Load {
    /// What was sent and told.
    pub history: History,
    instances: Vec<SocketAddr>,
    over: AtomicBool,
    only_direct: AtomicBool,
    held: AtomicBool,
    under_way: AtomicU64,
    contested: AtomicU64,
}

impl Load {
    /// A load on these instances.
    pub fn new(instances: Vec<SocketAddr>) -> Arc<Self> {
        Arc::new(Self {
            history: History::default(),
            instances,
            over: AtomicBool::new(false),
            only_direct: AtomicBool::new(false),
            held: AtomicBool::new(false),
            under_way: AtomicU64::new(0),
            contested: AtomicU64::new(0),
        })
    }

    /// Sends nothing by the topic while this is so.
    pub fn only_direct(&self, only: bool) {
        self.only_direct.store(only, Ordering::Relaxed);
    }

    /// Sends nothing while this is so; what is under way goes on.
    pub fn hold(&self, hold: bool) {
        self.held.store(hold, Ordering::Relaxed);
    }

    /// How many direct commands wait for their answers.
    pub fn under_way(&self) -> u64 {
        self.under_way.load(Ordering::Relaxed)
    }

    async fn while_held(&self) {
        while self.held.load(Ordering::Relaxed) && !self.is_over() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets every caller end after the command that it is at.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Starts the callers; each ends when the load does.
    pub fn start_callers(self: &Arc<Self>, seed: u64) -> Vec<tokio::task::JoinHandle<()>> {
        let callers = (0..CALLERS).map(|caller| tokio::spawn(self.clone().call(caller, seed)));
        callers.collect()
    }

    async fn call(self: Arc<Self>, caller: u64, seed: u64) {
        let mut rng = Rng::with_seed(seed ^ (caller + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut clients = self.clients();
        for number in 0.. {
            if self.is_over() {
                return;
            }
            let order = self.order(&mut rng, &format!("d-{caller}-{number}"), caller + number);
            let command = Command { way: Way::Direct, order };
            for _attempt in 0..=rng.u8(..3) {
                self.while_held().await;
                let client = rng.usize(..clients.len());
                if self.place(&mut clients[client], &command).await != Told::Unknown {
                    break;
                }
                pause(&mut rng, 400).await;
            }
            pause(&mut rng, PAUSE_MS_MAX).await;
        }
    }

    fn clients(&self) -> Vec<Client> {
        self.instances.iter().map(|address| Client::new(*address, PATIENCE)).collect()
    }

    /// An order under its own id, or now and then under one that others use.
    fn order(&self, rng: &mut Rng, own: &str, number: u64) -> Order {
        let (label, pence) = ITEMS[rng.usize(..ITEMS.len())];
        let customer = format!("c{}", number % CUSTOMERS);
        let id = match rng.u8(..10) {
            0 => format!("x-{}", self.contested.fetch_add(1, Ordering::Relaxed) / 4),
            _ => own.to_owned(),
        };
        Order { id, customer, label: label.to_owned(), pence }
    }

    /// Sends a command and notes what is told.
    async fn place(&self, client: &mut Client, command: &Command) -> Told {
        self.history.sends(command);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let answer = client.post("/orders", &command.order.body()).await;
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        let told = match answer.as_ref().map(|answer| answer.status) {
            Some(202) => Told::Accepted,
            Some(409) => Told::Refused,
            None | Some(500..) => Told::Unknown,
            Some(_) => {
                self.history.violation(format!("{command:?} was answered {answer:?}"));
                Told::Unknown
            }
        };
        self.history.told(command, told);
        told
    }

    /// Sends every direct command whose end is unknown again, until each has one.
    ///
    /// # Errors
    /// The commands that have none in time.
    pub async fn finish(&self, within: Duration) -> Result<(), Vec<Command>> {
        let deadline = Instant::now() + within;
        let mut clients = self.clients();
        let mut next = 0;
        loop {
            let open = self.history.open();
            if open.is_empty() {
                return Ok(());
            }
            for command in &open {
                if Instant::now() > deadline {
                    return Err(open);
                }
                next += 1;
                let instance = next % clients.len();
                if self.place(&mut clients[instance], command).await == Told::Unknown {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn pause(rng: &mut Rng, ms_max: u64) {
    tokio::time::sleep(Duration::from_millis(rng.u64(..ms_max))).await;
}

/// A Java program that appends to the commands topic.
pub struct TopicSender {
    child: Child,
    input: ChildStdin,
    sent: Arc<Mutex<BTreeMap<String, Command>>>,
    listening: std::thread::JoinHandle<()>,
}

impl TopicSender {
    /// Starts the program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(jars: &Jars, bootstrap: &str, load: Arc<Load>) -> std::io::Result<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/Send.java");
        let mut java = jars.source(&program, &[bootstrap, COMMANDS]);
        let mut child = java.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let input = child.stdin.take().expect("it is piped");
        let output = std::io::BufReader::new(child.stdout.take().expect("it is piped"));
        let sent = Arc::new(Mutex::new(BTreeMap::new()));
        let asked = sent.clone();
        let listening = std::thread::spawn(move || listen(output, &asked, &load.history));
        Ok(Self { child, input, sent, listening })
    }

    /// Sends commands until the load is over; then waits for every answer, and answers how many came.
    ///
    /// # Errors
    /// When the program ended before.
    pub async fn send(mut self, load: &Load, seed: u64) -> std::io::Result<usize> {
        let mut rng = Rng::with_seed(!seed);
        let mut sent = 0;
        while !load.is_over() {
            pause(&mut rng, TOPIC_PAUSE_MS_MAX).await;
            load.while_held().await;
            if load.only_direct.load(Ordering::Relaxed) {
                continue;
            }
            let order = load.order(&mut rng, &format!("t-{sent}"), sent as u64);
            let command = Command { way: Way::Topic, order };
            load.history.sends(&command);
            let id = command.id();
            let line = format!("{}\t{id}\t{}\n", command.order.id, command.order.command());
            self.sent.lock().insert(id, command);
            self.input.write_all(line.as_bytes())?;
            self.input.flush()?;
            sent += 1;
        }
        tokio::task::spawn_blocking(move || self.end()).await.expect("it does not panic")?;
        Ok(sent)
    }

    /// The program ends when its input does and every append is answered, which takes a minute at most.
    fn end(self) -> std::io::Result<()> {
        let Self { mut child, input, listening, .. } = self;
        drop(input);
        let deadline = Instant::now() + Duration::from_secs(90);
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                child.kill()?;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        listening.join().expect("listening does not panic");
        Ok(())
    }
}

fn listen(output: impl std::io::BufRead, sent: &Mutex<BTreeMap<String, Command>>, history: &History) {
    for line in output.lines().map_while(Result::ok) {
        let Some((word, id)) = line.split_once('\t') else { continue };
        let Some(command) = sent.lock().get(id).cloned() else { continue };
        history.told(&command, if word == "ok" { Told::Appended } else { Told::Unknown });
    }
}
