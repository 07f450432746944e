//! A seeded simulation of a whole app on the memory log: callers, readers, crashes, lost shards and refusals, one
//! instance or several that come, go and are killed, and an oracle that reads the raw log and knows what everybody was
//! told.
//!
//! One seed is one world, on one thread, with paused time. A seed that fails is printed, and is enough to see it again:
//! `HEADWATER_SIM_SEED=n cargo test -p headwater-sim` runs it many times, since one thing does not follow from the seed:
//! the order in which tokio wakes those who watch one channel.

mod bank;
mod client;
mod clock;
mod history;
mod instance_log;
mod oracle;
mod reader;
mod seeds;
mod stores;
mod world;

pub use seeds::{Hits, Seeds};
pub use world::{Plan, Report, run};
