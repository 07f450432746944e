//! Several instances that share a log, and ask each other over HTTP.

use futures_util::future::join_all;
use headwater::Parts;
use headwater::log::memory::MemoryLog;
use serde_json::json;

use crate::client::{PATIENCE, Shortener, Wanted, code_of, memory_log, open_as};

const SECRET: &str = "a secret of sixteen characters or more";

async fn instances(log: &MemoryLog, wanted: &[(&'static str, Parts)]) -> Vec<Shortener> {
    let mut instances = Vec::new();
    for (name, parts) in wanted {
        let among = Some((*name, SECRET));
        instances.push(open_as(Wanted { log: log.clone(), parts: *parts, among, ..Wanted::default() }).await);
    }
    for shortener in &instances {
        shortener.instance.running.ready(PATIENCE).await.expect("every shard has an owner");
    }
    instances
}

#[tokio::test]
async fn an_alias_is_given_once_among_all_instances() {
    let log = memory_log();
    let instances = instances(&log, &[("a", Parts::ALL), ("b", Parts::ALL)]).await;
    for alias in ["spring", "summer", "autumn", "winter"] {
        let claim = |n: usize| {
            instances[n % 2].post(json!({"url": format!("https://example.com/{n}"), "alias": alias}))
        };
        let answers = join_all((0..20).map(claim)).await;
        let won: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| answer.status == 409).count(), 19, "{answers:?}");
        for shortener in &instances {
            let led = shortener.get(&format!("/{alias}")).await;
            assert_eq!(led.header("location"), won[0].json()["url"].as_str());
        }
    }
    for shortener in instances {
        shortener.stop().await;
    }
}

#[tokio::test]
async fn a_link_redirects_everywhere_as_soon_as_it_is_made_and_every_visit_counts() {
    let log = memory_log();
    let roles = [("a", Parts::ALL), ("b", Parts::COMMANDS), ("c", Parts::QUERIES)];
    let instances = instances(&log, &roles).await;
    for n in 0..12 {
        let made = instances[n % 3].make(json!({"url": format!("https://example.com/{n}")})).await;
        let code = code_of(&made);
        let mut receipt = String::new();
        for shortener in &instances {
            receipt = shortener.visit(&code, "").await;
        }
        for shortener in &instances {
            for by in ["day", "hour"] {
                let path = format!("/links/{code}/visits?by={by}");
                let told = shortener.get_after(&path, &receipt).await.json();
                assert_eq!(told["total"], 3, "{told}");
                let counts = told["counts"].as_array().expect("counts").iter();
                assert_eq!(counts.map(|count| count["visits"].as_u64().expect("a number")).sum::<u64>(), 3);
            }
        }
        let deleted = instances[(n + 1) % 3].ask("DELETE", &format!("/links/{code}"), &[], "").await;
        assert_eq!(deleted.status, 204);
        for shortener in &instances {
            assert_eq!(shortener.get(&format!("/{code}")).await.problem().0, 410, "gone everywhere at once");
        }
    }
    for shortener in instances {
        shortener.stop().await;
    }
}

#[tokio::test]
async fn an_instance_alone_with_its_queries_leads_on_but_takes_no_commands() {
    let log = memory_log();
    let commands = open_as(Wanted { log: log.clone(), parts: Parts::COMMANDS, ..Wanted::default() }).await;
    let made = commands.make(json!({"url": "https://example.com/", "alias": "a"})).await;
    commands.make(json!({"url": "https://example.com/", "alias": "limited", "maxVisits": 1})).await;
    commands.stop().await;
    let queries = open_as(Wanted { log, parts: Parts::QUERIES, ..Wanted::default() }).await;
    queries.get_after("/links", made["receipt"].as_str().expect("a receipt")).await;
    queries.instance.running.ready(PATIENCE).await.expect("it has caught up");
    assert_eq!(queries.get("/a").await.header("location"), Some("https://example.com/"));
    let refused =
        [queries.get("/limited").await, queries.post(json!({"url": "https://example.com/b"})).await];
    for answer in refused {
        assert_eq!(answer.problem(), (421, "not-this-instance".into()));
    }
    queries.stop().await;
}
