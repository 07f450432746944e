//! What serde and the standard library say about a value, in the words of whoever sent it.
//!
//! They name types of the code (`struct NewOrder`, `u8`, `sequence`); a client knows JSON. Words that are neither serde's
//! nor the standard library's are the application's own, and stay.

use std::borrow::Cow;

use crate::misfit::nearest;
use crate::objects::NAMES;

/// Longest value that is repeated, in characters.
const FOUND_CHARS_MAX: usize = 80;

/// What a value must be, beginning with "must", if the message is one of those that are known here.
pub(crate) fn of_message(message: &str) -> Option<String> {
    if let Some((name, known)) = unknown_variant(message) {
        return Some(one_of(&known, &quote(name), nearest(name, &known)));
    }
    if let Some(rest) = message.strip_prefix("invalid length ") {
        let (length, wanted) = rest.split_once(", expected ")?;
        return Some(format!("must be {}, not of {length}", expected(wanted)));
    }
    if message.starts_with(NAMES) {
        return Some(format!("must be {}", any_of(&quoted(message))));
    }
    let shape = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    if let Some((sent, wanted)) = shape.and_then(|shape| shape.rsplit_once(", expected ")) {
        return Some(format!("must be {}, not {}", expected(wanted), found(sent)));
    }
    of_whole(message).map(str::to_owned)
}

/// What must be there in the place of a value that was read as text.
pub(crate) fn of_text(wanted: &str, text: &str) -> String {
    format!("must be {}, not {}", expected(wanted), quote(text))
}

/// Words without a value in them, most of them the standard library's about a text.
fn of_whole(message: &str) -> Option<&'static str> {
    Some(match message {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "must be a whole number"
        }
        "number too large to fit in target type" => "must be a smaller number",
        "number too small to fit in target type" => "must be a larger number",
        "number would be zero for non-zero type" => "must not be 0",
        "invalid float literal" | "cannot parse float from empty string" => "must be a number",
        "provided string was not `true` or `false`" => "must be true or false",
        "too many characters in string" | "cannot parse char from empty string" => "must be one character",
        "number out of range" => "must be a number nearer to 0",
        "trailing characters" => "must be an array of fewer values",
        _ if message.starts_with("data did not match any variant of untagged enum") => {
            "must have one of the forms in the documentation"
        }
        _ => return None,
    })
}

fn unknown_variant(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown variant `")?;
    let (name, known) = rest.rsplit_once("`, expected ")?;
    Some((name, quoted(known)))
}

/// The names between backticks.
fn quoted(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

fn one_of(known: &[&str], sent: &str, near: Option<&str>) -> String {
    let hint = near.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default();
    format!("must be {}, not {sent}{hint}", any_of(known))
}

/// Names that JSON texts hold, in a row.
fn any_of(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "absent".to_owned(),
    }
}

/// What is wanted, in words of JSON; the application's own words as they are.
fn expected(wanted: &str) -> Cow<'_, str> {
    const OBJECTS: [&str; 4] =
        ["struct ", "struct variant ", "internally tagged enum ", "adjacently tagged enum "];
    let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| wanted.starts_with(beginning));
    if let Some(number) = whole_number(wanted) {
        return number.into();
    }
    if let Some(size) = size(wanted) {
        return format!("an array of {size} values").into();
    }
    if wanted.starts_with('`') || wanted.starts_with("one of `") {
        return any_of(&quoted(wanted)).into();
    }
    match wanted {
        "f32" | "f64" => "a number",
        "a boolean" | "bool" => "true or false",
        "a character" | "char" => "a string of one character",
        "a borrowed string" | "String" | "path string" | "a borrowed path" => "a string",
        "unit" => "null",
        "option" => "a value or null",
        "map" | "a map" => "an object",
        "map with a single key" => "an object of one field",
        "newtype variant" | "tuple variant" | "struct variant" => "the name of a field with a value",
        "string or map" => "a string or an object",
        "a sequence" | "byte array" | "a borrowed byte array" => "an array",
        "fewer elements in sequence" | "fewer elements in array" => "an array of fewer values",
        "variant identifier" | "field identifier" => "a name",
        _ if begins(&OBJECTS) => "an object",
        _ if begins(&["tuple struct ", "tuple variant "]) => "an array",
        _ if begins(&["unit struct ", "unit variant "]) => "null",
        _ if begins(&["enum "]) => "a string or an object",
        own => own,
    }
    .into()
}

