//! Following links: where they lead, and when they no longer do.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::future::join_all;
use headwater::core::clock::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::client::{Shortener, Wanted, open, open_as};

/// A clock that a test moves.
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Asks for a link that was there, and is not handed out again: it is told as the same link, and why it is over.
async fn is_over(shortener: &Shortener, link: Value, why: &str) {
    let answer = shortener.post(link).await;
    assert_eq!(answer.problem(), (409, "link-over".into()), "{answer:?}");
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains("a link to the same address") && detail.contains(why), "{detail}");
}

#[tokio::test]
async fn what_leads_nowhere_says_why() {
    let shortener = open().await;
    for path in ["/nothing", "/favicon.ico", "/a.b", "/%00", "/ü"] {
        let path = path.replace('ü', "%C3%BC");
        assert_eq!(shortener.get(&path).await.problem(), (404, "no-such-link".into()), "{path}");
    }
    shortener.make(json!({"url": "https://example.com/", "alias": "gone"})).await;
    let deleted = shortener.ask("DELETE", "/links/gone", &[], "").await;
    assert_eq!((deleted.status, deleted.body.as_str()), (204, ""));
    assert_eq!(shortener.ask("DELETE", "/links/gone", &[], "").await.status, 204, "deleting is idempotent");
    for path in ["/gone", "/links/gone", "/links/gone/visits", "/links/gone/qr.svg"] {
        assert_eq!(shortener.get(path).await.problem(), (410, "link-deleted".into()), "{path}");
    }
    for path in ["/links/nothing", "/links/nothing/visits", "/links/nothing/qr.svg"] {
        assert_eq!(shortener.get(path).await.problem(), (404, "no-such-link".into()), "{path}");
    }
    assert_eq!(shortener.ask("DELETE", "/links/nothing", &[], "").await.problem().0, 404);
    let other = json!({"url": "https://example.com/other", "alias": "gone"});
    assert_eq!(shortener.post(other).await.problem(), (409, "alias-taken".into()), "never another link's");
    let limited = json!({"url": "https://example.com/", "alias": "gone", "maxVisits": 3});
    is_over(&shortener, limited, "was deleted").await;
    shortener.make(json!({"url": "https://example.com/", "alias": "gone"})).await;
    assert_eq!(shortener.get("/gone").await.status, 302, "the same link again is back");
    shortener.stop().await;
}

#[tokio::test]
async fn a_link_expires_at_its_time() {
    let clock = Arc::new(Hand(AtomicI64::new(1_000_000)));
    let shortener = open_as(Wanted { clock: clock.clone(), ..Wanted::default() }).await;
    let link = json!({"url": "https://example.com/", "alias": "soon", "validUntil": "1970-01-01T00:20:00Z"});
    let made = shortener.make(link.clone()).await;
    assert_eq!(made["validUntil"], "1970-01-01T00:20:00.000Z");
    clock.0.store(1_199_999, Ordering::SeqCst);
    assert_eq!(shortener.get("/soon").await.status, 302);
    assert_eq!(shortener.get("/links/soon").await.json()["state"], "live");
    clock.0.store(1_200_000, Ordering::SeqCst);
    for method in ["GET", "HEAD"] {
        assert_eq!(shortener.ask(method, "/soon", &[], "").await.status, 410);
    }
    assert_eq!(shortener.get("/soon").await.problem(), (410, "link-expired".into()));
    assert_eq!(shortener.get("/links/soon").await.json()["state"], "expired");
    assert_eq!(shortener.post(link).await.complaints(), [("validUntil".into(), "past".into())]);
    let lasting = json!({"url": "https://example.com/", "alias": "soon"});
    is_over(&shortener, lasting, "is past its time").await;
    shortener.stop().await;
}

#[tokio::test]
async fn a_limited_link_answers_exactly_its_visits() {
    let shortener = open().await;
    let link = json!({"url": "https://example.com/", "alias": "ten", "maxVisits": 10});
    assert_eq!(shortener.make(link.clone()).await["maxVisits"], 10);
    for _ in 0..20 {
        assert_eq!(shortener.ask("HEAD", "/ten", &[], "").await.status, 302, "HEAD spends nothing");
    }
    let answers = join_all((0..25).map(|_| shortener.get("/ten"))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 302).count(), 10);
    let others = answers.iter().filter(|answer| answer.status != 302);
    assert!(others.map(|answer| answer.problem()).all(|problem| problem == (410, "link-exhausted".into())));
    let told = shortener.get("/links/ten").await.json();
    assert_eq!((&told["state"], &told["visitsLeft"]), (&json!("exhausted"), &json!(0)));
    assert_eq!(shortener.ask("HEAD", "/ten", &[], "").await.status, 410);
    is_over(&shortener, link, "had all its visits").await;
    let sha256 = json!({"url": "https://example.com/sha", "code": "sha256", "maxVisits": 1});
    let code = shortener.make(sha256.clone()).await["code"].as_str().expect("a code").to_owned();
    let other_terms = json!({"url": "https://example.com/sha", "code": "sha256"});
    assert_eq!(shortener.post(other_terms).await.problem(), (409, "code-taken".into()));
    assert_eq!(shortener.get(&format!("/{code}")).await.status, 302);
    is_over(&shortener, sha256, "had all its visits").await;
    let short = json!({"url": "https://example.com/", "maxVisits": 1});
    let once = shortener.make(short.clone()).await["code"].as_str().expect("a code").to_owned();
    assert_eq!(shortener.get(&format!("/{once}")).await.status, 302);
    let again = shortener.make(short).await["code"].as_str().expect("a code").to_owned();
    assert_ne!(again, once, "a link that had its visits makes room for the next");
    assert_eq!(shortener.get(&format!("/{again}")).await.status, 302);
    shortener.stop().await;
}

#[tokio::test]
async fn head_answers_as_get_does() {
    let shortener = open().await;
    let code = shortener.code("https://example.com/a").await;
    let (head, get) =
        (shortener.ask("HEAD", &format!("/{code}"), &[], "").await, shortener.get(&format!("/{code}")).await);
    for answer in [&head, &get] {
        assert_eq!((answer.status, answer.header("location")), (302, Some("https://example.com/a")));
        assert_eq!(answer.header("cache-control"), Some("no-store"), "each visit comes here");
    }
    assert!(head.header("headwater-receipt").is_none(), "nothing was written");
    shortener.stop().await;
}
