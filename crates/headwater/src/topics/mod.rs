//! The topics of an app: declared as a value, planned against what is there, made, altered or refused.
//!
//! - `declared`: what the app needs: names, settings, and why each topic exists.
//! - `deployment`: what becomes of the topologies that run on a log; pure.
//! - `registry`: what the app's definitions topic remembers: topologies as they were defined, topics by their ids.
//! - `plan`: what is missing, differs or contradicts; pure.
//! - `begin_anew`: what stood on a topic that was lost, and begins anew with it.
//! - `own`: a group's shards taken for a moment, to say where each stands.
//! - `prepare`: asks a log, and does what a plan says: little at a start, more when an operator asks.

mod begin_anew;
mod counts;
mod declared;
mod deployment;
pub(crate) mod own;
mod plan;
pub(crate) mod prepare;
pub(crate) mod registry;
#[cfg(test)]
mod tests;

pub(crate) use counts::Counts;
pub(crate) use declared::{AggregateTopics, TOMBSTONES_MS, WritingGroup, decisions, instances, topic_in};
pub use declared::{Purpose, TopicDeclaration};
pub use deployment::{Deployment, Fate, FateKind};
pub use plan::{Action, DefinitionConflict, Difference, Place, Plan, Step};
