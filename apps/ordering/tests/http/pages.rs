//! The page and what operators look at.

use std::path::Path;

use crate::client::open;

const WEB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web");

#[tokio::test]
async fn every_file_of_the_page_is_served_with_its_type_and_a_strict_policy() {
    let shop = open().await;
    for (name, file) in files(Path::new(WEB)) {
        let answer = shop.get(&format!("/{name}")).await;
        assert_eq!(answer.status, 200, "{name} is not served");
        assert_eq!(answer.body, file, "{name}");
        let kind = match name.rsplit_once('.').expect("an extension").1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(answer.header("content-type"), Some(kind), "{name}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"), "{name}");
        let policy = answer.header("content-security-policy").expect("a policy");
        for rule in [
            "default-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "object-src 'none'",
        ] {
            assert!(policy.split("; ").any(|part| part == rule), "{policy} lacks {rule}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    assert_eq!(shop.get("/").await.body, shop.get("/index.html").await.body);
    shop.stop().await;
}

/// The files that a browser asks for, by path.
fn files(web: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for directory in ["", "vendor/"] {
        for entry in std::fs::read_dir(web.join(directory)).expect("the page's files") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            if path.is_file() && name != "package.json" && !name.ends_with(".LICENSE") {
                files.push((format!("{directory}{name}"), std::fs::read_to_string(path).expect("text")));
            }
        }
    }
    assert!(files.len() > 20, "{files:?}");
    files
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
