//! Where a link leads: an absolute address on the web, kept byte for byte.
//!
//! An address is looked at as browsers read it (the URL standard), and never normalised: what was given is what a
//! redirect answers. Whatever browsers would silently mend (a missing slash, a tab in the middle) is refused, so that
//! nothing means one thing here and another there.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::{Unfit, flaws};

/// Most characters of an address.
pub const ADDRESS_LENGTH_MAX: usize = 8_000;

/// An absolute http or https address, as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Address(
    #[schemars(length(max = 8_000), regex(pattern = r"^[hH][tT][tT][pP][sS]?://"))]
    String,
);

/// The host of an address, as browsers understand it, and the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// In lower case, in ASCII, without a dot at its end.
    pub host: String,
    /// The one that was given, or that of the scheme.
    pub port: u16,
}

impl Address {
    /// Checks a text.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Unfit> {
        check_characters(text)?;
        check_scheme(text)?;
        let authority = authority(text).ok_or_else(|| no_host("must name a host after \"//\""))?;
        if authority.contains('\\') {
            return Err(no_host("must not have a backslash in the host"));
        }
        let url = Url::parse(text).map_err(|error| no_host(format!("has no valid host: {error}")))?;
        match url.host() {
            Some(Host::Domain(name)) if name.trim_end_matches('.').is_empty() => {
                Err(no_host("must name a host after \"//\""))
            }
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(no_host("must name a host after \"//\"")),
        }
    }

    /// The address as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host that it leads to.
    pub fn place(&self) -> Option<Place> {
        Place::of(&self.0)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Place {
    /// The place that a URL names; `None` if it names none.
    pub fn of(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let host = url.host_str()?.trim_end_matches('.').to_ascii_lowercase();
        Some(Self { host, port: url.port_or_known_default()? })
    }
}

fn check_characters(text: &str) -> Result<(), Unfit> {
    if text.is_empty() {
        return Err(Unfit::new(&flaws::REQUIRED, "must not be empty"));
    }
    let length = text.chars().count();
    if length > ADDRESS_LENGTH_MAX {
        let detail = format!("must have at most {ADDRESS_LENGTH_MAX} characters; this has {length}");
        return Err(Unfit::new(&flaws::TOO_LONG, detail));
    }
    if text.chars().any(char::is_control) {
        return Err(Unfit::new(&flaws::CONTROL_CHARACTER, "must not contain control characters"));
    }
    if text.chars().any(char::is_whitespace) {
        return Err(Unfit::new(&flaws::SPACE, "must not contain spaces: write them as %20"));
    }
    Ok(())
}

fn check_scheme(text: &str) -> Result<(), Unfit> {
    if text.starts_with("//") || text.starts_with(r"\\") {
        let detail =
            "must begin with http:// or https://: an address without them depends on the page it stands on";
        return Err(Unfit::new(&flaws::PROTOCOL_RELATIVE, detail));
    }
    let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, rest)| is_scheme(scheme, rest)) else {
        return Err(Unfit::new(&flaws::NO_SCHEME, "must begin with http:// or https://"));
    };
    if !["http", "https"].iter().any(|allowed| scheme.eq_ignore_ascii_case(allowed)) {
        let scheme = scheme.to_ascii_lowercase();
        let detail = format!("must begin with http:// or https://; \"{scheme}:\" is not allowed");
        return Err(Unfit::new(&flaws::SCHEME_NOT_ALLOWED, detail));
    }
    if !rest.starts_with("//") {
        return Err(Unfit::new(&flaws::NOT_ABSOLUTE, format!("must have \"//\" after \"{scheme}:\"")));
    }
    Ok(())
}

/// RFC 3986, section 3.1; what looks like a host and a port is none.
fn is_scheme(scheme: &str, rest: &str) -> bool {
    let starts = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
    let legal = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let is_host = scheme.contains('.') || rest.starts_with(|first: char| first.is_ascii_digit());
    starts && legal && !is_host
}

