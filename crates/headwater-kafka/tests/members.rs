//! Members of a group that come and go, on the real broker: what stays with a member is written to all the while, also
//! where Kafka's own consumer is one of them.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::log::{
    Claim, Group, Log, LogErrorKind, Membership, ShardChange, TopicSettings, Transaction, Writer,
};
use headwater_core::position::Position;
use headwater_core::record::{Append, Record};
use headwater_core::topic::{Offset, Partition, TopicName};
use headwater_kafka::{KafkaLog, KafkaSettings};
use kafka_broker::Broker;
use tokio::time::{sleep, timeout};

const SHARDS: u32 = 4;

/// For one change of the group: some sessions, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two commits of every shard.
const PAUSE: Duration = Duration::from_millis(20);

fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| Broker::start().expect("a broker starts"))
}

async fn connect(instance: &str) -> Arc<KafkaLog> {
    let settings = KafkaSettings {
        replication_factor: 1,
        min_in_sync_replicas: 1,
        ..KafkaSettings::new(broker().bootstrap(), instance)
    };
    KafkaLog::connect(settings).await.expect("the broker runs")
}

/// A group with its topic.
async fn group(name: &str) -> Group {
    let topic = TopicName::new(format!("{name}.input")).unwrap();
    connect("admin").await.create(&topic, TopicSettings::kept(SHARDS)).await.unwrap();
    Group { name: name.to_owned(), shards: SHARDS, topic }
}

/// A process that writes for every shard that it has.
struct Instance {
    name: &'static str,
    topic: TopicName,
    member: Box<dyn Membership>,
    writers: BTreeMap<Partition, Box<dyn Writer>>,
    /// How often a shard came or went.
    changes: usize,
}

impl Instance {
    async fn join(name: &'static str, group: &Group) -> Self {
        let member = connect(name).await.join(group).await.unwrap();
        Self { name, topic: group.topic.clone(), member, writers: BTreeMap::new(), changes: 0 }
    }

    async fn take(&mut self, change: ShardChange) {
        self.changes += 1;
        match change {
            ShardChange::Gained(shard, claim) => {
                let writer = open(&*claim).await;
                assert!(self.writers.insert(shard, writer).is_none(), "{} gained {shard} twice", self.name);
            }
            ShardChange::Revoked(shard) => {
                assert!(self.writers.remove(&shard).is_some(), "{} never had {shard}", self.name);
            }
            ShardChange::Lost(shard) => panic!("{} lost {shard}", self.name),
        }
    }

    async fn write(&mut self) {
        for (shard, writer) in &mut self.writers {
            let at = self.topic.partition(shard.0);
            let record = Record::new("key", self.name.to_owned(), Timestamp(1));
            let transaction = Transaction {
                appends: vec![Append { to: at.clone(), record }],
                positions: Position::from_iter([(at, Offset(1))]),
                note: Bytes::new(),
            };
            let written = writer.commit(transaction).await;
            assert!(written.is_ok(), "{} could not write for {shard}: {written:?}", self.name);
        }
    }

    /// What happens next, or nothing for a while; then every shard is written for.
    async fn go_on(&mut self) {
        match timeout(PAUSE, self.member.next()).await {
            Ok(change) => self.take(change.unwrap()).await,
            Err(_) => self.write().await,
        }
    }

    fn shards(&self) -> BTreeSet<u32> {
        self.writers.keys().map(|shard| shard.0).collect()
    }

    async fn leave(self) {
        drop(self.writers);
        self.member.leave().await.unwrap();
    }
}

/// Kafka's own consumer, in a process of its own.
struct Java {
    process: Child,
    lines: Receiver<String>,
    shards: BTreeSet<u32>,
}

