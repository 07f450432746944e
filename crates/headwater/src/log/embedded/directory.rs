//! The data directory: whose it is, which format it has, who holds it, and whether it was left in order.
//!
//! ```text
//! DIR/format     "headwater 1\n": made first, in an empty directory only
//! DIR/lock       locked while a process holds the directory; its text is that process's pid
//! DIR/log/       the engine's files
//! DIR/log.new/   a log that is being made or copied; removed when found
//! DIR/clean      there while the log is closed in good order
//! DIR/kafka/     what a process keeps that uses a Kafka cluster (`runtime/open_kafka.rs`)
//! ```
//!
//! Invariants: nothing is written to a directory that is not ours; `log` appears whole, by a rename; `clean` is removed
//! before the first write.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{OpenError, OpenErrorKind};

/// The format that this version writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// A log that was just dropped may still be read by a task that nobody waits for, and a process that was just killed
/// may not be gone yet.
const LOCK_TRIES: u32 = 25;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

const FORMAT_FILE: &str = "format";
const LOCK_FILE: &str = "lock";
const CLEAN_FILE: &str = "clean";
const LOG: &str = "log";
const LOG_NEW: &str = "log.new";

/// A data directory that this process holds, until dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Takes hold of `path`, making the directory if there is none.
    pub(crate) fn hold(path: &Path) -> Result<Self, OpenError> {
        refuse_foreign(path)?;
        fs::create_dir_all(path).map_err(|error| failed("make", path, error))?;
        let lock = lock(path)?;
        if !path.join(FORMAT_FILE).exists() {
            write_whole(path, FORMAT_FILE, &format!("headwater {FORMAT}\n"))
                .map_err(|error| failed("write to", path, error))?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the engine's files are.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// An empty place beside it.
    pub(super) fn scratch(&self) -> Result<PathBuf, OpenError> {
        let scratch = self.path.join(LOG_NEW);
        match fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir(&scratch),
        }
        .map_err(|error| failed("write to", &scratch, error))?;
        Ok(scratch)
    }

    /// Makes the scratch place the log.
    pub(super) fn adopt(&self, scratch: &Path) -> Result<(), OpenError> {
        fs::rename(scratch, self.log())
            .and_then(|()| sync_directory(&self.path))
            .map_err(|error| failed("write to", &self.path, error))
    }

    /// Removes the scratch place and makes what was renamed out of it durable.
    pub(super) fn drop_scratch(&self, scratch: &Path) -> Result<(), OpenError> {
        sync_directory(&self.log())
            .and_then(|()| fs::remove_dir_all(scratch))
            .map_err(|error| failed("write to", &self.path, error))
    }

    /// Whether the log was closed in good order; from now on it is not.
    pub(super) fn take_clean(&self) -> Result<bool, OpenError> {
        match fs::remove_file(self.path.join(CLEAN_FILE)) {
            Ok(()) => {
                sync_directory(&self.path).map_err(|error| failed("write to", &self.path, error))?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed("write to", &self.path, error)),
        }
    }

    /// Says that the log is closed in good order.
    pub(super) fn put_clean(&self) -> io::Result<()> {
        write_whole(&self.path, CLEAN_FILE, "")
    }
}

/// Refuses a directory that is not ours, or newer than we are, without touching it.
fn refuse_foreign(path: &Path) -> Result<(), OpenError> {
    match fs::read_to_string(path.join(FORMAT_FILE)) {
        Ok(text) => return check_format(path, &text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(foreign(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(foreign(path)),
        Err(error) => return Err(failed("read", path, error)),
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read", path, error)),
    };
    for entry in entries {
        let name = entry.map_err(|error| failed("read", path, error))?.file_name();
        // A process that was killed in its first moment leaves these.
        if name != LOCK_FILE && name != "format.new" {
            return Err(foreign(path));
        }
    }
    Ok(())
}

fn check_format(path: &Path, text: &str) -> Result<(), OpenError> {
    let version = text.strip_prefix("headwater ").and_then(|version| version.trim_end().parse::<u32>().ok());
    match version {
        Some(version) if version <= FORMAT => Ok(()),
        Some(version) => Err(OpenError::new(
            OpenErrorKind::Newer,
            format!(
                "{} has format {version} and this program reads formats up to {FORMAT}: \
                 start the newer program that wrote it, or give another data directory",
                path.display()
            ),
        )),
        None => Err(foreign(path)),
    }
}

fn foreign(path: &Path) -> OpenError {
    OpenError::new(
        OpenErrorKind::Foreign,
        format!(
            "{} holds other files and is no data directory of Headwater: give an empty or a new directory",
            path.display()
        ),
    )
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let file = path.join(LOCK_FILE);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&file);
    let mut lock = opened.map_err(|error| failed("write to", path, error))?;
    for attempt in 0.. {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(failed("lock", path, error)),
            Err(TryLockError::WouldBlock) if attempt == LOCK_TRIES => return Err(locked(path, &mut lock)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .map_err(|error| failed("write to", path, error))?;
    Ok(lock)
}

fn locked(path: &Path, lock: &mut File) -> OpenError {
    let mut pid = String::new();
    // The holder writes its pid right after it has locked; a moment before that the file may be empty.
    let holder = match lock.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
        _ => "another process".to_owned(),
    };
    OpenError::new(
        OpenErrorKind::Locked,
        format!("{} is in use by {holder}: stop it, or give another data directory", path.display()),
    )
}

fn failed(what: &str, path: &Path, error: io::Error) -> OpenError {
    let kind = OpenErrorKind::of_io(&error);
    let advice = kind.advice();
    OpenError::new(kind, format!("cannot {what} {}: {error}{advice}", path.display())).with_source(error)
}

/// Writes a file so that it is there whole or not at all.
pub(crate) fn write_whole(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, dir.join(name))?;
    sync_directory(dir)
}

fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
