//! How instances of an app ask each other: one question to one address, one answer.
//!
//! The transport knows nothing of commands or views: it carries bytes, a deadline and a trace. What it must tell apart is
//! whether a question can have arrived. A question that came from a peer is answered from what runs here or with
//! "not here", and never asked on: so a question makes one hop, and no loop exists.
//!
//! - [`frame`]: the bytes;
//! - [`question`]: what can be asked;
//! - [`forward`]: asking whoever owns a shard, while it may be moving;
//! - [`service`]: the answering side;
//! - [`switchboard`]: a transport within one process, for tests and simulations.

pub(crate) mod forward;
mod frame;
pub(crate) mod question;
mod service;
mod switchboard;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use headwater_core::BoxFuture;

pub use frame::FRAME_BYTES_MAX;
pub(crate) use frame::{Frame, FrameError};
pub(crate) use service::AnswersPeers;
pub(crate) use service::Registry;
pub use service::{NotServed, PeerService};
pub use switchboard::{LinkFault, Switchboard};

/// Carries questions to other instances.
///
/// # Contract
///
/// - A future that is dropped may or may not have asked; it leaves nothing behind that waits.
/// - [`PeerErrorKind::NotSent`] is answered only where the question cannot have been served, and never will be.
/// - The answer comes, or an error, not long after the question's `within` has passed.
pub trait Peers: Send + Sync + 'static {
    /// Asks the instance at an address.
    ///
    /// # Errors
    ///
    /// [`PeerError`] says whether the question may have been served.
    fn ask(&self, to: &PeerAddress, question: PeerQuestion) -> BoxFuture<'static, Result<Bytes, PeerError>>;
}

/// Where an instance is reached by others: `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddress(String);

impl PeerAddress {
    /// The address as it is advertised.
    pub fn new(address: impl Into<String>) -> Self {
        Self(address.into())
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A question on its way.
#[derive(Debug, Clone)]
pub struct PeerQuestion {
    /// The app that is asked.
    pub app: String,
    /// The question itself; only an instance of the app reads it.
    pub body: Bytes,
    /// How long the answer is waited for.
    pub within: Duration,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PeerError {
    kind: PeerErrorKind,
    message: String,
}

/// What is known of a question without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerErrorKind {
    /// It was not served, and will not be.
    NotSent,
    /// It may have been served, or may still be.
    Lost,
}

impl PeerError {
    /// An error of a kind, with words that name the address and the cause.
    pub fn new(kind: PeerErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The kind.
    pub fn kind(&self) -> PeerErrorKind {
        self.kind
    }
}
