//! The producers of one writer, which take turns.
//!
//! A coordinator answers a commit once it is decided, and has the markers written after that. Until they are, it lets the
//! same producer begin nothing, and the brokers ask it again only after 20 ms (`add.partitions.to.txn.retry.backoff.ms`),
//! several times what a commit takes. So a writer has two producers: while the markers of one are on their way, the
//! other has the next transaction.
//!
//! A transaction begins when the one before it is decided, so the order in the log is the order of the commits, whichever
//! markers come first: readers move no further than the oldest transaction that has none, and of two offsets committed to
//! a group the later record wins. Both names are taken over before a writer is handed out: of the one before, nothing can
//! follow.

use std::sync::atomic::{AtomicBool, Ordering};

use headwater_core::topic::{TopicId, TopicName};
use krafka::__private::kafka_metadata;
use krafka::producer::TransactionalProducer;
use krafka::{Kafka, KrafkaError};
use tokio::time::Duration;

use crate::connection::Connection;

/// The producers of a writer.
pub(crate) struct Turns {
    /// The client of both.
    kafka: Kafka,
    producers: [TransactionalProducer; 2],
    /// Whether it is the second one's turn.
    second: AtomicBool,
}

impl Turns {
    /// Takes the names over: fences whoever had them, and settles what that one left open.
    pub(crate) async fn open(
        connection: &Connection,
        kafka: &Kafka,
        name: &str,
        timeout: Duration,
    ) -> Result<Self, KrafkaError> {
        let open = |name| connection.producer(kafka).transaction_timeout(timeout).build_transactional(name);
        let (first, second) = tokio::try_join!(open(name.to_owned()), open(format!("{name}~2")))?;
        Ok(Self { kafka: kafka.clone(), producers: [first, second], second: AtomicBool::new(false) })
    }

    /// Whether every transaction has an epoch of its own (KIP-890).
    pub(crate) fn have_epochs(&self) -> bool {
        self.producers.iter().all(|producer| producer.transaction_version().is_v2())
    }

    /// The topic that records under this name went to last: the client looks again when a broker does not know the one
    /// that it had.
    pub(crate) fn topic_id(&self, name: &TopicName) -> Option<TopicId> {
        let id = kafka_metadata(&self.kafka).topic_id_for_name(name.as_str())?;
        Some(TopicId(u128::from_be_bytes(id)))
    }

    /// The producer for the next transaction.
    pub(crate) fn next(&self) -> &TransactionalProducer {
        &self.producers[usize::from(self.second.fetch_xor(true, Ordering::Relaxed))]
    }
}
