//! Why a broker, its jars or a Java program could not be had.

use std::fmt;

/// What went wrong, with what the failed program said last.
///
/// `Debug` shows the same text as `Display`, so that a test's `unwrap` prints it readably.
pub struct Error(String);

/// The result of whatever may fail here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Error(text.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
