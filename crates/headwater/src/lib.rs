//! Event-sourced services that separate commands from queries, on an embedded log or Apache Kafka.
//!
//! Three concepts before the first event: an event is a fact, a command asks for one, and an [`Aggregate`] decides.
//! Events become views, which an [`App`] declares and [`Running`] answers from.

pub mod aggregate;
mod app;
pub mod command;
pub mod config;
mod digest;
mod engine;
pub mod event;
mod lock_file;
pub mod log;
pub mod metric_names;
#[cfg_attr(not(feature = "planted"), allow(unreachable_pub))]
pub mod planted;
mod runtime;
pub mod store;
pub mod testing;
mod topology;

pub use headwater_core as core;

pub use aggregate::{Aggregate, Context};
pub use app::{Aggregates, App, AppOptions, InvalidApp, PARTITIONS, View};
pub use command::{CommandId, Outcome, Receipt, SendError, Version};
pub use engine::flow::{Keyed, RecordMeta};
pub use runtime::{
    Answer, Changes, Headwater, OpenLogError, OutcomeQuery, PAGE_MAX, Page, PageToken, Parts, Phase,
    QueryError, Running, Send, ShardStatus, StartError, Stores, TopologyReport, Update, ViewQuery,
};
pub use topology::{Description, Grouped, Store, Stream, Table, TopologyDescription};

/// What a program that uses Headwater usually names.
pub mod prelude {
    pub use crate::aggregate::{Aggregate, Context};
    pub use crate::app::{Aggregates, App, View};
    pub use crate::command::Outcome::{self, Accepted, Rejected, Unknown};
    pub use crate::command::{CommandId, Receipt, SendError, Version};
    pub use crate::runtime::{Headwater, QueryError, Running};
    pub use crate::topology::{Store, Stream};
}

/// Compiles and runs the program of the README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
