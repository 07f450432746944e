//! Commits on Kafka alone: how long a shard's transaction takes, alone and beside other shards.
//!
//! `cargo run --release -p headwater-bench --bin kafka_commits [HOST:PORT]`; without an address, on a broker of its own,
//! which shares the processors. Topics of another run on the same broker are left alone.

#[path = "../on_kafka.rs"]
mod on_kafka;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use headwater_core::clock::Timestamp;
use headwater_core::log::{Claim, Group, Log, Membership, ShardChange, Transaction, Writer};
use headwater_core::position::Position;
use headwater_core::record::{Append, Record};
use headwater_core::topic::{Offset, Partition, TopicName};
use on_kafka::{OnKafka, Result};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SHARDS: u32 = 12;
const TIME: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let kafka = OnKafka::connect().await?;
    let topic = kafka.create("commits", SHARDS).await?;
    let group = Group { name: topic.to_string(), shards: SHARDS, topic: topic.clone() };
    let begun = Instant::now();
    let (_member, claims) = join(&*kafka.log, &group).await?;
    println!("joined and gained {SHARDS} shards in {:?}", begun.elapsed());
    let begun = Instant::now();
    let writers = try_join_all(claims.values().map(|claim| claim.open())).await?;
    println!("opened {SHARDS} writers side by side in {:?}", begun.elapsed());
    let mut writers: Vec<_> = writers.into_iter().map(|opened| opened.writer).collect();
    for (shards, records) in [(1, 1), (1, 1_000), (12, 1), (12, 100), (12, 1_000)] {
        side_by_side(&topic, &mut writers[..shards], records).await?;
    }
    Ok(())
}

type Claims = BTreeMap<Partition, Box<dyn Claim>>;

async fn join(log: &dyn Log, group: &Group) -> Result<(Box<dyn Membership>, Claims)> {
    let mut member = log.join(group).await?;
    let mut claims = Claims::new();
    while claims.len() < group.shards as usize {
        if let ShardChange::Gained(shard, claim) = member.next().await? {
            claims.insert(shard, claim);
        }
    }
    Ok((member, claims))
}

/// Each writer commits one transaction after another to its own partition, for a while.
async fn side_by_side(topic: &TopicName, writers: &mut [Box<dyn Writer>], records: usize) -> Result<()> {
    let shards = writers.len();
    let begun = Instant::now();
    let runs = writers.iter_mut().zip(0..).map(|(writer, shard)| run(topic, shard, writer, records));
    let mut times: Vec<Duration> = try_join_all(runs).await?.into_iter().flatten().collect();
    let seconds = begun.elapsed().as_secs_f64();
    times.sort();
    let at = |per_mille: usize| times[(times.len() - 1) * per_mille / 1_000].as_secs_f64() * 1e3;
    println!(
        "{shards:>2} shards, {records:>4} records a commit: {:>6.0} commits/s, {:>8.0} records/s, p50 {:.1} ms, p99 {:.1} ms",
        times.len() as f64 / seconds,
        (times.len() * records) as f64 / seconds,
        at(500),
        at(990),
    );
    Ok(())
}

async fn run(
    topic: &TopicName,
    shard: u32,
    writer: &mut Box<dyn Writer>,
    records: usize,
) -> Result<Vec<Duration>> {
    let at = topic.partition(shard);
    let record = |n: usize| Record::new(format!("{n:08}"), vec![b'v'; 192], Timestamp(1));
    let appends: Vec<_> = (0..records).map(|n| Append { to: at.clone(), record: record(n) }).collect();
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < TIME {
        let positions = Position::from_iter([(at.clone(), Offset(times.len() as u64))]);
        let transaction =
            Transaction { appends: appends.clone(), positions, note: Bytes::from_static(b"note") };
        let asked = Instant::now();
        writer.commit(transaction).await?;
        times.push(asked.elapsed());
    }
    Ok(times)
}
