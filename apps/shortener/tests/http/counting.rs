//! Visits are counted: altogether, by day and hour, and by where they came from.

use headwater::core::clock::Timestamp;
use headwater::log::memory::{FaultKind, Op};
use serde_json::{Value, json};
use shortener::domain::{Code, Visit};

use crate::client::{Shortener, Wanted, memory_log, open, open_as};

async fn visits(shortener: &Shortener, code: &str, by: &str, receipt: &str) -> Value {
    let answer = shortener.get_after(&format!("/links/{code}/visits{by}"), receipt).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn each_redirect_is_one_visit_and_nothing_else_is() {
    let shortener = open().await;
    let code = shortener.code("https://example.com/").await;
    let other = shortener.code("https://example.com/other").await;
    let nobody = shortener.get(&format!("/links/{code}/visits?by=day")).await.json();
    assert_eq!(nobody, json!({"code": code, "total": 0, "by": "day", "counts": [], "referrers": []}));
    for referrer in ["https://news.example/a", "", "https://NEWS.example/b", "http://blog.example/"] {
        shortener.visit(&code, referrer).await;
        shortener.ask("HEAD", &format!("/{code}"), &[], "").await;
        shortener.get(&format!("/links/{code}")).await;
    }
    shortener.visit(&other, "https://news.example/").await;
    let receipt = shortener.visit(&code, "").await;
    let told = visits(&shortener, &code, "?by=hour", &receipt).await;
    assert_eq!((&told["total"], &told["by"]), (&json!(5), &json!("hour")));
    let counts = told["counts"].as_array().expect("counts");
    assert_eq!(counts.iter().map(|count| count["visits"].as_u64().expect("a number")).sum::<u64>(), 5);
    let referrers = json!([
        {"host": "", "visits": 2}, {"host": "news.example", "visits": 2}, {"host": "blog.example", "visits": 1}
    ]);
    assert_eq!(told["referrers"], referrers);
    shortener.stop().await;
}

#[tokio::test]
async fn days_and_hours_are_those_of_the_visits_in_whatever_order_they_come() {
    let shortener = open().await;
    let code = shortener.code("https://example.com/").await;
    let running = &shortener.instance.running;
    let key = Code::alias(&code).expect("a code");
    let mut receipt = None;
    for time in
        ["2026-03-01T23:59:59Z", "2026-03-02T00:00:00Z", "2026-03-01T23:00:00Z", "2026-03-02T13:30:00+02:00"]
    {
        let at = Timestamp(time.parse::<jiff::Timestamp>().expect("a time").as_millisecond());
        let published = running.publish(&shortener.instance.visits, &key, &Visit::default()).at(at).await;
        receipt = Some(published.expect("it is written").to_string());
    }
    let receipt = receipt.expect("there were visits");
    let count = |start: &str, visits: u64| json!({"start": start, "visits": visits});
    let by_day = visits(&shortener, &code, "?by=day", &receipt).await;
    assert_eq!(
        by_day["counts"],
        json!([count("2026-03-01T00:00:00.000Z", 2), count("2026-03-02T00:00:00.000Z", 2)])
    );
    let by_hour = visits(&shortener, &code, "?by=hour", &receipt).await;
    let hours =
        [("2026-03-01T23:00:00.000Z", 2), ("2026-03-02T00:00:00.000Z", 1), ("2026-03-02T11:00:00.000Z", 1)];
    assert_eq!(by_hour["counts"], json!(hours.map(|(start, visits)| count(start, visits))));
    assert_eq!(visits(&shortener, &code, "", &receipt).await.get("counts"), None);
    assert_eq!(shortener.get(&format!("/links/{code}/visits?by=week")).await.problem().0, 400);
    shortener.stop().await;
}

#[tokio::test]
async fn visits_of_limited_links_are_counted_too() {
    let shortener = open().await;
    shortener.make(json!({"url": "https://example.com/", "alias": "three", "maxVisits": 3})).await;
    let mut receipt = None;
    for _ in 0..5 {
        let answer = shortener.ask("GET", "/three", &[("referer", "https://news.example/")], "").await;
        receipt = answer.header("headwater-receipt").map(str::to_owned).or(receipt);
    }
    let told = visits(&shortener, "three", "?by=day", &receipt.expect("the first were led")).await;
    assert_eq!(told["referrers"], json!([{"host": "news.example", "visits": 3}]));
    assert_eq!((&told["total"], &told["counts"][0]["visits"]), (&json!(3), &json!(3)));
    shortener.stop().await;
}

#[tokio::test]
async fn a_visit_of_which_nobody_knows_whether_it_was_written_is_written_again_and_counts_once() {
    let log = memory_log();
    let shortener = open_as(Wanted { log: log.clone(), ..Wanted::default() }).await;
    let code = shortener.code("https://example.com/").await;
    let faults = [FaultKind::UnknownWritten, FaultKind::UnknownNotWritten, FaultKind::Refused];
    for (n, fault) in faults.into_iter().enumerate() {
        log.inject(Op::Append, fault);
        let receipt = shortener.visit(&code, "").await;
        let told = visits(&shortener, &code, "?by=day", &receipt).await;
        let expected = json!(n + 1);
        assert_eq!((&told["total"], &told["counts"][0]["visits"]), (&expected, &expected), "{fault}");
    }
    shortener.stop().await;
}

#[tokio::test]
async fn counts_are_told_as_they_change_and_from_where_a_client_left() {
    let shortener = open().await;
    let code = shortener.code("https://example.com/").await;
    let path = format!("/links/{code}/visits/stream?by=day");
    let mut events = shortener.follow(&path, None).await;
    let (name, data, _) = events.next().await;
    assert_eq!((name.as_str(), data), ("reset", json!([])));
    let mut last = None;
    for visits in 1..=3 {
        shortener.visit(&code, "").await;
        let (name, data, id) = events.next().await;
        assert_eq!((name.as_str(), &data["visits"]), ("change", &json!(visits)));
        last = id;
    }
    drop(events);
    shortener.visit(&code, "").await;
    let mut events = shortener.follow(&path, last.as_deref()).await;
    let (name, data, _) = events.next().await;
    assert_eq!((name.as_str(), &data["visits"]), ("change", &json!(4)), "nothing is told twice");
    drop(events);
    shortener.stop().await;
}
