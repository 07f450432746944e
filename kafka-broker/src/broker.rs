//! One broker's process: started, stopped, killed, suspended, restarted on the same ports and data.
//!
//! Methods take `&self`, so that a broker in a static can be used by all tests; each method leaves the process in the
//! state that it names, or says why not.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::certificates::Certificates;
use crate::cluster::{Cluster, Shared};
use crate::error::{Error, Result};
use crate::jars::Jars;
use crate::process::{self, bound, run, tail};
use crate::setup::{Listener, Setup};

const START_TIME_MAX: Duration = Duration::from_secs(120);
const STOP_TIME_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// What `kafka.server.KafkaRaftServer` logs once clients are served.
const SERVES: &str = "Kafka Server started";
const LOG_LINES: usize = 30;

/// One broker of Apache Kafka, killed when dropped.
pub struct Broker {
    shared: Arc<Shared>,
    node: usize,
    running: Mutex<Option<Running>>,
}

struct Running {
    child: Child,
    /// Where in the log file this process began to write.
    log_start: usize,
}

impl Broker {
    /// Starts one with the defaults of [`Setup`], and waits until it serves.
    ///
    /// # Errors
    /// Says why there is none, with the end of its log.
    pub fn start() -> Result<Broker> {
        Setup::default().start()
    }

    pub(crate) fn with(setup: Setup) -> Result<Broker> {
        Cluster::with(setup, 1).map(Cluster::into_first)
    }

    /// Formats the data where there is none, and starts the process.
    pub(crate) fn spawn(shared: Arc<Shared>, node: usize) -> Result<Broker> {
        let broker = Broker { shared, node, running: Mutex::new(None) };
        broker.launch()?;
        Ok(broker)
    }

    /// Its address, as clients are given it: `127.0.0.1:PORT`.
    pub fn bootstrap(&self) -> String {
        self.bootstrap_of(Listener::Plaintext)
    }

    /// Its address by another listener.
    ///
    /// # Panics
    /// When the setup has no such listener.
    pub fn bootstrap_of(&self, listener: Listener) -> String {
        let index = self.shared.setup.listeners.iter().position(|open| *open == listener);
        let index = index.unwrap_or_else(|| panic!("the setup opens no listener {listener:?}"));
        format!("127.0.0.1:{}", self.shared.ports[self.node].listeners[index])
    }

    /// The certificates of its TLS listeners.
    ///
    /// # Panics
    /// When the setup has no TLS listener.
    pub fn certificates(&self) -> &Certificates {
        self.shared.certificates.as_ref().expect("the setup opens no listener with TLS")
    }

    /// The id of its cluster, as `format` was given it.
    pub fn cluster_id(&self) -> &str {
        &self.shared.id
    }

    /// The jars it runs from, for Kafka's own tools and small Java programs.
    pub fn jars(&self) -> &Jars {
        &self.shared.jars
    }

