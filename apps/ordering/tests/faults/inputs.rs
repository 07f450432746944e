//! What clients send that is not an order, and orders that look unusual: one table each.

use std::io::{Read, Write};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::service::{Answer, JSON, Service};
use app_testing::patience::within_patience;

const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";
const TEXT: &str = "content-type: text/plain\r\n";

fn with(change: &[(&str, Value)]) -> String {
    let mut order = json!({"customerId": "c", "itemLabel": "x", "itemPrice": 1});
    for (name, value) in change {
        order[name] = value.clone();
    }
    order.to_string()
}

fn label(label: &str) -> String {
    with(&[("itemLabel", json!(label))])
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[test]
fn what_is_no_order_is_refused_by_name_and_nothing_comes_of_it() {
    let data = TempDir::new().expect("a directory");
    let service = Service::on(data.path());
    let whole = with(&[]);
    let deep_field = format!(r#"{{"customerId": "c", "itemLabel": {}, "itemPrice": 1}}"#, nested(5_000));
    let deep_unknown =
        format!(r#"{{"customerId": "c", "itemLabel": "x", "itemPrice": 1, "z": {}}}"#, nested(5_000));
    let twice = r#"{"customerId": "c", "customerId": "d", "itemLabel": "x", "itemPrice": 1}"#.to_owned();
    let cases: Vec<(&str, &str, String, u16, &str)> = vec![
        ("another content type", FORM, whole.clone(), 415, "unsupported-media-type"),
        ("text", TEXT, whole.clone(), 415, "unsupported-media-type"),
        ("no content type", "", whole.clone(), 415, "unsupported-media-type"),
        ("nothing", JSON, String::new(), 400, "truncated-json"),
        ("half an order", JSON, whole[..whole.len() / 2].to_owned(), 400, "truncated-json"),
        ("all but the end", JSON, whole[..whole.len() - 1].to_owned(), 400, "truncated-json"),
        ("an order and more", JSON, whole.clone() + "{}", 400, "malformed-json"),
        ("no JSON", JSON, "customerId=c".to_owned(), 400, "malformed-json"),
        ("a lone surrogate", JSON, label("@").replace('@', "\\ud800"), 422, "invalid-body"),
        ("lists in lists, left open", JSON, "[".repeat(60_000), 400, "json-too-deep"),
        ("lists in lists", JSON, nested(30_000), 400, "json-too-deep"),
        ("a deep field", JSON, deep_field, 422, "invalid-body"),
        ("a deep unknown field", JSON, deep_unknown, 422, "invalid-body"),
        ("a list", JSON, "[]".to_owned(), 422, "not-an-object"),
        ("an unknown field", JSON, with(&[("itemPrise", json!(1))]), 422, "invalid-body"),
        ("a field twice", JSON, twice, 422, "invalid-body"),
        ("a missing field", JSON, r#"{"customerId": "c"}"#.to_owned(), 422, "invalid-body"),
        ("a label of 10 kB", JSON, label(&"x".repeat(10_240)), 422, "invalid-body"),
        ("a label of 201 characters", JSON, label(&"🦀".repeat(201)), 422, "invalid-body"),
        ("a label of spaces", JSON, label("  \u{3000} "), 422, "invalid-body"),
        ("a label with a bell", JSON, label("ding\u{7}"), 422, "invalid-body"),
        ("a label with a zero", JSON, label("a\0b"), 422, "invalid-body"),
        ("more than the limit", JSON, label(&"x".repeat(65 * 1_024)), 413, "body-too-large"),
        ("much more than the limit", JSON, label(&"x".repeat(9 << 20)), 413, "body-too-large"),
    ];
    for (name, headers, body, status, code) in cases {
        let answer = service.ask("POST", "/orders", headers, body.as_bytes());
        assert_eq!(answer.problem(), (status, code.to_owned()), "{name}: {}", answer.body);
    }
    let invalid = service.ask("POST", "/orders", JSON, b"{\"customerId\": \"\xff\"}");
    assert_eq!(invalid.status, 400, "{invalid:?}");
    assert_eq!(service.items("c"), Ok([].into()), "nothing was ordered");
    assert!(!service.told().contains("panicked"), "{}", service.told());
}

#[test]
fn a_body_over_the_limit_without_a_length_is_refused() {
    let data = TempDir::new().expect("a directory");
    let service = Service::on(data.path());
    let chunk = format!("{:x}\r\n{}\r\n", 32 * 1_024, " ".repeat(32 * 1_024));
    let body = chunk.repeat(8) + "0\r\n\r\n";
    let mut stream = service.connect();
    let request = format!(
        "POST /orders HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{JSON}transfer-encoding: chunked\r\n\r\n{body}"
    );
    let _ = stream.write_all(request.as_bytes());
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let answer = Answer::parse(&text).expect("it answers");
    assert_eq!(answer.problem(), (413, "body-too-large".to_owned()));
}

#[test]
fn unusual_labels_are_kept_as_they_are_also_after_a_crash() {
    let data = TempDir::new().expect("a directory");
    let service = Service::on(data.path());
    let crabs = "🦀".repeat(200);
    let labels: &[(&str, &str)] = &[
        ("🫖", "🫖"),
        ("👩‍👩‍👧‍👦 family tea", "👩‍👩‍👧‍👦 family tea"),
        ("🏴󠁧󠁢󠁳󠁣󠁴󠁿", "🏴󠁧󠁢󠁳󠁣󠁴󠁿"),
        ("شاي بالنعناع", "شاي بالنعناع"),
        ("תה ירוק 2 אריזות", "תה ירוק 2 אריזות"),
        ("mixed عربي and English", "mixed عربي and English"),
        ("Cafe\u{301}", "Caf\u{e9}"),
        ("  \u{a0}spaces around\u{3000}", "spaces around"),
        ("<script>alert(1)</script>\"'&", "<script>alert(1)</script>\"'&"),
        ("ﷺ", "ﷺ"),
        (&crabs, &crabs),
    ];
    for (n, (sent, _)) in labels.iter().enumerate() {
        let order = json!({"orderId": format!("o{n}"), "customerId": "c", "itemLabel": sent, "itemPrice": 1});
        let answer = service.place(&order);
        assert_eq!(answer.status, 202, "{sent}: {answer:?}");
    }
    service.kill();
    let service = Service::on(data.path());
    let mut expected: Vec<_> = labels.iter().map(|(_, kept)| ((*kept).to_owned(), 1)).collect();
    expected.sort();
    within_patience("the view has all", || (service.items("c").ok()?.len() == labels.len()).then_some(()));
    assert_eq!(service.items("c").map(|items| items.into_iter().collect::<Vec<_>>()), Ok(expected));
    for (n, (_, kept)) in labels.iter().enumerate() {
        assert_eq!(service.get(&format!("/orders/o{n}")).json()["itemLabel"], *kept);
    }
}
