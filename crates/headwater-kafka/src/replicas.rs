//! More replicas for a topic that has too few: which brokers are to copy it, and asking the cluster for that.
//!
//! Replicas that are there stay. Those that are added go round the brokers, so that each gets about as many, and never
//! two of one partition to the same broker.

use std::collections::BTreeMap;

use krafka::admin::{
    AdminClient, AlterPartitionReassignmentsOptions, DescribeClusterOptions, TopicDescription,
};
use krafka::consumer::TopicPartition;
use krafka::error::ErrorCode;
use krafka::{BrokerId, KrafkaError, PartitionId};

/// The brokers that keep each partition of a topic.
pub(crate) type Assignment = BTreeMap<PartitionId, Vec<BrokerId>>;

pub(crate) fn assignment_of(topic: &TopicDescription) -> Assignment {
    topic.partitions.iter().map(|partition| (partition.partition, partition.replicas.clone())).collect()
}

/// Has the cluster copy those partitions to more brokers that fewer than `factor` keep.
///
/// Answers once the cluster has taken the task on; the copies follow.
pub(crate) async fn raise(
    admin: &AdminClient,
    topic: &str,
    assignment: &Assignment,
    factor: usize,
) -> Result<(), KrafkaError> {
    if assignment.values().all(|replicas| replicas.len() >= factor) {
        return Ok(());
    }
    let cluster = admin.describe_cluster(DescribeClusterOptions::default()).await?;
    let mut brokers: Vec<_> =
        cluster.brokers.iter().filter(|broker| !broker.is_fenced).map(|broker| broker.id).collect();
    brokers.sort_unstable();
    let wanted = spread(assignment, &brokers, factor).ok_or_else(|| KrafkaError::Broker {
        code: ErrorCode::InvalidReplicationFactor,
        message: String::new(),
    })?;
    let targets = wanted
        .into_iter()
        .map(|(partition, replicas)| (TopicPartition::new(topic, partition), Some(replicas)));
    let taken =
        admin.alter_partition_reassignments(targets, AlterPartitionReassignmentsOptions::default()).await?;
    taken.into_values().collect()
}

/// The partitions that need more replicas, with all that they are to have; `None` if there are too few brokers.
fn spread(assignment: &Assignment, brokers: &[BrokerId], factor: usize) -> Option<Assignment> {
    let mut next = 0;
    let few = assignment.iter().filter(|(_, replicas)| replicas.len() < factor);
    few.map(|(partition, replicas)| {
        let mut replicas = replicas.clone();
        for _ in 0..brokers.len() {
            if replicas.len() == factor {
                break;
            }
            let broker = brokers[next % brokers.len()];
            next += 1;
            if !replicas.contains(&broker) {
                replicas.push(broker);
            }
        }
        (replicas.len() == factor).then_some((*partition, replicas))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment(partitions: &[&[BrokerId]]) -> Assignment {
        (0..).zip(partitions.iter().map(|replicas| replicas.to_vec())).collect()
    }

    #[test]
    fn replicas_stay_and_those_that_are_added_go_round_the_brokers() {
        let alone: &[&[BrokerId]] = &[&[1], &[2], &[3], &[1]];
        let wanted = spread(&assignment(alone), &[1, 2, 3], 2).unwrap();
        for (partition, replicas) in &wanted {
            assert_eq!(replicas[0], alone[*partition as usize][0], "who leads stays first");
            assert!(replicas.len() == 2 && replicas[0] != replicas[1], "{wanted:?}");
        }
        let added = |broker| wanted.values().filter(|replicas| replicas[1] == broker).count();
        assert!((1..=3).all(|broker| added(broker) >= 1), "{wanted:?}");
    }

    #[test]
    fn partitions_with_enough_replicas_are_left_alone() {
        let wanted = spread(&assignment(&[&[1, 2, 3], &[2]]), &[1, 2, 3], 2).unwrap();
        assert_eq!(wanted.keys().collect::<Vec<_>>(), [&1]);
    }

    #[test]
    fn fewer_brokers_than_replicas_are_refused() {
        assert_eq!(spread(&assignment(&[&[1]]), &[1, 2], 3), None);
        assert_eq!(spread(&assignment(&[&[1]]), &[], 2), None);
    }
}
