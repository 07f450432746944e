//! One LMDB environment: opened, grown, read and written. The one module of the stores with `unsafe`.
//!
//! The map is virtual and larger than the file; when a write finds it full it is doubled and the write is made again.
//! A read lives in a closure, so no engine transaction outlives a call, and none is open while the map moves.

#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};
use parking_lot::RwLock;

/// The engine's name of its data file.
pub(super) const DATA_FILE: &str = "data.mdb";

/// How often the map is doubled for one write, at most: from one page to everything an address reaches.
const DOUBLINGS_MAX: usize = 40;

/// The one table of an environment, of bytes by bytes.
pub(super) type Rows = Database<'static, Bytes, Bytes>;

/// An open environment.
pub(super) struct Environment {
    env: Env<WithoutTls>,
    rows: Rows,
    /// Held by every transaction, and exclusively while the map moves.
    map: RwLock<MapBytes>,
    map_bytes_max: usize,
}

struct MapBytes(usize);

impl Environment {
    /// Opens the environment of a directory, which exists; makes its files if there are none.
    pub(super) fn open(dir: &Path, map_bytes: usize, map_bytes_max: usize) -> heed::Result<Self> {
        let fresh = !dir.join(DATA_FILE).exists();
        let map_bytes = map_bytes.max(file_bytes(dir)?).next_multiple_of(1 << 16);
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(map_bytes).max_readers(1_024);
        // SAFETY: no unsafe flag is set. The directory belongs to this process alone (its lock file says so), and heed
        // refuses to open one environment twice in a process.
        let env = unsafe { options.open(dir)? };
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
        Ok(Self { env, rows, map: RwLock::new(MapBytes(map_bytes)), map_bytes_max })
    }

    /// Reads one snapshot.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&RoTxn<'_, WithoutTls>, &Rows) -> heed::Result<T>,
    ) -> heed::Result<T> {
        // Recursive, since a scan's visitor may read again while a growing writer waits.
        let _map = self.map.read_recursive();
        let txn = self.env.read_txn()?;
        read(&txn, &self.rows)
    }

    /// A snapshot that stays, whose pages are not reused meanwhile. Nothing may be read through it, see `grow`.
    pub(super) fn pin(&self) -> heed::Result<Pin> {
        let _map = self.map.read_recursive();
        Ok(Pin(self.env.clone().static_read_txn()?))
    }

    /// Writes in one transaction, durable on return; all of it or, with an error, nothing.
    ///
    /// `write` is called again after the map has grown.
    pub(super) fn write<E: From<heed::Error>>(
        &self,
        mut write: impl FnMut(&mut RwTxn<'_>, &Rows) -> Result<(), E>,
        is_full: impl Fn(&E) -> bool,
    ) -> Result<(), E> {
        for _ in 0..DOUBLINGS_MAX {
            match self.write_once(&mut write) {
                Err(error) if is_full(&error) => self.grow()?,
                done => return done,
            }
        }
        Err(heed::Error::Mdb(MdbError::MapFull).into())
    }

    fn write_once<E: From<heed::Error>>(
        &self,
        write: &mut impl FnMut(&mut RwTxn<'_>, &Rows) -> Result<(), E>,
    ) -> Result<(), E> {
        let _map = self.map.read_recursive();
        let mut txn = self.env.write_txn()?;
        write(&mut txn, &self.rows)?;
        Ok(txn.commit()?)
    }

    fn grow(&self) -> heed::Result<()> {
        let mut map = self.map.write();
        let doubled =
            map.0.checked_mul(2).filter(|bytes| *bytes <= self.map_bytes_max).ok_or(MdbError::MapFull)?;
        // SAFETY: every transaction of this process is made under the shared lock that is held exclusively here, except
        // a pin, through which nothing is read, and whose end touches the lock file's map only.
        unsafe { self.env.resize(doubled)? };
        map.0 = doubled;
        Ok(())
    }

    /// The file that the environment keeps its pages in, for reading.
    pub(super) fn file(&self) -> heed::Result<fs::File> {
        self.env.try_clone_inner_file()
    }

    /// Bytes up to the last page that was ever used.
    pub(super) fn size_bytes(&self) -> u64 {
        let _map = self.map.read_recursive();
        let page_bytes = u64::from(self.env.unnamed_database_stat().page_size);
        (self.env.info().last_page_number as u64 + 1) * page_bytes
    }
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
