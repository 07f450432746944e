//! Placing orders: what is taken, what is refused and in which words, and that nothing is placed twice.

use headwater::core::log::{Log, ReadLimit, Wait};
use headwater::core::topic::Offset;
use headwater::{Parts, Receipt};
use serde_json::{Value, json};

use crate::client::{BODY_BYTES_MAX, memory_log, open, open_on};

#[tokio::test]
async fn an_order_is_taken_and_told() {
    let shop = open().await;
    let body = r#"{"orderId": "a%b?", "customerId": " ada ", "itemLabel": "Tea", "itemPrice": 5}"#;
    let answer = shop.post(body).await;
    assert_eq!((answer.status, answer.header("location")), (202, Some("/orders/a%25b%3F")));
    let receipt = answer.header("headwater-receipt").expect("a receipt");
    assert_eq!(answer.json(), json!({"orderId": "a%b?", "receipt": receipt}));

    let mut order = shop.get("/orders/a%25b%3F").await.json();
    let placed_at = order["placedAt"].take();
    let expected = json!({
        "orderId": "a%b?", "customerId": "ada", "itemLabel": "Tea", "itemPrice": "5.00", "version": 1,
        "placedAt": null,
    });
    assert_eq!(order, expected);
    let placed_at = placed_at.as_str().expect("text");
    assert!(
        placed_at.starts_with("20") && placed_at.ends_with('Z') && placed_at.contains('T'),
        "{placed_at}"
    );
    shop.stop().await;
}

