//! A connection to the cluster, which can be made anew.
//!
//! The client is known not to recover by itself when the only broker restarts below an open transaction (its `abort`
//! waits in vain for a broker that it knows), so whoever saw an abort fail or a commit's outcome unknown gets a fresh
//! client. Clients that were handed out before live on until they are dropped.
//!
//! A broker serves the requests of one socket one after another, and holds each back until its answer is ready: a fetch
//! that waits, a commit that waits for replicas, a join that waits for other members. What must not wait for each other
//! has a client of its own ([`Connection::dedicated`]): each writer, each member of a group, each reader that polls.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use krafka::__private::kafka_metadata;
use krafka::admin::AdminClient;
use krafka::producer::ProducerBuilder;
use krafka::{Kafka, KafkaBuilder, KrafkaError};
use parking_lot::Mutex;

use crate::breaker::Breaker;
use crate::connecting::{explain, explain_again};
use crate::errors::{KafkaError, KafkaErrorKind};
use crate::settings::{KafkaSettings, Security};

/// The cluster as seen from this process.
pub(crate) struct Connection {
    settings: KafkaSettings,
    shared: Mutex<Shared>,
    /// Held while the shared client is being made anew, so that it is made once.
    making: tokio::sync::Mutex<()>,
    pub(crate) breaker: Breaker,
}

/// The client that all short requests share, and which one it is.
#[derive(Clone)]
struct Shared {
    kafka: Kafka,
    age: u64,
}

impl Connection {
    /// Connects; the first broker that answers tells the others.
    pub(crate) async fn open(settings: KafkaSettings) -> Result<Arc<Self>, KafkaError> {
        let kafka = connect(&settings, explain).await?;
        let shared = Mutex::new(Shared { kafka, age: 0 });
        Ok(Arc::new(Self {
            settings,
            shared,
            making: tokio::sync::Mutex::default(),
            breaker: Breaker::default(),
        }))
    }

    /// What the connection was told.
    pub(crate) fn settings(&self) -> &KafkaSettings {
        &self.settings
    }

    /// The client for short requests that may wait for each other.
    pub(crate) fn kafka(&self) -> Kafka {
        self.current().0
    }

    /// The shared client, and a number that another one does not have.
    pub(crate) fn current(&self) -> (Kafka, u64) {
        let Shared { kafka, age } = self.shared.lock().clone();
        (kafka, age)
    }

    /// For asking the cluster about topics, offsets and groups.
    pub(crate) fn admin(&self) -> AdminClient {
        self.kafka().admin().default_api_timeout(self.settings.patience).metrics_push(false)
    }

    /// A client with sockets of its own.
    pub(crate) async fn dedicated(&self) -> Result<Kafka, KafkaError> {
        connect(&self.settings, explain_again).await
    }

    /// Makes the shared client anew, once for all who ask at the same time.
    pub(crate) async fn rebuild(&self) -> Result<(), KafkaError> {
        let age = self.current().1;
        let _making = self.making.lock().await;
        if self.current().1 != age {
            return Ok(());
        }
        let kafka = connect(&self.settings, explain_again).await?;
        *self.shared.lock() = Shared { kafka, age: age + 1 };
        Ok(())
    }

    /// For each broker that is known, over a connection of its own, whether it answers in time, be it with a refusal.
    pub(crate) fn reach_each(&self, within: Duration) -> impl Iterator<Item = impl Future<Output = bool>> {
        let named = self.settings.servers.split(',').map(|server| server.trim().to_owned());
        let found = kafka_metadata(&self.kafka()).brokers();
        let found = found.iter().map(|broker| broker.address().to_owned());
        let servers: BTreeSet<String> = named.chain(found).collect();
        let settings = self.settings.clone();
        servers.into_iter().map(move |servers| {
            let settings = KafkaSettings { servers, patience: within, ..settings.clone() };
            async move {
                let refused = |error: KafkaError| error.kind() != KafkaErrorKind::Unreachable;
                connect(&settings, explain_again).await.map_or_else(refused, |_| true)
            }
        })
    }

    /// A producer's settings: idempotent, acknowledged by all in-sync replicas.
    ///
    /// Its batches are sent when they are flushed; the linger only spares a record that nobody flushes.
    pub(crate) fn producer(&self, kafka: &Kafka) -> ProducerBuilder {
        let patience = self.settings.patience;
        kafka
            .producer()
            .max_block(patience)
            .delivery_timeout(patience + LINGER)
            .linger(LINGER)
            .batch_size(BATCH_BYTES)
            .retry_backoff(RETRY_PAUSE)
            .metrics_push(false)
    }
}

const LINGER: Duration = Duration::from_millis(1);

const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Large, since a batch costs a broker the same whatever it holds; below what a broker takes as one by default.
const BATCH_BYTES: usize = 512 << 10;

async fn connect(
    settings: &KafkaSettings,
    explain: fn(&str, &Security, KrafkaError) -> KafkaError,
) -> Result<Kafka, KafkaError> {
    let client = client(settings)
        .client_id(&settings.client_id)
        .connect_timeout(settings.patience)
        .request_timeout(settings.patience)
        .metadata_recovery_rebootstrap_trigger(settings.patience * 2);
    let client = settings.security.apply(client)?;
    client.connect().await.map_err(|error| explain(&settings.servers, &settings.security, error))
}

fn client(settings: &KafkaSettings) -> KafkaBuilder {
    #[cfg(test)]
    if let Some(client) = crate::simulated::client() {
        return client;
    }
    Kafka::builder(&settings.servers)
}
