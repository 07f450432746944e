//! The code of a link: what stands after the slash of a short address.
//!
//! Derived codes and aliases live in one namespace, so that a code names one link for good. An alias is too short to be
//! a SHA-256; one that a derived code would have had makes that link take its next candidate.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Address, Terms, Unfit, flaws};

/// Most characters of an alias.
pub const ALIAS_LENGTH_MAX: usize = 50;
/// Characters of a short code: there are 62 to the 8th of them, 218 million million.
pub const SHORT_LENGTH: usize = 8;

const SHA256_LENGTH: usize = 64;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// First parts of paths that are, or may become, something else than a link.
pub const RESERVED: [&str; 24] = [
    "about", "admin", "api", "app", "assets", "console", "docs", "events", "health", "healthz", "help",
    "index", "links", "livez", "login", "logout", "metrics", "openapi", "problems", "readyz", "static",
    "topology", "vendor", "visits",
];

/// Names one link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Code(#[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_-]+$"))] String);

impl Code {
    /// Checks a code that somebody chose.
    ///
    /// # Errors
    ///
    /// If it is empty, too long, has other characters, or is reserved.
    pub fn alias(text: &str) -> Result<Self, Unfit> {
        if text.is_empty() {
            return Err(Unfit::new(&flaws::REQUIRED, "must not be empty"));
        }
        let length = text.chars().count();
        if length > ALIAS_LENGTH_MAX {
            let detail = format!("must have at most {ALIAS_LENGTH_MAX} characters; this has {length}");
            return Err(Unfit::new(&flaws::TOO_LONG, detail));
        }
        if !is_legal(text) {
            let detail = "must have the letters a to z, digits, \"-\" and \"_\" only";
            return Err(Unfit::new(&flaws::INVALID_ALIAS, detail));
        }
        if is_reserved(text) {
            return Err(Unfit::new(&flaws::RESERVED, format!("must not be \"{text}\", which is reserved")));
        }
        Ok(Self(text.to_owned()))
    }

    /// The code that a path names; `None` if no link can have it.
    pub fn of_path(text: &str) -> Option<Self> {
        (is_legal(text) && text.len() <= SHA256_LENGTH).then(|| Self(text.to_owned()))
    }

    /// The SHA-256 of an address in UTF-8, in hexadecimal.
    pub fn sha256(address: &Address) -> Self {
        Self(Sha256::digest(address.as_str()).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The short codes that a link may have, in the order in which they are tried: always the same for the same link.
    pub fn short(terms: &Terms) -> impl Iterator<Item = Self> {
        let content = serde_json::to_vec(terms).expect("terms are plain data");
        let candidate = move |salt: u32| {
            let digest = Sha256::new()
                .chain_update("shortener")
                .chain_update(salt.to_be_bytes())
                .chain_update(&content);
            let first = digest.finalize()[..8].try_into().expect("a digest has 32 bytes");
            Self(base62(u64::from_be_bytes(first)))
        };
        (0..u32::MAX).map(candidate).filter(|code| !is_reserved(code.as_str()))
    }

    /// The code's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_legal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn is_reserved(text: &str) -> bool {
    RESERVED.iter().any(|reserved| text.eq_ignore_ascii_case(reserved))
}

/// The lowest digits of a number, as many as a short code has.
fn base62(mut number: u64) -> String {
    let digit = || {
        let digit = DIGITS[(number % 62) as usize];
        number /= 62;
        char::from(digit)
    };
    std::iter::repeat_with(digit).take(SHORT_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::num::NonZeroU64;

    use super::*;

    fn to(text: &str) -> Terms {
        Terms { url: Address::parse(text).unwrap(), valid_until: None, max_visits: None }
    }

    #[test]
    fn aliases_are_checked() {
        let longest = "a".repeat(ALIAS_LENGTH_MAX);
        for text in ["a", "Spring-Sale_2026", "linkss", "0", &longest] {
            assert_eq!(Code::alias(text).unwrap().as_str(), text);
        }
        let too_long = "a".repeat(ALIAS_LENGTH_MAX + 1);
        let cases = [
            ("", "required"),
            (&too_long, "too-long"),
            ("a b", "invalid-alias"),
            ("a/b", "invalid-alias"),
            ("style.css", "invalid-alias"),
            ("..", "invalid-alias"),
            ("größe", "invalid-alias"),
            ("links", "reserved"),
            ("LiveZ", "reserved"),
        ];
        for (text, code) in cases {
            assert_eq!(Code::alias(text).unwrap_err().code, code, "{text:?}");
        }
    }

    #[test]
    fn short_codes_are_short_and_always_the_same() {
        let codes = |terms: &Terms| Code::short(terms).take(50).collect::<Vec<_>>();
        let plain = to("https://example.com/");
        assert_eq!(codes(&plain), codes(&plain.clone()));
        assert_eq!(codes(&plain)[0].as_str(), "EcetCmob", "a code given once is that of the link for good");
        let limited = Terms { max_visits: NonZeroU64::new(3), ..plain.clone() };
        let all: Vec<_> = [plain, limited, to("https://example.com/#")].iter().flat_map(codes).collect();
        assert!(all.iter().all(|code| code.as_str().len() < 11 && Code::of_path(code.as_str()).is_some()));
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "candidates differ");
    }

    #[test]
    fn a_sha256_is_that_of_the_address_in_utf_8() {
        let cases = [
            ("https://example.com/", "0f115db062b7c0dd030b16878c99dea5c354b49dc37b38eb8846179c7783e9d7"),
            ("https://example.com/ä", "574d65d59c9ca8c93bec6fd9c252dfec2a5e61eebebeea8dbf218f99d675b4a1"),
        ];
        for (text, hex) in cases {
            let code = Code::sha256(&to(text).url);
            assert!(code.as_str().starts_with(hex), "{text}: {code}");
            assert!(Code::alias(code.as_str()).is_err(), "nobody can take it for an alias");
        }
    }
}
