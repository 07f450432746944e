//! The ordering service: commands, queries and the page in one process, or either of the first two.

use std::process::ExitCode;
use std::time::Duration;

use headwater::Headwater;
use headwater::admin::Asked;
use headwater::config::Config;
use headwater::log::embedded::check_if_asked;
use headwater_http::metrics::Metrics;
use headwater_http::peers;
use headwater_http::program::{self, Failure, announce, bind, until_stopped};
use headwater_http::serve::Limits;
use headwater_http::signals::shutdown_signal;
use ordering::api;
use ordering::shop::Shop;
use ordering::topology::ordering;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long requests in flight get when the service stops, and what is in flight behind them after that.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    check_if_asked();
    match Asked::load("ordering", "Online ordering: orders placed, and seen live, grouped by price") {
        Asked::Serve(config) => program::run("ordering", &config, || run(&config)),
        Asked::Admin(admin) => admin.run(&ordering().app),
    }
}

async fn run(config: &Config) -> Result<(), Failure> {
    let signal = shutdown_signal()?;
    let limits = Limits { stop_timeout: STOP_TIMEOUT, ..api::limits() };
    // The address first: a second service by mistake is told so before it touches any data.
    let server = bind(config, limits).await?;
    let metrics = Metrics::install()?;
    let headwater = Headwater::open(config).await?;
    let (headwater, peers) = peers::join(headwater, server.local_addr()?, config)?;
    let shop = Shop::start(&headwater, config.role.into()).await?;
    announce(&format!("ordering listens on http://{}", server.local_addr()?), config);
    let mut replaced = None;
    let apps = [shop.running.clone()];
    let stopped = async { replaced = until_stopped(signal, &apps).await };
    server.serve(api::router(shop.clone(), Some(&metrics)).merge(peers), stopped).await;
    if !shop.stop(STOP_TIMEOUT).await {
        tracing::warn!("not everything came to an end in time; what was acknowledged is durable");
    }
    replaced.map_or(Ok(()), |reason| Err(reason.into()))
}
