//! Apache Kafka's own broker on loopback, for tests, benchmarks and development.
//!
//! A [`Broker`] is one process of Kafka in KRaft mode, broker and controller in one, on ports that were free, with its
//! data in a temporary directory unless set. It is up within seconds and serves when [`Broker::start`] returns. It dies with the
//! process that started it, however that ends. Needed are a JDK (17 or later) and Maven, which fetches the jars once.
//!
//! All tests of one binary share one broker, and keep apart by the names of their topics and groups:
//!
//! ```no_run
//! use std::sync::OnceLock;
//! use kafka_broker::Broker;
//!
//! fn broker() -> &'static Broker {
//!     static BROKER: OnceLock<Broker> = OnceLock::new();
//!     BROKER.get_or_init(|| Broker::start().unwrap())
//! }
//! ```
//!
//! A test that kills or stops its broker starts one of its own. Linux alone: the broker's death is bound to its
//! parent's by `setpriv`.

mod broker;
mod certificates;
mod cluster;
mod error;
mod folder;
mod jars;
mod process;
mod setup;

pub use broker::Broker;
pub use certificates::Certificates;
pub use cluster::Cluster;
pub use error::{Error, Result};
pub use folder::scratch;
pub use jars::{Jars, version};
pub use process::{run, run_with_input, spawn};
pub use setup::{Listener, Setup};
