//! What goes into a case and what comes out of it, as the reference reads and writes it in JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A key or a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Datum {
    /// A 64-bit integer.
    Number(i64),
    /// A text.
    Text(String),
    /// A key in one window.
    Windowed {
        /// The key that was grouped by.
        key: String,
        /// The window's first millisecond.
        start: i64,
        /// Its end: the first millisecond after it, or of sliding windows and sessions the last one in it.
        end: i64,
    },
}

impl From<&str> for Datum {
    fn from(text: &str) -> Self {
        Datum::Text(text.to_owned())
    }
}

impl From<i64> for Datum {
    fn from(number: i64) -> Self {
        Datum::Number(number)
    }
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Number(number) => write!(f, "{number}"),
            Datum::Text(text) => write!(f, "{text:?}"),
            Datum::Windowed { key, start, end } => write!(f, "{key:?}@{start}..{end}"),
        }
    }
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Input {
    /// The wall clock, which begins at 0, moves on.
    Clock {
        /// By so much.
        advance_wall_clock_ms: u64,
    },
    /// A record is appended to a topic and processed.
    Record(InputRecord),
}

/// A record of a topic that a case reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// The topic.
    pub topic: String,
    /// A text, or none.
    pub key: Option<String>,
    /// A text or a number, or none.
    pub value: Option<Datum>,
    /// Its timestamp, in milliseconds from the epoch.
    pub time: i64,
    /// Its headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// A record that a case wrote.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Output {
    /// The index of the input after which it came.
    pub after: usize,
    /// The topic.
    pub topic: String,
    /// Its key.
    pub key: Option<Datum>,
    /// Its value.
    pub value: Option<Datum>,
    /// Its timestamp, in milliseconds from the epoch.
    pub time: i64,
    /// Its headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// A row that was left in a store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Row {
    /// Its key.
    pub key: Datum,
    /// Its value.
    pub value: Datum,
    /// When it was changed last, where the store knows that.
    #[serde(default)]
    pub time: Option<i64>,
}

/// What a case answered to all its inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// The records of its output topics, in order within a topic and an input.
    pub outputs: Vec<Output>,
    /// What the store named `store` holds in the end, in any order; nothing where the case names none.
    #[serde(default)]
    pub store: Vec<Row>,
    /// How many records operators refused: late ones, and those without a key or a value that they need.
    #[serde(default)]
    pub dropped: u64,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Clock { advance_wall_clock_ms } => write!(f, "wall clock + {advance_wall_clock_ms} ms"),
            Input::Record(InputRecord { topic, key, value, time, headers }) => {
                write!(
                    f,
                    "{topic}: {} = {} at {time}",
                    shown(key.as_ref().map(|key| format!("{key:?}"))),
                    shown(value.as_ref())
                )?;
                show_headers(f, headers)
            }
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Output { topic, key, value, time, headers, .. } = self;
        write!(f, "{topic}: {} = {} at {time}", shown(key.as_ref()), shown(value.as_ref()))?;
        show_headers(f, headers)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.key, self.value)?;
        self.time.map_or(Ok(()), |time| write!(f, " at {time}"))
    }
}

fn shown(datum: Option<impl fmt::Display>) -> String {
    datum.map_or_else(|| "null".to_owned(), |datum| datum.to_string())
}

fn show_headers(f: &mut fmt::Formatter<'_>, headers: &BTreeMap<String, String>) -> fmt::Result {
    if headers.is_empty() { Ok(()) } else { write!(f, " {headers:?}") }
}
