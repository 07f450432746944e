//! The shell around the engine: apps that run against a log and stores.
//!
//! Each shard of each topology is one sequential task. Commands reach it by a mailbox or the commands topic, records
//! by reading; what it commits it applies to a [`cell`], which is all that queries and callers see of it.

pub(crate) mod aggregate;
pub(crate) mod cell;
mod changes;
mod emitter;
mod fold;
mod headwater;
mod membership;
pub(crate) mod observe;
mod open;
#[cfg(feature = "kafka")]
mod open_kafka;
mod shell;
pub(crate) mod start;
mod view;
mod watch;

pub(crate) use aggregate::migrated_note;
pub use aggregate::{OutcomeQuery, Send};
pub use cell::Phase;
pub use headwater::{Headwater, Running, ShardStatus, Stores, TopologyReport};
pub(crate) use open::connect;
pub use open::OpenLogError;
pub use start::{Parts, StartError};
pub use view::{Answer, PAGE_MAX, Page, PageToken, QueryError, ViewQuery};
pub use watch::{Changes, Update};
