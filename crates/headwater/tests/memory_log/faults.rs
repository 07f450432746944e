//! Seeded faults: they strike, they are counted, and under all of them the log keeps its promises.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use headwater::log::memory::{FaultKind, Faults, MemoryLog, MemoryOptions, Op};
use headwater_core::BoxFuture;
use headwater_core::clock::Timestamp;
use headwater_core::log::{
    AppendError, Claim, CommitError, Group, Log, LogError, LogErrorKind, Membership, ReadLimit, ShardChange,
    TopicSettings, Transaction, Wait, Writer,
};
use headwater_core::position::Position;
use headwater_core::record::{Append, Record, StoredRecord};
use headwater_core::topic::{Offset, TopicName, TopicPartition};

use crate::drive::{block_on, poll_once};

const SEEDS: u64 = 2_000;
const STEPS: u64 = 40;
/// Tries after which a call that is refused now and then is taken for refused always.
const TRIES: usize = 1_000;

#[test]
fn what_is_acknowledged_is_there_once_under_every_fault() {
    let mut hits: BTreeMap<FaultKind, u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let client = run(seed, Faults::every(60));
        client.verdict().unwrap_or_else(|how| panic!("seed {seed}: {how}"));
        for (kind, count) in client.log.fault_hits() {
            *hits.entry(kind).or_default() += count;
        }
    }
    println!("hits over {SEEDS} seeds: {hits:#?}");
    let missed: Vec<_> = FaultKind::ALL.into_iter().filter(|kind| hits[kind] == 0).collect();
    assert!(missed.is_empty(), "no hit of {missed:?}");
}

#[test]
fn a_commit_without_a_sync_is_found() {
    let found =
        (0..SEEDS).find(|seed| run(*seed, Faults::every(60).commit_without_sync()).verdict().is_err());
    println!("found with seed {found:?}");
    assert!(found.is_some(), "no seed of {SEEDS} finds the planted bug");
}

#[test]
fn one_seed_gives_one_run() {
    for seed in 0..50 {
        let [first, second] = [(); 2].map(|()| run(seed, Faults::every(100)));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.log.fault_hits(), second.log.fault_hits(), "seed {seed}");
    }
}

#[test]
fn what_is_held_waits_for_its_release() {
    let mut client = Client::new(0, Faults::none());
    client.ready();
    let held = client.log.hold(Op::Commit);
    let mut commit = client.begin("held");
    assert!(poll_once(&mut commit).is_none());
    assert_eq!(client.values(), Vec::<String>::new());
    drop(held);
    block_on(commit).expect("nothing else is wrong");
    assert_eq!(client.values(), ["held"]);
}

#[test]
#[should_panic(expected = "no hit of [full]")]
fn a_run_that_hit_nothing_is_told_so() {
    let log = MemoryLog::new(MemoryOptions::default());
    log.inject(Op::Ask, FaultKind::Unavailable);
    let refused = block_on(log.topics()).map_err(|error| error.kind());
    assert_eq!(refused, Err(LogErrorKind::Unavailable));
    log.assert_all_hit(&[FaultKind::Unavailable]);
    log.assert_all_hit(&[FaultKind::Unavailable, FaultKind::Full]);
}

/// A client's life from a seed, ended without faults so that everything can be looked at.
fn run(seed: u64, faults: Faults) -> Client {
    let mut client = Client::new(seed, faults.clone());
    for step in 0..STEPS {
        client.step(step);
    }
    client.log.set_faults(Faults::none());
    client.crash();
    // Opening the writer settles what is unclear.
    client.ready();
    client
}

/// What the client knows of a value that it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Written,
    NotWritten,
    Either,
}

