//! The headers of commands and queries: idempotency keys, receipts, and how long to wait.
//!
//! | header | on | meaning |
//! |---|---|---|
//! | `Idempotency-Key` | request | the command's id: the same key again gives the same outcome, once |
//! | `Headwater-Receipt` | response | where an accepted command's events are |
//! | `Headwater-After` | request | a receipt that the answer has to include |
//! | `Headwater-Frozen` | response | the version of the view that answered, which is an older one, frozen while the new one is built |
//! | `Headwater-Stale-Ms` | response | for how long whoever answered has not reached the log: the answer may be as old |
//! | `Prefer: wait=N` | request | how many seconds the answer may wait (RFC 7240, section 4.3) |

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponseParts, ResponseParts};

use crate::codes;
use crate::problem::Problem;

/// The request header that carries a command's id.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The response header that carries an accepted command's receipt.
pub const RECEIPT: HeaderName = HeaderName::from_static("headwater-receipt");
/// The request header that carries a receipt which the answer has to include.
pub const AFTER: HeaderName = HeaderName::from_static("headwater-after");
/// The request header that says how long the answer may wait.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The response header that names the frozen version which answered.
pub const FROZEN: HeaderName = HeaderName::from_static("headwater-frozen");
/// The response header that tells for how long the log has not been reached.
pub const STALE_MS: HeaderName = HeaderName::from_static("headwater-stale-ms");

/// Most characters of an idempotency key.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 200;
/// Most characters of a receipt or an event id in a header.
const TOKEN_CHARS_MAX: usize = 4_096;

/// A command's id as the client chose it: 1 to 200 visible ASCII characters.
///
/// The quotes of a structured-field string are taken off, so `"abc"` and `abc` are one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The error of a text that is no idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidIdempotencyKey;

impl fmt::Display for InvalidIdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an idempotency key has 1 to {IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters")
    }
}

impl std::error::Error for InvalidIdempotencyKey {}

impl FromStr for IdempotencyKey {
    type Err = InvalidIdempotencyKey;

    fn from_str(text: &str) -> Result<Self, InvalidIdempotencyKey> {
        let unquoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        let fits = (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&unquoted.len());
        let visible = unquoted.bytes().all(|byte| byte.is_ascii_graphic());
        if fits && visible { Ok(Self(unquoted.into())) } else { Err(InvalidIdempotencyKey) }
    }
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let key = parsed(&parts.headers, &IDEMPOTENCY_KEY)?;
        key.ok_or_else(|| invalid(&IDEMPOTENCY_KEY, "this request needs an Idempotency-Key"))
    }
}

impl<S: Sync> axum::extract::OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        parsed(&parts.headers, &IDEMPOTENCY_KEY)
    }
}

/// How far an answer may lie behind, as a response part; an answer that is up to date gets no header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Behind {
    /// The older version of a view that answered.
    pub frozen_version: Option<u32>,
    /// For how many milliseconds the log had not been reached.
    pub stale_ms: Option<u64>,
}

impl Behind {
    /// An answer from here while the log has not been reached, if that is so, for a time.
    pub fn silence(silence: Option<Duration>) -> Self {
        let ms = |silence: Duration| u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        Self { stale_ms: silence.map(ms), ..Self::default() }
    }
}

impl<T> From<&headwater::Answer<T>> for Behind {
    fn from(answer: &headwater::Answer<T>) -> Self {
        Self { frozen_version: answer.frozen_version, stale_ms: answer.stale_ms }
    }
}

impl IntoResponseParts for Behind {
    type Error = Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        let frozen = self.frozen_version.map(|version| (FROZEN, HeaderValue::from(version)));
        let stale = self.stale_ms.map(|ms| (STALE_MS, HeaderValue::from(ms)));
        response.headers_mut().extend(frozen.into_iter().chain(stale));
        Ok(response)
    }
}

/// The receipt that an answer has to include, if the request names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After<R>(pub Option<R>);

impl<S, R> FromRequestParts<S> for After<R>
where
    S: Sync,
    R: FromStr<Err: fmt::Display>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parsed(&parts.headers, &AFTER).map(Self)
    }
}

/// The receipt of an answer, as a response part.
///
/// A receipt that is no header value (it has control characters) is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptHeader<R>(pub R);

impl<R: fmt::Display> IntoResponseParts for ReceiptHeader<R> {
    type Error = Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        if let Ok(value) = HeaderValue::try_from(self.0.to_string()) {
            response.headers_mut().insert(RECEIPT, value);
        }
        Ok(response)
    }
}

/// How long the client would like the answer to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreferWait(pub Option<Duration>);

impl PreferWait {
    /// The wait that the server grants: its default unless asked, and never more than its most.
    pub fn bounded(self, default: Duration, most: Duration) -> Duration {
        self.0.unwrap_or(default).min(most)
    }
}

/// A preference that cannot be read is ignored, as RFC 7240 asks.
impl<S: Sync> FromRequestParts<S> for PreferWait {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let values = parts.headers.get_all(PREFER).into_iter().filter_map(|value| value.to_str().ok());
        Ok(Self(values.flat_map(|value| value.split(',')).find_map(wait_of)))
    }
}

