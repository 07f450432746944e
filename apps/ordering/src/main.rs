//! The ordering service: commands, queries and the page in one process, or either of the first two.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use headwater::Headwater;
use headwater::admin::Asked;
use headwater::config::{Config, LogChoice, LogFormat};
use headwater::log::embedded::check_if_asked;
use headwater_http::metrics::Metrics;
use headwater_http::serve::{Limits, Server, raise_open_files};
use headwater_http::signals::shutdown_signal;
use headwater_http::{logs, peers};
use ordering::api;
use ordering::shop::Shop;
use ordering::topology::ordering;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The longest body: an order has less than 2 KB.
const BODY_BYTES_MAX: usize = 64 * 1_024;
/// How long requests in flight get when the service stops, and what is in flight behind them after that.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    check_if_asked();
    let config =
        match Asked::load("ordering", "Online ordering: orders placed, and seen live, grouped by price") {
            Asked::Serve(config) => config,
            Asked::Admin(admin) => return admin.run(&ordering().app),
        };
    match start(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "ordering: {}", told(&*error));
            ExitCode::FAILURE
        }
    }
}

/// An error in one line, with the causes that it does not name itself.
fn told(error: &(dyn Error + 'static)) -> String {
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

fn start(config: &Config) -> Result<(), Box<dyn Error + Send + Sync>> {
    logs::install(match config.log_format {
        LogFormat::Text => logs::LogFormat::Text,
        LogFormat::Json => logs::LogFormat::Json,
    })?;
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(config))
}

async fn run(config: &Config) -> Result<(), Box<dyn Error + Send + Sync>> {
    let signal = shutdown_signal()?;
    // The address first: a second service by mistake is told so before it touches any data.
    let server = bind(config).await?;
    let metrics = Metrics::install()?;
    let headwater = Headwater::open(config).await?;
    let (headwater, peers) = peers::join(headwater, server.local_addr()?, config)?;
    let shop = Shop::start(&headwater, config.role.into()).await?;
    let mut out = std::io::stdout();
    let _ = writeln!(out, "ordering listens on http://{}, {}", server.local_addr()?, place(config));
    let _ = out.flush();
    let mut replaced = None;
    let stopped = async {
        tokio::select! {
            // Awaited outside of the macro, which evaluates nothing where the level is off.
            signal = signal => tracing::info!(signal, "stopping"),
            reason = shop.running.replaced() => replaced = Some(reason),
        }
    };
    server.serve(api::router(shop.clone(), Some(&metrics)).merge(peers), stopped).await;
    if !shop.stop(STOP_TIMEOUT).await {
        tracing::warn!("not everything came to an end in time; what was acknowledged is durable");
    }
    replaced.map_or(Ok(()), |reason| Err(reason.into()))
}

async fn bind(config: &Config) -> Result<Server, String> {
    let limits = Limits { body_bytes_max: BODY_BYTES_MAX, stop_timeout: STOP_TIMEOUT, ..Limits::default() };
    let bound = match config.expose {
        true => Server::bind_exposed(config.listen, limits).await,
        false => Server::bind(config.listen, limits).await,
    };
    bound.map_err(|error| {
        format!("cannot listen on {}: {error}; choose another address with --listen", config.listen)
    })
}

/// Where the data is, in words.
fn place(config: &Config) -> String {
    match &config.log {
        LogChoice::Memory => "with everything in memory, gone when it ends".to_owned(),
        LogChoice::Embedded => format!("with its data in {}", config.data.display()),
        LogChoice::Kafka(servers) => format!("on Kafka at {servers}"),
    }
}
