//! The bodies at the server's edge: requests are bounded in size and time, answers keep their connection busy
//! and event streams end when the server stops.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::Limited;
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::Shared;
use super::connection::{Busy, Connection};

/// The error of a body that did not arrive in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyTimedOut;

impl fmt::Display for BodyTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body did not arrive in time")
    }
}

impl Error for BodyTimedOut {}

/// A request's body within its limits.
pub(crate) struct RequestBody {
    body: Limited<Incoming>,
    timeout: Duration,
    /// Armed by the first wait: most bodies arrive with their head and need none.
    deadline: Option<Pin<Box<Sleep>>>,
    connection: Arc<Connection>,
    ended: bool,
}

impl RequestBody {
    /// The body that handlers see; one that is empty costs nothing.
    pub(crate) fn of(
        incoming: Incoming,
        body_bytes_max: usize,
        shared: &Shared,
        connection: &Arc<Connection>,
    ) -> Body {
        if incoming.is_end_stream() {
            return Body::empty();
        }
        Body::new(Self {
            body: Limited::new(incoming, body_bytes_max),
            timeout: shared.limits.body_timeout,
            deadline: None,
            connection: Arc::clone(connection),
            ended: false,
        })
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        deadline.as_mut().poll(cx)
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_pending() {
            return self.poll_deadline(cx).map(|()| Some(Err(BodyTimedOut.into())));
        }
        self.ended = matches!(frame, Poll::Ready(None)) || self.body.is_end_stream();
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.connection.leave_unread();
        }
    }
}

/// An answer's body: its connection is busy until the body is handed over or dropped.
pub(crate) struct AnswerBody {
    body: Body,
    _busy: Busy,
    /// The server whose stop ends this body, for answers without an end of their own.
    ends_with: Option<Arc<Shared>>,
}

impl AnswerBody {
    pub(crate) fn new(body: Body, headers: &HeaderMap, busy: Busy, shared: &Arc<Shared>) -> Self {
        let kind = headers.get(header::CONTENT_TYPE);
        let endless = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        Self { body, _busy: busy, ends_with: endless.then(|| Arc::clone(shared)) }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.ends_with.as_ref().is_some_and(|server| server.is_stopping()) {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
