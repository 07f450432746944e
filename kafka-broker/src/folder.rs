//! The folder of a cluster: its brokers' data, properties and logs, and the cluster's id.
//!
//! A temporary folder is named after the process that made it. Where that process could not remove it (it was killed, or
//! held the broker in a static), the next one to start a broker does. A folder that is kept belongs to its user: a later
//! cluster in it is the same one, on other ports.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use tempfile::TempDir;

use crate::error::{Error, Result};

const PREFIX: &str = "headwater-kafka-";

/// The cluster's id, as long as the folder is there.
const ID_FILE: &str = "cluster-id";

pub(crate) enum Folder {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Folder {
    /// The folder at this path, made where it is missing; a temporary one where there is no path.
    pub(crate) fn open(kept: Option<&Path>) -> Result<Folder> {
        let Some(path) = kept else { return scratch().map(Folder::Temporary) };
        let name = path.display();
        let path = fs::create_dir_all(path).and_then(|()| path.canonicalize());
        path.map(Folder::Kept).map_err(|error| Error::new(format!("{name}: {error}")))
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Folder::Temporary(folder) => folder.path(),
            Folder::Kept(path) => path,
        }
    }

    pub(crate) fn of_broker(&self, node: usize) -> PathBuf {
        self.path().join(format!("broker-{}", node + 1))
    }

    /// The id of the cluster that it holds; `new` is kept where it holds none.
    pub(crate) fn cluster_id(&self, new: String) -> Result<String> {
        let file = self.path().join(ID_FILE);
        let kept = match fs::read_to_string(&file) {
            Ok(id) => return Ok(id.trim().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => fs::write(&file, &new),
            Err(error) => Err(error),
        };
        kept.map(|()| new).map_err(|error| Error::new(format!("{}: {error}", file.display())))
    }

    /// Refuses a folder that holds a cluster of another size: its brokers would wait for each other in vain.
    pub(crate) fn check_size(&self, brokers: usize) -> Result<()> {
        let there = (0..).take_while(|node| self.of_broker(*node).is_dir()).count();
        if there == 0 || there == brokers {
            return Ok(());
        }
        let path = self.path().display();
        Err(Error::new(format!("{path} holds a cluster of {there}; start {there}, or name another folder")))
    }
}

/// A temporary folder that goes with its owner, or where that could not remove it, before the next one is made.
///
/// # Errors
/// When it cannot be made.
pub fn scratch() -> Result<TempDir> {
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
