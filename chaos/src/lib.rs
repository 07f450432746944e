//! Chaos on real processes: instances of a service, a real broker, proxies between them, faults from a seed, callers with
//! known ids, and an oracle that reads the raw topics with Kafka's own tools.
//!
//! The program of this crate is the chaos run of the gate: `cargo xtask chaos --minutes 30 --seed 7`. Its parts serve
//! tests of single faults, too.

pub mod faults;
pub mod history;
pub mod http;
pub mod instance;
pub mod load;
pub mod oracle;
pub mod proxy;
pub mod records;
pub mod run;
pub mod schedule;
