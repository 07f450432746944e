//! Requests that do not fit, event streams, and what operators see, over real sockets.

mod common;

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use common::{Answer, PATIENCE, Running, start};
use headwater_http::args::{PathArgs, QueryArgs};
use headwater_http::exact_number::ExactNumber;
use headwater_http::headers::{IdempotencyKey, LastEventId, ReceiptHeader};
use headwater_http::json::JsonBody;
use headwater_http::metrics::Metrics;
use headwater_http::serve::{Limits, Stopped};
use headwater_http::sse::{Sse, SseEvent};
use headwater_http::traceparent::TraceParent;
use headwater_http::{codes, problem};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewOrder {
    customer_id: String,
    item_price: ExactNumber,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: u8,
}

async fn place(key: IdempotencyKey, JsonBody(order): JsonBody<NewOrder>) -> (ReceiptHeader<String>, String) {
    (ReceiptHeader(format!("after-{key}")), format!("{}:{}", order.customer_id, order.item_price))
}

async fn list(PathArgs(id): PathArgs<u32>, QueryArgs(page): QueryArgs<Page>) -> String {
    format!("{id} {}", page.limit)
}

async fn trace(trace: TraceParent) -> String {
    trace.to_string()
}

fn router() -> Router {
    Router::new()
        .route("/orders", post(place))
        .route("/customers/{id}", get(list))
        .route("/trace", get(trace))
        .merge(problem::routes(&[]))
}

async fn place_with(server: &Running, kind: &str, body: &str) -> Answer {
    let request = common::post("/orders", kind, body);
    server.ask(&request.replacen("\r\n\r\n", "\r\nidempotency-key: k1\r\n\r\n", 1)).await
}

