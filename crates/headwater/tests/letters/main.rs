//! Records that cannot be processed: folds stop and go on as somebody decides, emitters park them with what follows; and
//! nothing is lost, twice or out of order.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod command_line;
mod emitters;
mod folds;
mod kills;
#[cfg(feature = "kafka")]
mod on_kafka;
mod too_large;

use std::sync::Arc;
use std::time::Duration;

use headwater::core::clock::{SystemClock, Timestamp};
use headwater::core::log::{Log, TopicSettings};
use headwater::core::partitioner::partition_of;
use headwater::core::record::{Append, Record};
use headwater::core::topic::TopicName;
use headwater::letters::RecordId;
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;

const PARTITIONS: u32 = 2;
const WITHIN: Duration = Duration::from_secs(60);

type SharedLog = Arc<dyn Log>;

fn memory() -> SharedLog {
    let options = MemoryOptions { seed: 7, clock: Arc::new(SystemClock), ..MemoryOptions::default() };
    Arc::new(MemoryLog::new(options))
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

async fn make(log: &dyn Log, name: &str) {
    log.create(&topic(name), TopicSettings::kept(PARTITIONS)).await.unwrap();
}

fn partition(key: &str) -> u32 {
    partition_of(key.as_bytes(), PARTITIONS).0
}

/// Appends records as they are, one after another.
async fn produce(log: &dyn Log, name: &str, records: &[(&str, &str)]) {
    let append = |(at, (key, value)): (usize, &(&str, &str))| Append {
        to: topic(name).partition(partition(key)),
        record: Record::new((*key).to_owned(), (*value).to_owned(), Timestamp(at as i64)),
    };
    log.append(records.iter().enumerate().map(append).collect()).await.unwrap();
}

async fn start(log: &SharedLog, stores: &MemoryStores, app: App) -> Running {
    Headwater::on(log.clone(), Arc::new(stores.clone())).start(app).await.unwrap()
}

/// Waits until something is so.
async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let met = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(WITHIN, met).await.unwrap_or_else(|_| panic!("{what} in time"))
}

fn id(text: String) -> RecordId {
    text.parse().unwrap()
}
