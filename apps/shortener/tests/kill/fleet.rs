//! Two instances on three brokers: instances are killed at random, and one broker is killed and started again, while
//! visitors follow links at both.
//!
//! Killing a broker takes three of them: a lone one that is killed under commits may leave its own transactions open for
//! ever. Links are so many that each has fewer visits than pages are told of: what the service tells is enough to judge it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::visitors::{Over, Visits, visit};
use crate::{LIMITED, alone, make_link, number, program, sum, told};
use app_testing::connection::{Address, Connection};
use app_testing::server::Server;
use kafka_broker::Cluster;

const VISITORS: u64 = 6;
const LINKS: usize = 60;
/// Fewer than pages are told of (a hundred for each link), whatever the visitors' pace.
const VISITS_MAX: u64 = LINKS as u64 * 80 / VISITORS;
const MAX_VISITS: u64 = 20;
/// How long a broker that was killed is gone.
const OUTAGE: Duration = Duration::from_secs(1);
/// Longest that counting may take once all instances are back.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is killed, and comes back.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Instance(usize),
    Broker(usize),
}

#[test]
fn every_count_is_right_after_kills_of_instances_and_of_a_broker() {
    let _alone = alone();
    let seed = fastrand::u64(..);
    println!("the faults are those of seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let cluster = Cluster::start(3).expect("three brokers start");
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let program = program().on_kafka(&cluster.bootstrap());
    let start = |n: usize| program.start(folders[n].path());
    let mut servers = [start(0), start(1)];
    servers.iter().for_each(Server::ready);
    let mut codes: Vec<_> = (0..LINKS).map(|n| format!("l{n}")).collect();
    codes.push(LIMITED.to_owned());
    let mut connection = servers[0].connect();
    for code in &codes {
        make_link(&mut connection, code, (code == LIMITED).then_some(MAX_VISITS));
    }

    let addresses = [Address::default(), Address::default()];
    let over = AtomicBool::new(false);
    let mut faults = vec![Fault::Instance(0), Fault::Instance(1), Fault::Broker(rng.usize(0..3))];
    rng.shuffle(&mut faults);
    let visits: Visits = std::thread::scope(|scope| {
        let (addresses, over, codes) = (&addresses, &over, &codes);
        let visitor =
            |n: u64| scope.spawn(move || visit(n, codes, &addresses[n as usize % 2], over, VISITS_MAX));
        let visitors: Vec<_> = (0..VISITORS).map(visitor).collect();
        let ends = Over(over);
        for (address, server) in addresses.iter().zip(&servers) {
            address.set(Some(server.address));
        }
        for fault in faults {
            std::thread::sleep(Duration::from_millis(rng.u64(200..1_500)));
            match fault {
                Fault::Instance(n) => {
                    servers[n].kill();
                    addresses[n].set(None);
                    servers[n] = start(n);
                    addresses[n].set(Some(servers[n].address));
                }
                Fault::Broker(n) => {
                    cluster[n].kill().expect("the broker runs");
                    std::thread::sleep(OUTAGE);
                    cluster[n].restart().expect("the broker comes back");
                }
            }
        }
        std::thread::sleep(Duration::from_secs(1));
        drop(ends);
        visitors.into_iter().map(|visitor| visitor.join().expect("a visitor does not panic")).collect()
    });
    servers.iter().for_each(Server::ready);
    judge(&servers, &visits, &codes);
}

/// Demands of each link that its visits are counted once, whoever is asked, and in every way alike.
fn judge(servers: &[Server], visits: &Visits, codes: &[String]) {
    assert!(visits.redirected().count() > 20, "too few redirects to show anything");
    assert!(visits.uncertain() > 0, "no fault hit a redirect under way");
    let deadline = Instant::now() + PATIENCE;
    for (n, code) in codes.iter().enumerate() {
        let of_link = || visits.0.iter().filter(|(visit, _)| visit.code == *code);
        let pages = |statuses: &[u16]| -> BTreeSet<&str> {
            let of_statuses = of_link().filter(|(_, status)| statuses.contains(status));
            of_statuses.map(|(visit, _)| visit.referrer.as_str()).collect()
        };
        let (answered, possible) = (pages(&[302]), pages(&[0, 302, 503]));
        let counted = counted(&mut servers[n % 2].connect(), code, &answered, deadline);
        assert!(counted.values().all(|visits| *visits == 1), "{code} counts a visit twice: {counted:?}");
        assert!(counted.keys().all(|page| possible.contains(page.as_str())), "{code}: {counted:?}");
        assert!(code != LIMITED || counted.len() as u64 <= MAX_VISITS, "{code}: {counted:?}");
    }
}

/// The visits of a link by page, once all counts agree and have every redirect that was answered.
fn counted(
    connection: &mut Connection,
    code: &str,
    answered: &BTreeSet<&str>,
    deadline: Instant,
) -> BTreeMap<String, u64> {
    let mut last = None;
    while Instant::now() < deadline {
        let told = told(connection, &format!("/links/{code}/visits?by=day"));
        if let Some(told) = &told {
            let pages = told["referrers"].as_array().unwrap();
            let pages: BTreeMap<_, _> =
                pages.iter().map(|page| (page["host"].as_str().unwrap().to_owned(), number(page))).collect();
            let agree =
                [sum(&told["counts"]), sum(&told["referrers"])].map(Some) == [told["total"].as_u64(); 2];
            if agree && answered.iter().all(|page| pages.contains_key(*page)) {
                return pages;
            }
        }
        last = told;
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{code}: not every redirect of {answered:?} is counted: {last:?}");
}
