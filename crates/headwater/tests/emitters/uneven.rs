//! Topics of another count of partitions than the app's: read through a named repartition, fed by their own count, and
//! refused where equal keys would lie apart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater::core::clock::Timestamp;
use headwater::core::log::{Log, ReadLimit, TopicSettings, Wait};
use headwater::core::partitioner::partition_of;
use headwater::core::record::{Append, Record, StoredRecord};
use headwater::core::topic::Offset;
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;

use super::{PARTITIONS, WITHIN, dyn_log, log, topic};

/// The partitions of orders, of the topic that they are told to, and of the names of customers.
const UNEVEN: [(&str, u32); 3] = [("orders", 5), ("told", 3), ("names", 1)];

struct Shop {
    app: App,
    orders: Topic<String, u64>,
    spent: View<String, u64>,
}

/// What each customer spent, kept for each partition of the orders and shown by the app's own; and all orders told with
/// the name of who placed them.
fn shop() -> Shop {
    let mut app = App::new("shop").with(|options| options.partitions = PARTITIONS);
    let topic: Topic<String, u64> = "orders".into();
    let orders = app.stream(topic.clone());
    let sums = orders.group_by_key().fold(Store::named("sums"), |sum: &mut u64, n| *sum += n.value).updates();
    let spent = app.view(sums.repartition("sums-here").to_table(Store::named("spent")));
    let names = app.global_table::<String, String>("all-names", "names");
    let here = orders.repartition("orders-here");
    let told = here.join_global(&names, |n| Some(n.key.clone()), |n, name| format!("{name} {}", n.value));
    app.emitter(told.to("told"));
    Shop { app, orders: topic, spent }
}

async fn make_uneven(log: &dyn Log) {
    for (name, partitions) in UNEVEN {
        log.create(&topic(name), TopicSettings::kept(partitions)).await.unwrap();
    }
}

/// The records of a topic that has so many partitions, once there are so many of them.
async fn records(log: &dyn Log, (name, partitions): (&str, u32), wanted: usize) -> Vec<(u32, StoredRecord)> {
    loop {
        let mut all = Vec::new();
        for index in 0..partitions {
            let (at, mut next) = (topic(name).partition(index), Offset::ZERO);
            while next < log.bounds(&at).await.unwrap().end {
                let batch = log.read(&at, next, ReadLimit::default(), Wait::No).await.unwrap();
                next = batch.next;
                all.extend(batch.records.into_iter().map(|record| (index, record)));
            }
        }
        if all.len() >= wanted {
            return all;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn start(log: &dyn_log::Shared, app: App, within: Duration) -> Running {
    let running = Headwater::on(log.clone(), Arc::new(MemoryStores::new())).start(app).await.unwrap();
    running.ready(within).await.unwrap();
    running
}

/// Orders of seven customers, some before a restart that finds no store and some after it; each is seen at once.
async fn orders_are_counted_by_customer(log: dyn_log::Shared, orders: u64, within: Duration) {
    make_uneven(&*log).await;
    let to = topic("names").partition(0);
    let name = |n: u64| Append {
        to: to.clone(),
        record: Record::new(format!("c{n}"), format!("\"customer {n}\""), Timestamp(1)),
    };
    log.append((0..7).map(name).collect()).await.unwrap();
    let mut sums = BTreeMap::<String, u64>::new();
    for round in 0..2 {
        let Shop { app, orders: topic, spent } = shop();
        let running = start(&log, app, within).await;
        for n in 0..orders / 2 {
            let (customer, value) = (format!("c{}", n % 7), n + round);
            let placed = running.publish(&topic, &customer, &value).within(within).await.unwrap();
            assert_eq!(placed.partition, partition_of(customer.as_bytes(), 5));
            let sum = sums.entry(customer.clone()).or_default();
            *sum += value;
            let view = running.view(&spent).unwrap();
            let seen = view.after(&placed).within(within).get(&customer).await.unwrap().value;
            assert_eq!(seen, Some(*sum), "{customer} after order {n} of round {round}");
        }
        let wanted = (orders / 2 * (round + 1)) as usize;
        let told = tokio::time::timeout(within, records(&*log, ("told", 3), wanted)).await.unwrap();
        assert_eq!(told.len(), wanted, "each order has a name, also the first");
        for (partition, StoredRecord { record, .. }) in told {
            assert_eq!(partition, partition_of(&record.key.unwrap(), 3).0);
        }
        assert!(running.stop(within).await);
    }
    let changelog = log.describe(&topic("shop.sums-here.changelog")).await.unwrap().unwrap();
    assert_eq!(changelog.settings.partitions, 5, "a shard for each partition of the orders");
    let here = log.describe(&topic("shop.sums-here")).await.unwrap().unwrap();
    assert_eq!(here.settings.partitions, PARTITIONS);
}

#[tokio::test]
async fn a_topic_of_another_count_is_read_through_a_repartition() {
    orders_are_counted_by_customer(Arc::new(log()), 60, WITHIN).await;
}

#[tokio::test]
async fn a_topic_of_another_count_is_read_through_a_repartition_on_an_embedded_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path(), Options::default()).unwrap();
    orders_are_counted_by_customer(log, 40, WITHIN).await;
}

/// Why an app does not start where orders have five partitions and prices as many as the app's topics.
async fn refusal(define: impl FnOnce(&mut App)) -> String {
    let log = log();
    make_uneven(&log).await;
    log.create(&topic("prices"), TopicSettings::kept(PARTITIONS)).await.unwrap();
    let mut app = App::new("shop").with(|options| options.partitions = PARTITIONS);
    define(&mut app);
    let started = Headwater::on(Arc::new(log), Arc::new(MemoryStores::new())).start(app).await;
    started.err().expect("it is refused").to_string()
}

#[tokio::test]
async fn what_would_find_equal_keys_apart_is_refused_with_the_repartition_to_add() {
    let joined = refusal(|app| {
        let orders = app.stream::<String, u64>("orders");
        let prices = app.table::<String, u64>("prices");
        app.emitter(orders.join(&prices, |n, price| *n.value * price, Join::default()).to("priced"));
    });
    let merged = refusal(|app| {
        let (prices, orders) = (app.stream::<String, u64>("prices"), app.stream::<String, u64>("orders"));
        app.emitter(prices.merge(&orders).to("priced"));
    });
    for refusal in [joined.await, merged.await] {
        let words = [
            "topic \"orders\" (shared topic \"orders\") has partitions 5, but the app needs 2",
            "\"priced\" reads it together with \"prices\", which has 2",
            "`.repartition(\"orders-for-priced\")`",
        ];
        for word in words {
            assert!(refusal.contains(word), "{word} is not in: {refusal}");
        }
    }
    let viewed = refusal(|app| {
        let orders = app.stream::<String, u64>("orders");
        app.view(orders.group_by_key().count(Store::named("order-counts")));
    });
    let viewed = viewed.await;
    for word in ["has partitions 5, but the app needs 2", "`.repartition(\"orders-here\")`"] {
        assert!(viewed.contains(word), "{word} is not in: {viewed}");
    }
}

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_topic_of_another_count_is_read_through_a_repartition_on_kafka() {
    let broker = kafka_broker::Broker::start().unwrap();
    let log = super::on_kafka::connect(&broker, "instance").await;
    orders_are_counted_by_customer(log, 16, super::on_kafka::PATIENCE).await;
}
