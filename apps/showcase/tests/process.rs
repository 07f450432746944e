//! The showcase as a process: both systems and the page that leads to them, on one data directory.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longest that anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A showcase that runs, killed when dropped.
struct Showcase {
    child: Child,
    index: String,
    ordering: String,
    shortener: String,
}

impl Showcase {
    fn start(data: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_showcase"));
        command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data).env_remove("RUST_LOG");
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("text");
        assert!(line.contains(&data.display().to_string()), "{line:?}");
        let mut addresses = line.split("http://").skip(1).map(|rest| {
            let end = rest.find([' ', ',', ')']).unwrap_or(rest.len());
            rest[..end].trim().to_owned()
        });
        let mut next = || addresses.next().unwrap_or_else(|| panic!("three addresses: {line:?}"));
        Self { index: next(), ordering: next(), shortener: next(), child }
    }

    /// Stops it as an operator does; answers its exit code.
    fn stop(mut self) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid is not zero");
        kill_process(pid, Signal::TERM).expect("one may signal one's child");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Showcase {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request; the whole answer as text.
fn ask(address: &str, host: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    let kind = format!("content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all((head + &kind).as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn both_systems_run_on_one_log_and_are_found_from_one_page() {
    let data = TempDir::new().expect("a directory");
    let first = Showcase::start(data.path());
    let page = ask(&first.index, "localhost", "GET", "/", "");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("href=\"/shortener\""), "{page}");
    for (path, address) in [("/ordering", &first.ordering), ("/shortener", &first.shortener)] {
        let led = ask(&first.index, "localhost:1", "GET", path, "");
        let port = address.rsplit_once(':').expect("a port").1;
        assert!(led.contains(&format!("location: http://localhost:{port}/\r\n")), "{led}");
        assert!(ask(address, address, "GET", "/", "").starts_with("HTTP/1.1 200"));
    }
    let order = r#"{"orderId":"o1","customerId":"ada","itemLabel":"Kettle","itemPrice":39}"#;
    assert!(ask(&first.ordering, "test", "POST", "/orders", order).starts_with("HTTP/1.1 202"));
    let link = r#"{"url":"https://example.com/","alias":"here"}"#;
    assert!(ask(&first.shortener, "test", "POST", "/links", link).starts_with("HTTP/1.1 201"));
    assert_eq!(first.stop(), Some(0));

    let second = Showcase::start(data.path());
    assert!(ask(&second.ordering, "test", "GET", "/orders/o1", "").contains("Kettle"));
    let led = ask(&second.shortener, "test", "GET", "/here", "");
    assert!(led.starts_with("HTTP/1.1 302") && led.contains("location: https://example.com/\r\n"), "{led}");
    let deadline = Instant::now() + PATIENCE;
    while !ask(&second.index, "test", "GET", "/readyz", "").starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline, "it does not become ready");
        thread::sleep(Duration::from_millis(50));
    }
    let ready = ask(&second.index, "test", "GET", "/readyz", "");
    for system in ["ordering", "shortener"] {
        for check in ["shards", "topologies", "log", "log-answers"] {
            let told = format!(r#"{{"name":"{system}/{check}","ok":true}}"#);
            assert!(ready.contains(&told), "what keeps a system from being ready is told here: {ready}");
        }
    }
    assert_eq!(second.stop(), Some(0));
}
