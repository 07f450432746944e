//! Server-sent events: a stream of events to one client, resumable, with bounded memory.
//!
//! Events are pulled: the stream is asked for more only when the connection can take more, so a slow client slows
//! its own stream and nothing else, and one that stalls is dropped by the server. While nothing happens a comment
//! is sent now and then, so that both ends notice a dead connection. The server ends every event stream when it
//! stops; the client connects again and resumes with `Last-Event-ID` (see
//! [`LastEventId`](crate::headers::LastEventId)).
//!
//! The format is that of <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::{BoxStream, StreamExt};
use http_body::{Body as HttpBody, Frame};
use metrics::Gauge;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};

use crate::metric_names::HTTP_EVENT_STREAMS;

/// How long nothing is sent before a comment keeps the connection alive.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events are gathered into one write up to about this size.
const GATHERED_BYTES: usize = 16 * 1_024;

/// One event.
///
/// ```
/// use headwater_http::sse::SseEvent;
///
/// let event = SseEvent::new("{\"quantity\":2}").id("17").event("changed");
/// assert_eq!(event.to_string(), "id: 17\nevent: changed\ndata: {\"quantity\":2}\n\n");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SseEvent {
    id: Option<String>,
    event: Option<Cow<'static, str>>,
    retry: Option<Duration>,
    data: String,
}

impl SseEvent {
    /// An event with data of any number of lines.
    pub fn new(data: impl Into<String>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    /// An event whose data is a value as JSON.
    ///
    /// # Errors
    ///
    /// When the value cannot be serialised.
    pub fn json(value: &impl serde::Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Self::new)
    }

    /// The id from which the client resumes. Control characters are left out.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(one_line(id.into()));
        self
    }

    /// The event's type, `message` unless set. Control characters are left out.
    #[must_use]
    pub fn event(mut self, event: impl Into<Cow<'static, str>>) -> Self {
        self.event = Some(match event.into() {
            Cow::Owned(name) => one_line(name).into(),
            Cow::Borrowed(name) if name.contains(char::is_control) => one_line(name.to_owned()).into(),
            name => name,
        });
        self
    }

    /// How long the client waits before it connects again.
    #[must_use]
    pub fn retry(mut self, after: Duration) -> Self {
        self.retry = Some(after);
        self
    }
}

fn one_line(text: String) -> String {
    if text.contains(char::is_control) { text.replace(char::is_control, "") } else { text }
}

impl std::fmt::Display for SseEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(id) = &self.id {
            writeln!(f, "id: {id}")?;
        }
        if let Some(event) = &self.event {
            writeln!(f, "event: {event}")?;
        }
        if let Some(retry) = &self.retry {
            writeln!(f, "retry: {}", retry.as_millis())?;
        }
        // A carriage return ends a line in this format, so it would let data forge a field.
        for line in self.data.replace("\r\n", "\n").split(['\n', '\r']) {
            writeln!(f, "data: {line}")?;
        }
        f.write_char('\n')
    }
}

/// An answer that is a stream of events.
pub struct Sse {
    events: BoxStream<'static, SseEvent>,
    keep_alive: Duration,
}

impl Sse {
    /// Answers with the events of a stream, as fast as the client reads them.
    pub fn new(events: impl Stream<Item = SseEvent> + Send + 'static) -> Self {
        Self { events: events.boxed(), keep_alive: KEEP_ALIVE }
    }

    /// Answers with what is sent into a channel that holds at most `capacity` events.
    ///
    /// Sending waits while the client is behind, and fails once it is gone.
    pub fn channel(capacity: usize) -> (mpsc::Sender<SseEvent>, Self) {
        let (sender, mut receiver) = mpsc::channel(capacity.max(1));
        (sender, Self::new(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))))
    }

    /// Sends a comment after another time without events.
    #[must_use]
    pub fn keep_alive(mut self, every: Duration) -> Self {
        self.keep_alive = every;
        self
    }
}

impl std::fmt::Debug for Sse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sse").field("keep_alive", &self.keep_alive).finish_non_exhaustive()
    }
}

