//! Lists of links, page by page, and what they are searched for.

use serde_json::{Value, json};

use crate::client::{Shortener, open};

async fn page(shortener: &Shortener, query: &str, receipt: &str) -> (Vec<String>, Option<String>) {
    let answer = shortener.get_after(&format!("/links?{query}"), receipt).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let page = answer.json();
    let links = page["links"].as_array().expect("links");
    let code = |link: &Value| link["code"].as_str().expect("a code").to_owned();
    (links.iter().map(code).collect(), page["next"].as_str().map(str::to_owned))
}

async fn all(shortener: &Shortener, query: &str, receipt: &str) -> Vec<String> {
    let (mut codes, mut next) = page(shortener, query, receipt).await;
    for _ in 0..100 {
        let Some(token) = next else { return codes };
        let (more, after) = page(shortener, &format!("{query}&after={token}"), receipt).await;
        codes.extend(more);
        next = after;
    }
    panic!("the list does not end");
}

#[tokio::test]
async fn links_are_listed_in_pages_and_found_by_what_they_contain() {
    let shortener = open().await;
    let mut receipts = Vec::new();
    for n in 0..45 {
        let link = json!({"url": format!("https://example.com/Page-{n}"), "alias": format!("a{n:02}")});
        receipts.push(shortener.make(link).await["receipt"].as_str().expect("a receipt").to_owned());
    }
    // A view includes what it was asked for; asked for each, it includes all.
    for receipt in &receipts {
        page(&shortener, "limit=1", receipt).await;
    }
    let last = receipts.last().expect("there are some");
    let codes: Vec<_> = (0..45).map(|n| format!("a{n:02}")).collect();
    for query in ["limit=200", "limit=45", "limit=7", "limit=1"] {
        assert_eq!(all(&shortener, query, last).await, codes, "{query}");
    }
    assert_eq!(page(&shortener, "limit=7", last).await.0.len(), 7);
    assert_eq!(all(&shortener, "search=A4&limit=2", last).await, codes[40..], "in any letter case");
    assert_eq!(all(&shortener, "search=page-7", last).await, ["a07"]);
    assert_eq!(all(&shortener, "search=nowhere&limit=3", last).await, [""; 0]);

    let deleted = shortener.ask("DELETE", "/links/a00", &[], "").await;
    let receipt = deleted.header("headwater-receipt").expect("a receipt");
    assert_eq!(all(&shortener, "limit=200", receipt).await, codes[1..], "what is deleted is not listed");
    for query in ["limit=0", "limit=201", "limit=x", "after=k.zz", "after=x", "colour=red"] {
        assert_eq!(shortener.get(&format!("/links?{query}")).await.problem().0, 400, "{query}");
    }
    let none = shortener.get("/links?limit=0").await.json();
    assert_eq!((&none["field"], &none["errors"][0]["field"]), (&json!("limit"), &json!("limit")), "{none}");
    shortener.stop().await;
}

#[tokio::test]
async fn a_listed_link_tells_its_terms_and_its_visits() {
    let shortener = open().await;
    let link = json!({"url": "https://example.com/", "alias": "a", "validUntil": "2999-01-01T00:00:00Z"});
    let made = shortener.make(link).await;
    let visit = shortener.visit("a", "").await;
    shortener.get_after("/links/a/visits", &visit).await;
    let listed = shortener.get_after("/links", made["receipt"].as_str().expect("a receipt")).await.json();
    let shown = shortener.get("/links/a").await.json();
    let mut expected = shown.as_object().expect("an object").clone();
    expected.insert("visits".to_owned(), json!(1));
    assert_eq!(listed, json!({"links": [expected]}));
    assert_eq!((&shown["state"], &shown["shortUrl"]), (&json!("live"), &made["shortUrl"]));
    shortener.stop().await;
}
