//! `cargo xtask kafka`: the broker that tests use, in the foreground, for work by hand.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use kafka_broker::{Cluster, Setup};
use tokio::signal::unix::{SignalKind, signal};

use crate::KafkaArgs;
use crate::tools::{Need, Tools};

/// How often the brokers are looked after.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// Starts the brokers, tells how to reach them, and ends them on Ctrl-C or SIGTERM.
pub(crate) fn serve(args: &KafkaArgs, tools: &Tools) -> ExitCode {
    match attempt(args, tools) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn attempt(args: &KafkaArgs, tools: &Tools) -> Result<(), String> {
    Need::Kafka.meet(tools)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("signals cannot be received: {error}"))?;
    // A signal during the start ends this process at once, and the kernel then ends the brokers.
    let cluster = start(args).map_err(|error| error.to_string())?;
    tell(&cluster, args.data.as_deref());
    runtime.block_on(asked_to_end(&cluster))?;
    for broker in cluster.brokers() {
        broker.kill().map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn start(args: &KafkaArgs) -> kafka_broker::Result<Cluster> {
    let setup = args.port.into_iter().fold(Setup::default(), Setup::port);
    let setup = args.data.iter().fold(setup, Setup::folder);
    setup.start_cluster(args.brokers.into())
}

fn tell(cluster: &Cluster, data: Option<&Path>) {
    let few = cluster.brokers().len() < 3;
    println!("Apache Kafka {} serves at {}", kafka_broker::version(), cluster.bootstrap());
    match data {
        Some(data) => println!("its data and logs lie in {}, for the next start", data.display()),
        None => println!("its data and logs lie in {} until it ends", cluster.folder().display()),
    }
    println!("use it by:");
    println!("  export HEADWATER_LOG=kafka://{}", cluster.bootstrap());
    if few {
        println!("  export HEADWATER_KAFKA_REPLICATION=1   # fewer than 3 brokers keep fewer than 3 copies");
    }
    println!("end it by Ctrl-C");
}

/// Waits for a signal, as long as all brokers run.
async fn asked_to_end(cluster: &Cluster) -> Result<(), String> {
    let receive = |kind| signal(kind).map_err(|error| format!("signals cannot be received: {error}"));
    let (mut interrupt, mut terminate) =
        (receive(SignalKind::interrupt())?, receive(SignalKind::terminate())?);
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            () = tokio::time::sleep(CHECK_EVERY) => cluster.check().map_err(|error| error.to_string())?,
        }
    }
}