impl IntoResponse for Sse {
    fn into_response(self) -> Response<Body> {
        let streams = metrics::gauge!(HTTP_EVENT_STREAMS.name);
        streams.increment(1.0);
        let body = SseBody {
            events: self.events,
            silence: Box::pin(sleep(self.keep_alive)),
            keep_alive: self.keep_alive,
            ended: false,
            streams,
        };
        let mut response = Response::new(Body::new(body));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // Asks proxies that buffer (nginx) to pass events on at once.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }
}

/// The body: gathers the events that are there, or keeps the connection alive.
struct SseBody {
    events: BoxStream<'static, SseEvent>,
    silence: Pin<Box<Sleep>>,
    keep_alive: Duration,
    ended: bool,
    streams: Gauge,
}

impl SseBody {
    fn gather(&mut self, cx: &mut Context<'_>) -> String {
        let mut text = String::new();
        while text.len() < GATHERED_BYTES && !self.ended {
            match self.events.poll_next_unpin(cx) {
                Poll::Ready(Some(event)) => write!(text, "{event}").expect("a string takes all text"),
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => break,
            }
        }
        text
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        std::task::ready!(self.silence.as_mut().poll(cx));
        self.restart_silence();
        Poll::Ready(())
    }

    fn restart_silence(&mut self) {
        let next = Instant::now() + self.keep_alive;
        self.silence.as_mut().reset(next);
    }
}

impl HttpBody for SseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let text = self.gather(cx);
        if !text.is_empty() {
            self.restart_silence();
            return Poll::Ready(Some(Ok(Frame::data(text.into()))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        self.poll_silence(cx).map(|()| Some(Ok(Frame::data(Bytes::from_static(b": still here\n\n")))))
    }
}

impl Drop for SseBody {
    fn drop(&mut self) {
        self.streams.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn an_event_is_written_so_that_nothing_can_be_forged() {
        let cases = [
            (SseEvent::new("one\ntwo"), "data: one\ndata: two\n\n"),
            (SseEvent::new("a\r\nb\rid: 9"), "data: a\ndata: b\ndata: id: 9\n\n"),
            (SseEvent::new(""), "data: \n\n"),
            (SseEvent::new("x").id("1\ndata: y").event("e\r\0"), "id: 1data: y\nevent: e\ndata: x\n\n"),
            (SseEvent::new("x").retry(Duration::from_secs(2)), "retry: 2000\ndata: x\n\n"),
        ];
        for (event, text) in cases {
            assert_eq!(event.to_string(), text);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_with_comments() {
        let (sender, sse) = Sse::channel(4);
        let mut body = sse.keep_alive(Duration::from_secs(5)).into_response().into_body();
        let mut next = async || {
            let frame = body.frame().await?.expect("the body never fails");
            Some(String::from_utf8(frame.into_data().expect("data only").to_vec()).expect("text"))
        };
        let begun = Instant::now();
        assert_eq!(next().await.as_deref(), Some(": still here\n\n"));
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        sender.send(SseEvent::new("a")).await.expect("the body lives");
        sender.send(SseEvent::new("b")).await.expect("the body lives");
        assert_eq!(next().await.as_deref(), Some("data: a\n\ndata: b\n\n"), "what is there goes together");
        drop(sender);
        assert_eq!(next().await, None);
    }

    #[tokio::test]
    async fn no_more_is_taken_than_the_client_takes() {
        let events = futures_util::stream::repeat_with(|| SseEvent::new("x".repeat(1_000)));
        let mut body = Sse::new(events).into_response().into_body();
        let frame = body.frame().await.expect("endless").expect("the body never fails");
        let len = frame.into_data().expect("data only").len();
        assert!((GATHERED_BYTES..GATHERED_BYTES + 1_100).contains(&len), "{len}");
    }

    #[tokio::test]
    async fn a_channel_holds_no_more_than_its_capacity() {
        let (sender, sse) = Sse::channel(2);
        for _ in 0..2 {
            sender.try_send(SseEvent::new("x")).expect("there is room");
        }
        assert!(sender.try_send(SseEvent::new("x")).is_err());
        drop(sse);
        assert!(sender.send(SseEvent::new("x")).await.is_err(), "the client is gone");
    }
}
