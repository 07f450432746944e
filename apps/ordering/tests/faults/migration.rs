//! Moving from the embedded log to a real Kafka: trimmed, killed, resumed, verified; and going on there.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use headwater::core::clock::{Clock, SystemClock, Timestamp};
use headwater::core::log::Log;
use headwater::core::record::{Append, Record};
use headwater::core::topic::{Offset, TopicName, TopicPartition};
use headwater::log::embedded::{EmbeddedLog, Options};
use kafka_broker::Broker;
use serde_json::Value;
use tempfile::TempDir;

use crate::service::{Answer, JSON, Service, order, output_of, program};
use crate::topics::{block_on, on_kafka};
use app_testing::patience::within_patience;

const ORDERS: usize = 300;
const CUSTOMERS: usize = 4;
/// Records of 1970 in a topic that keeps two days.
const FORGOTTEN: usize = 40;

fn customers() -> impl Iterator<Item = String> {
    (0..CUSTOMERS).map(|n| format!("customer-{n}"))
}

fn place(service: &Service, n: usize) -> Answer {
    let headers = format!("{JSON}idempotency-key: key-{n}\r\n");
    let customer = format!("customer-{}", n % CUSTOMERS);
    let body = order(&format!("o{n}"), &customer, &format!("kettle {}", n % 5)).to_string();
    within_patience("an order is answered", || {
        let answer = service.ask("POST", "/orders", &headers, body.as_bytes());
        (answer.status != 503).then_some(answer)
    })
}

#[track_caller]
fn receipt(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["receipt"].as_str().expect("a receipt").to_owned()
}

fn after(service: &Service, path: &str, receipt: &str) -> Answer {
    service.ask("GET", path, &format!("headwater-after: {receipt}\r\n"), b"")
}

/// What a page shows once it includes a receipt.
fn once(service: &Service, path: &str, receipt: &str) -> Value {
    within_patience("the view includes the receipt", || {
        let answer = after(service, path, receipt);
        assert!([200, 503].contains(&answer.status), "{answer:?}");
        (answer.status == 200).then(|| answer.json())
    })
}

/// What every page shows of every customer, once it includes that customer's last order.
fn shown(service: &Service, receipts: &[String]) -> Vec<Value> {
    let last = &receipts[receipts.len() - CUSTOMERS..];
    let pages = ["/orders", "/spending"];
    let asked = customers().zip(last).flat_map(|(customer, last)| {
        pages.map(|page| (format!("{page}?customerId={customer}"), last.as_str()))
    });
    asked.map(|(path, last)| once(service, &path, last)).collect()
}

/// The embedded log of a directory that no process has open.
fn log_of(data: &Path) -> Arc<EmbeddedLog> {
    let options = Options { maintenance_every: None, check_after_crash: false, ..Options::default() };
    EmbeddedLog::open(data, options).expect("nobody has it open")
}

fn outcomes() -> TopicPartition {
    TopicName::new("ordering.order.outcomes").expect("a name").partition(1)
}

/// Adds records that are dropped at the next cleaning.
fn add_what_is_forgotten(data: &Path) {
    let log = log_of(data);
    let record = Record { value: None, ..Record::new("k", "", Timestamp(5)) };
    let appends = (0..FORGOTTEN).map(|_| Append { to: outcomes(), record: record.clone() }).collect();
    block_on(log.append(appends)).expect("it can be written");
    log.close();
}

fn trim(data: &Path) {
    let log = log_of(data);
    log.maintain(SystemClock.now()).expect("it can be cleaned");
    let start = block_on(log.bounds(&outcomes())).expect("it is there").start;
    assert!(start > Offset::ZERO, "the beginning is trimmed");
    log.close();
}

fn stop(mut service: Service) {
    service.terminate();
    assert!(service.ended().success(), "{}", service.told());
}

fn migrate(data: &Path, servers: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ordering"));
    command.args(["migrate", "embedded-to-kafka", "--verify", "--from"]).arg(data);
    command.args(["--to", &format!("kafka://{servers}"), "--kafka-replication", "1"]);
    command.env("RUST_LOG", "error").stdin(Stdio::null());
    command
}

/// Kills a migration as soon as it tells that it copies.
fn kill_midway(data: &Path, servers: &str) {
    let mut child = migrate(data, servers).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    let mut told = BufReader::new(child.stderr.take().expect("a pipe"));
    told.read_line(&mut line).expect("it can be read");
    child.kill().expect("one may kill one's child");
    child.wait().expect("a child can be waited for");
    assert!(line.starts_with("copying ordering."), "{line}");
}

