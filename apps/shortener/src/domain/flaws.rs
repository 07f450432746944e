//! What may be wrong with a value from outside. Like the codes of problems, each keeps its meaning.

/// One way not to fit.
#[derive(Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Its stable name, in kebab-case.
    pub code: &'static str,
    /// What is wrong, in words that follow the field's name.
    pub meaning: &'static str,
}

/// Declares the flaws once: as constants, and as the list that documentation and tests read.
macro_rules! flaws {
    ($($constant:ident = $code:literal $meaning:literal;)*) => {
        $(
            #[doc = concat!("`", $code, "`: ", $meaning, ".")]
            pub(crate) const $constant: Flaw = Flaw { code: $code, meaning: $meaning };
        )*
        /// Every flaw that this app tells.
        pub const ALL: &[&Flaw] = &[$(&$constant),*];
    };
}

flaws! {
    REQUIRED = "required" "is empty";
    TOO_LONG = "too-long" "has too many characters: 8,000 are allowed in an address, 50 in an alias";
    SPACE = "space" "has a space, which an address writes as `%20`";
    CONTROL_CHARACTER = "control-character" "has a control character";
    NO_SCHEME = "no-scheme" "does not begin with `http://` or `https://`";
    PROTOCOL_RELATIVE = "protocol-relative" "begins with `//`";
    SCHEME_NOT_ALLOWED = "scheme-not-allowed" "has another scheme than http and https";
    NOT_ABSOLUTE = "not-absolute" "lacks `//` after its scheme";
    INVALID_HOST = "invalid-host" "has no valid host";
    OWN_HOST = "own-host" "leads back to this service";
    INVALID_ALIAS = "invalid-alias" "has other characters than letters, digits, `-` and `_`";
    RESERVED = "reserved" "is a path of the service itself";
    EXCLUDED = "excluded" "must not be given beside `alias`";
    INVALID_TIME = "invalid-time" "is no time by RFC 3339";
    PAST = "past" "does not lie in the future";
    TOO_LATE = "too-late" "lies beyond the year 9999 in UTC";
    ZERO = "zero" "is 0";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_lists_every_flaw_as_it_is() {
        let page = include_str!("../../README.md");
        let mut table =
            page.lines().map(str::trim).skip_while(|line| *line != "| code | the field |").skip(2);
        for Flaw { code, meaning } in ALL {
            assert_eq!(table.next(), Some(format!("| `{code}` | {meaning} |").as_str()));
        }
        assert_eq!(table.next(), Some(""), "a flaw that is not there");
    }
}
