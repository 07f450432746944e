//! A visit: one redirect that was answered.
//!
//! It keeps no more of a visitor than the host that the visitor came from.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Place;

/// Most characters of a host's name (RFC 1035).
const HOST_LENGTH_MAX: usize = 253;

/// One redirect that was answered; when, is the time of its record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Visit {
    /// Where the visitor came from.
    #[serde(default, skip_serializing_if = "Referrer::is_unknown")]
    pub referrer: Referrer,
}

/// The host of the page that a visitor came from; empty where that is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Referrer(String);

impl Referrer {
    /// The host in a `Referer` header; unknown where it has none.
    pub fn of_header(header: &str) -> Self {
        let host = Place::of(header).map(|place| place.host).filter(|host| host.len() <= HOST_LENGTH_MAX);
        Self(host.unwrap_or_default())
    }

    /// Whether it is not known.
    pub fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }

    /// The host, or nothing.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Referrer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_referrer_the_host_is_kept_and_nothing_else() {
        let cases = [
            ("https://News.Example/a?secret=1#x", "news.example"),
            ("http://user:password@bücher.example:8080/", "xn--bcher-kva.example"),
            ("android-app://com.example.app/", ""),
            ("about:blank", ""),
            ("news.example", ""),
            ("", ""),
        ];
        for (header, host) in cases {
            assert_eq!(Referrer::of_header(header).as_str(), host, "{header}");
        }
        assert!(
            Referrer::of_header(&format!("http://{}/", "a.".repeat(200))).is_unknown(),
            "no host is so long"
        );
    }

    #[test]
    fn a_visit_without_a_referrer_is_short() {
        let plain = serde_json::to_string(&Visit::default()).unwrap();
        assert_eq!(plain, "{}");
        assert_eq!(serde_json::from_str::<Visit>(&plain).unwrap(), Visit::default());
    }
}
