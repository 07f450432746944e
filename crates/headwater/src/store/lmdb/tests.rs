//! LMDB stores: the contract, damage, growth, what is on disk.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use headwater_core::conformance::store::{Place, check};
use headwater_core::store::{Checkpoint, KeyRange, StateBatch, StateChange, TableId};
use headwater_core::topic::Partition;
use tempfile::TempDir;

use super::environment::Environment;
use super::*;

/// Small maps, so that every test sees them grow.
fn options() -> LmdbOptions {
    LmdbOptions { map_bytes: 1 << 16, ..LmdbOptions::default() }
}

struct Dir(TempDir, LmdbOptions);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap(), options())
    }

    fn stores(&self) -> LmdbStores {
        LmdbStores::new(self.0.path(), self.1).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("state").join("s").join(DATA_FILE)
    }
}

impl Place for Dir {
    fn open(&self) -> Result<Arc<dyn StateStores>, StoreError> {
        Ok(Arc::new(LmdbStores::new(self.0.path(), self.1)?))
    }
}

#[test]
fn lmdb_keeps_the_contract() {
    check(&mut || Box::new(Dir::new()));
}

#[test]
fn lmdb_keeps_the_contract_while_its_pages_are_checked() {
    check(&mut || {
        let mut dir = Dir::new();
        dir.1.check_first_bytes_max = 0;
        Box::new(dir)
    });
}

/// Seeded random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

type Expected = BTreeMap<(u32, Bytes), Bytes>;

fn key(random: &mut Random) -> Bytes {
    Bytes::from(format!("customer-{:05}/item", random.below(3_000)))
}

/// Hundreds of changes to shards 0 and 1, some of them removals, some too large for a page.
fn change(store: &dyn StateStore, expected: &mut Expected, random: &mut Random) {
    let batches: Vec<_> = (0..2)
        .map(|shard| {
            let changes: BTreeMap<_, _> = (0..400)
                .map(|_| {
                    let length = if random.below(50) == 0 { 20_000 } else { 60 };
                    let value = Bytes::from(vec![random.below(256) as u8; random.below(length) as usize]);
                    (key(random), (random.below(4) > 0).then_some(value))
                })
                .collect();
            for (key, value) in &changes {
                match value {
                    Some(value) => expected.insert((shard, key.clone()), value.clone()),
                    None => expected.remove(&(shard, key.clone())),
                };
            }
            let change = |(key, value)| StateChange { table: TableId(0), key, value };
            let changes = changes.into_iter().map(change).collect();
            StateBatch { shard: Partition(shard), changes, checkpoint: Checkpoint::default() }
        })
        .collect();
    store.apply(&batches).unwrap();
}

/// Everything that a store holds, by scan; and each of it by key.
fn contents(store: &dyn StateStore) -> Result<Expected, StoreError> {
    let mut found = Expected::new();
    for shard in [0, 1] {
        store.scan(Partition(shard), TableId(0), &KeyRange::all(), &mut |key, value| {
            found.insert((shard, Bytes::copy_from_slice(key)), Bytes::copy_from_slice(value));
            ControlFlow::Continue(())
        })?;
        let rows = found.keys().filter(|(of, _)| *of == shard).count() as u64;
        assert_eq!(store.count(Partition(shard), TableId(0))?, rows);
    }
    for ((shard, key), value) in &found {
        assert_eq!(store.get(Partition(*shard), TableId(0), key)?.as_ref(), Some(value));
    }
    Ok(found)
}

/// A store after many changes, with branches, runs of pages and free pages.
fn grown(dir: &Dir, seed: u64) -> Expected {
    let (mut expected, mut random) = (Expected::new(), Random(seed));
    let store = dir.stores().open("s", &["orders"]).unwrap();
    for _ in 0..6 {
        change(&*store, &mut expected, &mut random);
    }
    expected
}

#[test]
fn the_check_finds_nothing_wrong_with_a_sound_store() {
    let dir = Dir::new();
    let (mut expected, mut random) = (Expected::new(), Random(99));
    for round in 0..25 {
        let store = dir.stores().open("s", &["orders"]).unwrap();
        assert_eq!(contents(&*store).unwrap(), expected);
        for _ in 0..round % 4 {
            change(&*store, &mut expected, &mut random);
        }
        if round % 10 == 9 {
            store.clear(Partition(1)).unwrap();
            expected.retain(|(shard, _), _| *shard == 0);
        }
    }
}

/// What a page is, by its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Meta,
    Branch,
    Leaf,
    /// The first page of a run.
    Overflow,
}

fn kind(page: &[u8]) -> Option<Kind> {
    match page[10] {
        8 => Some(Kind::Meta),
        1 => Some(Kind::Branch),
        2 => Some(Kind::Leaf),
        4 => Some(Kind::Overflow),
        _ => None,
    }
}

