//! What the figures depend on besides the peers: cores, and what an fsync costs where the data lies.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

/// The machine as far as it explains the figures.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// Hardware threads.
    pub cores: usize,
    /// Median time to append 512 B to a file and `fdatasync` it.
    pub fdatasync_ms: f64,
}

impl Machine {
    /// Looks at the machine, and syncs a scratch file below `dir`.
    ///
    /// # Errors
    ///
    /// A directory that cannot be written to.
    pub(crate) fn probe(dir: &Path) -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism()?.get();
        Ok(Self { cores, fdatasync_ms: fdatasync(dir)?.as_secs_f64() * 1e3 })
    }
}

fn fdatasync(dir: &Path) -> std::io::Result<Duration> {
    let file: File = tempfile::tempfile_in(dir)?;
    let mut times = Vec::new();
    for index in 0..201 {
        let began = Instant::now();
        file.write_all_at(&[1; 512], index * 512)?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}
