//! Requests counted and timed by matched route, so that no path a client makes up becomes a series.
//!
//! The layer is applied to each route once; its handles are resolved on first use and kept, so a request costs two
//! atomic updates. A future that is dropped unanswered (a client that went, a panic) counts as aborted.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::extract::MatchedPath;
use axum::http::{Method, Request, Response, StatusCode};
use metrics::{Counter, Histogram};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::metric_names::{HTTP_REQUEST_DURATION, HTTP_REQUESTS};

/// The route label of requests that matched none.
const NO_ROUTE: &str = "none";
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "other"];
const STATUSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "aborted"];
const ABORTED: usize = 5;

/// Measures every route of a router.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MeasureRoutes;

impl<S> Layer<S> for MeasureRoutes {
    type Service = MeasuredRoute<S>;

    fn layer(&self, inner: S) -> MeasuredRoute<S> {
        MeasuredRoute { inner, route: Arc::default() }
    }
}

/// A route with its series.
#[derive(Clone)]
pub(crate) struct MeasuredRoute<S> {
    inner: S,
    route: Arc<Route>,
}

#[derive(Default)]
struct Route {
    path: OnceLock<Box<str>>,
    series: [MethodSeries; METHODS.len()],
}

#[derive(Default)]
struct MethodSeries {
    duration: OnceLock<Histogram>,
    requests: [OnceLock<Counter>; STATUSES.len()],
}

impl Route {
    fn path_of<B>(&self, request: &Request<B>) -> &str {
        self.path.get_or_init(|| {
            let matched = request.extensions().get::<MatchedPath>();
            matched.map_or(NO_ROUTE, MatchedPath::as_str).into()
        })
    }

    fn record(&self, method: usize, status: usize, started: Instant) {
        let path = || self.path.get().map_or(NO_ROUTE, |path| path).to_owned();
        let series = &self.series[method];
        let requests = series.requests[status].get_or_init(|| {
            metrics::counter!(
                HTTP_REQUESTS.name, "method" => METHODS[method], "route" => path(), "status" => STATUSES[status]
            )
        });
        requests.increment(1);
        let duration = series.duration.get_or_init(|| {
            metrics::histogram!(HTTP_REQUEST_DURATION.name, "method" => METHODS[method], "route" => path())
        });
        duration.record(started.elapsed());
    }
}

fn method_index(method: &Method) -> usize {
    METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1)
}

fn status_index(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100).clamp(1, 5) - 1
}

impl<S, B, R> Service<Request<B>> for MeasuredRoute<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Measured<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.route.path_of(&request);
        let timing = Timing {
            route: Arc::clone(&self.route),
            method: method_index(request.method()),
            status: ABORTED,
            started: Instant::now(),
        };
        Measured { timing, answering: self.inner.call(request) }
    }
}

/// Records on drop, whatever the reason.
struct Timing {
    route: Arc<Route>,
    method: usize,
    status: usize,
    started: Instant,
}

impl Drop for Timing {
    fn drop(&mut self) {
        self.route.record(self.method, self.status, self.started);
    }
}

pin_project! {
    /// A request being answered.
    pub(crate) struct Measured<F> {
        timing: Timing,
        #[pin]
        answering: F,
    }
}

impl<F, R, E> Future for Measured<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let answered = ready!(this.answering.poll(cx));
        if let Ok(response) = &answered {
            this.timing.status = status_index(response.status());
        }
        Poll::Ready(answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_from_a_closed_set() {
        let breve = Method::from_bytes(b"BREW").expect("a valid token");
        assert_eq!(METHODS[method_index(&Method::PATCH)], "PATCH");
        assert_eq!(METHODS[method_index(&breve)], "other");
        for (status, label) in [(101, "1xx"), (200, "2xx"), (503, "5xx"), (999, "5xx")] {
            let status = StatusCode::from_u16(status).expect("three digits");
            assert_eq!(STATUSES[status_index(status)], label);
        }
    }
}
