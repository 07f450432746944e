//! Whether an instance that stops gives its shards up, or keeps them for the start that follows.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::collections::BTreeSet;
use std::sync::Arc;

use headwater_core::log::{Group, Log, Membership, ShardChange, TopicSettings};
use headwater_core::topic::{Partition, TopicName};
use headwater_kafka::{KafkaLog, KafkaSettings};
use kafka_broker::Broker;
use krafka::Kafka;
use krafka::admin::DescribeConsumerGroupsOptions;

const SHARDS: u32 = 3;

async fn connect(broker: &Broker, restart_follows: bool) -> Arc<KafkaLog> {
    let settings = KafkaSettings {
        replication_factor: 1,
        min_in_sync_replicas: 1,
        restart_follows,
        ..KafkaSettings::new(broker.bootstrap(), "this-one")
    };
    KafkaLog::connect(settings).await.unwrap()
}

/// Joins, and waits until every shard is this member's.
async fn join(log: &dyn Log, group: &Group) -> Box<dyn Membership> {
    let (mut member, mut gained) = (log.join(group).await.unwrap(), BTreeSet::new());
    while gained.len() < SHARDS as usize {
        if let ShardChange::Gained(shard, _) = member.next().await.unwrap() {
            gained.insert(shard);
        }
    }
    assert_eq!(gained, (0..SHARDS).map(Partition).collect());
    member
}

/// Whom the coordinator still counts among a group's members.
async fn members(broker: &Broker, group: &str) -> Vec<Option<String>> {
    let kafka = Kafka::builder(broker.bootstrap()).connect().await.unwrap();
    let admin = kafka.admin().metrics_push(false);
    let groups = admin.describe_consumer_groups([group], DescribeConsumerGroupsOptions::default()).await;
    let group = groups.unwrap().remove(group).unwrap().unwrap();
    group.members.into_iter().map(|member| member.instance_id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_gives_its_shards_up_unless_its_restart_follows() {
    let broker = Broker::start().unwrap();
    for (name, restart_follows, stay) in
        [("leaves", false, vec![]), ("restarts", true, vec![Some("this-one".to_owned())])]
    {
        let log = connect(&broker, restart_follows).await;
        let topic = TopicName::new(format!("{name}.input")).unwrap();
        log.create(&topic, TopicSettings::kept(SHARDS)).await.unwrap();
        let group = Group { name: name.to_owned(), shards: SHARDS, topic };
        join(&*log, &group).await.leave().await.unwrap();
        assert_eq!(members(&broker, name).await, stay, "{name}");
        drop(log);
        // The start that follows has them all, by the same name.
        let log = connect(&broker, restart_follows).await;
        join(&*log, &group).await.leave().await.unwrap();
    }
}
