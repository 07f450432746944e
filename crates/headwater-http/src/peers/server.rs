//! The answering end: a route that serves signed questions and nothing else.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use headwater::peers::{PeerQuestion, PeerService};

use super::PATH;
use super::auth::Key;
use super::client::now_ms;
use crate::codes;
use crate::problem::Problem;
use crate::traceparent::TRACEPARENT;

/// The header that signs a question or an answer.
pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("headwater-peer");
/// The header that says how long an answer is waited for.
pub(super) const WITHIN: HeaderName = HeaderName::from_static("headwater-within-ms");
/// The longest question, in bytes: the largest command, with room for what is around it.
pub(crate) const QUESTION_BYTES_MAX: usize = 4 << 20;
/// The longest that anybody waits.
const WITHIN_MAX: Duration = Duration::from_secs(120);

#[derive(Clone)]
struct Served {
    service: PeerService,
    key: Key,
}

/// The route by which other instances ask.
pub(super) fn routes(service: PeerService, key: Key) -> Router {
    Router::new()
        .route(&format!("{PATH}{{app}}"), post(answer))
        .layer(DefaultBodyLimit::max(QUESTION_BYTES_MAX))
        .with_state(Served { service, key })
}

async fn answer(
    State(Served { service, key }): State<Served>,
    Path(app): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let within_ms = text(&headers, &WITHIN).parse().unwrap_or(0);
    let nonce = key.check(text(&headers, &SIGNATURE), (&app, within_ms), now_ms(), &body);
    let nonce = nonce.ok_or_else(|| {
        tracing::warn!(
            app,
            "a question that no instance with this secret has signed, or whose clock is far off"
        );
        Problem::new(&codes::UNAUTHENTICATED, "only instances that share the secret are answered here")
    })?;
    let traceparent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let within = Duration::from_millis(within_ms).min(WITHIN_MAX);
    let question = PeerQuestion { app, body, within, traceparent };
    let answer = service.answer(question).await;
    let answer = answer.map_err(|error| Problem::new(&codes::NOT_FOUND, error.to_string()))?;
    let signature = key.sign_answer(nonce, &answer);
    let head = [(SIGNATURE, signature), (header::CONTENT_TYPE, "application/octet-stream".to_owned())];
    Ok((head, answer).into_response())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
