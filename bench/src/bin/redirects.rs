//! How long a redirect of the shortener takes at a fixed rate, on the embedded log, over connections that are kept open.
//!
//! The load is open: each request has a time at which it is due, whatever became of those before it, and is measured from
//! then on. A server that stops for a moment is charged for all that were due meanwhile, also by a caller that was still
//! waiting (no coordinated omission). The callers are on the server's cores, where each would have one of its own; so they
//! take theirs as soon as they have something to do. HEAD, which writes no visit, is measured first: it tells what the machine and HTTP
//! take. No figure is printed unless every visit was counted once in the end.
//!
//! ```sh
//! cargo build --release -p shortener
//! cargo run --release -p headwater-bench --bin redirects            # 5,000 a second for ten seconds, each
//! cargo run --release -p headwater-bench --bin redirects -- rate=1000 seconds=30 connections=16 links=1
//! ```
//!
//! The shortener is the binary beside this one, or the one that `HEADWATER_BIN_SHORTENER` names. Its data lies below the
//! current directory, so that a disk is measured and not memory.

use std::time::{Duration, Instant};

use app_testing::connection::Connection;
use app_testing::patience::within_patience;
use app_testing::server::{Program, Server};

/// What is asked for in the first moments is not measured.
const WARM_UP: Duration = Duration::from_secs(2);
const MARK_MS: f64 = 2.0;

/// How much is asked for.
struct Load {
    rate: u64,
    seconds: u64,
    connections: u64,
    links: u64,
}

/// What was asked for, and how long each took from when it was due.
struct Measured {
    answered: u64,
    took: Vec<Duration>,
    /// How late requests were sent: for their caller had an answer to wait for, or the machine something else to do.
    sent_late: Vec<Duration>,
}

fn main() {
    let load = Load::from_arguments();
    let data =
        tempfile::Builder::new().prefix(".bench-").tempdir_in(".").expect("the directory can be written");
    let beside = std::env::current_exe().expect("it has a path").with_file_name("shortener");
    let server = Program::embedded("shortener", beside).start(data.path());
    server.ready();
    let mut connection = server.connect();
    for link in 0..load.links {
        let made =
            connection.post("/links", &format!(r#"{{"url":"https://example.com/","alias":"l{link}"}}"#));
        assert_eq!(made.map(|(status, _)| status), Some(201), "a link is made");
    }
    let heads = load.run(&server, "HEAD");
    let redirects = load.run(&server, "GET");
    counted(&server, load.links, redirects.answered);
    let Load { rate, seconds, connections, links } = load;
    println!("{rate} a second for {seconds} s over {connections} connections, {links} links; times in ms\n");
    println!("| | p50 | p90 | p99 | p99.9 | slowest | sent late, p99 |");
    println!("|---|--:|--:|--:|--:|--:|--:|");
    heads.print("HEAD, nothing written");
    let p99 = redirects.print("redirect, its visit durable");
    println!("\nmark: p99 ≤ {MARK_MS} ms: {}", if p99 <= MARK_MS { "reached" } else { "missed" });
}

impl Load {
    fn from_arguments() -> Self {
        let mut load = Self { rate: 5_000, seconds: 10, connections: 64, links: 100 };
        for argument in std::env::args().skip(1) {
            let set = argument.split_once('=').and_then(|(name, value)| Some((name, value.parse().ok()?)));
            match set {
                Some(("rate", rate @ 1..)) => load.rate = rate,
                Some(("seconds", seconds @ 1..)) => load.seconds = seconds,
                Some(("connections", connections @ 1..)) => load.connections = connections,
                Some(("links", links @ 1..)) => load.links = links,
                _ => {
                    eprintln!(
                        "\"{argument}\" is none of rate=, seconds=, connections= and links= with a number"
                    );
                    std::process::exit(2);
                }
            }
        }
        load
    }

    fn run(&self, server: &Server, method: &str) -> Measured {
        let begun = Instant::now() + Duration::from_millis(100);
        let parts: Vec<Measured> = std::thread::scope(|scope| {
            let caller = |n| scope.spawn(move || self.call(n, server.connect(), method, begun));
            let callers: Vec<_> = (0..self.connections).map(caller).collect();
            callers.into_iter().map(|caller| caller.join().expect("a caller does not panic")).collect()
        });
        let mut all = Measured { answered: 0, took: Vec::new(), sent_late: Vec::new() };
        for part in parts {
            all.answered += part.answered;
            all.took.extend(part.took);
            all.sent_late.extend(part.sent_late);
        }
        all.took.sort();
        all.sent_late.sort();
        all
    }

    /// Asks for every so manieth redirect, each when it is due.
    fn call(&self, caller: u64, mut connection: Connection, method: &str, begun: Instant) -> Measured {
        headwater::scheduling::wake_promptly();
        let mut measured = Measured { answered: 0, took: Vec::new(), sent_late: Vec::new() };
        let warm = begun + WARM_UP;
        let requests = (self.seconds + WARM_UP.as_secs()) * self.rate;
        for number in (caller..requests).step_by(self.connections as usize) {
            let due = begun + Duration::from_nanos(number * 1_000_000_000 / self.rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let late = due.elapsed();
            let link = number % self.links;
            let request = format!("{method} /l{link} HTTP/1.1\r\nhost: bench\r\n\r\n");
            let answer = connection.ask(&request);
            assert_eq!(answer.map(|(status, _)| status), Some(302), "every link leads somewhere");
            measured.answered += 1;
            if due >= warm {
                measured.took.push(due.elapsed());
                measured.sent_late.push(late);
            }
        }
        measured
    }
}

impl Measured {
    /// Prints a row; answers its p99 in milliseconds.
    fn print(&self, name: &str) -> f64 {
        let [p50, p90, p99, p999, slowest] =
            [0.5, 0.9, 0.99, 0.999, 1.0].map(|part| quantile(&self.took, part));
        let late = quantile(&self.sent_late, 0.99);
        println!("| {name} | {p50:.2} | {p90:.2} | {p99:.2} | {p999:.2} | {slowest:.2} | {late:.2} |");
        p99
    }
}

/// In milliseconds, of sorted times.
fn quantile(sorted: &[Duration], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part).ceil() as usize;
    sorted[at.clamp(1, sorted.len()) - 1].as_secs_f64() * 1_000.0
}

/// Waits until all links together have so many visits; more or fewer in the end is a mistake that no figure survives.
fn counted(server: &Server, links: u64, visits: u64) {
    let mut connection = server.connect();
    let mut total = || -> u64 {
        let of = |link| {
            let (status, body) = connection.get(&format!("/links/l{link}/visits")).expect("it answers");
            assert_eq!(status, 200, "visits are told");
            let told: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            told["total"].as_u64().expect("a number")
        };
        (0..links).map(of).sum()
    };
    within_patience("every visit is counted", || (total() >= visits).then_some(()));
    assert_eq!(total(), visits, "a visit is counted twice");
}
