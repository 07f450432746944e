//! The showcase: the reference systems in one process, on one log, with a page that leads to each.
//!
//! The page is at the address that the settings name, each system at one of the next ports: what it serves there is
//! what its own program serves.

mod index;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use futures_util::future::{join, join_all};
use headwater::config::Config;
use headwater::log::embedded::check_if_asked;
use headwater::{Headwater, Running};
use headwater_http::metrics::Metrics;
use headwater_http::peers;
use headwater_http::program::{self, Failure, announce, bind, until_stopped};
use headwater_http::serve::{Limits, Server};
use headwater_http::signals::shutdown_signal;
use ordering::shop::Shop;
use shortener::api::Site;
use shortener::instance::Instance;
use tokio_util::sync::CancellationToken;

use crate::index::Systems;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long requests in flight get when the showcase stops, and what is in flight behind them after that.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    check_if_asked();
    let about = "Online ordering and a URL shortener on one log. Each listens on a port of its own: the two after that \
                 of --listen, which has a page that leads to them";
    let config = Config::load("showcase", about);
    program::run("showcase", &config, || run(&config))
}

async fn run(config: &Config) -> Result<(), Failure> {
    let signal = shutdown_signal()?;
    // The addresses first: a second showcase by mistake is told so before it touches any data.
    let index = bind(config, limited(Limits::default())).await?;
    let orders = bind(&beside(config, 1)?, limited(ordering::api::limits())).await?;
    let links = bind(&beside(config, 2)?, limited(shortener::api::limits())).await?;
    let metrics = Metrics::install()?;
    let headwater = Headwater::open(config).await?;
    let (headwater, peers) = peers::join(headwater, index.local_addr()?, config)?;
    let shop = Shop::start(&headwater, config.role.into()).await?;
    let instance = Instance::start(&headwater, config.role.into()).await?;
    let systems = Systems { ordering: orders.local_addr()?, shortener: links.local_addr()? };
    announce(&told(index.local_addr()?, &systems), config);

    let site = Site::new(systems.shortener, None);
    let apps = [shop.running.clone(), instance.running.clone()];
    let served = vec![
        (index, index::routes(systems, &apps, config.role.into()).merge(peers)),
        (orders, ordering::api::router(shop, Some(&metrics))),
        (links, shortener::api::router(instance, site, Some(&metrics))),
    ];
    let replaced = serve(served, until_stopped(signal, &apps)).await;
    if !stop(&apps).await {
        tracing::warn!("not everything came to an end in time; what was acknowledged is durable");
    }
    replaced.map_or(Ok(()), |reason| Err(reason.into()))
}

fn limited(limits: Limits) -> Limits {
    Limits { stop_timeout: STOP_TIMEOUT, ..limits }
}

/// The settings for an address so many ports further; any free one where any was asked for.
fn beside(config: &Config, ports: u16) -> Result<Config, String> {
    let mut listen = config.listen;
    if listen.port() != 0 {
        let port = listen.port().checked_add(ports);
        listen.set_port(
            port.ok_or("the two ports after that of --listen are needed, too: choose a lower one")?,
        );
    }
    Ok(Config { listen, ..config.clone() })
}

fn told(index: SocketAddr, Systems { ordering, shortener }: &Systems) -> String {
    format!(
        "showcase listens on http://{index} (ordering on http://{ordering}, shortener on http://{shortener})"
    )
}

/// Serves until `stopped` ends, which every server is told.
async fn serve<T>(served: Vec<(Server, Router)>, stopped: impl Future<Output = T>) -> T {
    let stop = CancellationToken::new();
    let until = async {
        let why = stopped.await;
        stop.cancel();
        why
    };
    let each =
        served.into_iter().map(|(server, router)| server.serve(router, stop.clone().cancelled_owned()));
    join(until, join_all(each)).await.0
}

/// Finishes and commits what is in flight; answers whether that was done in time.
async fn stop(apps: &[Running]) -> bool {
    join_all(apps.iter().map(|app| app.stop(STOP_TIMEOUT))).await.into_iter().all(|in_time| in_time)
}
