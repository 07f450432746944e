//! Vocabulary and contracts of Headwater.
//!
//! Everything here is a value or a contract. This crate knows no async runtime, no file and no socket: a
//! [`log::Log`] or a [`store::StateStore`] is implemented elsewhere and proves itself by the conformance suites
//! of `conformance` (feature `conformance`).

pub mod clock;
pub mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod header;
pub mod key;
pub mod log;
pub mod partitioner;
pub mod position;
pub mod record;
pub mod store;
pub mod topic;

use std::future::Future;
use std::pin::Pin;

/// A boxed, sendable future: what object-safe contracts return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
