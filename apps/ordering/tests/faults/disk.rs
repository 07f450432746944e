//! A disk that becomes full, and has space again.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::service::{Service, order, output_of, program};
use app_testing::patience::within_patience;

/// The size of the disk.
const DISK_BYTES: u64 = 16 << 20;
/// Orders that each customer sends at most: more than the disk holds.
const ORDERS_MAX: usize = 20_000;
const CUSTOMERS: usize = 4;

/// A small disk of its own, in memory.
struct Disk {
    mounted_at: TempDir,
}

impl Disk {
    /// Mounts it, or tells why that is not permitted.
    fn mount() -> Result<Self, String> {
        let mounted_at = TempDir::new().expect("a directory");
        let options = format!("size={DISK_BYTES}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(mounted_at.path());
        let mounted = mount.output().expect("there is a mount command");
        match mounted.status.success() {
            true => Ok(Self { mounted_at }),
            false => Err(String::from_utf8_lossy(&mounted.stderr).trim().to_owned()),
        }
    }

    fn data(&self) -> PathBuf {
        self.mounted_at.path().join("data")
    }

    /// Takes all its space but so many bytes.
    fn fill_but(&self, left: usize) {
        let mut ballast = fs::File::create(self.ballast()).expect("a file can be made");
        let block = [1; 1_024];
        let full = loop {
            if let Err(error) = ballast.write_all(&block) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        let length = ballast.metadata().expect("its length").len();
        ballast.set_len(length - left as u64).expect("a file can be cut");
    }

    fn free(&self) {
        fs::remove_file(self.ballast()).expect("the ballast is there");
    }

    fn ballast(&self) -> PathBuf {
        self.mounted_at.path().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.mounted_at.path()).status();
    }
}

/// Set while a test runs in a namespace of its own; not named like a setting, which the program would refuse.
const IN_NAMESPACE: &str = "FAULTS_IN_NAMESPACE";

/// Runs a test, by its name, with a disk; who may not mount one does so in a namespace of users and mounts.
#[track_caller]
fn with_disk(name: &str, test: fn(&Disk)) {
    let why = match Disk::mount() {
        Ok(disk) => return test(&disk),
        Err(why) => why,
    };
    let advice = "run the tests as root, or allow unprivileged namespaces of users";
    assert!(std::env::var_os(IN_NAMESPACE).is_none(), "a full disk takes a disk: {why}; {advice}");
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "--mount"]).arg(std::env::current_exe().expect("this test"));
    again.args(["--exact", name]).env(IN_NAMESPACE, "1");
    let output = output_of(&mut again);
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && told.contains("1 passed"), "{why}; in a namespace: {told}; {advice}");
}

/// What became of orders.
#[derive(Default)]
struct Sent {
    acknowledged: Vec<Value>,
    refused: Vec<Value>,
}

/// Sends orders of all customers at once, until each has been refused one.
fn send_until_refused(service: &Service, round: &str) -> Sent {
    let sent = Mutex::new(Sent::default());
    thread::scope(|scope| {
        for customer in 0..CUSTOMERS {
            let sent = &sent;
            scope.spawn(move || {
                for n in 0..ORDERS_MAX {
                    let order =
                        order(&format!("{round}-{customer}-{n}"), &format!("c{customer}"), &"x".repeat(200));
                    let answer = service.place(&order);
                    let mut sent = sent.lock().expect("no panic");
                    if answer.status == 202 {
                        sent.acknowledged.push(order);
                        continue;
                    }
                    assert_eq!(answer.problem(), (507, "storage-full".to_owned()));
                    assert!(answer.json()["detail"].as_str().expect("text").contains("nothing was ordered"));
                    assert!(answer.head.contains("retry-after: "), "{answer:?}");
                    sent.refused.push(order);
                    return;
                }
                panic!("the disk never became full");
            });
        }
    });
    sent.into_inner().expect("no panic")
}

fn customers() -> Vec<String> {
    (0..CUSTOMERS).map(|customer| format!("c{customer}")).collect()
}

fn path_of(order: &Value) -> String {
    format!("/orders/{}", order["orderId"].as_str().expect("an id"))
}

#[test]
fn a_full_disk_acknowledges_nothing_that_it_does_not_keep_and_recovers_without_a_restart() {
    with_disk(
        "disk::a_full_disk_acknowledges_nothing_that_it_does_not_keep_and_recovers_without_a_restart",
        orders_on_a_full_disk,
    );
}

fn orders_on_a_full_disk(disk: &Disk) {
    let service = Service::on(&disk.data());
    assert_eq!(service.place(&order("before", "c0", "x")).status, 202);

    disk.fill_but(0);
    let first = send_until_refused(&service, "first");
    assert_eq!(first.refused.len(), CUSTOMERS);
    let remedy = service.get("/problems/storage-full").body;
    assert!(remedy.contains("Free space"), "{remedy}");
    let mut expected = 1 + first.acknowledged.len() as u64;
    for order in &first.acknowledged {
        assert_eq!(service.get(&path_of(order)).status, 200, "reading goes on");
    }
    for order in &first.refused {
        assert_eq!(service.get(&path_of(order)).problem(), (404, "no-such-order".to_owned()));
    }
    assert_eq!(service.items("c0").map(|items| items["x"]), Ok(1));

    disk.free();
    for order in &first.refused {
        within_patience("orders are taken again", || (service.place(order).status == 202).then_some(()));
    }
    expected += first.refused.len() as u64;
    assert_eq!(service.quantity_once(&customers(), expected), expected, "each of them once");

    disk.fill_but(0);
    let second = send_until_refused(&service, "second");
    expected += second.acknowledged.len() as u64;
    service.kill();
    let service = Service::on(&disk.data());
    for order in first.acknowledged.iter().chain(&second.acknowledged) {
        assert_eq!(service.get(&path_of(order)).status, 200, "it starts and answers on a full disk");
    }
    service.kill();
    disk.free();

    let service = Service::on(&disk.data());
    assert_eq!(service.quantity_once(&customers(), expected), expected, "after a crash each of them once");
    for order in first.acknowledged.iter().chain(&second.acknowledged) {
        assert_eq!(service.place(order).status, 202, "the same order again answers the same");
    }
    let last = order("last", "c0", "y");
    assert_eq!(service.place(&last).status, 202);
    assert_eq!(
        service.quantity_once(&customers(), expected + 1),
        expected + 1,
        "and nothing was ordered twice"
    );
}

#[test]
fn it_does_not_start_without_space_and_says_so_whatever_the_space_suffices_for() {
    with_disk(
        "disk::it_does_not_start_without_space_and_says_so_whatever_the_space_suffices_for",
        starts_without_space,
    );
}

fn starts_without_space(disk: &Disk) {
    for left in [0, 8 << 10, 72 << 10, 512 << 10, 1_300 << 10, 1_500 << 10] {
        disk.fill_but(left);
        let output = output_of(program(&disk.data()).env("RUST_LOG", "error"));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), told.lines().count()), (Some(1), 1), "{left} bytes: {told}");
        assert!(told.starts_with("ordering: ") && told.contains("space"), "{told}");
        assert!(told.contains(&disk.data().display().to_string()), "it names the place: {told}");
        disk.free();
        let service = Service::on(&disk.data());
        assert_eq!(service.place(&order("o", "c", "x")).status, 202, "what was left behind is no obstacle");
        service.kill();
        fs::remove_dir_all(disk.data()).expect("it can be removed");
    }
}
