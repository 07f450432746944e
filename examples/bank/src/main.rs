//! Accounts over HTTP: one command and one query, to begin with.
//!
//! `cargo run -p bank` serves them on the embedded log; `-- --help` says what can be set. [`account`] is the domain and the
//! app, [`http`] what clients ask, and this file the frame of the program.

mod account;
mod http;

use std::process::ExitCode;
use std::time::Duration;

use headwater::Headwater;
use headwater::admin::Asked;
use headwater::config::Config;
use headwater::log::embedded::check_if_asked;
use headwater_http::peers;
use headwater_http::program::{self, Failure, announce, bind, until_stopped};
use headwater_http::serve::Limits;
use headwater_http::signals::shutdown_signal;

use crate::http::Teller;

fn main() -> ExitCode {
    // The embedded log walks its pages in a child process, which is this program again.
    check_if_asked();
    match Asked::load("bank", "Accounts over HTTP") {
        Asked::Serve(config) => program::run("bank", &config, || run(&config)),
        Asked::Admin(admin) => admin.run(&account::bank().app),
    }
}

async fn run(config: &Config) -> Result<(), Failure> {
    let signal = shutdown_signal()?;
    let server = bind(config, Limits::default()).await?;
    let listen = server.local_addr()?;
    let headwater = Headwater::open(config).await?;
    // On Kafka this process is one of several, which ask each other.
    let (headwater, peers) = peers::join(headwater, listen, config)?;
    let teller = Teller::start(&headwater, config.role.into()).await?;
    announce(&format!("bank listens on http://{listen}"), config);
    let mut replaced = None;
    let apps = [teller.running.clone()];
    let stopped = async { replaced = until_stopped(signal, &apps).await };
    server.serve(http::router(teller.clone()).merge(peers), stopped).await;
    teller.running.stop(Duration::from_secs(5)).await;
    replaced.map_or(Ok(()), |reason| Err(reason.into()))
}
