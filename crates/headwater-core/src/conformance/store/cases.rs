//! The cases: each says in its name what must hold.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::model::{Model, Random, SHARDS, TABLES, batch, checkpoint, put, remove, scan};
use super::{Place, Verdict, Violation, same};
use crate::store::{
    KEY_BYTES_MAX, KeyRange, StateBatch, StateStore, StateStores, StoreError, StoreErrorKind, TableId,
};
use crate::topic::{Offset, Partition};

pub(super) type Case = (&'static str, fn(&dyn Place) -> Verdict);

pub(super) const CASES: &[Case] = &[
    ("a fresh store is empty", fresh),
    ("the last write of a key wins", last_write_wins),
    ("shards and tables are apart", apart),
    ("one apply moves several shards and their checkpoints", several_shards),
    ("a batch may move the checkpoint alone", checkpoint_alone),
    ("a refused batch leaves nothing", refused_whole),
    ("keys of every allowed length", key_lengths),
    ("values of every size", value_sizes),
    ("ranges have bounds, directions and an end", ranges),
    ("a scan ends when it is told to", scan_breaks),
    ("counts are exact", counts),
    ("what was applied is there after opening again", survives_opening_again),
    ("an open store is opened as the same one", same_store),
    ("tables keep their names, not their places", tables_by_name),
    ("clearing a shard leaves the others", clear_one_shard),
    ("stores are listed in order", names_in_order),
    ("a removed store is gone", removed),
    ("seeded changes match a model", seeded_changes),
    ("readers beside a writer see whole batches", readers_see_whole_batches),
];

const NAME: &str = "orders@2";

fn opened(place: &dyn Place) -> Result<Opened, Violation> {
    let stores = place.open()?;
    let store = stores.open(NAME, &TABLES)?;
    Ok(Opened { store, stores })
}

/// A store with the stores that it belongs to, dropped together.
struct Opened {
    store: Arc<dyn StateStore>,
    stores: Arc<dyn StateStores>,
}

fn kind<T: std::fmt::Debug>(
    what: &str,
    result: Result<T, StoreError>,
    expected: StoreErrorKind,
) -> Result<StoreError, Violation> {
    match result {
        Err(error) if error.kind() == expected => Ok(error),
        other => Err(Violation(format!("{what}: found {other:?}, expected an error of kind {expected:?}"))),
    }
}

fn fresh(place: &dyn Place) -> Verdict {
    Model::default().equals(&*opened(place)?.store)
}

fn last_write_wins(place: &dyn Place) -> Verdict {
    let opened = opened(place)?;
    let mut model = Model::default();
    let steps = [
        vec![put(0, "a", "1"), put(0, "b", "1")],
        vec![put(0, "a", "2"), remove(0, "b"), remove(0, "never there")],
        vec![put(0, "b", "3")],
        vec![put(0, "a", "")],
    ];
    for (offset, changes) in steps.into_iter().enumerate() {
        let batches = [batch(0, changes, offset as u64)];
        opened.store.apply(&batches)?;
        model.apply(&batches);
        model.equals(&*opened.store)?;
    }
    Ok(())
}

fn apart(place: &dyn Place) -> Verdict {
    let opened = opened(place)?;
    opened.store.apply(&[batch(0, vec![put(0, "k", "0/0"), put(1, "k", "0/1")], 1)])?;
    opened.store.apply(&[batch(1, vec![put(1, "k", "1/1")], 1)])?;
    let value = |shard, table| opened.store.get(Partition(shard), TableId(table), b"k");
    same("shard 0, table 0", value(0, 0)?, Some("0/0".into()))?;
    same("shard 0, table 1", value(0, 1)?, Some("0/1".into()))?;
    same("shard 1, table 0", value(1, 0)?, None)?;
    same("shard 1, table 1", value(1, 1)?, Some("1/1".into()))
}

fn several_shards(place: &dyn Place) -> Verdict {
    let opened = opened(place)?;
    let mut model = Model::default();
    let batches: Vec<_> = (0..SHARDS)
        .map(|shard| batch(shard, vec![put(0, "k", shard.to_string())], 7 + u64::from(shard)))
        .collect();
    opened.store.apply(&batches)?;
    model.apply(&batches);
    model.equals(&*opened.store)
}

fn checkpoint_alone(place: &dyn Place) -> Verdict {
    let opened = opened(place)?;
    opened.store.apply(&[])?;
    same("after no batch", opened.store.checkpoint(Partition(0))?, None)?;
    opened.store.apply(&[batch(0, vec![put(0, "k", "v")], 1)])?;
    opened.store.apply(&[batch(0, vec![], 2)])?;
    same("after an empty batch", opened.store.checkpoint(Partition(0))?, Some(checkpoint(0, 2)))?;
    same("its value", opened.store.get(Partition(0), TableId(0), b"k")?, Some("v".into()))
}

fn refused_whole(place: &dyn Place) -> Verdict {
    let opened = opened(place)?;
    let mut model = Model::default();
    let good = [batch(0, vec![put(0, "k", "good")], 1)];
    opened.store.apply(&good)?;
    model.apply(&good);
    let too_long = vec![b'z'; KEY_BYTES_MAX + 1];
    let bad = [
        batch(0, vec![put(0, "k", "bad"), put(0, "l", "bad")], 2),
        batch(1, vec![put(0, "k", "bad"), put(0, too_long, "bad")], 2),
    ];
    kind("a key too long", opened.store.apply(&bad), StoreErrorKind::KeyTooLong)?;
    model.equals(&*opened.store)
}

fn key_lengths(place: &dyn Place) -> Verdict {
    let opened = opened(place)?;
    let mut model = Model::default();
    let changes: Vec<_> = [0, 1, 2, 511, 512, KEY_BYTES_MAX - 1, KEY_BYTES_MAX]
        .into_iter()
        .map(|length| put(0, vec![b'k'; length], length.to_string()))
        .collect();
    let batches = [batch(0, changes, 1)];
    opened.store.apply(&batches)?;
    model.apply(&batches);
    model.equals(&*opened.store)
}

fn value_sizes(place: &dyn Place) -> Verdict {
    let opened = opened(place)?;
    let mut model = Model::default();
    let sizes = [0, 1, 100, 2_000, 4_096, 5_000, 65_536, 3 << 20];
    for round in 0..sizes.len() {
        let sized = |(key, size): (usize, &usize)| put(0, key.to_string(), vec![round as u8; *size]);
        let mut sizes = sizes;
        sizes.rotate_left(round);
        let batches = [batch(0, sizes.iter().enumerate().map(sized).collect(), round as u64)];
        opened.store.apply(&batches)?;
        model.apply(&batches);
        model.equals(&*opened.store)?;
    }
    Ok(())
}

fn ranges(place: &dyn Place) -> Verdict {
    let opened = opened(place)?;
    let (mut model, mut random) = (Model::default(), Random(1));
    for offset in 0..8 {
        let batches = random.batches(offset);
        opened.store.apply(&batches)?;
        model.apply(&batches);
    }
    for (shard, table) in super::model::tables() {
        for _ in 0..100 {
            let range = random.range();
            let found = scan(&*opened.store, shard, table, &range)?;
            same(&format!("{range:?}"), found, model.range(shard, table, &range))?;
        }
        for prefix in [&b""[..], b"a", b"\xff", b"\xff\xff"] {
            let range = KeyRange::prefix(prefix);
            let found = scan(&*opened.store, shard, table, &range)?;
            same(&format!("prefix {prefix:?}"), found, model.range(shard, table, &range))?;
        }
    }
    Ok(())
}

fn scan_breaks(place: &dyn Place) -> Verdict {
    let opened = opened(place)?;
    opened.store.apply(&[batch(0, vec![put(0, "a", ""), put(0, "b", ""), put(0, "c", "")], 1)])?;
    for (range, expected) in [(KeyRange::all(), "ab"), (KeyRange::all().backward(), "cb")] {
        let mut seen = Vec::new();
        opened.store.scan(Partition(0), TableId(0), &range, &mut |key, _| {
            seen.extend_from_slice(key);
            if seen.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        same("the keys visited", &seen[..], expected.as_bytes())?;
    }
    Ok(())
}

fn counts(place: &dyn Place) -> Verdict {
    let opened = opened(place)?;
    let count = |table| opened.store.count(Partition(0), TableId(table));
    let insert = (0..100).map(|key| put(0, format!("{key:03}"), "v"));
    opened.store.apply(&[batch(0, insert.chain([put(1, "other", "")]).collect(), 1)])?;
    same("after 100 inserts", count(0)?, 100)?;
    let update = (0..50).map(|key| put(0, format!("{key:03}"), "w"));
    let delete = (50..70).map(|key| remove(0, format!("{key:03}")));
    let miss = (200..210).map(|key| remove(0, format!("{key:03}")));
    opened.store.apply(&[batch(0, update.chain(delete).chain(miss).collect(), 2)])?;
    same("after 50 updates and 20 removals", count(0)?, 80)?;
    same("of the other table", count(1)?, 1)?;
    opened.store.clear(Partition(0))?;
    same("after clearing", count(0)?, 0)
}

fn survives_opening_again(place: &dyn Place) -> Verdict {
    let (mut model, mut random) = (Model::default(), Random(2));
    for offset in 0..6 {
        let opened = opened(place)?;
        model.equals(&*opened.store)?;
        for _ in 0..3 {
            let batches = random.batches(offset);
            opened.store.apply(&batches)?;
            model.apply(&batches);
        }
    }
    model.equals(&*opened(place)?.store)
}

fn same_store(place: &dyn Place) -> Verdict {
    let opened = opened(place)?;
    let again = opened.stores.open(NAME, &TABLES)?;
    opened.store.apply(&[batch(0, vec![put(0, "k", "1")], 1)])?;
    same("through the second", again.get(Partition(0), TableId(0), b"k")?, Some("1".into()))?;
    again.apply(&[batch(0, vec![put(0, "k", "2")], 2)])?;
    same("through the first", opened.store.get(Partition(0), TableId(0), b"k")?, Some("2".into()))
}

fn tables_by_name(place: &dyn Place) -> Verdict {
    {
        let opened = opened(place)?;
        opened.store.apply(&[batch(0, vec![put(0, "k", "totals"), put(1, "k", "items")], 1)])?;
        let turned = opened.stores.open(NAME, &["items", "totals"])?;
        same("while open", turned.get(Partition(0), TableId(0), b"k")?, Some("items".into()))?;
    }
    let more = ["new", "items", "totals"];
    {
        let stores = place.open()?;
        let items = stores.open(NAME, &["items"])?;
        same("alone", items.get(Partition(0), TableId(0), b"k")?, Some("items".into()))?;
        let store = stores.open(NAME, &more)?;
        same("a new table", store.get(Partition(0), TableId(0), b"k")?, None)?;
        store.apply(&[batch(0, vec![put(0, "k", "new")], 2)])?;
    }
    let store = place.open()?.open(NAME, &more)?;
    for (table, name) in (0..).zip(more) {
        same(name, store.get(Partition(0), TableId(table), b"k")?, Some(name.into()))?;
        same(name, store.count(Partition(0), TableId(table))?, 1)?;
    }
    Ok(())
}

fn clear_one_shard(place: &dyn Place) -> Verdict {
    let (mut model, mut random) = (Model::default(), Random(3));
    {
        let opened = opened(place)?;
        for offset in 0..5 {
            let batches = random.batches(offset);
            opened.store.apply(&batches)?;
            model.apply(&batches);
        }
        opened.store.clear(Partition(1))?;
        model.clear(Partition(1));
        model.equals(&*opened.store)?;
    }
    let opened = opened(place)?;
    model.equals(&*opened.store)?;
    opened.store.clear(Partition(SHARDS + 1))?;
    model.equals(&*opened.store)
}

fn names_in_order(place: &dyn Place) -> Verdict {
    let names = ["a", "a/b", "a@2", "b c", "items", "money spent £", "..", "Z"];
    {
        let stores = place.open()?;
        same("before any", stores.names()?, vec![])?;
        for name in names {
            stores.open(name, &TABLES)?.apply(&[batch(0, vec![put(0, "k", name)], 1)])?;
        }
    }
    let stores = place.open()?;
    let mut expected: Vec<_> = names.map(str::to_owned).into();
    expected.sort();
    same("the names", stores.names()?, expected)?;
    for name in names {
        let found = stores.open(name, &TABLES)?.get(Partition(0), TableId(0), b"k")?;
        same(name, found, Some(name.into()))?;
    }
    Ok(())
}

fn removed(place: &dyn Place) -> Verdict {
    let opened = opened(place)?;
    opened.stores.open("other", &TABLES)?.apply(&[batch(0, vec![put(0, "k", "other")], 1)])?;
    opened.store.apply(&[batch(0, vec![put(0, "k", "v")], 1)])?;
    opened.stores.remove(NAME)?;
    opened.stores.remove(NAME)?;
    same("the names", opened.stores.names()?, vec!["other".to_owned()])?;
    let gone = StoreErrorKind::Unavailable;
    kind("a read", opened.store.get(Partition(0), TableId(0), b"k"), gone)?;
    kind("a checkpoint", opened.store.checkpoint(Partition(0)), gone)?;
    kind("a write", opened.store.apply(&[batch(0, vec![], 2)]), gone)?;
    let again = opened.stores.open(NAME, &TABLES)?;
    Model::default().equals(&*again)?;
    again.apply(&[batch(0, vec![put(0, "k", "w")], 3)])?;
    kind("an old handle", opened.store.get(Partition(0), TableId(0), b"k"), gone)?;
    let other = opened.stores.open("other", &TABLES)?.get(Partition(0), TableId(0), b"k")?;
    same("the other store", other, Some("other".into()))
}

fn seeded_changes(place: &dyn Place) -> Verdict {
    let mut model = Model::default();
    let mut random = Random(4);
    for offset in 0..10 {
        let opened = opened(place)?;
        for _ in 0..20 {
            let batches = random.batches(offset);
            opened.store.apply(&batches)?;
            model.apply(&batches);
        }
        if random.below(4) == 0 {
            let shard = Partition(random.below(u64::from(SHARDS)) as u32);
            opened.store.clear(shard)?;
            model.clear(shard);
        }
        model.equals(&*opened.store)?;
    }
    Ok(())
}

const GENERATIONS: u64 = 60;
const KEYS: u64 = 40;

/// Every generation writes the same value under every key of two shards, and the checkpoint that belongs to it; so
/// whatever a reader sees together must be of one generation, and what it sees later must not be older.
fn readers_see_whole_batches(place: &dyn Place) -> Verdict {
    let opened = opened(place)?;
    opened.store.apply(&generation(0))?;
    let done = AtomicBool::new(false);
    let store = &*opened.store;
    let (written, read) = thread::scope(|scope| {
        let readers = [(); 2].map(|()| scope.spawn(|| read_generations(store, &done)));
        let written = (1..=GENERATIONS).try_for_each(|number| store.apply(&generation(number)));
        done.store(true, Ordering::Release);
        (written, readers.map(|reader| reader.join().expect("a reader does not panic")))
    });
    written?;
    read.into_iter().collect()
}

fn generation(number: u64) -> [StateBatch; 2] {
    [0, 1].map(|shard| {
        let changes =
            (0..KEYS).map(|key| put(0, format!("{key:02}"), format!("{number:04}").repeat(50))).collect();
        batch(shard, changes, number)
    })
}

fn read_generations(store: &dyn StateStore, done: &AtomicBool) -> Verdict {
    let mut seen = 0;
    loop {
        let last = done.load(Ordering::Acquire);
        for shard in [0, 1] {
            for number in [point_generation(store, shard)?, scan_generation(store, shard)?] {
                same("a later read is not older", number >= seen, true)?;
                seen = number;
            }
            let at = store.checkpoint(Partition(shard))?.map_or(0, |found| offset_of(&found));
            same("the checkpoint is not older than the values", at >= seen, true)?;
            seen = at;
        }
        if last {
            return same("the last generation", seen, GENERATIONS);
        }
    }
}

fn point_generation(store: &dyn StateStore, shard: u32) -> Result<u64, Violation> {
    let value = store.get(Partition(shard), TableId(0), b"07")?;
    value.as_deref().map(number_of).ok_or_else(|| Violation("a key vanished".to_owned()))
}

fn scan_generation(store: &dyn StateStore, shard: u32) -> Result<u64, Violation> {
    let pairs = scan(store, Partition(shard), TableId(0), &KeyRange::all())?;
    same("keys in a scan", pairs.len() as u64, KEYS)?;
    let numbers: Vec<_> = pairs.iter().map(|(_, value)| number_of(value)).collect();
    same("one generation in a scan", numbers.iter().min(), numbers.iter().max())?;
    Ok(numbers[0])
}

fn number_of(value: &[u8]) -> u64 {
    let digits = std::str::from_utf8(&value[..4]).unwrap_or_default();
    digits.parse().unwrap_or(u64::MAX)
}

fn offset_of(found: &crate::store::Checkpoint) -> u64 {
    found.position.iter().map(|(_, Offset(offset))| offset).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = CASES.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), CASES.len());
    }

    #[test]
    fn a_generation_is_read_back_from_its_values() {
        let [batch, _] = generation(17);
        assert!(batch.changes.iter().all(|change| number_of(change.value.as_ref().unwrap()) == 17));
        assert_eq!(offset_of(&batch.checkpoint), 17);
        assert_eq!(batch.changes.len() as u64, KEYS);
        assert!(batch.changes.is_sorted_by_key(|change| Bytes::clone(&change.key)));
    }
}
