//! A program as a child process: started on a free port, waited for, killed.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::connection::Connection;
use crate::patience::within_patience;

/// What every server of one program is started with.
#[derive(Debug, Clone)]
pub struct Program {
    binary: PathBuf,
    log: String,
}

impl Program {
    /// The app of this name on the embedded log: the binary in `HEADWATER_BIN_<APP>`, or else this one.
    pub fn embedded(app: &str, binary: impl Into<PathBuf>) -> Self {
        let other = std::env::var_os(format!("HEADWATER_BIN_{}", app.to_uppercase()));
        Self { binary: other.map_or_else(|| binary.into(), PathBuf::from), log: "embedded".to_owned() }
    }

    /// The same on brokers, as one of several instances.
    #[must_use]
    pub fn on_kafka(self, brokers: &str) -> Self {
        Self { log: format!("kafka://{brokers}"), ..self }
    }

    /// Starts a server on a data directory, and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it does not say where it listens.
    #[track_caller]
    pub fn start(&self, data: &Path) -> Server {
        let mut command = Command::new(&self.binary);
        command.args(["--log", &self.log, "--listen", "127.0.0.1:0", "--data"]).arg(data);
        // A server refuses settings that it does not know, and those of tests are none of its.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HEADWATER_") {
                command.env_remove(name);
            }
        }
        if self.log != "embedded" {
            command.env("HEADWATER_PEER_SECRET", "a secret of sixteen characters or more");
        }
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        Server::of(spawned.unwrap_or_else(|error| panic!("{}: {error}", self.binary.display())))
    }
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    #[track_caller]
    fn of(mut child: Child) -> Self {
        let mut line = String::new();
        let said = BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line);
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(',').next());
        let address = address.and_then(|address| address.trim_end().parse().ok());
        match address {
            Some(address) => Self { child, address },
            None => {
                let _ = child.kill().and_then(|()| child.wait());
                panic!("the server does not say where it listens: {said:?} {line:?}");
            }
        }
    }

    /// Waits until it says that it is ready.
    ///
    /// # Panics
    ///
    /// If it does not in bounded time.
    #[track_caller]
    pub fn ready(&self) {
        within_patience("the server is ready", || {
            self.connect().get("/readyz").filter(|(status, _)| *status == 200).map(drop)
        });
    }

    /// Opens a connection to it.
    ///
    /// # Panics
    ///
    /// If it does not listen.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(self.address).expect("the server listens")
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with -9 and waits for its end.
    ///
    /// # Panics
    ///
    /// If the system refuses.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
