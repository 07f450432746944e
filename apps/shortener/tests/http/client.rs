//! A shortener on a free port of the loopback, and a client of plain sockets, which sends what no library would.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headwater::config::{Config, Secret};
use headwater::core::clock::{Clock, SystemClock};
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::store::memory::MemoryStores;
use headwater::{Headwater, Parts};
use headwater_http::peers;
use headwater_http::serve::{Server, Stopped};
use serde_json::{Value, json};
use shortener::api::{self, PublicUrl, Site};
use shortener::instance::Instance;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest that anything in these tests may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running instance, stopped by [`stop`](Shortener::stop).
pub(crate) struct Shortener {
    pub(crate) address: SocketAddr,
    pub(crate) instance: Instance,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Stopped>,
}

/// How an instance is to be.
pub(crate) struct Wanted {
    pub(crate) log: MemoryLog,
    pub(crate) parts: Parts,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) public: Option<PublicUrl>,
    /// Its name among several, and the secret that they share.
    pub(crate) among: Option<(&'static str, &'static str)>,
}

impl Default for Wanted {
    fn default() -> Self {
        let clock = Arc::new(SystemClock);
        Self { log: memory_log(), parts: Parts::ALL, clock, public: None, among: None }
    }
}

/// A log that several instances can share.
pub(crate) fn memory_log() -> MemoryLog {
    MemoryLog::new(MemoryOptions { clock: Arc::new(SystemClock), ..MemoryOptions::default() })
}

/// A shortener of its own.
pub(crate) async fn open() -> Shortener {
    open_as(Wanted::default()).await
}

pub(crate) async fn open_as(wanted: Wanted) -> Shortener {
    let Wanted { log, parts, clock, public, among } = wanted;
    let server = Server::bind(([127, 0, 0, 1], 0).into(), api::limits()).await.expect("a free port");
    let address = server.local_addr().expect("it is bound");
    let headwater = Headwater::with_clock(Arc::new(log), Arc::new(MemoryStores::new()), clock.clone());
    let (headwater, secret) = match among {
        Some((name, secret)) => (headwater.named(name), Some(Secret::new(secret))),
        None => (headwater, None),
    };
    let config = Config { peer_secret: secret, ..Config::default() };
    let (headwater, peers) = peers::join(headwater, address, &config).expect("it may join");
    let mut instance = Instance::start(&headwater, parts).await.expect("it starts");
    instance.clock = clock;
    let router = api::router(instance.clone(), Site::new(address, public), None).merge(peers);
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(router, async {
        let _ = stopped.await;
    }));
    Shortener { address, instance, stop, serving }
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Vec<u8>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header's value, byte for byte.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        let line = |line: &&[u8]| {
            let begins =
                line.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name.as_bytes()));
            begins && line[name.len()..].starts_with(b": ")
        };
        let lines =
            self.head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        lines.into_iter().find(|l| line(l)).map(|line| &line[name.len() + 2..])
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.bytes(name).map(|value| std::str::from_utf8(value).expect("text"))
    }

    /// The status and the code of a problem.
    #[track_caller]
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "the body and the head agree");
        (self.status, problem["code"].as_str().unwrap_or_default().to_owned())
    }

    /// The fields that a problem complains about, each with its code.
    #[track_caller]
    pub(crate) fn complaints(&self) -> Vec<(String, String)> {
        assert_eq!(self.problem(), (422, "invalid-body".to_owned()), "{self:?}");
        let problem = self.json();
        let text = |error: &Value, name: &str| error[name].as_str().expect(name).to_owned();
        let errors = problem["errors"].as_array().expect("a list of errors");
        errors.iter().map(|error| (text(error, "field"), text(error, "code"))).collect()
    }
}

