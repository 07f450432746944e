//! Topologies: what users write to turn streams into views.
//!
//! A [`Stream`] is a chain of operators over one topic. A chain ends where state or a topic begins: at a table, which
//! a view shows, or at a repartition, where another chain starts. Each such end is one topology of its own, with its
//! own name, positions and shards; operators without state are part of none, so that adding one moves nothing.

mod definition;
mod describe;
mod stream;
mod topic;

pub use definition::Store;
pub use describe::{Description, TopologyDescription};
pub use stream::{Emitter, Grouped, Observer, Stream, Table};
pub use topic::Topic;

pub(crate) use definition::{Definition, Kind, ShardPlace, versioned};
pub(crate) use topic::{Route, TopicRef};
