//! What is wrong with the settings, said so that the reader knows where to look and what to write instead.

use std::net::SocketAddr;
use std::path::Path;

use super::EXPOSURE;

/// A setting that is unknown, invalid or refused; it names its source and says what is allowed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    kind: ConfigErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What is wrong with the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigErrorKind {
    /// The flags cannot be read, or ask for help or the version.
    Arguments,
    /// A key of the file or an environment variable is none of ours.
    Unknown,
    /// A value is not allowed.
    Invalid,
    /// The file cannot be read, or is not TOML.
    File,
    /// A setting lacks another one that it needs, or contradicts it.
    Incomplete,
    /// Listening beyond loopback was not asked for by name.
    Exposed,
}

impl ConfigError {
    /// What is wrong, for a program to tell.
    pub fn kind(&self) -> ConfigErrorKind {
        self.kind
    }

    /// Prints the error, or the help that was asked for, and ends the process.
    pub fn exit(&self) -> ! {
        if let Some(arguments) = self.source.as_ref().and_then(|source| source.downcast_ref::<clap::Error>())
        {
            arguments.exit();
        }
        eprintln!("error: {self}\n\nFor more information, try '--help'.");
        std::process::exit(2)
    }

    pub(super) fn arguments(error: clap::Error) -> Self {
        let message = error.render().to_string().trim_end().to_owned();
        ConfigError { kind: ConfigErrorKind::Arguments, message, source: Some(Box::new(error)) }
    }

    pub(super) fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Self {
        let hint = match closest(name, known.clone()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("known are {}", known.collect::<Vec<_>>().join(", ")),
        };
        ConfigError::new(ConfigErrorKind::Unknown, format!("{what} `{name}` is unknown; {hint}"))
    }

    pub(crate) fn invalid(origin: &str, value: &str, refusal: &str) -> Self {
        ConfigError::new(ConfigErrorKind::Invalid, format!("{origin}: `{value}` {refusal}"))
    }

    pub(super) fn incomplete(refusal: &str) -> Self {
        ConfigError::new(ConfigErrorKind::Incomplete, refusal.to_owned())
    }

    pub(super) fn unreadable(path: &Path, error: std::io::Error) -> Self {
        let message = format!("the settings in `{}` cannot be read: {error}", path.display());
        ConfigError { kind: ConfigErrorKind::File, message, source: Some(Box::new(error)) }
    }

    pub(super) fn no_toml(path: &Path, error: &toml::de::Error) -> Self {
        let shown = error.to_string();
        // The parser shows the line it stopped at, which must not be one with a password.
        let shown = if shown.contains("password") { error.message() } else { shown.trim_end() };
        let message = format!("{} is not a file of settings in TOML: {shown}", path.display());
        ConfigError::new(ConfigErrorKind::File, message)
    }

    pub(super) fn exposed(origin: &str, listen: SocketAddr) -> Self {
        let message = format!(
            "{origin}: {listen} can be reached from other machines, and {EXPOSURE}; listen on 127.0.0.1:{}, or add \
             --expose (HEADWATER_EXPOSE=true) if that is meant",
            listen.port()
        );
        ConfigError::new(ConfigErrorKind::Exposed, message)
    }

    fn new(kind: ConfigErrorKind, message: String) -> Self {
        ConfigError { kind, message, source: None }
    }
}

/// The known word that was probably meant.
pub(super) fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    known
        .map(|known| (similarity(&known.to_lowercase(), &word), known))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

/// From here on a word is taken for a slip of the pen; unrelated words of a few letters stay below.
const SIMILAR: f64 = 0.8;

/// One slip makes words similar however short they are, which Jaro and Winkler's measure misses below four letters.
fn similarity(known: &str, word: &str) -> f64 {
    let slip = if strsim::damerau_levenshtein(known, word) <= 1 { SIMILAR } else { 0.0 };
    strsim::jaro_winkler(known, word).max(slip)
}
