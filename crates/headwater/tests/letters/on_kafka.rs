//! Two instances on a real cluster: whoever decides, the owner of the record finds it.

use bytes::Bytes;
use headwater::OnFailure;
use headwater_kafka::{KafkaLog, KafkaSettings};
use kafka_broker::Broker;

use super::emitters::{counts, told};
use super::*;

async fn connect(broker: &Broker, name: &str) -> SharedLog {
    let settings = KafkaSettings {
        replication_factor: 1,
        min_in_sync_replicas: 1,
        ..KafkaSettings::new(broker.bootstrap(), name)
    };
    KafkaLog::connect(settings).await.unwrap()
}

/// Counts that park, and a view that stops, of the same visits.
fn app() -> (App, View<String, u64>) {
    let mut app = counts(OnFailure::park());
    let visits = app.stream::<String, u64>("visits").group_by_key();
    let sum = app.view(visits.fold(Store::named("sum"), |sum: &mut u64, visit| *sum += visit.value));
    (app, sum)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_reach_the_owner_wherever_they_are_made() {
    let broker = Broker::start().unwrap();
    let logs = [connect(&broker, "first").await, connect(&broker, "second").await];
    make(&*logs[0], "visits").await;
    // One key in each partition.
    let other = ["b", "c", "d"].into_iter().find(|key| partition(key) != partition("a")).unwrap();
    let visits = ["a", other].map(|key| [(key, "1"), (key, "x"), (key, "3")]).concat();
    produce(&*logs[0], "visits", &visits).await;
    let mut instances = Vec::new();
    for log in &logs {
        instances.push(start(log, &MemoryStores::new(), app().0).await);
    }
    for (running, key) in instances.iter().zip(["a", other]) {
        let dead = running.dead_letters();
        let letter = until("the letters are there", async || {
            let page = dead.list(Some("seen"), 10, None).await.ok()?;
            (page.letters.len() == 4).then_some(())?;
            page.letters.into_iter().find(|letter| letter.record.key.as_deref() == Some(key.as_bytes()))
        });
        let letter = letter.await;
        let behind = dead.line_of(&letter.record.id).await.unwrap().pop().unwrap();
        dead.edit(&letter.record.id, Some(Bytes::from_static(b"2"))).await.unwrap();
        dead.retry_all(&behind.record.id).await.unwrap();
        // Put back for the next key, so that there are four again.
        produce(&*logs[0], "visits", &[(key, "y"), (key, "4")]).await;
        until("they are counted", async || {
            (told(&*logs[0], "seen").await.get(key)?.last()? == "[1,2,3]").then_some(())
        })
        .await;
        let id = id(format!("sum/visits-{}@1", partition(key)));
        dead.skip(&id).await.unwrap();
    }
    for running in &instances {
        assert!(running.stop(WITHIN).await);
    }
    // Both keys stop their fold again, at the second poison, behind what was skipped.
    let (app, sum) = app();
    let running = start(&logs[0], &MemoryStores::new(), app).await;
    let stopped = until("both folds stop at the second", async || {
        let stopped = running.stopped_folds();
        (stopped.len() == 2 && stopped.iter().all(|fold| fold.id.offset > headwater::core::topic::Offset(1)))
            .then_some(stopped)
    });
    for fold in stopped.await {
        running.dead_letters().skip(&fold.id).await.unwrap();
    }
    for key in ["a", other] {
        until("the view has gone on", async || {
            let answer = running.view(&sum).unwrap().get(&key.to_owned()).await.ok()?;
            (answer.value == Some(8)).then_some(())
        })
        .await;
    }
    assert!(running.stop(WITHIN).await);
}
