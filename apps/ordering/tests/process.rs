//! The program itself: how it starts, what it says when it cannot, how it stops, and what a kill leaves.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest that anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

fn program(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ordering"));
    command.env("HEADWATER_LISTEN", "127.0.0.1:0").env("HEADWATER_DATA", data).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A service that runs, killed when dropped.
struct Service {
    child: Child,
    address: String,
    announcement: String,
    logs: Option<JoinHandle<String>>,
}

impl Service {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let mut errors = child.stderr.take().expect("a pipe");
        let logs = thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        let mut announcement = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        out.read_line(&mut announcement).expect("text");
        let after = announcement.split_once("http://").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        let address = after.split(',').next().unwrap_or_default().to_owned();
        let mut service = Self { child, address, announcement, logs: Some(logs) };
        if service.address.is_empty() {
            panic!("it did not start: {}", service.end());
        }
        service
    }

    /// One request; the body as JSON.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        let kind = format!("content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all((head + &kind).as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
        (head[9..12].parse().expect("a status"), serde_json::from_str(body).unwrap_or_default())
    }

    fn place(&self, n: usize) -> u16 {
        let order = json!({"orderId": format!("o{n}"), "customerId": format!("c{}", n % 3), "itemLabel": "x", "itemPrice": n});
        self.ask("POST", "/orders", &order.to_string()).0
    }

    /// How many items all customers ordered, once every view has caught up with every order.
    fn items(&self, expected: u64) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sum = (0..3).map(|c| self.ask("GET", &format!("/orders?customerId=c{c}"), "").1);
            let items = sum.flat_map(|items| items.as_array().cloned().unwrap_or_default());
            let sum = items.filter_map(|item| item["quantity"].as_u64()).sum();
            if sum >= expected || Instant::now() > deadline {
                return sum;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid is not zero");
        kill_process(pid, signal).expect("one may signal one's child");
    }

    /// Waits for its end; answers its exit code.
    fn exit(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn end(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.logs.take().map(|logs| logs.join().unwrap_or_default()).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn orders_outlive_a_stop_and_a_kill() {
    let data = TempDir::new().expect("a directory");
    let first = Service::start(&mut program(data.path()));
    assert!(first.announcement.contains(&data.path().display().to_string()), "{}", first.announcement);
    assert!((0..20).all(|n| first.place(n) == 202));
    first.signal(Signal::TERM);
    assert_eq!(first.exit(), Some(0));

    let second = Service::start(&mut program(data.path()));
    assert_eq!(second.items(20), 20, "after a stop");
    assert!((20..40).all(|n| second.place(n) == 202));
    second.signal(Signal::KILL);
    assert_eq!(second.exit(), None);

    let third = Service::start(&mut program(data.path()));
    assert!((0..40).all(|n| third.place(n) == 202), "the same orders again answer the same");
    assert_eq!(third.items(40), 40, "after a kill each is there once");
    assert_eq!(third.ask("GET", "/orders/o39", "").1["itemPrice"], "39.00");
    third.signal(Signal::INT);
    assert_eq!(third.exit(), Some(0));
}

#[test]
fn it_serves_until_it_is_told_to_stop_also_without_logs() {
    let data = TempDir::new().unwrap();
    let service = Service::start(program(data.path()).env("RUST_LOG", "off"));
    thread::sleep(Duration::from_millis(300));
    assert_eq!(service.place(1), 202);
    service.signal(Signal::TERM);
    assert_eq!(service.exit(), Some(0));
}

#[test]
fn a_stop_ends_streams_and_idle_connections_in_bounded_time() {
    let data = TempDir::new().expect("a directory");
    let service = Service::start(program(data.path()).args(["--log", "memory"]));
    assert!(service.announcement.contains("in memory"), "{}", service.announcement);
    let idle = TcpStream::connect(&service.address).expect("it listens");
    let mut stream = TcpStream::connect(&service.address).expect("it listens");
    stream.write_all(b"GET /orders/stream?customerId=c HTTP/1.1\r\nhost: test\r\n\r\n").expect("it reads");
    let mut first = [0; 15];
    stream.read_exact(&mut first).expect("it answers");
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    service.signal(Signal::TERM);
    assert_eq!(service.exit(), Some(0));
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("the stream ends");
    assert!(rest.ends_with("0\r\n\r\n"), "as a whole answer: {rest}");
    drop(idle);
    assert_eq!(std::fs::read_dir(data.path()).expect("the directory").count(), 0, "memory leaves no files");
}

/// Runs a program that is not to start.
fn refused(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, stdout } = command.output().expect("the program starts");
    assert!(stdout.is_empty(), "{}", String::from_utf8_lossy(&stdout));
    (status.code(), String::from_utf8(stderr).expect("text"))
}

/// Demands one line of what is wrong and what to do.
#[track_caller]
fn assert_told(command: &mut Command, parts: &[&str]) {
    let (code, told) = refused(command);
    assert_eq!((code, told.lines().count()), (Some(1), 1), "{told}");
    for part in ["ordering: "].iter().chain(parts) {
        assert!(told.contains(part), "no \"{part}\" in: {told}");
    }
}

#[test]
fn what_keeps_it_from_starting_is_told_in_one_line() {
    let data = TempDir::new().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ordering"));
    command.args(["--listen", &address, "--data"]).arg(data.path()).env("RUST_LOG", "error");
    assert_told(&mut command, &[&address, "in use", "--listen"]);
    assert_eq!(std::fs::read_dir(data.path()).expect("the directory").count(), 0, "no data was touched");

    let quiet = |data: &Path| {
        let mut command = program(data);
        command.env("RUST_LOG", "error");
        command
    };
    assert_told(
        quiet(data.path()).args(["--log", "kafka://127.0.0.1:1"]),
        &["127.0.0.1:1", "check the address"],
    );

    let foreign = TempDir::new().expect("a directory");
    std::fs::write(foreign.path().join("thesis.txt"), "mine").expect("it can be written");
    assert_told(&mut quiet(foreign.path()), &[&foreign.path().display().to_string()]);
    assert_eq!(std::fs::read_dir(foreign.path()).expect("the directory").count(), 1, "nothing was put there");
    assert_told(&mut quiet(&foreign.path().join("thesis.txt")), &["thesis.txt"]);

    let newer = TempDir::new().expect("a directory");
    std::fs::write(newer.path().join("format"), "headwater 99\n").expect("it can be written");
    assert_told(&mut quiet(newer.path()), &["format 99", "newer"]);
    assert_told(&mut quiet(Path::new("/proc/headwater")), &["/proc/headwater"]);
}

#[test]
fn a_second_process_on_the_same_data_is_refused_and_the_first_goes_on() {
    let data = TempDir::new().expect("a directory");
    let first = Service::start(&mut program(data.path()));
    let mut second = program(data.path());
    assert_told(
        second.env("RUST_LOG", "error"),
        &[&data.path().display().to_string(), &first.child.id().to_string()],
    );
    assert_eq!(first.place(1), 202);
}

#[test]
fn wrong_settings_are_refused_with_another_code() {
    let data = TempDir::new().expect("a directory");
    for (args, told) in [
        (&["--rolle", "all"][..], "--role"),
        (&["--role", "boss"], "query"),
        (&["--listen", "0.0.0.0:0"], "expose"),
    ] {
        let (code, message) = refused(program(data.path()).args(args));
        assert_eq!(code, Some(2), "{message}");
        assert!(message.contains(told), "{message}");
    }
}

#[test]
fn a_role_alone_runs_its_part() {
    let data = TempDir::new().expect("a directory");
    let commands = Service::start(program(data.path()).args(["--role", "command"]));
    assert_eq!(commands.place(1), 202);
    assert_eq!(commands.ask("GET", "/orders?customerId=c1", "").0, 421);
    commands.signal(Signal::TERM);
    assert_eq!(commands.exit(), Some(0));
    let queries = Service::start(program(data.path()).args(["--role", "query"]));
    assert_eq!(queries.items(1), 1, "it catches up with what was ordered before");
    assert_eq!(queries.place(2), 421);
}

#[test]
fn nothing_to_list_is_said_in_a_line_and_is_an_empty_list_as_json() {
    let data = TempDir::new().expect("a directory");
    let listed = |words: &[&str]| {
        let Output { status, stdout, stderr } = program(data.path()).args(words).output().expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        assert!(status.success(), "{words:?}");
        (text(stdout), text(stderr))
    };
    for (group, none) in [("letters", "no dead letters"), ("decisions", "no decisions")] {
        let (lines, told) = listed(&[group, "list"]);
        assert_eq!((lines.as_str(), told.lines().count()), ("", 1), "{told}");
        assert!(told.starts_with(none), "{told}");
        let (json, told) = listed(&[group, "list", "--json"]);
        let json: Value = serde_json::from_str(&json).expect("JSON");
        let list = json.get("letters").unwrap_or(&json);
        assert_eq!((list, told.as_str()), (&json!([]), ""));
    }
}
