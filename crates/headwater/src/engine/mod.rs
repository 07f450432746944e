//! The pure engine: what a shard does with a batch of input, as values in and values out.
//!
//! Nothing here knows a clock, a runtime, a file or a socket. A shell (`crate::runtime`) reads records and commands,
//! hands them in with the time, commits what comes out, and applies the delta to what queries see.
//!
//! - [`state`]: a batch's changes over those in flight over what is committed.
//! - [`flow`]: what operators see while a record passes.
//! - [`row`]: how the rows of tables are written.
//! - [`operators`]: the operators of topologies.
//! - [`history`]: what tables that keep versions tell of the past.
//! - [`spans`]: what tables of windows tell by times.
//! - [`decide`]: commands of one shard of an aggregate.
//! - [`id_filter`]: which commands may have an outcome that is not loaded yet.
//! - [`outcome_filters`]: the ids of all outcomes that are kept, on the log.
//! - [`command_batch`]: where a batch may end.

pub(crate) mod command_batch;
pub(crate) mod decide;
pub(crate) mod flow;
pub(crate) mod history;
pub(crate) mod id_filter;
pub(crate) mod operators;
pub(crate) mod outcome;
pub(crate) mod outcome_filters;
pub(crate) mod row;
pub(crate) mod spans;
pub(crate) mod state;