#[tokio::test]
async fn an_order_is_read_exactly_and_answered_with_its_receipt() {
    let server = start(router(), Limits::default()).await;
    for kind in ["application/json", "Application/JSON; charset=utf-8"] {
        let answer = place_with(&server, kind, r#"{"customerId": "c1", "itemPrice": 5.00}"#).await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"c1:5.00"[..]));
        assert!(answer.head.contains("headwater-receipt: after-k1\r\n"), "{}", answer.head);
    }
}

#[tokio::test]
async fn bodies_that_do_not_fit_are_refused_by_field() {
    let server = start(router(), Limits { body_bytes_max: 300_000, ..Limits::default() }).await;
    let json = "application/json";
    let deep = format!("{{\"customerId\": {}", "[".repeat(200_000));
    let large = format!("{{\"customerId\": \"{}\"}}", "x".repeat(300_000));
    let cases = [
        ("text/plain", "{}", 415, "unsupported-media-type", "Content-Type"),
        (json, r#"{"customerId": "c1", "itemPr"#, 400, "truncated-json", ""),
        (json, &deep, 400, "json-too-deep", ""),
        (json, &large, 413, "body-too-large", ""),
        (json, r#"{"customerId": "c1", "itemPrise": 5}"#, 422, "unknown-field", "itemPrise"),
        (json, r#"{"customerId": "c1"}"#, 422, "missing-field", "itemPrice"),
        (json, r#"{"customerId": 7, "itemPrice": 5}"#, 422, "invalid-value", "customerId"),
        (json, r#"{"customerId": "c1", "itemPrice": null}"#, 422, "invalid-value", "itemPrice"),
        (json, r#"["c1", 5]"#, 422, "not-an-object", ""),
        (json, "nonsense", 400, "malformed-json", ""),
    ];
    for (kind, body, status, code, field) in cases {
        let answer = place_with(&server, kind, body).await;
        let problem = answer.problem();
        let told = (answer.status, problem["code"].as_str(), problem["field"].as_str().unwrap_or_default());
        assert_eq!(told, (status, Some(code), field), "{problem}");
        let explained = server.ask(&common::get(problem["type"].as_str().expect("a path"))).await;
        assert!(String::from_utf8_lossy(&explained.body).starts_with(code), "{problem} is not explained");
    }
    assert_eq!(place_with(&server, json, r#"{"customerId": "c1", "itemPrice": 1}"#).await.status, 200);
}

#[tokio::test]
async fn slow_and_endless_bodies_are_refused() {
    let limits =
        Limits { body_timeout: Duration::from_millis(80), body_bytes_max: 1_000, ..Limits::default() };
    let server = start(router(), limits).await;
    let head =
        "POST /orders HTTP/1.1\r\nhost: test\r\nidempotency-key: k1\r\ncontent-type: application/json\r\n";
    let slow = server.ask(&format!("{head}content-length: 50\r\n\r\n{{\"customerId\"")).await;
    assert_eq!((slow.status, slow.code().as_str()), (408, "request-timeout"));
    let chunk = format!("400\r\n{}\r\n", " ".repeat(0x400));
    let endless = server.ask(&format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}")).await;
    assert_eq!((endless.status, endless.code().as_str()), (413, "body-too-large"));
}

#[tokio::test]
async fn parameters_and_headers_that_do_not_fit_are_refused_by_name() {
    let server = start(router(), Limits::default()).await;
    let cases = [
        (
            common::get("/customers/x?limit=1"),
            "invalid-parameter",
            "id",
            "id must be a whole number from 0 to 4294967295, not \"x\"",
        ),
        (
            common::get("/customers/%ff?limit=1"),
            "invalid-parameter",
            "id",
            "id must be UTF-8, percent-encoded",
        ),
        (
            common::get("/customers/1?limit=300"),
            "invalid-parameter",
            "limit",
            "limit must be a smaller number",
        ),
        (
            common::get("/customers/1?limits=3"),
            "invalid-parameter",
            "limits",
            "unknown parameter `limits`; did you mean `limit`?",
        ),
        (
            common::post("/orders", "application/json", "{}"),
            "invalid-header",
            "idempotency-key",
            "this request needs an Idempotency-Key",
        ),
    ];
    for (request, code, field, detail) in cases {
        let problem = server.ask(&request).await.problem();
        let told = [&problem["code"], &problem["field"], &problem["detail"]];
        assert_eq!(told, [code, field, detail], "{problem}");
    }
    assert_eq!(server.ask(&common::get("/customers/1?limit=3")).await.body, b"1 3");
}

#[tokio::test]
async fn a_trace_is_continued() {
    let server = start(router(), Limits::default()).await;
    let header = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = server.ask(&format!("GET /trace HTTP/1.1\r\nhost: test\r\n{header}\r\n\r\n")).await;
    let trace = String::from_utf8(answer.body).expect("text");
    assert!(trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && trace.ends_with("-01"), "{trace}");
    assert!(!trace.contains("b7ad6b7169203331"), "the server's span is its own: {trace}");
}

/// A route that streams what is sent into the channel it hands to the test.
fn streaming(open: mpsc::UnboundedSender<(Option<u64>, mpsc::Sender<SseEvent>)>) -> Router {
    let stream = move |LastEventId(last): LastEventId<u64>| async move {
        let (sender, sse) = Sse::channel(8);
        open.send((last, sender)).expect("the test listens");
        sse
    };
    Router::new().route("/stream", get(stream))
}

#[tokio::test]
async fn stopping_ends_event_streams_at_once() {
    let (open, mut opened) = mpsc::unbounded_channel();
    let limits = Limits { stop_timeout: PATIENCE * 10, ..Limits::default() };
    let server = start(streaming(open), limits).await;
    let mut client = server.connect().await;
    client.send(b"GET /stream HTTP/1.1\r\nhost: test\r\nlast-event-id: 41\r\n\r\n").await;
    let (last, events) = opened.recv().await.expect("the handler ran");
    assert_eq!(last, Some(41));
    events.send(SseEvent::new("a").id("42")).await.expect("the stream is open");
    let head = client.read_head().await.expect("an answer");
    assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
    let mut event = [0; b"12\r\nid: 42\ndata: a\n\n\r\n".len() - 1];
    timeout(PATIENCE, client.0.read_exact(&mut event)).await.expect("at once").expect("an event");
    assert_eq!(server.stop().await, Stopped { connections_cut: 0 });
    assert!(client.closed().await.ends_with(b"0\r\n\r\n"), "the stream ends as a whole answer");
    assert!(events.send(SseEvent::new("b")).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_reader_of_events_that_stalls_is_dropped() {
    let (open, mut opened) = mpsc::unbounded_channel();
    let limits = Limits { stalled_write_timeout: Duration::from_millis(80), ..Limits::default() };
    let server = start(streaming(open), limits).await;
    let mut client = server.connect().await;
    client.send(common::get("/stream").as_bytes()).await;
    let (_, events) = opened.recv().await.expect("the handler ran");
    let event = SseEvent::new("x".repeat(100_000));
    let flood = async { while events.send(event.clone()).await.is_ok() {} };
    timeout(PATIENCE, flood).await.expect("the server drops the client, and the stream with it");
}

#[tokio::test]
async fn requests_are_measured_by_route() {
    let metrics = Metrics::install().expect("nothing else in this process records");
    let routes = Router::new().route("/measured/{id}", get(list)).merge(metrics.routes());
    let server = start(routes, Limits::default()).await;
    for path in ["/measured/1?limit=3", "/measured/2?limit=3", "/measured/x", "/made/up"] {
        server.ask(&common::get(path)).await;
    }
    let text = String::from_utf8(server.ask(&common::get("/metrics")).await.body).expect("text");
    for line in [
        "headwater_http_requests_total{method=\"GET\",route=\"/measured/{id}\",status=\"2xx\"} 2",
        "headwater_http_requests_total{method=\"GET\",route=\"/measured/{id}\",status=\"4xx\"} 1",
        "headwater_http_requests_total{method=\"GET\",route=\"none\",status=\"4xx\"} ",
        "headwater_http_request_duration_seconds_count{method=\"GET\",route=\"/measured/{id}\"} 3",
    ] {
        assert!(text.contains(line), "no `{line}` in:\n{text}");
    }
    assert!(text.contains("\nheadwater_http_connections "), "{text}");
    assert!(!text.contains("made"), "a path that a client made up is no label");
}

#[tokio::test]
async fn every_code_is_explained_at_its_type() {
    let server = start(router(), Limits::default()).await;
    let mut client = server.connect().await;
    for code in codes::ALL {
        client.send(common::get(&code.type_uri()).as_bytes()).await;
        let answer = client.answer(false).await.expect("an answer");
        assert!(String::from_utf8_lossy(&answer.body).contains(code.remedy), "{}", code.name);
    }
}
