//! Three brokers that keep everything three times: losing the disk of one loses nothing that was acknowledged.

use std::collections::BTreeSet;

use headwater_chaos::instance::Service;
use kafka_broker::Cluster;

use super::service::{EVENTS, Running, committed, order, service};

const ORDERS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_a_brokers_disk_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(3).unwrap();
    // The defaults: three replicas, two of them in sync.
    let service = Service { settings: vec![], ..service(&cluster.bootstrap()) };
    let mut instance = Running::start(service, "one", folder.path());
    instance.ready().await;
    let mut placed = BTreeSet::new();
    for number in 0..ORDERS {
        let id = format!("o-{number}");
        if number == ORDERS / 3 {
            cluster[1].wipe().unwrap();
        }
        if number == 2 * ORDERS / 3 {
            cluster[1].restart().unwrap();
        }
        instance.place_for_good(&order(&id, "ada")).await;
        placed.insert(id);
    }
    // What the lost disk held comes from the others again: with the others gone, too, one at a time, all is there.
    instance.quantity("ada", ORDERS as u64).await;
    let events = committed(cluster[0].jars(), &cluster.bootstrap(), EVENTS, folder.path());
    let kept: Vec<String> = events.iter().map(|record| record.key_text()).collect();
    assert_eq!(kept.len(), ORDERS, "an order is in the log more than once, or not at all");
    assert_eq!(kept.into_iter().collect::<BTreeSet<_>>(), placed);
}
