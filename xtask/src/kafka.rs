//! `cargo xtask kafka`: the broker that tests use, in the foreground, for work by hand.

use std::process::ExitCode;

use kafka_broker::{Cluster, Setup};
use tokio::signal::unix::{SignalKind, signal};

use crate::tools::{Need, Tools};

/// Starts the brokers, tells how to reach them, and ends them on Ctrl-C or SIGTERM.
pub(crate) fn serve(brokers: u16, port: Option<u16>, tools: &Tools) -> ExitCode {
    match attempt(brokers, port, tools) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn attempt(brokers: u16, port: Option<u16>, tools: &Tools) -> Result<(), String> {
    Need::Kafka.meet(tools)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("signals cannot be received: {error}"))?;
    // A signal during the start ends this process at once, and the kernel then ends the brokers.
    let cluster = start(brokers, port).map_err(|error| error.to_string())?;
    tell(&cluster);
    runtime.block_on(asked_to_end()).map_err(|error| format!("signals cannot be received: {error}"))?;
    for broker in cluster.brokers() {
        broker.kill().map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn start(brokers: u16, port: Option<u16>) -> kafka_broker::Result<Cluster> {
    let setup = port.into_iter().fold(Setup::default(), Setup::port);
    setup.start_cluster(brokers.into())
}

fn tell(cluster: &Cluster) {
    let replication = if cluster.brokers().len() < 3 { " HEADWATER_KAFKA_REPLICATION=1" } else { "" };
    println!("Apache Kafka {} serves at {}", kafka_broker::version(), cluster.bootstrap());
    println!("its data and logs lie in {} until it ends", cluster.folder().display());
    println!("use it by: HEADWATER_LOG=kafka://{}{replication} cargo run --release", cluster.bootstrap());
    println!("end it by Ctrl-C");
}

async fn asked_to_end() -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
