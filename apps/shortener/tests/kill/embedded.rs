//! One server on the embedded log. What is on its log is read as it lies there, and counted by hand.
//!
//! `HEADWATER_KILLS` says how often it is killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use headwater::core::codec::{Codec, Json};
use headwater::core::key::decode_text;
use headwater::core::log::{Log, ReadLimit, Wait};
use headwater::core::topic::TopicName;
use headwater::log::embedded::{EmbeddedLog, Options};
use serde_json::Value;

use crate::visitors::{Over, Visit, Visits, visit};
use crate::{LIMITED, alone, make_link, number, program, sum, told};
use app_testing::connection::{Address, Connection};
use app_testing::server::Server;

/// Visitors at the same time.
const VISITORS: u64 = 8;
/// Kills in the gate.
const KILLS: u64 = 20;
/// What the limited link has; few enough to be spent, enough to be spent over several lives.
const MAX_VISITS: u64 = 400;

fn kills() -> u64 {
    match std::env::var("HEADWATER_KILLS") {
        Ok(text) => text.parse().expect("HEADWATER_KILLS is a number"),
        Err(_) => KILLS,
    }
}

#[test]
fn every_count_is_right_to_the_last_visit_after_kill_9() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let codes: Vec<_> = ["a", "b", "c", LIMITED].map(str::to_owned).into();
    let server = program().start(dir.path());
    for code in &codes {
        make_link(&mut server.connect(), code, (code == LIMITED).then_some(MAX_VISITS));
    }
    drop(server);
    let visits = follow_under_kills(dir.path(), &codes);
    assert!(visits.redirected().count() > 50, "too few redirects to show anything");
    assert!(visits.uncertain() > 0, "no kill hit a redirect under way");
    let led = visits.redirected().filter(|visit| visit.code == LIMITED).count() as u64;
    assert!(led <= MAX_VISITS, "the limited link led {led} visitors");

    // The visits of the limited link are events first; whoever was led by one finds it among the others in the end.
    let mut server = program().start(dir.path());
    server.ready();
    let link = told(&mut server.connect(), &format!("/links/{LIMITED}")).expect("it is ready");
    let used = MAX_VISITS - link["visitsLeft"].as_u64().unwrap();
    counted(&server, LIMITED, used);
    server.kill();

    let logged = visits_in_log(dir.path());
    for visit in visits.redirected() {
        assert_eq!(logged.get(visit), Some(&1), "answered {visit:?}");
    }
    for (visit, times) in &logged {
        assert_eq!(*times, 1, "{visit:?} is on the log more than once");
        let status = visits.0.get(visit);
        assert!(matches!(status, Some(0 | 302 | 503)), "{visit:?} was answered {status:?}");
    }
    for lost in [false, true] {
        if lost {
            std::fs::remove_dir_all(dir.path().join("state")).unwrap();
        }
        let mut server = program().start(dir.path());
        server.ready();
        for code in &codes {
            counted(&server, code, logged.keys().filter(|visit| visit.code == *code).count() as u64);
        }
        server.kill();
    }
    println!(
        "{} visits on the log in {} lives, {} redirects answered, {} cut off",
        logged.len(),
        kills(),
        visits.redirected().count(),
        visits.uncertain()
    );
}

/// Visitors follow links while the server is killed and started again.
fn follow_under_kills(dir: &Path, codes: &[String]) -> Visits {
    let (address, over) = (Address::default(), AtomicBool::new(false));
    let mut rng = fastrand::Rng::with_seed(fastrand::u64(..));
    std::thread::scope(|scope| {
        let (address, over) = (&address, &over);
        let visitors: Vec<_> =
            (0..VISITORS).map(|n| scope.spawn(move || visit(n, codes, address, over, u64::MAX))).collect();
        // Also when a start panics: the visitors must not go on for ever.
        let ends = Over(over);
        for _ in 0..kills() {
            let mut server = program().start(dir);
            address.set(Some(server.address));
            std::thread::sleep(Duration::from_millis(rng.u64(100..600)));
            server.kill();
            address.set(None);
        }
        drop(ends);
        visitors.into_iter().map(|visitor| visitor.join().expect("a visitor does not panic")).collect()
    })
}

/// What is told of one link's visits.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    total: u64,
    by_day: u64,
    by_hour: u64,
    /// Pages that are said to have sent more than one visitor.
    doubled: u64,
}

/// Demands that a link's visits come to be counted as this many, in every way, and from no page more than one.
#[track_caller]
fn counted(server: &Server, code: &str, visits: u64) {
    let expected = Counts { total: visits, by_day: visits, by_hour: visits, doubled: 0 };
    let mut connection = server.connect();
    let mut counts = counts(&mut connection, code);
    for _ in 0..200 {
        if counts == expected {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
        counts = self::counts(&mut connection, code);
    }
    panic!("{code}: {counts:?} where there are {visits}");
}

fn counts(connection: &mut Connection, code: &str) -> Counts {
    let mut by =
        |span: &str| told(connection, &format!("/links/{code}/visits?by={span}")).expect("it is ready");
    let (day, hour) = (by("day"), by("hour"));
    let pages = day["referrers"].as_array().unwrap();
    Counts {
        total: hour["total"].as_u64().unwrap(),
        by_day: sum(&day["counts"]),
        by_hour: sum(&hour["counts"]),
        doubled: pages.iter().filter(|page| number(page) > 1).count() as u64,
    }
}

/// How often each visit is in the raw log.
fn visits_in_log(dir: &Path) -> BTreeMap<Visit, u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let log = EmbeddedLog::open(dir, Options { check_after_crash: false, ..Options::default() }).unwrap();
        let topic = TopicName::new("visits").unwrap();
        let partitions = log.describe(&topic).await.unwrap().unwrap().settings.partitions;
        let mut visits = BTreeMap::new();
        for at in (0..partitions).map(|partition| topic.partition(partition)) {
            let mut next = log.bounds(&at).await.unwrap().start;
            loop {
                let batch = log.read(&at, next, ReadLimit::default(), Wait::No).await.unwrap();
                if batch.next == next {
                    break;
                }
                next = batch.next;
                for record in batch.records.into_iter().map(|stored| stored.record) {
                    let code: String = decode_text(&record.key.unwrap()).unwrap();
                    let value: Value = Json.decode(&record.value.unwrap()).unwrap();
                    let referrer = value["referrer"].as_str().unwrap().to_owned();
                    *visits.entry(Visit { code, referrer }).or_default() += 1;
                }
            }
        }
        visits
    })
}
