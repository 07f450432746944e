//! The id of an order: chosen by the customer's side, or made here.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Unfit, flaws};

/// Most characters of an order's id.
pub const ORDER_ID_LENGTH_MAX: usize = 100;

/// Ids that would be another address than that of an order.
const RESERVED: [&str; 3] = ["stream", ".", ".."];

/// Names one order: 1 to 100 visible ASCII characters without `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct OrderId(#[schemars(length(min = 1, max = 100), regex(pattern = r"^[!-.0-~]+$"))] String);

impl OrderId {
    /// Checks a text.
    ///
    /// # Errors
    ///
    /// If it is empty, too long, has other characters, or is the address of something else.
    pub fn parse(text: &str) -> Result<Self, Unfit> {
        if text.is_empty() {
            return Err(Unfit::new(&flaws::REQUIRED, "must not be empty"));
        }
        if text.chars().count() > ORDER_ID_LENGTH_MAX {
            return Err(Unfit::new(&flaws::TOO_LONG, "must have at most 100 characters"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
            let detail = "must have visible ASCII characters only, and no slash";
            return Err(Unfit::new(&flaws::INVALID_ORDER_ID, detail));
        }
        if RESERVED.contains(&text) {
            return Err(Unfit::new(&flaws::RESERVED_ORDER_ID, "must not be \"stream\" or dots alone"));
        }
        Ok(Self(text.to_owned()))
    }

    /// A new id that no other order has.
    pub fn random() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    /// The id that an idempotency key stands for: the same key, the same order.
    pub fn of_key(key: &str) -> Self {
        let digest = Sha256::new().chain_update(b"ordering order id\0").chain_update(key).finalize();
        let bytes: [u8; 16] = digest[..16].try_into().expect("a digest has 32 bytes");
        Self(Uuid::new_v8(bytes).to_string())
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        let longest = "o".repeat(ORDER_ID_LENGTH_MAX);
        for text in ["1", "a?b#c%d", "streams", "...", &longest, OrderId::random().as_str()] {
            assert_eq!(OrderId::parse(text).unwrap().as_str(), text);
        }
        let too_long = "o".repeat(ORDER_ID_LENGTH_MAX + 1);
        for text in ["", " ", "a b", "a/b", "é", "a\n", "stream", ".", "..", &too_long] {
            assert!(OrderId::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_key_stands_for_one_order() {
        assert_eq!(OrderId::of_key("k1"), OrderId::of_key("k1"));
        assert_ne!(OrderId::of_key("k1"), OrderId::of_key("k2"));
        assert_ne!(OrderId::random(), OrderId::random());
    }
}
