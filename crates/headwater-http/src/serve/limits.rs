//! What a server allows a client: sizes, times and numbers, each with a default that suits a public service.

use std::time::Duration;

/// The bounds that a server keeps whoever the client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most connections at once; the one that is idle longest gives way to a new one.
    ///
    /// The server uses less where the process may not open as many files.
    pub connections_max: usize,
    /// Most bytes of a request's line and headers (431 beyond).
    pub head_bytes_max: usize,
    /// Most bytes of a request's body (413 beyond).
    pub body_bytes_max: usize,
    /// Longest time from the first byte of a request to the end of its headers (408 beyond).
    pub head_timeout: Duration,
    /// Longest time that a handler waits for the body to be whole (408 beyond).
    pub body_timeout: Duration,
    /// Longest time a connection stays open without a request.
    pub keep_alive_timeout: Duration,
    /// Longest time without progress while an answer waits to be written, event streams included.
    pub stalled_write_timeout: Duration,
    /// Longest time that requests in flight get when the server stops.
    pub stop_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            head_bytes_max: 32 * 1_024,
            body_bytes_max: 1_024 * 1_024,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(75),
            stalled_write_timeout: Duration::from_secs(20),
            stop_timeout: Duration::from_secs(10),
        }
    }
}

/// Lets the process open as many files as the system allows it; returns how many those are.
///
/// Many systems allow 1,024 unless asked, of which a server uses three quarters for connections.
pub fn raise_open_files() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    // A system that refuses leaves the limit as it was, which is a limit to live with.
    let now = if setrlimit(Resource::Nofile, limit).is_ok() { limit.current } else { before };
    now.unwrap_or(u64::MAX)
}

impl Limits {
    /// How often deadlines are looked at: a quarter of the shortest, within 10 ms and 1 s.
    pub(crate) fn sweep_interval(&self) -> Duration {
        let shortest = [self.head_timeout, self.keep_alive_timeout, self.stalled_write_timeout]
            .into_iter()
            .min()
            .expect("three durations have a least one");
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// The connection cap under the process's limit of open files, a quarter of which stays for the rest.
    pub(crate) fn connections_allowed(&self) -> usize {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
        self.connections_max.min(files - files / 4).max(1)
    }
}
