//! What every state store must do, as cases that a store passes or fails by name.
//!
//! A [`Place`] is where stores live; the suite opens it again and again, and expects to find what it left. An
//! implementation calls [`check`] in a test. [`failures`] tells the cases that it does not pass, which is how the suite
//! proves that it finds broken stores.

mod cases;
mod model;

use std::fmt;
use std::sync::Arc;

use crate::store::{StateStores, StoreError};

/// Where stores live across being opened and closed.
pub trait Place {
    /// Opens the stores of this place; every earlier opening has been dropped.
    ///
    /// # Errors
    ///
    /// Whatever keeps the place from being opened; the case fails with it.
    fn open(&self) -> Result<Arc<dyn StateStores>, StoreError>;
}

/// A case that a store does not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The case.
    pub case: &'static str,
    /// What was expected, and what was found.
    pub found: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.case, self.found)
    }
}

/// Runs every case, each in a place of its own.
///
/// # Panics
///
/// If a case fails, naming every one that does.
pub fn check(place: &mut dyn FnMut() -> Box<dyn Place>) {
    let failures: Vec<_> = failures(place).iter().map(Failure::to_string).collect();
    assert!(failures.is_empty(), "the store breaks its contract:\n{}", failures.join("\n"));
}

/// The cases that fail, each run in a place of its own.
pub fn failures(place: &mut dyn FnMut() -> Box<dyn Place>) -> Vec<Failure> {
    cases::CASES
        .iter()
        .filter_map(|(case, run)| run(&*place()).err().map(|Violation(found)| Failure { case, found }))
        .collect()
}

/// What a case found that the contract forbids.
#[derive(Debug)]
struct Violation(String);

impl From<StoreError> for Violation {
    fn from(error: StoreError) -> Self {
        Self(format!("unexpected error of kind {:?}: {error}", error.kind()))
    }
}

type Verdict = Result<(), Violation>;

/// `found` must equal `expected`.
fn same<T: PartialEq + fmt::Debug>(what: &str, found: T, expected: T) -> Verdict {
    if found == expected {
        return Ok(());
    }
    Err(Violation(format!("{what}: found {found:?}, expected {expected:?}")))
}
