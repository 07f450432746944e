//! The texts of an order: who orders, and what.
//!
//! Two texts that look alike are one: both are kept in Unicode Normalization Form C, without spaces around. Their
//! length is counted in characters (Unicode scalar values), so that no script has less room than another.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::{Unfit, flaws};

/// Most characters of a label.
pub const LABEL_LENGTH_MAX: usize = 200;
/// Most characters of a customer's id.
pub const CUSTOMER_LENGTH_MAX: usize = 100;

/// What is ordered, in the customer's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Label(#[schemars(length(min = 1, max = 200))] String);

/// Who orders.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct CustomerId(#[schemars(length(min = 1, max = 100))] String);

impl Label {
    /// Normalises and checks a text.
    ///
    /// # Errors
    ///
    /// If it is empty, too long, or has control characters.
    pub fn parse(text: &str) -> Result<Self, Unfit> {
        normal(text, LABEL_LENGTH_MAX).map(Self)
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CustomerId {
    /// Normalises and checks a text.
    ///
    /// # Errors
    ///
    /// If it is empty, too long, or has control characters.
    pub fn parse(text: &str) -> Result<Self, Unfit> {
        normal(text, CUSTOMER_LENGTH_MAX).map(Self)
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn normal(text: &str, length_max: usize) -> Result<String, Unfit> {
    let normal: String = text.trim().nfc().collect();
    let length = normal.chars().count();
    if length == 0 {
        return Err(Unfit::new(&flaws::REQUIRED, "must not be empty"));
    }
    if length > length_max {
        let detail = format!("must have at most {length_max} characters; this has {length}");
        return Err(Unfit::new(&flaws::TOO_LONG, detail));
    }
    if normal.contains(char::is_control) {
        return Err(Unfit::new(&flaws::CONTROL_CHARACTER, "must not contain control characters"));
    }
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_look_alike_are_one() {
        let long = "🫖".repeat(LABEL_LENGTH_MAX);
        let composed_late = "e\u{301}".repeat(LABEL_LENGTH_MAX);
        let cases = [
            ("Tea", "Tea"),
            ("  cafe\u{301}\u{3000}\n", "caf\u{e9}"),
            ("\u{212b}", "\u{c5}"),
            ("إبريق شاي", "إبريق شاي"),
            ("👩\u{200d}👩\u{200d}👧", "👩\u{200d}👩\u{200d}👧"),
            (&long, &long),
            (&composed_late, &"\u{e9}".repeat(LABEL_LENGTH_MAX)),
        ];
        for (text, kept) in cases {
            assert_eq!(Label::parse(text).unwrap().as_str(), kept);
        }
    }

    #[test]
    fn what_cannot_be_a_text_is_refused() {
        let long = "🫖".repeat(LABEL_LENGTH_MAX + 1);
        let cases = [
            ("", "required"),
            (" \t\u{a0} ", "required"),
            (&long, "too-long"),
            ("a\u{7}b", "control-character"),
            ("a\0", "control-character"),
            ("two\nlines", "control-character"),
            ("\u{85}x\u{9f}y", "control-character"),
        ];
        for (text, code) in cases {
            assert_eq!(Label::parse(text).unwrap_err().code, code, "{text:?}");
        }
        assert!(CustomerId::parse(&"c".repeat(CUSTOMER_LENGTH_MAX)).is_ok());
        let unfit = CustomerId::parse(&"c".repeat(CUSTOMER_LENGTH_MAX + 1)).unwrap_err();
        assert_eq!(unfit.detail, "must have at most 100 characters; this has 101");
    }
}
