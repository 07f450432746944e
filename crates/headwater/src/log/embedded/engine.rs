//! LMDB: opened, written, synced and sealed.
//!
//! Invariants:
//!
//! - A transaction is durable when [`Writing::commit`] returns: LMDB syncs the pages before it writes the meta page
//!   (`NO_META_SYNC`), the meta page is sealed with our checksum, and then the file is synced again.
//! - The file is grown before it is written, so that a full disk is noticed before anything is at stake.
//! - A [`Snapshot`] holds LMDB's reader slot, so that its pages stay as they are, and cannot be held across an await.
//! - Nothing is read through LMDB's map.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use headwater_core::log::{LogError, LogErrorKind, LogId};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, MdbError, RoTxn, RwTxn, WithoutTls};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use super::error::{OpenError, OpenErrorKind};
use super::format::{COMMIT_KEY, Cell, Commit, WHOLE, cell};
use super::options::Options;
use super::page::{Damage, Meta, PageFile, Seal, page_bytes_of};
use super::tree::{Cursor, check_structure};
use crate::{engine_file, lock_file};

/// The file that LMDB keeps everything in.
pub(super) const DATA_FILE: &str = "data.mdb";

/// The map is virtual: as much as the system lets us reserve, between these.
const MAP_BYTES_FIRST: u64 = 1 << 40;
const MAP_BYTES_LEAST: u64 = 1 << 30;

/// A size limit is rounded down to this, a multiple of every page size, and is not below it.
const LIMIT_STEP: u64 = 1 << 20;

/// The file grows by an eighth, between these.
const GROWTH_LEAST: u64 = 1 << 20;
const GROWTH_MOST: u64 = 64 << 20;

/// Reader slots: more than a runtime has threads.
const READERS_MAX: u32 = 1_024;

/// A reader that begins between a commit and its announcement tries again.
const SNAPSHOT_TRIES: u32 = 10_000;

/// How long a process that reads may outlive the one that wrote, and how often it is looked at meanwhile.
const OUTLIVED_MAX: Duration = Duration::from_secs(10);
const OUTLIVED_PAUSE: Duration = Duration::from_millis(20);

/// Files above this are not walked at once when they are opened: their branches would take too long to read.
const STRUCTURE_BYTES_MAX: u64 = 16 << 30;

/// The engine of one log.
pub(super) struct Engine {
    env: Env<WithoutTls>,
    table: Database<'static, Bytes, Bytes>,
    pub(super) pages: PageFile,
    path: PathBuf,
    /// The last committed roots.
    meta: Mutex<Meta>,
    /// Whether another process writes.
    is_reader: bool,
    /// Held for reading by every transaction of a reader; for writing while the map is replaced.
    gate: RwLock<()>,
    map_bytes: AtomicU64,
    pub(super) bytes_max: Option<u64>,
    pub(super) reserved: AtomicU64,
    /// How far the file has been written ahead of its used part.
    pub(super) written: AtomicU64,
    #[cfg(any(test, feature = "testing"))]
    faults: super::testing::Faults,
}

/// Why a transaction of the engine did not come about.
#[derive(Debug)]
pub(super) enum WriteError {
    /// No space; nothing was written.
    Full(String),
    /// More than one transaction of the engine can hold; nothing was written.
    TooLarge(String),
    /// It is unknown what was written; the engine must be opened again.
    Unknown(String),
}

impl Engine {
    /// Makes an empty log in `dir`, which must exist, and closes it again.
    pub(super) fn create(dir: &Path, log: LogId, options: &Options) -> Result<(), OpenError> {
        let (env, _) = open_env(dir, options, EnvFlags::empty())?;
        write_commit(&env, log).map_err(|error| OpenError::io("cannot create the log", dir, error))?;
        close(env);
        seal_all(dir)
    }

