//! One app, end to end: commands, events, views, on the memory log.

mod common;

use std::time::Duration;

use common::{Command, Fixture, Rejection};
use headwater::prelude::*;
use headwater::{SendError, Update};

fn id(text: &str) -> CommandId {
    CommandId::new(text).expect("a test names its commands well")
}

#[tokio::test]
async fn a_reader_sees_its_own_write_behind_a_repartition() {
    let shop = Fixture::start().await;
    let mut last = None;
    for n in 0..50 {
        let outcome = shop.place(&format!("o{n}"), "alice", "kettle", 100).await.unwrap();
        last = outcome.accepted();
        let items = shop.items().after(last.as_ref().unwrap()).of(&"alice".to_owned()).await.unwrap();
        assert_eq!(items.value, [("kettle".to_owned(), n + 1)]);
    }
    let spent = shop.spent().after(&last.unwrap()).get(&"alice".to_owned()).await.unwrap();
    assert_eq!(spent.value, Some(5_000));
    shop.stop().await;
}

#[tokio::test]
async fn a_reader_is_answered_when_nothing_follows_from_its_command() {
    let shop = Fixture::start().await;
    let placed = shop.place("o1", "alice", "free", 0).await.unwrap().accepted().unwrap();
    let items = shop.paid_items().after(&placed).of(&"alice".to_owned()).await.unwrap();
    assert!(items.value.is_empty(), "the event is filtered out before the view");
    let again = shop.place("o1", "alice", "free", 0).await.unwrap().accepted().unwrap();
    assert_eq!(again.version, placed.version, "the same order again changes nothing");
    shop.items().after(&again).of(&"alice".to_owned()).await.unwrap();
    shop.stop().await;
}

#[tokio::test]
async fn the_same_command_id_has_one_effect_and_another_content_is_a_conflict() {
    let shop = Fixture::start().await;
    let order = "o1".to_owned();
    let send = |item: &str| {
        shop.running.send(&shop.orders, &order, Command::place("alice", item, 5)).command_id(id("c1"))
    };
    let first = send("kettle").await.unwrap().accepted().unwrap();
    let second = send("kettle").await.unwrap().accepted().unwrap();
    assert_eq!(first.version, second.version);
    assert!(matches!(send("toaster").await, Err(SendError::IdConflict { .. })));
    let other = shop.place("o1", "alice", "toaster", 5).await.unwrap();
    assert!(matches!(other, Rejected(Rejection::IdTaken)));
    shop.stop().await;
}

#[tokio::test]
async fn a_command_by_the_topic_is_answered_by_its_outcome() {
    let shop = Fixture::start().await;
    let order = "o1".to_owned();
    for _ in 0..2 {
        let sent = shop
            .running
            .send(&shop.orders, &order, Command::place("alice", "kettle", 5))
            .command_id(id("c1"));
        let command = sent.by_topic().await.unwrap();
        let outcome =
            shop.running.outcome(&shop.orders, &order, &command).within(Duration::from_secs(5)).await;
        assert_eq!(outcome.unwrap().unwrap().accepted().unwrap().version, Version(1));
    }
    let none = shop.running.outcome(&shop.orders, &order, &id("never")).await.unwrap();
    assert!(none.is_none());
    shop.stop().await;
}

#[tokio::test]
async fn everything_is_there_after_a_crash_with_and_without_its_stores() {
    for keep_stores in [true, false] {
        let mut shop = Fixture::start().await;
        for n in 0..30 {
            shop.place(&format!("o{n}"), &format!("c{}", n % 4), "kettle", 7).await.unwrap();
        }
        shop = shop.crash(keep_stores).await;
        let again = shop.place("o3", "c3", "kettle", 7).await.unwrap().accepted().unwrap();
        assert_eq!(again.version, Version(1));
        let (version, _) = shop.running.state(&shop.orders, &"o29".to_owned()).await.unwrap();
        assert_eq!(version, Version(1));
        let items = shop.items().after(&again).of(&"c3".to_owned()).await.unwrap();
        assert_eq!(items.value, [("kettle".to_owned(), 7)]);
        shop.stop().await;
    }
}

