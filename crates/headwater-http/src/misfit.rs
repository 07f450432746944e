//! What serde says about a value that does not fit, as a problem: which kind, which field, what was near.
//!
//! Serde gives words only, so this reads them. Words it does not know still become a problem, with the field
//! where the reading stopped.

use crate::codes::{self, Code};
use crate::problem::{FieldError, Problem};
use crate::words;

/// Longest detail in characters, of whatever length the words of an application are.
const DETAIL_CHARS_MAX: usize = 300;

/// Why a value does not fit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    kind: Kind,
    field: String,
}

/// What is wrong, in words where they do not follow from the name.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Unknown { name: String, hint: String },
    Missing { name: String },
    Duplicate { name: String },
    Value(String),
}

impl Misfit {
    /// A misfit in serde's words, found at a path (`.` being the whole).
    pub(crate) fn from_serde(path: &str, message: &str) -> Self {
        let message = message.rfind(" at line ").map_or(message, |end| &message[..end]);
        let path = if path == "." { "" } else { path };
        let name = quoted(message).next().unwrap_or_default().to_owned();
        let field = beneath(path, &name);
        if message.starts_with("unknown field ") {
            return Self { kind: Kind::Unknown { name, hint: suggestion(message) }, field };
        }
        if message.starts_with("missing field ") {
            return Self { kind: Kind::Missing { name }, field };
        }
        if message.starts_with("duplicate field ") {
            return Self { kind: Kind::Duplicate { name }, field };
        }
        Self::value(path, words::of_message(message).unwrap_or_else(|| message.to_owned()))
    }

    /// A value that does not fit, with what it must be instead.
    pub(crate) fn value(path: &str, complaint: impl Into<String>) -> Self {
        Self { kind: Kind::Value(complaint.into()), field: path.to_owned() }
    }

    /// A field that nothing reads.
    pub(crate) fn unknown_field(field: String) -> Self {
        Self { kind: Kind::Unknown { name: field.clone(), hint: String::new() }, field }
    }

    /// The problem of a body.
    pub(crate) fn into_body_problem(self) -> Problem {
        let code = match self.kind {
            Kind::Unknown { .. } => &codes::UNKNOWN_FIELD,
            Kind::Missing { .. } => &codes::MISSING_FIELD,
            Kind::Duplicate { .. } => &codes::DUPLICATE_FIELD,
            Kind::Value(_) => &codes::INVALID_VALUE,
        };
        self.into_problem(code, "field", "the body")
    }

    /// The problem of a parameter in the URL.
    pub(crate) fn into_parameter_problem(self) -> Problem {
        self.into_problem(&codes::INVALID_PARAMETER, "parameter", "the URL")
    }

    fn into_problem(self, code: &'static Code, noun: &str, whole: &str) -> Problem {
        let Self { kind, field } = self;
        let (of_field, detail) = match kind {
            Kind::Unknown { name, hint } => twice(format!("unknown {noun} `{name}`{hint}")),
            Kind::Missing { name } => twice(format!("missing {noun} `{name}`")),
            Kind::Duplicate { name } => twice(format!("duplicate {noun} `{name}`")),
            Kind::Value(complaint) => {
                let subject = if field.is_empty() { whole } else { &field };
                let colon = if complaint.starts_with("must ") { "" } else { ":" };
                let detail = bounded(&format!("{subject}{colon} {complaint}"));
                (bounded(&complaint), detail)
            }
        };
        let problem = Problem::new(code, detail);
        if field.is_empty() {
            return problem;
        }
        problem.errors(vec![FieldError::new(field, of_field).code(code.name)])
    }
}

fn twice(words: String) -> (String, String) {
    let words = bounded(&words);
    (words.clone(), words)
}

fn bounded(words: &str) -> String {
    words.chars().take(DETAIL_CHARS_MAX).collect()
}

/// The path of a named field, for serde may or may not have counted it into the path already.
fn beneath(path: &str, name: &str) -> String {
    let last = path.rsplit('.').next().unwrap_or_default();
    if path.is_empty() || last == name { name_or(path, name) } else { format!("{path}.{name}") }
}

fn name_or(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { path.to_owned() }
}

/// The words between backticks.
fn quoted(message: &str) -> impl Iterator<Item = &str> {
    message.split('`').skip(1).step_by(2)
}

/// The known name nearest to the unknown one, which comes first in the message, or all the known names.
fn suggestion(message: &str) -> String {
    let mut names = quoted(message);
    let unknown = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    match nearest(unknown, &known) {
        Some(name) => format!("; did you mean `{name}`?"),
        None if known.is_empty() => String::new(),
        None => format!("; known here: {}", known.join(", ")),
    }
}

/// The name that is near enough to be what was meant.
pub(crate) fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    const NEAR_ENOUGH: f64 = 0.8;
    let likeness = |name: &str| strsim::jaro_winkler(&unknown.to_lowercase(), &name.to_lowercase());
    let scored = known.iter().map(|name| (likeness(name), *name));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= NEAR_ENOUGH).then_some(best.1)
}
