//! A PostgreSQL cluster of our own: made in a directory, reached over a unix socket in it, stopped when dropped.
//!
//! The server runs with its durable defaults spelled out (`fsync`, `synchronous_commit`, `full_page_writes`), and
//! with room enough that neither checkpoints nor its cache stand in its way. It listens on no network address.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};

const USER: &str = "bench";
const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

const SETTINGS: [&str; 9] = [
    "listen_addresses=",
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "shared_buffers=512MB",
    "max_wal_size=8GB",
    "max_connections=100",
    "log_checkpoints=off",
    // Refused duplicates are the version check at work, not news.
    "log_min_messages=fatal",
];

/// A running server and where to reach it.
pub(crate) struct Cluster {
    server: Child,
    home: PathBuf,
}

impl Cluster {
    /// Makes a cluster below `dir` and starts its server, as another user if we are root.
    ///
    /// # Errors
    ///
    /// Server programs that are not in `bin`, or a server that did not start; with its log.
    pub(crate) async fn start(bin: &Path, dir: &Path) -> anyhow::Result<Self> {
        let user = server_user()?;
        let home = dir.join("postgres");
        fs::create_dir(&home)?;
        if let Some((uid, gid)) = user {
            chown(&home, Some(uid), Some(gid))?;
            open_to_others(dir)?;
        }
        initialise(bin, &home, user)?;
        let mut cluster = Self { server: spawn_server(bin, &home, user)?, home };
        cluster.await_ready().await?;
        Ok(cluster)
    }

    /// Opens a pool of connections to the server.
    ///
    /// # Errors
    ///
    /// A server that takes no connection.
    pub(crate) async fn connect(&self, connections: u32) -> sqlx::Result<PgPool> {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(&self.home)
            .port(5432)
            .username(USER)
            .database("postgres")
            .ssl_mode(PgSslMode::Disable);
        // The server is on the same machine and outlives the pool: asking before each use whether a
        // connection still works would cost the peer a round trip for each statement.
        PgPoolOptions::new()
            .max_connections(connections)
            .test_before_acquire(false)
            .connect_with(options)
            .await
    }

    async fn await_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let Err(error) = self.connect(1).await else { return Ok(()) };
            let ended = self.server.try_wait()?.is_some();
            if ended || Instant::now() > deadline {
                bail!("the PostgreSQL server did not start: {error}\n{}", log(&self.home));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.server.id()).ok().and_then(Pid::from_raw);
        // A failure means that the server has ended already, which is what the signal is for.
        let _ = pid.map(|pid| kill_process(pid, signal));
    }

    fn ends_within(&mut self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            if !matches!(self.server.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        false
    }
}

impl Drop for Cluster {
    /// Asks for a fast shutdown (SIGINT, which closes sessions), and insists if that takes too long.
    fn drop(&mut self) {
        self.signal(Signal::INT);
        if !self.ends_within(STOP_TIMEOUT) {
            self.signal(Signal::KILL);
            self.ends_within(STOP_TIMEOUT);
        }
    }
}

type UserAndGroup = (u32, u32);

/// Whom the server runs as: PostgreSQL refuses root.
fn server_user() -> anyhow::Result<Option<UserAndGroup>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("cannot read the users of this machine")?;
    let user = ["postgres", "nobody"].iter().find_map(|name| find_user(&users, name));
    Ok(Some(user.context("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`")?))
}

fn find_user(users: &str, name: &str) -> Option<UserAndGroup> {
    let fields: Vec<_> = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).collect();
    let user = fields.iter().find(|fields| fields[0] == name)?;
    Some((user.get(2)?.parse().ok()?, user.get(3)?.parse().ok()?))
}

/// Lets the server's user pass through our directory to its own.
fn open_to_others(dir: &Path) -> anyhow::Result<()> {
    let mut permissions = fs::metadata(dir)?.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o711);
    Ok(fs::set_permissions(dir, permissions)?)
}

fn initialise(bin: &Path, home: &Path, user: Option<UserAndGroup>) -> anyhow::Result<()> {
    // No password is asked for: the socket lies in a directory that only its owner and root can enter.
    let status = program(bin, "initdb", home, user)?
        .args(["--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8", "--username", USER, "--pgdata"])
        .arg(home.join("data"))
        .status()?;
    ensure!(status.success(), "initdb failed: {status}\n{}", log(home));
    Ok(())
}

fn spawn_server(bin: &Path, home: &Path, user: Option<UserAndGroup>) -> anyhow::Result<Child> {
    let mut server = program(bin, "postgres", home, user)?;
    server.arg("-D").arg(home.join("data")).arg("-k").arg(home);
    for setting in SETTINGS {
        server.args(["-c", setting]);
    }
    Ok(server.spawn()?)
}

/// A server program with its output in the cluster's log.
fn program(bin: &Path, name: &str, home: &Path, user: Option<UserAndGroup>) -> anyhow::Result<Command> {
    let path = bin.join(name);
    ensure!(
        path.is_file(),
        "the PostgreSQL server program {} is missing: install the Debian package `postgresql`, \
         or name another directory with --postgres-bin",
        path.display()
    );
    let output = File::options().create(true).append(true).open(home.join("log"))?;
    let mut command = Command::new(path);
    command.current_dir(home).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    Ok(command)
}

fn log(home: &Path) -> String {
    fs::read_to_string(home.join("log")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\n\nbroken:x\npostgres:x:101:104::/var:/bin/sh\n";
        assert_eq!(find_user(users, "postgres"), Some((101, 104)));
        assert_eq!(find_user(users, "broken"), None);
        assert_eq!(find_user(users, "nobody"), None);
    }

    #[tokio::test]
    async fn a_missing_server_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = Cluster::start(&dir.path().join("nowhere"), dir.path()).await.err().unwrap().to_string();
        assert!(error.contains("nowhere/initdb is missing"), "{error}");
        assert!(error.contains("`postgresql`"), "{error}");
    }
}
