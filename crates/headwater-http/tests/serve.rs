//! What the server keeps up against clients that misbehave, over real sockets.

mod common;

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use common::{PATIENCE, start};
use futures_util::stream;
use headwater_http::codes;
use headwater_http::problem::Problem;
use headwater_http::serve::{EXPOSE_HELP, Limits, Server, Stopped, Stopping, raise_open_files};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

const SHORT: Duration = Duration::from_millis(80);

fn limits() -> Limits {
    Limits::default()
}

async fn panics() -> &'static str {
    panic!("the handler of this test panics")
}

async fn length_of(body: Bytes) -> String {
    body.len().to_string()
}

/// Tells when it is dropped.
struct TellsDrop(mpsc::UnboundedSender<()>);

impl Drop for TellsDrop {
    fn drop(&mut self) {
        // Nobody listens any more once the test is over.
        let _ = self.0.send(());
    }
}

/// A body without end, which tells when the server has dropped it.
fn flood(guard: TellsDrop) -> Body {
    let chunk = Bytes::from(vec![b'x'; 64 * 1_024]);
    let guarded = stream::unfold((chunk, guard), |(chunk, guard)| async move {
        Some((Ok::<_, std::io::Error>(chunk.clone()), (chunk, guard)))
    });
    Body::from_stream(guarded)
}

fn router() -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/panic", get(panics))
        .route("/length", post(length_of))
}

#[tokio::test]
async fn a_connection_answers_one_request_after_another() {
    let server = start(router(), limits()).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.send(common::get("/").as_bytes()).await;
        assert_eq!(client.answer(false).await.expect("an answer").body, b"hello");
    }
    client.send(common::get("/").repeat(4).as_bytes()).await;
    for _ in 0..4 {
        assert_eq!(client.answer(false).await.expect("pipelined requests are answered").status, 200);
    }
}

#[tokio::test]
async fn errors_of_the_server_are_problems() {
    let server = start(router(), limits()).await;
    let long_header = format!("GET / HTTP/1.1\r\nhost: test\r\nx: {}\r\n\r\n", "x".repeat(40_000));
    let many_headers = format!("GET / HTTP/1.1\r\nhost: test\r\n{}\r\n", "x: y\r\n".repeat(200));
    let long_uri = format!("GET /{} HTTP/1.1\r\nhost: test\r\n\r\n", "x".repeat(70_000));
    let cases = [
        (common::get("/nothing"), 404, "not-found"),
        ("DELETE / HTTP/1.1\r\nhost: test\r\n\r\n".to_owned(), 405, "method-not-allowed"),
        (common::get("/panic"), 500, "internal"),
        (long_header, 431, "headers-too-large"),
        (many_headers, 431, "headers-too-large"),
        (long_uri, 431, "headers-too-large"),
        ("nonsense\r\n\r\n".to_owned(), 400, "bad-request"),
        ("CONNECT example.org:443 HTTP/1.1\r\nhost: test\r\n\r\n".to_owned(), 501, "not-implemented"),
        (common::post("/length", "text/plain", &"x".repeat(1_048_577)), 413, "body-too-large"),
    ];
    for (request, status, code) in cases {
        let answer = server.ask(&request).await;
        let start = &request[..request.len().min(40)];
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{start}: {}", answer.head);
    }
}

#[tokio::test]
async fn a_method_that_is_not_taken_is_told_which_are() {
    let server = start(router(), limits()).await;
    let answer = server.ask("PUT / HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n").await;
    assert!(answer.head.contains("allow: GET,HEAD\r\n"), "{}", answer.head);
}

#[tokio::test]
async fn head_answers_like_get_without_the_body() {
    let server = start(router(), limits()).await;
    let mut client = server.connect().await;
    for (path, status) in [("/", 200), ("/nothing", 404)] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes()).await;
        let answer = client.answer(true).await.expect("an answer");
        assert_eq!(answer.status, status);
        assert!(answer.head.contains("content-length: "), "{}", answer.head);
    }
    client.send(common::get("/").as_bytes()).await;
    assert_eq!(client.answer(false).await.expect("no body was in the way").body, b"hello");
}

