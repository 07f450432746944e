//! Three brokers that keep everything three times: one is killed in the middle of commits, and one loses its disk.
//! Nothing acknowledged is lost, and what ended unknown ends as the log has it.
//!
//! Killing takes three brokers: a lone one that is killed between a commit's answer and its markers leaves that
//! transaction open for ever, and no reader of committed records passes it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use headwater_chaos::http::Client;
use headwater_chaos::instance::Service;
use kafka_broker::Cluster;
use tokio::task::JoinSet;

use super::service::{EVENTS, Running, committed, order, service};

/// Orders that are placed side by side around each fault.
const ORDERS: usize = 24;
/// Between the first orders of a round and the next, so that the fault meets some before, some under way, some after.
const STEP: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_and_a_lost_disk_lose_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(3).unwrap();
    // The defaults: three replicas, two of them in sync.
    let service = Service { settings: vec![], ..service(&cluster.bootstrap()) };
    let mut instance = Running::start(service, "one", folder.path());
    instance.ready().await;
    let (mut placed, mut acknowledged) = (BTreeSet::new(), 0);
    for (round, fault) in ["killed", "wiped"].into_iter().enumerate() {
        let placing = place(fault, instance.instance.address());
        tokio::time::sleep(STEP * (ORDERS as u32 / 2)).await;
        let broker = &cluster[round];
        tokio::task::block_in_place(|| if fault == "wiped" { broker.wipe() } else { broker.kill() }).unwrap();
        let told = placing.join_all().await;
        // The other two serve while one is gone.
        instance.place_for_good(&order(&format!("{fault}-without"), "ada")).await;
        tokio::task::block_in_place(|| broker.restart()).unwrap();
        instance.place_for_good(&order(&format!("{fault}-after"), "ada")).await;
        placed.extend([format!("{fault}-without"), format!("{fault}-after")]);
        for (id, status) in told {
            if status != Some(202) {
                // Sent again under its id, it gets the outcome that the log holds, or its first one.
                instance.place_for_good(&order(&id, "ada")).await;
            }
            acknowledged += usize::from(status == Some(202));
            placed.insert(id);
        }
    }
    instance.quantity("ada", placed.len() as u64).await;
    let events = events(&cluster, folder.path());
    assert!(events.values().all(|count| *count == 1), "an order is in the log more than once: {events:?}");
    assert_eq!(events.into_keys().collect::<BTreeSet<_>>(), placed);
    println!("{acknowledged} of {} orders around the faults were acknowledged at once", 2 * ORDERS);
}

/// Places orders side by side, each some time after the one before; answers what each was told.
fn place(fault: &str, at: SocketAddr) -> JoinSet<(String, Option<u16>)> {
    let mut placing = JoinSet::new();
    for number in 0..ORDERS {
        let id = format!("{fault}-{number}");
        placing.spawn(async move {
            tokio::time::sleep(STEP * number as u32).await;
            let mut client = Client::new(at, Duration::from_secs(30));
            let answer = client.post("/orders", &order(&id, "ada").body()).await;
            (id, answer.map(|answer| answer.status))
        });
    }
    placing
}

/// How many events each order has in the log.
fn events(cluster: &Cluster, folder: &Path) -> BTreeMap<String, usize> {
    let mut events = BTreeMap::new();
    for record in committed(cluster[0].jars(), &cluster.bootstrap(), EVENTS, folder) {
        *events.entry(record.key_text()).or_default() += 1;
    }
    events
}
