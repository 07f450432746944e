//! A store that is open: its environment, its tables, and how it reads and writes them.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use headwater_core::store::{
    Checkpoint, Direction, KeyRange, StateBatch, StateChange, StateStore, StoreError, StoreErrorKind,
    TableId, Visit, WithLookUp,
};
use headwater_core::topic::Partition;
use heed::{MdbError, PutFlags, RoTxn, RwTxn, WithoutTls};
use parking_lot::Mutex;

use super::LmdbOptions;
use super::check::{self, Damage, Snapshot, Unsound};
use super::environment::{DATA_FILE, EngineError, Environment, Rows};
use super::rows::{self, FORMAT_VERSION, HEADER_KEY, Header, ShardRow, WRITER_KEY};
use crate::store::catalogue::{Catalogue, TableNumbers, number};
use crate::store::memory::{bounds, fits};

/// Where a check that ran beside the reads leaves what it found, so that the next opening knows before it serves.
const DAMAGED_FILE: &str = "damaged";

/// One open store, whoever has it.
pub(super) struct OpenStore {
    name: String,
    dir: PathBuf,
    catalogue: Mutex<Catalogue>,
    /// Closed once the store is removed.
    environment: Environment,
    check: Arc<Check>,
    checking: Mutex<Option<JoinHandle<()>>>,
}

/// What a check that runs beside the reads has found.
#[derive(Default)]
struct Check {
    stop: AtomicBool,
    damage: OnceLock<String>,
}

impl fmt::Debug for OpenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenStore").field("name", &self.name).field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Drop for OpenStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl OpenStore {
    /// Opens the store of a directory, which exists; a fresh one is made in an empty directory.
    pub(super) fn open(name: &str, dir: &Path, options: &LmdbOptions) -> Result<Self, StoreError> {
        let named = Named { store: name, dir };
        let checked = named.check_first(options)?;
        let environment = Environment::open(dir, options.map_bytes, options.map_bytes_max)
            .map_err(|error| named.failed("cannot be opened", error))?;
        let tables = named.header(&environment)?.map_or_else(Vec::new, |header| header.tables);
        let store = Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            catalogue: Mutex::new(Catalogue::new(tables)),
            environment,
            check: Arc::default(),
            checking: Mutex::default(),
        };
        if !checked {
            store.check_beside()?;
        }
        Ok(store)
    }

    /// Closes the environment; every later call says that the store is gone.
    pub(super) fn close(&self) {
        self.check.stop.store(true, Ordering::Release);
        if let Some(checking) = self.checking.lock().take() {
            // A check that panicked has nothing to tell any more.
            let _ = checking.join();
        }
        self.environment.close();
    }

    /// The numbers of tables, the new ones made durable.
    pub(super) fn number(&self, tables: &[&str]) -> Result<TableNumbers, StoreError> {
        let mut catalogue = self.catalogue.lock();
        let mut named = catalogue.clone();
        let numbers = named.number(&self.name, tables)?;
        if *catalogue != named || catalogue.names().is_empty() {
            self.write_header(&named)?;
            *catalogue = named;
        }
        Ok(numbers)
    }

    fn write_header(&self, catalogue: &Catalogue) -> Result<(), StoreError> {
        let header = Header { version: FORMAT_VERSION, tables: catalogue.names().to_vec() };
        let header = serde_json::to_vec(&header).expect("names and a number are JSON");
        self.write(|writer| writer.put_row(&HEADER_KEY, &header))
    }

    fn named(&self) -> Named<'_> {
        Named { store: &self.name, dir: &self.dir }
    }

    /// Walks a large store's pages while it serves; what is found then ends its service.
    fn check_beside(&self) -> Result<(), StoreError> {
        let failed = |error| self.named().failed("cannot be checked", error);
        let (pin, file) = self.environment.pin().map_err(failed)?;
        // Read now: two commits later the meta page of the pinned snapshot is another's.
        let snapshot = Snapshot::of(&file, pin.txn());
        let (name, dir, check) = (self.name.clone(), self.dir.clone(), self.check.clone());
        let walk = move || {
            let stop = || check.stop.load(Ordering::Acquire);
            let mut catalogue = Catalogue::default();
            let _pin = pin;
            let walked = snapshot.and_then(|snapshot| walk(&file, &snapshot, &stop, &mut catalogue));
            if let Err(unsound) = walked
                && let Some(error) = (Named { store: &name, dir: &dir }).unsound(&unsound, &catalogue)
            {
                tracing::error!(store = name, %error, "a check of the store's pages found damage");
                if let Err(unmarked) = std::fs::write(dir.join(DAMAGED_FILE), error.to_string()) {
                    tracing::warn!(store = name, error = %unmarked, "the damage is only known until the store is closed");
                }
                check.damage.set(error.to_string()).expect("one check runs, and sets this once");
            }
        };
        let spawned = std::thread::Builder::new().name("headwater-check".to_owned()).spawn(walk);
        let handle = spawned.map_err(|error| self.named().failed("cannot be checked", error.into()))?;
        *self.checking.lock() = Some(handle);
        Ok(())
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&RoTxn<'_, WithoutTls>, &Rows) -> heed::Result<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.refuse_if_damaged()?;
        self.environment.read(read).map_err(|error| self.named().failed("cannot be read", error))?
    }

    fn write(
        &self,
        mut write: impl FnMut(&mut Writer<'_, '_>) -> Result<(), WriteError>,
    ) -> Result<(), StoreError> {
        self.refuse_if_damaged()?;
        let written = self.environment.write(
            |txn, rows| {
                let id = txn.id() as u64;
                let mut writer = Writer { txn, rows, last_key: None, key: Vec::new(), value: Vec::new() };
                write(&mut writer)?;
                writer.put_row(&WRITER_KEY, &id.to_le_bytes())
            },
            WriteError::is_map_full,
        );
        written.map_err(|error| match error {
            WriteError::Engine(error) => self.named().failed("cannot be written", error),
            WriteError::Store(error) => error,
            WriteError::BrokenSeal(shard) => self.broken(shard, None),
        })
    }

    fn refuse_if_damaged(&self) -> Result<(), StoreError> {
        match self.check.damage.get() {
            Some(message) => Err(StoreError::new(StoreErrorKind::Corrupt, message.clone())),
            None => Ok(()),
        }
    }

    /// A row whose seal is broken.
    fn broken(&self, shard: Partition, table: Option<u8>) -> StoreError {
        let place = place(shard, table, &self.catalogue.lock());
        self.named().corrupt(&format!("{place}: a row does not match its checksum"))
    }
}

