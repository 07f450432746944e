//! Global tables are there before anything is joined with them.

use std::sync::Arc;
use std::time::Duration;

use headwater::core::clock::Timestamp;
use headwater::core::log::Log;
use headwater::core::record::{Append, Record};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use metrics_exporter_prometheus::PrometheusBuilder;

use super::sipping_log::SippingLog;
use super::{PARTITIONS, WITHIN, dyn_log, log, make, produce, told, topic, until_told};

/// Orders with the names of their countries, which are there when the app starts for the first time or again.
fn shop() -> App {
    let mut app = App::new("shop").with(|options| options.partitions = PARTITIONS);
    let orders = app.stream::<String, u64>("orders");
    let countries = app.global_table::<String, u64>("all-countries", "countries");
    let named = orders.left_join_global(
        &countries,
        |order| Some(format!("country-{}", *order.value % 40)),
        |order, country| (*order.value, country.copied()),
    );
    app.emitter(named.to("named"));
    app
}

async fn tell_countries(log: &dyn Log, generation: u64) {
    let country = |n: u64| Append {
        to: topic("countries").partition((n % u64::from(PARTITIONS)) as u32),
        // Later than any order: by their times, all orders would come first.
        record: Record::new(format!("country-{n}"), (generation + n).to_string(), Timestamp(1_000_000)),
    };
    log.append((0..40).map(country).collect()).await.unwrap();
}

#[tokio::test]
async fn a_global_table_is_loaded_before_anything_is_joined_with_it() {
    let shared: dyn_log::Shared = Arc::new(log());
    make(&*shared, &["orders", "countries"]).await;
    let log: dyn_log::Shared = Arc::new(SippingLog(shared.clone()));
    for generation in [0, 1_000] {
        tell_countries(&*shared, generation).await;
        let orders: Vec<_> =
            (0..80).map(|n| ("orders", format!("o{n}"), n, i64::try_from(n).unwrap())).collect();
        produce(&*shared, &orders).await;
        let running = super::start(&log, &MemoryStores::new(), shop()).await;
        let so_far = if generation == 0 { 80 } else { 160 };
        until_told(&*shared, &[("named", so_far)]).await;
        for partition in told(&*shared, "named").await {
            let since = if generation == 0 { 0 } else { partition.len() / 2 };
            for (_, value, _) in &partition[since..] {
                let (order, country): (u64, Option<u64>) = serde_json::from_str(value).unwrap();
                assert_eq!(country, Some(generation + order % 40), "order {order}");
            }
        }
        assert!(running.stop(WITHIN).await);
    }
}

#[tokio::test]
async fn a_global_table_says_at_every_start_how_far_it_has_come() {
    let log: dyn_log::Shared = Arc::new(log());
    make(&*log, &["orders", "countries"]).await;
    tell_countries(&*log, 0).await;
    let first = super::start(&log, &MemoryStores::new(), shop()).await;
    until_told(&*log, &[("shop.all-countries", 40 * PARTITIONS as usize)]).await;
    assert!(first.stop(WITHIN).await);
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let again = super::start(&log, &MemoryStores::new(), shop()).await;
    // Nothing came meanwhile: it is all that anybody commits.
    let said =
        format!("headwater_log_transactions_total{{log=\"custom\",outcome=\"written\"}} {PARTITIONS}\n");
    let told = tokio::time::timeout(WITHIN, async {
        while !metrics.render().contains(&said) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(told.await.is_ok(), "{}", metrics.render());
    assert!(again.stop(WITHIN).await);
}

#[tokio::test]
async fn whoever_waits_for_a_global_table_says_so() {
    let log = log();
    make(&log, &["orders", "countries"]).await;
    tell_countries(&log, 0).await;
    let to = topic("countries").partition(0);
    log.append(vec![Append { to, record: Record::new("bad", "no number", Timestamp(1)) }]).await.unwrap();
    let running = Headwater::on(Arc::new(log), Arc::new(MemoryStores::new())).start(shop()).await.unwrap();
    let told = tokio::time::timeout(WITHIN, async {
        loop {
            let told = running.ready(Duration::from_millis(50)).await.err().unwrap_or_default().join("; ");
            if told.contains("\"all-countries\" stopped") && told.contains("is loaded up to") {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let told = told.await.expect("both are told");
    assert!(
        told.contains("the global table of countries is loaded up to countries-0 offset 21 first"),
        "{told}"
    );
    assert!(running.stop(WITHIN).await);
}
