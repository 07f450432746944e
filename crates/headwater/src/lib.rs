//! Event-sourced services that separate commands from queries, on an embedded log or Apache Kafka.
//!
//! Three concepts before the first event: an event is a fact, a command asks for one, and an [`Aggregate`] decides.
//! Events become views, which an [`App`] declares and [`Running`] answers from.
//!
//! ```
//! # use headwater::prelude::*;
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Clone, Default, Serialize, Deserialize)] struct Order { placed: bool }
//! # #[derive(Serialize, Deserialize)] enum Command { Place(String, String) }
//! # #[derive(Debug, PartialEq, Serialize, Deserialize)] enum Event { Placed { customer: String, item: String } }
//! # #[derive(Debug, PartialEq, Serialize, Deserialize)] enum Rejection { IdTaken }
//! # impl Aggregate for Order {
//! #     const NAME: &'static str = "order";
//! #     type Id = String; type Command = Command; type Event = Event; type Rejection = Rejection;
//! #     fn decide(&self, Command::Place(customer, item): Command, _: &Context) -> Result<Vec<Event>, Rejection> {
//! #         if self.placed { Err(Rejection::IdTaken) } else { Ok(vec![Event::Placed { customer, item }]) }
//! #     }
//! #     fn evolve(&mut self, _: &Event) { self.placed = true; }
//! # }
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use headwater::config::{Config, LogChoice};
//! # let config = Config { log: LogChoice::Memory, ..Config::default() };
//! let mut app = App::new("shop");
//! let orders = app.aggregate::<Order>();
//! // How many of each item a customer has ordered. Of a tuple, the first component is the partition part: all rows of
//! // one customer lie in one shard, in the order of the rest.
//! let by_customer = orders.events().group_by("items-by-customer", |event| match event.value {
//!     Event::Placed { customer, item } => (customer.clone(), item.clone()),
//! });
//! let items = app.view(by_customer.count(Store::named("items")));
//!
//! let shop = Headwater::open(&config).await?.start(app).await?;
//! let place = Command::Place("alice".into(), "kettle".into());
//! let receipt = shop.send(&orders, &"o1".to_owned(), place).await?.accepted().ok_or("refused")?;
//! let rows = shop.view(&items)?.after(&receipt).of(&"alice".to_owned()).await?;
//! assert_eq!(rows.value, [("kettle".to_owned(), 1)]);
//! # Ok(()) }
//! ```
//!
//! Streams, tables, windows and joins need no aggregate: see [`App::stream`], [`Grouped`], [`Windows`], and
//! [`testing::Driver`], which runs them in a test.

pub mod admin;
pub mod aggregate;
mod app;
pub mod command;
pub mod config;
mod digest;
mod engine;
mod engine_file;
pub mod event;
pub mod letters;
mod lock_file;
pub mod log;
pub mod metric_names;
pub mod migrate;
#[cfg_attr(not(feature = "planted"), allow(unreachable_pub))]
pub mod planted;
mod runtime;
pub mod scheduling;
pub mod store;
pub mod testing;
pub mod topics;
mod topology;

pub use headwater_core as core;

pub use aggregate::{Aggregate, Context};
pub use app::{Aggregates, App, AppOptions, InvalidApp, OnFailure, PARTITIONS, View};
pub use command::{CommandId, Outcome, Receipt, SendError, Version};
pub use engine::flow::{DropReason, Keyed, RecordMeta};
pub use engine::operators::{Change, Processing, Processor, StoreRows, Timer, Windowed};
pub mod peers {
    //! How instances of an app reach each other: a transport implements [`Peers`].
    pub use crate::runtime::{
        FRAME_BYTES_MAX, LinkFault, NotServed, PeerAddress, PeerError, PeerErrorKind, PeerQuestion,
        PeerService, Peers, Switchboard,
    };
}

pub use runtime::{
    Answer, Changes, Headwater, InstanceReport, OpenLogError, OutcomeQuery, PAGE_MAX, Page, PageToken, Parts,
    Past, Phase, Publish, PublishError, QueryError, Running, Send, ShardStatus, StartError, StoppedFold,
    Stores, TopologyReport, Update, ViewQuery,
};
pub use topology::windows::{days, hours, minutes, seconds};
pub use topology::{
    Cogrouped, CogroupedWindows, Description, Emitter, GlobalTable, Grouped, HoldBack, Hopping, InPlace,
    IsInPlace, Join, JoinWindow, Joined, Moved, Observer, Once, ProcessorStores, Regrouped, Sent, Session,
    SessionGroup, Sliding, Store, StoreOf, Stream, Table, Timers, Topic, TopologyDescription, Tumbling,
    Value, WindowedGroup, Windows,
};

/// What a program that uses Headwater usually names.
pub mod prelude {
    pub use crate::aggregate::{Aggregate, Context};
    pub use crate::app::{Aggregates, App, View};
    pub use crate::command::Outcome::{self, Accepted, Rejected, Unknown};
    pub use crate::command::{CommandId, Receipt, SendError, Version};
    pub use crate::runtime::{Headwater, QueryError, Running};
    pub use crate::topology::windows::{days, hours, minutes, seconds};
    pub use crate::topology::{
        HoldBack, Hopping, Join, JoinWindow, Session, Sliding, Store, Stream, Table, Topic, Tumbling,
    };
}

/// Compiles and runs the program of the README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// Compiles and runs the program of the page of dead letters.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/dead-letters.md")]
struct DeadLetters;

/// Compiles and runs the programs of the guide to topologies.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/topologies.md")]
struct Topologies;

/// Compiles and runs Headwater's side of the page for those who know Kafka Streams.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/kafka-streams.md")]
struct KafkaStreams;