fn place(shard: Partition, table: Option<u8>, catalogue: &Catalogue) -> String {
    match table {
        Some(table) => format!("shard {shard}, table {}", catalogue.name(table)),
        None => format!("shard {shard}, checkpoint"),
    }
}

/// Walks a snapshot, and checks each row's seal and which transaction wrote last; fills in the tables' names.
fn walk(
    file: &File,
    snapshot: &Snapshot,
    stop: &dyn Fn() -> bool,
    catalogue: &mut Catalogue,
) -> Result<(), Unsound> {
    let mut writer = None;
    check::walk(file, snapshot, stop, &mut |key, value| {
        let Some(value) = rows::unseal(key, value) else {
            return Some("a row does not match its checksum".to_owned());
        };
        if key == WRITER_KEY {
            writer = Some(value.to_vec());
        } else if key == HEADER_KEY
            && let Ok(header) = serde_json::from_slice::<Header>(value)
        {
            *catalogue = Catalogue::new(header.tables);
        }
        None
    })?;
    if snapshot.is_empty() || writer.as_deref() == Some(&snapshot.txn.to_le_bytes()) {
        return Ok(());
    }
    let what = "a meta page of another transaction than the one that wrote last".to_owned();
    Err(Unsound::Damaged(Damage { page: snapshot.txn % 2, what, after_key: Vec::new() }))
}

/// A store's name and place, for what is said about it.
#[derive(Clone, Copy)]
struct Named<'a> {
    store: &'a str,
    dir: &'a Path,
}

