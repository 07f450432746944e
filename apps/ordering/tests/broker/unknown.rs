//! Commits whose answers are lost end, after recovery, in exactly the outcome that the log holds.

use std::collections::BTreeMap;
use std::path::Path;

use headwater_chaos::proxy::{Api, Mode, Proxy};
use kafka_broker::{Broker, Listener, Setup};

use super::service::{EVENTS, Running, committed, order, service};

/// Orders whose answers are lost.
const ORDERS: usize = 4;

struct Ground {
    folder: tempfile::TempDir,
    proxy: Proxy,
    broker: Broker,
    instance: Running,
}

async fn ground() -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::listen().await.unwrap();
    let listener = Listener::Proxied(proxy.address().port());
    let broker = Setup::default().listener(listener).start().unwrap();
    proxy.to(broker.bootstrap_of(listener).parse().unwrap());
    let mut instance = Running::start(service(&proxy.address().to_string()), "one", folder.path());
    instance.ready().await;
    Ground { folder, proxy, broker, instance }
}

impl Ground {
    /// How many events each order has in the log.
    fn events(&self) -> BTreeMap<String, usize> {
        let mut events = BTreeMap::new();
        for record in committed(self.broker.jars(), &self.broker.bootstrap(), EVENTS, self.path()) {
            *events.entry(record.key_text()).or_default() += 1;
        }
        events
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Sends every order again under its id: each is accepted, and there once, also those that were there before.
    async fn settle(&mut self, unknown: &[String]) {
        self.instance.ready().await;
        let before = self.events();
        for id in unknown {
            self.instance.place_for_good(&order(id, "ada")).await;
        }
        // What a view shows can be read by everybody.
        self.instance.quantity("ada", unknown.len() as u64).await;
        let after = self.events();
        for id in unknown {
            assert_eq!(after.get(id), Some(&1), "{id}, which was there {:?} times before", before.get(id));
        }
        assert_eq!(after.len(), unknown.len());
        println!(
            "{} unknown, of which {} were in the log",
            unknown.len(),
            unknown.iter().filter(|id| before.contains_key(*id)).count()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_whose_answers_are_lost_end_as_the_log_has_them() {
    let mut ground = ground().await;
    ground.proxy.set(Mode::LoseAnswers(Some(Api::END_TXN)));
    let mut unknown = Vec::new();
    for number in 0..ORDERS {
        let id = format!("lost-{number}");
        let told = ground.instance.place(&order(&id, "ada")).await;
        assert_ne!(told, Some(202), "nobody can know that {id} was committed");
        unknown.push(id);
    }
    assert!(ground.proxy.struck() > 0, "no answer was lost");
    ground.proxy.set(Mode::Pass);
    ground.settle(&unknown).await;
}
