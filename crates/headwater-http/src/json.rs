//! The strict JSON body: what does not fit is refused with the field that does not fit.
//!
//! A field that the type does not know is refused even if the type forgot `deny_unknown_fields`, since a
//! misspelt optional field would otherwise be lost in silence. (Types that serde buffers first, such as
//! internally tagged and flattened ones, have to deny unknown fields themselves.) Structs are read from objects,
//! not from arrays. A body that fits is read once; only one that does not is read again to find out where.

use std::error::Error;
use std::fmt::Display;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

use crate::codes;
use crate::misfit::Misfit;
use crate::objects::{NAMES, Strict, is_object};
use crate::problem::Problem;
use crate::serve::BodyTimedOut;

/// Deepest nesting of arrays and objects that is read.
pub const DEPTH_MAX: usize = 128;

/// A body of `application/json`, read into a value.
///
/// ```
/// use headwater_http::json::JsonBody;
///
/// #[derive(serde::Deserialize)]
/// struct NewOrder { item: String }
///
/// async fn place(JsonBody(order): JsonBody<NewOrder>) -> String {
///     order.item
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonBody<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let body = whole(request.into_body()).await?;
        parse(&body).map(Self)
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).map(|kind| String::from_utf8_lossy(kind.as_bytes()));
    let essence = given.as_deref().map(|kind| kind.split(';').next().unwrap_or_default().trim());
    if essence.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    let given = given.map_or_else(|| "no Content-Type".to_owned(), |kind| format!("`{kind}`"));
    let detail = format!("expected Content-Type `application/json`, got {given}");
    Err(Problem::new(&codes::UNSUPPORTED_MEDIA_TYPE, detail).field("Content-Type"))
}

/// Reads a body to its end, within the limits that the server set on it.
///
/// # Errors
///
/// A problem when the body is too large, too slow, or breaks off.
pub async fn whole(body: Body) -> Result<Bytes, Problem> {
    match body.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => Err(unreadable(&error)),
    }
}

fn unreadable(error: &(dyn Error + 'static)) -> Problem {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Problem::new(&codes::BODY_TOO_LARGE, "the body has more bytes than this server takes");
        }
        if error.is::<BodyTimedOut>() {
            return Problem::new(&codes::REQUEST_TIMEOUT, error.to_string());
        }
        cause = error.source();
    }
    Problem::new(&codes::BODY_UNREADABLE, "the body broke off")
}

/// Reads a value from JSON as strictly as [`JsonBody`] does.
///
/// # Errors
///
/// A problem that names the offending field, or the line and column of what is not JSON.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Problem> {
    let mut ignored = None;
    let mut reader = serde_json::Deserializer::from_slice(json);
    let read = serde_ignored::deserialize(Strict(&mut reader), |path| {
        ignored.get_or_insert_with(|| ignored_field(&path));
    });
    match read {
        Ok(value) if reader.end().is_ok() => match ignored {
            None => Ok(value),
            Some(field) => Err(Misfit::unknown_field(field).into_body_problem()),
        },
        _ => Err(diagnosis::<T>(json)),
    }
}

fn ignored_field(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    let below = |parent: &Path<'_>, key: &str| match ignored_field(parent) {
        above if above.is_empty() => key.to_owned(),
        above => format!("{above}.{key}"),
    };
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", ignored_field(parent)),
        Path::Map { parent, key } => below(parent, key),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            ignored_field(parent)
        }
    }
}

/// Why JSON does not fit, found by reading it again with the path in hand.
fn diagnosis<T: DeserializeOwned>(json: &[u8]) -> Problem {
    if depth(json) > DEPTH_MAX {
        let detail = format!("arrays and objects may be nested {DEPTH_MAX} deep");
        return Problem::new(&codes::JSON_TOO_DEEP, detail);
    }
    if json.trim_ascii().is_empty() {
        return Problem::new(&codes::TRUNCATED_JSON, "the body is empty");
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    let (path, error) = match serde_path_to_error::deserialize::<_, T>(Strict(&mut reader)) {
        Ok(_) => {
            return reader.end().map_or_else(|error| not_json(&error), |()| not_json(&"the body is not JSON"));
        }
        Err(error) => (error.path().to_string(), error.into_inner()),
    };
    let words = error.to_string();
    match fault(error, json) {
        Some(fault) if fault.is_eof() => Problem::new(&codes::TRUNCATED_JSON, fault.to_string()),
        Some(fault) => not_json(&fault),
        None if is_object::<T>() && !json.trim_ascii_start().starts_with(b"{") => {
            Problem::new(&codes::NOT_AN_OBJECT, "the body must be a JSON object")
        }
        None => Misfit::from_serde(&path, &words).into_body_problem(),
    }
}

/// Why a body is no JSON; `None` where it is, and only does not fit.
///
/// Serde calls some values that do not fit mistakes in the JSON: an array of too many, a number too large, anything but a
/// name in the place of one.
fn fault(error: serde_json::Error, json: &[u8]) -> Option<serde_json::Error> {
    let words = error.to_string();
    // What is skipped unread is not looked at for these.
    let is_in_text = ["hex escape", "code point"].iter().any(|part| words.contains(part));
    match error.classify() {
        Category::Data if !words.starts_with(NAMES) => None,
        Category::Syntax if is_in_text => Some(error),
        _ => serde_json::from_slice::<IgnoredAny>(json).err(),
    }
}

fn not_json(why: &dyn Display) -> Problem {
    Problem::new(&codes::MALFORMED_JSON, why.to_string())
}

/// How deeply arrays and objects are nested, whether or not they close.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
