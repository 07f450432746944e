//! Kafka Streams and Headwater beside each other: the same topologies over the same topics of one broker, one after
//! the other, each in a process of its own that is asked, measured and killed from outside.
//!
//! Everything that is not under comparison is one program for both: what fills the topics, what sends at a steady rate
//! and what reads the results (`traffic`), and how a process is watched (`contender`).

mod benches;
mod contender;
mod hops;
mod table;
mod tables;
mod traffic;
mod worker;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use kafka_broker::{Broker, Jars};
use tempfile::TempDir;

pub(crate) use worker::WorkerOptions;
pub(crate) use worker::run as run_worker;

use self::table::Table;
use crate::interrupted;

const POM: &str = include_str!("../../kafka-streams/pom.xml");
const COMPILE_TIME_MAX: Duration = Duration::from_secs(120);

/// How long and how much the comparison with Kafka Streams runs.
#[derive(Args)]
pub(crate) struct Options {
    /// Looks whether everything works, in about two minutes on an idle machine; its figures are no figures to tell.
    #[arg(long)]
    quick: bool,
    /// Records of each filled topic [default: 5000000, quick: 500000].
    #[arg(long, value_name = "COUNT")]
    records: Option<u64>,
    /// Length of each measured window of latencies and commands [default: 10, quick: 3].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Aggregates that B6 spreads its commands over, and a tenth of those of B12 [default: 100000, quick: 10000].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    aggregates: Option<u32>,
    /// Runs these rows alone, as in `--only B1,B6`; some are measured together.
    #[arg(long, value_name = "ROW", value_delimiter = ',', value_parser = benches::ROWS)]
    only: Vec<String>,
    /// Threads of Kafka Streams.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    threads: u32,
    /// A broker that runs already, instead of one that is started.
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: Option<String>,
    /// Keeps the data of both sides below this directory while it runs.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
}

impl Options {
    fn size<T>(&self, asked: Option<T>, full: T, quick: T) -> T {
        asked.unwrap_or(if self.quick { quick } else { full })
    }

    fn records(&self) -> u64 {
        self.size(self.records, 5_000_000, 500_000)
    }

    fn seconds(&self) -> u64 {
        self.size(self.seconds, 10, 3)
    }

    fn aggregates(&self) -> u32 {
        self.size(self.aggregates, 100_000, 10_000)
    }
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
    let began = Instant::now();
    let mut table = Table::begin();
    tokio::select! {
        () = benches::run_all(&ground, options, &mut table) => {}
        // Dropping the comparison ends the processes that it started, and removes their directories.
        () = interrupted() => bail!("interrupted"),
    }
    eprintln!("took {} s", began.elapsed().as_secs());
    ensure!(table.failures() == 0, "{} benches could not be measured", table.failures());
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