impl Named<'_> {
    /// Checks the file before the engine sees it; `false` if that is left for later.
    fn check_first(self, options: &LmdbOptions) -> Result<bool, StoreError> {
        if let Ok(found) = std::fs::read_to_string(self.dir.join(DAMAGED_FILE)) {
            return Err(StoreError::new(StoreErrorKind::Corrupt, found));
        }
        let mut catalogue = Catalogue::default();
        let mut checked = || -> Result<bool, Unsound> {
            let file = match File::open(self.dir.join(DATA_FILE)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
                file => file?,
            };
            let Some(snapshot) = Snapshot::newest(&file)? else { return Ok(true) };
            if file.metadata()?.len() > options.check_first_bytes_max {
                return Ok(false);
            }
            check::warm(&file)?;
            walk(&file, &snapshot, &|| false, &mut catalogue).map(|()| true)
        };
        checked().map_err(|unsound| {
            self.unsound(&unsound, &catalogue).expect("a check that nobody stops is not stopped")
        })
    }

    fn header(self, environment: &Environment) -> Result<Option<Header>, StoreError> {
        let bytes = environment
            .read(|txn, rows| Ok((rows.get(txn, &HEADER_KEY)?.map(<[u8]>::to_vec), rows.len(txn)?)))
            .map_err(|error| self.failed("cannot be read", error))?;
        let header: Option<Header> = match bytes {
            (None, 0) => return Ok(None),
            (None, _) => None,
            (Some(sealed), _) => {
                rows::unseal(&HEADER_KEY, &sealed).and_then(|json| serde_json::from_slice(json).ok())
            }
        };
        let header = header.ok_or_else(|| self.corrupt("its header cannot be read"))?;
        if header.version <= FORMAT_VERSION {
            return Ok(Some(header));
        }
        let (written, known) = (header.version, FORMAT_VERSION);
        let message = format!(
            "store {} in {} has format {written}, this program knows formats up to {known}: use a newer program",
            self.store,
            self.dir.display()
        );
        Err(StoreError::new(StoreErrorKind::Unavailable, message))
    }

    /// What a check found, as an error; `None` if it was stopped.
    fn unsound(self, unsound: &Unsound, catalogue: &Catalogue) -> Option<StoreError> {
        match unsound {
            Unsound::Stopped => None,
            Unsound::Unreadable(error) => {
                let message =
                    format!("store {} in {} cannot be read: {error}", self.store, self.dir.display());
                Some(StoreError::new(StoreErrorKind::Unavailable, message))
            }
            Unsound::Damaged(damage) => Some(match rows::place_of(&damage.after_key) {
                Some((shard, table)) => {
                    let place = place(shard, table, catalogue);
                    self.corrupt(&format!("{damage} (at or after a row of {place})"))
                }
                None => self.corrupt(&damage.to_string()),
            }),
        }
    }

    fn corrupt(self, what: &str) -> StoreError {
        let (store, dir) = (self.store, self.dir.display());
        let message =
            format!("store {store} in {dir} is damaged: {what}; remove it and let it be folded again");
        StoreError::new(StoreErrorKind::Corrupt, message)
    }

    fn failed(self, what: &str, error: EngineError) -> StoreError {
        use StoreErrorKind::{Corrupt, Full, Unavailable};
        let EngineError::Engine(error) = error else {
            let message = format!("store {} has been removed: open it again", self.store);
            return StoreError::new(Unavailable, message);
        };
        let kind = match &error {
            heed::Error::Io(error) => super::kind_of(error),
            heed::Error::Mdb(MdbError::MapFull) => Full,
            // Nobody else grows the file, so contents beyond the map are a damaged number of pages.
            heed::Error::Mdb(
                MdbError::PageNotFound | MdbError::Corrupted | MdbError::Invalid | MdbError::MapResized,
            ) => Corrupt,
            _ => Unavailable,
        };
        let advice = super::advice(kind);
        let message = format!("store {} in {} {what}: {error}{advice}", self.store, self.dir.display());
        StoreError::new(kind, message).with_source(error)
    }
}

/// Why a write did not happen.
enum WriteError {
    Engine(EngineError),
    Store(StoreError),
    /// The row of a shard is damaged.
    BrokenSeal(Partition),
}

