//! Data that changed on disk while nobody looked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::service::{Service, order, output_of, program};
use app_testing::patience::within_patience;

const ORDERS: usize = 120;
const CUSTOMERS: usize = 5;
const LABELS: usize = 4;

/// The customer and the label of an order.
fn place_of(n: usize) -> (String, String) {
    (format!("c{}", n % CUSTOMERS), format!("label-{}", n % LABELS))
}

fn id(n: usize) -> String {
    format!("o{n}")
}

/// What each customer ordered.
fn truth() -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut truth = BTreeMap::<_, BTreeMap<_, _>>::new();
    for (customer, label) in (0..ORDERS).map(place_of) {
        *truth.entry(customer).or_default().entry(label).or_default() += 1;
    }
    truth
}

/// A data directory with all orders in it and in every view, closed in good order.
fn full_directory() -> TempDir {
    let data = TempDir::new().expect("a directory");
    let mut service = Service::on(data.path());
    for n in 0..ORDERS {
        let (customer, label) = place_of(n);
        assert_eq!(service.place(&order(&id(n), &customer, &label)).status, 202);
    }
    assert_all_is_right(&service);
    service.terminate();
    assert_eq!(service.ended().code(), Some(0));
    data
}

/// Every answer is there, and right.
#[track_caller]
fn assert_all_is_right(service: &Service) {
    for (customer, items) in truth() {
        within_patience("the customer's items are all there", || {
            (service.items(&customer).ok()? == items).then_some(())
        });
    }
    service.ready();
    for n in 0..ORDERS {
        let order = service.get(&format!("/orders/{}", id(n))).json();
        assert_eq!(place_in(&order), place_of(n));
    }
}

fn place_in(order: &Value) -> (String, String) {
    let text = |name: &str| order[name].as_str().expect("text").to_owned();
    (text("customerId"), text("itemLabel"))
}

/// What is done to a file.
type Damage = (&'static str, fn(&mut Vec<u8>));

/// Flips one bit in every so many bytes.
fn flip(bytes: &mut [u8], step: usize) {
    for (n, byte) in bytes.iter_mut().enumerate().skip(step / 2).step_by(step) {
        *byte ^= 1 << (n % 8);
    }
}

const DAMAGES: &[Damage] = &[
    ("a bit in every page", |bytes| flip(bytes, 4_096)),
    ("many bits", |bytes| flip(bytes, 257)),
    ("its second half is lost", |bytes| bytes.truncate(bytes.len() / 2)),
    ("a torn end", |bytes| bytes.truncate(bytes.len() - 1_000)),
    ("all of it is lost", Vec::clear),
    ("zeros", |bytes| bytes.fill(0)),
    ("no meta pages", |bytes| bytes[..8_192].fill(0xa5)),
];

fn damage(file: &Path, damage: fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).expect("the file is there");
    damage(&mut bytes);
    fs::write(file, bytes).expect("it can be written");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").map(|entry| entry.expect("an entry")) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a file can be copied");
        }
    }
}

/// The data files of the state stores.
fn state_files(data: &Path) -> Vec<PathBuf> {
    let stores = fs::read_dir(data.join("state")).expect("a directory");
    let files: Vec<_> = stores.map(|store| store.expect("an entry").path().join("data.mdb")).collect();
    assert!(files.len() >= 4, "the aggregate and every view has a store: {files:?}");
    files
}

#[test]
fn damaged_state_is_built_again_from_the_log() {
    let full = full_directory();
    for (name, how) in DAMAGES {
        let data = TempDir::new().expect("a directory");
        copy(full.path(), data.path());
        for file in state_files(data.path()) {
            damage(&file, *how);
        }
        let mut service = Service::on(data.path());
        assert_all_is_right(&service);
        let told = service.told();
        assert!(!told.contains("panicked"), "{name}: {told}");
        assert_eq!(service.place(&order("new", "new", "x")).status, 202, "{name}");
        service.terminate();
        assert_eq!(service.ended().code(), Some(0), "{name}: {told}");
        let again = Service::on(data.path());
        assert_all_is_right(&again);
        assert!(!again.told().contains("ERROR"), "{name}, repaired: {}", again.told());
    }
}

