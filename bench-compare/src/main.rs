//! Runs the same commands on Headwater and on its peers and prints what each of them does with them.
//!
//! See `docs/performance.md`, section "Peers", for what is measured and how to repeat it.

// Without the peers, some of what only they need is left: what may meet a conflict, where their servers are.
#![cfg_attr(not(feature = "peers"), allow(dead_code))]

#[cfg(feature = "peers")]
mod cluster;
#[cfg(feature = "peers")]
mod cqrs_es_postgres;
mod drive;
#[cfg(feature = "peers")]
mod evento_fjall;
mod headwater;
mod machine;
mod peer;
mod report;
mod streams;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use clap::{Parser, Subcommand};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

#[cfg(feature = "peers")]
use crate::cqrs_es_postgres::{CqrsEs, Extra};
use crate::drive::{Figures, Schedule, WORKLOADS, Workload};
#[cfg(feature = "peers")]
use crate::evento_fjall::Evento;
use crate::headwater::Embedded;
use crate::machine::Machine;
use crate::peer::Peer;
use crate::report::{Report, Row};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the same commands on Headwater's peers and prints what each of them does with them.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    command: Option<Other>,
    /// Length of each measured window.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Time before each measured window.
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    warm_up: u64,
    /// Runs only peers whose name contains this.
    #[arg(long, value_name = "NAME", default_value = "")]
    peer: String,
    /// Runs only workloads whose name contains this.
    #[arg(long, value_name = "NAME", default_value = "")]
    workload: String,
    /// Keeps the data below this directory while it runs; not a memory file system, or an fsync costs nothing.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Where the PostgreSQL server programs are.
    #[arg(long, value_name = "DIR", default_value = "/usr/lib/postgresql/15/bin")]
    postgres_bin: PathBuf,
    /// Connections to PostgreSQL that the commands of a peer share.
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=90))]
    connections: u32,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// What is run instead of the comparison with the peers.
#[derive(Subcommand)]
enum Other {
    /// Runs Kafka Streams and Headwater beside each other on one broker, and prints a table of ratios.
    Streams(streams::Options),
    /// Headwater's side of that.
    #[command(hide = true)]
    Worker(streams::WorkerOptions),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    match options.command {
        None => compare_peers(options).await,
        Some(Other::Streams(options)) => streams::compare(&options).await,
        Some(Other::Worker(options)) => streams::run_worker(options).await,
    }
}

async fn compare_peers(options: Options) -> anyhow::Result<()> {
    let report = tokio::select! {
        report = compare(&options) => report?,
        // Dropping the comparison stops the servers that it started and removes their directories.
        () = interrupted() => bail!("interrupted"),
    };
    match options.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print!("{report}"),
    }
    if report.rows.iter().any(|row| row.outcome.is_err()) {
        bail!("not every run succeeded");
    }
    Ok(())
}

fn peers(options: &Options) -> Vec<Box<dyn Peer>> {
    let mut peers: Vec<Box<dyn Peer>> =
        vec![Box::new(Embedded { with_view: false }), Box::new(Embedded { with_view: true })];
    peers.extend(others(options));
    peers
}

#[cfg(feature = "peers")]
fn others(options: &Options) -> Vec<Box<dyn Peer>> {
    let Options { connections, ref postgres_bin, .. } = *options;
    let cqrs_es = |extra| Box::new(CqrsEs { extra, connections, postgres_bin: postgres_bin.clone() });
    vec![cqrs_es(Extra::Nothing), cqrs_es(Extra::View), cqrs_es(Extra::Snapshots), Box::new(Evento)]
}

#[cfg(not(feature = "peers"))]
fn others(_: &Options) -> Vec<Box<dyn Peer>> {
    Vec::new()
}

async fn compare(options: &Options) -> anyhow::Result<Report> {
    // Before the first run: right after one it now and then reads more than twenty times as much.
    let machine = Machine::probe(&options.dir)?;
    let mut peers = peers(options);
    peers.retain(|peer| peer.name().contains(&options.peer));
    let mut rows = Vec::new();
    for workload in WORKLOADS.iter().filter(|workload| workload.name.contains(&options.workload)) {
        for peer in &peers {
            eprintln!("{}: {} ...", workload.name, peer.name());
            let outcome = measure(&**peer, workload, options).await.map_err(|error| format!("{error:#}"));
            rows.push(Row { workload: workload.name, peer: peer.name(), outcome, ratios: None });
        }
    }
    let mut report = Report { machine, seconds: options.seconds, rows };
    report.compare();
    Ok(report)
}

/// Runs one workload on accounts of its own, so that no run pays for what another left.
async fn measure(peer: &dyn Peer, workload: &Workload, options: &Options) -> anyhow::Result<Figures> {
    let schedule = Schedule {
        warm_up: Duration::from_secs(options.warm_up),
        measured: Duration::from_secs(options.seconds),
    };
    let accounts = peer.setup(scratch(&options.dir)?).await?;
    drive::run(accounts, workload, schedule).await
}

fn scratch(dir: &Path) -> std::io::Result<TempDir> {
    tempfile::Builder::new().prefix("bench-compare-").tempdir_in(dir)
}

async fn interrupted() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => drop(signals.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
