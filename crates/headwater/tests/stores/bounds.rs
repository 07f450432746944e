//! Answers that are not older than a position.

use headwater::core::position::Position;
use headwater::core::topic::{Offset, TopicName, TopicPartition};

use super::*;

/// Visits counted by key, and again behind a repartition.
struct Counts {
    app: App,
    here: View<String, u64>,
    behind: View<String, u64>,
}

fn visits() -> Topic<String, u64> {
    "visits".into()
}

fn counts() -> Counts {
    let mut app = App::new("web").with(|options| options.partitions = 3);
    let stream = app.stream(visits());
    let here = app.view(stream.group_by_key().count(Store::named("here")));
    let behind = stream.group_by("by-first", |visit| visit.key[..1].to_owned());
    let behind = app.view(behind.count(Store::named("behind")));
    Counts { app, here, behind }
}

fn partition(topic: &str, partition: u32) -> TopicPartition {
    TopicName::new(topic).unwrap().partition(partition)
}

async fn check(instances: &[Running]) {
    let Counts { here, behind, .. } = counts();
    let mut counted = 0;
    for n in 0..30 {
        let (one, other) = (&instances[n % instances.len()], &instances[(n + 1) % instances.len()]);
        let key = format!("k{}", n % 4);
        let receipt = one.publish(&visits(), &key, &1).await.unwrap();
        counted += 1;
        let first = one.view(&here).unwrap().after(&receipt).within(WITHIN).get(&key).await.unwrap();
        // Another instance, asked for nothing older, tells nothing older.
        let again = other.view(&here).unwrap().at_least(&first.position).within(WITHIN);
        let again = again.get(&key).await.unwrap();
        assert!(again.value >= first.value, "{:?} after {:?}", again.value, first.value);
        assert!(again.position.includes(&first.position), "{} after {}", again.position, first.position);
        let all = other.view(&here).unwrap().at_least(&first.position).within(WITHIN).count().await.unwrap();
        assert!(all.position.includes(&first.position));
        // The position is one of the topic that feeds what lies behind, which is waited for hop by hop.
        let hop = other.view(&behind).unwrap().at_least(&first.position).within(WITHIN);
        assert_eq!(hop.get(&s("k")).await.unwrap().value, Some(counted));
    }
}

async fn check_refusals(running: &Running, alone: bool) {
    let Counts { here, behind, .. } = counts();
    let ask = |position| running.view(&here).unwrap().at_least(&Position::from_iter([position]));
    let ahead = ask((partition("visits", 0), Offset(1_000))).within(Duration::from_millis(500));
    let late = ahead.count().await.unwrap_err();
    // Another instance that says so at the last moment may be heard too late.
    let unheard = !alone && matches!(&late, QueryError::Unavailable { .. });
    assert!(unheard || matches!(&late, QueryError::NotYet { view, .. } if view == "here"), "{late}");
    let foreign = [partition("other", 0), partition("visits", 3), partition("web.by-first", 0)];
    for at in foreign {
        let refused = ask((at.clone(), Offset(1))).count().await.map(|_| ());
        assert_eq!(refused, Err(QueryError::ForeignPosition { view: s("here"), partition: at }));
    }
    // A position that concerns other shards alone is not waited for.
    let own = running.view(&here).unwrap().count().await.unwrap().position;
    let shards: Vec<_> = own.iter().map(|(at, _)| at.partition.0).collect();
    assert_eq!(shards, [0, 1, 2], "an answer of all shards tells the position of each");
    let elsewhere = Position::from_iter([(partition("visits", (shard_of("k0") + 1) % 3), Offset(1_000))]);
    let asked = running.view(&here).unwrap().at_least(&elsewhere).get(&s("k0")).await.unwrap();
    assert!(asked.value.is_some());
    assert!(running.view(&behind).unwrap().at_least(&own).within(WITHIN).count().await.is_ok());
}

fn shard_of(key: &str) -> u32 {
    headwater::core::partitioner::partition_of(key.as_bytes(), 3).0
}

#[tokio::test]
async fn an_answer_is_not_older_than_the_one_before_on_the_memory_log() {
    let headwater = Headwater::on(Arc::new(memory_log()), Arc::new(MemoryStores::new()));
    let running = started(&headwater, counts().app).await;
    check(std::slice::from_ref(&running)).await;
    check_refusals(&running, true).await;
    stop([running]).await;
}

#[tokio::test]
async fn an_answer_of_another_instance_is_not_older_than_the_one_before() {
    let log = memory_log();
    let (board, instances) = two([Arc::new(log.clone()), Arc::new(log)], || counts().app).await;
    check(&instances).await;
    check_refusals(&instances[1], false).await;
    assert!(board.served(&PeerAddress::new("first")) > 0, "it was asked");
    stop(instances).await;
}

#[tokio::test]
async fn an_embedded_log_answers_nothing_older_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let Counts { here, .. } = counts();
    let mut position = None;
    for _ in 0..2 {
        let running = started(&embedded(dir.path()), counts().app).await;
        if let Some(position) = &position {
            let asked = running.view(&here).unwrap().at_least(position).within(WITHIN);
            assert!(asked.count().await.unwrap().position.includes(position));
        } else {
            check(std::slice::from_ref(&running)).await;
            position = Some(running.view(&here).unwrap().count().await.unwrap().position);
        }
        stop([running]).await;
    }
}
