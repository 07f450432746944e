//! A server on a free port of the loopback, and a client that speaks bytes, so that it can misbehave.

#![allow(unreachable_pub, dead_code)] // Shared by test binaries that each use a part of it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use headwater_http::serve::{Limits, Server, Stopped};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest that anything in these tests may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running server, stopped by [`Running::stop`].
pub struct Running {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Stopped>,
}

/// Starts a server with a router.
pub async fn start(router: Router, limits: Limits) -> Running {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::bind(address, limits).await.expect("the loopback has a free port");
    let address = server.local_addr().expect("it is bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(router, async {
        let _ = stopped.await;
    }));
    Running { address, stop, serving }
}

impl Running {
    pub async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.expect("the server listens"))
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, request: &str) -> Answer {
        let mut client = self.connect().await;
        client.send(request.as_bytes()).await;
        client.answer(request.starts_with("HEAD")).await.expect("the server answers")
    }

    /// Asks the server to stop and waits until it has.
    pub async fn stop(self) -> Stopped {
        self.stop.send(()).expect("the server runs");
        timeout(PATIENCE, self.serving).await.expect("stopping is bounded").expect("serving does not panic")
    }
}

impl Running {
    /// Drops the server's future where it is.
    pub fn abandon(self) {
        self.serving.abort();
    }
}

/// A client's end of a connection.
pub struct Client(pub TcpStream);

/// An answer as it came over the wire.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body of a problem, after checking that it is one.
    pub fn problem(&self) -> Value {
        assert!(self.head.contains("content-type: application/problem+json\r\n"), "no problem: {self:?}");
        let problem: Value = serde_json::from_slice(&self.body).expect("a problem is JSON");
        assert_eq!(problem["status"], self.status, "the body and the head agree");
        problem
    }

    /// The code of a problem.
    pub fn code(&self) -> String {
        self.problem()["code"].as_str().expect("a problem has a code").to_owned()
    }
}

impl Client {
    pub async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.0.write_all(bytes)).await.expect("the server reads").expect("it is connected");
    }

    /// Reads one answer with a length, or none if the server closed instead.
    pub async fn answer(&mut self, head_only: bool) -> Option<Answer> {
        timeout(PATIENCE, self.read_answer(head_only)).await.expect("the server answers or closes")
    }

    async fn read_answer(&mut self, head_only: bool) -> Option<Answer> {
        let head = self.read_head().await?;
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        let length = field("content-length: ").map_or(0, |text| text.parse().expect("a length"));
        let mut body = vec![0; if head_only { 0 } else { length }];
        self.0.read_exact(&mut body).await.expect("the whole body arrives");
        let status = head[9..12].parse().expect("a status");
        Some(Answer { status, head, body })
    }

    /// Reads up to the empty line after the headers.
    pub async fn read_head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if self.0.read(&mut byte).await.ok()? == 0 {
                return None;
            }
            head.push(byte[0]);
        }
        Some(String::from_utf8(head).expect("headers are text"))
    }

    /// Waits until the server has closed, and returns what it sent before.
    pub async fn closed(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is as much an end as a clean one.
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("the server closes");
        rest
    }
}

/// A request without a body.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}

/// A request with a body of a type.
pub fn post(path: &str, kind: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