#[tokio::test]
async fn a_panic_costs_its_own_request_only() {
    let server = start(router(), limits()).await;
    let mut client = server.connect().await;
    client.send(common::get("/panic").as_bytes()).await;
    let problem = client.answer(false).await.expect("an answer").problem();
    assert!(problem["traceId"].as_str().is_some_and(|id| id.len() == 32), "{problem}");
    assert!(!problem.to_string().contains("this test"), "the panic's text stays inside: {problem}");
    client.send(common::get("/").as_bytes()).await;
    assert_eq!(client.answer(false).await.expect("the connection lives on").body, b"hello");
}

#[tokio::test]
async fn slow_headers_are_answered_with_a_timeout() {
    let server = start(router(), Limits { head_timeout: SHORT, ..limits() }).await;
    let mut client = server.connect().await;
    client.send(b"GET / HTTP/1.1\r\nhost:").await;
    let answer = client.answer(false).await.expect("a last word");
    assert_eq!((answer.status, answer.code().as_str()), (408, "request-timeout"));
    assert_eq!(client.closed().await, b"");
}

#[tokio::test]
async fn a_trickle_of_headers_does_not_extend_their_time() {
    let server = start(router(), Limits { head_timeout: SHORT, ..limits() }).await;
    let mut client = server.connect().await;
    let mut sent = 0;
    while client.0.write_all(b"GET / HTTP/1.1\r\nx: ".get(sent..=sent).unwrap_or(b"x")).await.is_ok() {
        sent += 1;
        assert!(sent < 10_000, "the server never gave up");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_slow_body_is_answered_with_a_timeout() {
    let server = start(router(), Limits { body_timeout: SHORT, ..limits() }).await;
    let mut client = server.connect().await;
    client.send(b"POST /length HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nhel").await;
    let answer = client.answer(false).await.expect("an answer");
    assert!(answer.problem()["detail"].as_str().is_some_and(|text| text.contains("in time")), "{answer:?}");
}

#[tokio::test]
async fn an_unused_connection_is_closed() {
    let server = start(router(), Limits { keep_alive_timeout: SHORT, ..limits() }).await;
    let mut silent = server.connect().await;
    let mut used = server.connect().await;
    used.send(common::get("/").as_bytes()).await;
    assert_eq!(used.answer(false).await.expect("an answer").status, 200);
    for client in [&mut silent, &mut used] {
        assert_eq!(client.closed().await, b"", "closed without a word");
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_is_cut_at_the_limit() {
    let server = start(router(), Limits { body_bytes_max: 10, ..limits() }).await;
    let head = "POST /length HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
    let fits = server.ask(&format!("{head}5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n")).await;
    assert_eq!((fits.status, fits.body.as_slice()), (200, &b"10"[..]));
    let beyond = server.ask(&format!("{head}5\r\nhello\r\n6\r\nworld!\r\n0\r\n\r\n")).await;
    assert_eq!((beyond.status, beyond.code().as_str()), (413, "body-too-large"));
}

#[tokio::test]
async fn a_client_that_sends_too_much_still_reads_its_answer() {
    let server = start(router(), limits()).await;
    let request = common::post("/length", "text/plain", &"x".repeat(8 << 20));
    assert_eq!(server.ask(&request).await.status, 413);
}

#[tokio::test]
async fn a_client_that_waits_for_permission_is_refused_before_it_sends() {
    let server = start(router(), limits()).await;
    let answer = server
        .ask("POST /length HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 9999999\r\n\r\n")
        .await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn a_stalled_reader_is_dropped() {
    let (tell, mut dropped) = mpsc::unbounded_channel();
    let router = Router::new().route("/flood", get(|| async { flood(TellsDrop(tell)) }));
    let server = start(router, Limits { stalled_write_timeout: SHORT, ..limits() }).await;
    let mut client = server.connect().await;
    client.send(common::get("/flood").as_bytes()).await;
    timeout(PATIENCE, dropped.recv()).await.expect("the server drops it").expect("the guard tells");
    let received = client.closed().await;
    assert!(received.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_thousand_idle_connections_do_not_keep_a_client_out() {
    let server = start(router(), limits()).await;
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(server.connect().await);
    }
    assert_eq!(server.ask(&common::get("/")).await.body, b"hello");
}

#[tokio::test]
async fn at_the_cap_the_connection_idle_longest_gives_way() {
    let server = start(router(), Limits { connections_max: 3, ..limits() }).await;
    let mut used = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect().await;
        client.send(common::get("/").as_bytes()).await;
        assert_eq!(client.answer(false).await.expect("an answer").status, 200);
        used.push(client);
    }
    assert_eq!(server.ask(&common::get("/")).await.status, 200);
    assert_eq!(used[0].closed().await, b"");
    used[2].send(common::get("/").as_bytes()).await;
    assert_eq!(used[2].answer(false).await.expect("the youngest stays").status, 200);
}

#[tokio::test]
async fn with_every_connection_at_work_a_new_one_is_refused_with_a_problem() {
    let (working, mut works) = mpsc::channel(2);
    let at_work = get(move || async move {
        working.send(()).await.expect("the test waits");
        std::future::pending::<&'static str>().await
    });
    let limits = Limits { connections_max: 2, stop_timeout: SHORT, ..limits() };
    let server = start(Router::new().route("/work", at_work), limits).await;
    let mut busy = [server.connect().await, server.connect().await];
    for client in &mut busy {
        client.send(common::get("/work").as_bytes()).await;
        works.recv().await.expect("the handler began");
    }
    let answer = server.ask(&common::get("/")).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "too-many-connections"));
    assert!(answer.problem()["retryAfter"].is_number());
    drop(busy);
    server.stop().await;
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight() {
    let (begun, mut begins) = mpsc::channel(1);
    let slow = get(move || async move {
        begun.send(()).await.expect("the test waits");
        tokio::time::sleep(SHORT).await;
        "finished"
    });
    let server = start(Router::new().route("/slow", slow), limits()).await;
    let mut client = server.connect().await;
    let mut idle = server.connect().await;
    client.send(common::get("/slow").as_bytes()).await;
    begins.recv().await.expect("the handler began");
    assert_eq!(server.stop().await, Stopped { connections_cut: 0 });
    assert_eq!(client.answer(false).await.expect("an answer").body, b"finished");
    assert_eq!(idle.closed().await, b"");
}

#[tokio::test]
async fn stopping_cuts_what_does_not_end() {
    let (begun, mut begins) = mpsc::channel(1);
    let endless = get(move || async move {
        begun.send(()).await.expect("the test waits");
        std::future::pending::<&'static str>().await
    });
    let router = Router::new().route("/endless", endless);
    let server = start(router, Limits { stop_timeout: SHORT, ..limits() }).await;
    let mut client = server.connect().await;
    client.send(common::get("/endless").as_bytes()).await;
    begins.recv().await.expect("the handler began");
    assert_eq!(server.stop().await, Stopped { connections_cut: 1 });
    assert_eq!(client.closed().await, b"");
}

#[tokio::test]
async fn a_handler_that_waits_is_told_of_the_stop() {
    let (begun, mut begins) = mpsc::channel(1);
    let poll = get(move |stopping: Stopping| async move {
        begun.send(()).await.expect("the test waits");
        stopping.begun().await;
        stopping.begun().await;
        Problem::new(&codes::STOPPING, "the server is stopping")
    });
    let router = Router::new().route("/poll", poll);
    let server = start(router, Limits { stop_timeout: PATIENCE * 10, ..limits() }).await;
    let mut client = server.connect().await;
    client.send(common::get("/poll").as_bytes()).await;
    begins.recv().await.expect("the handler began");
    assert_eq!(server.stop().await, Stopped { connections_cut: 0 });
    let answer = client.answer(false).await.expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (503, "stopping"));
}

#[tokio::test]
async fn a_server_whose_future_is_dropped_lets_go_of_its_clients() {
    let server = start(router(), limits()).await;
    let mut client = server.connect().await;
    client.send(common::get("/").as_bytes()).await;
    assert_eq!(client.answer(false).await.expect("an answer").status, 200);
    server.abandon();
    assert_eq!(client.closed().await, b"");
}

#[test]
fn more_files_are_allowed_when_asked_for() {
    let allowed = raise_open_files();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    assert_eq!((limit.current, limit.current), (limit.maximum, Some(allowed)));
}

#[tokio::test]
async fn only_loopback_is_bound_unless_asked_for() {
    let anywhere = "0.0.0.0:0".parse().expect("an address");
    let refused = Server::bind(anywhere, limits()).await.expect_err("not without being asked");
    assert!(refused.to_string().contains("loopback"), "{refused}");
    assert!(EXPOSE_HELP.contains("no authentication"));
    let bound = Server::bind_exposed(anywhere, limits()).await.expect("asked for");
    assert!(!bound.local_addr().expect("it is bound").ip().is_loopback());
}