    /// Opens the log in `dir`, after checking that nothing in it can lead the engine astray.
    pub(super) fn open(dir: &Path, options: &Options) -> Result<(Self, Commit), OpenError> {
        let file = open_file(dir)?;
        let (meta, commit) = check_before_open(&file, dir)?;
        let page_bytes = page_bytes_of(&file).unwrap_or_default();
        let reserved = file.metadata().map(|data| data.len()).unwrap_or_default();
        let (env, map_bytes) = open_env_at(dir, options, meta.txn)?;
        let table = open_table(&env).map_err(|error| OpenError::io("cannot open the log", dir, error))?;
        let engine = Self {
            env,
            table,
            pages: PageFile::new(file, page_bytes),
            path: dir.join(DATA_FILE),
            meta: Mutex::new(meta),
            is_reader: false,
            gate: RwLock::new(()),
            map_bytes: AtomicU64::new(map_bytes),
            bytes_max: options.bytes_max,
            reserved: AtomicU64::new(reserved),
            written: AtomicU64::new(0),
            #[cfg(any(test, feature = "testing"))]
            faults: options.faults.clone(),
        };
        engine.seal(meta).map_err(|damage| OpenError::damaged(dir, &damage))?;
        #[cfg(any(test, feature = "testing"))]
        engine.faults.take_image(&engine.path);
        Ok((engine, commit))
    }

    /// Opens the log in `dir` to read it, while another process, whose it is, writes.
    pub(super) fn open_beside(dir: &Path) -> Result<Self, OpenError> {
        let file = File::open(dir.join(DATA_FILE));
        let file = file.map_err(|error| OpenError::io("cannot open", dir, error.into()))?;
        let page_bytes = page_bytes_of(&file).unwrap_or_default();
        let pages = PageFile::new(file, page_bytes);
        let meta = pages.read_meta(0).map_err(|damage| OpenError::damaged(dir, &damage))?;
        let options = Options::default();
        let (env, map_bytes) = open_env(dir, &options, EnvFlags::READ_ONLY)?;
        let table = open_table(&env).map_err(|error| OpenError::io("cannot open the log", dir, error))?;
        Ok(Self {
            env,
            table,
            pages,
            path: dir.join(DATA_FILE),
            meta: Mutex::new(meta),
            is_reader: true,
            gate: RwLock::new(()),
            map_bytes: AtomicU64::new(map_bytes),
            bytes_max: None,
            reserved: AtomicU64::new(0),
            written: AtomicU64::new(0),
            #[cfg(any(test, feature = "testing"))]
            faults: options.faults,
        })
    }

