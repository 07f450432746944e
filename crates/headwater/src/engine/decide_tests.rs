use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::*;
use crate::engine::state::StateRead;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[derive(Serialize, Deserialize)]
enum Command {
    Deposit(i64),
    Withdraw(i64),
    Twice(i64),
    Nothing,
    PanicDeciding,
    PanicEvolving,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Moved(i64),
    Bomb,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Rejection {
    Short { by: i64 },
}

impl Aggregate for Account {
    const NAME: &'static str = "account";
    type Id = String;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command, _: &Context) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Deposit(n) => Ok(vec![Event::Moved(n)]),
            Command::Withdraw(n) if n > self.balance => Err(Rejection::Short { by: n - self.balance }),
            Command::Withdraw(n) => Ok(vec![Event::Moved(-n)]),
            Command::Twice(n) => Ok(vec![Event::Moved(n), Event::Moved(n)]),
            Command::Nothing => Ok(vec![]),
            Command::PanicDeciding => panic!("deciding"),
            Command::PanicEvolving => Ok(vec![Event::Moved(1), Event::Bomb]),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Moved(n) => self.balance += n,
            Event::Bomb => panic!("evolving"),
        }
    }
}

#[derive(Default)]
struct Committed(HashMap<(TableId, Bytes), Bytes>);

impl StateRead for Committed {
    fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, headwater_core::store::StoreError> {
        Ok(self.0.get(&(table, Bytes::copy_from_slice(key))).cloned())
    }

    fn scan(
        &self,
        _: TableId,
        _: &headwater_core::store::KeyRange,
        _: &mut headwater_core::store::Visit<'_>,
    ) -> Result<(), headwater_core::store::StoreError> {
        unreachable!("deciding reads no ranges")
    }
}

impl Committed {
    fn apply(&mut self, delta: Delta) {
        for change in delta.into_changes() {
            match change.value {
                Some(value) => self.0.insert((change.table, change.key), value),
                None => self.0.remove(&(change.table, change.key)),
            };
        }
    }
}

struct Shard {
    decider: Decider<Account>,
    committed: Committed,
    open: Decided,
    log: Vec<Append>,
    now: Timestamp,
}

fn partition(name: &str) -> TopicPartition {
    headwater_core::topic::TopicName::new(name).unwrap().partition(0)
}

impl Shard {
    fn new() -> Self {
        let settings = DeciderSettings {
            source: "/bank/account".into(),
            events: partition("events"),
            outcomes: partition("outcomes"),
            snapshots: partition("snapshots"),
            outcomes_kept_ms: 1_000,
            command_bytes_max: 10_000,
            cached_states: 4,
        };
        Self {
            decider: Decider::new(settings),
            committed: Committed::default(),
            open: Decided::default(),
            log: Vec::new(),
            now: Timestamp(5_000),
        }
    }

    fn send(&mut self, id: &str, command_id: &str, command: Command) -> Result<u64, String> {
        self.send_expecting(id, command_id, command, None, None)
    }

    fn send_expecting(
        &mut self,
        id: &str,
        command_id: &str,
        command: Command,
        expected: Option<u64>,
        appended: Option<Timestamp>,
    ) -> Result<u64, String> {
        let mut incoming = Incoming {
            id: id.to_owned(),
            payload: serde_json::to_vec(&command).unwrap().into(),
            command: Some(command),
            command_id: CommandId::new(command_id).unwrap(),
            expected: expected.map(Version),
            origin: Origin::default(),
            appended,
        };
        let base = Base { in_flight: None, committed: &self.committed };
        match self.decider.decide(&mut incoming, self.now, &mut self.open, &base).unwrap() {
            Verdict::Accepted(version) => Ok(version.0),
            Verdict::Rejected(rejection) => Err(format!("{rejection:?}")),
            Verdict::Refused(refusal) => Err(refusal.to_string()),
        }
    }

    fn commit(&mut self) {
        let Decided { appends, delta } = std::mem::take(&mut self.open);
        self.log.extend(appends);
        self.committed.apply(delta);
    }