impl From<EngineError> for WriteError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<heed::Error> for WriteError {
    fn from(error: heed::Error) -> Self {
        Self::Engine(error.into())
    }
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl WriteError {
    fn is_map_full(&self) -> bool {
        matches!(self, Self::Engine(EngineError::Engine(heed::Error::Mdb(MdbError::MapFull))))
    }
}

/// A transaction of the engine, with the buffers that its rows are made in.
struct Writer<'t, 'e> {
    txn: &'t mut RwTxn<'e>,
    rows: &'t Rows,
    /// No row of the store has a greater key; set when the writing of values begins.
    last_key: Option<Vec<u8>>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Writer<'_, '_> {
    fn put_row(&mut self, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        let sealed = rows::seal(key, value, &mut self.value);
        Ok(self.rows.put(self.txn, key, sealed)?)
    }

    fn batch(&mut self, batch: &StateBatch, tables: &TableNumbers) -> Result<(), WriteError> {
        let mut shard = self.shard_row(batch.shard)?;
        for changes in batch.changes.chunk_by(|a, b| a.table == b.table) {
            let table = number(tables, changes[0].table);
            let before = self.rows.len(self.txn)?;
            changes.iter().try_for_each(|change| self.change(batch.shard, table, change))?;
            let after = self.rows.len(self.txn)?;
            shard.set_count(table, (shard.count(table) + after).saturating_sub(before));
        }
        shard.checkpoint = batch.checkpoint.clone();
        self.put_row(&rows::checkpoint_key(batch.shard), &shard.encode())
    }

    fn shard_row(&self, shard: Partition) -> Result<ShardRow, WriteError> {
        let key = rows::checkpoint_key(shard);
        match self.rows.get(self.txn, &key)? {
            None => Ok(ShardRow::default()),
            Some(sealed) => {
                rows::unseal(&key, sealed).and_then(ShardRow::decode).ok_or(WriteError::BrokenSeal(shard))
            }
        }
    }

    fn change(&mut self, shard: Partition, table: u8, change: &StateChange) -> Result<(), WriteError> {
        let key = rows::value_key(shard, table, &change.key, &mut self.key);
        let Some(value) = &change.value else {
            self.rows.delete(self.txn, key)?;
            return Ok(());
        };
        let sealed = rows::seal(key, value, &mut self.value);
        let last_key = match &mut self.last_key {
            Some(last_key) => last_key,
            unknown => {
                unknown.insert(self.rows.last(self.txn)?.map(|(key, _)| key.to_vec()).unwrap_or_default())
            }
        };
        // Past the last row the engine fills its pages in order, without looking for the place.
        if key > &last_key[..] {
            self.rows.put_with_flags(self.txn, PutFlags::APPEND, key, sealed)?;
            last_key.clear();
            last_key.extend_from_slice(key);
        } else {
            self.rows.put(self.txn, key, sealed)?;
        }
        Ok(())
    }
}

/// A store opened with some tables.
#[derive(Debug)]
pub(super) struct LmdbStore {
    store: Arc<OpenStore>,
    tables: TableNumbers,
}

impl LmdbStore {
    pub(super) fn new(store: Arc<OpenStore>, tables: TableNumbers) -> Self {
        Self { store, tables }
    }

    fn get_in(
        &self,
        txn: &RoTxn<'_, WithoutTls>,
        rows: &Rows,
        (shard, table, key): (Partition, TableId, &[u8]),
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Bytes>, StoreError> {
        let table = number(&self.tables, table);
        let row_key = rows::value_key(shard, table, key, buffer);
        let unreadable = |error: heed::Error| self.store.named().failed("cannot be read", error.into());
        let Some(sealed) = rows.get(txn, row_key).map_err(unreadable)? else { return Ok(None) };
        let value = rows::unseal(row_key, sealed).map(|value| Some(Bytes::copy_from_slice(value)));
        value.ok_or_else(|| self.store.broken(shard, Some(table)))
    }

    fn shard_row(&self, shard: Partition) -> Result<Option<ShardRow>, StoreError> {
        let key = rows::checkpoint_key(shard);
        self.store.read(|txn, rows| {
            let Some(sealed) = rows.get(txn, &key)? else { return Ok(Ok(None)) };
            let row = rows::unseal(&key, sealed).and_then(ShardRow::decode);
            Ok(row.map(Some).ok_or_else(|| self.store.broken(shard, None)))
        })
    }
}

impl StateStore for LmdbStore {
    fn checkpoint(&self, shard: Partition) -> Result<Option<Checkpoint>, StoreError> {
        Ok(self.shard_row(shard)?.map(|row| row.checkpoint))
    }

    fn apply(&self, batches: &[StateBatch]) -> Result<(), StoreError> {
        let mut batches: Vec<_> = batches.iter().collect();
        if batches.is_empty() {
            return Ok(());
        }
        for change in batches.iter().flat_map(|batch| &batch.changes) {
            fits(&self.store.name, &change.key)?;
        }
        // Neighbours in the tree one after the other, so that each page is touched once.
        batches.sort_by_key(|batch| batch.shard);
        self.store.write(|writer| batches.iter().try_for_each(|batch| writer.batch(batch, &self.tables)))
    }