/// What stands between the two slashes and the path, if it is anything.
fn authority(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    (!authority.is_empty()).then_some(authority)
}

fn no_host(detail: impl Into<std::borrow::Cow<'static, str>>) -> Unfit {
    Unfit::new(&flaws::INVALID_HOST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_byte_for_byte() {
        let longest = format!("https://example.com/{}", "ü".repeat(ADDRESS_LENGTH_MAX - 20));
        let addresses = [
            "http://example.com",
            "HTTPS://Example.COM:443/../a/./b",
            "https://bücher.example/straße?q=käse#größe",
            "https://xn--bcher-kva.example/%C3%A4%c3%a4%2F%zz",
            "https://example.com/{id}/[x]|^`?a={b}&c=<d>\"#{e}#f",
            "http://user:p%40ss@example.com/",
            "http://[2001:DB8::1]:8080/a",
            "http://192.0.2.1/",
            "https://example.com?no=path",
            "https://example.com./dot",
            "https://例え.テスト/パス?%E3%81%82",
            "https://example.com/\u{202e}abc",
            &longest,
        ];
        for text in addresses {
            assert_eq!(Address::parse(text).map(|address| address.as_str().to_owned()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_reason() {
        let too_long = format!("https://example.com/{}", "a".repeat(ADDRESS_LENGTH_MAX - 19));
        let cases = [
            ("", "required"),
            (&too_long, "too-long"),
            ("https://example.com/a b", "space"),
            (" https://example.com/", "space"),
            ("https://example.com/\u{a0}", "space"),
            ("https://example.com/\u{2028}", "space"),
            ("https://example.com/\n", "control-character"),
            ("https://exa\tmple.com/", "control-character"),
            ("https://example.com/\0", "control-character"),
            ("https://example.com/\u{7f}\u{85}", "control-character"),
            ("javascript:alert(1)", "scheme-not-allowed"),
            ("JavaScript://example.com/%0aalert(1)", "scheme-not-allowed"),
            ("data:text/html,<script>", "scheme-not-allowed"),
            ("ftp://example.com/", "scheme-not-allowed"),
            ("file:///etc/passwd", "scheme-not-allowed"),
            ("mailto:a@example.com", "scheme-not-allowed"),
            ("view-source:https://example.com", "scheme-not-allowed"),
            ("//example.com/", "protocol-relative"),
            ("\\\\example.com\\", "protocol-relative"),
            ("example.com", "no-scheme"),
            ("example.com:80/a", "no-scheme"),
            ("localhost:8080/a", "no-scheme"),
            ("/path", "no-scheme"),
            ("?q=1", "no-scheme"),
            ("://example.com", "no-scheme"),
            ("http:example.com", "not-absolute"),
            ("http:/example.com", "not-absolute"),
            ("http:\\\\example.com", "not-absolute"),
            ("http://", "invalid-host"),
            ("http:///example.com", "invalid-host"),
            ("http://?q", "invalid-host"),
            ("http://.", "invalid-host"),
            ("http://a@/", "invalid-host"),
            ("http://example.com\\@other.example/", "invalid-host"),
            ("http://exa<mple.com/", "invalid-host"),
            ("http://[::1/", "invalid-host"),
            ("http://example.com:99999/", "invalid-host"),
            ("http://256.1.1.1/", "invalid-host"),
        ];
        for (text, code) in cases {
            assert_eq!(Address::parse(text).map_err(|unfit| unfit.code), Err(code), "{text:?}");
        }
    }

    #[test]
    fn a_place_is_what_browsers_make_of_it() {
        let cases = [
            ("http://EXAMPLE.com./", "example.com", 80),
            ("https://bücher.example", "xn--bcher-kva.example", 443),
            ("http://0x7f.1:81/", "127.0.0.1", 81),
            ("http://a@[::1]:80/", "[::1]", 80),
        ];
        for (text, host, port) in cases {
            assert_eq!(Place::of(text), Some(Place { host: host.to_owned(), port }), "{text}");
        }
    }
}
