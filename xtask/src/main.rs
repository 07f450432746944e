//! The project's chores: `cargo xtask test` runs what the gate runs.
//!
//! `cargo xtask test --list` names the suites, `--only NAME` runs one. The table of suites is in `suites.rs`; adding
//! one is adding a line there.

mod absence;
mod guarantees;
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

fn main() -> ExitCode {
    let Chore::Test(args) = Chore::parse();
    if args.list {
        return list();
    }
    let tools = Tools { root: root(), may_install: !args.no_install };
    run::run(&chosen(&args.only), &tools)
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