/// A migration that ended well, by its lines.
#[track_caller]
fn migrated(data: &Path, servers: &str) -> Vec<String> {
    let output = output_of(&mut migrate(data, servers));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Records that were found equal, by the lines of a migration.
fn equal_records(lines: &[String]) -> usize {
    let counts = lines.iter().filter_map(|line| line.strip_prefix("equal  ")?.split_whitespace().nth(1));
    counts.map(|count| count.parse::<usize>().expect("a count")).sum()
}

#[test]
fn an_app_moves_to_kafka_though_it_is_killed_and_lives_on_where_it_left_off() {
    let dir = TempDir::new().expect("a directory");
    let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
    stop(Service::on(&old));
    add_what_is_forgotten(&old);
    let service = Service::on(&old);
    let receipts: Vec<_> = (0..ORDERS).map(|n| receipt(&place(&service, n))).collect();
    let pages = shown(&service, &receipts);
    stop(service);
    trim(&old);

    let broker = Broker::start().expect("a broker starts");
    let servers = broker.bootstrap();
    kill_midway(&old, &servers);
    let refused = output_of(&mut on_kafka(&new, &servers));
    let told = String::from_utf8_lossy(&refused.stderr);
    let mend = "is not finished: run `ordering migrate embedded-to-kafka` again";
    assert!(refused.status.code() == Some(1) && told.contains(mend), "{told}");
    let lines = migrated(&old, &servers);
    assert!(lines.last().is_some_and(|last| last.contains("ordering is moved from log ")), "{lines:?}");
    // Events, outcomes, and one record in each of two repartitions; those of 1970 are gone.
    assert_eq!(equal_records(&lines), 4 * ORDERS, "{lines:?}");

    let service = Service::start(&mut on_kafka(&new, &servers));
    assert_eq!(shown(&service, &receipts), pages, "old receipts are understood, and every view is the same");
    for n in (0..ORDERS).step_by(29) {
        let again = receipt(&place(&service, n));
        assert_ne!(again.split('~').nth(1), receipts[n].split('~').nth(1), "it is of the new log");
        assert_eq!(again.rsplit('~').next(), receipts[n].rsplit('~').next(), "the same version");
        assert_eq!(service.get(&format!("/orders/o{n}")).status, 200);
    }
    assert_eq!(place_other(&service).problem(), (409, "order-id-taken".to_owned()));
    for never in never_given(&receipts[0]) {
        assert_eq!(
            after(&service, "/orders?customerId=customer-0", &never).problem(),
            (400, "invalid-header".to_owned())
        );
    }
    assert_eq!(shown(&service, &receipts), pages, "nothing of that had an effect");
    let next = receipt(&place(&service, ORDERS));
    assert_ne!(once(&service, "/orders?customerId=customer-0", &next), pages[0], "it goes on");
    stop(service);

    let again = migrated(&old, &servers);
    assert!(again.last().is_some_and(|last| last.contains("had been moved before")), "{again:?}");
    assert_eq!(equal_records(&again), 3 * ORDERS, "what is kept for ever is still equal: {again:?}");
    let service = Service::on(&old);
    receipt(&place(&service, ORDERS + 1));
    stop(service);
    let refused = output_of(&mut migrate(&old, &servers));
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && told.contains("was written to since it was moved"), "{told}");
}

/// Another order under an id that is taken.
fn place_other(service: &Service) -> Answer {
    let body = order("o1", "somebody", "something else").to_string();
    service.ask("POST", "/orders", &format!("{JSON}idempotency-key: key-1\r\n"), body.as_bytes())
}

/// Receipts that look like one of the old log and are none.
fn never_given(receipt: &str) -> Vec<String> {
    let parts: Vec<_> = receipt.split('~').collect();
    let nothing = "00000000000000000000000000000001";
    let changes = [(1, nothing), (2, nothing), (3, "ordering.definitions"), (5, "99999999")];
    let changed = changes.map(|(place, part)| {
        let mut parts = parts.clone();
        parts[place] = part;
        parts.join("~")
    });
    changed.into()
}

#[test]
fn what_cannot_be_migrated_is_told_in_a_line() {
    let dir = TempDir::new().expect("a directory");
    let old = dir.path().join("old");
    let service = Service::on(&old);
    let cases: [(&Path, &str, &str); 3] = [
        (
            &dir.path().join("nothing"),
            "127.0.0.1:1",
            "holds no embedded log: give the data directory with --from",
        ),
        (&old, "127.0.0.1:1", &format!("process {}", service.pid())),
        (&old, "not-an-address", "flag --to"),
    ];
    for (from, to, part) in cases {
        let output = output_of(&mut migrate(from, to));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(part), "{told}");
    }
    drop(program(&old));
}
