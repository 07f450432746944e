//! The log on Kafka alone: how fast it appends and is read, and how soon a reader that waits has a new record.
//!
//! `cargo run --release -p headwater-bench --bin kafka_log [HOST:PORT]`; without an address, on a broker of its own,
//! which shares the processors. Topics of another run on the same broker are left alone.

#[path = "../on_kafka.rs"]
mod on_kafka;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use headwater_core::clock::Timestamp;
use headwater_core::header::{Headers, WELL_KNOWN};
use headwater_core::log::{Log, ReadLimit, Wait};
use headwater_core::record::{Append, Record};
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use on_kafka::{OnKafka, Result};
use tokio::sync::mpsc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: u32 = 4;
/// Readers that wait, each at a partition of its own.
const IDLE: u32 = 60;
const WAKE_UPS: u32 = 2_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let kafka = OnKafka::connect().await?;
    let log = &kafka.log;
    for (name, headers, records) in [("plain", 0, 4_000_000), ("headers", 15, 1_000_000)] {
        let topic = kafka.create(name, PARTITIONS).await?;
        append(log, &topic, headers, records).await?;
        for _ in 0..3 {
            scan(log, &topic).await?;
        }
    }
    wake_ups(&kafka).await
}

/// Appends records of 100 B and some headers to every partition.
async fn append(log: &Arc<dyn Log>, topic: &TopicName, headers: usize, records: usize) -> Result<()> {
    const TOGETHER: usize = 5_000;
    let (begun, cpu) = (Instant::now(), cpu_time());
    let headers: Headers = WELL_KNOWN.iter().take(headers).map(|name| (*name, &b"0123456789"[..])).collect();
    let tasks = (0..PARTITIONS).map(|partition| {
        let (log, to, headers) = (Arc::clone(log), topic.partition(partition), headers.clone());
        async move {
            for _ in 0..records / PARTITIONS as usize / TOGETHER {
                log.append((0..TOGETHER).map(|n| made(&to, n, &headers)).collect()).await?;
            }
            Ok::<_, headwater_core::log::AppendError>(())
        }
    });
    try_join_all(tasks).await?;
    report("append", records, begun, cpu);
    Ok(())
}

fn made(to: &TopicPartition, n: usize, headers: &Headers) -> Append {
    let record = Record::new(format!("{n:08}"), vec![b'v'; 92], Timestamp(1));
    Append { to: to.clone(), record: Record { headers: headers.clone(), ..record } }
}

/// Reads every partition to its end, side by side.
async fn scan(log: &Arc<dyn Log>, topic: &TopicName) -> Result<()> {
    let (begun, cpu) = (Instant::now(), cpu_time());
    let tasks = (0..PARTITIONS).map(|partition| {
        let (log, from) = (Arc::clone(log), topic.partition(partition));
        tokio::spawn(async move { read_to_end(&*log, &from).await })
    });
    let counts: Result<Vec<usize>> = try_join_all(tasks).await?.into_iter().collect();
    report("scan", counts?.iter().sum(), begun, cpu);
    Ok(())
}

async fn read_to_end(log: &dyn Log, from: &TopicPartition) -> Result<usize> {
    let end = log.bounds(from).await?.end;
    let (mut next, mut records) = (Offset::ZERO, 0);
    while next < end {
        let batch = log.read(from, next, ReadLimit::default(), Wait::No).await?;
        next = batch.next;
        records += batch.records.len();
    }
    Ok(records)
}

/// One record after another to a partition at which a reader waits, among many where none comes.
async fn wake_ups(kafka: &OnKafka) -> Result<()> {
    let (log, topic) = (&kafka.log, kafka.create("idle", IDLE).await?);
    let (woken, mut wake_ups) = mpsc::unbounded_channel();
    let readers: Vec<_> = (0..IDLE)
        .map(|n| tokio::spawn(tell_wake_ups(Arc::clone(log), topic.partition(n), woken.clone())))
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (mut after_append, mut after_call) = (Vec::new(), Vec::new());
    for n in 0..WAKE_UPS {
        let begun = Instant::now();
        log.append(vec![made(&topic.partition(n * 7 % IDLE), 0, &Headers::empty())]).await?;
        let appended = Instant::now();
        let woken = wake_ups.recv().await.ok_or("every reader has ended")?;
        after_append.push(woken.saturating_duration_since(appended));
        after_call.push(woken - begun);
    }
    percentiles("woken after the append's answer", after_append);
    percentiles("woken after the append's call", after_call);
    let cpu = cpu_time();
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!("{IDLE} readers that wait: {:.3} s CPU in 10 s", cpu_time() - cpu);
    readers.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}

async fn tell_wake_ups(log: Arc<dyn Log>, at: TopicPartition, woken: mpsc::UnboundedSender<Instant>) {
    let mut next = Offset::ZERO;
    while let Ok(batch) = log.read(&at, next, ReadLimit::default(), Wait::UntilMore).await {
        next = batch.next;
        if woken.send(Instant::now()).is_err() {
            return;
        }
    }
}

fn report(what: &str, records: usize, begun: Instant, cpu: f64) {
    let (took, cpu) = (begun.elapsed().as_secs_f64(), cpu_time() - cpu);
    println!(
        "{what:<8} {:>10.0} records/s, {:>5.0} ns CPU a record",
        records as f64 / took,
        cpu * 1e9 / records as f64
    );
}

fn percentiles(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e3;
    println!("{what}: p50 {:.3} ms, p99 {:.3} ms", at(50), at(99));
}

/// Seconds of processor time that this process has used.
fn cpu_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    ticks / 100.0
}
