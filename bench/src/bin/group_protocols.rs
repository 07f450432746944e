//! How soon a partition has a member again after a `kill -9`, under each of Kafka's group protocols: its holder started
//! again, and another member that was there. Measured with the client's own consumers, since Headwater's member
//! ([KIP-345], [KIP-429]) speaks the classic protocol; the figures say which protocol it should speak.
//!
//! `cargo run --release -p headwater-bench --bin group_protocols`: starts a broker with its default settings; five
//! minutes, most of them waiting for sessions to end.
//!
//! [KIP-345]: https://cwiki.apache.org/confluence/display/KAFKA/KIP-345%3A+Introduce+static+membership+protocol+to+reduce+consumer+rebalances
//! [KIP-429]: https://cwiki.apache.org/confluence/display/KAFKA/KIP-429%3A+Kafka+Consumer+Incremental+Rebalance+Protocol

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use kafka_broker::Broker;
use krafka::Kafka;
use krafka::admin::{CreateTopicsOptions, NewTopic};
use krafka::consumer::GroupProtocol;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const TOPIC: &str = "shared-out";
const PARTITIONS: usize = 4;
/// Longer than a session of the newer protocol lasts on a broker's default settings (45 s), twice.
const PATIENCE: Duration = Duration::from_secs(120);
/// The shortest session that a broker's default settings allow; the newer protocol has the broker's.
const SESSION: Duration = Duration::from_secs(6);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["member", servers, protocol, group, name] => member(servers, protocol, group, name).await,
        [] => compare().await,
        _ => Err("usage: group_protocols".into()),
    }
}

/// Takes what the group gives it, and tells how many partitions that is whenever it changes.
async fn member(servers: &str, protocol: &str, group: &str, name: &str) -> Result<()> {
    let kafka = Kafka::builder(servers).connect().await?;
    let mut consumer = kafka.consumer(group);
    consumer = match protocol {
        "classic" => consumer.group_protocol(GroupProtocol::Classic).session_timeout(SESSION),
        _ => consumer.group_protocol(GroupProtocol::Consumer),
    };
    if name != "none" {
        consumer = consumer.group_instance_id(name);
    }
    let consumer = consumer.build().await?;
    consumer.subscribe([TOPIC]).await?;
    let mut told = 0;
    loop {
        // A static name that another life still has is refused until the group forgets that life.
        if let Err(error) = consumer.poll(Duration::from_millis(20)).await {
            println!("error {error}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let has = consumer.assignment().await.values().map(Vec::len).sum();
        if has != told {
            told = has;
            println!("{has}");
            std::io::stdout().flush()?;
        }
    }
}

async fn compare() -> Result<()> {
    let broker = Broker::start()?;
    let kafka = Kafka::builder(broker.bootstrap()).connect().await?;
    let topic = NewTopic::new(TOPIC, PARTITIONS as i32, 1)?;
    kafka.admin().create_topics(vec![topic], CreateTopicsOptions::default()).await?;
    println!("| protocol | name | the same member again | another member |\n|---|---|--:|--:|");
    for protocol in ["classic", "consumer"] {
        for named in [true, false] {
            let group = format!("{protocol}-{named}");
            let servers = broker.bootstrap();
            let start =
                |name: &str| Member::start(&servers, protocol, &group, if named { name } else { "none" });
            let again = again(start);
            let other = other(start);
            let name = if named { "static" } else { "none" };
            println!("| {protocol} | {name} | {} | {} |", told(again), told(other));
        }
    }
    Ok(())
}

fn told(time: Result<Duration>) -> String {
    time.map_or_else(|error| error.to_string(), |time| format!("{:.2} s", time.as_secs_f64()))
}

/// From the start of a member to its partitions, after the kill of one that bore its name.
fn again(start: impl Fn(&str) -> Result<Member>) -> Result<Duration> {
    let first = start("a")?;
    first.has(PARTITIONS)?;
    drop(first);
    let since = Instant::now();
    start("a")?.has(PARTITIONS)?;
    Ok(since.elapsed())
}

/// From the kill of a member to when the other one has all.
fn other(start: impl Fn(&str) -> Result<Member>) -> Result<Duration> {
    let first = start("a")?;
    first.has(PARTITIONS)?;
    let second = start("b")?;
    second.has(PARTITIONS / 2)?;
    drop(first);
    let since = Instant::now();
    second.has(PARTITIONS)?;
    Ok(since.elapsed())
}

/// A process that is a member; killed when it is dropped.
struct Member {
    process: Child,
    said: Receiver<String>,
}

impl Member {
    fn start(servers: &str, protocol: &str, group: &str, name: &str) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["member", servers, protocol, group, name])
            .stdout(Stdio::piped())
            .spawn()?;
        let out = process.stdout.take().ok_or("the member has no output")?;
        let (tell, said) = channel();
        std::thread::spawn(move || {
            // Nobody may listen any more.
            BufReader::new(out)
                .lines()
                .map_while(std::result::Result::ok)
                .for_each(|line| drop(tell.send(line)));
        });
        Ok(Self { process, said })
    }

    fn has(&self, partitions: usize) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut last = "said nothing".to_owned();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.said.recv_timeout(left) {
                Ok(line) if line == partitions.to_string() => return Ok(()),
                Ok(line) => last = line,
                Err(_) => return Err(format!("more than {} s ({last})", PATIENCE.as_secs()).into()),
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