const PAGE: usize = 4_096;
const FLIPS_PER_KIND: u64 = 30;

#[test]
fn a_flipped_bit_is_found_or_changes_nothing() {
    for seed in 1..=2 {
        let dir = Dir::new();
        let expected = grown(&dir, seed);
        let sound = fs::read(dir.file()).unwrap();
        let mut random = Random(seed);
        for wanted in [Kind::Meta, Kind::Branch, Kind::Leaf, Kind::Overflow] {
            let pages: Vec<_> = sound
                .chunks(PAGE)
                .zip(0..)
                .filter(|(page, _)| kind(page) == Some(wanted))
                .map(|(_, at)| at)
                .collect();
            assert!(!pages.is_empty(), "no {wanted:?} page to damage");
            let found = (0..FLIPS_PER_KIND).filter(|_| {
                let page: usize = pages[random.below(pages.len() as u64) as usize];
                // Meta pages are mostly empty.
                let bytes = if wanted == Kind::Meta { 160 } else { PAGE as u64 };
                let at = page * PAGE + random.below(bytes) as usize;
                is_found(&dir, &sound, &expected, at, 1 << random.below(8))
            });
            assert!(found.count() > 0, "seed {seed}: no flip in a {wanted:?} page was found");
        }
    }
}

/// Whether damage of one byte is found; what is not found must change nothing.
fn is_found(dir: &Dir, sound: &[u8], expected: &Expected, at: usize, bit: u8) -> bool {
    let file = OpenOptions::new().write(true).open(dir.file()).unwrap();
    file.write_all_at(&[sound[at] ^ bit], at as u64).unwrap();
    let found = match dir.stores().open("s", &["orders"]) {
        Err(error) => {
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains("store s "), "{error}");
            true
        }
        Ok(store) => {
            assert_eq!(
                &contents(&*store).unwrap(),
                expected,
                "byte {at} of page {} with {bit:#x}",
                at / PAGE
            );
            false
        }
    };
    file.write_all_at(&[sound[at]], at as u64).unwrap();
    found
}

/// Flips a bit in the middle of the one value that is full of `byte`, in the file.
fn damage_value(dir: &Dir, byte: u8) {
    let contents = fs::read(dir.file()).unwrap();
    let runs: Vec<_> =
        contents.windows(500).enumerate().filter(|(_, run)| run.iter().all(|b| *b == byte)).collect();
    assert!(!runs.is_empty());
    let file = OpenOptions::new().write(true).open(dir.file()).unwrap();
    for (at, _) in runs {
        file.write_all_at(&[byte ^ 1], at as u64 + 250).unwrap();
    }
}

fn with_a_value(dir: &Dir, byte: u8) {
    let store = dir.stores().open("s", &["other", "orders"]).unwrap();
    let change = |key: &'static str, value: Vec<u8>| StateChange {
        table: TableId(1),
        key: Bytes::from_static(key.as_bytes()),
        value: Some(value.into()),
    };
    let changes = vec![change("a", vec![1; 10]), change("b", vec![byte; 1_000]), change("c", vec![3; 10])];
    store.apply(&[StateBatch { shard: Partition(7), changes, checkpoint: Checkpoint::default() }]).unwrap();
}

fn names_the_place(error: &StoreError) {
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    for word in ["store s ", "shard 7", "table orders"] {
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_value_damaged_while_open_is_not_served() {
    let dir = Dir::new();
    with_a_value(&dir, 0xab);
    let store = dir.stores().open("s", &["orders"]).unwrap();
    damage_value(&dir, 0xab);
    names_the_place(&store.get(Partition(7), TableId(0), b"b").unwrap_err());
    let mut seen = Vec::new();
    let scanned = store.scan(Partition(7), TableId(0), &KeyRange::all(), &mut |key, _| {
        seen.extend_from_slice(key);
        ControlFlow::Continue(())
    });
    names_the_place(&scanned.unwrap_err());
    assert_eq!(seen, b"a");
    assert!(store.get(Partition(7), TableId(0), b"c").unwrap().is_some());
}

#[test]
fn a_value_damaged_at_rest_is_named_and_its_store_can_be_made_anew() {
    let dir = Dir::new();
    with_a_value(&dir, 0xcd);
    damage_value(&dir, 0xcd);
    let stores = dir.stores();
    names_the_place(&stores.open("s", &["orders"]).err().unwrap());
    assert_eq!(stores.names().unwrap(), ["s"]);
    stores.remove("s").unwrap();
    assert_eq!(stores.open("s", &["orders"]).unwrap().count(Partition(7), TableId(0)).unwrap(), 0);
}

#[test]
fn a_large_store_is_checked_while_it_serves() {
    let mut dir = Dir::new();
    dir.1.check_first_bytes_max = 0;
    with_a_value(&dir, 0xef);
    damage_value(&dir, 0xef);
    let store = dir.stores().open("s", &["orders"]).unwrap();
    let found = (0..10_000).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        store.get(Partition(7), TableId(0), b"a").err()
    });
    names_the_place(&found.expect("the damage is found"));
    assert_eq!(store.apply(&[]).map_err(|error| error.kind()), Ok(()));
    let batch = StateBatch { shard: Partition(7), changes: vec![], checkpoint: Checkpoint::default() };
    names_the_place(&store.apply(&[batch]).unwrap_err());
    drop(store);
    names_the_place(&dir.stores().open("s", &["orders"]).err().unwrap());
    dir.stores().remove("s").unwrap();
    assert!(dir.stores().open("s", &["orders"]).is_ok());
}