    /// A moment of the log.
    pub(super) fn snapshot(&self) -> Result<Snapshot<'_>, LogError> {
        // Recursive, since who scans may look at another moment meanwhile.
        let gate = self.gate.read_recursive();
        for attempt in 0..SNAPSHOT_TRIES {
            let txn = self.env.read_txn().map_err(|error| unavailable("cannot begin to read", &error))?;
            let meta = self.announced(txn.id() as u64);
            if meta.txn == txn.id() as u64 {
                return Ok(Snapshot { engine: self, meta, _txn: txn, _gate: gate });
            }
            drop(txn);
            if attempt < 100 {
                std::thread::yield_now()
            } else {
                std::thread::sleep(Duration::from_micros(50))
            }
        }
        Err(LogError::new(LogErrorKind::Unavailable, "the log's last commit is not announced; try again"))
    }

    /// The roots of the last commit that this process knows of; a process beside the writer looks for those of `txn`.
    fn announced(&self, txn: u64) -> Meta {
        let mut last = self.meta.lock();
        if self.is_reader && last.txn != txn {
            *last = self.pages.read_meta(txn & 1).unwrap_or(*last);
        }
        *last
    }

    /// Begins a transaction that is expected to write `bytes` to `places` places of the table.
    pub(super) fn write(&self, bytes: u64, places: u64) -> Result<Writing<'_>, WriteError> {
        self.make_room(bytes, places)?;
        let txn = self.env.write_txn().map_err(write_error)?;
        Ok(Writing { engine: self, txn })
    }

    /// Grows the map and the file for what is about to be written.
    fn make_room(&self, bytes: u64, places: u64) -> Result<(), WriteError> {
        #[cfg(any(test, feature = "testing"))]
        self.faults.make_room().map_err(|error| write_error(error.into()))?;
        let page_bytes = self.pages.page_bytes() as u64;
        let need = self.used_bytes() + 2 * bytes + (8 * places + 128) * page_bytes;
        if self.bytes_max.is_none() && need > self.map_bytes.load(Ordering::Relaxed) / 10 * 9 {
            self.grow_map(need)?;
        }
        let need = self.bytes_max.map_or(need, |max| need.min(max));
        let reserved = self.reserved.load(Ordering::Relaxed);
        if need > reserved { self.reserve(reserved, need) } else { Ok(()) }
    }

    fn grow_map(&self, need: u64) -> Result<(), WriteError> {
        let size = need.saturating_mul(2).next_multiple_of(MAP_BYTES_LEAST);
        let _nobody_reads = self.gate.write();
        // The gate keeps every reader of this process out, and the one writer is this thread, outside of any transaction.
        let resized = engine_file::resize(&self.env, size as usize);
        resized.map_err(|error| WriteError::Full(format!("cannot map {size} bytes of the log: {error}")))?;
        self.map_bytes.store(size, Ordering::Relaxed);
        Ok(())
    }

    /// Where the used part of the file ends.
    pub(super) fn used_bytes(&self) -> u64 {
        (self.meta.lock().last_page + 1) * self.pages.page_bytes() as u64
    }

    pub(super) fn reserve(&self, from: u64, need: u64) -> Result<(), WriteError> {
        let step = (from / 8).clamp(GROWTH_LEAST, GROWTH_MOST);
        let ample = need.max(from + step).next_multiple_of(GROWTH_LEAST);
        let ample = self.bytes_max.map_or(ample, |max| ample.min(max.max(need)));
        for to in [ample, need] {
            match self.allocate(from, to) {
                Ok(()) => {
                    self.reserved.store(to, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error) if to == need => return Err(self.cannot_grow(error)),
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn cannot_grow(&self, error: io::Error) -> WriteError {
        match write_error(error.into()) {
            WriteError::Full(why) => WriteError::Full(format!("{}: {why}", self.path.display())),
            other => other,
        }
    }

    /// Allocates the file's bytes `from..to`: by the file system, or by writing zeros where it cannot.
    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        #[cfg(any(test, feature = "testing"))]
        self.faults.allocate()?;
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        match fallocate(self.pages.file(), FallocateFlags::empty(), from, to - from) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(self.pages.file(), from, to),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The roots that the last commit left, sealed.
    fn seal(&self, last: Meta) -> Result<Meta, Damage> {
        let meta = self.pages.seal(last.txn & 1)?;
        *self.meta.lock() = meta;
        Ok(meta)
    }

    fn sync(&self) -> io::Result<()> {
        #[cfg(any(test, feature = "testing"))]
        if !self.faults.sync()? {
            return Ok(());
        }
        self.pages.file().sync_data()?;
        #[cfg(any(test, feature = "testing"))]
        self.faults.synced(&self.path);
        Ok(())
    }

    /// Bytes of the file, of its used part, and how many pages of that are free.
    pub(super) fn sizes(&self) -> Sizes {
        let meta = *self.meta.lock();
        let page_bytes = self.pages.page_bytes() as u64;
        let in_use = |tree: &super::page::Tree| tree.branches + tree.leaves + tree.longs;
        let used = 2 + in_use(&meta.main) + in_use(&meta.free);
        Sizes {
            file_bytes: self.reserved.load(Ordering::Relaxed),
            used_bytes: self.used_bytes(),
            free_pages: (meta.last_page + 1).saturating_sub(used),
            leaf_bytes: meta.main.leaves * page_bytes,
        }
    }

    /// Gives back the reader slots of processes that died.
    pub(super) fn clear_stale_readers(&self) {
        if let Err(error) = self.env.clear_stale_readers() {
            tracing::warn!(%error, "cannot clear the log's stale readers");
        }
    }
}

/// How large the log is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) file_bytes: u64,
    pub(super) used_bytes: u64,
    pub(super) free_pages: u64,
    pub(super) leaf_bytes: u64,
}

/// The log as it was at one commit.
pub(super) struct Snapshot<'e> {
    engine: &'e Engine,
    meta: Meta,
    _txn: RoTxn<'e, WithoutTls>,
    _gate: RwLockReadGuard<'e, ()>,
}

impl<'e> Snapshot<'e> {
    pub(super) fn cursor(&self) -> Cursor<'e> {
        Cursor::new(&self.engine.pages, self.meta.main)
    }

    /// The row of the commit that made this moment.
    pub(super) fn commit(&self) -> Result<Commit, Damage> {
        read_commit(&self.engine.pages, &self.meta)
    }
}

