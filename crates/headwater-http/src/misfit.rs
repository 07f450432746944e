//! What serde says about a value that does not fit, as a problem: which kind, which field, what was near.
//!
//! Serde gives words only, so this reads them. Words it does not know still become a problem, with the field
//! where the reading stopped.

use crate::codes::{self, Code};
use crate::problem::{FieldError, Problem};

/// Longest detail in characters: serde quotes the offending value, which may be of any length.
const DETAIL_CHARS_MAX: usize = 300;

/// Why a value does not fit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    code: &'static Code,
    field: String,
    detail: String,
}

impl Misfit {
    /// A misfit in serde's words, found at a path (`.` being the whole).
    pub(crate) fn from_serde(path: &str, message: &str) -> Self {
        let message = message.rfind(" at line ").map_or(message, |end| &message[..end]);
        let path = if path == "." { "" } else { path };
        let name = quoted(message).next().unwrap_or_default();
        if message.starts_with("unknown field ") {
            let detail = format!("unknown field `{name}`{}", suggestion(message));
            return Self { code: &codes::UNKNOWN_FIELD, field: beneath(path, name), detail };
        }
        let (code, field) = match message {
            _ if message.starts_with("missing field ") => (&codes::MISSING_FIELD, beneath(path, name)),
            _ if message.starts_with("duplicate field ") => (&codes::DUPLICATE_FIELD, beneath(path, name)),
            _ => (&codes::INVALID_VALUE, path.to_owned()),
        };
        let hint = if message.starts_with("unknown variant ") { suggestion(message) } else { String::new() };
        let detail = message.chars().take(DETAIL_CHARS_MAX).collect::<String>() + &hint;
        Self { code, field, detail }
    }

    /// A field that nothing reads.
    pub(crate) fn unknown_field(field: String) -> Self {
        let detail = format!("unknown field `{field}`");
        Self { code: &codes::UNKNOWN_FIELD, field, detail }
    }

    /// The problem of a body.
    pub(crate) fn into_body_problem(self) -> Problem {
        let problem = Problem::new(self.code, self.detail.clone());
        if self.field.is_empty() {
            return problem;
        }
        problem.errors(vec![FieldError::new(self.field, self.detail).code(self.code.name)])
    }

    /// The problem of a parameter in the URL.
    pub(crate) fn into_parameter_problem(self) -> Problem {
        Self { code: &codes::INVALID_PARAMETER, ..self }.into_body_problem()
    }
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
        None if known.is_empty() || message.starts_with("unknown variant ") => String::new(),
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
