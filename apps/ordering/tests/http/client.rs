//! A shop on a free port of the loopback, and a client of plain sockets, so that it can misbehave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use headwater::config::{Config, Secret};
use headwater::core::clock::SystemClock;
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::store::memory::MemoryStores;
use headwater::{Headwater, Parts};
use headwater_http::peers;
use headwater_http::serve::{Limits, Server, Stopped};
use ordering::api;
use ordering::shop::Shop;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest that anything in these tests may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The longest body that the shop of these tests takes.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1_024;

/// A running instance, stopped by [`stop`](Instance::stop).
pub(crate) struct Instance {
    pub(crate) address: SocketAddr,
    pub(crate) shop: Shop,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Stopped>,
}

/// A log that several instances can share.
pub(crate) fn memory_log() -> MemoryLog {
    MemoryLog::new(MemoryOptions { clock: Arc::new(SystemClock), ..MemoryOptions::default() })
}

/// A shop of its own.
pub(crate) async fn open() -> Instance {
    open_on(memory_log(), Parts::ALL).await
}

/// An instance that runs parts of the shop on a log.
pub(crate) async fn open_on(log: MemoryLog, parts: Parts) -> Instance {
    open_behind(log, parts, |router| router).await
}

/// An instance whose requests pass through something of the test's first.
pub(crate) async fn open_behind(
    log: MemoryLog,
    parts: Parts,
    wrap: impl FnOnce(Router) -> Router,
) -> Instance {
    serve(Headwater::on(Arc::new(log), Arc::new(MemoryStores::new())), parts, &Config::default(), wrap).await
}

/// One of several instances that share a log, and a secret.
pub(crate) async fn open_among(log: &MemoryLog, parts: Parts, name: &str, secret: &str) -> Instance {
    let headwater = Headwater::on(Arc::new(log.clone()), Arc::new(MemoryStores::new())).named(name);
    let config = Config { peer_secret: Some(Secret::new(secret)), ..Config::default() };
    serve(headwater, parts, &config, |router| router).await
}

async fn serve(
    headwater: Headwater,
    parts: Parts,
    config: &Config,
    wrap: impl FnOnce(Router) -> Router,
) -> Instance {
    let limits = Limits { body_bytes_max: BODY_BYTES_MAX, ..Limits::default() };
    let server =
        Server::bind(([127, 0, 0, 1], 0).into(), limits).await.expect("the loopback has a free port");
    let address = server.local_addr().expect("it is bound");
    let (headwater, peers) = peers::join(headwater, address, config).expect("it may join");
    let shop = Shop::start(&headwater, parts).await.expect("the shop starts");
    let (stop, stopped) = oneshot::channel::<()>();
    let router = wrap(api::router(shop.clone(), None).merge(peers));
    let serving = tokio::spawn(server.serve(router, async {
        let _ = stopped.await;
    }));
    Instance { address, shop, stop, serving }
}

/// What the shop answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = |line: &'_ str| line.split_once(": ").is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        self.head.lines().find(|l| line(l))?.split_once(": ").map(|(_, value)| value)
    }

    /// The code and the field of a problem, after checking that it is one.
    #[track_caller]
    pub(crate) fn problem(&self) -> (u16, String, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "the body and the head agree");
        let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        (self.status, text("code"), text("field"))
    }

    /// The fields that a problem complains about, each with its code.
    #[track_caller]
    pub(crate) fn complaints(&self) -> Vec<(String, String)> {
        assert_eq!(self.status, 422, "{self:?}");
        let problem = self.json();
        let errors = problem["errors"].as_array().expect("a list of errors");
        let text = |error: &Value, name: &str| error[name].as_str().expect(name).to_owned();
        errors.iter().map(|error| (text(error, "field"), text(error, "code"))).collect()
    }
}

impl Instance {
    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut client = self.connect().await;
        client.send(&request(method, path, headers, body)).await;
        timeout(PATIENCE, client.answer()).await.expect("the server answers in time")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    /// What a customer has, once it includes a receipt.
    pub(crate) async fn get_after(&self, path: &str, receipt: &str) -> Answer {
        self.ask("GET", path, &[("headwater-after", receipt), ("prefer", "wait=10")], "").await
    }

    /// Sends an order as JSON text.
    pub(crate) async fn post(&self, body: &str) -> Answer {
        self.ask("POST", "/orders", &[("content-type", "application/json")], body).await
    }

    /// Places an order, which has to succeed; answers its receipt.
    pub(crate) async fn place(&self, customer: &str, label: &str, price: &str) -> String {
        let order = json!({"customerId": customer, "itemLabel": label, "itemPrice": price});
        let answer = self.post(&order.to_string()).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.header("headwater-receipt").expect("a receipt").to_owned()
    }

    /// Follows a customer's items.
    pub(crate) async fn follow(&self, customer: &str, last_event_id: Option<&str>) -> Events {
        let headers: Vec<_> = last_event_id.map(|id| ("last-event-id", id)).into_iter().collect();
        let mut client = self.connect().await;
        client.send(&request("GET", &format!("/orders/stream?customerId={customer}"), &headers, "")).await;
        let head = timeout(PATIENCE, client.head()).await.expect("the server answers in time");
        assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
        Events { client, text: String::new() }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client(BufReader::new(TcpStream::connect(self.address).await.expect("the server listens")))
    }

    /// Stops serving, then the shop; what is left of an event stream is a whole answer.
    pub(crate) async fn stop(self) {
        self.stop.send(()).expect("the server runs");
        let stopped = timeout(PATIENCE, self.serving).await.expect("stopping is bounded").expect("no panic");
        assert_eq!(stopped.connections_cut, 0);
        assert!(self.shop.stop(PATIENCE).await, "the shop stops in time");
    }
}

/// A request as text.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = if method == "POST" { format!("content-length: {}\r\n", body.len()) } else { String::new() };
    format!("{method} {path} HTTP/1.1\r\nhost: test\r\n{headers}{length}\r\n{body}")
}

/// A client's end of a connection.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.expect("it is connected");
    }

    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("the server sends a whole head"));
        }
        String::from_utf8(head).expect("headers are text")
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
        self.0.read_exact(&mut body).await.expect("the whole body arrives");
        let status = head[9..12].parse().expect("a status");
        Answer { status, head, body: String::from_utf8(body).expect("bodies are text") }
    }

    /// One chunk of a chunked body; none at its end.
    async fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        while !size.ends_with("\r\n") {
            size.push(self.0.read_u8().await.expect("the stream ends as a whole answer").into());
        }
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk's size");
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).await.expect("a whole chunk");
        chunk.truncate(size);
        (size > 0).then(|| String::from_utf8(chunk).expect("events are text"))
    }
}

/// A stream of events.
pub(crate) struct Events {
    client: Client,
    text: String,
}

/// One event, comments left out.
#[derive(Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

impl Events {
    /// The next event; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if !event.starts_with(':') {
                    return Some(parsed(&event));
                }
                continue;
            }
            let chunk = timeout(PATIENCE, self.client.chunk()).await.expect("an event in time")?;
            self.text.push_str(&chunk);
        }
    }

    /// Reads until the item is told with the quantity; answers the event.
    pub(crate) async fn until(&mut self, item: Value) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.data == item {
                return event;
            }
        }
    }
}

fn parsed(event: &str) -> Event {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let data = field("data: ").expect("an event has data");
    Event {
        name: field("event: ").expect("an event has a name"),
        id: field("id: "),
        data: serde_json::from_str(&data).expect("data is JSON"),
    }
}