    fn get(&self, shard: Partition, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let mut buffer = Vec::with_capacity(64);
        self.store.read(|txn, rows| Ok(self.get_in(txn, rows, (shard, table, key), &mut buffer)))
    }

    fn look_up(&self, shard: Partition, with: &mut WithLookUp<'_>) -> Result<(), StoreError> {
        let buffer = RefCell::new(Vec::with_capacity(64));
        self.store.read(|txn, rows| {
            with(&|table, key| self.get_in(txn, rows, (shard, table, key), &mut buffer.borrow_mut()));
            Ok(Ok(()))
        })
    }

    fn scan(
        &self,
        shard: Partition,
        table: TableId,
        range: &KeyRange,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        let table = number(&self.tables, table);
        if bounds(range).is_none() {
            return Ok(());
        }
        let (from, to) = row_bounds(shard, table, range);
        let bounds = (from.as_ref().map(|key| &key[..]), to.as_ref().map(|key| &key[..]));
        let mut visit =
            |row: heed::Result<(&[u8], &[u8])>| -> heed::Result<ControlFlow<Result<(), StoreError>>> {
                let (key, sealed) = row?;
                let Some(value) = rows::unseal(key, sealed) else {
                    return Ok(ControlFlow::Break(Err(self.store.broken(shard, Some(table)))));
                };
                Ok(visit(rows::key_of_value(key), value).map_break(Ok))
            };
        self.store.read(|txn, rows| match range.direction {
            Direction::Forward => each(rows.range(txn, &bounds)?, &mut visit),
            Direction::Backward => each(rows.rev_range(txn, &bounds)?, &mut visit),
        })
    }

    fn count(&self, shard: Partition, table: TableId) -> Result<u64, StoreError> {
        let table = number(&self.tables, table);
        Ok(self.shard_row(shard)?.map_or(0, |row| row.count(table)))
    }

    fn clear(&self, shard: Partition) -> Result<(), StoreError> {
        let all = (Bound::Included(rows::table_prefix(shard, 0)), Bound::Excluded(rows::shard_end(shard)));
        let all = (all.0.as_ref().map(|key| &key[..]), all.1.as_ref().map(|key| &key[..]));
        // A shard begins by being cleared, also where there is no space to write: where nothing is, nothing is written.
        let is_empty = self.store.read(|txn, rows| {
            let has_row = rows.range(txn, &all)?.next().transpose()?.is_some();
            Ok(Ok(!has_row && rows.get(txn, &rows::checkpoint_key(shard))?.is_none()))
        })?;
        if is_empty {
            return Ok(());
        }
        self.store.write(|writer| {
            writer.rows.delete_range(writer.txn, &all)?;
            writer.rows.delete(writer.txn, &rows::checkpoint_key(shard))?;
            Ok(())
        })
    }

    fn size_bytes(&self) -> u64 {
        self.store.environment.size_bytes()
    }
}

/// Calls `visit` with each row until it breaks.
fn each<'t>(
    mut rows: impl Iterator<Item = heed::Result<(&'t [u8], &'t [u8])>>,
    visit: &mut impl FnMut(
        heed::Result<(&'t [u8], &'t [u8])>,
    ) -> heed::Result<ControlFlow<Result<(), StoreError>>>,
) -> heed::Result<Result<(), StoreError>> {
    for row in &mut rows {
        if let ControlFlow::Break(result) = visit(row)? {
            return Ok(result);
        }
    }
    Ok(Ok(()))
}

/// A range of a table's keys as a range of rows.
fn row_bounds(shard: Partition, table: u8, range: &KeyRange) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let row = |key: &Bytes| {
        let mut out = Vec::new();
        rows::value_key(shard, table, key, &mut out);
        out
    };
    let from = match &range.from {
        Bound::Unbounded => Bound::Included(rows::table_prefix(shard, table).to_vec()),
        Bound::Included(key) => Bound::Included(row(key)),
        Bound::Excluded(key) => Bound::Excluded(row(key)),
    };
    let to = match &range.to {
        Bound::Unbounded => Bound::Excluded(rows::table_end(shard, table).to_vec()),
        Bound::Included(key) => Bound::Included(row(key)),
        Bound::Excluded(key) => Bound::Excluded(row(key)),
    };
    (from, to)
}
