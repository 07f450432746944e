//! Making links: which code a link gets, and which addresses are refused.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::client::{Shortener, Wanted, code_of, open, open_as};

#[tokio::test]
async fn a_link_has_a_short_address_and_a_receipt() {
    let shortener = open().await;
    let answer = shortener.post(json!({"url": "https://example.com/a?b#c"})).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let made = answer.json();
    let code = code_of(&made);
    assert!(code.len() < 11 && code.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{code}");
    assert_eq!(made["shortUrl"], format!("http://{}/{code}", shortener.address));
    assert_eq!(made["url"], "https://example.com/a?b#c");
    assert_eq!(answer.header("location"), Some(&*format!("/links/{code}")));
    assert_eq!(answer.header("headwater-receipt"), made["receipt"].as_str());
    shortener.stop().await;
}

#[tokio::test]
async fn the_same_link_again_is_the_same_and_other_terms_are_another() {
    let shortener = open().await;
    let url = "https://example.com/";
    let later = "2999-01-01T00:00:00Z";
    let terms = [
        json!({"url": url}),
        json!({"url": url, "maxVisits": 3}),
        json!({"url": url, "validUntil": later}),
        json!({"url": url, "alias": "here"}),
        json!({"url": "https://example.com"}),
        json!({"url": "https://EXAMPLE.com/"}),
    ];
    let mut codes = Vec::new();
    for link in &terms {
        let code = code_of(&shortener.make(link.clone()).await);
        assert_eq!(code_of(&shortener.make(link.clone()).await), code, "{link}");
        codes.push(code);
    }
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), terms.len(), "each has a code of its own");
    let last = json!({"url": url, "alias": "last", "validUntil": "9999-12-31T23:59:59Z"});
    assert_eq!(shortener.make(last).await["validUntil"], "9999-12-31T23:59:59.000Z");
    assert_eq!(shortener.get("/last").await.status, 302);
    let other_terms = shortener.post(json!({"url": url, "alias": "here", "maxVisits": 3})).await;
    assert_eq!(other_terms.problem(), (409, "alias-taken".into()));
    assert!(other_terms.json()["detail"].to_string().contains("with other terms"), "{other_terms:?}");
    let alike = json!({"url": url, "validUntil": "2999-01-01T01:00:00+01:00"});
    let (one, other) = (shortener.make(alike).await, shortener.make(terms[2].clone()).await);
    assert_eq!(one["code"], other["code"], "the same time, written otherwise");
    shortener.stop().await;
}

#[tokio::test]
async fn a_sha256_code_is_that_of_the_address() {
    let shortener = open().await;
    let link = json!({"url": "https://example.com/ä", "code": "sha256"});
    let made = shortener.make(link.clone()).await;
    assert_eq!(made["code"], "574d65d59c9ca8c93bec6fd9c252dfec2a5e61eebebeea8dbf218f99d675b4a1");
    assert_eq!(shortener.make(link).await["code"], made["code"]);
    let limited = json!({"url": "https://example.com/ä", "code": "sha256", "maxVisits": 1});
    assert_eq!(shortener.post(limited).await.problem(), (409, "code-taken".into()), "it has one link only");
    shortener.stop().await;
}

#[tokio::test]
async fn a_code_that_another_link_has_is_left_to_it() {
    let shortener = open().await;
    // What the address would have had, taken by somebody else in another shortener's words.
    let elsewhere = open().await;
    let wanted = elsewhere.code("https://example.com/mine").await;
    elsewhere.stop().await;
    shortener.make(json!({"url": "https://example.com/theirs", "alias": wanted})).await;
    let mine = shortener.code("https://example.com/mine").await;
    assert_ne!(mine, wanted);
    assert_eq!(shortener.code("https://example.com/mine").await, mine, "the next one, each time the same");
    let theirs = shortener.get(&format!("/{wanted}")).await;
    assert_eq!(theirs.header("location"), Some("https://example.com/theirs"));
    assert_eq!(shortener.get(&format!("/{mine}")).await.header("location"), Some("https://example.com/mine"));
    shortener.stop().await;
}

#[tokio::test]
async fn an_alias_is_given_once_however_many_claim_it() {
    let shortener = open().await;
    let claim =
        |n: usize| shortener.post(json!({"url": format!("https://example.com/{n}"), "alias": "spring"}));
    let answers = join_all((0..20).map(claim)).await;
    let won: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    let lost = answers.iter().filter(|answer| answer.status != 201);
    assert!(lost.map(|answer| answer.problem()).all(|problem| problem == (409, "alias-taken".into())));
    let led = shortener.get("/spring").await;
    assert_eq!(led.header("location"), won[0].json()["url"].as_str());
    shortener.stop().await;
}