    fn events(&self) -> Vec<(String, u64)> {
        let events = self.log.iter().filter(|append| append.to == partition("events"));
        let place = |append: &Append| {
            let key = append.record.key.as_deref().unwrap();
            let version = header_number(&append.record.headers, name::SEQUENCE).unwrap();
            (String::from_utf8_lossy(key).into_owned(), version)
        };
        events.map(place).collect()
    }
}

#[test]
fn commands_of_one_batch_see_each_other() {
    let mut shard = Shard::new();
    assert_eq!(shard.send("a", "1", Command::Deposit(5)), Ok(1));
    assert_eq!(shard.send("a", "2", Command::Withdraw(5)), Ok(2));
    assert_eq!(shard.send("a", "3", Command::Withdraw(1)), Err("Short { by: 1 }".into()));
    assert_eq!(shard.send("b", "3", Command::Twice(1)), Ok(2));
    shard.commit();
    let expected = [("a", 1), ("a", 2), ("b", 1), ("b", 2)].map(|(id, version)| (id.to_owned(), version));
    assert_eq!(shard.events(), expected);
}

#[test]
fn the_same_id_gives_the_same_outcome_in_the_batch_and_after_it() {
    for commit in [false, true] {
        let mut shard = Shard::new();
        shard.send("a", "1", Command::Deposit(5)).unwrap();
        let short = shard.send("a", "2", Command::Withdraw(9)).unwrap_err();
        if commit {
            shard.commit();
            shard.decider.forget_undecided();
        }
        assert_eq!(shard.send("a", "1", Command::Deposit(5)), Ok(1));
        assert_eq!(shard.send("a", "2", Command::Withdraw(9)), Err(short));
        assert!(shard.send("a", "1", Command::Deposit(6)).unwrap_err().contains("another command"));
        assert_eq!(shard.send("b", "1", Command::Deposit(6)), Ok(1), "an id is scoped to its aggregate");
        shard.commit();
        assert_eq!(shard.events().len(), 2);
    }
}

#[test]
fn an_outcome_is_forgotten_when_it_has_been_kept_long_enough() {
    let mut shard = Shard::new();
    shard.send("a", "1", Command::Deposit(5)).unwrap();
    shard.commit();
    shard.now = shard.now.plus_ms(1_000);
    assert_eq!(shard.send("a", "1", Command::Deposit(5)), Ok(1));
    shard.now = shard.now.plus_ms(1);
    assert_eq!(shard.send("a", "1", Command::Deposit(5)), Ok(2));
}

#[test]
fn an_old_outcome_is_removed_unless_it_was_decided_anew() {
    let mut shard = Shard::new();
    shard.send("a", "1", Command::Deposit(5)).unwrap();
    shard.send("a", "2", Command::Deposit(5)).unwrap();
    shard.commit();
    let rows = |shard: &Shard| -> Vec<(Bytes, Bytes)> {
        let outcomes = shard.committed.0.iter().filter(|((table, _), _)| *table == OUTCOMES);
        outcomes.map(|((_, key), row)| (key.clone(), row.clone())).collect()
    };
    for (kept_ms, left) in [(1_000, 2), (1_001, 1)] {
        shard.now = Timestamp(5_000).plus_ms(kept_ms);
        let _ = shard.send("a", "1", Command::Deposit(5));
        for (key, row) in rows(&shard) {
            shard.decider.expire(&key, &row, shard.now, &mut shard.open);
        }
        shard.commit();
        assert_eq!(rows(&shard).len(), left);
    }
}

#[test]
fn a_command_of_the_topic_that_is_older_than_outcomes_is_expired_and_not_executed() {
    let mut shard = Shard::new();
    let old = shard.now.plus_ms(-1_001);
    let answer = shard.send_expecting("a", "1", Command::Deposit(5), None, Some(old));
    assert!(answer.unwrap_err().contains("older than outcomes"));
    shard.commit();
    assert!(shard.events().is_empty());
}

