//! From a request at the edge to its answer: bounded body, trace, panics contained, errors as problems.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, header};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use hyper::body::Incoming;
use tower_service::Service;
use tracing::Instrument;

use super::Shared;
use super::body::{AnswerBody, RequestBody};
use super::connection::Connection;
use super::stopping::Stopping;
use crate::codes;
use crate::peers;
use crate::problem::{Problem, of_bare_error};
use crate::traceparent::TraceParent;

/// Answers one request; never fails, since every failure is an answer.
pub(super) async fn answer(
    router: Router,
    request: Request<Incoming>,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
) -> Result<Response<AnswerBody>, Infallible> {
    let busy = connection.begin_request();
    let response = match refusal_of_head(&request, &shared) {
        Some(problem) => {
            connection.leave_unread();
            problem.into_response()
        }
        None => {
            let body_bytes_max = body_bytes_max(request.uri().path(), &shared);
            let of = |body| RequestBody::of(body, body_bytes_max, &shared, &connection);
            route(router, request.map(of), &shared).await
        }
    };
    let (parts, body) = of_bare_error(response).into_parts();
    let body = AnswerBody::new(body, &parts.headers, busy, &shared);
    Ok(Response::from_parts(parts, body))
}

/// What can be refused from the head alone, before any of the body is asked for.
fn refusal_of_head(request: &Request<Incoming>, shared: &Shared) -> Option<Problem> {
    if request.method() == Method::CONNECT {
        return Some(Problem::new(&codes::NOT_IMPLEMENTED, "this server is no proxy"));
    }
    let length = request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok()?;
    let limit = body_bytes_max(request.uri().path(), shared);
    (length > limit as u64).then(|| body_too_large(limit))
}

/// The longest body at a path. What instances ask each other is bounded by itself: it is no client's.
fn body_bytes_max(path: &str, shared: &Shared) -> usize {
    if path.starts_with(peers::PATH) { peers::QUESTION_BYTES_MAX } else { shared.limits.body_bytes_max }
}

/// The problem of a body over the limit.
fn body_too_large(limit: usize) -> Problem {
    Problem::new(&codes::BODY_TOO_LARGE, format!("the body may have at most {limit} bytes"))
}

async fn route(mut router: Router, mut request: Request<Body>, shared: &Arc<Shared>) -> Response<Body> {
    let trace = TraceParent::of_request(request.headers());
    request.extensions_mut().insert(trace);
    request.extensions_mut().insert(Stopping::of(shared));
    let span = tracing::info_span!(
        "request",
        method = %request.method(),
        path = request.uri().path(),
        trace_id = %trace.trace_id(),
    );
    let answered = async move { router.call(request).await };
    match AssertUnwindSafe(answered).catch_unwind().instrument(span.clone()).await {
        Ok(Ok(response)) => response,
        Err(panic) => span.in_scope(|| contained(panic.as_ref(), &trace)),
    }
}

/// The answer of a handler that panicked.
fn contained(panic: &(dyn Any + Send), trace: &TraceParent) -> Response<Body> {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
    tracing::error!(panic = text, "a handler panicked");
    Problem::new(&codes::INTERNAL, "the server could not complete the request; its log says why")
        .member("traceId", trace.trace_id().to_string())
        .into_response()
}
