//! What is asked of the cluster, in words, and the right that each of it takes.
//!
//! The words stand in errors, behind "could not". The right is looked up by what was asked and what the cluster denied,
//! in the words of its access control lists: what Kafka checks for each request is listed in its documentation under
//! "Operations and Resources on Protocols".

use std::fmt;

use headwater_core::topic::{Partition, TopicName, TopicPartition};
use krafka::error::ErrorCode;

/// Something that a process asks of the cluster, and of which thing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation<'a> {
    ListTopics,
    DescribeTopics(&'a [String]),
    CreateTopic(&'a TopicName),
    AlterTopic(&'a TopicName),
    DeleteTopic(&'a TopicName),
    /// Of one record.
    Append(&'a TopicPartition),
    /// Of several records in one transaction, the first of them to this partition.
    AppendTogether {
        records: usize,
        first: &'a TopicPartition,
    },
    FindBounds(&'a TopicPartition),
    FindTime(&'a TopicPartition),
    FindEpochEnd {
        epoch: u32,
        at: &'a TopicPartition,
    },
    /// Of a group.
    FindPositions(&'a str),
    TellPositions(&'a str),
    BeMember(&'a str),
    LeaveGroup(&'a str),
    FindHolder(ShardOf<'a>),
    OpenWriter(ShardOf<'a>),
    Commit(ShardOf<'a>),
}

/// A shard of a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardOf<'a> {
    pub(crate) group: &'a str,
    pub(crate) shard: Partition,
}

impl Operation<'_> {
    /// The right that is missing where the cluster denies the operation with this code; `None` where it never does so.
    pub(crate) fn right(self, denial: ErrorCode) -> Option<String> {
        use ErrorCode::{
            ClusterAuthorizationFailed as Cluster, GroupAuthorizationFailed as Group,
            TopicAuthorizationFailed as Topic, TransactionalIdAuthorizationFailed as Transactions,
        };
        let right = match (denial, self) {
            (Topic, Self::DescribeTopics([name])) => format!("Describe and DescribeConfigs on topic {name}"),
            (Topic, Self::DescribeTopics(names)) => {
                format!("Describe and DescribeConfigs on topics {}", names.join(", "))
            }
            (Topic, Self::CreateTopic(name)) => format!("Create on topic {name}"),
            (Topic, Self::AlterTopic(name)) => format!("AlterConfigs on topic {name}"),
            (Topic, Self::DeleteTopic(name)) => format!("Delete on topic {name}"),
            (Topic, Self::Append(to)) => format!("Write on the topic of {to}"),
            (Topic, Self::AppendTogether { .. }) => "Write on every topic that it appends to".to_owned(),
            (Topic, Self::FindBounds(at) | Self::FindTime(at) | Self::FindEpochEnd { at, .. }) => {
                format!("Describe on the topic of {at}")
            }
            (Topic, Self::TellPositions(_)) => "Read on every topic that it reads".to_owned(),
            (Topic, Self::Commit(_)) => {
                "Write on every topic that it appends to, and Read on those it reads".to_owned()
            }
            (Group, Self::FindPositions(group) | Self::FindHolder(ShardOf { group, .. })) => {
                format!("Describe on group {group}")
            }
            (
                Group,
                Self::TellPositions(group)
                | Self::BeMember(group)
                | Self::LeaveGroup(group)
                | Self::Commit(ShardOf { group, .. }),
            ) => format!("Read on group {group}"),
            (Transactions, Self::Append(_) | Self::AppendTogether { .. }) => {
                "Write and Describe on transactional ids headwater-append.*".to_owned()
            }
            (Transactions, Self::OpenWriter(ShardOf { group, .. }) | Self::Commit(ShardOf { group, .. })) => {
                format!("Write and Describe on transactional ids {group}.*")
            }
            (Cluster, Self::CreateTopic(_)) => "Create on the cluster".to_owned(),
            (Cluster, Self::AlterTopic(_)) => "Alter on the cluster, to add replicas".to_owned(),
            (Cluster, Self::Append(_) | Self::AppendTogether { .. } | Self::Commit(_)) => {
                "Write on the topic, or IdempotentWrite on the cluster".to_owned()
            }
            _ => return None,
        };
        Some(right)
    }
}

impl fmt::Display for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ListTopics => f.write_str("list the topics"),
            Self::DescribeTopics(names) => write!(f, "describe {}", names.join(", ")),
            Self::CreateTopic(name) => write!(f, "create the topic {name}"),
            Self::AlterTopic(name) => write!(f, "alter the topic {name}"),
            Self::DeleteTopic(name) => write!(f, "delete the topic {name}"),
            Self::Append(to) => write!(f, "append to {to}"),
            Self::AppendTogether { records, first } => {
                write!(f, "append {records} records to {first} and beside")
            }
            Self::FindBounds(at) => write!(f, "ask for the bounds of {at}"),
            Self::FindTime(at) => write!(f, "find a time in {at}"),
            Self::FindEpochEnd { epoch, at } => write!(f, "ask where leader epoch {epoch} ends in {at}"),
            Self::FindPositions(group) => write!(f, "ask for the positions of {group}"),
            Self::TellPositions(group) => write!(f, "tell how far {group} has come"),
            Self::BeMember(group) => write!(f, "be a member of the group {group}"),
            Self::LeaveGroup(group) => write!(f, "leave the group {group}"),
            Self::FindHolder(of) => write!(f, "ask who has shard {of}"),
            Self::OpenWriter(of) => write!(f, "open the writer of shard {of}"),
            Self::Commit(of) => write!(f, "commit for shard {of}"),
        }
    }
}

impl fmt::Display for ShardOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.shard, self.group)
    }
}

#[cfg(test)]
#[path = "operation_tests.rs"]
mod tests;
