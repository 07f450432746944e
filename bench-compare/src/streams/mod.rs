//! Kafka Streams and Headwater beside each other: the same topologies over the same topics of one broker, one after
//! the other, each in a process of its own that is asked, measured and killed from outside.
//!
//! Everything that is not under comparison is one program for both: what fills the topics, what sends at a steady rate
//! and what reads the results (`traffic`), and how a process is watched (`contender`).

mod benches;
mod contender;
mod table;
mod traffic;
mod worker;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use kafka_broker::{Broker, Jars};
use tempfile::TempDir;

pub(crate) use worker::WorkerOptions;
pub(crate) use worker::run as run_worker;

use self::table::Table;

const POM: &str = include_str!("../../kafka-streams/pom.xml");
const COMPILE_TIME_MAX: Duration = Duration::from_secs(120);

/// How long and how much the comparison with Kafka Streams runs.
#[derive(Args)]
pub(crate) struct Options {
    /// Records of each filled topic.
    #[arg(long, value_name = "COUNT", default_value_t = 3_000_000)]
    records: u64,
    /// Length of each measured window of latencies and commands.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Runs only benches whose name contains this: B1, B2, B3, B6, B8, B9, B12; B4 belongs to B1.
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// Threads of Kafka Streams.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    threads: u32,
    /// Aggregates that B6 and B12 spread their commands over.
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    aggregates: u32,
    /// A broker that runs already, instead of one that is started.
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: Option<String>,
    /// Keeps the data of both sides below this directory while it runs.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
}

/// What every bench needs.
struct Ground {
    /// The broker that was started, if one was; it ends when this is dropped.
    _broker: Option<Broker>,
    bootstrap: String,
    jars: Jars,
    /// Where `Worker.class` lies, and the data of the contenders.
    scratch: TempDir,
}

/// Runs the comparison, and prints each line of its table as soon as it is known.
///
/// # Errors
///
/// A broker or a Java compiler that is missing. A bench that fails is a line of the table.
pub(crate) async fn compare(options: &Options) -> anyhow::Result<()> {
    let ground = prepare(options)?;
    let mut table = Table::begin();
    benches::run_all(&ground, options, &mut table).await;
    ensure!(table.failures() == 0, "{} benches failed", table.failures());
    Ok(())
}

fn prepare(options: &Options) -> anyhow::Result<Ground> {
    let scratch = tempfile::Builder::new().prefix("streams-").tempdir_in(&options.dir)?;
    let jars = Jars::fetch(&POM.replace("KAFKA_VERSION", kafka_broker::version()))?;
    compile(&jars, &scratch)?;
    let broker = options.bootstrap.is_none().then(Broker::start).transpose()?;
    let bootstrap = match (&options.bootstrap, &broker) {
        (Some(bootstrap), _) => bootstrap.clone(),
        (None, broker) => broker.as_ref().context("a broker was started")?.bootstrap(),
    };
    Ok(Ground { _broker: broker, bootstrap, jars, scratch })
}

fn compile(jars: &Jars, scratch: &TempDir) -> anyhow::Result<()> {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kafka-streams/Worker.java");
    let mut javac = Command::new("javac");
    javac.arg("-cp").arg(jars.class_path()).arg("-d").arg(scratch.path()).arg(source);
    kafka_broker::run(javac, COMPILE_TIME_MAX)?;
    Ok(())
}
