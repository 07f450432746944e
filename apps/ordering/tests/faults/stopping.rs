//! SIGTERM in the middle of everything.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use crate::service::{JSON, PATIENCE, Service, order, request};
use app_testing::patience::within_patience;

const WRITERS: usize = 4;

/// Sends orders until the program answers no more; tells which it acknowledged, and how many it was sent.
fn send_until_it_ends(
    service: &Service,
    writer: usize,
    acknowledged: &Mutex<Vec<Value>>,
    ended: &AtomicBool,
) -> usize {
    let deadline = Instant::now() + PATIENCE;
    for n in 0.. {
        assert!(Instant::now() < deadline, "it never ends");
        let order = order(&format!("{writer}-{n}"), &format!("c{writer}"), "x");
        let answer = service.try_ask("POST", "/orders", JSON, order.to_string().as_bytes());
        match answer {
            Some(answer) if answer.status == 202 => acknowledged.lock().expect("no panic").push(order),
            Some(answer) => assert_eq!(answer.problem().0, 503, "{answer:?}"),
            None if ended.load(Ordering::Acquire) => return n + 1,
            None => {}
        }
    }
    unreachable!("the writers are told when it ends")
}

#[test]
fn a_stop_in_the_middle_of_everything_is_orderly_and_loses_nothing() {
    let data = TempDir::new().expect("a directory");
    let mut service = Service::on(data.path());
    let mut streams: Vec<_> = (0..3).map(|_| service.connect()).collect();
    for (customer, stream) in streams.iter_mut().enumerate() {
        let path = format!("/orders/stream?customerId=c{customer}");
        stream.write_all(&request("GET", &path, "", b"")).expect("it reads");
    }
    // The half of an order, whose other half never comes.
    let mut half = service.connect();
    let whole = request("POST", "/orders", JSON, order("half", "c0", "x").to_string().as_bytes());
    half.write_all(&whole[..whole.len() - 5]).expect("it reads");

    let (acknowledged, ended) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let asked = Mutex::new(0);
    thread::scope(|scope| {
        let (service_ref, acknowledged, ended, asked) = (&service, &acknowledged, &ended, &asked);
        for writer in 0..WRITERS {
            scope.spawn(move || {
                *asked.lock().expect("no panic") +=
                    send_until_it_ends(service_ref, writer, acknowledged, ended);
            });
        }
        within_patience("orders are in flight", || {
            (acknowledged.lock().expect("no panic").len() > 50).then_some(())
        });
        service_ref.terminate();
        within_patience("it takes nothing more", || {
            TcpStream::connect(service_ref.address).is_err().then_some(())
        });
        ended.store(true, Ordering::Release);
    });
    assert_eq!(service.ended().code(), Some(0), "{}", service.told());
    assert!(!service.told().contains("panicked"), "{}", service.told());
    for mut stream in streams {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("the stream ends");
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("0\r\n\r\n"), "a whole answer: {text}");
    }

    let acknowledged = acknowledged.into_inner().expect("no panic");
    let service = Service::on(data.path());
    for order in &acknowledged {
        let path = format!("/orders/{}", order["orderId"].as_str().expect("an id"));
        assert_eq!(service.get(&path).json()["customerId"], order["customerId"], "acknowledged is kept");
    }
    let customers: Vec<_> = (0..WRITERS).map(|writer| format!("c{writer}")).collect();
    let quantity = service.quantity_once(&customers, acknowledged.len() as u64);
    let asked = asked.into_inner().expect("no panic") as u64;
    assert!(quantity <= asked, "{quantity} of {asked}: nothing counts twice");
    assert_eq!(service.get("/orders/half").status, 404);
}
