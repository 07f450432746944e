//! Money: exact pence, never a floating-point number.

use std::fmt;
use std::iter::Sum;
use std::ops::AddAssign;

use headwater_http::exact_number::{ExactNumber, Inexact};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Unfit, flaws};

/// The highest price, in pence: one penny less than a thousand billion pounds.
///
/// JSON's readers keep integers of this size exactly, and a sum of any number of orders fits [`Money`].
pub const PRICE_PENCE_MAX: u64 = 99_999_999_999_999;

const NOT_A_PRICE: &str = "must be pounds with at most two decimals, such as 4.50";

/// What one item costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Price {
    /// In pence.
    #[schemars(range(max = 99_999_999_999_999u64))]
    pence: u64,
}

/// A sum of prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money {
    pence: u128,
}

impl Price {
    /// A price of this many pence, at most [`PRICE_PENCE_MAX`].
    pub const fn of_pence(pence: u64) -> Option<Self> {
        if pence <= PRICE_PENCE_MAX { Some(Self { pence }) } else { None }
    }

    /// Reads pounds, as a JSON number or string has them: 5, 5.0 and 5.00 are one price.
    ///
    /// # Errors
    ///
    /// If it is no number, negative (also −0), has more than two decimals, or is too high.
    pub fn parse(text: &str) -> Result<Self, Unfit> {
        let number =
            ExactNumber::parse(text).ok_or_else(|| Unfit::new(&flaws::INVALID_PRICE, NOT_A_PRICE))?;
        if text.starts_with('-') {
            return Err(Unfit::new(&flaws::NEGATIVE_PRICE, "must not be negative"));
        }
        let too_high = || Unfit::new(&flaws::PRICE_TOO_HIGH, "must be less than £1,000,000,000,000");
        let pence = number.scaled(2).map_err(|inexact| match inexact {
            Inexact::TooManyDecimals => Unfit::new(&flaws::TOO_MANY_DECIMALS, NOT_A_PRICE),
            Inexact::TooLarge => too_high(),
        })?;
        u64::try_from(pence).ok().and_then(Self::of_pence).ok_or_else(too_high)
    }

    /// The price in pence.
    pub fn pence(self) -> u64 {
        self.pence
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        pounds(u128::from(self.pence), f)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        pounds(self.pence, f)
    }
}

fn pounds(pence: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}.{:02}", pence / 100, pence % 100)
}

impl AddAssign<Price> for Money {
    fn add_assign(&mut self, price: Price) {
        self.pence += u128::from(price.pence);
    }
}

impl Sum<Price> for Money {
    fn sum<I: Iterator<Item = Price>>(prices: I) -> Self {
        prices.fold(Self::default(), |mut sum, price| {
            sum += price;
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_exactly() {
        let cases = [
            ("5", 500),
            ("5.0", 500),
            ("5.00", 500),
            ("0", 0),
            ("0.01", 1),
            ("4.9", 490),
            ("5e2", 50_000),
            ("45e-1", 450),
            ("19.99", 1_999),
            ("999999999999.99", PRICE_PENCE_MAX),
        ];
        for (text, pence) in cases {
            assert_eq!(Price::parse(text).unwrap().pence(), pence, "{text}");
        }
    }

    #[test]
    fn what_is_no_price_is_refused() {
        let nines = "9".repeat(60);
        let cases = [
            ("", "invalid-price"),
            ("null", "invalid-price"),
            ("NaN", "invalid-price"),
            ("Infinity", "invalid-price"),
            ("five", "invalid-price"),
            ("£5", "invalid-price"),
            (" 5", "invalid-price"),
            ("5,00", "invalid-price"),
            ("0x10", "invalid-price"),
            ("٥", "invalid-price"),
            ("-1", "negative-price"),
            ("-0", "negative-price"),
            ("-0.00", "negative-price"),
            ("-0.001", "negative-price"),
            ("1.005", "too-many-decimals"),
            ("5.000", "too-many-decimals"),
            ("1e-3", "too-many-decimals"),
            ("1e400", "price-too-high"),
            ("1000000000000", "price-too-high"),
            (&nines, "price-too-high"),
        ];
        for (text, code) in cases {
            assert_eq!(Price::parse(text).unwrap_err().code, code, "{text}");
        }
    }

    #[test]
    fn money_is_written_in_pounds() {
        let sum = |pence: &[u64]| pence.iter().map(|p| Price::of_pence(*p).unwrap()).sum::<Money>();
        assert_eq!(sum(&[]).to_string(), "0.00");
        assert_eq!(sum(&[1, 4, 1_229]).to_string(), "12.34");
        assert_eq!(sum(&[PRICE_PENCE_MAX; 3]).to_string(), "2999999999999.97");
        assert_eq!(Price::parse("5").unwrap().to_string(), "5.00");
    }
}
