//! The asking end: pooled connections to every instance that was asked before.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use headwater::core::BoxFuture;
use headwater::peers::{FRAME_BYTES_MAX, PeerAddress, PeerError, PeerErrorKind, PeerQuestion, Peers};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::auth::{Claims, Key};
use super::{PATH, server};
use crate::traceparent::TRACEPARENT;

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long a connection is kept without a question: less than a server keeps one.
const IDLE: Duration = Duration::from_secs(30);
/// Connections without a question that are kept to one instance.
const IDLE_MAX: usize = 64;
/// How much longer than asked for an answer is waited for.
const GRACE: Duration = Duration::from_millis(250);

/// Questions over HTTP.
#[derive(Clone)]
pub(super) struct HttpPeers {
    client: Client<HttpConnector, Full<Bytes>>,
    key: Key,
}

impl HttpPeers {
    pub(super) fn new(key: Key) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(connector);
        Self { client, key }
    }

    async fn asked(self, to: PeerAddress, question: PeerQuestion) -> Result<Bytes, PeerError> {
        let nonce = fastrand::u128(..);
        let request = self.request(&to, &question, nonce).map_err(|error| not_sent(&to, &error))?;
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Err(not_sent(&to, &error)),
            Err(error) => return Err(lost(&to, &error)),
        };
        self.answer(&to, nonce, response).await
    }

    fn request(
        &self,
        to: &PeerAddress,
        question: &PeerQuestion,
        nonce: u128,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let within_ms = u64::try_from(question.within.as_millis()).unwrap_or(u64::MAX);
        let claims = Claims { app: &question.app, ms: now_ms(), nonce, within_ms };
        let mut request = Request::post(format!("http://{to}{PATH}{}", question.app))
            .header("content-type", "application/octet-stream")
            .header(server::SIGNATURE, self.key.sign(claims, &question.body))
            .header(server::WITHIN, within_ms);
        if let Some(traceparent) = &question.traceparent {
            request = request.header(TRACEPARENT, traceparent);
        }
        request.body(Full::new(question.body.clone()))
    }

    async fn answer(
        &self,
        to: &PeerAddress,
        nonce: u128,
        response: Response<Incoming>,
    ) -> Result<Bytes, PeerError> {
        let status = response.status();
        if status != StatusCode::OK {
            // Everything that a server answers by itself, it answers without having asked the instance.
            let not_served = status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE;
            let kind = if not_served { PeerErrorKind::NotSent } else { PeerErrorKind::Lost };
            let hint = match status {
                StatusCode::UNAUTHORIZED => {
                    ": set the same HEADWATER_PEER_SECRET for all, and their clocks right"
                }
                _ => "",
            };
            return Err(PeerError::new(kind, format!("{to} answered {status}{hint}")));
        }
        let header = response.headers().get(server::SIGNATURE).and_then(|value| value.to_str().ok());
        let header = header.unwrap_or_default().to_owned();
        let body = Limited::new(response.into_body(), FRAME_BYTES_MAX).collect().await;
        let body = body.map_err(|error| lost(to, &*error))?.to_bytes();
        if self.key.check_answer(&header, nonce, &body) {
            Ok(body)
        } else {
            Err(PeerError::new(
                PeerErrorKind::Lost,
                format!("the answer of {to} is not signed with the secret"),
            ))
        }
    }
}

impl Peers for HttpPeers {
    fn ask(&self, to: &PeerAddress, question: PeerQuestion) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        let (within, address) = (question.within + GRACE, to.clone());
        let asked = self.clone().asked(to.clone(), question);
        Box::pin(async move {
            let answer = tokio::time::timeout(within, asked).await;
            answer.unwrap_or_else(|_| {
                Err(PeerError::new(PeerErrorKind::Lost, format!("{address} did not answer in time")))
            })
        })
    }
}

/// Milliseconds since 1970 by the system's clock.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn not_sent(to: &PeerAddress, error: &dyn std::error::Error) -> PeerError {
    PeerError::new(PeerErrorKind::NotSent, format!("{to} is not reached: {}", told(error)))
}

fn lost(to: &PeerAddress, error: &dyn std::error::Error) -> PeerError {
    PeerError::new(PeerErrorKind::Lost, format!("{to} did not answer: {}", told(error)))
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
