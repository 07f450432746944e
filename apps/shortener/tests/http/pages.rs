//! The page, what operators look at, and the QR code.

use std::path::Path;

use app_testing::page;
use headwater_http::codes::TYPE_PATH;
use serde_json::json;
use shortener::api::codes;
use shortener::domain::Code;

use crate::client::{PATIENCE, open};

const WEB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web");

#[tokio::test]
async fn every_file_of_the_page_is_served_with_its_type_and_a_strict_policy() {
    let shortener = open().await;
    let address = shortener.address;
    let is_served = move || page::is_served(address, &[Path::new(WEB), Path::new(app_web::FILES)]);
    let files = tokio::task::spawn_blocking(is_served).await.expect("each of them is");
    assert!(files > 12, "only {files} files");
    shortener.stop().await;
}

#[tokio::test]
async fn the_service_describes_itself() {
    let shortener = open().await;
    shortener.instance.running.ready(PATIENCE).await.expect("every shard runs");
    for path in ["/livez", "/readyz"] {
        assert_eq!(shortener.get(path).await.status, 200, "{path}");
    }
    let topology = shortener.get("/topology").await.body;
    assert!(topology.contains("fold visits: topic visits -> "), "{topology}");
    assert!(shortener.get("/topology.mmd").await.body.starts_with("flowchart LR\n"));
    let drawn = shortener.get("/topology.svg").await;
    assert_eq!(drawn.header("content-type"), Some("image/svg+xml"));
    assert!(drawn.body.contains("visits-per-day"), "{drawn:?}");
    for code in codes::ALL {
        let explained = shortener.get(&format!("/problems/{}", code.name)).await;
        assert!(explained.body.starts_with(code.name), "{explained:?}");
    }
    let document = shortener.get("/openapi.json").await.json();
    let request = &document["components"]["schemas"]["LinkRequest"];
    assert_eq!((&request["required"], &request["additionalProperties"]), (&json!(["url"]), &json!(false)));
    shortener.stop().await;
}

#[tokio::test]
async fn no_alias_hides_behind_another_path() {
    let shortener = open().await;
    let document = shortener.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("an object").keys().map(String::as_str);
    let others = ["/livez", "/readyz", "/metrics", "/topology", "/vendor/x", "/openapi.json", TYPE_PATH];
    for path in paths.chain(others).filter(|path| !path.starts_with("/{")) {
        let first = path.split('/').nth(1).expect("a path begins with a slash");
        assert!(Code::alias(first).is_err(), "{path} would hide the alias \"{first}\"");
    }
    shortener.stop().await;
}

#[tokio::test]
async fn a_qr_code_is_drawn_of_the_short_address() {
    let shortener = open().await;
    shortener.make(json!({"url": "https://example.com/", "alias": "a"})).await;
    let drawn = shortener.get("/links/a/qr.svg").await;
    assert_eq!((drawn.status, drawn.header("content-type")), (200, Some("image/svg+xml")));
    assert!(drawn.body.starts_with("<svg "), "{drawn:?}");
    let elsewhere = shortener.ask("GET", "/links/a/qr.svg", &[("host", "sho.rt")], "").await;
    assert_ne!(elsewhere.body, drawn.body, "it leads to where it was asked for");
    shortener.stop().await;
}
