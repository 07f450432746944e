//! Clients that stay do not keep old pages of the log: it grows by what is written, not by who reads.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tempfile::TempDir;

use crate::service::{Service, order, request};

/// Orders, one after the other, so that each has commits of its own.
const ORDERS: usize = 600;
/// The file grows by steps of this size.
const STEP_BYTES: u64 = 2 << 20;

fn log_bytes(data: &Path) -> u64 {
    fs::metadata(data.join("log/data.mdb")).expect("the log has a file").len()
}

fn place_all(service: &Service) {
    for n in 0..ORDERS {
        let placed = service.place(&order(&format!("o{n}"), "c", &format!("label-{}", n % 50)));
        assert_eq!(placed.status, 202, "{placed:?}");
    }
    assert_eq!(service.quantity_once(&["c".to_owned()], ORDERS as u64), ORDERS as u64);
}

#[test]
fn clients_that_stay_do_not_make_the_log_grow() {
    let alone = TempDir::new().expect("a directory");
    place_all(&Service::on(alone.path()));

    let watched = TempDir::new().expect("a directory");
    let service = Service::on(watched.path());
    let follow = || {
        let mut stream = service.connect();
        stream.write_all(&request("GET", "/orders/stream?customerId=c", "", b"")).expect("it reads");
        stream
    };
    let (mut followed, _never_read) = (follow(), follow());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (service, done) = (&service, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Acquire) {
                assert_eq!(service.get("/orders?customerId=c").status, 200);
            }
        });
        scope.spawn(move || {
            let mut block = [0; 1_024];
            while !done.load(Ordering::Acquire) && followed.read(&mut block).is_ok_and(|read| read > 0) {}
        });
        place_all(service);
        done.store(true, Ordering::Release);
        assert_eq!(service.place(&order("wakes-the-follower", "c", "x")).status, 202);
    });
    let (alone, watched) = (log_bytes(alone.path()), log_bytes(watched.path()));
    // A reader that held one snapshot all the time would keep every page of every commit: tens of megabytes.
    assert!(watched <= alone + STEP_BYTES, "{watched} bytes with clients, {alone} without");
}