/// One member of a group that writes values, and knows of each what became of it.
struct Client {
    log: MemoryLog,
    at: TopicPartition,
    member: Option<Box<dyn Membership>>,
    claim: Option<Box<dyn Claim>>,
    writer: Option<Box<dyn Writer>>,
    /// Values whose commit was not answered clearly; the next opening tells.
    unclear: Option<String>,
    head: Option<String>,
    known: BTreeMap<String, Known>,
    /// Values that were read, and so stay.
    seen: BTreeSet<String>,
    wrong: Option<String>,
    random: u64,
    trace: Vec<String>,
}

impl Client {
    fn new(seed: u64, faults: Faults) -> Self {
        let topic = TopicName::new("values").expect("the name is legal");
        let log = MemoryLog::new(MemoryOptions {
            seed,
            markers: seed.is_multiple_of(2),
            ..MemoryOptions::default()
        });
        block_on(log.create(&topic, TopicSettings::kept(1))).expect("there are no faults yet");
        log.set_faults(faults);
        Self {
            log,
            at: topic.partition(0),
            member: None,
            claim: None,
            writer: None,
            unclear: None,
            head: None,
            known: BTreeMap::new(),
            seen: BTreeSet::new(),
            wrong: None,
            random: seed,
            trace: Vec::new(),
        }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % sides
    }

    fn tell(&mut self, what: impl fmt::Debug) {
        self.trace.push(format!("{what:?}"));
    }

    fn step(&mut self, step: u64) {
        let value = format!("v-{step}");
        match self.roll(16) {
            0 => self.crash(),
            1 => self.crash_in_flight(&value),
            2 => self.give_up(&value),
            3..=6 => self.append(&value),
            7 => drop(self.follow()),
            8..=9 => self.look(),
            _ => self.commit(&value),
        }
    }

    fn append(&mut self, value: &str) {
        let answer = block_on(self.log.append(vec![self.record(value)]));
        self.tell((value, &answer));
        let known = match answer {
            Ok(_) => Known::Written,
            Err(AppendError::NotWritten(_)) => Known::NotWritten,
            Err(AppendError::Unknown(_)) => Known::Either,
        };
        self.known.insert(value.to_owned(), known);
    }

    fn commit(&mut self, value: &str) {
        self.ready();
        let answer = block_on(self.begin(value));
        self.tell((value, &answer));
        match answer {
            Ok(_) => self.committed(value),
            Err(CommitError::NotWritten { .. }) => self.is_refused(value),
            Err(CommitError::Fenced | CommitError::Abandoned(_)) => {
                self.is_refused(value);
                self.writer = None;
            }
            Err(CommitError::Unknown(_)) => self.is_unclear(value),
        }
    }

