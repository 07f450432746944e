//! Who runs what: the compacted topic `<app>.instances`, and the table that every instance folds from it.
//!
//! One record per instance, under its name: where it listens, which shards it owns, of which it holds copies. Written at
//! the start, at every change and at every [`HEARTBEAT`], so that the topic heals by itself. Nothing here decides
//! who may write: that is the fence's. A wrong line of the table costs a detour, never a wrong answer.
//!
//! - [`table`]: records in, owners out; pure;
//! - [`routes`]: the tasks that write this instance's record and read all of them.

mod routes;
mod table;

use std::time::Duration;

pub(crate) use routes::{Cluster, Route, Routes};
pub(crate) use table::{InstanceRecord, Table};

/// How often an instance says that it is there.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long an instance that says nothing is believed.
pub(crate) const EXPIRES: Duration = Duration::from_secs(10);
/// How long the record of an instance that says nothing is kept.
pub(crate) const FORGET: Duration = Duration::from_secs(60 * 60);
/// How long the log may be silent before answers say that they may be old.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod table_tests;