#[test]
fn an_expected_version_is_checked_when_the_command_is_decided() {
    let mut shard = Shard::new();
    assert_eq!(shard.send_expecting("a", "1", Command::Deposit(5), Some(0), None), Ok(1));
    let conflict = shard.send_expecting("a", "2", Command::Deposit(5), Some(0), None).unwrap_err();
    assert!(conflict.contains("version 1, not 0"), "{conflict}");
    assert_eq!(shard.send_expecting("a", "2", Command::Deposit(5), Some(1), None), Err(conflict));
}

#[test]
fn a_panic_refuses_its_command_alone_and_leaves_the_state() {
    let mut shard = Shard::new();
    shard.send("a", "1", Command::Deposit(5)).unwrap();
    for (id, command) in [("2", Command::PanicDeciding), ("3", Command::PanicEvolving)] {
        assert!(shard.send("a", id, command).unwrap_err().contains("panicked"));
    }
    assert_eq!(shard.send("a", "4", Command::Withdraw(5)), Ok(2));
    shard.commit();
    assert_eq!(shard.events().len(), 2);
}

#[test]
fn a_command_without_events_is_accepted_at_the_version_there_is() {
    let mut shard = Shard::new();
    shard.send("a", "1", Command::Deposit(5)).unwrap();
    assert_eq!(shard.send("a", "2", Command::Nothing), Ok(1));
}

#[test]
fn replaying_the_events_gives_the_state_and_a_gap_is_an_error() {
    let mut shard = Shard::new();
    for n in 0..20 {
        shard.send(&format!("a{}", n % 3), &n.to_string(), Command::Twice(n)).unwrap();
    }
    shard.commit();
    let events: Vec<_> = shard.log.iter().filter(|a| a.to == partition("events")).cloned().collect();
    let stored = |append: &Append| StoredRecord { offset: Default::default(), record: append.record.clone() };
    let mut other = Shard::new();
    for event in events.iter().map(stored) {
        let base = Base { in_flight: None, committed: &other.committed };
        other.decider.replay(&event, &mut other.open, &base).unwrap();
    }
    other.commit();
    let states = |committed: &Committed| {
        let mut rows: Vec<_> = committed.0.iter().filter(|((table, _), _)| *table == STATES).collect();
        rows.sort();
        format!("{rows:?}")
    };
    assert_eq!(states(&other.committed), states(&shard.committed));
    let mut gap = Shard::new();
    let base = Base { in_flight: None, committed: &gap.committed };
    let error = gap.decider.replay(&stored(&events[1]), &mut gap.open, &base).unwrap_err();
    assert!(error.to_string().contains("events are missing"), "{error}");
}

#[test]
fn a_snapshot_is_made_once_for_all_events_that_it_includes() {
    let mut shard = Shard::new();
    shard.send("a", "1", Command::Twice(1)).unwrap();
    shard.send("b", "1", Command::Deposit(1)).unwrap();
    shard.commit();
    let stored = |append: &Append| StoredRecord { offset: Default::default(), record: append.record.clone() };
    let tail: Vec<_> = shard.log.iter().filter(|a| a.to == partition("events")).map(stored).collect();
    for _ in 0..2 {
        let base = Base { in_flight: None, committed: &shard.committed };
        shard.decider.snapshot(&tail, shard.now, &mut shard.open, &base).unwrap();
        shard.commit();
    }
    let snapshots: Vec<_> = shard.log.iter().filter(|a| a.to == partition("snapshots")).map(stored).collect();
    assert_eq!(snapshots.len(), 2);
    let mut restored = Decided::default();
    for snapshot in &snapshots {
        Decider::<Account>::restore_snapshot(snapshot, &mut restored).unwrap();
    }
    let mut other = Shard::new();
    other.committed.apply(restored.delta);
    assert_eq!(other.send_expecting("a", "9", Command::Withdraw(2), Some(2), None), Ok(3));
}

#[test]
fn the_context_gives_the_same_ids_each_time() {
    let context = |id: &str| Context::new(b"a", CommandId::new(id).unwrap(), Timestamp(1));
    assert_eq!(context("1").id(0), context("1").id(0));
    assert_ne!(context("1").id(0), context("1").id(1));
    assert_ne!(context("1").id(0), context("2").id(0));
}