/// A transaction of the engine.
pub(super) struct Writing<'e> {
    engine: &'e Engine,
    txn: RwTxn<'e>,
}

impl Writing<'_> {
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        debug_assert!(value.len() <= super::format::PART_BYTES, "no value needs a run of pages");
        self.engine.table.put(&mut self.txn, key, value).map_err(write_error)
    }

    pub(super) fn delete(&mut self, key: &[u8]) -> Result<(), WriteError> {
        self.engine.table.delete(&mut self.txn, key).map(|_| ()).map_err(write_error)
    }

    /// Deletes the keys from `from` up to, not including, `to`.
    pub(super) fn delete_range(&mut self, from: &[u8], to: &[u8]) -> Result<u64, WriteError> {
        let range = (Bound::Included(from), Bound::Excluded(to));
        let deleted = self.engine.table.delete_range(&mut self.txn, &range).map_err(write_error)?;
        Ok(deleted as u64)
    }

    /// Commits; durable on return. Answers how long that took.
    pub(super) fn commit(mut self, mut commit: Commit) -> Result<Duration, WriteError> {
        commit.txn = self.txn.id() as u64;
        commit.entries = self.engine.table.len(&self.txn).map_err(write_error)?;
        for value in cell(WHOLE, COMMIT_KEY, 0, &commit.content()) {
            self.put(COMMIT_KEY, &value)?;
        }
        let begun = Instant::now();
        self.txn.commit().map_err(write_error)?;
        let last = Meta { txn: commit.txn, ..*self.engine.meta.lock() };
        self.engine.seal(last).map_err(|damage| WriteError::Unknown(damage.to_string()))?;
        self.engine.sync().map_err(|error| WriteError::Unknown(format!("cannot sync the log: {error}")))?;
        Ok(begun.elapsed())
    }
}

fn write_error(error: heed::Error) -> WriteError {
    use rustix::io::Errno;
    let no_space = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG].map(Errno::raw_os_error);
    match &error {
        heed::Error::Mdb(MdbError::MapFull) => {
            WriteError::Full("the log has reached its size limit: raise it, or let topics expire".to_owned())
        }
        heed::Error::Mdb(MdbError::TxnFull) => WriteError::TooLarge(error.to_string()),
        heed::Error::Io(io) if io.raw_os_error().is_some_and(|code| no_space.contains(&code)) => {
            WriteError::Full(format!("no space is left for the log: {error}; free some, and try again"))
        }
        _ => WriteError::Unknown(format!("cannot write the log: {error}")),
    }
}

fn unavailable(what: &str, error: &heed::Error) -> LogError {
    LogError::new(LogErrorKind::Unavailable, format!("{what} the log: {error}; try again"))
}

pub(super) fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 16];
    let mut at = from;
    while at < to {
        let len = (to - at).min(zeros.len() as u64) as usize;
        file.write_all_at(&zeros[..len], at)?;
        at += len as u64;
    }
    Ok(())
}

fn open_file(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(DATA_FILE);
    let opened = OpenOptions::new().read(true).write(true).open(&path);
    opened.map_err(|error| OpenError::io("cannot open", &path, error.into()))
}

