//! Bytes in JSON: as text where they are text, in hexadecimal digits otherwise.
//!
//! ```text
//! {"text": "hello"}    {"hex": "ff00"}
//! ```

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that a person may have to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw(pub(crate) Bytes);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Written {
    Text(String),
    Hex(String),
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match std::str::from_utf8(&self.0) {
            Ok(text) => Written::Text(text.to_owned()),
            Err(_) => Written::Hex(self.0.iter().map(|byte| format!("{byte:02x}")).collect()),
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Text(text) => Ok(Self(Bytes::from(text))),
            Written::Hex(digits) => {
                let bytes =
                    from_hex(&digits).ok_or_else(|| serde::de::Error::custom("no hexadecimal digits"))?;
                Ok(Self(bytes))
            }
        }
    }
}

fn from_hex(digits: &str) -> Option<Bytes> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(|pair| if pair.len() == 2 { byte(pair) } else { None }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_where_they_can_be_and_come_back_as_they_were() {
        for (bytes, json) in [(&b"hello"[..], r#"{"text":"hello"}"#), (&[0xff, 0, 9], r#"{"hex":"ff0009"}"#)]
        {
            let raw = Raw(Bytes::copy_from_slice(bytes));
            assert_eq!(serde_json::to_string(&raw).unwrap(), json);
            assert_eq!(serde_json::from_str::<Raw>(json).unwrap(), raw);
        }
        assert!(serde_json::from_str::<Raw>(r#"{"hex":"ff0"}"#).is_err());
    }
}
