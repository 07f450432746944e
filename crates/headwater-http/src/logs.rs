//! Structured logs on standard error, as text for people or JSON for machines.
//!
//! `RUST_LOG` says what is logged, by target and level (`info` unless set, without the chatter of libraries). Every line within a request carries
//! its method, path and trace id.

use std::error::Error;
use std::fmt;
use std::io;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The error of a text that is no log format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownLogFormat;

impl fmt::Display for UnknownLogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a log format is `text` or `json`")
    }
}

impl Error for UnknownLogFormat {}

impl FromStr for LogFormat {
    type Err = UnknownLogFormat;

    fn from_str(text: &str) -> Result<Self, UnknownLogFormat> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownLogFormat),
        }
    }
}

/// Sends the process's logs to standard error from now on.
///
/// # Errors
///
/// When `RUST_LOG` cannot be read, or logs are already set up.
pub fn install(format: LogFormat) -> Result<(), Box<dyn Error + Send + Sync>> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) => EnvFilter::try_new(&directives)
            .map_err(|error| format!("RUST_LOG is `{directives}`, which cannot be read: {error}"))?,
        Err(_) => EnvFilter::new(headwater::log::default_filter()),
    };
    subscriber(format, filter, io::stderr).try_init()?;
    Ok(())
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    writer: W,
) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        LogFormat::Text => Box::new(lines.with_ansi(false).finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_span_list(false).finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// What is logged within a request at info, at most.
    fn logged(format: LogFormat) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = Lines(Arc::clone(&lines));
        let subscriber = subscriber(format, EnvFilter::new("info"), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            let _request = tracing::info_span!("request", trace_id = "0af7").entered();
            tracing::warn!(view = "items", "fell behind");
            tracing::debug!("too fine to be logged");
        });
        let bytes = lines.lock().clone();
        String::from_utf8(bytes).expect("logs are text")
    }

    #[derive(Clone)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn text_lines_carry_the_request() {
        let text = logged(LogFormat::Text);
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in ["WARN", "trace_id=\"0af7\"", "fell behind", "view=\"items\""] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn json_lines_carry_the_request() {
        let line: serde_json::Value =
            serde_json::from_str(&logged(LogFormat::Json)).expect("one JSON object");
        assert_eq!((&line["message"], &line["view"]), (&"fell behind".into(), &"items".into()));
        assert_eq!(line["span"]["trace_id"], "0af7");
    }

    #[test]
    fn formats_have_names() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert_eq!("xml".parse::<LogFormat>(), Err(UnknownLogFormat));
    }
}