fn open_env(dir: &Path, options: &Options, extra: EnvFlags) -> Result<(Env<WithoutTls>, u64), OpenError> {
    if !extra.contains(EnvFlags::READ_ONLY) {
        lock_file::allocate(dir, READERS_MAX)
            .map_err(|error| OpenError::io("cannot open the log", dir, error.into()))?;
    }
    let mut last = None;
    for size in map_sizes(options) {
        match open_env_of(dir, size, extra | extra_flags(options)) {
            Ok(env) => return Ok((env, size)),
            Err(error) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| io::Error::other("no map size to try").into());
    Err(OpenError::io("cannot open the log", dir, error))
}

/// Opens the environment to write, once the engine takes commit `txn` for the last.
///
/// It keeps the number of the last commit in its lock file as well, and goes by that for as long as any process has the file
/// open. A process that was killed between the two has left the number before, and a check that outlives it has the file.
fn open_env_at(dir: &Path, options: &Options, txn: u64) -> Result<(Env<WithoutTls>, u64), OpenError> {
    let begun = Instant::now();
    loop {
        let (env, map_bytes) = open_env(dir, options, EnvFlags::empty())?;
        let known = env.read_txn().map(|last| last.id() as u64);
        let known = known.map_err(|error| OpenError::io("cannot open the log", dir, error))?;
        if known == txn {
            return Ok((env, map_bytes));
        }
        close(env);
        if begun.elapsed() > OUTLIVED_MAX {
            let message = format!(
                "cannot open the log {}: another process still reads it as it was before its last commit, {txn}; end                  that process, or wait for its end, and start again",
                dir.display()
            );
            return Err(OpenError::new(OpenErrorKind::Unavailable, message));
        }
        std::thread::sleep(OUTLIVED_PAUSE);
    }
}

/// How much to map, in order of trying.
fn map_sizes(options: &Options) -> Vec<u64> {
    #[cfg(any(test, feature = "testing"))]
    if let Some(size) = options.faults.first_map() {
        return vec![size];
    }
    if let Some(max) = options.bytes_max {
        return vec![(max / LIMIT_STEP).max(1) * LIMIT_STEP];
    }
    let sizes = std::iter::successors(Some(MAP_BYTES_FIRST), |size| Some(size / 2));
    sizes.take_while(|size| *size >= MAP_BYTES_LEAST).collect()
}

fn open_env_of(dir: &Path, map_bytes: u64, extra: EnvFlags) -> heed::Result<Env<WithoutTls>> {
    // NO_META_SYNC keeps the file whole after a loss of power; we sync after every commit ourselves.
    // Without read-ahead: we never read through the map.
    let flags = EnvFlags::NO_META_SYNC | EnvFlags::NO_READ_AHEAD | extra;
    engine_file::open(dir, map_bytes as usize, READERS_MAX, flags)
}

#[cfg(any(test, feature = "testing"))]
fn extra_flags(options: &Options) -> EnvFlags {
    if options.faults.skips_syncs() { EnvFlags::NO_SYNC } else { EnvFlags::empty() }
}

#[cfg(not(any(test, feature = "testing")))]
fn extra_flags(_: &Options) -> EnvFlags {
    EnvFlags::empty()
}

fn open_table(env: &Env<WithoutTls>) -> heed::Result<Database<'static, Bytes, Bytes>> {
    let txn = env.read_txn()?;
    let opened = env.open_databases_and_commit(txn, |opener, txn| {
        opener.open_database(txn, None).map(CommitOrAbort::<_, ()>::Commit)
    })?;
    opened.unwrap_commit().ok_or_else(|| io::Error::other("the engine has no main table").into())
}

/// Writes the row that every commit writes, on an environment that nobody else has.
fn write_commit(env: &Env<WithoutTls>, log: LogId) -> heed::Result<()> {
    let table = open_table(env)?;
    let mut txn = env.write_txn()?;
    let old =
        table.get(&txn, COMMIT_KEY)?.and_then(|value| Commit::parse(Cell::parse(value).ok()?.start).ok());
    let added = u64::from(old.is_none());
    let commit = Commit {
        txn: txn.id() as u64,
        entries: table.len(&txn)? + added,
        ..old.unwrap_or(Commit { txn: 0, entries: 0, digest: 0, next_topic: 1, log })
    };
    for value in cell(WHOLE, COMMIT_KEY, 0, &commit.content()) {
        table.put(&mut txn, COMMIT_KEY, &value)?;
    }
    txn.commit()
}

fn close(env: Env<WithoutTls>) {
    env.prepare_for_closing().wait();
}

/// Seals both meta pages of a closed log.
fn seal_all(dir: &Path) -> Result<(), OpenError> {
    let file = open_file(dir)?;
    let page_bytes = page_bytes_of(&file).unwrap_or_default();
    let pages = PageFile::new(file, page_bytes);
    for number in [0, 1] {
        pages.seal(number).map_err(|damage| OpenError::damaged(dir, &damage))?;
    }
    pages.file().sync_all().map_err(|error| OpenError::io("cannot sync the log", dir, error.into()))
}