fn wait_of(preference: &str) -> Option<Duration> {
    let (name, seconds) = preference.split(';').next()?.split_once('=')?;
    let asked = name.trim().eq_ignore_ascii_case("wait");
    let seconds = asked.then(|| seconds.trim().trim_matches('"').parse().ok())??;
    Some(Duration::from_secs(seconds))
}

/// Where a client of an event stream left off, from `Last-Event-ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastEventId<I>(pub Option<I>);

impl<S, I> FromRequestParts<S> for LastEventId<I>
where
    S: Sync,
    I: FromStr<Err: fmt::Display>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parsed(&parts.headers, &HeaderName::from_static("last-event-id")).map(Self)
    }
}

/// One header's value, if it is there; an empty one counts as absent.
fn parsed<T: FromStr<Err: fmt::Display>>(
    headers: &HeaderMap,
    name: &HeaderName,
) -> Result<Option<T>, Problem> {
    let mut values = headers.get_all(name).into_iter();
    let Some(value) = values.next().filter(|value| !value.is_empty()) else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid(name, "the header is there twice"));
    }
    let text = value.to_str().map_err(|_| invalid(name, "the header is not visible ASCII"))?;
    if text.len() > TOKEN_CHARS_MAX {
        return Err(invalid(name, "the header is too long"));
    }
    text.parse().map(Some).map_err(|error| invalid(name, error))
}

fn invalid(name: &HeaderName, reason: impl fmt::Display) -> Problem {
    Problem::new(&codes::INVALID_HEADER, reason.to_string()).field(name.as_str())
}

#[cfg(test)]
mod tests {
    use axum::extract::OptionalFromRequestParts;
    use axum::http::Request;
    use axum::response::IntoResponse;

    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let request =
            headers.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
        request.body(()).expect("valid headers").into_parts().0
    }

    #[tokio::test]
    async fn idempotency_keys_are_checked() {
        let longest = "k".repeat(200);
        for (value, key) in [("a", "a"), ("\"8e03-978e\"", "8e03-978e"), (longest.as_str(), longest.as_str())]
        {
            let mut parts = parts(&[("idempotency-key", value)]);
            let read = <IdempotencyKey as FromRequestParts<_>>::from_request_parts(&mut parts, &()).await;
            assert_eq!(read.expect(value).as_str(), key);
        }
        let too_long = "k".repeat(201);
        for headers in [
            &[("idempotency-key", "a b")][..],
            &[("idempotency-key", "\"\"")],
            &[("idempotency-key", "ké")],
            &[("idempotency-key", &too_long)],
            &[("idempotency-key", "a"), ("idempotency-key", "b")],
            &[],
        ] {
            let mut parts = parts(headers);
            let read = <IdempotencyKey as FromRequestParts<_>>::from_request_parts(&mut parts, &()).await;
            let problem = read.expect_err("not a key");
            assert_eq!(
                (problem.status().as_u16(), problem.offending_field()),
                (400, Some("idempotency-key"))
            );
        }
    }

    #[tokio::test]
    async fn an_optional_key_may_be_absent_but_not_wrong() {
        let optional = |headers: &'static [(&str, &str)]| async {
            <IdempotencyKey as OptionalFromRequestParts<_>>::from_request_parts(&mut parts(headers), &())
                .await
        };
        assert_eq!(optional(&[]).await.expect("absent is fine"), None);
        assert!(optional(&[("idempotency-key", "a b")]).await.is_err());
    }

    #[tokio::test]
    async fn a_receipt_is_read_as_the_type_that_it_is() {
        let mut good = parts(&[("headwater-after", "42")]);
        assert_eq!(
            After::<u64>::from_request_parts(&mut good, &()).await.expect("a number"),
            After(Some(42))
        );
        let mut bad = parts(&[("headwater-after", "x")]);
        let problem = After::<u64>::from_request_parts(&mut bad, &()).await.expect_err("no number");
        assert_eq!(problem.code().name, "invalid-header");
    }

    #[test]
    fn a_receipt_is_written() {
        let response = (ReceiptHeader("p3:17"), "accepted").into_response();
        assert_eq!(response.headers()["headwater-receipt"], "p3:17");
    }

    #[tokio::test]
    async fn waits_are_bounded_by_the_server() {
        let seconds = Duration::from_secs;
        let cases = [
            (&[][..], 2),
            (&[("prefer", "wait=5")], 5),
            (&[("prefer", "respond-async, WAIT=\"5\"; x=y")], 5),
            (&[("prefer", "wait=9999999999999")], 30),
            (&[("prefer", "wait=-1")], 2),
            (&[("prefer", "wait")], 2),
            (&[("prefer", "return=minimal"), ("prefer", "wait=0")], 0),
        ];
        for (headers, granted) in cases {
            let Ok(wait) = PreferWait::from_request_parts(&mut parts(headers), &()).await;
            assert_eq!(wait.bounded(seconds(2), seconds(30)), seconds(granted), "{headers:?}");
        }
    }
}
