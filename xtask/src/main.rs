//! The project's chores: `cargo xtask test` runs what the gate runs.
//!
//! `cargo xtask test --list` names the suites, `--only NAME` runs one. The table of suites is in `suites.rs`; adding
//! one is adding a line there. `cargo xtask kafka` starts the broker that tests use, for work by hand. `cargo xtask chaos`
//! is the suite of that name for as long as one likes, or with the faults of a run that failed.

mod absence;
mod guarantees;
mod kafka;
mod process;
mod run;
mod source;
mod suites;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser};

use crate::suites::{SUITES, Suite};
use crate::tools::Tools;

/// The project's chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Run every suite of the gate, in order, and say what passed.
    Test(TestArgs),
    /// Start Apache Kafka on loopback until Ctrl-C, with its data in a temporary directory unless told otherwise.
    Kafka(KafkaArgs),
    /// Strike instances and a broker with faults under load, then judge the log.
    Chaos(ChaosArgs),
}

#[derive(Args)]
struct TestArgs {
    /// Run this suite alone; may be given several times.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(SUITES.iter().map(|suite| suite.name)))]
    only: Vec<String>,
    /// Name the suites, run nothing.
    #[arg(long)]
    list: bool,
    /// Install nothing: a suite whose tools are missing fails and says how to get them.
    #[arg(long)]
    no_install: bool,
}

#[derive(Args)]
struct KafkaArgs {
    /// How many brokers form the cluster; from three on, everything is kept by three.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    brokers: u16,
    /// The port of the first broker, the others following it; free ones are taken where none is given.
    #[arg(long)]
    port: Option<u16>,
    /// A folder that keeps its data and logs: the next start goes on with them.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Install nothing: fail where Java or Maven is missing, and say how to get them.
    #[arg(long)]
    no_install: bool,
}

#[derive(Args)]
struct ChaosArgs {
    /// How long faults strike.
    #[arg(long)]
    minutes: Option<f64>,
    /// Which faults, and when: the seed that a failed run printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Install nothing.
    #[arg(long)]
    no_install: bool,
}

fn main() -> ExitCode {
    match Chore::parse() {
        Chore::Test(args) => test(&args),
        Chore::Kafka(args) => kafka::serve(&args, &tools(args.no_install)),
        Chore::Chaos(args) => chaos(&args),
    }
}

fn test(args: &TestArgs) -> ExitCode {
    if args.list { list() } else { run::run(&chosen(&args.only), &tools(args.no_install)) }
}

fn chaos(args: &ChaosArgs) -> ExitCode {
    let minutes = args.minutes.map(|minutes| format!("--minutes={minutes}"));
    let seed = args.seed.map(|seed| format!("--seed={seed}"));
    let more: Vec<String> = minutes.into_iter().chain(seed).collect();
    let minutes = args.minutes.unwrap_or_default();
    run::run_longer(&suites::CHAOS, &more, minutes, &tools(args.no_install))
}

fn tools(no_install: bool) -> Tools {
    Tools { root: root(), may_install: !no_install }
}

fn list() -> ExitCode {
    for suite in SUITES {
        println!("{:<12} {}", suite.name, suite.about);
    }
    ExitCode::SUCCESS
}

fn chosen(only: &[String]) -> Vec<&'static Suite> {
    SUITES.iter().filter(|suite| only.is_empty() || only.iter().any(|name| name == suite.name)).collect()
}

/// The workspace's folder: cargo names this crate's own, one below it.
fn root() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(own).parent().expect("xtask is a folder of the workspace").to_path_buf()
}
