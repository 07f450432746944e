//! Stores, on disk and in memory, and what can be asked of them beyond the last value of a key: how it was at a time, the
//! windows of a time, and an answer that is not older than another. The same alone and among instances, on the memory
//! log, the embedded one and Kafka.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod bounds;
mod history;
mod in_memory;
#[cfg(feature = "kafka")]
mod on_kafka;
mod processors;
mod windows;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headwater::core::clock::SystemClock;
use headwater::core::log::Log;
use headwater::core::store::StateStores;
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::peers::{PeerAddress, Switchboard};
use headwater::prelude::*;
use headwater::store::lmdb::{LmdbOptions, LmdbStores};
use headwater::store::memory::MemoryStores;

const WITHIN: Duration = Duration::from_secs(20);

fn s(text: impl Into<String>) -> String {
    text.into()
}

fn memory_log() -> MemoryLog {
    MemoryLog::new(MemoryOptions { clock: Arc::new(SystemClock), ..MemoryOptions::default() })
}

/// A data directory's log and stores.
fn embedded(dir: &Path) -> Headwater {
    let options = Options { maintenance_every: None, check_after_crash: false, ..Options::default() };
    let log = EmbeddedLog::open(dir, options).unwrap();
    let stores: Arc<dyn StateStores> = Arc::new(LmdbStores::new(dir, LmdbOptions::default()).unwrap());
    Headwater::on(log, stores)
}

/// One of several instances, with stores in memory.
fn among(board: &Switchboard, log: Arc<dyn Log>, name: &str) -> Headwater {
    let address = PeerAddress::new(name);
    let headwater = Headwater::on(log, Arc::new(MemoryStores::new()));
    let headwater = headwater.among(name, address.clone(), Arc::new(board.clone()));
    board.connect(address, headwater.peer_service().unwrap());
    headwater
}

async fn started(headwater: &Headwater, app: App) -> Running {
    let running = headwater.start(app).await.unwrap();
    running.ready(WITHIN).await.unwrap();
    running
}

/// Two instances that share a log, each with shards that the other has not.
async fn two(logs: [Arc<dyn Log>; 2], app: impl Fn() -> App) -> (Switchboard, [Running; 2]) {
    let board = Switchboard::new();
    let [first, second] = logs;
    let first = among(&board, first, "first").start(app()).await.unwrap();
    let second = among(&board, second, "second").start(app()).await.unwrap();
    for running in [&first, &second] {
        running.ready(WITHIN).await.unwrap();
    }
    (board, [first, second])
}

async fn stop(instances: impl IntoIterator<Item = Running>) {
    for running in instances {
        assert!(running.stop(WITHIN).await, "it stops in bounded time");
    }
}
