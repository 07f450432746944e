//! The page and what operators look at.

use std::path::Path;

use crate::client::open;
use app_testing::page;

const WEB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web");

#[tokio::test]
async fn every_file_of_the_page_is_served_with_its_type_and_a_strict_policy() {
    let shop = open().await;
    let address = shop.address;
    let is_served = move || page::is_served(address, &[Path::new(WEB), Path::new(app_web::FILES)]);
    let files = tokio::task::spawn_blocking(is_served).await.expect("each of them is");
    assert!(files > 12, "only {files} files");
    shop.stop().await;
}

#[tokio::test]
async fn the_service_describes_itself() {
    let shop = open().await;
    shop.shop.running.ready(crate::client::PATIENCE).await.expect("every shard runs");
    let document = shop.get("/openapi.json").await.json();
    let paths: Vec<_> = document["paths"].as_object().expect("an object").keys().cloned().collect();
    assert_eq!(paths, ["/orders", "/orders/stream", "/orders/{id}", "/spending"]);
    let request = &document["components"]["schemas"]["OrderRequest"];
    assert_eq!(request["required"], serde_json::json!(["customerId", "itemLabel", "itemPrice"]));
    assert_eq!(request["additionalProperties"], false);

    for path in ["/livez", "/readyz"] {
        assert_eq!(shop.get(path).await.status, 200, "{path}");
    }
    let topology = shop.get("/topology").await.body;
    assert!(topology.contains("fold items: topic ordering.items-by-customer -> "), "{topology}");
    assert_eq!(shop.get("/topology.json").await.json()["app"], "ordering");
    for code in ["no-such-order", "order-id-taken", "not-this-instance"] {
        let explained = shop.get(&format!("/problems/{code}")).await;
        assert!(explained.body.starts_with(code), "{explained:?}");
    }
    shop.stop().await;
}

#[tokio::test]
async fn an_instance_that_stopped_is_not_ready() {
    let shop = open().await;
    shop.shop.running.ready(crate::client::PATIENCE).await.expect("every shard runs");
    assert!(shop.shop.stop(crate::client::PATIENCE).await);
    let readyz = shop.get("/readyz").await;
    assert_eq!(readyz.status, 503, "{readyz:?}");
    let refused = shop.post(r#"{"customerId":"c","itemLabel":"x","itemPrice":1}"#).await;
    assert_eq!(refused.problem().0, 503);
    assert!(refused.header("retry-after").is_some());
    shop.stop().await;
}
