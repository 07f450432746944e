//! A connection to the cluster, which can be made anew.
//!
//! The client is known not to recover by itself when the only broker restarts below an open transaction (its `abort`
//! waits in vain for a broker that it knows), so whoever saw an abort fail or a commit's outcome unknown says so, and
//! the next call gets a fresh client. Clients that were handed out before live on until they are dropped.
//!
//! A broker serves the requests of one socket one after another, and holds each back until its answer is ready: a fetch
//! that waits, a commit that waits for replicas. What must not wait for each other has a client of its own
//! ([`Connection::dedicated`]): each writer, each reader that polls.

use std::sync::Arc;

use krafka::Kafka;
use parking_lot::Mutex;

use crate::errors::KafkaError;
use crate::settings::KafkaSettings;

/// The cluster as seen from this process.
pub(crate) struct Connection {
    settings: KafkaSettings,
    shared: Mutex<Shared>,
    /// Held while the shared client is being made anew, so that it is made once.
    making: tokio::sync::Mutex<()>,
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
        let kafka = connect(&settings).await?;
        let shared = Mutex::new(Shared { kafka, age: 0 });
        Ok(Arc::new(Self { settings, shared, making: tokio::sync::Mutex::default() }))
    }

    /// What the connection was told.
    pub(crate) fn settings(&self) -> &KafkaSettings {
        &self.settings
    }

    /// The client for short requests that may wait for each other.
    pub(crate) fn kafka(&self) -> Kafka {
        self.shared.lock().kafka.clone()
    }

    /// A client with sockets of its own.
    pub(crate) async fn dedicated(&self) -> Result<Kafka, KafkaError> {
        connect(&self.settings).await
    }

    /// Makes the shared client anew, once for all who ask at the same time.
    pub(crate) async fn rebuild(&self) -> Result<(), KafkaError> {
        let age = self.shared.lock().age;
        let _making = self.making.lock().await;
        if self.shared.lock().age != age {
            return Ok(());
        }
        let kafka = connect(&self.settings).await?;
        *self.shared.lock() = Shared { kafka, age: age + 1 };
        Ok(())
    }
}

async fn connect(settings: &KafkaSettings) -> Result<Kafka, KafkaError> {
    let client = Kafka::builder(&settings.servers)
        .client_id(&settings.client_id)
        .connect_timeout(settings.patience)
        .request_timeout(settings.patience);
    let client = settings.security.apply(client)?;
    client.connect().await.map_err(|error| KafkaError::of_connecting(&settings.servers, error))
}
