//! W3C Trace Context: the `traceparent` header, version 00.
//!
//! <https://www.w3.org/TR/trace-context/#traceparent-header>: 55 lower-case characters,
//! `00-<32 hex trace id>-<16 hex parent id>-<2 hex flags>`, of which neither id is all zeros. A later version may
//! append further fields after another dash.

use std::fmt;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use std::convert::Infallible;

/// The header's name.
pub const TRACEPARENT: &str = "traceparent";

/// The trace that a request belongs to, and the span within it.
///
/// ```
/// use headwater_http::traceparent::TraceParent;
///
/// let caller: TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
/// assert_eq!(caller.child().trace_id(), caller.trace_id());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: TraceId,
    parent_id: u64,
    flags: u8,
}

/// A trace's id, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The error of a text that is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidTraceParent;

impl fmt::Display for InvalidTraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a W3C traceparent")
    }
}

impl std::error::Error for InvalidTraceParent {}

impl TraceParent {
    /// A new trace, which is not sampled.
    pub fn generate() -> Self {
        Self { trace_id: TraceId(fastrand::u128(1..)), parent_id: fastrand::u64(1..), flags: 0 }
    }

    /// A new span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { parent_id: fastrand::u64(1..), ..self }
    }

    /// This server's span for a request: a child of the caller's, or of a new trace.
    ///
    /// A header that cannot be read starts a new trace, as the specification asks.
    pub fn of_request(headers: &HeaderMap) -> Self {
        let header = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        header.and_then(|text| text.parse::<Self>().ok()).map_or_else(Self::generate, Self::child)
    }

    /// The trace's id.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// Whether the caller may have recorded the trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let version = hex(text.get(..2), 2)?;
        let mut fields = text.split('-').skip(1);
        let trace_id = hex(fields.next(), 32)?;
        let parent_id = hex(fields.next(), 16)?;
        let flags = hex(fields.next(), 2)?;
        let later = fields.next().is_some();
        let shape = text.as_bytes().get(2) == Some(&b'-') && version != 0xff && (version > 0 || !later);
        if !shape || trace_id == 0 || parent_id == 0 {
            return Err(InvalidTraceParent);
        }
        Ok(Self { trace_id: TraceId(trace_id), parent_id: parent_id as u64, flags: flags as u8 & 1 })
    }
}

fn hex(field: Option<&str>, len: usize) -> Result<u128, InvalidTraceParent> {
    let field = field.filter(|field| field.len() == len).ok_or(InvalidTraceParent)?;
    let lower_hex = field.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !lower_hex {
        return Err(InvalidTraceParent);
    }
    u128::from_str_radix(field, 16).map_err(|_| InvalidTraceParent)
}

/// The request's trace, as the server noted it or from the header.
impl<S: Sync> FromRequestParts<S> for TraceParent {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let noted = parts.extensions.get::<Self>().copied();
        Ok(noted.unwrap_or_else(|| Self::of_request(&parts.headers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_valid_header_is_read_and_written_alike() {
        let parsed: TraceParent = VALID.parse().expect("valid");
        assert_eq!(parsed.to_string(), VALID);
        assert!(parsed.is_sampled());
    }

    #[test]
    fn a_later_version_may_say_more() {
        assert!(format!("01{}-more", &VALID[2..]).parse::<TraceParent>().is_ok());
    }

    #[test]
    fn what_is_not_valid_is_refused() {
        let zero_trace = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let zero_parent = "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01";
        let more = format!("{VALID}-more");
        let forbidden_version = format!("ff{}", &VALID[2..]);
        let signed = "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let upper = VALID.to_uppercase();
        for text in
            ["", "00", "é", zero_trace, zero_parent, &more, &forbidden_version, signed, &upper, &VALID[..54]]
        {
            assert_eq!(text.parse::<TraceParent>(), Err(InvalidTraceParent), "{text}");
        }
    }

    #[test]
    fn a_request_continues_its_callers_trace() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, VALID.parse().expect("valid"));
        let here = TraceParent::of_request(&headers);
        assert_eq!(here.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_ne!(here.to_string(), VALID, "the span is this server's own");
        headers.insert(TRACEPARENT, "nonsense".parse().expect("valid"));
        assert_ne!(TraceParent::of_request(&headers).trace_id(), here.trace_id());
    }
}