impl Java {
    fn join(group: &Group) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/Member.java");
        let args = [&broker().bootstrap(), &*group.name, group.topic.as_str()];
        let mut java = broker().jars().source(&source, &args);
        let mut process = java.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        let (line, lines) = channel();
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|told| line.send(told)));
        Self { process, lines, shards: BTreeSet::new() }
    }

    /// The shards that it has by what it told last.
    fn shards(&mut self) -> &BTreeSet<u32> {
        for line in self.lines.try_iter() {
            let shards = line.strip_prefix("has ").unwrap_or_else(|| panic!("the consumer says: {line}"));
            let shards = shards.split(',').filter(|shard| !shard.is_empty());
            self.shards = shards.map(|shard| shard.parse().unwrap()).collect();
        }
        &self.shards
    }

    /// It leaves when its input ends.
    async fn leave(mut self) {
        drop(self.process.stdin.take());
        let ended = async {
            loop {
                match self.process.try_wait().unwrap() {
                    Some(status) => return status,
                    None => sleep(PAUSE).await,
                }
            }
        };
        assert!(timeout(PATIENCE, ended).await.expect("the consumer ends").success());
        // Nothing that it said last was amiss.
        self.shards();
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn open(claim: &dyn Claim) -> Box<dyn Writer> {
    loop {
        match claim.open().await {
            Ok(opened) => return opened.writer,
            Err(error) if error.kind() == LogErrorKind::Unavailable => sleep(PAUSE).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Goes on until the group is as wanted.
async fn settle(instances: &mut [Instance], mut wanted: impl FnMut(&[Instance]) -> bool) {
    let settle = async {
        while !wanted(instances) {
            for instance in instances.iter_mut() {
                instance.go_on().await;
            }
            sleep(PAUSE).await;
        }
    };
    let settled = timeout(PATIENCE, settle).await.is_ok();
    let shards: Vec<_> = instances.iter().map(|instance| (instance.name, instance.shards())).collect();
    assert!(settled, "the group stays as it is: {shards:?}");
}

/// Goes on until the instances have as many shards each.
async fn until(instances: &mut [Instance], counts: &[usize]) {
    let has = |instances: &[Instance]| instances.iter().map(|has| has.writers.len()).collect::<Vec<_>>();
    settle(instances, |instances| has(instances) == counts).await;
}

/// Goes on until the consumer and the instances have as many shards each, and every shard is one's alone.
async fn until_with(java: &mut Java, count: usize, instances: &mut [Instance], counts: &[usize]) {
    let wanted = |instances: &[Instance]| {
        let theirs = java.shards();
        let ours: Vec<_> = instances.iter().map(Instance::shards).collect();
        let all: BTreeSet<u32> = ours.iter().flatten().chain(theirs).copied().collect();
        theirs.len() == count
            && ours.iter().map(BTreeSet::len).eq(counts.iter().copied())
            && all == (0..SHARDS).collect()
    };
    settle(instances, wanted).await;
}

/// The claim that moves is dropped with its writer, so the other shards of both go on beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_that_stay_are_written_to_while_others_come_and_go() {
    let group = group("come-and-go").await;
    let mut instances = vec![Instance::join("first", &group).await];
    until(&mut instances, &[4]).await;
    for _ in 0..3 {
        instances.push(Instance::join("second", &group).await);
        until(&mut instances, &[2, 2]).await;
        let changes = instances[0].changes;
        instances.pop().unwrap().leave().await;
        until(&mut instances, &[4]).await;
        assert_eq!(instances[0].changes, changes + 2, "nothing moved but what was left behind");
    }
}

/// Whoever is first in a group shares its shards out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafkas_own_consumer_is_a_member_beside_ours_and_leads_them_or_is_led() {
    let led = group("java-led").await;
    let mut instances = vec![Instance::join("first", &led).await];
    until(&mut instances, &[4]).await;
    let mut java = Java::join(&led);
    until_with(&mut java, 2, &mut instances, &[2]).await;
    java.leave().await;
    until(&mut instances, &[4]).await;
    assert_eq!(instances[0].changes, 4 + 2 + 2, "nothing moved but what had to");

    let leading = group("java-leading").await;
    let mut java = Java::join(&leading);
    until_with(&mut java, 4, &mut [], &[]).await;
    let mut instances = vec![Instance::join("first", &leading).await];
    until_with(&mut java, 2, &mut instances, &[2]).await;
    instances.push(Instance::join("second", &leading).await);
    settle(&mut instances, |instances| instances.iter().all(|instance| !instance.writers.is_empty())).await;
    instances.pop().unwrap().leave().await;
    until_with(&mut java, 2, &mut instances, &[2]).await;
    java.leave().await;
    until(&mut instances, &[4]).await;
}
