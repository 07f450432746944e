//! The table against a model in which instances gain, lose, hang and die.

use headwater_core::clock::Timestamp;
use headwater_core::topic::{Offset, Partition};
use proptest::prelude::*;

use super::table::{InstanceRecord, Table};
use super::{EXPIRES, FORGET, HEARTBEAT};

const TOPOLOGY: &str = "items";

fn record(run: &str, shards: &[(u32, u64)]) -> InstanceRecord {
    InstanceRecord {
        address: format!("{run}:80"),
        run: run.to_owned(),
        shards: [(TOPOLOGY.to_owned(), shards.iter().copied().collect())].into(),
        ..InstanceRecord::default()
    }
}

/// A topic that one reader follows; records come one heartbeat apart.
#[derive(Default)]
struct Topic {
    table: Table,
    next: u64,
    now: i64,
}

impl Topic {
    fn say(&mut self, name: &str, record: Option<InstanceRecord>) {
        self.now += HEARTBEAT.as_millis() as i64;
        self.table.apply(name, record, Offset(self.next), Timestamp(self.now));
        self.next += 1;
    }

    fn owner(&self, shard: u32) -> Option<&str> {
        self.table.owner(TOPOLOGY, Partition(shard)).map(|(name, _)| name)
    }
}

#[test]
fn a_claim_repeated_by_a_hung_instance_loses_against_its_successor() {
    let mut topic = Topic::default();
    topic.say("a", Some(record("a", &[(0, 1), (1, 1)])));
    topic.say("b", Some(record("b", &[(0, 2)])));
    assert_eq!((topic.owner(0), topic.owner(1)), (Some("b"), Some("a")));
    topic.say("a", Some(record("a", &[(0, 1), (1, 1)])));
    assert_eq!(topic.owner(0), Some("b"), "the last word does not count, the term does");
    topic.say("b", None);
    assert_eq!((topic.owner(0), topic.table.term(TOPOLOGY, Partition(0))), (Some("a"), 2));
}

#[test]
fn of_two_claims_of_one_term_the_one_that_began_later_wins() {
    let mut topic = Topic::default();
    topic.say("b", Some(record("b", &[(0, 1)])));
    topic.say("a", Some(record("a", &[(0, 1)])));
    topic.say("b", Some(record("b", &[(0, 1)])));
    assert_eq!(topic.owner(0), Some("a"), "a repeated claim is as old as its first record");
    topic.say("b", Some(record("b in its next life", &[(0, 1)])));
    assert_eq!(topic.owner(0), Some("b"));
}

#[test]
fn whoever_says_nothing_is_given_up_and_later_forgotten_but_never_because_the_log_is_away() {
    let mut topic = Topic::default();
    topic.say("dead", Some(record("dead", &[(0, 1)])));
    topic.now += FORGET.as_millis() as i64 * 5;
    topic.say("alive", Some(record("alive", &[(1, 1)])));
    assert_eq!(topic.owner(0), Some("dead"), "nothing was heard of anybody meanwhile");
    let beats = |over: std::time::Duration| over.as_millis().div_ceil(HEARTBEAT.as_millis());
    for _ in 0..beats(EXPIRES) {
        topic.say("alive", Some(record("alive", &[(1, 1)])));
    }
    assert_eq!((topic.owner(0), topic.owner(1)), (None, Some("alive")));
    assert!(topic.table.forgettable().is_empty());
    for _ in 0..beats(FORGET) {
        topic.say("alive", Some(record("alive", &[(1, 1)])));
    }
    assert_eq!(topic.table.forgettable(), ["dead"]);
}

#[test]
fn copies_are_told_beside_owners() {
    let mut topic = Topic::default();
    let copy = InstanceRecord { copies: [(TOPOLOGY.to_owned(), [3].into())].into(), ..record("b", &[]) };
    topic.say("a", Some(record("a", &[(3, 1)])));
    topic.say("b", Some(copy));
    let holders: Vec<_> = topic.table.holders(TOPOLOGY, Partition(3)).map(|(name, _)| name).collect();
    assert_eq!((topic.owner(3), holders), (Some("a"), vec!["b"]));
}

#[test]
fn a_record_of_before_is_read_for_ever() {
    let kept = r#"{"address":"10.0.0.1:8080","run":"r","at":1700000000000,"roles":["query"],
        "shards":{"items":{"0":3,"11":1}},"copies":{"links":[0,1]}}"#;
    let read: InstanceRecord = serde_json::from_str(kept).unwrap();
    assert_eq!(read.shards["items"][&11], 1);
    let bare: InstanceRecord = serde_json::from_str(r#"{"address":"a:1","run":"r","at":1}"#).unwrap();
    assert!(bare.shards.is_empty() && bare.copies.is_empty());
}

/// What happens next to the shard: it is gained by an instance, or some instance speaks again, hung or not.
#[derive(Debug, Clone)]
enum Step {
    Gained(usize),
    Speaks(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![(0..4usize).prop_map(Step::Gained), (0..4usize).prop_map(Step::Speaks)];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// Whoever gained last is found, whatever the others, who do not know that they lost it, go on to say.
    #[test]
    fn the_one_who_gained_last_is_the_owner(steps in steps()) {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        let mut topic = Topic::default();
        let mut claims = [None; 4];
        let mut last = None;
        for step in steps {
            let who = match step {
                Step::Gained(who) => {
                    claims[who] = Some(topic.table.term(TOPOLOGY, Partition(0)) + 1);
                    last = Some(who);
                    who
                }
                Step::Speaks(who) => who,
            };
            let shards: Vec<_> = claims[who].map(|term| (0, term)).into_iter().collect();
            topic.say(NAMES[who], Some(record(NAMES[who], &shards)));
            // The owner's own heartbeats go on, so that it does not expire.
            if let Some(owner) = last {
                let term = claims[owner].expect("it gained");
                topic.say(NAMES[owner], Some(record(NAMES[owner], &[(0, term)])));
                prop_assert_eq!(topic.owner(0), Some(NAMES[owner]));
            }
        }
    }

    /// Folding the topic as compaction left it finds the same owners as folding all of it.
    #[test]
    fn a_compacted_topic_tells_the_same_owner(steps in steps()) {
        let mut whole = Topic::default();
        let mut kept: std::collections::BTreeMap<String, (Offset, Option<InstanceRecord>)> = Default::default();
        for (n, step) in steps.into_iter().enumerate() {
            let (Step::Gained(who) | Step::Speaks(who)) = step;
            let term = whole.table.term(TOPOLOGY, Partition(0)) + 1;
            let name = format!("i{who}");
            let said = (n % 7 != 3).then(|| record(&name, &[(0, term)]));
            kept.insert(name.clone(), (Offset(whole.next), said.clone()));
            whole.say(&name, said);
        }
        let mut compacted = Table::default();
        let mut records: Vec<_> = kept.into_iter().collect();
        records.sort_by_key(|(_, (offset, _))| *offset);
        for (name, (offset, said)) in records {
            compacted.apply(&name, said, offset, Timestamp(0));
        }
        let found = compacted.owner(TOPOLOGY, Partition(0)).map(|(name, _)| name);
        if let Some(owner) = whole.owner(0) {
            prop_assert_eq!(found, Some(owner));
        }
    }
}
