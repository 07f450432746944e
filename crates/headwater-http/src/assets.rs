//! Pages embedded in the binary: with a tag to revalidate, and headers that leave a page nothing to smuggle in.

use axum::Router;
use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::get;
use bytes::Bytes;

/// One file embedded with `include_bytes!`.
///
/// ```
/// use headwater_http::assets::{self, Asset};
///
/// const PAGE: Asset = Asset::new("/", "index.html", b"<!doctype html><title>Orders</title>");
/// let router: axum::Router = assets::routes(&[PAGE]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    path: &'static str,
    name: &'static str,
    bytes: &'static [u8],
}

impl Asset {
    /// A file at a path; the extension of its name decides its content type.
    pub const fn new(path: &'static str, name: &'static str, bytes: &'static [u8]) -> Self {
        Self { path, name, bytes }
    }
}

/// What every page is sent with: scripts, styles and connections of its own origin only, nothing inline.
pub const SECURITY_HEADERS: [(HeaderName, HeaderValue); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// The content type for a file's name, by its extension.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

/// Routes that answer with the files, and with 304 to who has them already.
///
/// # Panics
///
/// When two files have one path.
pub fn routes<S: Clone + Send + Sync + 'static>(assets: &[Asset]) -> Router<S> {
    assets.iter().fold(Router::new(), |router, asset| {
        let asset = *asset;
        let tag = entity_tag(asset.bytes);
        router.route(asset.path, get(move |headers: HeaderMap| async move { answer(&asset, &tag, &headers) }))
    })
}

/// A tag that changes with the content: its length and its 64-bit FNV-1a hash.
pub(crate) fn entity_tag(bytes: &[u8]) -> HeaderValue {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    HeaderValue::try_from(format!("\"{:x}-{hash:016x}\"", bytes.len()))
        .expect("hexadecimal digits are visible")
}

/// Whether the client has the content of a tag already (RFC 9110, section 13.1.2).
pub(crate) fn has_already(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(',')).map(str::trim);
    known.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.as_bytes())
}

fn answer(asset: &Asset, tag: &HeaderValue, request: &HeaderMap) -> Response<Body> {
    let fresh = has_already(request, tag);
    let body = if fresh { Body::empty() } else { Body::from(Bytes::from_static(asset.bytes)) };
    let mut response = Response::new(body);
    if fresh {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.extend(SECURITY_HEADERS);
    headers.insert(header::ETAG, tag.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(asset.name)));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::http::Request;
    use tower_service::Service;

    use super::*;

    const PAGE: Asset = Asset::new("/", "index.html", b"<!doctype html><title>t</title>");
    const SCRIPT: Asset = Asset::new("/app.js", "app.js", b"export {};");

    async fn ask(path: &str, if_none_match: &str) -> Response<Body> {
        let request = Request::get(path).header("if-none-match", if_none_match).body(Body::empty());
        routes::<()>(&[PAGE, SCRIPT]).call(request.expect("valid")).await.expect("a router never fails")
    }

    #[tokio::test]
    async fn a_page_may_load_and_run_only_what_is_its_own() {
        let response = ask("/", "\"other\"").await;
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let policy = response.headers()["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(to_bytes(response.into_body(), 1 << 10).await.expect("whole"), PAGE.bytes);
    }

    #[tokio::test]
    async fn who_has_it_is_told_so() {
        let tag = ask("/app.js", "").await.headers()["etag"].to_str().expect("text").to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"a\", {tag}"), "*".to_owned()] {
            let response = ask("/app.js", &known).await;
            assert_eq!(response.status(), 304, "{known}");
            assert_eq!(response.headers()["etag"], *tag);
        }
        assert_ne!(ask("/", "").await.headers()["etag"], *tag);
        assert_eq!(ask("/", &tag).await.status(), 200);
    }

    #[test]
    fn types_go_by_extension() {
        for (name, kind) in [
            ("a.css", "text/css; charset=utf-8"),
            ("a.bin", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(content_type(name), kind);
        }
    }
}
