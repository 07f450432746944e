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
    MISSING_FIELD = "missing-field" "is missing";
    DUPLICATE_FIELD = "duplicate-field" "is there twice";
    UNKNOWN_FIELD = "unknown-field" "is not known";
    NOT_TEXT = "not-text" "is no JSON string";
    REQUIRED = "required" "is empty";
    TOO_LONG = "too-long" "has too many characters: 200 are allowed in a label, 100 in a customer and in an id";
    CONTROL_CHARACTER = "control-character" "has a control character";
    INVALID_ORDER_ID = "invalid-order-id" "has characters that an id must not have";
    RESERVED_ORDER_ID = "reserved-order-id" "is `stream`, or dots alone";
    INVALID_PRICE = "invalid-price" "is no number";
    NEGATIVE_PRICE = "negative-price" "is below 0";
    TOO_MANY_DECIMALS = "too-many-decimals" "has more than two decimals";
    PRICE_TOO_HIGH = "price-too-high" "is £1,000,000,000,000 or more";
    UNKNOWN_GROUP = "unknown-group" "is no price group";
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
