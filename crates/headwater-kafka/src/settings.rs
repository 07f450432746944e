//! What a connection to a cluster is told: where it is, who asks, how topics are made, and how long to wait.
//!
//! The client's request, delivery and connect timeouts depend on each other (a request's clock covers the connecting
//! that it may need; a delivery's clock covers its requests); they are all derived from [`KafkaSettings::patience`].

use std::time::Duration;

pub use crate::security::{ClientCertificate, Mechanism, Sasl, Security, Tls};

/// How to reach a cluster, and what to ask of it.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// `host:port` of some brokers, separated by commas.
    pub servers: String,
    /// The name that the brokers' logs and quotas know this process by.
    pub client_id: String,
    /// This instance's own name among the members of every group, made once and kept in the data directory.
    pub instance: String,
    /// How many brokers keep each partition of topics that are created.
    pub replication_factor: i16,
    /// How many of them must have a record before it is acknowledged.
    pub min_in_sync_replicas: i16,
    /// Encryption and credentials.
    pub security: Security,
    /// After how long the cluster aborts the transaction of a writer that says nothing more.
    pub transaction_timeout: Duration,
    /// After how long a member that says nothing more has lost its shards.
    pub session_timeout: Duration,
    /// How long a member that was asked for a shard may hold on to its claim and writer.
    pub rebalance_timeout: Duration,
    /// How long one call may try before it answers that the cluster is unavailable.
    pub patience: Duration,
    /// Whether a member that leaves keeps its place in the group, because a restart of this instance follows.
    pub restart_follows: bool,
}

impl KafkaSettings {
    /// The defaults for a cluster at `servers`, as the instance called `instance`.
    pub fn new(servers: impl Into<String>, instance: impl Into<String>) -> Self {
        Self {
            servers: servers.into(),
            client_id: "headwater".to_owned(),
            instance: instance.into(),
            replication_factor: 3,
            min_in_sync_replicas: 2,
            security: Security::default(),
            transaction_timeout: Duration::from_secs(10),
            session_timeout: Duration::from_secs(6),
            rebalance_timeout: Duration::from_secs(30),
            patience: Duration::from_secs(5),
            restart_follows: false,
        }
    }
}
