//! State on disk, in LMDB: one environment per store, so that the writers of different stores never wait for each other.
//!
//! A store is the directory `state/<name>` of a data directory, its name percent-encoded. What its rows look like is
//! drawn in `rows`. LMDB has no page checksums; so every row carries a seal that each read checks, and every page of a
//! store is walked before the engine opens it (`check`), or, where that would take long, while it serves already.

mod check;
mod environment;
mod rows;
mod store;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_core::store::{StateStore, StateStores, StoreError, StoreErrorKind};
use parking_lot::Mutex;

use self::environment::DATA_FILE;
use self::store::{LmdbStore, OpenStore};

/// How LMDB stores are opened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct LmdbOptions {
    /// The virtual size of a store's map; doubled when it is full.
    pub map_bytes: usize,
    /// The size that a store's map never exceeds; a store that would is full.
    pub map_bytes_max: usize,
    /// Stores up to this size are checked page by page before they open, larger ones while they serve.
    pub check_first_bytes_max: u64,
}

impl Default for LmdbOptions {
    fn default() -> Self {
        Self { map_bytes: 16 << 30, map_bytes_max: 1 << 44, check_first_bytes_max: 64 << 20 }
    }
}

/// The stores of a data directory.
///
/// The directory must belong to this process alone.
#[derive(Debug)]
pub struct LmdbStores {
    dir: PathBuf,
    options: LmdbOptions,
    open: Mutex<BTreeMap<String, Arc<OpenStore>>>,
}

impl LmdbStores {
    /// The stores below `data_dir`, in its directory `state`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Unavailable`] if the directory cannot be made.
    pub fn new(data_dir: impl AsRef<Path>, options: LmdbOptions) -> Result<Self, StoreError> {
        let dir = data_dir.as_ref().join("state");
        make_dir(&dir).map_err(|error| io_error(&dir, "cannot make the directory", error))?;
        Ok(Self { dir, options, open: Mutex::default() })
    }

    fn dir_of(&self, name: &str) -> PathBuf {
        self.dir.join(dir_name(name))
    }
}

impl StateStores for LmdbStores {
    fn open(&self, name: &str, tables: &[&str]) -> Result<Arc<dyn StateStore>, StoreError> {
        let mut open = self.open.lock();
        let store = match open.get(name) {
            Some(store) => store.clone(),
            None => {
                let dir = self.dir_of(name);
                make_dir(&dir).map_err(|error| io_error(&dir, "cannot make the directory", error))?;
                let store = Arc::new(OpenStore::open(name, &dir, &self.options)?);
                open.insert(name.to_owned(), store.clone());
                store
            }
        };
        let tables = store.number(tables)?;
        Ok(Arc::new(LmdbStore::new(store, tables)))
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.dir)? {
                let entry = entry?;
                if entry.path().join(DATA_FILE).exists() {
                    names.extend(entry.file_name().to_str().and_then(name_of));
                }
            }
            names.sort();
            Ok(names)
        };
        list().map_err(|error| io_error(&self.dir, "cannot be listed", error))
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let mut open = self.open.lock();
        if let Some(store) = open.remove(name) {
            store.close();
        }
        let dir = self.dir_of(name);
        remove_dir(&dir).map_err(|error| io_error(&dir, "cannot be removed", error))
    }
}

/// Removes the data first: a directory without it is no store, whenever the removal is cut off.
fn remove_dir(dir: &Path) -> io::Result<()> {
    let absent_is_fine = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    absent_is_fine(fs::remove_file(dir.join(DATA_FILE)))?;
    absent_is_fine(fs::remove_dir_all(dir))
}

/// Makes a directory and what is missing above it, each made durable in the one above.
fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_dir(above)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::File::open(above)?.sync_all(),
    }
}

fn io_error(path: &Path, what: &str, error: io::Error) -> StoreError {
    let kind = kind_of(&error);
    let message = format!("{}: {what}: {error}{}", path.display(), advice(kind));
    StoreError::new(kind, message).with_source(error)
}

/// What to do, where there is something; to be put behind a message.
fn advice(kind: StoreErrorKind) -> &'static str {
    if kind == StoreErrorKind::Full { "; free some space" } else { "" }
}

fn kind_of(error: &io::Error) -> StoreErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StoreErrorKind::Full
        }
        _ => StoreErrorKind::Unavailable,
    }
}

/// The directory of a store: its name, all but plain characters as `%` and two digits.
fn dir_name(name: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(name.len());
    for (place, byte) in name.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"_-@".contains(&byte) || (byte == b'.' && place > 0);
        if plain {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02x}").expect("a string takes whatever is written to it");
        }
    }
    if out.is_empty() { "%".to_owned() } else { out }
}

/// The store of a directory; `None` if none is called so.
fn name_of(dir: &str) -> Option<String> {
    if dir == "%" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(dir.len());
    let mut parts = dir.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok().filter(|name| dir_name(name) == dir)
}

#[cfg(test)]
#[path = "lmdb/tests.rs"]
mod tests;