    /// The process's id, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.lock().as_ref().map(|running| running.child.id())
    }

    /// The file it logs to, over all its restarts.
    pub fn log_file(&self) -> PathBuf {
        self.folder().join("log")
    }

    /// The folder of its properties, log and data.
    pub fn folder(&self) -> PathBuf {
        self.shared.folder(self.node)
    }

    pub(crate) fn cluster_folder(&self) -> &Path {
        self.shared.path()
    }

    /// Ends it at once, as a crash would (`kill -9`).
    ///
    /// # Errors
    /// When the process cannot be killed or waited for.
    pub fn kill(&self) -> Result<()> {
        let Some(mut running) = self.lock().take() else { return Ok(()) };
        let killed = running.child.kill().and_then(|()| running.child.wait());
        killed.map(drop).map_err(|error| Error::new(format!("the broker cannot be killed: {error}")))
    }

    /// Ends it in order, and waits until it has ended.
    ///
    /// # Errors
    /// When it has not ended in a minute; it is killed then.
    pub fn stop(&self) -> Result<()> {
        let Some(mut running) = self.lock().take() else { return Ok(()) };
        signal(&running.child, Signal::TERM)?;
        if process::wait(&mut running.child, STOP_TIME_MAX)?.is_some() {
            return Ok(());
        }
        let _ = running.child.kill();
        let _ = running.child.wait();
        Err(self.failed("did not stop in time, and was killed"))
    }

    /// Holds all its threads until [`resume`](Broker::resume) (`SIGSTOP`).
    ///
    /// # Errors
    /// When it does not run.
    pub fn suspend(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`suspend`](Broker::suspend) (`SIGCONT`).
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Starts it again on the same ports and data, killing it first if it runs; waits until it serves.
    ///
    /// # Errors
    /// Says why it does not serve, with the end of its log.
    pub fn restart(&self) -> Result<()> {
        self.kill()?;
        self.launch()?;
        self.wait_until_it_serves()
    }

    /// Kills it and deletes its data, as a lost disk would; [`restart`](Broker::restart) begins with an empty one.
    ///
    /// # Errors
    /// When the data cannot be deleted.
    pub fn wipe(&self) -> Result<()> {
        self.kill()?;
        let data = self.data();
        fs::remove_dir_all(&data).map_err(|error| Error::new(format!("{}: {error}", data.display())))
    }

    pub(crate) fn wait_until_it_serves(&self) -> Result<()> {
        let deadline = Instant::now() + START_TIME_MAX;
        while Instant::now() < deadline {
            if self.has_ended()? {
                return Err(self.failed("ended while starting"));
            }
            if self.says_that_it_serves() {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        Err(self.failed("did not serve in time"))
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.has_ended()? { Err(self.failed("has ended")) } else { Ok(()) }
    }

    fn has_ended(&self) -> Result<bool> {
        let mut running = self.lock();
        let Some(running) = running.as_mut() else { return Ok(true) };
        Ok(process::wait(&mut running.child, Duration::ZERO)?.is_some())
    }

    fn says_that_it_serves(&self) -> bool {
        let start = self.lock().as_ref().map_or(0, |running| running.log_start);
        let log = fs::read(self.log_file()).unwrap_or_default();
        log.get(start..).is_some_and(|own| String::from_utf8_lossy(own).contains(SERVES))
    }

    fn launch(&self) -> Result<()> {
        if !self.data().is_dir() {
            self.format()?;
        }
        let file = self.log_file();
        let log = OpenOptions::new().create(true).append(true).open(&file);
        let log = log.map_err(|error| Error::new(format!("{}: {error}", file.display())))?;
        let log_start = log.metadata().map_or(0, |metadata| metadata.len()) as usize;
        let child = process::spawn(self.command(log)?)?;
        *self.lock() = Some(Running { child, log_start });
        Ok(())
    }

    fn command(&self, log: File) -> Result<Command> {
        let twin = log.try_clone().map_err(|error| Error::new(format!("the log file: {error}")))?;
        let heap = self.shared.setup.heap_mib;
        let mut java = bound("java");
        java.args([&format!("-Xmx{heap}m"), &format!("-Xms{}m", heap.min(256)), "-XX:-UsePerfData"]);
        java.args(
            [
                "defaultLogLevel=info",
                "showDateTime=true",
                "dateTimeFormat=HH:mm:ss.SSS",
                "showThreadName=false",
            ]
            .map(logger),
        );
        java.arg("-cp").arg(self.jars().class_path()).arg("kafka.Kafka").arg(self.properties());
        java.stdin(Stdio::null()).stdout(log).stderr(twin);
        Ok(java)
    }

    fn format(&self) -> Result<()> {
        let properties = self.properties().display().to_string();
        let mut tool = self
            .jars()
            .tool("kafka.tools.StorageTool", &["format", "-t", &self.shared.id, "-c", &properties]);
        for (name, password) in &self.shared.setup.users {
            tool.arg("--add-scram").arg(format!("SCRAM-SHA-512=[name={name},password={password}]"));
        }
        for (name, level) in &self.shared.setup.features {
            tool.arg("--feature").arg(format!("{name}={level}"));
        }
        run(tool, START_TIME_MAX).map(drop)
    }

    fn signal(&self, signal_: Signal) -> Result<()> {
        let running = self.lock();
        let running = running.as_ref().ok_or_else(|| Error::new("the broker does not run"))?;
        signal(&running.child, signal_)
    }

    fn failed(&self, what: &str) -> Error {
        let log = tail(&self.log_file(), LOG_LINES);
        Error::new(format!("broker {} {what}; its log ends:\n{log}", self.node + 1))
    }

    fn properties(&self) -> PathBuf {
        self.shared.properties(self.node)
    }

    fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().expect("nothing panics while holding a broker's process")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("broker {} logged last:\n{}", self.node + 1, tail(&self.log_file(), LOG_LINES));
        }
        // Nobody is left to hear of a failure.
        let _ = self.kill();
    }
}

fn logger(setting: &str) -> String {
    format!("-Dorg.slf4j.simpleLogger.{setting}")
}

fn signal(child: &Child, signal: Signal) -> Result<()> {
    kill_process(Pid::from_child(child), signal)
        .map_err(|error| Error::new(format!("the broker cannot be sent a signal: {error}")))
}
