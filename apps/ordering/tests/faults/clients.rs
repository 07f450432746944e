//! Clients that go away, are slow, or are many.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::service::{Answer, JSON, PATIENCE, Service, order, request};
use app_testing::patience::within_patience;

#[test]
fn an_order_is_placed_though_its_client_went_away_and_counts_once_when_sent_again() {
    const ORDERS: usize = 100;
    let data = TempDir::new().expect("a directory");
    let service = Service::on(data.path());
    // What waits for its shard to run goes with its client.
    service.ready();
    let orders: Vec<_> = (0..ORDERS).map(|n| order(&format!("gone-{n}"), "c", "x")).collect();
    for order in &orders {
        let sent = request("POST", "/orders", JSON, order.to_string().as_bytes());
        service.connect().write_all(&sent).expect("it reads");
    }
    // A client may be gone before its order was handed over; not all of a hundred are.
    let placed = within_patience("an order whose client went away is placed", || {
        let placed = (0..ORDERS).filter(|n| service.get(&format!("/orders/gone-{n}")).status == 200).count();
        (placed > 0).then_some(placed)
    });
    assert!(placed <= ORDERS);
    for order in &orders {
        assert_eq!(service.place(order).status, 202);
    }
    assert_eq!(service.quantity_once(&["c".to_owned()], ORDERS as u64), ORDERS as u64, "each of them once");
}

#[test]
fn a_client_that_sends_its_headers_slowly_is_cut_off_and_keeps_nobody_waiting() {
    let data = TempDir::new().expect("a directory");
    let service = Service::on(data.path());
    let mut slow = service.connect();
    slow.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout can be set");
    let deadline = Instant::now() + PATIENCE;
    let (mut text, mut sent) = (Vec::new(), 0);
    let mut drip = b"GET /livez HTTP/1.1\r\nhost: test\r\nx-slow: ".iter().chain(b"a".iter().cycle());
    loop {
        assert!(Instant::now() < deadline, "it waits for ever");
        let byte = *drip.next().expect("it never ends");
        if slow.write_all(&[byte]).is_ok() {
            sent += 1;
        }
        match slow.read_to_end(&mut text) {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(_) => {}
        }
        assert_eq!(service.get("/livez").status, 200, "others are answered");
    }
    assert!(sent > 10, "it was given some time");
    assert_eq!(Answer::parse(&text).expect("it is told why").problem(), (408, "request-timeout".to_owned()));
}

#[test]
fn a_thousand_idle_connections_keep_nobody_out() {
    const IDLE: usize = 1_000;
    headwater_http::serve::raise_open_files();
    let data = TempDir::new().expect("a directory");
    let service = Service::on(data.path());
    let mut idle: Vec<TcpStream> = (0..IDLE).map(|_| service.connect()).collect();
    // Half of them have asked something before.
    for stream in idle.iter_mut().step_by(2) {
        assert_eq!(ask_on(stream), 200);
    }
    for n in 0..50 {
        assert_eq!(service.place(&order(&format!("o{n}"), "c", "x")).status, 202);
    }
    assert_eq!(service.quantity_once(&["c".to_owned()], 50), 50);
    for stream in &mut idle {
        assert_eq!(ask_on(stream), 200, "and they are as good as before");
    }
}

/// Asks on a connection that stays open.
fn ask_on(stream: &mut TcpStream) -> u16 {
    stream.write_all(&request("GET", "/livez", "", b"")).expect("it reads");
    let mut text = Vec::new();
    let mut block = [0; 4_096];
    loop {
        let read = stream.read(&mut block).expect("it answers");
        assert!(read > 0, "it closed the connection: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&block[..read]);
        if let Some(answer) = Answer::parse(&text).filter(|answer| answer.body.ends_with('}')) {
            return answer.status;
        }
    }
}

#[test]
fn a_client_that_never_reads_its_stream_keeps_nobody_waiting() {
    let data = TempDir::new().expect("a directory");
    let service = Service::on(data.path());
    let mut deaf = service.connect();
    deaf.write_all(&request("GET", "/orders/stream?customerId=c", "", b"")).expect("it reads");
    thread::scope(|scope| {
        for writer in 0..4 {
            let service = &service;
            scope.spawn(move || {
                for n in 0..100 {
                    let label = format!("{writer}-{n}-{}", "🦀".repeat(150));
                    let placed = service.place(&order(&format!("{writer}-{n}"), "c", &label));
                    assert_eq!(placed.status, 202, "{placed:?}");
                }
            });
        }
    });
    assert_eq!(service.quantity_once(&["c".to_owned()], 400), 400);
}
