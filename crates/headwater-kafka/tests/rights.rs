//! On a cluster with access control lists, a denial names the right that is missing; with all of them the log works.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::log::{
    AppendError, CommitError, Group, Log, LogError, LogErrorKind, Membership, ReadLimit, ShardChange,
    TopicSettings, Transaction, Wait, Writer,
};
use headwater_core::position::Position;
use headwater_core::record::{Append, Record};
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use headwater_kafka::{KafkaLog, KafkaSettings, Mechanism, Sasl, Security};
use kafka_broker::{Broker, Listener, Setup, run};

const LIMIT: Duration = Duration::from_secs(60);

/// A broker that grants Alice nothing but what a test tells it to.
struct Guarded {
    broker: Broker,
    log: Arc<KafkaLog>,
}

impl Guarded {
    async fn start() -> Self {
        let setup = Setup::default().listener(Listener::SaslPlaintext).user("alice", "wonder").authorizer();
        let broker = setup.start().unwrap();
        let sasl =
            Sasl { mechanism: Mechanism::ScramSha512, user: "alice".into(), password: "wonder".into() };
        let settings = KafkaSettings {
            replication_factor: 1,
            min_in_sync_replicas: 1,
            security: Security { tls: None, sasl: Some(sasl) },
            ..KafkaSettings::new(broker.bootstrap_of(Listener::SaslPlaintext), "rights")
        };
        let log = KafkaLog::connect(settings).await.unwrap();
        Self { broker, log }
    }

    /// Grants operations on resources whose name begins with `shop`; `--cluster` has no name.
    fn grant(&self, resource: &str, operations: &[&str]) {
        self.change("--add", "--allow-principal", resource, operations);
    }

    fn change(&self, change: &str, whom: &str, resource: &str, operations: &[&str]) {
        let bootstrap = self.broker.bootstrap();
        let mut args = vec!["--bootstrap-server", &bootstrap, change, whom, "User:alice"];
        match resource {
            "--cluster" => args.push(resource),
            _ => args.extend([resource, "shop", "--resource-pattern-type", "prefixed"]),
        }
        operations.iter().for_each(|operation| args.extend(["--operation", operation]));
        run(self.broker.jars().tool("org.apache.kafka.tools.AclCommand", &args), LIMIT).unwrap();
    }

    /// Broker and controller hear of a grant a moment after the tool does.
    async fn granted<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
        &self,
        ask: impl Fn() -> F,
    ) -> T {
        let mut last = String::new();
        for _ in 0..100 {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("still denied: {last}");
    }
}

fn not_written(error: AppendError) -> LogError {
    match error {
        AppendError::NotWritten(error) => error,
        AppendError::Unknown(error) => panic!("a denial leaves nothing unknown: {error}"),
    }
}

#[track_caller]
fn denied<T>(result: Result<T, LogError>, part: &str) {
    let error = result.err().expect("this is to be denied");
    assert_eq!(error.kind(), LogErrorKind::Denied, "{error}");
    assert!(error.to_string().contains(part), "`{error}` lacks `{part}`");
}

/// A topic of the shop, its one partition, and the group of its one shard.
struct Orders {
    topic: TopicName,
    at: TopicPartition,
    group: Group,
}

impl Orders {
    fn new() -> Self {
        let topic = TopicName::new("shop.orders").unwrap();
        let group = Group { name: "shop.orders".into(), shards: 1, topic: topic.clone() };
        Self { at: topic.partition(0), topic, group }
    }

    fn record(&self) -> Vec<Append> {
        vec![Append { to: self.at.clone(), record: Record::new("key", "value", Timestamp(1)) }]
    }

    fn transaction(&self) -> Transaction {
        let positions = Position::from_iter([(self.at.clone(), Offset(1))]);
        Transaction { appends: self.record(), positions, note: Bytes::new() }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denial_names_the_right_that_is_missing() {
    let (guarded, orders) = (Guarded::start().await, Orders::new());
    topics_and_appends(&guarded, &orders).await;
    reads_and_groups(&guarded, &orders).await;
    let (member, writer) = member_and_writer(&guarded, &orders).await;
    commits(&guarded, &orders, writer).await;
    member.leave().await.unwrap();
}

async fn topics_and_appends(guarded: &Guarded, orders: &Orders) {
    let (log, topic) = (&guarded.log, &orders.topic);
    denied(log.create(topic, TopicSettings::kept(1)).await, "grant it Create on topic shop.orders");
    guarded.grant("--topic", &["Create", "Describe", "DescribeConfigs"]);
    guarded.granted(|| log.create(topic, TopicSettings::kept(1))).await;

    // A broker knows no producer before it may write somewhere.
    denied(
        log.append(orders.record()).await.map_err(not_written),
        "grant it Write on the topic, or IdempotentWrite on the cluster",
    );
    guarded.grant("--cluster", &["IdempotentWrite"]);
    let mut append = log.append(orders.record()).await;
    for _ in 0..100 {
        if append.as_ref().is_err_and(|error| format!("{error:?}").contains("TopicAuthorizationFailed")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        append = log.append(orders.record()).await;
    }
    denied(append.map_err(not_written), "grant it Write on the topic of shop.orders-0");
    guarded.grant("--topic", &["Write"]);
    guarded.granted(|| log.append(orders.record())).await;
    // Several records are one transaction, of an id that all instances have in common.
    let two = [orders.record(), orders.record()].concat();
    denied(
        log.append(two).await.map_err(not_written),
        "grant it Write and Describe on transactional ids headwater-append.*",
    );
}

async fn reads_and_groups(guarded: &Guarded, orders: &Orders) {
    let (log, group) = (&guarded.log, &orders.group.name);
    let read = || log.read(&orders.at, Offset(0), ReadLimit::default(), Wait::No);
    denied(read().await, "grant it Read on topic shop.orders");
    guarded.grant("--topic", &["Read"]);
    assert_eq!(guarded.granted(read).await.records.len(), 1);

    denied(log.committed(group).await, "grant it Describe on group shop.orders");
    denied(log.delete(&orders.topic).await, "grant it Delete on topic shop.orders");
    guarded.grant("--topic", &["AlterConfigs"]);
    guarded.grant("--group", &["Read", "Describe"]);
    guarded.granted(|| log.committed(group)).await;
}

async fn member_and_writer(guarded: &Guarded, orders: &Orders) -> (Box<dyn Membership>, Box<dyn Writer>) {
    let mut member = guarded.log.join(&orders.group).await.unwrap();
    let claim = loop {
        let change = tokio::time::timeout(LIMIT, member.next()).await.expect("a lone member gets its shard");
        if let ShardChange::Gained(_, claim) = change.unwrap() {
            break claim;
        }
    };
    denied(claim.open().await, "grant it Write and Describe on transactional ids shop.orders.*");
    guarded.grant("--transactional-id", &["Write", "Describe"]);
    let writer = guarded.granted(|| claim.open()).await.writer;
    (member, writer)
}

async fn commits(guarded: &Guarded, orders: &Orders, mut writer: Box<dyn Writer>) {
    writer.commit(orders.transaction()).await.unwrap();
    guarded.change("--add", "--deny-principal", "--topic", &["Write"]);
    let mut commit = writer.commit(orders.transaction()).await;
    // Until the broker has heard of it.
    for _ in 0..100 {
        if commit.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        commit = writer.commit(orders.transaction()).await;
    }
    let Err(CommitError::NotWritten { retry: false, error }) = commit else { panic!("{commit:?}") };
    denied::<()>(Err(error), "grant it Write on every topic that it appends to");
}
