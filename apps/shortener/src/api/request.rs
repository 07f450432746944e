//! A link as it is asked for: every field that does not fit is told at once.

use std::num::NonZeroU64;

use headwater::core::clock::Timestamp;
use headwater_http::codes as common;
use headwater_http::problem::{FieldError, Problem};
use schemars::JsonSchema;
use serde::Deserialize;

use super::site::Addressed;
use super::time;
use crate::domain::{Address, Code, Terms, Unfit};

const PAST: (&str, &str) = ("past", "must lie in the future");

/// A request to shorten an address.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LinkRequest {
    /// Where the link leads: an absolute http or https address of at most 8,000 characters, kept byte for byte.
    url: String,
    /// The code that the link is to have: 1 to 50 letters, digits, "-" and "_".
    alias: Option<String>,
    /// From when on the link leads nowhere (RFC 3339), up to the end of the year 9999.
    valid_until: Option<String>,
    /// How many visits the link has.
    max_visits: Option<u64>,
    /// How the code is made, where there is no alias; short unless said otherwise.
    code: Option<CodeKind>,
}

/// How a code is made from the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum CodeKind {
    /// Eight letters and digits.
    Short,
    /// The SHA-256 of the address in UTF-8, in hexadecimal.
    Sha256,
}

/// Which code a link is to have.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Alias(Code),
    Short,
    Sha256,
}

impl LinkRequest {
    /// Parses what was sent.
    ///
    /// # Errors
    ///
    /// A problem that names every field that does not fit.
    pub(super) fn parse(self, now: Timestamp, site: &Addressed<'_>) -> Result<(Terms, Choice), Problem> {
        let mut errors = Vec::new();
        let mut told = |field: &str, unfit: Unfit| {
            errors.push(FieldError::new(field, unfit.detail).code(unfit.code));
        };
        let url = Address::parse(&self.url).and_then(|url| foreign(url, site));
        let url = url.map_err(|unfit| told("url", unfit)).ok();
        let alias = self.alias.as_deref().map(Code::alias).transpose();
        let alias = alias.map_err(|unfit| told("alias", unfit)).ok().flatten();
        if let (Some(_), Some(_)) = (&self.alias, self.code) {
            told("code", Unfit::new("excluded", "must not be given with an alias, which is the code"));
        }
        let valid_until = self.valid_until.map(|text| end(&text, now)).transpose();
        let valid_until = valid_until.map_err(|unfit| told("validUntil", unfit)).ok().flatten();
        let max_visits = self.max_visits.map(at_least_one).transpose();
        let max_visits = max_visits.map_err(|unfit| told("maxVisits", unfit)).ok().flatten();
        match url {
            Some(url) if errors.is_empty() => {
                let choice = match (alias, self.code) {
                    (Some(alias), _) => Choice::Alias(alias),
                    (None, Some(CodeKind::Sha256)) => Choice::Sha256,
                    (None, Some(CodeKind::Short) | None) => Choice::Short,
                };
                Ok((Terms { url, valid_until, max_visits }, choice))
            }
            _ => Err(unfit(errors)),
        }
    }
}

/// A link whose end came before it was made.
pub(super) fn ended() -> Problem {
    unfit(vec![FieldError::new("validUntil", PAST.1).code(PAST.0)])
}

fn unfit(errors: Vec<FieldError>) -> Problem {
    let told = errors.iter().map(|error| format!("{} {}", error.field, error.detail));
    let detail = told.collect::<Vec<_>>().join("; ");
    Problem::new(&common::INVALID_BODY, detail).errors(errors)
}

/// An address that would lead back here could lead in circles.
fn foreign(url: Address, site: &Addressed<'_>) -> Result<Address, Unfit> {
    if url.place().is_some_and(|place| site.is_own(&place)) {
        return Err(Unfit::new("own-host", "must not lead back to this service"));
    }
    Ok(url)
}

fn end(text: &str, now: Timestamp) -> Result<Timestamp, Unfit> {
    let end = time::parse(text)?;
    if end <= now { Err(Unfit::new(PAST.0, PAST.1)) } else { Ok(end) }
}

fn at_least_one(visits: u64) -> Result<NonZeroU64, Unfit> {
    NonZeroU64::new(visits).ok_or_else(|| Unfit::new("zero", "must be at least 1"))
}
