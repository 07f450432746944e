//! One LMDB environment: opened, grown, read and written.
//!
//! The map is virtual and larger than the file; when a write finds it full it is doubled and the write is made again.
//! A read lives in a closure, so no engine transaction outlives a call, and none is open while the map moves.

use std::fs;
use std::io;
use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, MdbError, RoTxn, RwTxn, WithoutTls};
use parking_lot::RwLock;

use crate::{engine_file, lock_file};

/// The engine's name of its data file.
pub(super) const DATA_FILE: &str = "data.mdb";

/// Reader slots: more than a runtime has threads.
const READERS_MAX: u32 = 1_024;

/// How often the map is doubled for one write, at most: from one page to everything an address reaches.
const DOUBLINGS_MAX: usize = 40;

/// The one table of an environment, of bytes by bytes.
pub(super) type Rows = Database<'static, Bytes, Bytes>;

/// An environment, open until it is closed.
pub(super) struct Environment {
    /// Held by every transaction; exclusively while the map moves, and to close.
    open: RwLock<Option<Open>>,
    map_bytes_max: usize,
}

struct Open {
    env: Env<WithoutTls>,
    rows: Rows,
    map_bytes: usize,
}

/// Why the engine did not do what it was asked.
#[derive(Debug)]
pub(super) enum EngineError {
    /// The environment is closed.
    Closed,
    /// The engine says so.
    Engine(heed::Error),
}

impl From<heed::Error> for EngineError {
    fn from(error: heed::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<io::Error> for EngineError {
    fn from(error: io::Error) -> Self {
        Self::Engine(error.into())
    }
}

impl Environment {
    /// Opens the environment of a directory, which exists; makes its files if there are none.
    pub(super) fn open(dir: &Path, map_bytes: usize, map_bytes_max: usize) -> Result<Self, EngineError> {
        let fresh = !dir.join(DATA_FILE).exists();
        let map_bytes = map_bytes.max(file_bytes(dir)?).next_multiple_of(1 << 16);
        lock_file::allocate(dir, READERS_MAX)?;
        let env = engine_file::open(dir, map_bytes, READERS_MAX, EnvFlags::empty())?;
        if fresh {
            fs::File::open(dir)?.sync_all()?;
        }
        let rows = env
            .open_databases_and_commit(env.read_txn()?, |opener, txn| {
                opener.open_database(txn, None).map(CommitOrAbort::<_, ()>::Commit)
            })?
            .commit()
            .flatten()
            .ok_or_else(|| io::Error::other("the engine has lost its main table"))?;
        Ok(Self { open: RwLock::new(Some(Open { env, rows, map_bytes })), map_bytes_max })
    }

    /// Closes it, when the calls that are under way have returned.
    pub(super) fn close(&self) {
        self.open.write().take();
    }

    /// Calls `with` on the environment, which stays open and where it is meanwhile.
    fn with<T, E: From<EngineError>>(&self, with: impl FnOnce(&Open) -> Result<T, E>) -> Result<T, E> {
        // Recursive, since a scan's visitor may read again while a growing writer waits.
        let open = self.open.read_recursive();
        with(open.as_ref().ok_or(EngineError::Closed)?)
    }

    /// Reads one snapshot.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&RoTxn<'_, WithoutTls>, &Rows) -> heed::Result<T>,
    ) -> Result<T, EngineError> {
        self.with(|open| Ok(read(&open.env.read_txn()?, &open.rows)?))
    }

    /// A snapshot that stays, whose pages are not reused meanwhile, and the file that they are in.
    pub(super) fn pin(&self) -> Result<(Pin, fs::File), EngineError> {
        self.with(|open| Ok((Pin(open.env.clone().static_read_txn()?), open.env.try_clone_inner_file()?)))
    }

    /// Writes in one transaction, durable on return; all of it or, with an error, nothing.
    ///
    /// `write` is called again after the map has grown.
    pub(super) fn write<E: From<EngineError>>(
        &self,
        mut write: impl FnMut(&mut RwTxn<'_>, &Rows) -> Result<(), E>,
        is_full: impl Fn(&E) -> bool,
    ) -> Result<(), E> {
        for _ in 0..DOUBLINGS_MAX {
            match self.with(|open| open.write(&mut write)) {
                Err(error) if is_full(&error) => self.grow()?,
                done => return done,
            }
        }
        Err(map_full().into())
    }

    fn grow(&self) -> Result<(), EngineError> {
        let mut open = self.open.write();
        let open = open.as_mut().ok_or(EngineError::Closed)?;
        let doubled = open.map_bytes.checked_mul(2).filter(|bytes| *bytes <= self.map_bytes_max);
        let doubled = doubled.ok_or_else(map_full)?;
        // Every transaction of this process is made under the shared lock that is held exclusively here, except a pin,
        // through which nothing is read, and whose end touches the lock file's map only.
        engine_file::resize(&open.env, doubled)?;
        open.map_bytes = doubled;
        Ok(())
    }

    /// Bytes up to the last page that was ever used; none when it is closed.
    pub(super) fn size_bytes(&self) -> u64 {
        self.open.read_recursive().as_ref().map_or(0, |open| {
            let page_bytes = u64::from(open.env.unnamed_database_stat().page_size);
            (open.env.info().last_page_number as u64 + 1) * page_bytes
        })
    }
}

impl Open {
    fn write<E: From<EngineError>>(
        &self,
        write: &mut impl FnMut(&mut RwTxn<'_>, &Rows) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut txn = self.env.write_txn().map_err(EngineError::from)?;
        write(&mut txn, &self.rows)?;
        Ok(txn.commit().map_err(EngineError::from)?)
    }
}

fn map_full() -> EngineError {
    EngineError::Engine(MdbError::MapFull.into())
}

fn file_bytes(dir: &Path) -> io::Result<usize> {
    match fs::metadata(dir.join(DATA_FILE)) {
        Ok(metadata) => Ok(usize::try_from(metadata.len()).unwrap_or(usize::MAX / 2)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Keeps the pages of one snapshot from being reused.
pub(super) struct Pin(RoTxn<'static, WithoutTls>);

impl Pin {
    /// The transaction that the snapshot shows.
    pub(super) fn txn(&self) -> u64 {
        self.0.id() as u64
    }
}
