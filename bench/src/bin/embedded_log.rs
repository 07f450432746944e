//! The embedded log alone: how fast it commits, answers one caller, and is read.
//!
//! `cargo run --release -p headwater-bench --bin embedded_log [DIR]`; without a directory, one of the system's
//! temporary ones, which may be in memory: give one on the disk that is to be measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater::log::embedded::{EmbeddedLog, Options};
use headwater_core::clock::Timestamp;
use headwater_core::header::Headers;
use headwater_core::log::{Group, Log, ReadLimit, ShardChange, TopicSettings, Transaction, Wait, Writer};
use headwater_core::record::{Append, Record};
use headwater_core::topic::{Offset, TopicName};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const SHARDS: u32 = 12;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("headwater-bench-{}", std::process::id()));
    let measured = measure(&dir).await;
    std::fs::remove_dir_all(&dir)?;
    measured
}

async fn measure(dir: &Path) -> Result<()> {
    let log = EmbeddedLog::open(dir, Options { maintenance_every: None, ..Options::default() })?;
    for topic in ["events", "outcomes"] {
        log.create(&TopicName::new(topic)?, TopicSettings::kept(SHARDS)).await?;
    }
    let mut writers = open_writers(&log).await?;
    one_caller(&log, &mut writers[0]).await?;
    for per_shard in [8, 21, 84, 420] {
        saturate(&log, &mut writers, per_shard).await?;
    }
    scan(&log).await?;
    drop(writers);
    let begun = Instant::now();
    drop(log);
    println!("close           {:>10.1} ms", ms(begun.elapsed()));
    let begun = Instant::now();
    let log = EmbeddedLog::open(dir, Options::default())?;
    println!("open            {:>10.1} ms", ms(begun.elapsed()));
    println!("{:?}", log.stats());
    Ok(())
}

async fn open_writers(log: &EmbeddedLog) -> Result<Vec<Box<dyn Writer>>> {
    let topic = TopicName::new("events")?;
    let mut member = log.join(&Group { name: "bench".into(), shards: SHARDS, topic }).await?;
    let mut writers = Vec::new();
    while writers.len() < SHARDS as usize {
        if let ShardChange::Gained(_, claim) = member.next().await? {
            writers.push(claim.open().await?.writer);
        }
    }
    Ok(writers)
}

/// What `commands` commands of a shard append: an event of 200 B with all headers, and an outcome, for each.
fn transaction(shard: u32, commands: u64, n: &mut u64) -> Transaction {
    let (events, outcomes) = (TopicName::new("events"), TopicName::new("outcomes"));
    let (events, outcomes) =
        (events.expect("legal").partition(shard), outcomes.expect("legal").partition(shard));
    let mut appends = Vec::with_capacity(2 * commands as usize);
    for _ in 0..commands {
        *n += 1;
        appends.push(Append { to: events.clone(), record: event(*n) });
        appends.push(Append { to: outcomes.clone(), record: outcome(*n) });
    }
    let positions = [(events, Offset(*n))].into_iter().collect();
    Transaction { appends, positions, note: vec![7; 64].into() }
}

fn event(n: u64) -> Record {
    let id = format!("0191f3a4-7d3c-7c5e-9a4b-{n:012x}");
    let headers = Headers::builder()
        .push("ce_specversion", "1.0")
        .push("ce_id", &id)
        .push("ce_type", "bench.account.deposited")
        .push("ce_source", "/bench/account")
        .push("ce_subject", format!("account-{}", n % 100_000))
        .push("ce_time", "2026-03-01T12:00:00.000Z")
        .push("ce_dataversion", "1")
        .push("ce_sequence", (n / 100_000).to_string())
        .push("ce_correlationid", &id)
        .push("ce_causationid", &id)
        .push("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .push("content-type", "application/json")
        .push("hw_writer", "bench.0")
        .push("hw_index", "0")
        .push("hw_count", "1")
        .build();
    Record { headers, ..Record::new(format!("account-{}", n % 100_000), vec![b'x'; 200], Timestamp(1)) }
}

fn outcome(n: u64) -> Record {
    let headers =
        Headers::builder().push("hw_command_id", n.to_be_bytes()).push("hw_digest", [9; 16]).build();
    Record { headers, ..Record::new(format!("account-{}", n % 100_000), vec![b'o'; 60], Timestamp(1)) }
}

/// One command after another, each awaited.
async fn one_caller(log: &EmbeddedLog, writer: &mut Box<dyn Writer>) -> Result<()> {
    let mut n = 0;
    let mut times = Vec::new();
    for _ in 0..2_000 {
        let transaction = transaction(0, 1, &mut n);
        let begun = Instant::now();
        writer.commit(transaction).await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| ms(times[times.len() * percent / 100]);
    println!("one caller      p50 {:.3} ms, p99 {:.3} ms, fsyncs {}", at(50), at(99), log.stats().fsyncs);
    Ok(())
}

/// Every shard commits side by side, as fast as it is answered.
async fn saturate(log: &Arc<EmbeddedLog>, writers: &mut [Box<dyn Writer>], per_shard: u64) -> Result<()> {
    const TIME: Duration = Duration::from_secs(4);
    let before = log.stats();
    let (begun, cpu) = (Instant::now(), cpu_time());
    let tasks = writers.iter_mut().zip(0..).map(|(writer, shard)| async move {
        let mut n = 0;
        // What a shard would do meanwhile is not measured: the transaction is made once and sent again.
        let transaction = transaction(shard, per_shard, &mut n);
        while begun.elapsed() < TIME {
            writer.commit(transaction.clone()).await?;
        }
        Ok::<_, headwater_core::log::CommitError>(())
    });
    futures_util::future::try_join_all(tasks).await?;
    let (took, cpu, after) = (begun.elapsed().as_secs_f64(), cpu_time() - cpu, log.stats());
    let records = after.records - before.records;
    let fsyncs = after.fsyncs - before.fsyncs;
    println!(
        "{:>4} commands per shard and commit: {:>8.0} records/s, {:>6.0} MB/s, {:>5.0} commits/s of {:>5.0} records in {:.2} ms, {:.2} us CPU a record",
        per_shard,
        records as f64 / took,
        (after.record_bytes - before.record_bytes) as f64 / took / 1e6,
        fsyncs as f64 / took,
        records as f64 / fsyncs as f64,
        (after.fsync_us - before.fsync_us) as f64 / fsyncs as f64 / 1e3,
        cpu * 1e6 / records as f64,
    );
    Ok(())
}

/// Reads every event.
async fn scan(log: &EmbeddedLog) -> Result<()> {
    let begun = Instant::now();
    let mut records = 0;
    for shard in 0..SHARDS {
        let from = TopicName::new("events")?.partition(shard);
        let end = log.bounds(&from).await?.end;
        let mut next = Offset(0);
        while next < end && begun.elapsed() < Duration::from_secs(10) {
            let batch = log.read(&from, next, ReadLimit::default(), Wait::No).await?;
            records += batch.records.len();
            next = batch.next;
        }
    }
    println!("scan            {:>10.0} records/s", records as f64 / begun.elapsed().as_secs_f64());
    Ok(())
}

/// Seconds of processor time that this process has used.
fn cpu_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    ticks / 100.0
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
