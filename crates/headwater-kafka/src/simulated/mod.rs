//! A seeded simulation of the log on the client's in-memory cluster, under paused time.
//!
//! One seed is one world on one thread: processes that own a shard one after another or believe so at the same time,
//! appenders, readers, and a cluster that fails, delays and loses answers. What everybody was told is judged by what the
//! cluster holds in the end. A seed that fails is printed, and is enough to see it again:
//! `HEADWATER_KAFKA_SIM_SEED=n cargo test -p headwater-kafka simulated`. `HEADWATER_KAFKA_SIM_SEEDS` says how many.

mod faults;
mod history;
mod owner;
mod planted;
mod tests;
mod world;

use std::cell::RefCell;
use std::sync::Arc;

use krafka::KafkaBuilder;
use krafka::testing::FakeBroker;

pub(crate) use planted::{Bug, planted};

thread_local! {
    static CLUSTER: RefCell<Option<Arc<FakeBroker>>> = const { RefCell::new(None) };
}

/// The client of the cluster that this thread simulates; `None` where it simulates none.
pub(crate) fn client() -> Option<KafkaBuilder> {
    CLUSTER.with_borrow(|cluster| cluster.as_ref().map(|cluster| cluster.kafka()))
}

fn simulate_on(cluster: Option<Arc<FakeBroker>>) {
    CLUSTER.set(cluster);
}
