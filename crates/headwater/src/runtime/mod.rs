//! The shell around the engine: apps that run against a log and stores.
//!
//! Each shard of each topology is one sequential task. Commands reach it by a mailbox or the commands topic, records
//! by reading; what it commits it applies to a [`cell`], which is all that queries and callers see of it.

pub(crate) mod aggregate;
pub(crate) mod cell;
mod changes;
mod decided;
mod emitter;
mod fold;
mod headwater;
mod instances;
mod landmarks;
mod membership;
pub(crate) mod observe;
mod open;
#[cfg(feature = "kafka")]
mod open_kafka;
pub(crate) mod peers;
mod publish;
mod replaced;
mod shell;
mod standby;
pub(crate) mod start;
mod told_once;
mod transfer;
mod trust;
mod view;
mod watch;

pub(crate) use aggregate::migrated_note;
pub use aggregate::{OutcomeQuery, Send};
pub use cell::Phase;
pub use headwater::{Headwater, InstanceReport, Running, ShardStatus, StoppedFold, Stores, TopologyReport};
pub use open::OpenLogError;
pub(crate) use open::connect;
pub use peers::{
    FRAME_BYTES_MAX, LinkFault, NotServed, PeerAddress, PeerError, PeerErrorKind, PeerQuestion, PeerService,
    Peers, Switchboard,
};
pub use publish::{Publish, PublishError};
pub use start::{Parts, StartError};
pub use view::{Answer, PAGE_MAX, Page, PageToken, Past, QueryError, ViewQuery};
pub use watch::{Changes, Update};