#[tokio::test]
async fn live_changes_begin_with_all_rows_and_go_on_where_they_were_cut_off() {
    let shop = Fixture::start().await;
    let alice = "alice".to_owned();
    let first = shop.place("o1", "alice", "kettle", 5).await.unwrap().accepted().unwrap();
    let mut changes = shop.items().after(&first).changes(&alice, None).await.unwrap();
    let Update::Reset { rows, position } = changes.next().await.unwrap() else {
        panic!("begins with all rows")
    };
    assert_eq!(rows, [("kettle".to_owned(), 1)]);
    shop.place("o2", "bob", "toaster", 5).await.unwrap();
    shop.place("o3", "alice", "toaster", 5).await.unwrap();
    let update = changes.next().await.unwrap();
    assert!(matches!(&update, Update::Change { key, value: Some(1), .. } if key == "toaster"), "{update:?}");
    let mut resumed = shop.items().changes(&alice, Some(&position)).await.unwrap();
    assert_eq!(resumed.next().await.unwrap(), update);
    shop.stop().await;
}

#[tokio::test]
async fn a_view_of_another_version_is_built_anew_and_the_old_state_is_removed() {
    let mut shop = Fixture::start().await;
    for n in 0..20 {
        shop.place(&format!("o{n}"), "alice", "kettle", 5).await.unwrap();
    }
    shop.ready().await;
    shop = shop.restart_with(2).await;
    shop.ready().await;
    let spent = shop.spent().get(&"alice".to_owned()).await.unwrap();
    assert_eq!(spent.value, Some(200), "version 2 counts twice");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while shop.store_names().contains(&"shop.spent".to_owned()) {
        assert!(tokio::time::Instant::now() < deadline, "the old store stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shop.stop().await;
}

#[tokio::test]
async fn scans_are_paged_and_count_agrees() {
    let shop = Fixture::start().await;
    let mut last = None;
    for n in 0..100 {
        last = shop.place(&format!("o{n}"), &format!("c{n}"), "kettle", 5).await.unwrap().accepted();
        shop.items().after(last.as_ref().unwrap()).of(&format!("c{n}")).await.unwrap();
    }
    let (mut rows, mut token) = (0, None);
    loop {
        let page = shop.items().scan(7, token.as_ref()).await.unwrap();
        rows += page.rows.len();
        token = page.value.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(rows, 100);
    assert_eq!(shop.items().after(&last.unwrap()).count().await.unwrap().value, 100);
    shop.stop().await;
}

#[tokio::test]
async fn a_range_is_answered_by_one_shard_in_order_and_bounded() {
    let shop = Fixture::start().await;
    let mut last = None;
    for (n, item) in ["apron", "bowl", "cup", "dish", "egg"].into_iter().enumerate() {
        last = shop.place(&format!("o{n}"), "alice", item, 5).await.unwrap().accepted();
        shop.place(&format!("x{n}"), "bob", item, 5).await.unwrap();
        shop.items().after(last.as_ref().unwrap()).of(&"alice".to_owned()).await.unwrap();
    }
    let key = |item: &str| ("alice".to_owned(), item.to_owned());
    let items = |rows: &[((String, String), u64)]| rows.iter().map(|row| row.0.1.clone()).collect::<Vec<_>>();
    let within =
        shop.items().after(last.as_ref().unwrap()).range(key("bowl")..=key("dish"), 10).await.unwrap();
    assert_eq!(items(&within.value), ["bowl", "cup", "dish"]);
    let bounded = shop.items().range(key("bowl")..key("egg"), 2).await.unwrap();
    assert_eq!(items(&bounded.value), ["bowl", "cup"]);
    assert!(!bounded.position.is_empty(), "an answer says where it was made");
    let everything = shop.items().range(.., 10).await;
    assert!(matches!(everything, Err(QueryError::Key(_))), "a range without ends is a scan");
    shop.stop().await;
}

#[tokio::test]
async fn a_replicated_view_answers_as_any_other() {
    let shop = Fixture::start().await;
    let placed = shop.place("o1", "alice", "kettle", 5).await.unwrap().accepted().unwrap();
    let count = shop.replicated().after(&placed).get(&"o1".to_owned()).await.unwrap();
    assert_eq!(count.value, Some(1));
    assert_eq!(shop.replicated().count().await.unwrap().value, 1);
    shop.stop().await;
}
