//! The least of an HTTP client: one request, one answer, in bounded time, over a connection that is used again.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// An answer's status and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body's text.
    pub body: String,
}

/// A client of one address.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    within: Duration,
    open: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client that waits so long for each answer.
    pub fn new(address: SocketAddr, within: Duration) -> Self {
        Self { address, within, open: None }
    }

    /// Posts JSON; `None` if no whole answer came in time.
    pub async fn post(&mut self, path: &str, body: &str) -> Option<Answer> {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: chaos\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        self.ask(&(head + body)).await
    }

    /// Gets a path; `None` if no whole answer came in time.
    pub async fn get(&mut self, path: &str) -> Option<Answer> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: chaos\r\n\r\n")).await
    }

    async fn ask(&mut self, request: &str) -> Option<Answer> {
        let open = self.open.take();
        let asked = exchange(open, self.address, request);
        let (connection, answer) = tokio::time::timeout(self.within, asked).await.ok()??;
        self.open = Some(connection);
        Some(answer)
    }
}

async fn exchange(
    open: Option<BufReader<TcpStream>>,
    address: SocketAddr,
    request: &str,
) -> Option<(BufReader<TcpStream>, Answer)> {
    let mut connection = match open {
        Some(connection) => connection,
        None => BufReader::new(TcpStream::connect(address).await.ok()?),
    };
    connection.get_mut().write_all(request.as_bytes()).await.ok()?;
    let mut line = String::new();
    connection.read_line(&mut line).await.ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            None => break,
            Some(("content-length", text)) => length = text.parse().ok()?,
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.ok()?;
    Some((connection, Answer { status, body: String::from_utf8(body).ok()? }))
}
