//! The shortener: links, redirects, counts and the page in one process, or a part of them.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Arg;
use headwater::Headwater;
use headwater::admin::Asked;
use headwater::config::Config;
use headwater::log::embedded::check_if_asked;
use headwater_http::metrics::Metrics;
use headwater_http::peers;
use headwater_http::program::{self, Failure, announce, bind, until_stopped};
use headwater_http::serve::Limits;
use headwater_http::signals::shutdown_signal;
use shortener::api::{self, PublicUrl, Site};
use shortener::instance::Instance;
use shortener::topology::shortener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long requests in flight get when the service stops, and what is in flight behind them after that.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const PUBLIC_URL: &str = "public-url";

fn main() -> ExitCode {
    check_if_asked();
    let public_url = Arg::new(PUBLIC_URL)
        .long(PUBLIC_URL)
        .env("SHORTENER_PUBLIC_URL")
        .value_name("URL")
        .value_parser(str::parse::<PublicUrl>)
        .help("What short addresses begin with, such as https://sho.rt; unless set, where each client asked");
    let command =
        Asked::command().name("shortener").about("A URL shortener: short links, and their visits counted");
    let matches = command.arg(public_url).get_matches();
    let public = matches.get_one::<PublicUrl>(PUBLIC_URL).cloned();
    let read = |path: &Path| std::fs::read_to_string(path);
    let asked = Asked::from_matches(&matches, std::env::vars_os(), read).unwrap_or_else(|error| error.exit());
    match asked {
        Asked::Serve(config) => program::run("shortener", &config, || run(&config, public)),
        Asked::Admin(admin) => admin.run(&shortener().app),
    }
}

async fn run(config: &Config, public: Option<PublicUrl>) -> Result<(), Failure> {
    let signal = shutdown_signal()?;
    let limits = Limits { stop_timeout: STOP_TIMEOUT, ..api::limits() };
    // The address first: a second service by mistake is told so before it touches any data.
    let server = bind(config, limits).await?;
    let metrics = Metrics::install()?;
    let headwater = Headwater::open(config).await?;
    let listen = server.local_addr()?;
    let (headwater, peers) = peers::join(headwater, listen, config)?;
    let instance = Instance::start(&headwater, config.role.into()).await?;
    announce(&format!("shortener listens on http://{listen}"), config);
    let mut replaced = None;
    let apps = [instance.running.clone()];
    let stopped = async { replaced = until_stopped(signal, &apps).await };
    let router = api::router(instance.clone(), Site::new(listen, public), Some(&metrics));
    server.serve(router.merge(peers), stopped).await;
    if !instance.stop(STOP_TIMEOUT).await {
        tracing::warn!("not everything came to an end in time; what was acknowledged is durable");
    }
    replaced.map_or(Ok(()), |reason| Err(reason.into()))
}