#[test]
fn a_state_that_is_older_than_its_log_is_read_on_before_the_service_is_ready() {
    let full = full_directory();
    let data = TempDir::new().expect("a directory");
    copy(full.path(), data.path());
    let late = "late".to_owned();
    let mut service = Service::on(data.path());
    for n in 0..200 {
        assert_eq!(service.place(&order(&format!("later-{n}"), &late, "tea")).status, 202);
    }
    assert_eq!(service.quantity_once(std::slice::from_ref(&late), 200), 200);
    service.terminate();
    assert_eq!(service.ended().code(), Some(0));
    // As somebody does who puts a copy back that is older than the log.
    fs::remove_dir_all(data.path().join("state")).expect("the state is there");
    copy(&full.path().join("state"), &data.path().join("state"));
    let service = Service::on(data.path());
    service.ready();
    assert_eq!(service.items(&late), Ok(BTreeMap::from([("tea".to_owned(), 200)])), "at once");
    assert_all_is_right(&service);
}

#[test]
fn records_of_the_log_that_were_changed_are_named_and_never_served() {
    let full = full_directory();
    for with_state in [true, false] {
        let data = TempDir::new().expect("a directory");
        copy(full.path(), data.path());
        let log = data.path().join("log/data.mdb");
        damage(&log, |bytes| {
            let changed = change_text(bytes, b"label-1", b"label-2");
            assert!(changed > ORDERS / LABELS, "every order's event, and what follows from it: {changed}");
        });
        if !with_state {
            fs::remove_dir_all(data.path().join("state")).expect("the state is there");
        }
        let service = Service::on(data.path());
        let reasons = within_patience("the damage is found", || {
            let ready = service.get("/readyz");
            (ready.status == 503 && ready.body.contains("damaged")).then_some(ready.body)
        });
        assert!(reasons.contains("ordering.") && reasons.contains("restore it from a copy"), "{reasons}");
        let told = within_patience("the damage is told", || {
            Some(service.told())
                .filter(|told| told.contains("is damaged and not served") && told.contains('@'))
        });
        assert!(!told.contains("panicked"), "{told}");
        for (customer, items) in truth() {
            let settled = within_patience("it answers, or says why not", || match service.items(&customer) {
                Err((503, code)) if code == "view-building" => None,
                other => Some(other),
            });
            match settled {
                Ok(told) => assert_eq!(told, items, "{customer}, with state: {with_state}"),
                Err(problem) => assert_eq!(problem, (503, "unavailable".to_owned())),
            }
        }
        for n in 0..ORDERS {
            let answer = service.get(&format!("/orders/{}", id(n)));
            match answer.status {
                200 => assert_eq!(place_in(&answer.json()), place_of(n)),
                _ => assert_eq!(answer.problem(), (503, "unavailable".to_owned())),
            }
        }
    }
}

/// Replaces a text wherever it is; answers how often.
fn change_text(bytes: &mut [u8], from: &[u8], to: &[u8]) -> usize {
    assert_eq!(from.len(), to.len());
    let places: Vec<_> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    for at in &places {
        bytes[*at..*at + to.len()].copy_from_slice(to);
    }
    places.len()
}

#[test]
fn a_log_that_cannot_be_trusted_at_all_is_not_opened() {
    let full = full_directory();
    for (name, how) in
        DAMAGES.iter().filter(|(name, _)| ["all of it is lost", "zeros", "no meta pages"].contains(name))
    {
        let data = TempDir::new().expect("a directory");
        copy(full.path(), data.path());
        let log = data.path().join("log/data.mdb");
        damage(&log, *how);
        let before = fs::read(&log).expect("it is there");
        let output = output_of(&mut program(data.path()));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), told.lines().count()), (Some(1), 1), "{name}: {told}");
        assert!(told.contains(&log.display().to_string()) && told.contains("restore"), "{name}: {told}");
        assert_eq!(fs::read(&log).expect("it is there"), before, "{name}: it is left as it is");
    }
}