/// Copies the log in `dir` without its free pages over itself; nobody may have it open.
pub(super) fn compact(dir: &Path, scratch: &Path, options: &Options) -> Result<(), OpenError> {
    let failed = |error: heed::Error| OpenError::io("cannot compact the log", dir, error);
    check_before_open(&open_file(dir)?, dir)?;
    let (env, _) = open_env(dir, options, EnvFlags::empty())?;
    let copied = env.copy_to_path(scratch.join(DATA_FILE), heed::CompactionOption::Enabled);
    close(env);
    copied.map_err(failed)?;
    let (env, _) = open_env(scratch, options, EnvFlags::empty())?;
    let written = write_commit(&env, LogId(0));
    close(env);
    written.map_err(failed)?;
    seal_all(scratch)?;
    std::fs::rename(scratch.join(DATA_FILE), dir.join(DATA_FILE)).map_err(|error| failed(error.into()))
}

/// Checks, without the engine, what the engine would trust: meta pages, branches, the free list, the last commit.
fn check_before_open(file: &File, dir: &Path) -> Result<(Meta, Commit), OpenError> {
    let damaged = |damage: Damage| OpenError::damaged(dir, &damage);
    let page_bytes = page_bytes_of(file).ok_or_else(|| damaged(Damage::Page(0, "it has no page size")))?;
    let len = file.metadata().map_err(|error| damaged(Damage::Io(error)))?.len();
    let file = file.try_clone().map_err(|error| damaged(Damage::Io(error)))?;
    let pages = PageFile::new(file, page_bytes);
    let meta = newest_meta(&pages).map_err(damaged)?;
    if meta.last_page >= len / page_bytes as u64 {
        return Err(damaged(Damage::Page(meta.last_page, "the file ends before its last page")));
    }
    if len <= STRUCTURE_BYTES_MAX {
        check_structure(&pages, &meta).map_err(damaged)?;
    }
    let commit = read_commit(&pages, &meta).map_err(damaged)?;
    Ok((meta, commit))
}

/// The newer meta page. Both must be whole: a damaged one may have been the newer.
fn newest_meta(pages: &PageFile) -> Result<Meta, Damage> {
    let (zero, one) = (pages.read_meta(0)?, pages.read_meta(1)?);
    let (older, newer) = if zero.txn < one.txn { (zero, one) } else { (one, zero) };
    let fresh = newer.txn <= 1;
    let side = |meta: Meta| meta.txn & 1;
    if older.seal != Seal::Whole && !fresh {
        return Err(Damage::Page(side(older), "the meta page's checksum does not match"));
    }
    if newer.seal == Seal::Broken || (older.txn + 1 != newer.txn && !fresh) {
        return Err(Damage::Page(side(newer), "the meta page's checksum or transaction does not match"));
    }
    Ok(newer)
}

/// The commit's own row, which must be that of the meta page: an older root does not pass for the last.
fn read_commit(pages: &PageFile, meta: &Meta) -> Result<Commit, Damage> {
    let mut cursor = Cursor::new(pages, meta.main);
    cursor.seek(COMMIT_KEY)?;
    let page = cursor.page();
    let malformed = |_| Damage::Page(page, "the row of the last commit is damaged");
    let Some((COMMIT_KEY, value)) = cursor.entry()? else {
        return Err(Damage::Page(page, "the row of the last commit is missing"));
    };
    let cell = Cell::parse(value).map_err(malformed)?;
    cell.verify(COMMIT_KEY, cell.start).map_err(malformed)?;
    let commit = Commit::parse(cell.start).map_err(malformed)?;
    if commit.txn == meta.txn && commit.entries == meta.main.entries {
        Ok(commit)
    } else {
        Err(Damage::Page(page, "the row of the last commit and the meta page name different transactions"))
    }
}

impl OpenError {
    pub(super) fn damaged(dir: &Path, damage: &Damage) -> Self {
        let file = dir.join(DATA_FILE);
        let message = format!(
            "{} is damaged, {damage}; it is not opened, so that nothing of it is served or overwritten: \
             restore the data directory from a copy",
            file.display()
        );
        Self::new(OpenErrorKind::Corrupt, message)
    }

    pub(super) fn io(what: &str, path: &Path, error: heed::Error) -> Self {
        let kind = match &error {
            heed::Error::Io(io) => OpenErrorKind::of_io(io),
            _ => OpenErrorKind::Unavailable,
        };
        let advice = kind.advice();
        Self::new(kind, format!("{what} {}: {error}{advice}", path.display())).with_source(error)
    }
}