#[test]
fn a_store_that_may_not_grow_is_full_and_keeps_what_it_has() {
    let mut dir = Dir::new();
    dir.1.map_bytes_max = 1 << 20;
    let (mut expected, mut random) = (Expected::new(), Random(5));
    let store = dir.stores().open("s", &["orders"]).unwrap();
    change(&*store, &mut expected, &mut random);
    let large = |bytes: usize| {
        let value = Some(Bytes::from(vec![7; bytes]));
        let change = StateChange { table: TableId(0), key: Bytes::from_static(b"large"), value };
        [StateBatch { shard: Partition(0), changes: vec![change], checkpoint: Checkpoint::default() }]
    };
    let error = store.apply(&large(2 << 20)).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full, "{error}");
    assert_eq!(contents(&*store).unwrap(), expected);
    store.apply(&large(1_000)).unwrap();
    expected.insert((0, Bytes::from_static(b"large")), Bytes::from(vec![7; 1_000]));
    assert_eq!(contents(&*store).unwrap(), expected);
}

#[test]
fn a_newer_format_is_refused() {
    let dir = Dir::new();
    grown(&dir, 1);
    {
        let environment = Environment::open(dir.file().parent().unwrap(), 1 << 20, 1 << 30).unwrap();
        let header = rows::Header { version: rows::FORMAT_VERSION + 1, tables: vec![] };
        let header = serde_json::to_vec(&header).unwrap();
        let write =
            |txn: &mut heed::RwTxn<'_>, table: &environment::Rows| -> Result<(), environment::EngineError> {
                let id = (txn.id() as u64).to_le_bytes();
                table.put(txn, &rows::HEADER_KEY, rows::seal(&rows::HEADER_KEY, &header, &mut vec![]))?;
                Ok(table.put(txn, &rows::WRITER_KEY, rows::seal(&rows::WRITER_KEY, &id, &mut vec![]))?)
            };
        environment.write(write, |_| false).unwrap();
    }
    let error = dir.stores().open("s", &["orders"]).err().unwrap();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("use a newer program"), "{error}");
}

#[test]
fn a_foreign_file_is_not_touched() {
    let dir = Dir::new();
    fs::create_dir_all(dir.file().parent().unwrap()).unwrap();
    let foreign = "something else\n".repeat(1_000);
    fs::write(dir.file(), &foreign).unwrap();
    assert_eq!(dir.stores().open("s", &["orders"]).err().unwrap().kind(), StoreErrorKind::Corrupt);
    assert_eq!(fs::read_to_string(dir.file()).unwrap(), foreign);
}

#[test]
fn an_empty_file_is_a_fresh_store() {
    let dir = Dir::new();
    fs::create_dir_all(dir.file().parent().unwrap()).unwrap();
    fs::write(dir.file(), "").unwrap();
    assert!(contents(&*dir.stores().open("s", &["orders"]).unwrap()).unwrap().is_empty());
}

#[test]
fn removing_a_store_removes_its_directory() {
    let dir = Dir::new();
    grown(&dir, 1);
    let stores = dir.stores();
    let store = stores.open("s", &["orders"]).unwrap();
    assert!(store.size_bytes() >= fs::metadata(dir.file()).unwrap().len() / 2);
    stores.remove("s").unwrap();
    assert!(!dir.file().parent().unwrap().exists());
    assert_eq!(store.size_bytes(), 0);
}

#[test]
fn every_name_has_a_directory_of_its_own() {
    let names = ["", ".", "..", "a", "A", "a.b", ".a", "a/b", "a%2fb", "%", "items@2", "größe", "a b", "\0"];
    let dirs: std::collections::BTreeSet<_> = names.iter().map(|name| dir_name(name)).collect();
    assert_eq!(dirs.len(), names.len());
    for name in names {
        let dir = dir_name(name);
        assert!(!dir.contains('/') && dir != "." && dir != "..", "{dir}");
        assert_eq!(name_of(&dir).as_deref(), Some(name));
    }
    for none in ["%4", "%zz", "a/b", "%2F", "%61"] {
        assert_eq!(name_of(none), None, "{none}");
    }
}
