//! How many small requests a second the server answers over loopback, with its client in the same process.
//!
//! `cargo run --release -p headwater-http --example requests_per_second [connections] [seconds]`
//!
//! The handlers do next to nothing, so the figures are what is left for the application: server and client share
//! the machine's cores.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use headwater_http::exact_number::ExactNumber;
use headwater_http::headers::{IdempotencyKey, ReceiptHeader};
use headwater_http::json::JsonBody;
use headwater_http::metrics::Metrics;
use headwater_http::serve::{Limits, Server};
use headwater_http::{logs, traceparent::TraceParent};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewOrder {
    customer_id: String,
    item_label: String,
    item_price: ExactNumber,
}

async fn show() -> &'static str {
    r#"{"orderId":"o1","customerId":"c1","itemLabel":"kettle","itemPrice":"24.99"}"#
}

async fn place(
    key: IdempotencyKey,
    _: TraceParent,
    JsonBody(order): JsonBody<NewOrder>,
) -> impl axum::response::IntoResponse {
    let body = format!("{}{}{}", order.customer_id, order.item_label, order.item_price);
    (StatusCode::ACCEPTED, ReceiptHeader(key), body)
}

const GET: &str = "GET /orders/o1 HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn post_request() -> String {
    let body = format!(r#"{{"customerId":"c1","itemLabel":"{}","itemPrice":"24.99"}}"#, "k".repeat(150));
    format!(
        "POST /orders HTTP/1.1\r\nhost: localhost\r\nidempotency-key: 0194-5d2e-7c1f\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends one request after another until the time is over; answers have the length of the first.
async fn client(address: SocketAddr, request: String, until: Instant, answered: Arc<AtomicU64>) {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.set_nodelay(true).expect("the option exists");
    let mut buffer = vec![0; 4_096];
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    let length = stream.read(&mut buffer).await.expect("the server answers");
    assert!(buffer.starts_with(b"HTTP/1.1 20"), "{}", String::from_utf8_lossy(&buffer[..length]));
    while Instant::now() < until {
        stream.write_all(request.as_bytes()).await.expect("the server reads");
        stream.read_exact(&mut buffer[..length]).await.expect("the server answers");
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

async fn measure(address: SocketAddr, name: &str, request: &str, connections: usize, time: Duration) {
    let answered = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let clients = (0..connections)
        .map(|_| tokio::spawn(client(address, request.to_owned(), begun + time, Arc::clone(&answered))));
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client does not panic");
    }
    let rate = answered.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    println!("{name}: {rate:.0} requests/s over {connections} connections");
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let connections = arguments.next().unwrap_or(64) as usize;
    let time = Duration::from_secs(arguments.next().unwrap_or(5));
    logs::install(logs::LogFormat::Json).expect("logs are set up once");
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    runtime.block_on(async {
        let metrics = Metrics::install().expect("metrics are set up once");
        let router = Router::new()
            .route("/orders/{id}", get(show))
            .route("/orders", post(place))
            .merge(metrics.routes());
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(loopback, Limits::default()).await.expect("a free port");
        let address = server.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(router, async {
            let _ = stopped.await;
        }));
        measure(address, "GET", GET, connections, time).await;
        measure(address, "POST", &post_request(), connections, time).await;
        drop(stop);
        serving.await.expect("serving does not panic");
    });
}
