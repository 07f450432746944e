//! A number exactly as it was written, for money and whatever else must not pass through floating point.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A JSON number, or a JSON string that holds one, with the text as sent.
///
/// It reads from JSON text only, and not from a value that serde has buffered before (inside internally tagged
/// or flattened types).
///
/// ```
/// use headwater_http::exact_number::{ExactNumber, Inexact};
///
/// let price: ExactNumber = serde_json::from_str("5.00").unwrap();
/// assert_eq!(price.as_str(), "5.00");
/// assert_eq!(price.scaled(2), Ok(500));
/// let absurd: ExactNumber = serde_json::from_str("1e400").unwrap();
/// assert_eq!(absurd.scaled(2), Err(Inexact::TooLarge));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExactNumber(Box<str>);

/// Why a number is no integer of the units asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inexact {
    /// It is written with more decimals than the unit has.
    TooManyDecimals,
    /// It is beyond what an `i128` holds.
    TooLarge,
}

impl fmt::Display for Inexact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooManyDecimals => "has too many decimals",
            Self::TooLarge => "is too large",
        })
    }
}

impl std::error::Error for Inexact {}

impl ExactNumber {
    /// Takes a text that is a number by JSON's grammar.
    pub fn parse(text: &str) -> Option<Self> {
        Literal::of(text).map(|_| Self(text.into()))
    }

    /// The number as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number in units of ten to the minus `decimals`, such as pence with two decimals.
    ///
    /// # Errors
    ///
    /// When it is written with more decimals than that (zeros count too), or beyond what the integer holds.
    pub fn scaled(&self, decimals: u32) -> Result<i128, Inexact> {
        let literal = Literal::of(&self.0).expect("only number literals are kept");
        literal.scaled(i64::from(decimals))
    }
}

impl fmt::Display for ExactNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The parts of a number: `-12.50e3` has digits `1250`, two decimals and the exponent 3.
struct Literal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

impl<'a> Literal<'a> {
    /// Splits a number by the grammar of RFC 8259, section 6.
    fn of(text: &'a str) -> Option<Self> {
        let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (whole, digits(fraction)?),
            None => (mantissa, ""),
        };
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        (!leading_zero).then_some(Self { negative, whole: digits(whole)?, fraction, exponent })
    }

    fn scaled(&self, decimals: i64) -> Result<i128, Inexact> {
        let written = i64::try_from(self.fraction.len()).map_err(|_| Inexact::TooManyDecimals)?;
        let zeros = decimals.saturating_add(self.exponent).saturating_sub(written);
        let digits = self.whole.bytes().chain(self.fraction.bytes());
        let append = |number: i128, digit: u8| {
            number.checked_mul(10).and_then(|tens| tens.checked_add(i128::from(digit - b'0')))
        };
        let number = digits.into_iter().try_fold(0_i128, append).ok_or(Inexact::TooLarge)?;
        if zeros < 0 {
            return Err(Inexact::TooManyDecimals);
        }
        if number == 0 {
            return Ok(0);
        }
        let scale = u32::try_from(zeros).ok().and_then(|zeros| 10_i128.checked_pow(zeros));
        let magnitude = scale.and_then(|scale| number.checked_mul(scale)).ok_or(Inexact::TooLarge)?;
        Ok(if self.negative { -magnitude } else { magnitude })
    }
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// An exponent; one beyond any use counts as the largest of its sign.
fn exponent_of(text: &str) -> Option<i64> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = digits(unsigned)?.parse::<i64>().unwrap_or(i64::MAX);
    Some(if negative { -magnitude } else { magnitude })
}

impl<'de> Deserialize<'de> for ExactNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = match raw.get().starts_with('"') {
            true => serde_json::from_str::<String>(raw.get()).map_err(D::Error::custom)?,
            false => raw.get().to_owned(),
        };
        Self::parse(&text).ok_or_else(|| D::Error::custom("must be a number, or a string that holds one"))
    }
}

/// Writes the number as written, as a JSON number.
impl Serialize for ExactNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = RawValue::from_string(self.0.to_string()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl schemars::JsonSchema for ExactNumber {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ExactNumber".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["number", "string"],
            "pattern": "^-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?$",
            "description": "A number, or a string that holds one; read exactly as written.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for (json, text) in [
            ("5", "5"),
            ("5.00", "5.00"),
            ("\"5.00\"", "5.00"),
            ("-0.10", "-0.10"),
            ("1e400", "1e400"),
            ("123456789012345678901234567890.123456789", "123456789012345678901234567890.123456789"),
            ("\"\\u0035\"", "5"),
        ] {
            let number: ExactNumber = serde_json::from_str(json).expect(json);
            assert_eq!(number.as_str(), text);
            assert_eq!(serde_json::to_string(&number).expect("it is a literal"), text);
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for json in [
            "null",
            "true",
            "[]",
            "[5]",
            "{}",
            "\"\"",
            "\" 5\"",
            "\"5.\"",
            "\".5\"",
            "\"05\"",
            "\"+5\"",
            "\"NaN\"",
            "\"1e\"",
            "\"0x10\"",
            "\"5,00\"",
            "\"£5\"",
            "\"٥\"",
            "\"--5\"",
            "\"1.2.3\"",
        ] {
            let read = serde_json::from_str::<ExactNumber>(json);
            assert!(read.is_err_and(|error| error.to_string().contains("must be a number")), "{json}");
        }
    }

    #[test]
    fn a_number_scales_exactly_or_not_at_all() {
        use Inexact::*;
        let cases = [
            ("5", Ok(500)),
            ("5.0", Ok(500)),
            ("5.00", Ok(500)),
            ("-4.99", Ok(-499)),
            ("-0", Ok(0)),
            ("5e2", Ok(50_000)),
            ("55E-1", Ok(550)),
            ("0e400", Ok(0)),
            ("5.000", Err(TooManyDecimals)),
            ("5.001", Err(TooManyDecimals)),
            ("1e-3", Err(TooManyDecimals)),
            ("1e-99999999999999999999", Err(TooManyDecimals)),
            ("1e400", Err(TooLarge)),
            ("1e99999999999999999999", Err(TooLarge)),
            ("999999999999999999999999999999999999999999", Err(TooLarge)),
        ];
        for (text, expected) in cases {
            assert_eq!(ExactNumber::parse(text).expect(text).scaled(2), expected, "{text}");
        }
    }
}
