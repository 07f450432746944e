//! The program as a process on a free port of the loopback, and a client of plain sockets, so that it can misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use app_testing::patience::within_patience;

/// Longest that anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program, to listen on a free port of the loopback, with its data in a directory.
pub(crate) fn program(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ordering"));
    command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A process that runs, killed when dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: SocketAddr,
    told: Told,
}

impl Service {
    /// Starts the program on a data directory.
    pub(crate) fn on(data: &Path) -> Self {
        Self::start(&mut program(data))
    }

    /// Starts the program as the command says.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let mut told = Told::by(child.stderr.take().expect("a pipe"));
        let announced = first_line(child.stdout.take().expect("a pipe"));
        let address = announced.split_once("http://").and_then(|(_, rest)| rest.split(',').next());
        let Some(address) = address.and_then(|address| address.parse().ok()) else {
            let _ = child.kill();
            let status = child.wait();
            told.finish();
            panic!("it did not start ({status:?}): {}", told.text());
        };
        Self { child, address, told }
    }

    /// Waits until all its parts run.
    #[track_caller]
    pub(crate) fn ready(&self) {
        within_patience("it is ready", || (self.get("/readyz").status == 200).then_some(()));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has told on standard error so far.
    pub(crate) fn told(&self) -> String {
        self.told.text()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        self.try_ask(method, path, headers, body).expect("it answers")
    }

    /// The same; nothing if the connection broke, as it may when the program ends.
    pub(crate) fn try_ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Option<Answer> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let request = request(method, path, &format!("connection: close\r\n{headers}"), body);
        // It may answer, and close, before it has read a body that it refuses.
        let _ = stream.write_all(&request);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        Answer::parse(&text)
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", b"")
    }

    #[track_caller]
    pub(crate) fn place(&self, order: &Value) -> Answer {
        self.ask("POST", "/orders", JSON, order.to_string().as_bytes())
    }

    /// What a customer ordered, by label and group; or why that is not told.
    #[track_caller]
    pub(crate) fn items(&self, customer: &str) -> Result<BTreeMap<String, u64>, Problem> {
        let answer = self.get(&format!("/orders?customerId={customer}"));
        if answer.status != 200 {
            return Err(answer.problem());
        }
        let items = answer.json();
        let item = |item: &Value| {
            let key = item["label"].as_str().expect("a label").to_owned();
            (key, item["quantity"].as_u64().expect("a quantity"))
        };
        Ok(items.as_array().expect("a list").iter().map(item).collect())
    }

    /// Waits until the customers together have ordered as many items; answers how many they had at last.
    #[track_caller]
    pub(crate) fn quantity_once(&self, customers: &[String], expected: u64) -> u64 {
        let quantity = |customer: &String| self.items(customer).ok().map(|items| items.values().sum::<u64>());
        let mut last = 0;
        within_patience("every view has caught up", || {
            last = customers.iter().map(quantity).sum::<Option<u64>>()?;
            (last >= expected).then_some(last)
        });
        last
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("one may kill one's child");
        self.child.wait().expect("a child can be waited for");
    }

    pub(crate) fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a pid")).expect("a pid is not zero");
        kill_process(pid, Signal::TERM).expect("one may signal one's child");
    }

    /// Waits for its end, and for the last that it told.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = within_patience("it ends", || self.child.try_wait().expect("a child can be waited for"));
        self.told.finish();
        status
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            self.told.finish();
            eprintln!("the program told:\n{}", self.told());
        }
    }
}

/// Runs a program that is to end by itself, and ends it if it does not.
#[track_caller]
pub(crate) fn output_of(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid is not zero");
    let (ended, output) = mpsc::channel();
    thread::spawn(move || {
        let _ = ended.send(child.wait_with_output());
    });
    if let Ok(output) = output.recv_timeout(PATIENCE) {
        return output.expect("a child can be waited for");
    }
    kill_process(pid, Signal::KILL).expect("one may kill one's child");
    panic!("it does not end: {:?}", output.recv().expect("it was killed"));
}

/// What a process tells on a pipe, line by line.
struct Told {
    text: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
}

impl Told {
    fn by(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let read = text.clone();
        let reading = thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut text = read.lock().expect("no panic");
                text.push_str(&line);
                text.push('\n');
            }
        });
        Self { text, reading: Some(reading) }
    }

    fn text(&self) -> String {
        self.text.lock().expect("no panic").clone()
    }

    /// Waits for all that is told by a process that has ended: its last words may still be in the pipe.
    fn finish(&mut self) {
        if let Some(reading) = self.reading.take() {
            reading.join().expect("reading does not panic");
        }
    }
}

/// The first line of a pipe; empty if it ends, or tells nothing in time.
fn first_line(pipe: impl Read + Send + 'static) -> String {
    let (told, line) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let _ = BufReader::new(pipe).read_line(&mut line);
        let _ = told.send(line);
    });
    line.recv_timeout(PATIENCE).unwrap_or_default()
}

/// The header of a body in JSON.
pub(crate) const JSON: &str = "content-type: application/json\r\n";

/// A request as bytes.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = if method == "POST" { format!("content-length: {}\r\n", body.len()) } else { String::new() };
    let head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n{headers}{length}\r\n");
    [head.as_bytes(), body].concat()
}

pub(crate) fn order(id: &str, customer: &str, label: &str) -> Value {
    json!({"orderId": id, "customerId": customer, "itemLabel": label, "itemPrice": "2.50"})
}

/// What the program answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// The status and the code of a problem.
pub(crate) type Problem = (u16, String);

impl Answer {
    /// Reads a whole answer; nothing if it is none.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.get(9..12)?.parse().ok()?;
        Some(Self { status, head: head.to_owned(), body: body.to_owned() })
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// After checking that it is one, with words for a person.
    #[track_caller]
    pub(crate) fn problem(&self) -> Problem {
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{self:?}");
        (self.status, problem["code"].as_str().expect("a code").to_owned())
    }
}
