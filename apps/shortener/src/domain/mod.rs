//! What a link is: values that cannot be wrong once they exist, and the aggregate that gives each code to one link.
//!
//! Nothing here knows of HTTP, of a log or of a clock. Values are parsed when they come in from outside; what comes
//! back from the log was valid when it was written and is taken as it is, so that a rule made stricter later never
//! makes the past unreadable.

mod address;
mod code;
pub mod flaws;
mod link;
mod visit;

use std::borrow::Cow;

pub use address::{ADDRESS_LENGTH_MAX, Address, Place};
pub use code::{ALIAS_LENGTH_MAX, Code, RESERVED, SHORT_LENGTH};
pub use flaws::Flaw;
pub use link::{Link, LinkCommand, LinkEvent, LinkRejection, Over, Terms};
pub use visit::{Referrer, Visit};

/// Why a value from outside does not fit: a stable code, and words for people that follow the field's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Unfit {
    /// The code of its flaw.
    pub code: &'static str,
    /// What is wanted, such as "must not be empty".
    pub detail: Cow<'static, str>,
}

impl Unfit {
    pub(crate) fn new(flaw: &'static Flaw, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code: flaw.code, detail: detail.into() }
    }
}
