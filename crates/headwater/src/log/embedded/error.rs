//! Why a data directory could not be opened, and the log's own errors.

use std::fmt;
use std::io;

use headwater_core::log::{LogError, LogErrorKind};

/// Why an embedded log could not be opened.
///
/// The message names the directory and says what to do.
#[derive(Debug)]
pub struct OpenError {
    kind: OpenErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What kept an embedded log from opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenErrorKind {
    /// Another process has the directory open.
    Locked,
    /// The directory holds something that is not ours.
    Foreign,
    /// The directory was written by a newer version.
    Newer,
    /// The directory cannot be written.
    ReadOnly,
    /// There is no space to open it.
    Full,
    /// What would be trusted from now on is damaged.
    Corrupt,
    /// The system did not let us.
    Unavailable,
}

impl OpenError {
    pub(super) fn new(kind: OpenErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(super) fn with_source(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// The kind.
    pub fn kind(&self) -> OpenErrorKind {
        self.kind
    }
}

impl OpenErrorKind {
    pub(super) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Unavailable,
        }
    }

    /// What to do, where there is something; to be put behind the message.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::ReadOnly => ": give a data directory that this user may write",
            Self::Full => ": free some space",
            _ => "",
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

pub(super) fn closed() -> LogError {
    LogError::new(LogErrorKind::Closed, "the log is closed; open it again")
}

pub(super) fn invalid(message: impl Into<String>) -> LogError {
    LogError::new(LogErrorKind::Invalid, message)
}
