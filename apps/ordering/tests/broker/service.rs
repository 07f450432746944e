//! Instances on a broker, orders placed at them, and what they say of themselves.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use headwater_chaos::history::Order;
use headwater_chaos::http::{Answer, Client};
use headwater_chaos::instance::{Instance, Service};
use headwater_chaos::records::{self, Record};
use kafka_broker::{Jars, run_with_input};

/// Longest that anything here is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
pub(crate) const EVENTS: &str = "ordering.order.events";

/// The binary on the broker at an address.
pub(crate) fn service(broker: &str) -> Service {
    Service::on_kafka(PathBuf::from(env!("CARGO_BIN_EXE_ordering")), broker)
}

/// A started instance with its client.
pub(crate) struct Running {
    pub(crate) instance: Instance,
    client: Client,
}

impl Running {
    pub(crate) fn start(service: Service, name: &str, folder: &Path) -> Self {
        let mut instance = Instance::new(service, name, folder).unwrap();
        instance.start().unwrap();
        let client = Client::new(instance.address(), Duration::from_secs(20));
        Self { instance, client }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Option<Answer> {
        self.client.get(path).await
    }

    /// Asks until the answer is as wanted, and answers it.
    pub(crate) async fn until(&mut self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < deadline {
            last = self.get(path).await;
            if let Some(answer) = last.as_ref().filter(|answer| wanted(answer)) {
                return answer.clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let output = self.instance.output();
        let tail: Vec<&str> = output.lines().rev().take(15).collect();
        panic!("{path} is answered {last:?}; it says last (newest first):\n{}", tail.join("\n"));
    }

    pub(crate) async fn ready(&mut self) {
        self.until("/readyz", |answer| answer.status == 200).await;
    }

    pub(crate) async fn place(&mut self, order: &Order) -> Option<u16> {
        self.client.post("/orders", &order.body()).await.map(|answer| answer.status)
    }

    /// Places it until it is accepted.
    pub(crate) async fn place_for_good(&mut self, order: &Order) {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < deadline {
            last = self.place(order).await;
            if last == Some(202) {
                return;
            }
            assert!(last.is_none_or(|status| status >= 500), "{order:?} is answered {last:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{order:?} is not accepted in time: {last:?}");
    }

    /// Waits until the views say that the customer ordered so many items.
    pub(crate) async fn quantity(&mut self, customer: &str, wanted: u64) {
        let path = format!("/orders?customerId={customer}");
        self.until(&path, |answer| answer.status == 200 && quantity(answer) == wanted).await;
    }
}

fn quantity(answer: &Answer) -> u64 {
    let rows: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    rows.as_array().unwrap().iter().map(|row| row["quantity"].as_u64().unwrap()).sum()
}

/// An order of an id.
pub(crate) fn order(id: &str, customer: &str) -> Order {
    Order { id: id.to_owned(), customer: customer.to_owned(), label: "tea".to_owned(), pence: 350 }
}

/// A topic's committed records, read by Kafka's own consumer.
pub(crate) fn committed(jars: &Jars, bootstrap: &str, topic: &str, folder: &Path) -> Vec<Record> {
    records::committed(jars, bootstrap, &[topic], &folder.join("dump.txt")).unwrap()
}

/// Appends records by a Java program that knows nothing of the service; in one transaction that ends as told.
pub(crate) fn put(jars: &Jars, bootstrap: &str, how: &str, records: &[Record]) -> Vec<u64> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../chaos/java/Put.java");
    let lines: String = records.iter().map(line).collect();
    let said = run_with_input(jars.source(&program, &[bootstrap, how]), &lines, PATIENCE).unwrap();
    said.lines().map(|offset| offset.parse().unwrap()).collect()
}

fn line(record: &Record) -> String {
    let bytes = |bytes: Option<&[u8]>| bytes.map_or("-".to_owned(), records::to_base64);
    let headers: Vec<String> = record
        .headers
        .iter()
        .map(|(name, value)| format!("{name}={}", bytes(Some(value.as_bytes()))))
        .collect();
    let (key, value) = (bytes(record.key.as_deref()), bytes(record.value.as_deref()));
    format!("{}\t{}\t{key}\t{value}\t{}\n", record.topic, record.partition, headers.join(","))
}
