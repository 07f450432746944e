//! Problems: every error answer of a server, as RFC 9457 `application/problem+json`.
//!
//! A problem has a stable code, and names the offending field where there is one. Whatever leaves the server
//! with an error status and no document of its own is turned into a problem on the way out, so a client needs
//! one way to read errors.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::header::{self, HeaderValue};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Router, extract::Path};
use bytes::Bytes;
use futures_util::FutureExt;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::codes::{self, Code};

/// The media type of problems.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Most bytes of a plain-text error that become a problem's detail.
const DETAIL_BYTES_MAX: usize = 2_048;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The field as a path, such as `lines[2].price`.
    pub field: String,
    /// What is wrong with it, as a stable name in kebab-case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What is wrong with it, in words.
    pub detail: String,
}

impl FieldError {
    /// An error of a field.
    pub fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), code: None, detail: detail.into() }
    }

    /// Names what is wrong.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }
}

/// An error answer.
///
/// ```
/// use headwater_http::{codes, problem::Problem};
///
/// let problem = Problem::new(&codes::INVALID_VALUE, "the price is negative").field("itemPrice");
/// assert_eq!(problem.status().as_u16(), 422);
/// ```
#[derive(Debug, Clone)]
pub struct Problem {
    code: &'static Code,
    status: Option<StatusCode>,
    detail: Cow<'static, str>,
    field: Option<String>,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
    members: Option<Box<Map<String, Value>>>,
}

impl Problem {
    /// A problem of a kind, with what is particular to this occurrence.
    pub fn new(code: &'static Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status: None,
            detail: detail.into(),
            field: None,
            errors: Vec::new(),
            retry_after: None,
            members: None,
        }
    }

    /// A failure of the server itself: logged here with its cause, which the client is not told.
    pub fn internal(cause: &(dyn Error + 'static)) -> Self {
        tracing::error!(error = cause, "request failed");
        Self::new(&codes::INTERNAL, "the server could not complete the request; its log says why")
    }

    /// Names the one offending field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Names every offending field; the first one becomes the problem's field unless it has one.
    #[must_use]
    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        if self.field.is_none() {
            self.field = errors.first().map(|error| error.field.clone());
        }
        self.errors = errors;
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Answers with another status than the code's own.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds an extension member, such as the present version; it cannot replace a standard one.
    #[must_use]
    pub fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.get_or_insert_default().insert(name.to_owned(), value.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> &'static Code {
        self.code
    }

    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        let own = || StatusCode::from_u16(self.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.status.unwrap_or_else(own)
    }

    /// What is particular to this occurrence.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The offending field, if there is one.
    pub fn offending_field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// The document as it is sent.
    pub fn to_json(&self) -> Bytes {
        let only = self.field.as_ref().filter(|_| self.errors.is_empty());
        let only = only.map(|field| FieldError::new(field, &*self.detail).code(self.code.name));
        let document = Document {
            kind: self.code.type_uri(),
            title: self.code.title,
            status: self.status().as_u16(),
            code: self.code.name,
            detail: &self.detail,
            field: self.field.as_deref(),
            errors: only.as_ref().map_or(&self.errors, std::slice::from_ref),
            retry_after: self.retry_after_seconds(),
            members: self.extension_members(),
        };
        serde_json::to_vec(&document).expect("strings, numbers and JSON values always serialise").into()
    }

    fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|after| after.as_secs() + u64::from(after.subsec_nanos() > 0))
    }

    fn extension_members(&self) -> Map<String, Value> {
        const STANDARD: [&str; 8] =
            ["type", "title", "status", "code", "detail", "field", "errors", "retryAfter"];
        let mut members = self.members.as_deref().cloned().unwrap_or_default();
        members.retain(|name, _| !STANDARD.contains(&name.as_str()));
        members
    }
}

/// The wire form, in the order people read it.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(rename = "retryAfter", skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(flatten)]
    members: Map<String, Value>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Turns an error answer without a document of its own into a problem; other answers pass unchanged.
///
/// Headers other than those of the old body stay (`Allow`, for one). Plain text becomes the detail.
pub fn of_bare_error(response: Response<Body>) -> Response<Body> {
    if !response.status().is_client_error() && !response.status().is_server_error() {
        return response;
    }
    if has_document(response.headers(), response.body().is_end_stream()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let code = codes::for_status(parts.status.as_u16());
    let detail = text_at_hand(body).map_or(Cow::Borrowed(code.remedy), Cow::Owned);
    let problem = Problem::new(code, detail).with_status(parts.status).into_response();
    let (problem_parts, problem_body) = problem.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(problem_parts.headers);
    Response::from_parts(parts, problem_body)
}

/// Whether an error says what it is: a problem does even without its body, as the answer to HEAD.
fn has_document(headers: &HeaderMap, is_empty: bool) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return false };
    // The answer to HEAD is empty, and tells how long the document is.
    let is_empty = is_empty && headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0");
    kind == PROBLEM_JSON || (!is_empty && !kind.as_bytes().starts_with(b"text/plain"))
}

/// The text of a body that needs no waiting, which is what axum's own rejections are.
fn text_at_hand(mut body: Body) -> Option<String> {
    let next = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx));
    let data = next.now_or_never()??.ok()?.into_data().ok()?;
    let text = String::from_utf8_lossy(&data[..data.len().min(DETAIL_BYTES_MAX)]).into_owned();
    (!text.is_empty()).then_some(text)
}

/// Routes that explain problem types at their own URI: those of this crate and the application's.
pub fn routes<S: Clone + Send + Sync + 'static>(application: &'static [&'static Code]) -> Router<S> {
    let explain = move |Path(name): Path<String>| async move {
        let found = codes::ALL.iter().chain(application).find(|code| code.name == name);
        found.map(|code| explanation(code)).ok_or(Problem::new(&codes::NOT_FOUND, "no problem has this code"))
    };
    Router::new().route(&format!("{}/{{code}}", codes::TYPE_PATH), get(explain))
}

fn explanation(code: &Code) -> String {
    format!("{} ({}): {}\n\n{}\n", code.name, code.status, code.title, code.remedy)
}

#[cfg(test)]
#[path = "problem_tests.rs"]
mod tests;
