//! A connection of a plain socket that is kept open, one request after another.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Longest that a server is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a server listens now; nowhere while it is dead.
#[derive(Debug, Default)]
pub struct Address(Mutex<Option<SocketAddr>>);

impl Address {
    /// Says where it listens from now on.
    pub fn set(&self, address: Option<SocketAddr>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// Where it listens.
    pub fn get(&self) -> Option<SocketAddr> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is kept open.
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects; `None` if nobody listens.
    pub fn open(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self(BufReader::new(stream)))
    }

    /// Sends a request and reads the status and the body of its answer; `None` if the connection ended first.
    pub fn ask(&mut self, request: &str) -> Option<(u16, Vec<u8>)> {
        self.answer(request).map(|answer| (answer.status, answer.body))
    }

    /// Sends a request and reads its answer; `None` if the connection ended first.
    pub fn answer(&mut self, request: &str) -> Option<Answer> {
        self.0.get_mut().write_all(request.as_bytes()).ok()?;
        let mut status = String::new();
        self.0.read_line(&mut status).ok()?;
        let status = status.split(' ').nth(1)?.parse().ok()?;
        let mut answer = Answer { status, headers: Vec::new(), body: Vec::new() };
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            answer.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let length = answer.header("content-length").map_or(Some(0), |length| length.parse().ok())?;
        // What HEAD is told the length of does not follow.
        let length = if request.starts_with("HEAD ") { 0 } else { length };
        answer.body.resize(length, 0);
        self.0.read_exact(&mut answer.body).ok()?;
        Some(answer)
    }

    /// Gets a path, as [`ask`](Connection::ask).
    pub fn get(&mut self, path: &str) -> Option<(u16, Vec<u8>)> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"))
    }

    /// Posts JSON to a path, as [`ask`](Connection::ask).
    pub fn post(&mut self, path: &str, json: &str) -> Option<(u16, Vec<u8>)> {
        let head = format!("content-type: application/json\r\ncontent-length: {}\r\n", json.len());
        self.ask(&format!("POST {path} HTTP/1.1\r\nhost: test\r\n{head}\r\n{json}"))
    }
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first value of a header, whose name is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| &**value)
    }
}
