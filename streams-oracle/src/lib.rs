//! Kafka Streams' own answers to small topologies, for comparison with Headwater's.
//!
//! The [`Oracle`] is one JVM that runs Kafka Streams' `TopologyTestDriver` over lines of JSON; its topologies are in
//! `java/`, one under the name of each [`Case`], and say themselves what they read. [`random_inputs`] makes inputs for a
//! case by a seed. [`compare`] runs a case on both systems and, where they differ, looks for fewer inputs that still
//! show it. [`golden`] are examples of Kafka Streams' documentation, as data that any system can be held against.
//!
//! ```no_run
//! use streams_oracle::{Options, Oracle, compare, seeds};
//!
//! let oracle = Oracle::start().unwrap();
//! let case = oracle.case("count").unwrap();
//! // Another system that should answer alike; here it is the reference itself.
//! let other = |inputs: &[_]| oracle.run("count", inputs);
//! for seed in seeds(20) {
//!     compare(&oracle, &case, seed, Options::default(), other).unwrap_or_else(|difference| panic!("{difference}"));
//! }
//! ```

mod compare;
pub mod golden;
mod oracle;
mod random;
mod records;

pub use compare::{Difference, Options, compare};
pub use oracle::{Case, Oracle, Source};
pub use random::{random_inputs, seeds};
pub use records::{Answer, Datum, Input, InputRecord, Output, Row};