    fn begin(&mut self, value: &str) -> BoxFuture<'static, Result<Vec<Offset>, CommitError>> {
        let positions = Position::from_iter([(self.at.clone(), Offset::ZERO)]);
        let note = value.to_owned().into();
        let transaction = Transaction { appends: vec![self.record(value)], positions, note };
        self.writer.as_mut().expect("a writer was opened").commit(transaction)
    }

    /// A commit whose caller goes away.
    fn give_up(&mut self, value: &str) {
        self.ready();
        let mut commit = self.begin(value);
        match poll_once(&mut commit) {
            Some(Ok(_)) => self.committed(value),
            _ => self.is_unclear(value),
        }
    }

    fn crash_in_flight(&mut self, value: &str) {
        self.ready();
        let held = self.log.hold(Op::Commit);
        let mut commit = self.begin(value);
        assert!(poll_once(&mut commit).is_none(), "what is held is answered");
        self.is_unclear(value);
        self.crash();
        let answer = block_on(commit);
        self.tell(&answer);
        drop(held);
    }

    fn crash(&mut self) {
        self.log = self.log.crash();
        (self.member, self.claim, self.writer) = (None, None, None);
        self.tell("crash");
    }

    fn committed(&mut self, value: &str) {
        self.known.insert(value.to_owned(), Known::Written);
        self.head = Some(value.to_owned());
    }

    fn is_refused(&mut self, value: &str) {
        self.known.insert(value.to_owned(), Known::NotWritten);
    }

    fn is_unclear(&mut self, value: &str) {
        self.known.insert(value.to_owned(), Known::Either);
        self.unclear = Some(value.to_owned());
        self.writer = None;
    }

    /// Follows the changes of the membership that are there; whether any was.
    fn follow(&mut self) -> bool {
        let Some(member) = &mut self.member else { return false };
        let Some(change) = poll_once(&mut member.next()) else { return false };
        match change.expect("the log is open") {
            ShardChange::Gained(_, claim) => self.claim = Some(claim),
            ShardChange::Revoked(_) | ShardChange::Lost(_) => (self.claim, self.writer) = (None, None),
        }
        true
    }

    /// Does what it takes to have a writer.
    fn ready(&mut self) {
        for _ in 0..TRIES {
            if self.writer.is_some() {
                return;
            }
            if self.member.is_none() {
                let group = Group { name: "group".into(), shards: 1, topic: self.at.topic.clone() };
                self.member = block_on(self.log.join(&group)).ok();
            }
            while self.follow() {}
            self.open();
        }
        panic!("no writer after {TRIES} tries");
    }

    fn open(&mut self) {
        let Some(opened) = self.claim.as_ref().map(|claim| block_on(claim.open())) else { return };
        self.tell(opened.as_ref().map(|opened| &opened.head).map_err(|error| error.kind()));
        let Ok(opened) = opened else { return };
        self.writer = Some(opened.writer);
        let head = opened.head.map(|head| String::from_utf8_lossy(&head.note).into_owned());
        if let Some(value) = self.unclear.take() {
            let written = head.as_ref() == Some(&value);
            self.known.insert(value.clone(), if written { Known::Written } else { Known::NotWritten });
            self.head = if written { Some(value) } else { self.head.take() };
        }
        if head != self.head {
            self.wrong = Some(format!("the head is {head:?} where it should be {:?}", self.head));
        }
    }

    fn record(&self, value: &str) -> Append {
        Append { to: self.at.clone(), record: Record::new("key", value.to_owned(), Timestamp(0)) }
    }

    fn look(&mut self) {
        let values = self.values();
        self.tell(&values);
        self.seen.extend(values);
    }

    fn values(&self) -> Vec<String> {
        let (mut next, mut values) = (Offset::ZERO, Vec::new());
        let end = insist(|| self.log.bounds(&self.at)).end;
        while next < end {
            let batch = insist(|| self.log.read(&self.at, next, ReadLimit::default(), Wait::No));
            assert!(batch.next > next, "a read stays where it is");
            next = batch.next;
            let value = |stored: StoredRecord| stored.record.value.unwrap_or_default();
            let values_read = batch.records.into_iter().map(value);
            values.extend(values_read.map(|value| String::from_utf8_lossy(&value).into_owned()));
        }
        values
    }

    /// Whether what lies in the log is what the client was told.
    fn verdict(&self) -> Result<(), String> {
        if let Some(how) = &self.wrong {
            return Err(how.clone());
        }
        let values = self.values();
        if let Some(value) = self.seen.iter().find(|value| !values.contains(value)) {
            return Err(format!("{value} was read once, and is gone"));
        }
        for (value, known) in &self.known {
            let times = values.iter().filter(|found| *found == value).count();
            let right = match known {
                Known::Written => times == 1,
                Known::NotWritten => times == 0,
                Known::Either => times <= 1,
            };
            if !right {
                return Err(format!("{value} is {known:?} and lies there {times} times"));
            }
        }
        Ok(())
    }
}

/// Asks until the answer is not that there is none now.
fn insist<'a, T>(ask: impl Fn() -> BoxFuture<'a, Result<T, LogError>>) -> T {
    for _ in 0..TRIES {
        match block_on(ask()) {
            Ok(answer) => return answer,
            Err(error) => assert_eq!(error.kind(), LogErrorKind::Unavailable, "{error}"),
        }
    }
    panic!("no answer after {TRIES} tries");
}
