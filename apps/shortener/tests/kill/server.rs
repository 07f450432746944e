//! The server to be killed, and connections that notice.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// Longest that anything in this test waits for the server.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the server listens now; nowhere while it is dead.
#[derive(Default)]
pub(crate) struct Address(Mutex<Option<SocketAddr>>);

impl Address {
    pub(crate) fn set(&self, address: Option<SocketAddr>) {
        *self.0.lock().unwrap() = address;
    }

    pub(crate) fn get(&self) -> Option<SocketAddr> {
        *self.0.lock().unwrap()
    }
}

fn program(data: &Path) -> Command {
    let binary = std::env::var_os("HEADWATER_BIN_SHORTENER");
    let mut command = Command::new(binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_shortener").into()));
    command
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    // The server refuses settings that it does not know.
    command.env_remove("HEADWATER_KILLS").env_remove("HEADWATER_BIN_SHORTENER");
    command
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts it on a data directory, and waits until it listens.
    pub(crate) fn start(data: &Path) -> Self {
        Self::spawn(program(data).args(["--log", "embedded"]))
    }

    /// Starts it as one of several on brokers.
    pub(crate) fn start_among(brokers: &str, data: &Path) -> Self {
        let mut command = program(data);
        command.env("HEADWATER_LOG", format!("kafka://{brokers}"));
        Self::spawn(command.env("HEADWATER_PEER_SECRET", "a secret of sixteen characters or more"))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the binary is built");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(',').next());
        let address = address.unwrap_or_else(|| panic!("the server does not say where it listens: {line:?}"));
        Self { child, address: address.parse().expect("an address") }
    }

    /// Waits until it says that it is ready.
    pub(crate) fn ready(&self) {
        for _ in 0..1_200 {
            let answer = self.connect().ask("GET /readyz HTTP/1.1\r\nhost: kill\r\n\r\n");
            if answer.is_some_and(|(status, _)| status == 200) {
                return;
            }
            std::thread::sleep(PATIENCE / 200);
        }
        panic!("the server does not become ready");
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address).expect("the server listens")
    }

    /// Kills it with -9 and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A connection that is kept open.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self(BufReader::new(stream)))
    }

    /// Sends a request and reads its answer; `None` if the connection ended first.
    pub(crate) fn ask(&mut self, request: &str) -> Option<(u16, Vec<u8>)> {
        self.0.get_mut().write_all(request.as_bytes()).ok()?;
        let mut status = String::new();
        self.0.read_line(&mut status).ok()?;
        let status = status.split(' ').nth(1)?.parse().ok()?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end().to_ascii_lowercase().split_once(": ") {
                None => break,
                Some(("content-length", text)) => length = text.parse().ok()?,
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some((status, body))
    }
}
