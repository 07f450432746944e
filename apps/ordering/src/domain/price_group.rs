//! Price tags: which group a price belongs to, and which prices a group has.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PRICE_PENCE_MAX, Price, Unfit, flaws};

/// A group of prices, from low to high.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PriceGroup {
    /// Below £5.
    Cheap,
    /// From £5 to £50, both inclusive.
    Affordable,
    /// Above £50.
    Expensive,
}

impl PriceGroup {
    /// Every group, from low to high.
    pub const ALL: [Self; 3] = [Self::Cheap, Self::Affordable, Self::Expensive];

    /// The group of a price.
    pub fn of(price: Price) -> Self {
        let in_group = |group: &Self| group.prices().contains(&price);
        Self::ALL.into_iter().find(in_group).expect("the groups cover every price")
    }

    /// The prices of the group, without a gap.
    pub fn prices(self) -> RangeInclusive<Price> {
        const fn price(pence: u64) -> Price {
            Price::of_pence(pence).expect("at most the highest price")
        }
        match self {
            Self::Cheap => price(0)..=price(4_99),
            Self::Affordable => price(5_00)..=price(50_00),
            Self::Expensive => price(50_01)..=price(PRICE_PENCE_MAX),
        }
    }

    /// The group's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cheap => "cheap",
            Self::Affordable => "affordable",
            Self::Expensive => "expensive",
        }
    }
}

impl fmt::Display for PriceGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads a name in any letter case.
impl FromStr for PriceGroup {
    type Err = Unfit;

    fn from_str(name: &str) -> Result<Self, Unfit> {
        let named = |group: &Self| group.as_str().eq_ignore_ascii_case(name);
        let unknown = || Unfit::new(&flaws::UNKNOWN_GROUP, "must be cheap, affordable or expensive");
        Self::ALL.into_iter().find(named).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_meet_without_gap_or_overlap() {
        use PriceGroup::*;
        let cases = [
            ("0", Cheap),
            ("4.99", Cheap),
            ("5", Affordable),
            ("50", Affordable),
            ("50.01", Expensive),
            ("999999999999.99", Expensive),
        ];
        for (price, group) in cases {
            assert_eq!(PriceGroup::of(Price::parse(price).unwrap()), group, "{price}");
        }
    }

    #[test]
    fn names_are_read_in_any_letter_case() {
        for name in ["cheap", "CHEAP", "cHeAp"] {
            assert_eq!(name.parse(), Ok(PriceGroup::Cheap));
        }
        for name in ["", "free", " cheap", "chéap"] {
            assert_eq!(name.parse::<PriceGroup>().unwrap_err().code, "unknown-group", "{name}");
        }
    }
}