/// The range of an integer's type.
fn whole_number(wanted: &str) -> Option<String> {
    let (lowest, kind) = match wanted.strip_prefix("a nonzero ") {
        Some(kind) => (1, kind),
        None => (0, wanted),
    };
    let (lowest, highest) = match kind {
        "u8" => (lowest, u64::from(u8::MAX)),
        "u16" => (lowest, u64::from(u16::MAX)),
        "u32" => (lowest, u64::from(u32::MAX)),
        "u64" | "usize" => (lowest, u64::MAX),
        "i8" => (i64::from(i8::MIN), i8::MAX as u64),
        "i16" => (i64::from(i16::MIN), i16::MAX as u64),
        "i32" => (i64::from(i32::MIN), i32::MAX as u64),
        "i64" | "isize" => (i64::MIN, i64::MAX as u64),
        "u128" => return Some(format!("a whole number of at least {lowest}")),
        "i128" => return Some("a whole number".to_owned()),
        _ => return None,
    };
    Some(format!("a whole number from {lowest} to {highest}"))
}

/// How many values a tuple has.
fn size(wanted: &str) -> Option<&str> {
    let size = wanted.strip_prefix("a tuple of size ").or_else(|| wanted.strip_prefix("an array of length "));
    let of_struct = || {
        let (kind, rest) = wanted.rsplit_once(" with ")?;
        kind.starts_with("tuple ").then(|| rest.split(' ').next()).flatten()
    };
    size.or_else(of_struct).filter(|size| size.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What was sent, as it looks in JSON.
fn found(sent: &str) -> Cow<'_, str> {
    let value = |kind: &str| sent.strip_prefix(kind)?.strip_suffix('`');
    if let Some(value) =
        value("boolean `").or_else(|| value("integer `")).or_else(|| value("floating point `"))
    {
        return value.into();
    }
    if let Some(text) = sent.strip_prefix("string \"").and_then(|text| text.strip_suffix('"')) {
        return quote(text).into();
    }
    match sent {
        "unit value" | "Option value" => "null",
        "unit variant" => "a name alone",
        "sequence" | "byte array" => "an array",
        "map" | "enum" => "an object",
        other => other,
    }
    .into()
}

/// A text in quotation marks, cut short where it is long.
fn quote(text: &str) -> String {
    match text.char_indices().nth(FOUND_CHARS_MAX) {
        Some((end, _)) => format!("\"{}…\"", &text[..end]),
        None => format!("\"{text}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_the_code_are_told_as_json() {
        let cases = [
            ("invalid type: sequence, expected struct NewOrder", "must be an object, not an array"),
            ("invalid type: map, expected a string", "must be a string, not an object"),
            ("invalid type: null, expected a borrowed string", "must be a string, not null"),
            ("invalid type: unit value, expected a boolean", "must be true or false, not null"),
            ("invalid type: boolean `true`, expected f64", "must be a number, not true"),
            ("invalid value: integer `256`, expected u8", "must be a whole number from 0 to 255, not 256"),
            (
                "invalid value: integer `0`, expected a nonzero u16",
                "must be a whole number from 1 to 65535, not 0",
            ),
            (
                "invalid type: floating point `1.5`, expected i8",
                "must be a whole number from -128 to 127, not 1.5",
            ),
            (
                "invalid type: string \"a, expected b\", expected u128",
                "must be a whole number of at least 0, not \"a, expected b\"",
            ),
            (
                "invalid type: unit variant, expected newtype variant",
                "must be the name of a field with a value, not a name alone",
            ),
            ("invalid length 1, expected a tuple of size 2", "must be an array of 2 values, not of 1"),
            (
                "invalid length 1, expected tuple struct Pair with 2 elements",
                "must be an array of 2 values, not of 1",
            ),
            (
                "invalid length 3, expected fewer elements in array",
                "must be an array of fewer values, not of 3",
            ),
            ("invalid type: integer `5`, expected string or map", "must be a string or an object, not 5"),
            (
                "invalid type: integer `5`, expected one of `a`, `b`, `c`",
                "must be \"a\", \"b\" or \"c\", not 5",
            ),
            ("expected one of `day`", "must be \"day\""),
            ("expected one of `day`, `hour`", "must be \"day\" or \"hour\""),
            ("unknown variant `week`, expected `day` or `hour`", "must be \"day\" or \"hour\", not \"week\""),
            (
                "unknown variant `gr`en`, expected one of `red`, `green`, `blue`",
                "must be \"red\", \"green\" or \"blue\", not \"gr`en\"; did you mean \"green\"?",
            ),
            ("invalid digit found in string", "must be a whole number"),
            (
                "data did not match any variant of untagged enum Price",
                "must have one of the forms in the documentation",
            ),
        ];
        for (message, told) in cases {
            assert_eq!(of_message(message).as_deref(), Some(told), "{message}");
        }
    }

    #[test]
    fn words_of_the_application_stay() {
        assert_eq!(of_message("the price is negative"), None);
        let own = of_message("invalid type: null, expected a day such as 2030-12-31");
        assert_eq!(own.as_deref(), Some("must be a day such as 2030-12-31, not null"));
    }

    #[test]
    fn a_long_value_is_cut_short() {
        let told = of_text("u8", &"ü".repeat(10_000));
        assert!(told.starts_with("must be a whole number") && told.ends_with("ü…\""), "{told}");
        assert!(told.chars().count() < 150, "{told}");
    }
}
