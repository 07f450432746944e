//! Child processes that never outlive this one, and end in bounded time.
//!
//! `setpriv` asks the kernel to kill the child when its parent dies, however it dies (prctl(2), `PR_SET_PDEATHSIG`). The
//! kernel means the *thread* that started the child, and a test's thread ends long before its process does: one thread
//! that never ends starts them all.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

const POLL: Duration = Duration::from_millis(20);

/// A command to start, and where the started child goes.
struct Order(Command, SyncSender<io::Result<Child>>);

/// `program`, to be killed by the kernel when this process is gone.
pub(crate) fn bound(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    // Ctrl-C on a terminal is for this process, which then ends the child in order.
    command.process_group(0);
    command
}

/// Starts a command of [`Jars`](crate::Jars) that ends with this process, not with the thread that asked for it.
///
/// # Errors
/// Says that it could not start.
pub fn spawn(command: Command) -> Result<Child> {
    static STARTER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| Mutex::new(starter()));
    let name = command.get_program().to_string_lossy().into_owned();
    let (reply, started) = sync_channel(1);
    starter
        .lock()
        .expect("nothing panics while holding the starter")
        .send(Order(command, reply))
        .expect("the starter's thread never ends");
    let child = started.recv().expect("the starter answers every order");
    child.map_err(|error| Error::new(format!("cannot start {name}: {error}")))
}

fn starter() -> Sender<Order> {
    let (orders, waiting) = channel::<Order>();
    thread::spawn(move || {
        for Order(mut command, reply) in waiting {
            // Whoever ordered waits for the reply.
            let _ = reply.send(command.spawn());
        }
    });
    orders
}

/// Waits for the child's end; `None` when it takes longer than `limit`.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        let status = child.try_wait();
        let status = status.map_err(|error| Error::new(format!("cannot wait for a child: {error}")))?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        thread::sleep(POLL);
    }
}

/// Runs a command to its end and answers what it printed; kills it after `limit`.
///
/// # Errors
/// Says that it could not start, failed (with what it printed), or took too long.
pub fn run(mut command: Command, limit: Duration) -> Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(spawn(command)?, limit)
}

/// As [`run`], with something to read on the program's standard input.
///
/// # Errors
/// As [`run`].
pub fn run_with_input(mut command: Command, input: &str, limit: Duration) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command)?;
    let mut pipe = child.stdin.take().expect("the input is piped");
    let input = input.to_owned();
    // A program that ends before it has read everything says so by its status.
    thread::spawn(move || pipe.write_all(input.as_bytes()));
    finish(child, limit)
}

fn finish(child: Child, limit: Duration) -> Result<String> {
    let pid = rustix::process::Pid::from_child(&child);
    let (reply, output) = channel();
    thread::spawn(move || reply.send(child.wait_with_output()));
    let Ok(output) = output.recv_timeout(limit) else {
        // It may have ended in this moment; then there is nothing to kill.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        return Err(Error::new(format!("a program took longer than {} s and was killed", limit.as_secs())));
    };
    printed(output.map_err(|error| Error::new(format!("cannot read a child's output: {error}")))?)
}

fn printed(output: Output) -> Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("a program ended with {}:\n{}\n{}", output.status, text.trim(), error.trim())))
}

/// The last lines of a file, for an error.
pub(crate) fn tail(file: &Path, lines: usize) -> String {
    let text = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
