//! What readers see through the layers, whatever is committed, frozen, flushed or failing below them.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use headwater_core::store::StateStores;
use headwater_core::topic::Offset;
use proptest::prelude::*;

use super::*;
use crate::store::memory::MemoryStores;
use crate::store::testing::{Fate, Scripted, at, change};

const SHARD: Partition = Partition(0);
const TABLE: TableId = TableId(0);

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(u8, Option<u8>)>),
    Freeze,
    Flush,
    FailingFlush,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::collection::vec((0u8..12, proptest::option::of(any::<u8>())), 0..6).prop_map(Step::Commit),
        1 => Just(Step::Freeze),
        1 => Just(Step::Flush),
        1 => Just(Step::FailingFlush),
        1 => Just(Step::Reopen),
    ]
}

type Model = BTreeMap<Bytes, Bytes>;

fn pages(state: &ShardState, range: KeyRange, limit: usize) -> Vec<(Bytes, Bytes)> {
    let (mut rows, mut next) = (Vec::new(), Some(range));
    while let Some(range) = next {
        let page = state.page(TABLE, &range, limit).unwrap();
        assert!(page.rows.len() == limit || page.next.is_none());
        rows.extend(page.rows);
        next = page.next;
    }
    rows
}

/// Every way to read answers what the model says.
fn equals(state: &ShardState, model: &Model, commits: u64) {
    let checkpoint = if commits == 0 { Checkpoint::default() } else { at(commits) };
    for key in (0u8..12).map(|key| Bytes::from(vec![key])) {
        assert_eq!(state.get(TABLE, &key).unwrap(), model.get(&key).cloned());
        let (value, found) = state.get_at(TABLE, &key).unwrap();
        assert_eq!((value.as_ref(), &*found), (model.get(&key), &checkpoint));
    }
    let (count, found) = state.count_at(TABLE).unwrap();
    assert_eq!((count, &*found), (model.len() as u64, &checkpoint));
    for (from, to) in [(0u8, 12u8), (3, 9), (5, 5), (9, 3)] {
        let range = KeyRange {
            from: Bound::Included(vec![from].into()),
            to: Bound::Excluded(vec![to].into()),
            direction: Direction::Forward,
        };
        let mut expected: Vec<_> = model
            .iter()
            .filter(|(key, _)| range.contains(key))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        for limit in [1, 3, 100] {
            assert_eq!(pages(state, range.clone(), limit), expected);
        }
        expected.reverse();
        assert_eq!(pages(state, range.backward(), 2), expected);
    }
    assert_eq!(state.checkpoint().unwrap_or_default(), checkpoint);
}

proptest! {
    #[test]
    fn readers_see_every_commit_whatever_happens_below(steps in proptest::collection::vec(step(), 1..30)) {
        let store = Scripted::new();
        let budget = Arc::new(MemoryBudget::new(usize::MAX));
        let mut state = ShardState::open_within(store.clone(), SHARD, budget.clone()).unwrap();
        let (mut model, mut commits) = (Model::new(), 0);
        let (mut durable, mut frozen) = ((Model::new(), 0), None);
        for step in steps {
            match step {
                Step::Commit(changes) => {
                    commits += 1;
                    let changes: BTreeMap<_, _> = changes.into_iter().collect();
                    for (key, value) in &changes {
                        let key = Bytes::from(vec![*key]);
                        match value {
                            Some(value) => model.insert(key, value.to_string().into()),
                            None => model.remove(&key),
                        };
                    }
                    let changes =
                        changes.iter().map(|(key, value)| change(0, [*key], value.map(|v| v.to_string()).as_deref()));
                    state.commit(changes.collect(), at(commits));
                }
                Step::Freeze => {
                    if state.begin_flush().is_some() {
                        frozen.get_or_insert((model.clone(), commits));
                    }
                }
                Step::Flush => {
                    state.flush().unwrap();
                    (durable, frozen) = ((model.clone(), commits), None);
                    prop_assert!(!state.is_dirty());
                    prop_assert_eq!(budget.used(), 0);
                }
                Step::FailingFlush => {
                    store.will(Fate::Full);
                    prop_assert_eq!(state.flush().is_err(), state.is_dirty());
                    store.will(Fate::Applied);
                }
                Step::Reopen => {
                    drop(std::mem::replace(
                        &mut state,
                        ShardState::open_within(store.clone(), SHARD, budget.clone()).unwrap(),
                    ));
                    prop_assert_eq!(budget.used(), 0);
                    (model, commits) = durable.clone();
                    frozen = None;
                }
            }
            equals(&state, &model, commits);
        }
    }
}