#[tokio::test]
async fn addresses_come_back_byte_for_byte() {
    let shortener = open().await;
    let longest = format!("https://example.com/{}", "ü".repeat(7_980));
    let astral = format!("https://example.com/{}", "🫖".repeat(7_980));
    let addresses = [
        "https://bücher.example/straße?q=käse#größe",
        "HTTPS://Example.COM:443/../a/./b",
        "https://example.com/%C3%A4%c3%a4%2F%zz",
        "https://example.com/{id}/[x]|^`?a={b}&c=<d>\"#{e}#f",
        "https://例え.テスト/パス",
        &longest,
        &astral,
    ];
    for url in addresses {
        let code = shortener.code(url).await;
        let answer = shortener.get(&format!("/{code}")).await;
        assert_eq!((answer.status, answer.bytes("location")), (302, Some(url.as_bytes())), "{url}");
        assert_eq!(shortener.get(&format!("/links/{code}")).await.json()["url"], url);
    }
    shortener.stop().await;
}

async fn refusal(shortener: &Shortener, link: Value) -> Vec<(String, String)> {
    shortener.post(link).await.complaints()
}

#[tokio::test]
async fn addresses_that_lead_nowhere_good_are_refused_with_their_reason() {
    let public = Some("https://sho.rt".parse().expect("an address"));
    let shortener = open_as(Wanted { public, ..Wanted::default() }).await;
    let port = shortener.address.port();
    let too_long = format!("https://example.com/{}", "a".repeat(7_981));
    let own = [
        format!("http://{}/a", shortener.address),
        format!("http://localhost:{port}/"),
        format!("http://user@127.1:{port}"),
        "https://sho.rt/a".to_owned(),
        "http://SHO.RT./".to_owned(),
    ];
    let cases = [
        ("", "required"),
        (&too_long, "too-long"),
        ("https://example.com/a b", "space"),
        ("https://example.com/\u{3000}", "space"),
        ("https://example.com/\r\nset-cookie:a", "control-character"),
        ("https://exam\u{0}ple.com/", "control-character"),
        ("javascript:alert(1)", "scheme-not-allowed"),
        ("data:text/html,hi", "scheme-not-allowed"),
        ("ftp://example.com/", "scheme-not-allowed"),
        ("example.com/path", "no-scheme"),
        ("//example.com/", "protocol-relative"),
        ("http:/example.com", "not-absolute"),
        ("http://", "invalid-host"),
    ];
    for (url, code) in cases {
        assert_eq!(refusal(&shortener, json!({"url": url})).await, [("url".into(), code.into())], "{url:?}");
    }
    for url in own {
        assert_eq!(
            refusal(&shortener, json!({"url": url})).await,
            [("url".into(), "own-host".into())],
            "{url}"
        );
    }
    shortener.stop().await;
}

#[tokio::test]
async fn every_field_that_does_not_fit_is_told_at_once() {
    let shortener = open().await;
    let link =
        json!({"url": "nowhere", "alias": "a b", "validUntil": "soon", "maxVisits": 0, "code": "sha256"});
    let told = [
        ("url", "no-scheme"),
        ("alias", "invalid-alias"),
        ("code", "excluded"),
        ("validUntil", "invalid-time"),
        ("maxVisits", "zero"),
    ];
    assert_eq!(refusal(&shortener, link).await, told.map(|(field, code)| (field.into(), code.into())));
    let ok = "https://example.com/";
    for (link, field, code) in [
        (json!({"url": ok, "alias": "links"}), "alias", "reserved"),
        (json!({"url": ok, "alias": "ReadyZ"}), "alias", "reserved"),
        (json!({"url": ok, "alias": "a".repeat(64)}), "alias", "too-long"),
        (json!({"url": ok, "validUntil": "9999-12-31T23:59:59-01:00"}), "validUntil", "too-late"),
        (json!({"url": ok, "validUntil": "2001-01-01T00:00:00Z"}), "validUntil", "past"),
    ] {
        assert_eq!(refusal(&shortener, link).await, [(field.into(), code.into())]);
    }
    let whole = |sent: &str| format!("maxVisits must be a whole number from 0 to {}, not {sent}", u64::MAX);
    for (link, detail) in [
        (json!({"alias": "a"}), "missing field `url`".to_owned()),
        (json!({"url": 5}), "url must be a string, not 5".to_owned()),
        (json!({"url": ok, "maxVisits": -1}), whole("-1")),
        (json!({"url": ok, "maxVisits": 1.5}), whole("1.5")),
        (json!({"url": ok, "maxVisits": "ten"}), whole("\"ten\"")),
        (json!({"url": ok, "code": "md5"}), "code must be \"short\" or \"sha256\", not \"md5\"".to_owned()),
        (json!({"url": ok, "code": 5}), "code must be \"short\" or \"sha256\"".to_owned()),
    ] {
        let refused = shortener.post(link.clone()).await;
        assert_eq!((refused.problem().0, &refused.json()["detail"]), (422, &json!(detail)), "{link}");
    }
    assert_eq!(shortener.post(json!({"url": ok, "colour": "red"})).await.problem().1, "unknown-field");
    for link in [json!([1, 2]), json!([ok, null, null, null, null]), json!([]), json!(ok), json!(null)] {
        let refused = shortener.post(link.clone()).await;
        assert_eq!(refused.problem(), (422, "not-an-object".to_owned()), "{link}");
        assert_eq!(refused.json()["detail"], "the body must be a JSON object");
    }
    shortener.stop().await;
}
