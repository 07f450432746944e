//! The temporary folder of a cluster: its brokers' data, properties and logs.
//!
//! A folder is named after the process that made it. Where that process could not remove it (it was killed, or held the
//! broker in a static), the next one to start a broker does.

use std::env;
use std::fs;
use std::path::Path;
use std::sync::Once;

use tempfile::TempDir;

use crate::error::{Error, Result};

const PREFIX: &str = "headwater-kafka-";

pub(crate) fn make() -> Result<TempDir> {
    static SWEEP: Once = Once::new();
    SWEEP.call_once(remove_left_behind);
    let prefix = format!("{PREFIX}{}-", std::process::id());
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir();
    folder.map_err(|error| {
        Error::new(format!("cannot make a folder in {}: {error}", env::temp_dir().display()))
    })
}

fn remove_left_behind() {
    let Ok(entries) = fs::read_dir(env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // Another process may be removing it, too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
