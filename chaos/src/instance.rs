//! One instance of the service as a process: started, killed, held, let go on, robbed of its data.
//!
//! What it prints goes to a file of its own, over all its lives, for whoever has to understand a failed run.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const STOP_TIME_MAX: Duration = Duration::from_secs(30);

/// How an instance is started.
#[derive(Debug, Clone)]
pub struct Service {
    /// The program.
    pub binary: PathBuf,
    /// What it is to run: `all`, `command` or `query`.
    pub role: &'static str,
    /// The log it is to use, as `--log` takes it.
    pub log: String,
    /// More settings, as environment variables.
    pub settings: Vec<(String, String)>,
}

impl Service {
    /// The service with all its parts, on the broker at this address.
    pub fn on_kafka(binary: PathBuf, broker: &str) -> Self {
        // One broker keeps no replicas: the service has to be told that this is meant.
        let settings = ["HEADWATER_KAFKA_REPLICATION", "HEADWATER_KAFKA_MIN_IN_SYNC"];
        let settings = settings.map(|name| (name.to_owned(), "1".to_owned())).to_vec();
        Self { binary, role: "all", log: format!("kafka://{broker}"), settings }
    }

    /// The same with one more setting, as an environment variable.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A process of the service, in one life or another; killed when dropped.
pub struct Instance {
    service: Service,
    name: String,
    address: SocketAddr,
    data: PathBuf,
    output: PathBuf,
    child: Option<Child>,
}

impl Instance {
    /// An instance that does not run yet, with its data and its output below `folder`.
    ///
    /// # Errors
    /// When there is no port, or no folder can be made.
    pub fn new(service: Service, name: &str, folder: &Path) -> io::Result<Self> {
        let data = folder.join(format!("{name}.data"));
        fs::create_dir_all(&data)?;
        let output = folder.join(format!("{name}.log"));
        Ok(Self { service, name: name.to_owned(), address: free_address()?, data, output, child: None })
    }

    /// Its name, which its files bear.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it serves HTTP, in all its lives.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its data is.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What it has printed, in all its lives.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Starts it, killing it first if it runs.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(&mut self) -> io::Result<()> {
        self.kill()?;
        let mut output = self.open_output()?;
        writeln!(output, "--- starts")?;
        let mut command = bound(&self.service.binary);
        command
            .args(["--log", &self.service.log, "--role", self.service.role])
            .args(["--listen", &self.address.to_string()])
            .arg("--data")
            .arg(&self.data);
        for name in std::env::vars_os().map(|(name, _)| name) {
            // The service refuses settings that it does not know, and is to have none but ours.
            if name.to_string_lossy().starts_with("HEADWATER_") {
                command.env_remove(name);
            }
        }
        command.envs(self.service.settings.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Starts it again if it ended by itself because it could not open its log; answers whether it did.
    ///
    /// # Errors
    /// When it ended for another reason, or cannot be started.
    pub fn revive(&mut self) -> Result<bool, String> {
        if !self.has_ended() {
            return Ok(false);
        }
        let output = self.output();
        let last = output.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
        if !last.contains(": the log: ") {
            return Err(format!("{} ended by itself; it said last: {last}", self.name));
        }
        self.start().map(|()| true).map_err(|error| error.to_string())
    }

    /// Ends it at once (`kill -9`).
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        // It may have ended by itself.
        let _ = child.kill();
        child.wait()?;
        self.open_output().and_then(|mut output| writeln!(output, "--- killed"))
    }

    /// Ends it in order (`SIGTERM`); kills it if that takes too long, and answers whether it did not.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn stop(&mut self) -> io::Result<bool> {
        self.signal(Signal::TERM)?;
        let Some(child) = self.child.as_mut() else { return Ok(true) };
        let deadline = Instant::now() + STOP_TIME_MAX;
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.kill()?;
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child = None;
        Ok(true)
    }

    /// Holds all its threads (`SIGSTOP`).
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn hold(&mut self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (`SIGCONT`).
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn let_go(&mut self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills it and takes its data away.
    ///
    /// # Errors
    /// When the data cannot be removed.
    pub fn wipe(&mut self) -> io::Result<()> {
        self.kill()?;
        fs::remove_dir_all(&self.data)?;
        fs::create_dir_all(&self.data)
    }

    fn signal(&mut self, signal: Signal) -> io::Result<()> {
        match &self.child {
            Some(child) => Ok(kill_process(Pid::from_child(child), signal)?),
            None => Ok(()),
        }
    }

    fn open_output(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(&self.output)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure.
        let _ = self.kill();
    }
}

/// A program that the kernel kills when the thread that started it is gone (prctl(2), `PR_SET_PDEATHSIG`).
///
/// The run starts its instances from the thread that lives as long as the process.
fn bound(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// An address that nobody listens on, below the ports that systems give to outgoing connections.
fn free_address() -> io::Result<SocketAddr> {
    const PORTS: std::ops::Range<u16> = 12_000..20_900;
    let free = std::iter::repeat_with(|| fastrand::u16(PORTS)).take(1_000).find_map(|port| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        TcpListener::bind(address).is_ok().then_some(address)
    });
    free.ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, format!("no port of {PORTS:?} is free")))
}