impl Shortener {
    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut client = self.connect().await;
        client.send(&self.request(method, path, headers, body)).await;
        timeout(PATIENCE, client.answer(method == "HEAD")).await.expect("it answers in time")
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
        let host = ("host", self.address.to_string());
        let own = (!headers.iter().any(|(name, _)| *name == "host")).then_some((host.0, host.1.as_str()));
        let headers = own.iter().chain(headers);
        let headers: String = headers.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length =
            if method == "POST" { format!("content-length: {}\r\n", body.len()) } else { String::new() };
        format!("{method} {path} HTTP/1.1\r\n{headers}{length}\r\n{body}")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    /// What a view tells once it includes a receipt.
    pub(crate) async fn get_after(&self, path: &str, receipt: &str) -> Answer {
        self.ask("GET", path, &[("headwater-after", receipt), ("prefer", "wait=10")], "").await
    }

    pub(crate) async fn post(&self, link: Value) -> Answer {
        self.ask("POST", "/links", &[("content-type", "application/json")], &link.to_string()).await
    }

    /// Makes a link, which has to succeed; answers what was told of it.
    pub(crate) async fn make(&self, link: Value) -> Value {
        let answer = self.post(link).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    /// Makes a link to an address; answers its code.
    pub(crate) async fn code(&self, url: &str) -> String {
        code_of(&self.make(json!({"url": url})).await)
    }

    /// Follows a link, which has to succeed; answers the receipt of the visit.
    pub(crate) async fn visit(&self, code: &str, referrer: &str) -> String {
        let answer = self.ask("GET", &format!("/{code}"), &[("referer", referrer)], "").await;
        assert_eq!(answer.status, 302, "{answer:?}");
        answer.header("headwater-receipt").expect("a receipt").to_owned()
    }

    pub(crate) async fn connect(&self) -> Client {
        Client(BufReader::new(TcpStream::connect(self.address).await.expect("it listens")))
    }

    /// Opens a stream of events.
    pub(crate) async fn follow(&self, path: &str, last_event_id: Option<&str>) -> Events {
        let headers: Vec<_> = last_event_id.map(|id| ("last-event-id", id)).into_iter().collect();
        let mut client = self.connect().await;
        client.send(&self.request("GET", path, &headers, "")).await;
        let head = timeout(PATIENCE, client.head()).await.expect("it answers in time");
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
        Events { client, text: String::new() }
    }

    /// Stops serving, then the app.
    pub(crate) async fn stop(self) {
        self.stop.send(()).expect("the server runs");
        let stopped = timeout(PATIENCE, self.serving).await.expect("stopping is bounded").expect("no panic");
        assert_eq!(stopped.connections_cut, 0);
        assert!(self.instance.stop(PATIENCE).await, "the app stops in time");
    }
}

pub(crate) fn code_of(made: &Value) -> String {
    made["code"].as_str().expect("a code").to_owned()
}

/// A client's end of a connection.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.expect("it is connected");
    }

    async fn head(&mut self) -> Vec<u8> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("a whole head"));
        }
        head
    }

    async fn answer(&mut self, bodyless: bool) -> Answer {
        let head = self.head().await;
        let status = std::str::from_utf8(&head[9..12]).expect("digits").parse().expect("a status");
        let mut answer = Answer { status, head, body: String::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; if bodyless { 0 } else { length }];
        self.0.read_exact(&mut body).await.expect("the whole body arrives");
        answer.body = String::from_utf8(body).expect("bodies are text");
        answer
    }

    /// One chunk of a chunked body.
    async fn chunk(&mut self) -> String {
        let mut size = String::new();
        while !size.ends_with("\r\n") {
            size.push(self.0.read_u8().await.expect("the stream goes on").into());
        }
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk's size");
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).await.expect("a whole chunk");
        chunk.truncate(size);
        String::from_utf8(chunk).expect("events are text")
    }
}

/// A stream of events.
pub(crate) struct Events {
    client: Client,
    text: String,
}

impl Events {
    /// The next event: its name, its data, and its id.
    pub(crate) async fn next(&mut self) -> (String, Value, Option<String>) {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                let field =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                if let Some(data) = field("data: ") {
                    let data = serde_json::from_str(&data).expect("data is JSON");
                    return (field("event: ").expect("a name"), data, field("id: "));
                }
                continue;
            }
            let chunk = timeout(PATIENCE, self.client.chunk()).await.expect("an event in time");
            self.text.push_str(&chunk);
        }
    }
}
