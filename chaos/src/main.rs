//! The chaos run of the gate: `cargo xtask chaos`, which builds the service and names it here.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use headwater_chaos::run::{Plan, run};

/// Instances side by side.
const INSTANCES: usize = 3;

/// Faults on instances and a broker under load, and a judgement of what is left in the log.
#[derive(Parser)]
struct Args {
    /// How long faults strike.
    #[arg(long, default_value_t = 1.5)]
    minutes: f64,
    /// Which faults, and when; another one each time unless given.
    #[arg(long)]
    seed: Option<u64>,
    /// The program to run.
    #[arg(long, env = "HEADWATER_BIN_ORDERING")]
    binary: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let target =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a folder of the workspace").join("target");
    let plan = Plan {
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
        length: Duration::from_secs_f64(args.minutes * 60.0),
        instances: INSTANCES,
        binary: args.binary,
        reports: target.join("chaos"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.expect("the system has threads").block_on(run(&plan)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