#[test]
fn tables_are_apart() {
    let state = ShardState::open(Scripted::new(), SHARD).unwrap();
    state
        .commit(vec![change(0, "k", Some("a")), change(1, "k", Some("b")), change(1, "l", Some("c"))], at(1));
    for _ in 0..2 {
        assert_eq!(state.get(TableId(0), b"k").unwrap().unwrap(), "a");
        assert_eq!(state.get(TableId(1), b"k").unwrap().unwrap(), "b");
        assert_eq!(state.count_at(TableId(1)).unwrap().0, 2);
        state.flush().unwrap();
    }
}

#[test]
fn a_scan_stops_when_it_is_told_to() {
    let state = ShardState::open(Scripted::new(), SHARD).unwrap();
    state.commit(vec![change(0, "b", Some("")), change(0, "d", Some(""))], at(1));
    state.flush().unwrap();
    state.commit(vec![change(0, "a", Some("")), change(0, "c", Some("")), change(0, "e", Some(""))], at(2));
    for stop in 1..=5 {
        let mut seen = Vec::new();
        let visit = &mut |key: &[u8], _: &[u8]| {
            seen.extend_from_slice(key);
            if seen.len() == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        state.scan(TABLE, &KeyRange::all(), visit).unwrap();
        assert_eq!(seen, &b"abcde"[..stop]);
    }
}

#[test]
fn a_closed_state_stays_readable_and_is_not_flushed() {
    let store = Scripted::new();
    let budget = Arc::new(MemoryBudget::new(usize::MAX));
    let state = ShardState::open_within(store.clone(), SHARD, budget.clone()).unwrap();
    state.commit(vec![change(0, "k", Some("v"))], at(1));
    assert!(budget.used() > 0);
    state.close();
    state.flush().unwrap();
    assert_eq!((store.applied(), budget.used()), (0, 0));
    assert_eq!(state.get(TABLE, b"k").unwrap().unwrap(), "v");
    drop(state);
    assert_eq!(budget.used(), 0);
}

#[test]
#[should_panic(expected = "refused before they are committed")]
fn a_key_that_no_store_takes_is_not_committed() {
    let state = ShardState::open(Scripted::new(), SHARD).unwrap();
    state.commit(vec![change(0, vec![0; KEY_BYTES_MAX + 1], Some("v"))], at(1));
}

/// Every commit writes its number under all keys, while flushes run; no reader may see two numbers at once, a number
/// that is not its checkpoint's, or an older one than before.
#[test]
fn readers_beside_commits_and_flushes_see_whole_commits() {
    let store = MemoryStores::new().open("s", &["a"]).unwrap();
    let state = ShardState::open(store, SHARD).unwrap();
    let done = AtomicBool::new(false);
    let commit = |number: u64| {
        let value = number.to_string();
        state.commit((0..50u8).map(|key| change(0, [key], Some(&value))).collect(), at(number));
    };
    commit(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                state.flush().unwrap();
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = 0;
                while !done.load(Ordering::Acquire) {
                    let page = state.page(TABLE, &KeyRange::all(), 100).unwrap();
                    let (value, checkpoint) = state.get_at(TABLE, &[7]).unwrap();
                    let rows = page.rows.iter().map(|(_, value)| (value.clone(), page.checkpoint.clone()));
                    for (value, checkpoint) in rows.chain([(value.unwrap(), checkpoint)]) {
                        let number: u64 = std::str::from_utf8(&value).unwrap().parse().unwrap();
                        assert_eq!(checkpoint.position.iter().next().unwrap().1, Offset(number));
                        assert!(number >= seen);
                        seen = number;
                    }
                    assert_eq!(page.rows.len(), 50);
                    assert_eq!(state.count_at(TABLE).unwrap().0, 50);
                }
            });
        }
        (2..2_000).for_each(commit);
        done.store(true, Ordering::Release);
    });
}
