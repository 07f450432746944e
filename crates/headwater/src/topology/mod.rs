//! Topologies: what users write to turn streams into views.
//!
//! A [`Stream`] hands on values, a [`Table`] the changes of its rows; both are descriptions, graphs of operators over
//! topics. A graph ends where a view or a topic begins: at a table that is shown, at a topic, or at a repartition, where
//! another graph starts. Each such end is one topology of its own, with its own name, positions and shards; operators
//! without state are part of none, so that adding one moves nothing.
//!
//! - `stream`, `grouped`, `table`, `table_groups`, `versioned`: the language; `join`, `stream_join`, `foreign_join`, `global`: its joins.
//! - `windows`, `windowed`: values grouped by when they happened.
//! - `topic`, `store`: what it is given: topics with their codecs, stores with their options.
//! - `node`: the graph without its types.
//! - `asks`: what the topologies of an app ask of the records of one topic, and whether they are of one mind.
//! - `cycle`: topics that would feed themselves.
//! - `definition`: a topology; `building`: its operators put together for one shard.

mod asks;
mod building;
mod cogroup;
mod cycle;
mod deduplicate;
mod definition;
mod describe;
mod foreign_join;
mod global;
mod grouped;
mod join;
mod lineage;
mod node;
mod process;
mod route;
mod store;
mod stream;
mod stream_join;
mod suppress;
mod table;
mod table_groups;
mod topic;
mod versioned;
mod windowed;
pub(crate) mod windows;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use cogroup::{Cogrouped, CogroupedWindows};
pub use deduplicate::Once;
pub use describe::{Description, TopologyDescription};
pub use global::GlobalTable;
pub use grouped::Grouped;
pub use join::{Join, Joined};
pub use process::{ProcessorStores, StoreOf, Timers};
pub use store::Store;
pub use stream::{InPlace, IsInPlace, Moved, Stream};
pub use stream_join::JoinWindow;
pub use suppress::HoldBack;
pub use table::Table;
pub use table_groups::Regrouped;
pub use topic::Topic;
pub use windowed::{SessionGroup, WindowedGroup};
pub use windows::{Hopping, Session, Sliding, Tumbling, Windows};

pub(crate) use asks::{Asks, declared_otherwise};
pub(crate) use building::ShardPlace;
pub(crate) use cycle::cycle;
pub(crate) use definition::{Definition, Kind, versioned};
pub(crate) use lineage::lineage;
pub(crate) use route::Route;
pub(crate) use topic::TopicRef;

/// What can be kept in a table or sent through a topic: plain data that serde can write and read.
///
/// Implemented for every type that qualifies.
pub trait Value: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Value for T {}

/// What can be sent through a topic: as [`Value`], but it need not be cloned.
///
/// Implemented for every type that qualifies.
pub trait Sent: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Sent for T {}

/// A stream on its way to a topic, ready to be run by an app.
#[must_use = "an emitter runs in the app that it is added to"]
pub struct Emitter {
    pub(crate) definition: Definition,
}

impl Emitter {
    /// Names it, and with it its group, otherwise than its topic.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.definition.name = name.into();
        self
    }

    /// Declares its version, from 1. Another version begins anew, and must append to another topic.
    pub fn version(mut self, version: u32) -> Self {
        self.definition.version = version;
        self
    }
}

/// A stream that ends in the user's code, ready to be run by an app.
#[must_use = "an observer runs in the app that it is added to"]
pub struct Observer {
    pub(crate) definition: Definition,
}