#[tokio::test]
async fn prices_are_taken_exactly_or_refused() {
    let shop = open().await;
    let nines = "9".repeat(60);
    let quoted_nines = format!("\"{nines}\"");
    let cases = [
        ("5", Ok("5.00")),
        ("5.0", Ok("5.00")),
        ("5.00", Ok("5.00")),
        ("\"5.00\"", Ok("5.00")),
        ("\"5\"", Ok("5.00")),
        ("0", Ok("0.00")),
        ("0.1", Ok("0.10")),
        ("999999999999.99", Ok("999999999999.99")),
        ("-1", Err("negative-price")),
        ("-0", Err("negative-price")),
        ("\"-0.00\"", Err("negative-price")),
        ("5.001", Err("too-many-decimals")),
        ("\"5.000\"", Err("too-many-decimals")),
        ("1e400", Err("price-too-high")),
        (&nines, Err("price-too-high")),
        (&quoted_nines, Err("price-too-high")),
        ("\"NaN\"", Err("invalid-price")),
        ("\"free\"", Err("invalid-price")),
        ("\"\"", Err("invalid-price")),
        ("\" 5\"", Err("invalid-price")),
        ("null", Err("invalid-price")),
        ("true", Err("invalid-price")),
        ("[5]", Err("invalid-price")),
        ("{\"pounds\":5}", Err("invalid-price")),
    ];
    for (n, (price, expected)) in cases.into_iter().enumerate() {
        let id = format!("price-{n}");
        let body =
            format!(r#"{{"orderId": "{id}", "customerId": "c", "itemLabel": "x", "itemPrice": {price}}}"#);
        let answer = shop.post(&body).await;
        match expected {
            Ok(kept) => {
                assert_eq!(answer.status, 202, "{price}: {answer:?}");
                assert_eq!(shop.get(&format!("/orders/{id}")).await.json()["itemPrice"], kept);
            }
            Err(code) => {
                assert_eq!(answer.complaints(), [("itemPrice".to_owned(), code.to_owned())], "{price}");
                assert_eq!(shop.get(&format!("/orders/{id}")).await.status, 404);
            }
        }
    }
    shop.stop().await;
}

#[tokio::test]
async fn labels_are_kept_as_they_look_or_refused() {
    let shop = open().await;
    let four_bytes = "🫖".repeat(200);
    let cases = [
        ("café", Ok("caf\u{e9}")),
        ("  cafe\u{301}  ", Ok("caf\u{e9}")),
        ("🫖 Teapot 👩\u{200d}👩\u{200d}👧", Ok("🫖 Teapot 👩\u{200d}👩\u{200d}👧")),
        ("إبريق شاي", Ok("إبريق شاي")),
        ("<b>&amp;</b>\"\\", Ok("<b>&amp;</b>\"\\")),
        (&four_bytes, Ok(&*four_bytes)),
        (&"🫖".repeat(201), Err("too-long")),
        (&"x".repeat(10_240), Err("too-long")),
        ("   ", Err("required")),
        ("a\u{7}b", Err("control-character")),
        ("a\0b", Err("control-character")),
    ];
    for (n, (label, expected)) in cases.into_iter().enumerate() {
        let order =
            json!({"orderId": format!("l{n}"), "customerId": "c", "itemLabel": label, "itemPrice": 1});
        let answer = shop.post(&order.to_string()).await;
        match expected {
            Ok(kept) => {
                assert_eq!(answer.status, 202, "{label}: {answer:?}");
                let receipt = answer.header("headwater-receipt").expect("a receipt");
                assert_eq!(shop.get(&format!("/orders/l{n}")).await.json()["itemLabel"], kept);
                let items = shop.get_after("/orders?customerId=c", receipt).await.json();
                let items = items.as_array().expect("a list");
                assert!(items.iter().any(|item| item["label"] == kept), "{label} is listed");
            }
            Err(code) => {
                assert_eq!(answer.complaints(), [("itemLabel".to_owned(), code.to_owned())], "{label}");
            }
        }
    }
    shop.stop().await;
}

#[tokio::test]
async fn the_same_order_again_answers_the_same_and_another_under_its_id_is_a_conflict() {
    let shop = open().await;
    let order = |label: &str, price: Value| {
        json!({"orderId": "o1", "customerId": "ada", "itemLabel": label, "itemPrice": price}).to_string()
    };
    let first = shop.post(&order("cafe\u{301}", json!(5))).await;
    for same in [order("caf\u{e9}", json!("5.00")), order(" café ", json!(5))] {
        let again = shop.post(&same).await;
        assert_eq!((again.status, again.json()["orderId"].clone()), (202, first.json()["orderId"].clone()));
        let receipt = again.header("headwater-receipt").expect("a receipt");
        let items = shop.get_after("/orders?customerId=ada", receipt).await;
        assert_eq!(items.json(), json!([{"label": "café", "price": "affordable", "quantity": 1}]));
    }
    for other in [order("tea", json!(5)), order("café", json!("5.01"))] {
        let refused = shop.post(&other).await;
        assert_eq!(refused.problem(), (409, "order-id-taken".to_owned(), "orderId".to_owned()));
    }
    assert_eq!(shop.get("/orders/o1").await.json()["version"], 1);
    shop.stop().await;
}

#[tokio::test]
async fn an_idempotency_key_stands_for_an_order_without_an_id() {
    let shop = open().await;
    let place = async |key: &str, label: &str| {
        let body = json!({"customerId": "c", "itemLabel": label, "itemPrice": 1}).to_string();
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        shop.ask("POST", "/orders", &headers, &body).await
    };
    let (first, again) = (place("k1", "tea").await, place("k1", "tea").await);
    assert_eq!(first.json()["orderId"], again.json()["orderId"]);
    assert_eq!(place("k1", "cake").await.status, 409);
    assert_ne!(place("k2", "tea").await.json()["orderId"], first.json()["orderId"]);
    assert_eq!(place("a b", "tea").await.problem().1, "invalid-header");
    let receipt = shop.place("c", "tea", "1").await;
    let items = shop.get_after("/orders?customerId=c", &receipt).await.json();
    assert_eq!(items[0]["quantity"], 3, "k1, k2 and one with neither id nor key: {items}");
    shop.stop().await;
}

#[tokio::test]
async fn every_field_that_does_not_fit_is_told_at_once() {
    let shop = open().await;
    let cases = [
        ("{}", "customerId:missing-field itemLabel:missing-field itemPrice:missing-field"),
        (
            r#"{"orderId": "a/b", "customerId": 7, "itemLabel": null, "itemPrice": "1.005", "itemPrise": 1}"#,
            "orderId:invalid-order-id customerId:not-text itemLabel:not-text itemPrice:too-many-decimals \
             itemPrise:unknown-field",
        ),
        (
            r#"{"orderId": "stream", "customerId": "c", "customerId": "c", "itemLabel": "\ud800", "itemPrice": 1}"#,
            "orderId:reserved-order-id itemLabel:not-text customerId:duplicate-field",
        ),
        (r#"{"orderId": "", "customerId": "c", "itemLabel": "x", "itemPrice": 1}"#, "orderId:required"),
    ];
    for (body, expected) in cases {
        let answer = shop.post(body).await;
        let told: Vec<_> =
            answer.complaints().iter().map(|(field, code)| format!("{field}:{code}")).collect();
        assert_eq!(told.join(" "), expected, "{body}");
        let detail = answer.json()["detail"].as_str().expect("text").to_owned();
        assert!(detail.contains(answer.json()["errors"][0]["detail"].as_str().expect("text")), "{detail}");
    }
    shop.stop().await;
}

#[tokio::test]
async fn a_body_that_is_no_order_is_refused_by_what_is_wrong_with_it() {
    let shop = open().await;
    let long = format!(r#"{{"itemLabel": "{}"}}"#, "x".repeat(BODY_BYTES_MAX));
    let deep = format!(r#"{{"itemLabel": {}"#, "[".repeat(10_000));
    let deep_and_whole = format!(r#"{{"a": {}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let json = "application/json";
    let cases = [
        ("text/plain", "{}", 415, "unsupported-media-type"),
        ("", "{}", 415, "unsupported-media-type"),
        (json, "", 400, "truncated-json"),
        (json, r#"{"customerId": "c", "itemLa"#, 400, "truncated-json"),
        (json, "order", 400, "malformed-json"),
        (json, "{} {}", 400, "malformed-json"),
        (json, &deep, 400, "json-too-deep"),
        (json, &deep_and_whole, 422, "invalid-body"),
        (json, "[]", 422, "not-an-object"),
        (json, "null", 422, "not-an-object"),
        (json, &long, 413, "body-too-large"),
    ];
    for (kind, body, status, code) in cases {
        let headers = [("content-type", kind)];
        let headers = if kind.is_empty() { &[][..] } else { &headers };
        let answer = shop.ask("POST", "/orders", headers, body).await;
        let (told_status, told_code, _) = answer.problem();
        assert_eq!((told_status, told_code.as_str()), (status, code), "{kind} {:.40}", body);
    }
    assert_eq!(shop.get("/orders?customerId=c").await.json(), json!([]), "nothing was placed");
    shop.stop().await;
}

#[tokio::test]
async fn an_event_belongs_to_the_trace_of_its_request() {
    let log = memory_log();
    let shop = open_on(log.clone(), Parts::ALL).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("content-type", "application/json"), ("traceparent", trace)];
    let body = r#"{"orderId":"o1","customerId":"c","itemLabel":"x","itemPrice":1}"#;
    let answer = shop.ask("POST", "/orders", &headers, body).await;
    let receipt: Receipt = answer.header("headwater-receipt").expect("a receipt").parse().expect("a receipt");
    let partition = receipt.topic.partition(receipt.partition.0);
    let read = log.read(&partition, Offset::ZERO, ReadLimit::default(), Wait::No).await.expect("events");
    let headers = &read.records[0].record.headers;
    let told = headers.get_str("traceparent").expect("a trace");
    assert!(told.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{told}");
    assert_eq!(
        (headers.get_str("ce_type"), headers.get_str("ce_subject")),
        (Some("order.Placed"), Some("o1"))
    );
    shop.stop().await;
}
