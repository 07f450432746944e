//! Running suites one after the other, and the summary at the end.
//!
//! A suite that cannot run has failed: nothing is skipped. All chosen suites run, also after a failure. The last line is
//! `N passed, N failed`, counting suites, which is what a machine reads.

use std::fmt::Write as _;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::process;
use crate::suites::{Check, Suite};
use crate::tools::{self, Tools, Variable};

/// A suite that takes longer hangs.
const SUITE_TIME_MAX: Duration = Duration::from_secs(40 * 60);

/// What became of one suite.
struct Report {
    name: &'static str,
    took: Duration,
    result: Result<(), String>,
}

/// Runs the suites in order; fails when one of them did.
pub(crate) fn run(suites: &[&Suite], tools: &Tools) -> ExitCode {
    let reports: Vec<Report> = suites.iter().map(|suite| report(suite, &[], SUITE_TIME_MAX, tools)).collect();
    println!("\n{}", summary(&reports));
    if reports.iter().all(|report| report.result.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one suite of cargo with more arguments, for so many minutes longer than a suite may take.
pub(crate) fn run_longer(suite: &Suite, more: &[String], minutes: f64, tools: &Tools) -> ExitCode {
    let limit = SUITE_TIME_MAX + Duration::from_secs_f64(minutes * 60.0);
    let report = report(suite, more, limit, tools);
    if report.result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(suite: &Suite, more: &[String], limit: Duration, tools: &Tools) -> Report {
    println!("\n=== {}: {}", suite.name, suite.about);
    let start = Instant::now();
    let result = attempt(suite, more, limit, tools);
    let took = start.elapsed();
    match &result {
        Ok(()) => println!("=== {}: passed in {:.1} s", suite.name, took.as_secs_f64()),
        Err(reason) => println!("=== {}: FAILED after {:.1} s\n{reason}", suite.name, took.as_secs_f64()),
    }
    Report { name: suite.name, took, result }
}

fn attempt(suite: &Suite, more: &[String], limit: Duration, tools: &Tools) -> Result<(), String> {
    let mut env = Vec::new();
    for need in suite.needs {
        env.extend(need.meet(tools)?);
    }
    match suite.check {
        Check::Cargo(args) => start(tools.cargo().args(args).args(more), env, limit),
        Check::Npm { folder, script } => {
            tools::install_npm_packages(tools, folder)?;
            start(tools.npm(folder).args(["run", script]), env, limit)
        }
        Check::Tree(check) => check(tools),
    }
}

fn start(command: &mut Command, env: Vec<Variable>, limit: Duration) -> Result<(), String> {
    process::run(command.envs(env), limit)
}

fn summary(reports: &[Report]) -> String {
    let mut text = String::new();
    for Report { name, took, result } in reports {
        let word = if result.is_ok() { "passed" } else { "FAILED" };
        writeln!(text, "{name:<12} {word} {:>8.1} s", took.as_secs_f64())
            .expect("a string takes every write");
        if let Err(reason) = result {
            writeln!(text, "{:<12} {}", "", reason.lines().next().unwrap_or_default())
                .expect("a string takes every write");
        }
    }
    let all: Duration = reports.iter().map(|report| report.took).sum();
    let failed = reports.iter().filter(|report| report.result.is_err()).count();
    write!(
        text,
        "{:<12} {:>15.1} s\n\n{} passed, {failed} failed",
        "in all",
        all.as_secs_f64(),
        reports.len() - failed
    )
    .expect("a string takes every write");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_every_suite_and_closes_with_the_count() {
        let report = |name, result| Report { name, took: Duration::from_millis(1_250), result };
        let text = summary(&[report("fmt", Ok(())), report("deny", Err("no such tool\nmore".into()))]);
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "fmt          passed      1.2 s",
                "deny         FAILED      1.2 s",
                "             no such tool",
                "in all                   2.5 s",
                "",
                "1 passed, 1 failed"
            ]
        );
    }
}
