//! The frame of a program that serves: its logs, its runtime, its address, and its last words.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use headwater::Running;
use headwater::config::{Config, LogChoice, LogFormat};

use crate::logs;
use crate::serve::{Limits, Server, raise_open_files};

/// Why a program ends before its time.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Runs a program to its end, in a runtime of its own; a failure is told in one line.
pub fn run<F: Future<Output = Result<(), Failure>>>(
    name: &str,
    config: &Config,
    program: impl FnOnce() -> F,
) -> ExitCode {
    match in_runtime(config, program) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{name}: {}", in_one_line(&*error));
            ExitCode::FAILURE
        }
    }
}

fn in_runtime<F: Future<Output = Result<(), Failure>>>(
    config: &Config,
    program: impl FnOnce() -> F,
) -> Result<(), Failure> {
    logs::install(match config.log_format {
        LogFormat::Text => logs::LogFormat::Text,
        LogFormat::Json => logs::LogFormat::Json,
    })?;
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async { program().await })
}

/// An error in one line, with the causes that it does not name itself.
fn in_one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !line.contains(&words) {
            line = format!("{line}: {words}");
        }
        cause = error.source();
    }
    line.replace('\n', " ")
}

/// Takes the address that the settings name.
///
/// # Errors
///
/// What keeps it from that, and the setting that helps.
pub async fn bind(config: &Config, limits: Limits) -> Result<Server, String> {
    let bound = match config.expose {
        true => Server::bind_exposed(config.listen, limits).await,
        false => Server::bind(config.listen, limits).await,
    };
    bound.map_err(|error| {
        format!("cannot listen on {}: {error}; choose another address with --listen", config.listen)
    })
}

/// Tells on standard output what listens where, and where its data is: the line that scripts wait for.
pub fn announce(what: &str, config: &Config) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{what}, {}", place(config));
    let _ = out.flush();
}

/// Waits for the signal to stop, or until one of the apps cannot go on, and answers why.
pub async fn until_stopped(signal: impl Future<Output = &'static str>, apps: &[Running]) -> Option<String> {
    let replaced = apps.iter().map(|app| Box::pin(app.replaced()));
    tokio::select! {
        // Awaited outside of the macro, which evaluates nothing where the level is off.
        signal = signal => {
            tracing::info!(signal, "stopping");
            None
        }
        (reason, ..) = futures_util::future::select_all(replaced) => Some(reason),
    }
}

/// Where the data is, in words.
fn place(config: &Config) -> String {
    match &config.log {
        LogChoice::Memory => "with everything in memory, gone when it ends".to_owned(),
        LogChoice::Embedded => format!("with its data in {}", config.data.display()),
        LogChoice::Kafka(servers) => format!("on Kafka at {servers}"),
    }
}
